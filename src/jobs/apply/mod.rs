//! Images that are there, treated by a trained model: holes are filled, small images made large, faces morphed. The order first, then images, the card,
//! and the summary last, as in synthesis.

mod attribute;
mod given;
mod pictures;

use super::input::{Input, rejects_path};
use super::wanted::Destination;
use super::{Context, Rejected};
pub use crate::apply::inpaint::{Inpaint, Seam};
pub use crate::apply::morph::Path;
pub use crate::apply::upscale::Upscale;
use crate::apply::{self, BATCH, Networks, mask::Hole, morph::morph};
use crate::dataset::View;
pub use crate::dataset::align::Feature;
use crate::error::{Error, Result};
use crate::formats::Sample;
use crate::manifest::{DEFAULT_SET, keys, rejects};
use crate::ops::simd;
use crate::progress::{Progress, Silent};
use crate::seeds::{Seeds, normal_vec};
use crate::sink::commit::{Opened, Output};
use crate::sink::erase::tombstones;
use crate::sink::ledger::{CONFIG, SUMMARY_VERSION, Summary, content_hash};
use crate::sink::order::{Order, OrderedModel};
use crate::sink::{Sink, card};
use crate::synthesize::{picture, sample_id};
use crate::train::{TrainedModel, trained::MODEL_FILE};
use crate::{remote, store};
pub use attribute::Attribute;
use given::{Given, Picture};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The images to treat.
#[derive(Clone, Debug)]
pub enum Images {
    /// Files, and folders of them.
    Files(Vec<PathBuf>),
    /// Rows of a manifest.
    Manifest(Input),
}

/// Whom an image shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Whom its row names.
    Rows,
    /// This identity of the model.
    Named(String),
    /// Whom the model's classifier takes it for.
    Auto,
    /// Of every two images the first shows the one, the second the other.
    Both(String, String),
}

/// Where the holes are.
#[derive(Clone, Debug)]
pub enum Holes {
    /// Where this picture is white.
    Mask(PathBuf),
    /// Left, top, width and height, in pixels of the model's images.
    Rectangle([usize; 4]),
    /// Around these features of aligned faces.
    Features(Vec<Feature>),
}

/// What to do with each image.
#[derive(Clone, Debug)]
pub enum Task {
    /// Fill the holes, in so many ways.
    Inpaint(Holes, Inpaint, usize),
    /// Make it as large as the model's images.
    Upscale(Upscale),
    /// Go from every first image to every second one, in so many steps.
    Morph(Path, usize),
    /// Go from each image towards an attribute, in so many steps.
    Change(Attribute, usize),
}

/// What to do.
#[derive(Clone)]
pub struct Request {
    /// Folder or file of a trained model, or its address on the hub.
    pub model: String,
    /// The images to treat.
    pub images: Images,
    /// Whom they show.
    pub whom: Whom,
    /// What to do with them.
    pub task: Task,
    /// Root of the random streams.
    pub seed: u64,
    /// Where to write the results.
    pub destination: Destination,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The output folder.
    pub out: PathBuf,
    /// What it holds.
    pub summary: Summary,
    /// All was there already.
    pub before: bool,
    /// Images that were left out.
    pub rejected: Rejected,
}

impl Task {
    fn name(&self) -> &'static str {
        match self {
            Self::Inpaint(..) => "inpaint",
            Self::Upscale(_) => "upscale",
            Self::Morph(..) | Self::Change(..) => "morph",
        }
    }

    /// Images that it takes together, and results of these.
    fn shape(&self) -> (usize, usize) {
        match self {
            Self::Inpaint(_, _, samples) => (1, (*samples).max(1)),
            Self::Upscale(_) => (1, 1),
            Self::Morph(_, steps) => (2, (*steps).max(2)),
            Self::Change(_, steps) => (1, (*steps).max(2)),
        }
    }
}

