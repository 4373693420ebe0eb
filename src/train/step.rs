//! One update of the CVAE-GAN: the only place that says which network descends on which loss.
//!
//! As Algorithm 1 of the paper, all losses are computed from the same parameters and then every network moves:
//!
//! | network | descends on |
//! |---|---|
//! | C | L_C |
//! | D | L_D |
//! | G | lambda2 L_G + lambda3 L_GD + lambda4 L_GC |
//! | E | lambda1 L_KL + lambda2 L_G |
//!
//! D and C see the fakes once. Two backward passes use that forward pass: L_D stops at the fakes, and the feature
//! losses stop at D's and C's weights and hand the fakes' gradient on to G and E.

use super::centres::Centres;
use crate::config::TrainConfig;
use crate::error::{Error, Result};
use crate::model::{CvaeGan, Labels, Mode, Network, loss};
use crate::ops::adam::{AdamParams, Moments};
use crate::ops::frozen_weights;
use crate::seeds::{Seeds, normal};
use candle_core::backprop::GradStore;
use candle_core::{D, Tensor, Var};
use rand::RngExt;
use rand::seq::SliceRandom;
use std::collections::BTreeMap;

/// A real batch and the random draws that go with it.
pub struct Batch {
    /// `[B, S, S, 3]`
    pub images: Tensor,
    /// Label of each image.
    pub labels: Vec<u32>,
    /// Label of each label-only fake.
    pub fake_labels: Vec<u32>,
    /// `[B, Z]`, for the posterior's sample.
    pub posterior_noise: Tensor,
    /// `[B, Z]`, z of the label-only fakes.
    pub prior_noise: Tensor,
    /// For each label-only fake, the image whose posterior sample replaces its noise.
    pub cross: Vec<Option<usize>>,
}

impl Batch {
    /// Draws labels and noise of `step` for `images` with `labels`. Fakes take their labels from `pool`.
    pub fn draw(
        images: Tensor,
        labels: Vec<u32>,
        pool: &[u32],
        latent_dim: usize,
        config: &TrainConfig,
        seeds: &Seeds,
        step: u64,
    ) -> Result<Self> {
        let (b, device) = (labels.len(), images.device().clone());
        let mut rng = seeds.stream("fake labels", &[step]);
        let fake_labels: Vec<u32> = (0..b).map(|_| pool[rng.random_range(0..pool.len())]).collect();
        let mut others: Vec<usize> = (0..b).collect();
        others.shuffle(&mut rng);
        let crossed = (b as f64 * config.cross_fraction).round() as usize;
        let cross = others.into_iter().enumerate().map(|(i, o)| (i < crossed).then_some(o)).collect();
        Ok(Self {
            posterior_noise: normal(&mut seeds.stream("posterior", &[step]), &[b, latent_dim], &device)?,
            prior_noise: normal(&mut seeds.stream("prior", &[step]), &[b, latent_dim], &device)?,
            images,
            labels,
            fake_labels,
            cross,
        })
    }
}

/// The losses of a step, before their weights, and what tells whether training goes well.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct StepLosses {
    /// L_KL, nats per image.
    pub loss_kl: f32,
    /// Pixel term of L_G.
    pub loss_pixel: f32,
    /// f_D term of L_G.
    pub loss_pair_d: f32,
    /// f_C term of L_G.
    pub loss_pair_c: f32,
    /// L_GD.
    pub loss_gd: f32,
    /// L_GC.
    pub loss_gc: f32,
    /// L_D, nats.
    pub loss_d: f32,
    /// L_C, nats per image.
    pub loss_c: f32,
    /// Share of the real batch that C labels right (while training on it).
    pub top1_real: f32,
    /// Share of the label-only fakes that C labels as asked.
    pub top1_fake: f32,
}

impl StepLosses {
    /// The first loss that is not a finite number.
    pub fn non_finite(&self) -> Option<&'static str> {
        let all = [
            ("L_KL", self.loss_kl),
            ("the pixel term of L_G", self.loss_pixel),
            ("the f_D term of L_G", self.loss_pair_d),
            ("the f_C term of L_G", self.loss_pair_c),
            ("L_GD", self.loss_gd),
            ("L_GC", self.loss_gc),
            ("L_D", self.loss_d),
            ("L_C", self.loss_c),
        ];
        all.into_iter().find(|(_, v)| !v.is_finite()).map(|(name, _)| name)
    }
}

/// Adam over the four networks.
pub struct Optimizer {
    params: AdamParams,
    moments: BTreeMap<String, (Var, Moments)>,
}

