//! The comparison: recognisers trained with the same recipe and seeds on real images alone and with synthetic ones.

use super::composite::composites;
use super::judges::{Role, train_judge};
use super::synthetic::Made;
use super::verification::{PROTOCOL, Verification, identify, test_pairs};
use crate::config::{Alignment, EvaluationConfig};
use crate::dataset::{Catalogue, IdentityDataset, Images, Repeats, Stock};
use crate::error::{Error, Result};
use crate::formats::pairs::PairSet;
use crate::progress::Progress;
use crate::recogniser::judge::Judge;
use crate::recogniser::training::{CurvePoint, training_key};
use crate::recogniser::{Curriculum, Ingredient, Phase, Recogniser, Trained, Training, class_means, train};
use crate::store;
use candle_core::Device;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a recogniser is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    /// Real images, not augmented.
    Plain,
    /// Real images with the usual augmentation: the baseline.
    Real,
    /// The baseline, with repeats of real images in the place of synthetic ones: a control.
    Repeats,
    /// The baseline, with new identities pasted together from photographs of two persons: a control that needs no generator.
    Composite,
    /// With synthetic images of existing identities.
    Existing,
    /// With images of new identities.
    New,
    /// With both.
    Both,
    /// First synthetic images alone, then real ones alone.
    Pretrain,
}

impl Arm {
    /// Every arm, in the order of a report.
    pub const ALL: [Self; 8] = [
        Self::Plain,
        Self::Real,
        Self::Repeats,
        Self::Composite,
        Self::Existing,
        Self::New,
        Self::Both,
        Self::Pretrain,
    ];

    /// True if it is trained on synthetic images: else it is the baseline, or a control.
    pub fn is_synthetic(self) -> bool {
        matches!(self, Self::Existing | Self::New | Self::Both | Self::Pretrain)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Real => "real",
            Self::Repeats => "repeats",
            Self::Composite => "composite",
            Self::Existing => "existing",
            Self::New => "new",
            Self::Both => "both",
            Self::Pretrain => "pretrain",
        }
    }

    /// What it is trained on, in words.
    pub fn description(self) -> &'static str {
        match self {
            Self::Plain => "real images, not augmented",
            Self::Real => "real images, usual augmentation (baseline)",
            Self::Repeats => "baseline + repeats of real images (control)",
            Self::Composite => "baseline + pasted photographs of two persons as new identities (control)",
            Self::Existing => "baseline + synthetic images of existing identities",
            Self::New => "baseline + new identities",
            Self::Both => "baseline + both",
            Self::Pretrain => "synthetic images first, then real ones",
        }
    }
}

/// The images of a comparison, at the recogniser's image size.
pub struct Material {
    /// Training images.
    pub real: IdentityDataset,
    /// Synthetic images of the identities of `real`.
    pub existing: Option<Made>,
    /// Images of new identities.
    pub new: Option<Made>,
    /// Real images of the identities of `real` that nothing is trained on, for identification.
    pub held_out: Option<IdentityDataset>,
    /// Identities that the generator knew and `real` does not show.
    pub foreign: BTreeSet<String>,
    /// Reconstructions of training images, by E and G with their own label.
    pub reconstructed: Option<IdentityDataset>,
    /// Who chose the synthetic images, in words.
    pub chosen_by: String,
    /// Where faces lie in images, as far as it is known: none of those that came as they are.
    pub frame: Alignment,
    /// The verification test.
    pub test: PairSet,
}

impl Material {
    /// The arms that these images allow.
    pub fn arms(&self) -> Vec<Arm> {
        let possible = |arm: &Arm| match arm {
            Arm::Plain | Arm::Real => true,
            Arm::Repeats | Arm::Composite | Arm::Pretrain => self.existing.is_some() || self.new.is_some(),
            Arm::Existing => self.existing.is_some(),
            Arm::New => self.new.is_some(),
            Arm::Both => self.existing.is_some() && self.new.is_some(),
        };
        Arm::ALL.into_iter().filter(possible).collect()
    }

    /// The synthetic images of both kinds.
    fn synthetic(&self) -> impl Iterator<Item = &Catalogue> {
        [&self.existing, &self.new].into_iter().flatten().map(|made| made.all.catalogue())
    }

    /// As many images as there are synthetic ones, of as many identities, pasted together from real ones, on the disk of `scratch`.
    fn composites(&self, scratch: &Path, progress: &mut dyn Progress) -> Result<Stock> {
        let images: usize = self.synthetic().map(Catalogue::len).sum();
        let identities: usize = self.synthetic().map(|s| s.present().count()).sum();
        composites(&self.real, self.frame, identities, images.div_ceil(identities.max(1)), scratch, progress)
    }

