//! A written dataset in another format, at another size, or with the real images of its persons: the order first, then images, the card, and
//! the summary last, as in synthesis.

use super::input::{Input, Source};
use super::place;
use super::real::RealImages;
use super::verify::{Kind, whole};
use super::wanted::{Destination, check_size};
use super::write::Written;
use super::{Context, Rejected};
use crate::dataset::View;
use crate::dataset::encode::{Origin, encode};
use crate::error::{Error, Result};
use crate::formats::table::{class_name, classes};
use crate::formats::{Reader, Sample};
use crate::manifest::DEFAULT_SET;
use crate::manifest::rejects::Reject;
use crate::progress::Progress;
use crate::sink::Sink;
use crate::sink::commit::{Opened, Output};
use crate::sink::erase::{inherit, tombstones};
use crate::sink::ledger::{CONFIG, Summary, summary, tables};
use crate::sink::order::{ORDER_VERSION, Order};
use crate::store;
use crate::tombstones::Tombstones;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Images that are scaled at a time.
const BATCH: usize = 512;
/// Key of an export's task that says that the images which it copied had been scaled by another.
const SCALED: &str = "scaled";

/// What to do about persons who were forgotten.
const FORGOTTEN: &str = "forget it in the dataset, and take it out of the manifest, or choose another folder";

/// What to do.
#[derive(Clone)]
pub struct Request {
    /// Folder of a complete dataset.
    pub dataset: PathBuf,
    /// Real images to merge in: those of its persons get their labels, those of others new ones.
    pub real: Option<Input>,
    /// Where and how to write it; images stay as they are unless they get another size.
    pub destination: Destination,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The dataset.
    pub written: Written,
    /// Rows of real images that could not be used.
    pub rejected: Option<Rejected>,
}

/// The real images to merge in, and which of them cannot be.
struct Real {
    source: Source,
    rejected: Vec<Reject>,
    list: PathBuf,
    total: usize,
}

