//! What a dataset is worth to a team that has a face network already: nothing is trained.

use super::input::{Input, Source};
use super::material::held_out;
use super::splits::Splits;
use super::verify::whole_dataset;
use super::{Context, Rejected, place};
use crate::dataset::{Images, View};
use crate::error::{Error, Result};
pub use crate::evaluate::enrolment::{Enrolment, Share, Template};
use crate::evaluate::enrolment::{Labelled, measure};
use crate::evaluate::synthetic::Synthetic;
use crate::progress::Progress;
use crate::recogniser::outside::Outside;
use crate::sink::ledger;
use crate::store;
use serde_json::json;
use std::path::PathBuf;

/// What to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// The manifest of the real images.
    pub input: Input,
    /// The dataset of synthetic ones.
    pub synthetic: PathBuf,
    /// The face network in ONNX, or a TOML that says how it is fed.
    pub judge: PathBuf,
    /// Split with the images to identify; without one, the one that shows training persons only.
    pub held_out: Option<String>,
    /// Real images that each person is enrolled from.
    pub shots: Vec<usize>,
    /// Times that they are drawn.
    pub draws: usize,
    /// The file to write.
    pub out: PathBuf,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// Figures of each number of images and way to compare.
    pub figures: Vec<Enrolment>,
    /// Persons.
    pub persons: usize,
    /// Images that were identified.
    pub probes: usize,
    /// Synthetic images.
    pub synthetic: usize,
    /// Where they are kept.
    pub out: PathBuf,
    /// Rows that were left out.
    pub rejected: Rejected,
}

/// Enrols, identifies, and writes the figures.
///
/// # Errors
/// A file cannot be read; the network fails on an image; there is nothing to identify.
pub fn run(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Enrolled> {
    if request.shots.contains(&0) || request.draws == 0 {
        return Err(Error::Usage("option `shots` and option `draws` must be 1 or more".into()));
    }
    let ours = || store::read_sealed(&request.out).ok().flatten().is_some_and(|d| d["figures"].is_array());
    if request.out.is_dir() || (request.out.exists() && !ours()) {
        return Err(Error::Usage(format!(
            "{} is there already, and holds no figures; name another file with option `out`",
            request.out.display()
        )));
    }
    whole_dataset(&request.synthetic)?;
    let outside = Outside::load(&request.judge, None)?;
    let source = Source::open(&request.input, context)?;
    let set = &source.set_of("enrol serves")?;
    let split = request.held_out.clone().or(Splits::of(&source, set).of_known).ok_or_else(|| {
        Error::Usage(format!(
            "{}: no split holds other images of the training persons; name one with option `held_out`",
            source.spec
        ))
    })?;
    if source.split.as_deref().is_none_or(|trained| trained == split) {
        progress.warn(&format!(
            "persons are enrolled from split `{split}`, too: its images find themselves, and the figures tell nothing of others"
        ));
    }
    place::room_for(&request.out, ledger::rows(&request.synthetic), outside.placement().side)?;
    let list = place::rejects_path(&request.out)?;
    let alignment = ledger::order(&request.synthetic)?.map(|order| order.alignment).unwrap_or_default();
    let view = View::new(outside.placement().side, alignment);
    let (real, rejected) = source.only_set(view, &list, progress)?;
    let probes = held_out(&source, set, &split, view, &real, progress)?;
    let made = Synthetic::read(&request.synthetic, &real, set, place::folder_of(&request.out), progress)?;
    let made = made.existing.ok_or_else(|| {
        Error::Usage(format!("{}: holds no image of an existing person", request.synthetic.display()))
    })?;
    let mut embed = |name: &str, images: &dyn Images| outside.embed(name, images, progress);
    let (of_real, of_made, of_probes) = (embed("real", &real)?, embed("synthetic", &made)?, embed("probes", &probes)?);
    let persons = real.identities().len();
    let figures = measure(
        &Labelled { embeddings: &of_real, labels: real.labels() },
        &Labelled { embeddings: &of_made, labels: made.catalogue().labels() },
        &Labelled { embeddings: &of_probes, labels: probes.labels() },
        persons,
        &request.shots,
        request.draws,
        progress,
    )?;
    let document = json!({
        "version": 1, "judge": outside.hash, "placement": outside.placement(), "split": split, "persons": persons,
        "probes": probes.len(), "synthetic": made.catalogue().len(), "draws": request.draws, "figures": figures,
    });
    store::write_sealed(&request.out, &document)?;
    Ok(Enrolled {
        figures,
        persons,
        probes: probes.len(),
        synthetic: made.catalogue().len(),
        out: request.out.clone(),
        rejected: Rejected { count: rejected.len(), list },
    })
}