/// Treats all images and writes what comes out.
///
/// # Errors
/// See [`Error`].
pub fn run(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Applied> {
    let request = &Request { destination: request.destination.placed()?, ..request.clone() };
    let d = &request.destination;
    if d.include_real {
        return Err(Error::Usage("option `include_real` does not apply here".into()));
    }
    let list = rejects_path(&d.out)?;
    let path = remote::localize_model(&request.model, MODEL_FILE, &context.cache, &context.access)?;
    let model = TrainedModel::load(&path, &context.device)?;
    let treating = Treating::new(request, &model, context, progress)?;
    let given = Given::open(request, &model, treating.side(), context)?;
    // All are looked at before anything is written: how many there are, and what they hold.
    let (mut count, mut hasher, mut rejected) = (0usize, blake3::Hasher::new(), Vec::new());
    progress.start("read", given.about(), "images");
    given.read(progress, &mut |picture| {
        match picture {
            Ok(picture) => {
                count += 1;
                for part in [picture.name.as_bytes(), &picture.pixels, &picture.label.unwrap_or(u32::MAX).to_le_bytes()]
                {
                    hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
                }
            }
            Err(reject) => rejected.push(reject),
        }
        Ok(())
    })?;
    progress.finish();
    if list.exists() {
        store::remove(&list)?;
    }
    if count == 0 {
        let first = rejected.first().map(ToString::to_string).unwrap_or_default();
        return Err(Error::Usage(format!("no image can be treated; the first: {first}")));
    }
    if !rejected.is_empty() {
        rejects::write(&list, &rejected)?;
    }
    let (together, results) = request.task.shape();
    if !count.is_multiple_of(together) {
        return Err(Error::Usage(format!("{} takes images two by two, and there are {count}", request.task.name())));
    }
    let rows = count / together * results;
    let order = Order {
        algorithm: (crate::train::VERSION, crate::ops::VERSION),
        kernels: if context.device.is_cpu() { simd::name() } else { "cuda" }.into(),
        models: Some(vec![OrderedModel {
            identity_set: DEFAULT_SET.into(),
            hash: model.hash.clone(),
            images: model.header.dataset_hash.clone(),
            judge: None,
        }]),
        alignment: model.header.config.alignment,
        seed: request.seed,
        format: d.format.name().into(),
        encoding: d.extension().into(),
        output_size: d.output_size,
        shard_rows: d.shard_rows.get(),
        rows: Some(rows),
        task: Some(treating.parameters.clone()),
        ..Order::new(&hasher.finalize().to_hex(), &model.header.config.hash()?)
    };
    let applied = |summary: Summary, before: bool| Applied {
        out: d.out.clone(),
        summary,
        before,
        rejected: Rejected { count: rejected.len(), list: list.clone() },
    };
    let mut output = match Output::open(&d.out, &order, d.repair)? {
        Opened::Complete(done) => return Ok(applied(*done, true)),
        Opened::Ready(output) => output,
    };
    if let Some(note) = output.note() {
        progress.note(&note);
    }
    if let Some(found) = tombstones(&d.out)?
        && let Some(person) = model.header.identities.iter().find(|i| found.contains(i))
    {
        return Err(Error::Usage(format!(
            "identity `{person}` was forgotten in {}: choose a model that does not know it",
            d.out.display()
        )));
    }
    store::write_atomic(&d.out.join(CONFIG), crate::config::to_toml(&model.header.config)?.as_bytes())?;
    output.arrange(rows, d.shard_rows.get())?;
    let mut sink = Sink::new(output, d.format, model.header.identities.clone());
    progress.start(request.task.name(), rows as u64, "images");
    treating.write(&given, &order, &mut sink, progress)?;
    progress.finish();
    let (output, rest) = sink.finish()?;
    let mut others = vec![card::FILE, CONFIG];
    if matches!(request.task, Task::Morph(..) | Task::Change(..)) {
        pictures::write(&d.out, treating.output_side(), results)?;
        others.extend([pictures::STRIP, pictures::ANIMATION]);
    }
    let done = Summary {
        version: SUMMARY_VERSION,
        order,
        synthetic: rows,
        real: 0,
        classes: model.header.identities.len(),
        new_identities: 0,
        screenings: Vec::new(),
        content_hash: content_hash(output.files()),
        image_size: Some(treating.output_side()),
        rows: 0,
        bytes: 0,
        commits: Vec::new(),
        files: Vec::new(),
    };
    store::write_atomic(&d.out.join(card::FILE), card::markdown(&done).as_bytes())?;
    Ok(applied(output.complete(done, &others, rest)?, false))
}

/// A result: the labels that it was made with and their weights, and its pixels.
#[derive(Clone)]
struct Treated {
    mix: Vec<(u32, f32)>,
    pixels: Vec<u8>,
}

/// A model at its task.
struct Treating<'a> {
    request: &'a Request,
    model: &'a TrainedModel,
    networks: Networks<'a>,
    /// The hole, if there is one.
    hole: Option<Hole>,
    /// Where z goes, if it goes towards an attribute.
    direction: Vec<f32>,
    /// What is done, for the order.
    parameters: Value,
}

