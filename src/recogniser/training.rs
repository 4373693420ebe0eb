//! Training of a recogniser: phases of mixed sources, margin softmax, warm-up and cosine decay, checkpoints.

use super::augmentation::{augment, plain};
use super::margin::margin_softmax;
use super::{Recogniser, label_tensor, streams};
use crate::config::{EvaluationConfig, OptimiserKind, RecipeConfig};
use crate::dataset::Images;
use crate::error::{Error, Result};
use crate::nn::params::all_finite;
use crate::nn::{Mode, Weights, sealed};
use crate::ops::adam::{AdamParams, Moments};
use crate::ops::sgd::{self, SgdParams};
use crate::ops::{Tape, differentiate};
use crate::progress::Progress;
use crate::seeds::{Seeds, Shuffled};
use candle_core::{D, Device, Tensor, Var};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Version of the training: a change of what the same configuration trains must change it.
const FORMAT: u32 = 1;
/// Steps between checkpoints.
const SAVE_EVERY: u64 = 500;
/// Points of a training curve.
const CURVE_POINTS: u64 = 50;

/// Images of one kind, and the class of each.
pub struct Ingredient<'a> {
    /// The images.
    pub images: &'a dyn Images,
    /// Class of each label of `images`.
    pub classes: Vec<u32>,
    /// Share of a batch.
    pub share: f64,
}

/// Some steps with the same sources.
pub struct Phase<'a> {
    /// Number of steps.
    pub steps: u64,
    /// Where a batch comes from; their shares sum to 1.
    pub sources: Vec<Ingredient<'a>>,
}

/// What a recogniser is trained on, in order.
pub struct Curriculum<'a> {
    /// Number of classes.
    pub classes: usize,
    /// The phases, one after the other.
    pub phases: Vec<Phase<'a>>,
    /// Change images at random.
    pub augmented: bool,
}

impl Curriculum<'_> {
    /// Number of steps.
    pub fn steps(&self) -> u64 {
        self.phases.iter().map(|p| p.steps).sum()
    }

    /// blake3 (hex) of all that the curriculum feeds to a training.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.classes as u64).to_le_bytes());
        hasher.update(&[u8::from(self.augmented)]);
        for phase in &self.phases {
            hasher.update(&phase.steps.to_le_bytes());
            for source in &phase.sources {
                hasher.update(source.images.catalogue().hash().as_bytes());
                hasher.update(&source.share.to_le_bytes());
                for class in &source.classes {
                    hasher.update(&class.to_le_bytes());
                }
            }
            hasher.update(b"|");
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The sources of `step`.
    fn sources(&self, mut step: u64) -> &[Ingredient<'_>] {
        for phase in &self.phases {
            if step < phase.steps {
                return &phase.sources;
            }
            step -= phase.steps;
        }
        &[]
    }
}

/// A point of a training curve: means since the point before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Steps taken.
    pub step: u64,
    /// Margin softmax, nats per image.
    pub loss: f64,
    /// Share of the batch whose own class has the largest cosine.
    pub top1: f64,
}

/// Images and classes of a step. `orders` are those of the sources' epochs, as far as they are there.
fn draw_batch(
    curriculum: &Curriculum,
    config: &EvaluationConfig,
    seeds: &Seeds,
    step: u64,
    orders: &mut Vec<Shuffled>,
    device: &Device,
) -> Result<(Tensor, Vec<u32>)> {
    let (size, batch) = (config.image_size, config.recipe.batch_size);
    let (mut chosen, mut classes) = (Vec::with_capacity(batch), Vec::with_capacity(batch));
    let sources = curriculum.sources(step);
    orders.resize_with(sources.len().max(orders.len()), Shuffled::default);
    let mut before = 0.0;
    for (n, source) in sources.iter().enumerate() {
        // Rounded sums, so that the parts fill the batch.
        let end = before + source.share;
        let count = (end * batch as f64).round() as usize - (before * batch as f64).round() as usize;
        before = end;
        let images = source.images.catalogue();
        for i in orders[n].draw(images.len(), count, seeds, &format!("order {n}"), step) {
            chosen.push(source.images.read(i)?);
            classes.push(source.classes[images.labels()[i] as usize]);
        }
    }
    let mut values = vec![0.0; chosen.len() * size * size * 3];
    values.par_chunks_mut(size * size * 3).zip(&chosen).enumerate().for_each(|(i, (out, pixels))| {
        if curriculum.augmented {
            let mut rng = seeds.stream("augmentation", &[step, i as u64]);
            augment(pixels, size, &config.augmentation, &mut rng, out);
        } else {
            plain(pixels, out);
        }
    });
    Ok((Tensor::from_vec(values, (chosen.len(), size, size, 3), device)?, classes))
}

/// The state of a parameter's optimiser.
enum Slot {
    Sgd(Var),
    Adam(Moments),
}

