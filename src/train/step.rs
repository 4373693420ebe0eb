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
//! Beyond the paper, and off in its preset: L_G may compare the maps of D and C too, and G may descend on the cross entropies of D's
//! verdicts and C's labels, E with it where a reconstruction is judged. The paper's baselines leave out networks and terms: see [`Objective`].
//!
//! D and C see the fakes once. Two backward passes use that forward pass: one asks for the gradients of D's parameters,
//! the other for those of the fakes, which G and E then go on from.

use super::batch::Batch;
use super::centres::Centres;
use super::objective::{Objective, Terms};
use crate::config::TrainConfig;
use crate::error::Result;
use crate::model::encoder::Encoder;
use crate::model::{CvaeGan, loss};
use crate::nn::{Labels, Mode, Network};
use crate::ops::{Gradients, Tape, Value, apply as compose, differentiate};
use candle_core::{D, Tensor};
use std::iter;

/// The losses of a step, before their weights, and what tells whether training goes well. A term that is switched off is 0.
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
    /// Term of L_G over the maps of D and C.
    pub loss_maps: f32,
    /// G's cross entropy under D, nats.
    pub loss_adversarial: f32,
    /// G's cross entropy under C, nats per image.
    pub loss_class_adversarial: f32,
    /// Share of the real batch that C labels right (while training on it), among the labels that it is asked about.
    pub top1_real: f32,
    /// Share of the label-only fakes that C labels as asked.
    pub top1_fake: f32,
}

