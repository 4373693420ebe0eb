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
//! Beyond the paper, and off in its preset: L_G may compare the maps of D and C too, and G may descend on the cross entropy of D's
//! verdicts, E with it where a reconstruction is judged.
//!
//! D and C see the fakes once. Two backward passes use that forward pass: one asks for the gradients of D's parameters,
//! the other for those of the fakes, which G and E then go on from.

use super::centres::Centres;
use crate::config::TrainConfig;
use crate::error::{Error, Result};
use crate::model::{CvaeGan, loss};
use crate::nn::{Labels, Mode, Network};
use crate::ops::adam::{AdamParams, Moments};
use crate::ops::{Gradients, Tape, Value, apply as compose, differentiate};
use crate::seeds::{Seeds, normal};
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
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
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
    /// Term of L_G over the maps of D and C; 0 where it is switched off.
    pub loss_maps: f32,
    /// G's cross entropy, nats.
    pub loss_adversarial: f32,
    /// Share of the real batch that C labels right (while training on it).
    pub top1_real: f32,
    /// Share of the label-only fakes that C labels as asked.
    pub top1_fake: f32,
}

impl StepLosses {
    /// All of them: the name of the metric, what a message calls it, and the value.
    fn table(&self) -> [(&'static str, &'static str, f32); 12] {
        [
            ("loss_kl", "L_KL", self.loss_kl),
            ("loss_pixel", "the pixel term of L_G", self.loss_pixel),
            ("loss_pair_d", "the f_D term of L_G", self.loss_pair_d),
            ("loss_pair_c", "the f_C term of L_G", self.loss_pair_c),
            ("loss_gd", "L_GD", self.loss_gd),
            ("loss_gc", "L_GC", self.loss_gc),
            ("loss_d", "L_D", self.loss_d),
            ("loss_c", "L_C", self.loss_c),
            ("loss_maps", "the term of L_G over maps", self.loss_maps),
            ("loss_adversarial", "the cross entropy of G", self.loss_adversarial),
            ("top1_real", "top-1 of real images", self.top1_real),
            ("top1_fake", "top-1 of label-only fakes", self.top1_fake),
        ]
    }

    /// All of them by the names of the metrics.
    pub fn named(&self) -> [(&'static str, f32); 12] {
        self.table().map(|(name, _, value)| (name, value))
    }

    /// The first that is not a finite number, as a message calls it.
    pub fn non_finite(&self) -> Option<&'static str> {
        self.table().into_iter().find(|(_, _, value)| !value.is_finite()).map(|(_, words, _)| words)
    }
}

/// Adam over the four networks.
pub struct Optimizer {
    params: AdamParams,
    classifier_decay: f64,
    moments: BTreeMap<String, (Var, Moments)>,
}

