//! Who makes the synthetic images of a dataset: models, or shards that have made them already ([`super::cluster`]).

use super::filtering::{self, Screened};
use super::write::Assembly;
use crate::error::Result;
use crate::progress::Progress;
use crate::sink::Sink;
use crate::sink::ledger::Screening;
use crate::synthesize::plan::{Plan, Target};
use crate::synthesize::{self, Made, Provenance, gate};

/// Who makes the synthetic images of a dataset.
pub(super) trait Maker {
    /// Refuses what makes nothing of use, before a folder is taken for it.
    fn check(&self, assembly: &Assembly, progress: &mut dyn Progress) -> Result<()>;

    /// Decides which of the planned images there will be.
    fn choose(&mut self, assembly: &Assembly, plans: Vec<Plan>, progress: &mut dyn Progress) -> Result<Chosen>;

    /// Writes the images of an identity set: `at` is its number, and the row that they begin with.
    fn write(
        &self,
        assembly: &Assembly,
        at: (usize, usize),
        config_hash: &str,
        sink: &mut Sink,
        progress: &mut dyn Progress,
    ) -> Result<()>;
}

/// Which images there will be.
pub(super) struct Chosen {
    /// Number of images of each set.
    pub images: Vec<usize>,
    /// New identities that have images.
    pub new_identities: usize,
    /// What was rejected, by model; nothing where nobody looked at anything.
    pub screenings: Vec<Screening>,
}

/// The models make them.
#[derive(Default)]
pub(super) struct Models {
    plans: Vec<Plan>,
    made: Made,
}

impl Maker for Models {
    fn check(&self, assembly: &Assembly, _: &mut dyn Progress) -> Result<()> {
        assembly
            .models
            .iter()
            .try_for_each(|m| m.with(&assembly.device, |model| gate::check(model, assembly.config.seed)))
    }

    fn choose(&mut self, assembly: &Assembly, plans: Vec<Plan>, progress: &mut dyn Progress) -> Result<Chosen> {
        let Screened { plans, screenings, made } = filtering::screen(assembly, plans, progress)?;
        let new = |t: &&Target| t.mix.len() > 1 && !t.indices.is_empty();
        let chosen = Chosen {
            images: plans.iter().map(Plan::images).collect(),
            new_identities: plans.iter().flat_map(|p| &p.targets).filter(new).count(),
            screenings,
        };
        *self = Self { plans, made };
        Ok(chosen)
    }

    fn write(
        &self,
        assembly: &Assembly,
        (set, first_row): (usize, usize),
        config_hash: &str,
        sink: &mut Sink,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let (m, d) = (&assembly.models[set], assembly.destination);
        let provenance = Provenance {
            identity_set: m.set.clone(),
            config_hash: config_hash.to_owned(),
            manifest_hash: assembly.manifest_hash.clone(),
            extension: d.extension(),
            size: d.output_size.unwrap_or(m.image_size),
        };
        m.with(&assembly.device, |model| {
            synthesize::run(model, &self.plans[set], first_row, &provenance, &self.made, sink, progress)
        })
    }
}