/// Writes the dataset anew.
///
/// # Errors
/// It is damaged or not complete; a person of the real images was forgotten in it; a file cannot be written.
pub fn run(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Exported> {
    request.destination.output_size.map_or(Ok(()), |size| check_size("size", size))?;
    let (from, d) = (&request.dataset, &request.destination.placed()?);
    let done = complete(request)?;
    let real = |path: &Path| path.ancestors().find_map(|p| p.canonicalize().ok());
    if real(&d.out).zip(real(from)).is_some_and(|(out, from)| out.starts_with(from)) {
        return Err(Error::Usage(format!(
            "option `out` {} lies in the dataset itself; write it elsewhere",
            d.out.display()
        )));
    }
    let view = View::new(d.output_size.or(done.image_size).unwrap_or_default(), done.order.alignment);
    let real = request.real.as_ref().map(|input| look(request, input, &done, view, context, progress)).transpose()?;
    let mut names = names_of(request)?;
    let known = names.len();
    let mut labels = BTreeMap::new();
    if let Some(real) = &real {
        add_labels(&real.source, done.order.models.as_ref().map_or(1, Vec::len), &mut names, &mut labels);
    }
    if names.len() > known {
        let new = names.len() - known;
        progress.note(&format!("{new} persons of the manifest are not in the dataset: they get classes of their own"));
    }
    let rows = done.rows + real.as_ref().map_or(0, |real| real.total);
    if rows == 0 {
        return Err(Error::Usage(format!("{}: holds no image any more", from.display())));
    }
    // Which real rows are merged in.
    let merged = real.as_ref().map(|real| {
        let s = &real.source;
        let mut merged = json!({ "manifest": s.manifest.hash(), "split": s.split, "policy": s.policy, "identity": s.columns.identity,
                                 "image": s.columns.image, "image_uri": s.columns.image_uri, "rows": real.total });
        if let Some(set) = &s.identity_set {
            merged["identity_set"] = json!(set);
        }
        merged
    });
    let mut task = json!({ "name": "export", "contents": done.content_hash, "real": merged });
    if is_scaled(&done.order) {
        task[SCALED] = true.into();
    }
    let order = Order {
        version: ORDER_VERSION,
        program: env!("CARGO_PKG_VERSION").into(),
        format: d.format.name().into(),
        output_size: d.output_size,
        include_real: real.is_some() || done.order.include_real,
        shard_rows: d.shard_rows.get(),
        share: d.share,
        rows: Some(rows),
        task: Some(task),
        ..done.order.clone()
    };
    let rejected = real.as_ref().map(|r| Rejected { count: r.rejected.len(), list: r.list.clone() });
    let written = |summary: Summary, before: bool| Exported {
        written: Written { out: d.out.clone(), summary, before, models: Vec::new() },
        rejected: rejected.clone(),
    };
    let mut output = match Output::open(&d.out, &order, d.repair)? {
        Opened::Complete(done) => return Ok(written(*done, true)),
        Opened::Ready(output) => output,
    };
    if let Some(note) = output.note() {
        progress.note(&note);
    }
    inherit(&d.out, from)?;
    let forgotten = tombstones(&d.out)?;
    let persons = labels.keys().map(|(_, identity)| *identity);
    place::refuse_forgotten(&d.out, forgotten.as_ref(), persons, FORGOTTEN)?;
    let config = std::fs::read(from.join(CONFIG)).map_err(|e| Error::io(from.join(CONFIG), e))?;
    store::write_atomic(&d.out.join(CONFIG), &config)?;
    output.arrange(rows, d.shard_rows.get())?;
    let numbers = names.len();
    let mut sink = Sink::new(output, d.format, names);
    if let Some(real) = &real {
        let images = RealImages {
            source: &real.source,
            rejected: &real.rejected,
            total: real.total,
            labels,
            view,
            sized: d.output_size.is_some(),
            extension: if order.encoding == "png" { "png" } else { "jpg" },
            config_hash: &order.config_hash,
        };
        images.write(&mut sink, progress)?;
    }
    copy(request, (done.rows, rows - done.rows), forgotten.as_ref(), &mut sink, progress)?;
    let (output, rest) = sink.finish()?;
    let done = Summary {
        order,
        real: done.real + rows - done.rows,
        classes: numbers,
        image_size: d.output_size.or(done.image_size),
        files: Vec::new(),
        ..done
    };
    Ok(written(output.complete(done, &[], rest)?, false))
}

/// The summary of the dataset, every file of which is as it was written.
fn complete(request: &Request) -> Result<Summary> {
    let from = &request.dataset;
    let summary = if whole(from)? == Kind::Dataset { summary(from)? } else { None };
    summary.ok_or_else(|| Error::Usage(format!("{}: holds no dataset of augment", from.display())))
}

/// Its class names, in the order of their labels.
fn names_of(request: &Request) -> Result<Vec<String>> {
    let tables = tables(&request.dataset)?;
    let first = tables.first().ok_or_else(|| {
        Error::Usage(format!("{}: was written by an older augment; write it again", request.dataset.display()))
    })?;
    classes(first)
}

/// Opens the real images and tries them all.
fn look(
    request: &Request,
    input: &Input,
    done: &Summary,
    view: View,
    context: &Context,
    progress: &mut dyn Progress,
) -> Result<Real> {
    if done.real > 0 {
        return Err(Error::Usage(format!(
            "{}: holds real images already; leave option `include_real` out",
            request.dataset.display()
        )));
    }
    let source = Source::open(input, context)?;
    let sets = source.sets();
    let models = done.order.models.as_deref().unwrap_or_default();
    let known = |set: &String| set == DEFAULT_SET || models.iter().any(|m| m.identity_set == *set);
    if let ([_], Some(stranger)) = (models, sets.iter().find(|set| !known(set) || sets.len() > 1)) {
        return Err(Error::Usage(format!(
            "{}: its persons are those of one identity set, `{}`; the manifest names `{stranger}`: persons of one key would be taken for one",
            request.dataset.display(),
            models[0].identity_set
        )));
    }
    let persons = sets.iter().flat_map(|set| source.persons(set).into_keys());
    place::refuse_forgotten(&request.dataset, tombstones(&request.dataset)?.as_ref(), persons, FORGOTTEN)?;
    let list = place::rejects_path(&request.destination.out)?;
    let rejected = source.try_all(view, Some(&list), progress)?;
    let labelled: usize = sets.iter().map(|set| source.count(set).1).sum();
    // A row without a person is rejected, too, but not counted.
    let total = labelled + source.unlabelled() - rejected.len();
    Ok(Real { source, rejected, list, total })
}

/// Labels of the persons of `source` in a dataset of `sets` identity sets whose classes are `names`; those that it lacks are added.
fn add_labels<'a>(
    source: &'a Source,
    sets: usize,
    names: &mut Vec<String>,
    labels: &mut BTreeMap<(&'a str, &'a str), i64>,
) {
    let mut known: BTreeMap<String, i64> = names.iter().cloned().zip(0..).collect();
    for (set, _, identity) in
        source.census.images.keys().filter(|(set, split, _)| source.serves(set) && source.uses(split))
    {
        let class = class_name(sets.max(1), set, identity);
        let label = *known.entry(class.clone()).or_insert_with(|| {
            names.push(class);
            names.len() as i64 - 1
        });
        labels.insert((set, identity), label);
    }
}