/// Step size at `step` of `total`.
fn learning_rate(recipe: &RecipeConfig, step: u64, total: u64) -> f64 {
    let warm = (recipe.warmup * total as f64).ceil();
    let step = step as f64 + 1.0;
    if step <= warm {
        return recipe.learning_rate * step / warm;
    }
    let done = (step - warm) / (total as f64 - warm).max(1.0);
    recipe.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
}

/// A training in progress.
struct Progression {
    recogniser: Recogniser,
    slots: BTreeMap<String, Slot>,
    step: u64,
    curve: Vec<CurvePoint>,
    /// Sums of loss and top-1 since the last point, and their number.
    sums: (f64, f64, u64),
    /// Time spent on it up to the last checkpoint, in seconds.
    seconds: f64,
    /// The orders of the sources' epochs, which the step tells.
    orders: Vec<Shuffled>,
}

#[derive(Serialize, Deserialize)]
struct TrainingHeader {
    key: String,
    step: u64,
    curve: Vec<CurvePoint>,
    sums: (f64, f64, u64),
    #[serde(default)]
    seconds: f64,
}

impl Progression {
    fn new(config: &EvaluationConfig, curriculum: &Curriculum, seed: u64, device: &Device) -> Result<Self> {
        let recogniser = Recogniser::new(config, curriculum.classes, Weights::Fresh(&streams(seed)), device)?;
        let mut slots = BTreeMap::new();
        for (name, p) in recogniser.network.params.iter().filter(|(_, p)| p.trainable) {
            let slot = match config.recipe.optimiser {
                OptimiserKind::Sgd => Slot::Sgd(Var::zeros(p.var.shape(), p.var.dtype(), device)?),
                OptimiserKind::Adamw => Slot::Adam(Moments::zeros_like(&p.var)?),
            };
            slots.insert(name.clone(), slot);
        }
        Ok(Self {
            recogniser,
            slots,
            step: 0,
            curve: Vec::new(),
            sums: (0.0, 0.0, 0),
            seconds: 0.0,
            orders: Vec::new(),
        })
    }

    /// Every tensor of the training, by name.
    fn vars(&self) -> BTreeMap<String, Var> {
        let params =
            self.recogniser.network.params.iter().map(|(name, p)| (format!("recogniser.{name}"), p.var.clone()));
        let mut vars: BTreeMap<String, Var> = params.collect();
        for (name, slot) in &self.slots {
            match slot {
                Slot::Sgd(velocity) => drop(vars.insert(format!("velocity.{name}"), velocity.clone())),
                Slot::Adam(m) => {
                    vars.insert(format!("adam.first.{name}"), m.first.clone());
                    vars.insert(format!("adam.second.{name}"), m.second.clone());
                }
            }
        }
        vars
    }

    /// Writes the state.
    ///
    /// # Errors
    /// `Diverged` if a value is not finite.
    fn save(&self, path: &Path, key: &str) -> Result<()> {
        let tensors: BTreeMap<String, Tensor> =
            self.vars().into_iter().map(|(name, v)| (name, v.as_tensor().clone())).collect();
        for (name, tensor) in &tensors {
            if !all_finite(tensor)? {
                return Err(diverged(self.step, format!("the recogniser's tensor `{name}`")));
            }
        }
        let (curve, seconds) = (self.curve.clone(), self.seconds);
        let header = TrainingHeader { key: key.into(), step: self.step, curve, sums: self.sums, seconds };
        sealed::write(path, &tensors, &header)
    }

    /// Goes on from `path` if it belongs to this training.
    fn load(&mut self, path: &Path, key: &str, device: &Device) -> Result<()> {
        let (mut tensors, header, _): (_, TrainingHeader, _) = sealed::read(path, device)?;
        if header.key != key {
            // Left behind by another configuration or other images.
            return Ok(());
        }
        for (name, var) in self.vars() {
            let t = tensors.remove(&name).filter(|t| t.dims() == var.dims());
            let missing =
                || Error::Model(format!("{}: tensor `{name}` is missing or has another shape", path.display()));
            var.set(&t.ok_or_else(missing)?)?;
        }
        (self.step, self.curve, self.sums, self.seconds) = (header.step, header.curve, header.sums, header.seconds);
        Ok(())
    }

