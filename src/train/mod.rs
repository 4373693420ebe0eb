//! Training of a CVAE-GAN on one identity set: [`fit`] runs to the end, resuming from a checkpoint if there is one.

pub mod average;
pub mod base;
pub mod batch;
pub mod centres;
pub mod checkpoint;
pub mod grid;
pub mod latent;
pub mod metrics;
mod objective;
pub mod optimizer;
pub mod reconstruction;
pub mod sampled;
pub mod step;
pub mod trained;
pub mod watch;

use crate::config::{RunConfig, TrainConfig};
use crate::dataset::IdentityDataset;
use crate::error::{Error, Result};
use crate::model::encoder::Encoder;
use crate::model::{CvaeGan, Networks, build_generator, generator::Generator};
use crate::nn::{Labels, Mode, Network, Weights};
use crate::progress::Progress;
use crate::seeds::{Seeds, Shuffled};
use crate::store;
use batch::Batch;
use candle_core::{Device, Tensor};
use centres::Centres;
use metrics::Metrics;
use optimizer::Optimizer;
use rand::RngExt;
use sampled::Candidates;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
pub use trained::TrainedModel;
use watch::{Figures, LOOKS, Watch, settled};

/// Version of the training: a change of what the same configuration and images train must change it.
pub const VERSION: u32 = 2;

/// Images whose posteriors a finished model keeps, at most.
const LATENT_IMAGES: usize = 4096;

/// Everything that a training has at a step; what a checkpoint saves.
pub struct State {
    /// The networks.
    pub model: CvaeGan,
    /// The averaged generator.
    pub averaged: Network<Generator>,
    /// Moments of Adam.
    pub optimizer: Optimizer,
    /// Moving averages of feature means.
    pub centres: Centres,
    /// Completed steps.
    pub step: u64,
    /// Figures of every look so far, if somebody watches.
    pub figures: Vec<Figures>,
    /// Whom the weights knew that it began with.
    pub base: Vec<String>,
    /// The order of the epoch, which its step tells.
    order: Shuffled,
}

impl State {
    /// Fresh networks for `classes` identities.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn new(config: &RunConfig, classes: usize, device: &Device) -> Result<Self> {
        let seeds = Seeds::new(config.seed);
        let model = CvaeGan::new(config, classes, Weights::Fresh(&seeds), device)?;
        // The same streams give the same initial weights.
        let averaged = build_generator(config, classes, &mut Weights::Fresh(&seeds), device)?;
        let optimizer = Optimizer::new(&model, &averaged, &config.train)?;
        let centres = Centres::new(classes, config.train.centre_decay);
        Ok(Self {
            model,
            averaged,
            optimizer,
            centres,
            step: 0,
            figures: Vec::new(),
            base: Vec::new(),
            order: Shuffled::default(),
        })
    }

    /// One update on the batch that `config` and the step name.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn advance(
        &mut self,
        dataset: &IdentityDataset,
        config: &RunConfig,
        device: &Device,
    ) -> Result<step::StepLosses> {
        // On a thread of the pool: the kernels then share out their work without waking it up each time.
        rayon::scope(|_| self.advance_here(dataset, config, device))
    }

    fn advance_here(
        &mut self,
        dataset: &IdentityDataset,
        config: &RunConfig,
        device: &Device,
    ) -> Result<step::StepLosses> {
        let seeds = Seeds::new(config.seed);
        let batch = draw_batch(dataset, config, &seeds, self.step, &mut self.order, device)?;
        self.catch_up(&batch)?;
        let (losses, gradients) = step::gradients(&self.model, &mut self.centres, &batch, &config.train)?;
        if losses.non_finite().is_none() {
            self.optimizer.apply(&gradients, self.step + 1)?;
            let decay = average::decay(&config.train, self.step + 1);
            average::average(&self.averaged, &self.model.generator, decay)?;
        }
        self.step += 1;
        Ok(losses)
    }

    /// Brings the rows of tables that `batch` uses to where they are after the steps so far.
    fn catch_up(&mut self, batch: &Batch) -> Result<()> {
        if !self.optimizer.has_tables() {
            return Ok(());
        }
        let distinct = |labels: &mut dyn Iterator<Item = &u32>| -> Vec<u32> {
            labels.copied().collect::<BTreeSet<_>>().into_iter().collect()
        };
        let encoded = distinct(&mut batch.labels.iter());
        let made = distinct(&mut batch.labels.iter().chain(&batch.fake_labels));
        self.optimizer.catch_up("encoder", &encoded, self.step)?;
        self.optimizer.catch_up("generator", &made, self.step)?;
        let asked = batch.candidates.as_ref().map_or(&[][..], |c| &c.labels);
        self.optimizer.catch_up("classifier", asked, self.step)
    }

    /// The networks that synthesis takes, as they are after the steps so far; they share what is whole already.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn networks(&self, config: &RunConfig, device: &Device) -> Result<Networks> {
        let mut tensors = BTreeMap::new();
        self.averaged.export("averaged", &mut tensors);
        self.model.encoder.iter().for_each(|e| e.export("encoder", &mut tensors));
        self.model.classifier.export("classifier", &mut tensors);
        self.optimizer.make_whole(&mut tensors, self.step)?;
        let mut tensors: BTreeMap<String, Tensor> =
            tensors.into_iter().map(|(name, t)| (name.replacen("averaged.", "generator.", 1), t)).collect();
        Networks::loaded(config, self.centres.classes(), &mut tensors, device)
    }
}