/// True if `order` is an export's whose images are no longer what a model made.
pub(super) fn is_scaled(order: &Order) -> bool {
    let of_export = |task: &Value| task["name"] == "export" && (order.output_size.is_some() || task[SCALED] == true);
    order.task.as_ref().is_some_and(of_export)
}

/// Calls `f` with the samples of the written dataset in `dir` and their numbers, counted on from `done`, and tells `progress` of them.
///
/// # Errors
/// `Stopped`; the dataset is damaged; and those of `f`.
pub(super) fn each_sample(
    dir: &Path,
    done: &mut usize,
    progress: &mut dyn Progress,
    mut f: impl FnMut(usize, Sample) -> Result<()>,
) -> Result<()> {
    Reader::open(dir)?.read_all(|sample| {
        f(*done, sample)?;
        *done += 1;
        if done.is_multiple_of(BATCH) {
            progress.reached(*done as u64)?;
        }
        Ok(())
    })
}

/// Copies the `rows` rows of the dataset behind `first` others, none of whom may be `forgotten`.
fn copy(
    request: &Request,
    (rows, first): (usize, usize),
    forgotten: Option<&Tombstones>,
    sink: &mut Sink,
    progress: &mut dyn Progress,
) -> Result<()> {
    let missing = sink.missing();
    let size = request.destination.output_size;
    let (mut done, mut batch) = (0usize, Vec::new());
    progress.start("export", rows as u64, "images");
    each_sample(&request.dataset, &mut done, progress, |at, sample| {
        if forgotten.is_some() {
            let sources: Vec<(String, f32)> = serde_json::from_str(&sample.label_mix).unwrap_or_default();
            let shown = sources.iter().map(|(name, _)| name.as_str()).chain([sample.identity.as_str()]);
            place::refuse_forgotten(&request.destination.out, forgotten, shown, FORGOTTEN)?;
        }
        if missing.contains(first + at) {
            match size {
                None => sink.write(sample)?,
                Some(size) => {
                    batch.push(sample);
                    if batch.len() == BATCH {
                        write_scaled(&mut batch, size, sink)?;
                    }
                }
            }
        }
        Ok(())
    })?;
    if let Some(size) = size {
        write_scaled(&mut batch, size, sink)?;
    }
    progress.finish();
    Ok(())
}

/// Writes samples with images of side `size`, and empties the list.
fn write_scaled(batch: &mut Vec<Sample>, size: usize, sink: &mut Sink) -> Result<()> {
    let scaled = std::mem::take(batch).into_par_iter().map(|mut sample| {
        let pixels = View::square(size).encoded(&sample.image);
        let pixels = pixels.map_err(|e| Error::Manifest(format!("image {}: {e}", sample.sample_id)))?;
        let origin = if sample.synthetic { Origin::Synthetic } else { Origin::Real };
        sample.image = encode(&pixels, size, size, sample.extension, origin)?;
        Ok(sample)
    });
    scaled.collect::<Result<Vec<_>>>()?.into_iter().try_for_each(|sample| sink.write(sample))
}
