//! The images of an evaluation: held-out ones, those of the test, synthetic ones and reconstructions.

use super::evaluate::{Request, Test};
use super::input::Source;
use super::walk::at;
use super::{Context, boundary};
use crate::config::Alignment;
use crate::dataset::{IdentityDataset, Selection, View, load_sets};
use crate::error::{Error, Result};
use crate::evaluate::comparison::Material;
use crate::evaluate::synthetic::{Made, Synthetic};
use crate::formats::bin;
use crate::formats::pairs::PairSet;
use crate::manifest::keys;
use crate::progress::Progress;
use crate::sink::ledger;
use crate::sink::order::{Order, OrderedJudge};
use crate::synthesize;
use crate::train::TrainedModel;
use std::path::Path;

/// Pairs of each kind that are drawn, at most.
const DRAWN_PAIRS: usize = 3000;

/// Where images are read from, and how.
pub(super) struct Reading<'a> {
    pub source: &'a Source,
    pub set: &'a str,
    pub view: View,
    pub context: &'a Context,
}

/// Reads all images but the training images.
///
/// # Errors
/// A file that cannot be read, or shows nobody that it should show.
pub(super) fn material(
    request: &Request,
    reading: &Reading,
    real: IdentityDataset,
    held_out: Option<&str>,
    test: &Test,
    model: Option<&TrainedModel>,
    progress: &mut dyn Progress,
) -> Result<Material> {
    let Reading { source, set, view, context } = *reading;
    let held_out = held_out.map(|name| self::held_out(source, set, name, view, &real, progress)).transpose()?;
    let test = match test {
        Test::List { pairs, images } => listed(pairs, images.as_deref(), source, view, context)?,
        Test::Split(name) => {
            let images = of_split(source, set, name, view, progress)?;
            PairSet::draw(&format!("drawn from split {name}"), images, DRAWN_PAIRS)?
        }
    };
    let frame = if source.manifest.says_faces() { view.alignment() } else { Alignment::None };
    if frame != Alignment::None && test.shown_whole {
        progress.warn(
            "nothing says where faces are in the images of option `pairs`: they are shown whole, the training images cut out; give them cut out \
             in the same frame",
        );
    }
    let synthetic = match &request.synthetic {
        Some(dataset) => Synthetic::read(dataset, &real, set, &request.out, progress)?,
        None => Synthetic::default(),
    };
    if !synthetic.foreign.is_empty() {
        let n = synthetic.foreign.len();
        progress.note(&format!(
            "the generator knew {n} identities that are not among the training images: what shows them is left out"
        ));
    }
    let order = request.synthetic.as_ref().and_then(|dataset| ledger::order(dataset).ok().flatten());
    let reconstructed = match model {
        Some(model) => {
            let of_it = |o: &Order| o.models.iter().flatten().any(|m| m.hash == model.hash);
            if order.as_ref().is_some_and(|o| !of_it(o)) {
                progress.note("option `model` names another model than the one that made the synthetic images");
            }
            Some(reconstructions(model, &real)?)
        }
        None => None,
    };
    let chosen_by = chosen_by(order.as_ref());
    let Synthetic { existing, new, mut foreign } = synthetic;
    if let Some(model) = model {
        let known = model.header.identities.iter().chain(&model.header.base);
        foreign.extend(known.filter(|name| keys::find(real.identities(), name).is_none()).cloned());
    }
    let (existing, new) = (existing.map(Made::new).transpose()?, new.map(Made::new).transpose()?);
    if let Some(made) = order.as_ref().map(|o| o.alignment).filter(|made| frame != Alignment::None && *made != frame) {
        progress.warn(&format!(
            "the synthetic images show faces in the frame {}, option `alignment` asks for {}: what is measured is the difference of frames, too",
            made.name(),
            frame.name()
        ));
    }
    Ok(Material { real, existing, new, held_out, foreign, reconstructed, chosen_by, frame, test })
}