    /// As many images as there are synthetic ones, all of them real: each identity's in turn.
    fn repeats(&self) -> Result<Repeats<'_>> {
        let identities = self.real.identities();
        let wanted: usize = self.synthetic().map(Catalogue::len).sum();
        let of = |i: usize| {
            let own = self.real.images_of((i % identities.len()) as u32);
            own[(i / identities.len()) % own.len()]
        };
        Repeats::new(&self.real, (0..wanted).map(of).collect())
    }
}

/// The outcome of one training.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Hash of all that decides it.
    pub key: String,
    /// What it was trained on.
    pub arm: Arm,
    /// Its seed.
    pub seed: u64,
    /// Figures on the test pairs.
    pub verification: Verification,
    /// Share of held-out images whose nearest identity (its mean training embedding) is their own, and is among the
    /// nearest five.
    pub rank1: Option<f64>,
    /// See `rank1`.
    pub rank5: Option<f64>,
    /// Losses while training.
    pub curve: Vec<CurvePoint>,
    /// Time of training, in seconds, interruptions left out. Not part of any hash.
    pub seconds: f64,
}

/// Trains and tests recognisers, and keeps every outcome in a folder.
pub struct Comparison<'a> {
    /// The images.
    pub material: &'a Material,
    /// The recipe.
    pub config: &'a EvaluationConfig,
    /// Where outcomes and weights are kept.
    pub folder: PathBuf,
    /// Where to compute.
    pub device: &'a Device,
}