/// Number of steps of a whole training.
pub fn total_steps(config: &TrainConfig) -> u64 {
    (config.duration_kimg * 1000.0 / config.batch_size as f64).ceil().max(1.0) as u64
}

/// Indices of the real images of `step`: epoch by epoch in a shuffled order, or evenly over identities.
fn draw_indices(
    dataset: &IdentityDataset,
    config: &TrainConfig,
    seeds: &Seeds,
    step: u64,
    order: &mut Shuffled,
) -> Vec<usize> {
    let b = config.batch_size;
    if config.balanced {
        let mut rng = seeds.stream("balanced order", &[step]);
        return (0..b)
            .map(|_| {
                let images = dataset.images_of(rng.random_range(0..dataset.identities().len() as u32));
                images[rng.random_range(0..images.len())]
            })
            .collect();
    }
    order.draw(dataset.len(), b, seeds, "order", step)
}

fn draw_batch(
    dataset: &IdentityDataset,
    config: &RunConfig,
    seeds: &Seeds,
    step: u64,
    order: &mut Shuffled,
    device: &Device,
) -> Result<Batch> {
    let indices = draw_indices(dataset, &config.train, seeds, step, order);
    let mut rng = seeds.stream("flips", &[step]);
    let flips: Vec<bool> = indices.iter().map(|_| config.train.flip && rng.random()).collect();
    let labels = indices.iter().map(|i| dataset.labels()[*i]).collect();
    let images = dataset.batch(&indices, &flips, device)?;
    let classes = dataset.identities().len();
    let even: Vec<u32> = if config.train.balanced { (0..classes as u32).collect() } else { Vec::new() };
    let pool = if config.train.balanced { &even } else { dataset.labels() };
    let mut batch = Batch::draw(images, labels, pool, config.model.latent_dim, &config.train, seeds, step)?;
    let drawn = config.train.sampled_classes;
    if drawn > 0 {
        let own = batch.labels.iter().chain(&batch.fake_labels).copied();
        batch.candidates = Some(Candidates::draw(own, drawn, classes, seeds, step, device)?);
    }
    Ok(batch)
}