impl<'a> Treating<'a> {
    fn new(
        request: &'a Request,
        model: &'a TrainedModel,
        context: &Context,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let networks = Networks::of(model)?;
        let size = networks.image_size();
        let mut direction = Vec::new();
        let (hole, parameters) = match &request.task {
            Task::Inpaint(holes, options, samples) => {
                let hole = match holes {
                    Holes::Mask(path) => Hole::read(path, size)?,
                    Holes::Rectangle(of) => Hole::rectangle(size, *of)?,
                    Holes::Features(features) => Hole::of_features(features, model.header.config.alignment, size)?,
                };
                let bits: Vec<u8> = hole.within().iter().map(|w| u8::from(*w)).collect();
                let of_hole = blake3::hash(&bits).to_hex().to_string();
                (Some(hole), json!({ "name": "inpaint", "hole": of_hole, "samples": samples, "options": options }))
            }
            Task::Upscale(options) => {
                if !(2..=size).contains(&options.factor) || !size.is_multiple_of(options.factor) {
                    return Err(Error::Usage(format!(
                        "option `factor` {} does not divide the {size} px of the model's images; use 2, 4 or 8, say",
                        options.factor
                    )));
                }
                (None, json!({ "name": "upscale", "options": options }))
            }
            Task::Morph(path, steps) => (None, json!({ "name": "morph", "path": path, "steps": steps })),
            Task::Change(attribute, steps) => {
                direction = attribute.direction(model, &networks, context, progress)?;
                (None, json!({ "name": "morph", "groups": attribute.groups, "direction": direction, "steps": steps }))
            }
        };
        Ok(Self { request, model, networks, hole, direction, parameters })
    }

    /// Side of the images that are taken, in pixels.
    fn side(&self) -> usize {
        match &self.request.task {
            Task::Inpaint(..) | Task::Morph(..) | Task::Change(..) => self.networks.image_size(),
            Task::Upscale(options) => self.networks.image_size() / options.factor,
        }
    }

    /// Side of the images that are written, in pixels.
    fn output_side(&self) -> usize {
        self.request.destination.output_size.unwrap_or(self.networks.image_size())
    }