impl Optimizer {
    /// Zero moments for every trainable parameter of `model`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
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
        let params = AdamParams {
            learning_rate: config.learning_rate,
            beta1: config.beta1,
            beta2: config.beta2,
            eps: 1e-8,
            weight_decay: 0.0,
        };
        Ok(Self { params, classifier_decay: config.classifier_decay, moments })
    }

    /// Moves every parameter of `network` that has a gradient; `t` counts steps from 1.
    fn descend(&self, network: &str, grads: &Gradients, t: u64) -> Result<()> {
        let prefix = format!("{network}.");
        let weight_decay = if network == "classifier" { self.classifier_decay } else { 0.0 };
        let params = AdamParams { weight_decay, ..self.params };
        for (_, (var, moments)) in self.moments.range(prefix.clone()..).take_while(|(k, _)| k.starts_with(&prefix)) {
            if let Some(grad) = grads.get(var) {
                moments.step(var, grad, t, &params)?;
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
    ///
    /// # Errors
    /// `Model`: a tensor that is missing, or of another shape.
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
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn top1(logits: &Tensor, labels: &[u32]) -> Result<f32> {
    let best = logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
    let right = best.iter().zip(labels).filter(|(a, b)| a == b).count();
    Ok(right as f32 / labels.len().max(1) as f32)
}

/// Gradients of one step, each network's by the losses that it descends on.
#[derive(Default)]
pub struct StepGradients {
    /// Of L_C with respect to C's parameters.
    pub classifier: Gradients,
    /// Of L_D with respect to D's.
    pub discriminator: Gradients,
    /// Of lambda1 L_KL + lambda2 L_G with respect to E's.
    pub encoder: Gradients,
    /// Of lambda2 L_G + lambda3 L_GD + lambda4 L_GC with respect to G's.
    pub generator: Gradients,
}

/// Parameters that an optimiser moves.
fn trainable<N>(network: &Network<N>) -> impl Iterator<Item = &Tensor> {
    network.params.values().filter(|p| p.trainable).map(|p| p.var.as_tensor())
}

/// Computes all losses of `batch` and the gradients of each network's own; moves nothing but `centres` and the running
/// statistics.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn gradients(
    model: &CvaeGan,
    centres: &mut Centres,
    batch: &Batch,
    config: &TrainConfig,
) -> Result<(StepLosses, StepGradients)> {
    let b = batch.labels.len();
    let device = batch.images.device();
    let x_r = &batch.images;
    let c_r = Labels::plain(&batch.labels, device)?;
    let c_p = Labels::plain(&batch.fake_labels, device)?;
    let targets = Tensor::from_slice(&batch.labels, b, device)?;

    // Real images, reconstructions and label-only fakes pass every network as batches of their own: in a shared one,
    // losses on x_p would reach E through the statistics of the normalisation. G's running statistics, which serve
    // synthesis, follow x_p.
    let making = Tape::new(config.precision);
    let (mu, logvar) = model.encoder.net.forward(&making.constant(x_r), &c_r, Mode::Train)?;
    let z_f = compose(&[&mu, &logvar], |t| &t[0] + (&t[1] * 0.5)?.exp()?.mul(&batch.posterior_noise)?)?;
    let z_p = making.constant(&crossed(&batch.prior_noise, z_f.tensor(), &batch.cross)?);
    let g_f = model.generator.net.forward(&z_f, &c_r, Mode::Batch)?;
    let g_p = model.generator.net.forward(&z_p, &c_p, Mode::Train)?;

    // Another tape from here on: D and C are differentiated up to the fakes, G and E from the fakes on.
    let judging = Tape::new(config.precision);
    let real_images = judging.constant(x_r);
    let (x_f, x_p) = (judging.leaf(g_f.tensor()), judging.leaf(g_p.tensor()));

    // C on L_C.
    let real_c = model.classifier.net.forward(&real_images, Mode::Train)?;
    let (loss_c, at_logits) = differentiate(&[&real_c.output], |t| {
        let loss = loss::classifier(&t[0], &targets)?;
        Ok((loss.clone(), loss))
    })?;
    let classifier = judging.gradients(&seeds(&[&real_c.output], &at_logits), trainable(&model.classifier))?;

    // D on L_D.
    let real_d = model.discriminator.net.forward(&real_images, Mode::Train)?;
    let d_f = model.discriminator.net.forward(&x_f, Mode::Batch)?;
    let d_p = model.discriminator.net.forward(&x_p, Mode::Batch)?;
    let verdicts = [&real_d.output, &d_f.output, &d_p.output];
    let (loss_d, at_verdicts) = differentiate(&verdicts, |t| {
        let loss = loss::discriminator(&t[0], &t[1], &t[2])?;
        Ok((loss.clone(), loss))
    })?;
    let discriminator = judging.gradients(&seeds(&verdicts, &at_verdicts), trainable(&model.discriminator))?;

    // G on lambda2 L_G + lambda3 L_GD + lambda4 L_GC, and its cross entropy: first up to the fakes.
    let c_f = model.classifier.net.forward(&x_f, Mode::Batch)?;
    let c_p = model.classifier.net.forward(&x_p, Mode::Batch)?;
    let (fd_r, fc_r) = (real_d.features.tensor(), real_c.features.tensor());
    let mut judged = vec![&x_f, &d_f.features, &c_f.features, &d_p.features, &c_p.features, &d_f.output, &d_p.output];
    let mut maps_r = Vec::new();
    if config.pair_maps > 0.0 {
        maps_r.extend(real_d.maps.iter().chain(&real_c.maps));
        judged.extend(d_f.maps.iter().chain(&c_f.maps));
    }
    let ((pairs, means, maps, adversarial), at_judged) = differentiate(&judged, |t| {
        let pairs = [loss::pairwise(x_r, &t[0])?, loss::pairwise(fd_r, &t[1])?, loss::pairwise(fc_r, &t[2])?];
        let means = centres.update((fd_r, fc_r, &batch.labels), (&t[3], &t[4], &batch.fake_labels))?;
        let adversarial = loss::adversarial(&t[5], &t[6])?;
        let mut maps = Tensor::zeros((), x_r.dtype(), device)?;
        for (real, made) in maps_r.iter().zip(&t[7..]) {
            maps = (maps + loss::pairwise_map(real.tensor(), made)?)?;
        }
        let loss_g = loss::weighted_pairs(&pairs, [config.pair_pixel, config.pair_d, config.pair_c])?;
        let loss_g = (loss_g + (&maps * config.pair_maps)?)?;
        let means_only = ((&means.overall * config.mean_weight)? + (&means.classes * config.class_mean_weight)?)?;
        let loss = ((loss_g * config.pair_weight)? + means_only)? + (&adversarial * config.adversarial_weight)?;
        Ok((loss?, (pairs, means, maps, adversarial)))
    })?;
    let at_fakes = judging.gradients(&seeds(&judged, &at_judged), [x_f.tensor(), x_p.tensor()])?;
    judging.clear();

    // Then through G; E on lambda1 L_KL, and on what reaches it through x_f.
    let (loss_kl, at_posterior) = differentiate(&[&mu, &logvar], |t| {
        let loss = loss::kl_divergence(&t[0], &t[1])?;
        Ok(((&loss * config.kl_weight)?, loss))
    })?;
    let mut from_fakes = seeds(&[&mu, &logvar], &at_posterior);
    for made in [&g_f, &g_p] {
        let grad = at_fakes.get(made.tensor());
        from_fakes.push((made, grad.ok_or_else(|| candle_core::Error::Msg("no gradient reached a fake".into()))?));
    }
    let both = trainable(&model.generator).chain(trainable(&model.encoder));
    let both = making.gradients(&from_fakes, both)?;
    let (encoder, generator) = both.split(trainable(&model.encoder));

    let scalar = |t: &Tensor| t.to_scalar::<f32>();
    let losses = StepLosses {
        loss_kl: scalar(&loss_kl)?,
        loss_pixel: scalar(&pairs[0])?,
        loss_pair_d: scalar(&pairs[1])?,
        loss_pair_c: scalar(&pairs[2])?,
        loss_gd: scalar(&means.overall)?,
        loss_gc: scalar(&means.classes)?,
        loss_d: scalar(&loss_d)?,
        loss_c: scalar(&loss_c)?,
        loss_maps: scalar(&maps)?,
        loss_adversarial: scalar(&adversarial)?,
        top1_real: top1(real_c.output.tensor(), &batch.labels)?,
        top1_fake: top1(c_p.output.tensor(), &batch.fake_labels)?,
    };
    Ok((losses, StepGradients { classifier, discriminator, encoder, generator }))
}

/// Values with the gradients of a loss with respect to them.
fn seeds<'a>(values: &[&'a Value], grads: &'a [Tensor]) -> Vec<(&'a Value, &'a Tensor)> {
    values.iter().copied().zip(grads).collect()
}