    /// One optimiser step; returns loss and top-1 of its batch.
    fn advance(&mut self, curriculum: &Curriculum, config: &EvaluationConfig, seed: u64) -> Result<(f64, f64)> {
        let (net, recipe) = (&self.recogniser.network, &config.recipe);
        let device = &self.recogniser.device;
        let (images, classes) = draw_batch(curriculum, config, &streams(seed), self.step, &mut self.orders, device)?;
        let labels = label_tensor(&classes, device)?;
        let tape = Tape::new(recipe.precision);
        let embeddings = net.net.embed(&tape.constant(&images), Mode::Train)?;
        let cosines = net.net.cosines(&embeddings)?;
        let (loss, at_cosines) = differentiate(&[&cosines], |t| {
            let loss = margin_softmax(&t[0], &labels, recipe.loss, recipe.scale, recipe.margin)?;
            Ok((loss.clone(), loss))
        })?;
        let loss = f64::from(loss.to_scalar::<f32>()?);
        if !loss.is_finite() {
            return Err(diverged(self.step, "the recogniser's loss".into()));
        }
        let right = cosines.argmax(D::Minus1)?.eq(&labels)?.to_dtype(candle_core::DType::F32)?;
        let top1 = f64::from(right.mean_all()?.to_scalar::<f32>()?);
        let trained = net.params.values().filter(|p| p.trainable).map(|p| p.var.as_tensor());
        let grads = tape.gradients(&[(&cosines, &at_cosines[0])], trained)?;
        tape.clear();
        let rate = learning_rate(recipe, self.step, curriculum.steps());
        for (name, slot) in &self.slots {
            let var = &net.params[name].var;
            let Some(grad) = grads.get(var) else { continue };
            let weight_decay = if var.rank() > 1 { recipe.weight_decay } else { 0.0 };
            match slot {
                Slot::Sgd(velocity) => {
                    let p = SgdParams { learning_rate: rate, momentum: recipe.momentum, weight_decay };
                    sgd::step(var, velocity, grad, &p)?;
                }
                Slot::Adam(moments) => {
                    let p = AdamParams { learning_rate: rate, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay };
                    moments.step(var, grad, self.step + 1, &p)?;
                }
            }
        }
        self.step += 1;
        Ok((loss, top1))
    }

    /// Adds a step to the training curve.
    fn record(&mut self, loss: f64, top1: f64, total: u64) {
        let (l, t, n) = &mut self.sums;
        (*l, *t, *n) = (*l + loss, *t + top1, *n + 1);
        if self.step.is_multiple_of(total.div_ceil(CURVE_POINTS)) || self.step == total {
            self.curve.push(CurvePoint { step: self.step, loss: *l / *n as f64, top1: *t / *n as f64 });
            self.sums = (0.0, 0.0, 0);
        }
    }
}

fn diverged(step: u64, what: String) -> Error {
    Error::Diverged { step, what, advice: "lower recipe.learning_rate".into() }
}

/// One training: all that decides it, and where it is kept.
#[derive(Clone, Copy)]
pub struct Training<'a> {
    /// What is learned from.
    pub curriculum: &'a Curriculum<'a>,
    /// Network and recipe.
    pub config: &'a EvaluationConfig,
    /// Root of its streams.
    pub seed: u64,
    /// Checkpoints and the final state.
    pub path: &'a Path,
}

/// A finished training.
pub struct Trained {
    /// What was trained.
    pub recogniser: Recogniser,
    /// Its training curve.
    pub curve: Vec<CurvePoint>,
    /// Time spent, in seconds, interruptions left out.
    pub seconds: f64,
}

/// Trains a recogniser.
///
/// Goes on from `training.path` if that holds a state of the same training, and leaves the final state there: a training that
/// was interrupted ends with the weights of one that was not.
///
/// # Errors
/// `Diverged` where a loss or a weight is not finite; `Interrupted` after saving a checkpoint.
pub fn train(training: &Training, device: &Device, progress: &mut dyn Progress) -> Result<Trained> {
    let Training { curriculum, config, seed, path } = *training;
    config.recipe.precision.check(device)?;
    let mut state = Progression::new(config, curriculum, seed, device)?;
    let key = training_key(curriculum, config, seed)?;
    if path.exists() {
        state.load(path, &key, device)?;
    }
    let (total, batch) = (curriculum.steps(), config.recipe.batch_size as u64);
    let (began, before) = (progress.elapsed(), state.seconds);
    if state.step < total {
        progress.at(state.step * batch);
    }
    while state.step < total {
        // On a thread of the pool: the kernels then share out their work without waking it up each time.
        let (loss, top1) = rayon::scope(|_| state.advance(curriculum, config, seed))?;
        state.record(loss, top1, total);
        progress.at(state.step * batch);
        let stop = progress.stop_requested() && state.step < total;
        if stop || state.step.is_multiple_of(SAVE_EVERY) || state.step == total {
            state.seconds = before + progress.elapsed().saturating_sub(began).as_secs_f64();
            state.save(path, &key)?;
        }
        if stop {
            return Err(Error::Interrupted { step: state.step });
        }
    }
    Ok(Trained { recogniser: state.recogniser, curve: state.curve, seconds: state.seconds })
}

/// Hash of all that decides the weights of a training.
///
/// # Errors
/// The configuration has no text.
pub fn training_key(curriculum: &Curriculum, config: &EvaluationConfig, seed: u64) -> Result<String> {
    let config = (&config.recogniser, config.image_size, &config.recipe, &config.augmentation);
    let parts = (FORMAT, config, seed, curriculum.hash());
    crate::config::hash(&parts)
}
