//! A classifier trained on real images only, which judges whether other images show the identity that they claim.

use crate::config::RunConfig;
use crate::dataset::IdentityDataset;
use crate::error::{Error, Result};
use crate::model::{Mode, Network, Weights, build_classifier, classifier::Classifier, loss};
use crate::ops::adam::{AdamParams, Moments};
use crate::ops::{Tape, differentiate};
use crate::progress::Progress;
use crate::seeds::Seeds;
use crate::train::{draw_indices, step::top1};
use candle_core::{Device, Tensor};
use rand::{Rng, RngExt};

/// Images a step.
const BATCH: usize = 64;
/// Adam's constants at the start; the step size falls to zero along a cosine.
const ADAM: AdamParams = AdamParams { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8 };
/// Images are shifted by up to this share of their side.
const SHIFT: f64 = 0.06;

/// A trained judge.
pub struct Judge {
    network: Network<Classifier>,
    device: Device,
}

impl Judge {
    /// Trains C's network of `config` by cross entropy for `kimg` thousand images, mirrored and shifted at random.
    pub fn train(
        real: &IdentityDataset,
        config: &RunConfig,
        kimg: f64,
        device: &Device,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        // Other streams than the generator's training, so that C there and the judge are two classifiers.
        let seeds = Seeds::keyed(&[b"judge", &config.seed.to_le_bytes()]);
        let classes = real.identities().len();
        let network = build_classifier(config, classes, &mut Weights::Fresh(&seeds), device)?;
        let trained = network.params.values().filter(|p| p.trainable);
        let params = trained.map(|p| Ok((p.var.clone(), Moments::zeros_like(&p.var)?))).collect::<Result<Vec<_>>>()?;
        let mut train = config.train.clone();
        (train.batch_size, train.balanced) = (BATCH, false);
        let steps = (kimg * 1000.0 / BATCH as f64).ceil() as u64;
        progress.start("judge", steps * BATCH as u64, "images");
        for step in 0..steps {
            let indices = draw_indices(real, &train, &seeds, step);
            let mut rng = seeds.stream("flips", &[step]);
            let flips: Vec<bool> = indices.iter().map(|_| rng.random()).collect();
            let images = shifted(&real.batch(&indices, &flips, device)?, &mut rng)?;
            let labels: Vec<u32> = indices.iter().map(|i| real.labels()[*i]).collect();
            let tape = Tape::default();
            let (_, logits) = network.net.forward(&tape.constant(&images), Mode::Train)?;
            let labels = Tensor::from_vec(labels, BATCH, device)?;
            let (loss, at_logits) = differentiate(&[&logits], |t| {
                let loss = loss::classifier(&t[0], &labels)?;
                Ok((loss.clone(), loss))
            })?;
            if !loss.to_scalar::<f32>()?.is_finite() {
                let advice = "its training images may be damaged".into();
                return Err(Error::Diverged { step, what: "the judge's loss".into(), advice });
            }
            let grads = tape.gradients(&[(&logits, &at_logits[0])], params.iter().map(|(var, _)| var.as_tensor()))?;
            let cosine = 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos());
            let adam = AdamParams { learning_rate: ADAM.learning_rate * cosine, ..ADAM };
            for (var, moments) in &params {
                if let Some(grad) = grads.get(var) {
                    moments.step(var, grad, step + 1, &adam)?;
                }
            }
            progress.at((step + 1) * BATCH as u64);
            if progress.stop_requested() {
                return Err(Error::Stopped);
            }
        }
        progress.finish();
        Ok(Self { network, device: device.clone() })
    }

    /// Share of `images` that are labelled as they claim, in [0, 1].
    pub fn top1(&self, images: &IdentityDataset) -> Result<f64> {
        let all: Vec<usize> = (0..images.len()).collect();
        let mut right = 0.0;
        for part in all.chunks(BATCH) {
            let x = images.batch(part, &[], &self.device)?;
            let labels: Vec<u32> = part.iter().map(|i| images.labels()[*i]).collect();
            let (_, logits) = self.network.net.forward(&(&x).into(), Mode::Eval)?;
            right += f64::from(top1(&logits, &labels)?) * part.len() as f64;
        }
        Ok(right / images.len() as f64)
    }
}

/// `[B, S, S, 3]`, each image moved by some whole pixels; the edge is repeated.
fn shifted(x: &Tensor, rng: &mut impl Rng) -> Result<Tensor> {
    let (b, size, _, channels) = x.dims4()?;
    let reach = (size as f64 * SHIFT).round() as i64;
    let values = x.flatten_all()?.to_vec1::<f32>()?;
    let mut out = Vec::with_capacity(values.len());
    let clamped = |i: usize, d: i64| (i as i64 + d).clamp(0, size as i64 - 1) as usize;
    for image in values.chunks_exact(size * size * channels) {
        let (dy, dx) = (rng.random_range(-reach..=reach), rng.random_range(-reach..=reach));
        for (y, x) in (0..size).flat_map(|y| (0..size).map(move |x| (y, x))) {
            let at = (clamped(y, dy) * size + clamped(x, dx)) * channels;
            out.extend_from_slice(&image[at..at + channels]);
        }
    }
    Ok(Tensor::from_vec(out, (b, size, size, channels), x.device())?)
}