/// `noise` with the rows that `cross` names replaced by rows of `posterior`.
fn crossed(noise: &Tensor, posterior: &Tensor, cross: &[Option<usize>]) -> Result<Tensor> {
    let both = Tensor::cat(&[noise, posterior], 0)?;
    let rows: Vec<u32> = cross.iter().enumerate().map(|(i, c)| c.map_or(i, |from| cross.len() + from) as u32).collect();
    Ok(both.index_select(&Tensor::from_vec(rows, cross.len(), noise.device())?, 0)?)
}

/// Moves every network along its gradients; `t` counts steps from 1.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn apply(optimizer: &Optimizer, gradients: &StepGradients, t: u64) -> Result<()> {
    optimizer.descend("classifier", &gradients.classifier, t)?;
    optimizer.descend("discriminator", &gradients.discriminator, t)?;
    optimizer.descend("encoder", &gradients.encoder, t)?;
    optimizer.descend("generator", &gradients.generator, t)
}

/// Moves the averaged network towards `source`; running statistics are averaged like weights.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn average<N>(averaged: &Network<N>, source: &Network<N>, decay: f64) -> Result<()> {
    for (name, p) in &averaged.params {
        crate::ops::adam::moving_average(&p.var, &source.params[name].var, decay)?;
    }
    Ok(())
}