    /// Treats the images that `sink` lacks results of, some at a time.
    fn write(&self, given: &Given, order: &Order, sink: &mut Sink, progress: &mut dyn Progress) -> Result<()> {
        let (missing, (together, results)) = (sink.missing(), self.request.task.shape());
        let (mut waiting, mut group, mut number, mut done) = (Vec::new(), Vec::new(), 0, 0u64);
        let flush = |waiting: &mut Vec<(usize, Vec<Picture>)>, sink: &mut Sink| -> Result<u64> {
            let pictures: Vec<&Picture> = waiting.iter().flat_map(|(_, group)| group).collect();
            let made = self.treat(&pictures)?;
            for ((number, group), of_group) in waiting.iter().zip(made) {
                for (result, treated) in of_group.into_iter().enumerate() {
                    if missing.contains(number * results + result) {
                        sink.write(self.sample(group, result, treated, order)?)?;
                    }
                }
            }
            let count = waiting.len() * results;
            waiting.clear();
            Ok(count as u64)
        };
        given.read(&mut Silent, &mut |picture| {
            let Ok(picture) = picture else { return Ok(()) };
            group.push(picture);
            if group.len() < together {
                return Ok(());
            }
            let mut rows = number * results..(number + 1) * results;
            if rows.any(|row| missing.contains(row)) {
                waiting.push((number, std::mem::take(&mut group)));
            } else {
                done += results as u64;
                group.clear();
            }
            number += 1;
            if waiting.len() == BATCH {
                done += flush(&mut waiting, sink)?;
                progress.at(done);
                if progress.stop_requested() {
                    return Err(Error::Stopped);
                }
            }
            Ok(())
        })?;
        if !waiting.is_empty() {
            flush(&mut waiting, sink)?;
        }
        Ok(())
    }

    /// The results of each group of pictures.
    fn treat(&self, pictures: &[&Picture]) -> Result<Vec<Vec<Treated>>> {
        let networks = &self.networks;
        let labelled = |seen: &[Vec<f32>]| -> Result<Vec<u32>> {
            let of = match pictures.iter().any(|p| p.label.is_none()) {
                true => networks.classify(seen)?,
                false => vec![0; seen.len()],
            };
            Ok(pictures.iter().zip(of).map(|(picture, seen)| picture.label.unwrap_or(seen)).collect())
        };
        let treated = |label: &u32, image: &Vec<f32>| Treated { mix: vec![(*label, 1.0)], pixels: apply::bytes(image) };
        let images: Vec<Vec<f32>> = pictures.iter().map(|p| apply::values(&p.pixels)).collect();
        match (&self.request.task, &self.hole) {
            (Task::Inpaint(_, options, samples), Some(hole)) => {
                let spanned = |image: &Vec<f32>| {
                    let mut image = image.clone();
                    hole.span(&mut image);
                    image
                };
                let labels = labelled(&images.par_iter().map(spanned).collect::<Vec<_>>())?;
                let holes = vec![hole; images.len()];
                let mut results = vec![Vec::new(); images.len()];
                for sample in 0..(*samples).max(1) {
                    let noise: Vec<f32> = pictures.iter().flat_map(|p| self.noise(p, sample)).collect();
                    let filled = apply::inpaint::inpaint(networks, &images, &labels, &holes, &noise, options)?;
                    for ((result, label), image) in results.iter_mut().zip(&labels).zip(&filled) {
                        result.push(treated(label, image));
                    }
                }
                Ok(results)
            }
            (Task::Inpaint(..), None) => Err(Error::Internal("a task without its hole".into())),
            (Task::Upscale(options), _) => {
                let small: Vec<Vec<u8>> = pictures.iter().map(|p| p.pixels.clone()).collect();
                let enlarge = |p: &Vec<u8>| apply::upscale::bicubic(p, self.side(), networks.image_size());
                let labels = labelled(&small.iter().map(enlarge).collect::<Result<Vec<_>>>()?)?;
                let large = apply::upscale::upscale(networks, &small, &labels, options)?;
                Ok(labels.iter().zip(&large).map(|(label, image)| vec![treated(label, image)]).collect())
            }
            (Task::Morph(path, steps), _) => {
                let labels = labelled(&images)?;
                let (z, _) = networks.encode(&images, &labels)?;
                let frames = |(z, labels): (&[Vec<f32>], &[u32])| {
                    self.frames([&z[0], &z[1]], [labels[0], labels[1]], *steps, *path)
                };
                z.to_vec2::<f32>()?.chunks_exact(2).zip(labels.chunks_exact(2)).map(frames).collect()
            }
            (Task::Change(_, steps), _) => {
                let labels = labelled(&images)?;
                let (z, _) = networks.encode(&images, &labels)?;
                let frames = |(z, label): (&Vec<f32>, &u32)| {
                    let changed: Vec<f32> = z.iter().zip(&self.direction).map(|(z, d)| z + d).collect();
                    self.frames([z, &changed], [*label; 2], *steps, Path::Straight)
                };
                z.to_vec2::<f32>()?.iter().zip(&labels).map(frames).collect()
            }
        }
    }