/// The test that the list `pairs` names, with its images.
///
/// # Errors
/// A list or an image that cannot be read.
pub(super) fn listed(
    pairs: &Path,
    images: Option<&str>,
    source: &Source,
    view: View,
    context: &Context,
) -> Result<PairSet> {
    if let (Some(images), true) = (images, pairs.extension().is_some_and(|e| e == "parquet")) {
        boundary::try_manifest(images, &source.columns, context)?;
    }
    if pairs.extension().is_some_and(|e| e == bin::EXTENSION) {
        boundary::try_manifest(&pairs.display().to_string(), &source.columns, context)?;
    }
    PairSet::read(pairs, images, &source.columns, source.policy.as_ref(), view)
}

/// The images of `set` that split `name` holds.
pub(super) fn of_split(
    source: &Source,
    set: &str,
    name: &str,
    view: View,
    progress: &mut dyn Progress,
) -> Result<IdentityDataset> {
    let sets = [set.to_owned()];
    let places = Some(source.census.places(&sets, false));
    let selection = Selection { split: Some(name.into()), sets: Some(sets.to_vec()), places, ..Selection::default() };
    let (mut images, rejects) = load_sets(&source.manifest, &selection, &[(set, 0)], view, at(progress))?;
    if let Some(first) = rejects.first() {
        progress.note(&format!("{} rows of split {name} left out; first: {first}", rejects.len()));
    }
    match images.pop().filter(|i| !i.is_empty()) {
        Some(images) => Ok(images),
        None => Err(Error::Manifest(format!("{}: no usable row has split `{name}`", source.spec))),
    }
}

/// The images of split `name` that show identities of `real`.
///
/// # Errors
/// There are none.
pub(super) fn held_out(
    source: &Source,
    set: &str,
    name: &str,
    view: View,
    real: &IdentityDataset,
    progress: &mut dyn Progress,
) -> Result<IdentityDataset> {
    of_known(&of_split(source, set, name, view, progress)?, real, name)
}

/// What `model` makes of training images of `real`, as `real` shows images.
fn reconstructions(model: &TrainedModel, real: &IdentityDataset) -> Result<IdentityDataset> {
    let size = model.header.config.image_size;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for (label, image) in synthesize::reconstruct(model)? {
        let Some(label) = keys::find(real.identities(), &model.header.identities[label as usize]) else { continue };
        pixels.extend(View::square(real.image_size()).pixels(image, size).map_err(Error::Model)?);
        labels.push(label as u32);
    }
    if labels.is_empty() {
        return Err(Error::Model("option `model` knows none of the manifest's identities".into()));
    }
    IdentityDataset::new(real.image_size(), pixels, labels, real.identities().to_vec())
}

/// Who chose the images of a dataset that was made by `order`, in words.
fn chosen_by(order: Option<&Order>) -> String {
    let Some(order) = order else { return "nobody knows who chose".into() };
    let beside = order.models.iter().flatten().any(|m| m.judge.is_some());
    match &order.judge {
        Some(OrderedJudge { hash: Some(hash), .. }) => format!("chosen by judge {}", &hash[..hash.len().min(12)]),
        Some(OrderedJudge { hash: None, .. }) if beside => "chosen by the judge beside the generator".into(),
        Some(_) | None => "nobody chose among them".into(),
    }
}

/// Those of `images` that show identities of `real`, with its labels.
fn of_known(images: &IdentityDataset, real: &IdentityDataset, split: &str) -> Result<IdentityDataset> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for i in 0..images.len() {
        let name = &images.identities()[images.labels()[i] as usize];
        if let Some(label) = keys::find(real.identities(), name) {
            pixels.extend_from_slice(images.image(i));
            labels.push(label as u32);
        }
    }
    if labels.is_empty() {
        return Err(Error::Manifest(format!("no row of split `{split}` shows an identity of the training rows")));
    }
    IdentityDataset::new(real.image_size(), pixels, labels, real.identities().to_vec())
}