impl Optimizer {
    /// Zero moments for every trainable parameter of `model`.
    pub fn new(model: &CvaeGan, config: &TrainConfig) -> Result<Self> {
        let mut moments = BTreeMap::new();
        let networks = [
            ("encoder", &model.encoder.params),
            ("generator", &model.generator.params),
            ("discriminator", &model.discriminator.params),
            ("classifier", &model.classifier.params),
        ];
        for (network, params) in networks {
            for (name, p) in params.iter().filter(|(_, p)| p.trainable) {
                moments.insert(format!("{network}.{name}"), (p.var.clone(), Moments::zeros_like(&p.var)?));
            }
        }
        let params =
            AdamParams { learning_rate: config.learning_rate, beta1: config.beta1, beta2: config.beta2, eps: 1e-8 };
        Ok(Self { params, moments })
    }

    /// Moves every parameter of `network` that has a gradient; `t` counts steps from 1.
    fn descend(&self, network: &str, grads: &GradStore, t: u64) -> Result<()> {
        let prefix = format!("{network}.");
        for (_, (var, moments)) in self.moments.range(prefix.clone()..).take_while(|(k, _)| k.starts_with(&prefix)) {
            if let Some(grad) = grads.get(var) {
                moments.step(var, grad, t, &self.params)?;
            }
        }
        Ok(())
    }

    /// Copies the moments into `out`.
    pub fn export(&self, out: &mut BTreeMap<String, Tensor>) {
        for (name, (_, m)) in &self.moments {
            out.insert(format!("adam.first.{name}"), m.first.as_tensor().clone());
            out.insert(format!("adam.second.{name}"), m.second.as_tensor().clone());
        }
    }

    /// Takes the moments out of `tensors`, as [`Optimizer::export`] left them.
    pub fn import(&self, tensors: &mut BTreeMap<String, Tensor>) -> Result<()> {
        for (name, (_, m)) in &self.moments {
            for (kind, var) in [("first", &m.first), ("second", &m.second)] {
                let key = format!("adam.{kind}.{name}");
                let t = tensors.remove(&key).filter(|t| t.dims() == var.dims());
                var.set(&t.ok_or_else(|| Error::Model(format!("tensor `{key}` is missing or has another shape")))?)?;
            }
        }
        Ok(())
    }
}

/// Share of rows of `logits` whose largest value stands at the label.
pub fn top1(logits: &Tensor, labels: &[u32]) -> Result<f32> {
    let best = logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
    let right = best.iter().zip(labels).filter(|(a, b)| a == b).count();
    Ok(right as f32 / labels.len().max(1) as f32)
}

/// Gradients of one step, by network.
pub struct Gradients {
    classifier: GradStore,
    discriminator: GradStore,
    generator_and_encoder: GradStore,
}

impl Gradients {
    /// The gradient of a parameter of `network`, if any loss that the network descends on depends on it.
    pub fn get(&self, network: &str, param: &Tensor) -> Option<&Tensor> {
        self.store(network).get(param)
    }

    fn store(&self, network: &str) -> &GradStore {
        match network {
            "classifier" => &self.classifier,
            "discriminator" => &self.discriminator,
            _ => &self.generator_and_encoder,
        }
    }
}

