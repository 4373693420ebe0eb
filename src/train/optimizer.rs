//! Adam over the networks of a model, and the average of the generator's weights.

use super::step::StepGradients;
use crate::config::TrainConfig;
use crate::error::{Error, Result};
use crate::model::CvaeGan;
use crate::nn::Network;
use crate::ops::Gradients;
use crate::ops::adam::{AdamParams, Moments, moving_average};
use candle_core::{Tensor, Var};
use std::collections::BTreeMap;

/// Adam over all networks.
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
        for (network, params) in model.networks() {
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

    /// Moves every network along its gradients; `t` counts steps from 1.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn apply(&self, gradients: &StepGradients, t: u64) -> Result<()> {
        self.descend("classifier", &gradients.classifier, t)?;
        self.descend("discriminator", &gradients.discriminator, t)?;
        self.descend("encoder", &gradients.encoder, t)?;
        self.descend("generator", &gradients.generator, t)
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

/// Moves the averaged network towards `source`; running statistics are averaged like weights.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn average<N>(averaged: &Network<N>, source: &Network<N>, decay: f64) -> Result<()> {
    for (name, p) in &averaged.params {
        moving_average(&p.var, &source.params[name].var, decay)?;
    }
    Ok(())
}