    /// The frames of one morph.
    fn frames(&self, ends: [&[f32]; 2], labels: [u32; 2], steps: usize, path: Path) -> Result<Vec<Treated>> {
        let frames = morph(&self.networks, ends, labels, steps, path)?;
        let last = (frames.len() - 1) as f32;
        let treated = frames.iter().enumerate().map(|(step, image)| {
            let share = step as f32 / last;
            let mix = if labels[0] == labels[1] {
                vec![(labels[0], 1.0)]
            } else {
                vec![(labels[0], 1.0 - share), (labels[1], share)]
            };
            Treated { mix, pixels: apply::bytes(image) }
        });
        Ok(treated.collect())
    }

    /// What z of result `result` is drawn by: the first is the likeliest.
    fn noise(&self, picture: &Picture, result: usize) -> Vec<f32> {
        let z = self.networks.latent_dim();
        if result == 0 {
            return vec![0.0; z];
        }
        let key = [&self.request.seed.to_le_bytes()[..], self.model.hash.as_bytes(), picture.name.as_bytes()];
        normal_vec(&mut Seeds::keyed(&key).stream("inpaint", &[result as u64]), z)
    }

    fn sample(&self, group: &[Picture], result: usize, treated: Treated, order: &Order) -> Result<Sample> {
        let (d, task) = (&self.request.destination, self.request.task.name());
        let names = &self.model.header.identities;
        let label = treated.mix.iter().fold((0, f32::MIN), |most, (l, w)| if *w > most.1 { (*l, *w) } else { most }).0;
        let mix: Vec<(&str, f32)> = treated.mix.iter().map(|(l, w)| (names[*l as usize].as_str(), *w)).collect();
        let image = picture(treated.pixels, self.networks.image_size(), self.output_side(), d.extension())?;
        // By its name somebody finds the result of a file.
        let stem: String = group[0].stem().chars().filter(char::is_ascii_alphanumeric).take(40).collect();
        let (parameters, result_name) = (self.parameters.to_string(), result.to_string());
        let of_group = group.iter().map(|p| p.name.as_str());
        let parts: Vec<&str> =
            [task, &self.model.hash, &parameters, &result_name].into_iter().chain(of_group).collect();
        Ok(Sample {
            image,
            extension: d.extension(),
            label: i64::from(label),
            label_mix: json!(mix).to_string(),
            identity: names[label as usize].clone(),
            identity_set: DEFAULT_SET.into(),
            sample_id: format!("{stem}x{}", sample_id(&parts)),
            synthetic: true,
            seed: self.request.seed,
            index: result as i64,
            latent: task.into(),
            truncation: 1.0,
            model_hash: self.model.hash.clone(),
            config_hash: order.config_hash.clone(),
            manifest_hash: order.manifest_hash.clone(),
        })
    }
}

/// The label of `identity` in `model`.
///
/// # Errors
/// `Usage`: the model does not know it.
fn label_of(model: &TrainedModel, identity: &str) -> Result<u32> {
    let known = &model.header.identities;
    keys::find(known, identity).map(|label| label as u32).ok_or_else(|| {
        Error::Usage(format!(
            "the model does not know identity `{identity}`; it knows {}, such as `{}`; with option `identity` auto its classifier chooses",
            known.len(),
            known.first().map_or("", String::as_str)
        ))
    })
}

/// How pictures of a manifest are seen: at side `side`.
fn view(model: &TrainedModel, side: usize) -> View {
    View::new(side, model.header.config.alignment)
}