/// Computes all losses of `batch` and the gradients of each network's own; moves nothing but `centres` and the running
/// statistics.
pub fn gradients(
    model: &CvaeGan,
    centres: &mut Centres,
    batch: &Batch,
    config: &TrainConfig,
) -> Result<(StepLosses, Gradients)> {
    let b = batch.labels.len();
    let device = batch.images.device();
    let x_r = &batch.images;
    let c_r = Labels::plain(&batch.labels, device)?;
    let targets = Tensor::from_slice(&batch.labels, b, device)?;

    // Real images, reconstructions and label-only fakes pass every network as batches of their own: in a shared one,
    // losses on x_p would reach E through the statistics of the normalisation. G's running statistics, which serve
    // synthesis, follow x_p.
    let (mu, logvar) = model.encoder.net.forward(x_r, &c_r, Mode::Train)?;
    let z_f = (&mu + (&logvar * 0.5)?.exp()?.mul(&batch.posterior_noise)?)?;
    let z_p = crossed(&batch.prior_noise, &z_f.detach(), &batch.cross)?;
    let g_f = model.generator.net.forward(&z_f, &c_r, Mode::Batch)?;
    let g_p = model.generator.net.forward(&z_p, &Labels::plain(&batch.fake_labels, device)?, Mode::Train)?;
    // Cut here: D and C are differentiated up to the fakes, G and E from the fakes on.
    let x_f = Var::from_tensor(&g_f.detach())?;
    let x_p = Var::from_tensor(&g_p.detach())?;

    // C on L_C.
    let (fc_r, logits) = model.classifier.net.forward(x_r, Mode::Train)?;
    let loss_c = loss::classifier(&logits, &targets)?;
    let classifier = loss_c.backward()?;

    // D on L_D.
    let (fd_r, real) = model.discriminator.net.forward(x_r, Mode::Train)?;
    let (fd_f, reconstructed) = model.discriminator.net.forward(&x_f, Mode::Batch)?;
    let (fd_p, sampled) = model.discriminator.net.forward(&x_p, Mode::Batch)?;
    let loss_d = loss::discriminator(&real, &reconstructed, &sampled)?;
    let discriminator = loss_d.backward()?;

    // G on lambda2 L_G + lambda3 L_GD + lambda4 L_GC, E on lambda1 L_KL + lambda2 L_G.
    let (fc_f, _) = model.classifier.net.forward(&x_f, Mode::Batch)?;
    let (fc_p, logits_p) = model.classifier.net.forward(&x_p, Mode::Batch)?;
    let (fd_r, fc_r) = (fd_r.detach(), fc_r.detach());
    let loss_pixel = loss::pairwise(x_r, &x_f)?;
    let loss_pair_d = loss::pairwise(&fd_r, &fd_f)?;
    let loss_pair_c = loss::pairwise(&fc_r, &fc_f)?;
    let means = centres.update((&fd_r, &fc_r, &batch.labels), (&fd_p, &fc_p, &batch.fake_labels))?;
    let loss_g =
        (((&loss_pixel * config.pair_pixel)? + (&loss_pair_d * config.pair_d)?)? + (&loss_pair_c * config.pair_c)?)?;
    let feature_losses = (((loss_g * config.pair_weight)? + (&means.overall * config.mean_weight)?)?
        + (&means.classes * config.class_mean_weight)?)?;
    let at_fakes = frozen_weights(|| feature_losses.backward())?;
    let carried = |made: &Tensor, cut: &Var| -> Result<Tensor> {
        let grad = at_fakes.get(cut).ok_or_else(|| candle_core::Error::Msg("no gradient reached a fake".into()))?;
        Ok(made.mul(&grad.detach())?.sum_all()?)
    };
    let through_fakes = (carried(&g_f, &x_f)? + carried(&g_p, &x_p)?)?;
    let loss_kl = loss::kl_divergence(&mu, &logvar)?;
    let generator_and_encoder = (through_fakes + (&loss_kl * config.kl_weight)?)?.backward()?;

    let scalar = |t: &Tensor| t.to_scalar::<f32>();
    let losses = StepLosses {
        loss_kl: scalar(&loss_kl)?,
        loss_pixel: scalar(&loss_pixel)?,
        loss_pair_d: scalar(&loss_pair_d)?,
        loss_pair_c: scalar(&loss_pair_c)?,
        loss_gd: scalar(&means.overall)?,
        loss_gc: scalar(&means.classes)?,
        loss_d: scalar(&loss_d)?,
        loss_c: scalar(&loss_c)?,
        top1_real: top1(&logits, &batch.labels)?,
        top1_fake: top1(&logits_p, &batch.fake_labels)?,
    };
    Ok((losses, Gradients { classifier, discriminator, generator_and_encoder }))
}

/// `noise` with the rows that `cross` names replaced by rows of `posterior`.
fn crossed(noise: &Tensor, posterior: &Tensor, cross: &[Option<usize>]) -> Result<Tensor> {
    let both = Tensor::cat(&[noise, posterior], 0)?;
    let rows: Vec<u32> = cross.iter().enumerate().map(|(i, c)| c.map_or(i, |from| cross.len() + from) as u32).collect();
    Ok(both.index_select(&Tensor::from_vec(rows, cross.len(), noise.device())?, 0)?)
}

/// Moves every network along its gradients; `t` counts steps from 1.
pub fn apply(optimizer: &Optimizer, gradients: &Gradients, t: u64) -> Result<()> {
    for network in ["classifier", "discriminator", "encoder", "generator"] {
        optimizer.descend(network, gradients.store(network), t)?;
    }
    Ok(())
}

/// Moves the averaged network towards `source`; running statistics are averaged like weights.
pub fn average<N>(averaged: &Network<N>, source: &Network<N>, decay: f64) -> Result<()> {
    for (name, p) in &averaged.params {
        crate::ops::adam::moving_average(&p.var, &source.params[name].var, decay)?;
    }
    Ok(())
}
