//! What G and E descend on, by method: the weight of every term, with those at 0 that the method leaves out.

use crate::config::{Method, TrainConfig};
use crate::error::Result;
use crate::ops::{Value, differentiate};
use candle_core::Tensor;

/// Weights of the terms. What has none is not computed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Objective {
    /// L_KL.
    pub kl: f64,
    /// Pixels of L_G.
    pub pixel: f64,
    /// f_D of L_G.
    pub pair_d: f64,
    /// f_C of L_G.
    pub pair_c: f64,
    /// Maps of D and C in L_G.
    pub maps: f64,
    /// L_GD.
    pub means: f64,
    /// L_GC.
    pub class_means: f64,
    /// Cross entropy of D's verdicts.
    pub adversarial: f64,
    /// Cross entropy of C's labels.
    pub class_adversarial: f64,
}

impl Objective {
    /// The objective of `config`.
    pub fn new(config: &TrainConfig) -> Self {
        let whole = Self {
            kl: config.kl_weight,
            pixel: config.pair_weight * config.pair_pixel,
            pair_d: config.pair_weight * config.pair_d,
            pair_c: config.pair_weight * config.pair_c,
            maps: config.pair_weight * config.pair_maps,
            means: config.mean_weight,
            class_means: config.class_mean_weight,
            adversarial: config.adversarial_weight,
            class_adversarial: config.class_adversarial_weight,
        };
        match config.method {
            Method::CvaeGan => whole,
            Method::Cvae => Self { kl: whole.kl, pixel: whole.pixel, ..Self::default() },
            // Alone, the two cross entropies need no weights but their ratio.
            Method::Cgan => Self { adversarial: 1.0, class_adversarial: 1.0, ..Self::default() },
            Method::FmCgan => Self { means: whole.means, class_means: whole.class_means, ..Self::default() },
        }
    }
}

/// Gradients of weighted terms with respect to the values that they are made of.
#[derive(Default)]
pub(super) struct Terms<'a>(Vec<(&'a Value, Tensor)>);

impl<'a> Terms<'a> {
    /// Adds `weight` times what `loss` makes of `inputs`; returns the loss itself, 0 without a weight.
    pub fn add(
        &mut self,
        weight: f64,
        inputs: &[&'a Value],
        loss: impl FnOnce(&[Tensor]) -> candle_core::Result<Tensor>,
    ) -> Result<f32> {
        if weight == 0.0 || inputs.is_empty() {
            return Ok(0.0);
        }
        let (loss, grads) = differentiate(inputs, |t| {
            let loss = loss(t)?;
            Ok(((&loss * weight)?, loss))
        })?;
        self.0.extend(inputs.iter().copied().zip(grads));
        Ok(loss.to_scalar()?)
    }

    /// The values with the gradients of all terms with respect to them.
    pub fn seeds(&self) -> Vec<(&'a Value, &Tensor)> {
        self.0.iter().map(|(value, grad)| (*value, grad)).collect()
    }
}