impl StepLosses {
    /// All of them: the name of the metric, what a message calls it, and the value.
    fn table(&self) -> [(&'static str, &'static str, f32); 13] {
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
            ("loss_class_adversarial", "the cross entropy of G under C", self.loss_class_adversarial),
            ("top1_real", "top-1 of real images", self.top1_real),
            ("top1_fake", "top-1 of label-only fakes", self.top1_fake),
        ]
    }

    /// All of them by the names of the metrics.
    pub fn named(&self) -> [(&'static str, f32); 13] {
        self.table().map(|(name, _, value)| (name, value))
    }

    /// The first that is not a finite number, as a message calls it.
    pub fn non_finite(&self) -> Option<&'static str> {
        self.table().into_iter().find(|(_, _, value)| !value.is_finite()).map(|(_, words, _)| words)
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
/// statistics. What the method leaves out is not computed, and its loss is 0.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn gradients(
    model: &CvaeGan,
    centres: &mut Centres,
    batch: &Batch,
    config: &TrainConfig,
) -> Result<(StepLosses, StepGradients)> {
    let objective = Objective::new(config);
    let b = batch.labels.len();
    let device = batch.images.device();
    let x_r = &batch.images;
    let c_r = Labels::plain(&batch.labels, device)?;
    let c_p = Labels::plain(&batch.fake_labels, device)?;
    // C's logits are those of all labels, or of some among which the labels have other places.
    let among = batch.candidates.as_ref();
    let [places, fake_places] =
        [&batch.labels, &batch.fake_labels].map(|labels| among.map_or_else(|| labels.clone(), |c| c.places(labels)));
    let (targets, asked) = (Tensor::from_slice(&places, b, device)?, Tensor::from_slice(&fake_places, b, device)?);
    let labelled = |logits: &Tensor, labels: &Tensor| match among {
        Some(candidates) => loss::classifier(&candidates.corrected(logits)?, labels),
        None => loss::classifier(logits, labels),
    };

    // Real images, reconstructions and label-only fakes pass every network as batches of their own: in a shared one,
    // losses on x_p would reach E through the statistics of the normalisation. G's running statistics, which serve
    // synthesis, follow x_p.
    let making = Tape::new(config.precision);
    let encode = |e: &Network<Encoder>| e.net.forward(&making.constant(x_r), &c_r, Mode::Train);
    let posterior = model.encoder.as_ref().map(encode).transpose()?;
    let posterior: Vec<&Value> = posterior.iter().flat_map(|(mu, logvar)| [mu, logvar]).collect();
    let sample = |t: &[Tensor]| &t[0] + (&t[1] * 0.5)?.exp()?.mul(&batch.posterior_noise)?;
    let z_f = (!posterior.is_empty()).then(|| compose(&posterior, sample)).transpose()?;
    let z_p = match &z_f {
        Some(z_f) => crossed(&batch.prior_noise, z_f.tensor(), &batch.cross)?,
        None => batch.prior_noise.clone(),
    };
    let g_f = z_f.map(|z_f| model.generator.net.forward(&z_f, &c_r, Mode::Batch)).transpose()?;
    let g_p = model.generator.net.forward(&making.constant(&z_p), &c_p, Mode::Train)?;

    // Another tape from here on: D and C are differentiated up to the fakes, G and E from the fakes on.
    let judging = Tape::new(config.precision);
    let real_images = judging.constant(x_r);
    let (x_f, x_p) = (g_f.as_ref().map(|g_f| judging.leaf(g_f.tensor())), judging.leaf(g_p.tensor()));

    // C on L_C.
    let classify = |x: &Value, mode| model.classifier.net.forward_among(x, among.map(|c| &c.ids), mode);
    let real_c = classify(&real_images, Mode::Train)?;
    let (loss_c, at_logits) = differentiate(&[&real_c.output], |t| {
        let loss = labelled(&t[0], &targets)?;
        Ok((loss.clone(), loss))
    })?;
    let classifier = judging.gradients(&seeds(&[&real_c.output], &at_logits), trainable(&model.classifier))?;

    // D on L_D.
    let d = model.discriminator.as_ref();
    let real_d = d.map(|d| d.net.forward(&real_images, Mode::Train)).transpose()?;
    let see = |x: &Value| d.map(|d| d.net.forward(x, Mode::Batch)).transpose();
    let (d_f, d_p) = (x_f.as_ref().map_or(Ok(None), see)?, see(&x_p)?);
    let fooled: Vec<&Value> = d_f.iter().chain(&d_p).map(|seen| &seen.output).collect();
    let (mut loss_d, mut discriminator) = (0.0, Gradients::default());
    if let (Some(d), Some(real_d)) = (d, &real_d) {
        let verdicts: Vec<&Value> = iter::once(&real_d.output).chain(fooled.iter().copied()).collect();
        let (loss, at_verdicts) = differentiate(&verdicts, |t| {
            let loss = loss::discriminator(&t[0], &t[1..])?;
            Ok((loss.clone(), loss))
        })?;
        discriminator = judging.gradients(&seeds(&verdicts, &at_verdicts), trainable(d))?;
        loss_d = loss.to_scalar()?;
    }

    // G on its terms, first up to the fakes: L_G, on reconstructions ..
    let see = |x: &Value| classify(x, Mode::Batch);
    let (c_f, c_p) = (x_f.as_ref().map(see).transpose()?, see(&x_p)?);
    let mut terms = Terms::default();
    let (mut loss_pixel, mut loss_pair_d, mut loss_pair_c, mut loss_maps) = (0.0, 0.0, 0.0, 0.0);
    if let (Some(x_f), Some(c_f)) = (&x_f, &c_f) {
        loss_pixel = terms.add(objective.pixel, &[x_f], |t| loss::pairwise(x_r, &t[0]))?;
        loss_pair_c =
            terms.add(objective.pair_c, &[&c_f.features], |t| loss::pairwise(real_c.features.tensor(), &t[0]))?;
        let (mut real_maps, mut maps): (Vec<&Value>, Vec<&Value>) = Default::default();
        if let (Some(real_d), Some(d_f)) = (&real_d, &d_f) {
            loss_pair_d =
                terms.add(objective.pair_d, &[&d_f.features], |t| loss::pairwise(real_d.features.tensor(), &t[0]))?;
            (real_maps, maps) = (real_d.maps.iter().collect(), d_f.maps.iter().collect());
        }
        real_maps.extend(&real_c.maps);
        maps.extend(&c_f.maps);
        loss_maps = terms.add(objective.maps, &maps, |t| {
            let pairs = real_maps.iter().zip(t).map(|(real, made)| loss::pairwise_map(real.tensor(), made));
            Tensor::stack(&pairs.collect::<candle_core::Result<Vec<_>>>()?, 0)?.sum_all()
        })?;
    }
    // .. the means L_GD and L_GC, on label-only fakes, and the cross entropies in their place or beside them.
    let (mut loss_gd, mut loss_gc) = (0.0, 0.0);
    if let (Some(real_d), Some(d_p), true) = (&real_d, &d_p, objective.means + objective.class_means > 0.0) {
        let real = (real_d.features.tensor(), real_c.features.tensor(), &batch.labels[..]);
        terms.add(1.0, &[&d_p.features, &c_p.features], |t| {
            let means = centres.update(real, (&t[0], &t[1], &batch.fake_labels))?;
            (loss_gd, loss_gc) = (means.overall.to_scalar()?, means.classes.to_scalar()?);
            (means.overall * objective.means)? + (means.classes * objective.class_means)?
        })?;
    }
    let loss_adversarial = terms.add(objective.adversarial, &fooled, loss::adversarial)?;
    let loss_class_adversarial = terms.add(objective.class_adversarial, &[&c_p.output], |t| labelled(&t[0], &asked))?;
    let fakes = x_f.iter().chain([&x_p]).map(Value::tensor);
    let at_fakes = judging.gradients(&terms.seeds(), fakes)?;
    let (top1_real, top1_fake) = (top1(real_c.output.tensor(), &places)?, top1(c_p.output.tensor(), &fake_places)?);
    judging.clear();

    // Then through G; E on lambda1 L_KL, and on what reaches it through x_f.
    let mut terms = Terms::default();
    let loss_kl = terms.add(objective.kl, &posterior, |t| loss::kl_divergence(&t[0], &t[1]))?;
    let mut from_fakes = terms.seeds();
    from_fakes.extend(g_f.iter().chain([&g_p]).filter_map(|made| Some((made, at_fakes.get(made.tensor())?))));
    let encoder = || model.encoder.iter().flat_map(trainable);
    let both = making.gradients(&from_fakes, trainable(&model.generator).chain(encoder()))?;
    let (encoder, generator) = both.split(encoder());

    let losses = StepLosses {
        loss_kl,
        loss_pixel,
        loss_pair_d,
        loss_pair_c,
        loss_gd,
        loss_gc,
        loss_d,
        loss_c: loss_c.to_scalar()?,
        loss_maps,
        loss_adversarial,
        loss_class_adversarial,
        top1_real,
        top1_fake,
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