impl Comparison<'_> {
    /// Trains every arm with every seed, unless its outcome is in the folder already.
    ///
    /// # Errors
    /// `Interrupted`, `Diverged`; a folder that cannot be written.
    pub fn run(&self, arms: &[Arm], seeds: u64, progress: &mut dyn Progress) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        for arm in arms {
            // One control at a time is there.
            let control: Option<Box<dyn Images + '_>> = match arm {
                Arm::Repeats => Some(Box::new(self.material.repeats()?)),
                Arm::Composite => {
                    store::create_dir(&self.folder)?;
                    Some(Box::new(self.material.composites(&self.folder, progress)?))
                }
                _ => None,
            };
            let curriculum = self.curriculum(*arm, control.as_deref())?;
            for seed in (0..seeds).map(|s| self.config.seed + s) {
                runs.push(self.one(*arm, seed, &curriculum, progress)?);
            }
        }
        Ok(runs)
    }

    /// What `arm` is trained on, with the images of a control where it is one.
    fn curriculum<'b>(&'b self, arm: Arm, control: Option<&'b dyn Images>) -> Result<Curriculum<'b>> {
        let (m, c, steps) = (self.material, &self.config.comparison, self.config.recipe.steps);
        let known = m.real.identities().len() as u32;
        if known < 2 {
            return Err(Error::Manifest("a recogniser needs two training identities or more".into()));
        }
        let same: Vec<u32> = (0..known).collect();
        // Classes: real identities, then those of synthetic images that stand apart, then new identities.
        let apart = c.own_labels && m.existing.is_some() && arm != Arm::New && arm != Arm::Composite;
        let own = if apart { (known..2 * known).collect() } else { same.clone() };
        let first_new = if apart { 2 * known } else { known };
        let source = |images: &'b dyn Images, classes: &[u32], share: f64| Ingredient {
            images,
            classes: classes.to_vec(),
            share,
        };
        let real = |share: f64| source(&m.real, &same, share);
        let absent = || Error::Usage(format!("arm `{}`: the dataset holds no such synthetic images", arm.name()));
        let existing = |share: f64| m.existing.as_ref().map(|e| source(&e.all, &own, share));
        let new = |share: f64| {
            m.new.as_ref().map(|n| {
                let persons = n.all.catalogue().identities().len() as u32;
                let classes: Vec<u32> = (first_new..first_new + persons).collect();
                source(&n.all, &classes, share)
            })
        };
        let mixed = |others: Vec<Ingredient<'b>>| {
            let share = 1.0 - others.iter().map(|o| o.share).sum::<f64>();
            let last = if others.is_empty() { 0 } else { (steps as f64 * c.real_last).round() as u64 };
            let first = Phase { steps: steps - last, sources: std::iter::once(real(share)).chain(others).collect() };
            let phases = [first, Phase { steps: last, sources: vec![real(1.0)] }];
            phases.into_iter().filter(|p| p.steps > 0).collect()
        };
        let (s, of_new) = (c.synthetic_share, c.new_share);
        let phases = match arm {
            Arm::Plain | Arm::Real => mixed(Vec::new()),
            Arm::Repeats => mixed(vec![source(control.ok_or_else(absent)?, &same, s)]),
            Arm::Composite => {
                let control = control.ok_or_else(absent)?;
                let persons = control.catalogue().identities().len() as u32;
                let classes: Vec<u32> = (known..known + persons).collect();
                mixed(vec![source(control, &classes, s)])
            }
            Arm::Existing => mixed(vec![existing(s).ok_or_else(absent)?]),
            Arm::New => mixed(vec![new(s).ok_or_else(absent)?]),
            Arm::Both => {
                mixed(vec![existing(s * (1.0 - of_new)).ok_or_else(absent)?, new(s * of_new).ok_or_else(absent)?])
            }
            Arm::Pretrain => {
                let first = ((steps as f64 * c.pretrain_share).round() as u64).clamp(1, steps);
                let both = m.existing.is_some() && m.new.is_some();
                let (old_share, new_share) = if both { (1.0 - of_new, of_new) } else { (1.0, 1.0) };
                let synthetic: Vec<Ingredient> = [existing(old_share), new(new_share)].into_iter().flatten().collect();
                if synthetic.is_empty() {
                    return Err(absent());
                }
                vec![
                    Phase { steps: first, sources: synthetic },
                    Phase { steps: steps - first, sources: vec![real(1.0)] },
                ]
            }
        };
        for source in phases.iter().flat_map(|p| &p.sources) {
            if source.share * (self.config.recipe.batch_size as f64) < 1.0 {
                return Err(Error::Config(format!(
                    "comparison: arm `{}` has less than one image of a kind in a batch; change synthetic_share, new_share or recipe.batch_size",
                    arm.name()
                )));
            }
        }
        let used = phases.iter().flat_map(|p| &p.sources).flat_map(|s| &s.classes).max();
        Ok(Curriculum { classes: used.map_or(0, |c| *c as usize + 1), phases, augmented: arm != Arm::Plain })
    }

    /// Folder entry of a training.
    fn path(&self, arm: Arm, seed: u64, extension: &str) -> PathBuf {
        self.folder.join(format!("{}-{seed}.{extension}", arm.name()))
    }

    /// Trains `arm` with `seed`, unless its weights are in the folder already.
    fn train(&self, arm: Arm, seed: u64, curriculum: &Curriculum, progress: &mut dyn Progress) -> Result<Trained> {
        store::create_dir(&self.folder)?;
        let path = self.path(arm, seed, "safetensors");
        let recipe = &self.config.recipe;
        progress.start(&format!("{} {seed}", arm.name()), recipe.steps * recipe.batch_size as u64, "images");
        let training = Training { curriculum, config: self.config, seed, path: &path };
        let trained = train(&training, self.device, progress)?;
        progress.finish();
        Ok(trained)
    }

    fn one(&self, arm: Arm, seed: u64, curriculum: &Curriculum, progress: &mut dyn Progress) -> Result<Run> {
        let m = self.material;
        let held_out = m.held_out.as_ref().map_or("", |h| h.hash());
        let key =
            crate::config::hash(&(PROTOCOL, training_key(curriculum, self.config, seed)?, m.test.hash(), held_out))?;
        let path = self.path(arm, seed, "json");
        if let Some(run) = stored(&path, &key) {
            return Ok(run);
        }
        let Trained { recogniser, curve, seconds } = self.train(arm, seed, curriculum, progress)?;
        let verification = test_pairs(&recogniser.embed(&m.test.images)?, &m.test.pairs);
        let ranks = match &m.held_out {
            Some(held_out) => {
                let gallery = class_means(&recogniser.embed(&m.real)?, &m.real);
                let probes = recogniser.embed(held_out)?;
                identify(&gallery, &probes, held_out.labels(), &[1, 5])
            }
            None => Vec::new(),
        };
        let (rank1, rank5) = (ranks.first().copied(), ranks.get(1).copied());
        let run = Run { key, arm, seed, verification, rank1, rank5, curve, seconds };
        store::write_sealed(&path, &serde_json::json!(run))?;
        Ok(run)
    }

    /// The judge that measures the images: no arm, and it has chosen nothing.
    ///
    /// # Errors
    /// As [`Comparison::run`].
    pub fn measuring_judge(&self, progress: &mut dyn Progress) -> Result<Judge> {
        store::create_dir(&self.folder)?;
        let path = self.folder.join("measuring.safetensors");
        train_judge(Role::Measures, &self.material.real, self.config, &path, self.device, progress)
    }

    /// The recogniser that is trained on real images alone with the first seed.
    ///
    /// # Errors
    /// As [`Comparison::run`].
    pub fn baseline(&self, progress: &mut dyn Progress) -> Result<Recogniser> {
        Ok(self.train(Arm::Real, self.config.seed, &self.curriculum(Arm::Real, None)?, progress)?.recogniser)
    }
}

/// The outcome in `path`, if it is the one of `key`. A damaged one is made again.
fn stored(path: &Path, key: &str) -> Option<Run> {
    let run: Run = serde_json::from_value(store::read_sealed(path).ok()??).ok()?;
    (run.key == key).then_some(run)
}
