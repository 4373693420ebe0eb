//! A model at its task: images in, results with their provenance out.

use super::given::{Given, Picture};
use super::unlike::Unlike;
use super::{Holes, Path, Request, Task};
use crate::apply::{self, BATCH, Networks, mask::Hole, morph::morph};
use crate::error::{Error, Result};
use crate::formats::Sample;
use crate::jobs::Context;
use crate::manifest::DEFAULT_SET;
use crate::progress::{Progress, Silent};
use crate::seeds::{Seeds, normal_vec};
use crate::sink::Sink;
use crate::sink::order::Order;
use crate::synthesize::{picture, sample_id};
use crate::train::TrainedModel;
use rayon::prelude::*;
use serde_json::{Value, json};

/// A result: the labels that it was made with and their weights, and its pixels.
struct Treated {
    mix: Vec<(u32, f32)>,
    pixels: Vec<u8>,
}

/// A model at its task.
pub(super) struct Treating<'a> {
    request: &'a Request,
    model: &'a TrainedModel,
    networks: Networks<'a>,
    /// The hole, if there is one.
    hole: Option<Hole>,
    /// Where z goes, if it goes towards an attribute.
    direction: Vec<f32>,
    /// What is done, for the order.
    pub parameters: Value,
}

impl<'a> Treating<'a> {
    /// Reads what the task needs beside the images.
    ///
    /// # Errors
    /// The model has no encoder; a hole, a factor or an attribute that does not fit it.
    pub fn new(
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
                        "option `factor` {} is not 2 or more, or does not divide the {size} px of the model's images; use 2, 4 or 8, say",
                        options.factor
                    )));
                }
                (None, json!({ "name": "upscale", "options": options }))
            }
            Task::Morph(path, steps) => (None, json!({ "name": "morph", "path": path, "steps": steps })),
            Task::Change(attribute, steps) => {
                direction = attribute.direction(model, &networks, context, progress)?;
                let bytes: Vec<u8> = direction.iter().flat_map(|v| v.to_le_bytes()).collect();
                let hash = blake3::hash(&bytes).to_hex().to_string();
                (None, json!({ "name": "morph", "groups": attribute.groups, "direction": hash, "steps": steps }))
            }
        };
        Ok(Self { request, model, networks, hole, direction, parameters })
    }

    /// Side of the images that are taken, in pixels.
    pub fn side(&self) -> usize {
        match &self.request.task {
            Task::Inpaint(..) | Task::Morph(..) | Task::Change(..) => self.networks.image_size(),
            Task::Upscale(options) => self.networks.image_size() / options.factor,
        }
    }

    /// Side of the images that are written, in pixels.
    pub fn output_side(&self) -> usize {
        self.request.destination.output_size.unwrap_or(self.networks.image_size())
    }

    /// Treats the images that `sink` lacks results of, some at a time; tells those that are unlike the training's.
    ///
    /// # Errors
    /// `Stopped`; a file cannot be written.
    pub fn write(
        &self,
        given: &Given,
        order: &Order,
        sink: &mut Sink,
        progress: &mut dyn Progress,
    ) -> Result<Option<Unlike>> {
        let mut unlike = Unlike::to(self.model);
        let (missing, (together, results)) = (sink.missing(), self.request.task.shape());
        let (mut waiting, mut group, mut number, mut done) = (Vec::new(), Vec::new(), 0, 0u64);
        let mut flush = |waiting: &mut Vec<(usize, Vec<Picture>)>, done: &mut u64| -> Result<()> {
            let pictures: Vec<&Picture> = waiting.iter().flat_map(|(_, group)| group).collect();
            let seen = self.seen(&pictures)?;
            let given: Option<Vec<u32>> = pictures.iter().map(|p| p.label).collect();
            let labels = given.map_or_else(|| self.networks.classify(&seen), Ok)?;
            if let Some(unlike) = &mut unlike {
                let names = pictures.iter().map(|p| p.name.as_str());
                unlike.add(names.zip(self.differences(&seen)?));
            }
            self.treat(&pictures, &seen, &labels, &mut |place, result, treated| {
                let (number, group) = &waiting[place];
                if missing.contains(number * results + result) {
                    sink.write(self.sample(group, result, treated, order)?)?;
                }
                *done += 1;
                progress.reached(*done)
            })?;
            waiting.clear();
            Ok(())
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
                flush(&mut waiting, &mut done)?;
            }
            Ok(())
        })?;
        if !waiting.is_empty() {
            flush(&mut waiting, &mut done)?;
        }
        Ok(unlike)
    }

    /// What the networks see of `pictures`: holes are spanned, and what is small is enlarged.
    fn seen(&self, pictures: &[&Picture]) -> Result<Vec<Vec<f32>>> {
        let see = |p: &&Picture| {
            if matches!(self.request.task, Task::Upscale(_)) {
                return apply::upscale::bicubic(&p.pixels, self.side(), self.networks.image_size());
            }
            let mut image = apply::values(&p.pixels);
            self.hole.iter().for_each(|hole| hole.span(&mut image));
            Ok(image)
        };
        pictures.par_iter().map(see).collect()
    }

    /// How far each image is from what the model makes of it, by what is known of it, as the person that C takes it for: whom somebody
    /// names may be whom it is to become.
    fn differences(&self, seen: &[Vec<f32>]) -> Result<Vec<f32>> {
        let labels = self.networks.classify(seen)?;
        let known = |value: usize| self.hole.as_ref().is_none_or(|hole| !hole.within()[value / 3]);
        self.networks.differences(seen, &labels, known)
    }

    /// Hands the results of each group of `pictures`, which the networks see as `seen`, to `f`, with the group's place and their own in it, in
    /// this order.
    fn treat(
        &self,
        pictures: &[&Picture],
        seen: &[Vec<f32>],
        labels: &[u32],
        f: &mut dyn FnMut(usize, usize, Treated) -> Result<()>,
    ) -> Result<()> {
        let networks = &self.networks;
        let one = |label: u32, pixels: Vec<u8>| Treated { mix: vec![(label, 1.0)], pixels };
        match (&self.request.task, &self.hole) {
            (Task::Inpaint(_, options, _), Some(hole)) => {
                let (_, samples) = self.request.task.shape();
                let all: Vec<(usize, usize)> =
                    (0..pictures.len()).flat_map(|place| (0..samples).map(move |sample| (place, sample))).collect();
                for part in all.chunks(BATCH) {
                    let images: Vec<Vec<f32>> = part.iter().map(|(p, _)| apply::values(&pictures[*p].pixels)).collect();
                    let labels: Vec<u32> = part.iter().map(|(p, _)| labels[*p]).collect();
                    let noise: Vec<f32> = part.iter().flat_map(|(p, s)| self.noise(pictures[*p], *s)).collect();
                    let holes = vec![hole; part.len()];
                    let filled = apply::inpaint::inpaint(networks, &images, &labels, &holes, &noise, options)?;
                    for (((place, sample), label), image) in part.iter().zip(labels).zip(&filled) {
                        f(*place, *sample, one(label, apply::bytes(image)))?;
                    }
                }
                Ok(())
            }
            (Task::Inpaint(..), None) => Err(Error::Internal("a task without its hole".into())),
            (Task::Upscale(options), _) => {
                let small: Vec<Vec<u8>> = pictures.iter().map(|p| p.pixels.clone()).collect();
                let large = apply::upscale::upscale(networks, &small, labels, options)?;
                labels
                    .iter()
                    .zip(large)
                    .enumerate()
                    .try_for_each(|(place, (label, pixels))| f(place, 0, one(*label, pixels)))
            }
            (Task::Morph(path, steps), _) => {
                let z = networks.encode(seen, labels)?.0.to_vec2::<f32>()?;
                let mut ends = z.chunks_exact(2).zip(labels.chunks_exact(2)).enumerate();
                ends.try_for_each(|(place, (z, labels))| {
                    self.frames([&z[0], &z[1]], [labels[0], labels[1]], *steps, *path, |step, frame| {
                        f(place, step, frame)
                    })
                })
            }
            (Task::Change(_, steps), _) => {
                let z = networks.encode(seen, labels)?.0.to_vec2::<f32>()?;
                z.iter().zip(labels).enumerate().try_for_each(|(place, (z, label))| {
                    let changed: Vec<f32> = z.iter().zip(&self.direction).map(|(z, d)| z + d).collect();
                    self.frames([z, &changed], [*label; 2], *steps, Path::Straight, |step, frame| f(place, step, frame))
                })
            }
        }
    }

    /// Hands the frames of one morph to `f`.
    fn frames(
        &self,
        ends: [&[f32]; 2],
        labels: [u32; 2],
        steps: usize,
        path: Path,
        mut f: impl FnMut(usize, Treated) -> Result<()>,
    ) -> Result<()> {
        let frames = morph(&self.networks, ends, labels, steps, path)?;
        let last = (frames.len() - 1) as f32;
        frames.iter().enumerate().try_for_each(|(step, image)| {
            let share = step as f32 / last;
            let mix = if labels[0] == labels[1] {
                vec![(labels[0], 1.0)]
            } else {
                vec![(labels[0], 1.0 - share), (labels[1], share)]
            };
            f(step, Treated { mix, pixels: apply::bytes(image) })
        })
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
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let stem: String = group[0].stem().chars().filter(plain).take(40).collect();
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