/// Trains on `dataset` until `config.train.duration_kimg`, with checkpoints, sample grids and the final model in `dir`.
///
/// Goes on from `dir/checkpoint.safetensors` if it belongs to the same data and configuration; a training that was
/// interrupted ends with the weights of one that was not.
///
/// `watch` looks at the generator [`LOOKS`] times in `config.train.patience_kimg`; when so many looks have seen nothing get better, the
/// training is at its end.
///
/// # Errors
/// `Diverged` at the first step with a loss that is not finite (the last checkpoint stays), `Interrupted` after saving
/// a checkpoint, `Model` if the checkpoint belongs to another training.
pub fn fit(
    dataset: &IdentityDataset,
    config: &RunConfig,
    dir: &Path,
    device: &Device,
    mut watch: Option<&mut Watch>,
    progress: &mut dyn Progress,
) -> Result<TrainedModel> {
    let classes = dataset.identities().len();
    if dataset.is_empty() || dataset.image_size() != config.image_size {
        return Err(Error::Manifest("no usable images to train on".into()));
    }
    config.train.precision.check(device)?;
    store::create_dir(dir)?;
    let checkpoint = dir.join(checkpoint::CHECKPOINT_FILE);
    let mut state = State::new(config, classes, device)?;
    if checkpoint.exists() {
        checkpoint::load(&checkpoint, &mut state, config, dataset, device)?;
    } else if config.train.init.is_some() {
        return Err(Error::Config("train.init is set by option `init`, which names the weights to begin with".into()));
    }
    let mut metrics = Metrics::open(dir, state.step)?;
    if state.step > 0 {
        progress.note(&format!("resuming at step {}", state.step));
    }
    let total = total_steps(&config.train);
    if state.step > total {
        return Err(Error::Model(format!(
            "{}: is at {} kimg already, beyond train.duration_kimg {}; ask for more, or choose another folder",
            checkpoint.display(),
            state.step as f64 * config.train.batch_size as f64 / 1000.0,
            config.train.duration_kimg
        )));
    }
    store::write_atomic(&dir.join("config.toml"), crate::config::to_toml(config)?.as_bytes())?;
    let batch = config.train.batch_size as u64;
    let every = |kimg: f64| ((kimg * 1000.0 / batch as f64).round() as u64).max(1);
    let (save_every, grid_every) = (every(config.train.checkpoint_kimg), every(config.train.grid_kimg));
    let patience = config.train.patience_kimg;
    let look_every = every(patience / LOOKS as f64);
    let grid_path = |step: u64| dir.join(grid::grid_file(step * batch / 1000));
    let draw_grid = |state: &State| {
        // Tables that are moved by rows have to be made whole first.
        let whole = state.optimizer.has_tables().then(|| state.networks(config, device)).transpose()?;
        let (encoder, generator) = match &whole {
            Some(networks) => (networks.encoder.as_ref(), &networks.generator),
            None => (state.model.encoder.as_ref(), &state.averaged),
        };
        let png = grid::render(encoder.map(|e| &e.net), &generator.net, dataset, config, device)?;
        store::write_atomic(&grid_path(state.step), &png)
    };
    // A finished model knows the latent mean of everybody, which takes longer: it can be stopped.
    let unsaved = |state: &State, finished: Option<&dyn Progress>| -> Result<_> {
        let fitted = |e: &Network<Encoder>| {
            let latents = latent::fit_latents(&e.net, dataset, config, LATENT_IMAGES, device)?;
            match finished {
                Some(progress) => latents.of_all(&e.net, dataset, device, progress),
                None => Ok(latents),
            }
        };
        let networks = state.networks(config, device)?;
        let latents = networks.encoder.as_ref().map(fitted).transpose()?;
        let model = TrainedModel::from_training(state, &networks, latents.as_ref(), config, dataset, device)?;
        Ok((networks, model))
    };
    let began = progress.elapsed();
    progress.start("train", total * batch, "images");
    progress.at(state.step * batch);
    while state.step < total && !settled(&state.figures) {
        let losses = state.advance(dataset, config, device)?;
        if let Some(what) = losses.non_finite() {
            let advice = if checkpoint.exists() {
                format!("the last good state is kept in {}; lower train.learning_rate", checkpoint.display())
            } else {
                "no checkpoint had been written yet; lower train.learning_rate".to_owned()
            };
            return Err(Error::Diverged { step: state.step - 1, what: what.into(), advice });
        }
        let step = state.step;
        progress.train_step(step, &losses.named());
        let seconds = progress.elapsed().saturating_sub(began).as_secs_f64();
        metrics.add(step, step * batch, seconds, &losses);
        if let Some(watch) = watch.as_mut().filter(|_| patience > 0.0 && step.is_multiple_of(look_every)) {
            let figures = watch(&unsaved(&state, None)?.1.in_memory()?)?;
            metrics.add_figures(step, step * batch, &figures);
            state.figures.push(figures);
        }
        let last = step == total || settled(&state.figures);
        progress.at(step * batch);
        let stop = progress.stop_requested();
        // First, so that whoever goes on from the checkpoint has it.
        if step.is_multiple_of(grid_every) {
            draw_grid(&state)?;
        }
        if step.is_multiple_of(save_every) || last || stop {
            checkpoint::save(&checkpoint, &state, config, dataset)?;
        }
        if stop && !last {
            return Err(Error::Interrupted { step });
        }
    }
    if !grid_path(state.step).exists() {
        draw_grid(&state)?;
    }
    progress.finish();
    if state.step < total {
        progress.note(&format!(
            "stopped after {} of {} thousand images: in the last {patience} thousand the judge saw nothing get better",
            state.step * batch / 1000,
            config.train.duration_kimg
        ));
    }
    let (networks, model) = unsaved(&state, Some(&*progress))?;
    model.with_reconstruction(&networks, dataset)?.save(dir)
}

/// Posterior means and log-variances of images, `[n, Z]` each, row-major.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn encode(
    encoder: &Encoder,
    dataset: &IdentityDataset,
    indices: &[usize],
    device: &Device,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let (mut means, mut logvars) = (Vec::new(), Vec::new());
    for part in indices.chunks(64) {
        let x = dataset.batch(part, &[], device)?;
        let labels: Vec<u32> = part.iter().map(|i| dataset.labels()[*i]).collect();
        let labels = Labels::plain(&labels, device)?;
        let (mu, logvar) = encoder.forward(&(&x).into(), &labels, Mode::Eval)?;
        means.extend(mu.flatten_all()?.to_vec1::<f32>()?);
        logvars.extend(logvar.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok((means, logvars))
}
