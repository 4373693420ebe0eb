//! Adam over the networks of a model, and the average of the generator's weights.
//!
//! Tables of which a step uses a few rows ([`Param::by_rows`]) are moved by these rows, and so is their average: see [`crate::ops::rows`].

use super::average;
use super::step::StepGradients;
use crate::config::TrainConfig;
use crate::error::{Error, Result};
use crate::model::CvaeGan;
use crate::model::generator::Generator;
use crate::nn::Network;
use crate::nn::params::Param;
use crate::ops::Gradients;
use crate::ops::adam::{AdamParams, Moments};
use crate::ops::rows::{Course, RowMoments};
use candle_core::{Tensor, Var};
use std::collections::BTreeMap;

/// Adam over all networks.
pub struct Optimizer {
    params: AdamParams,
    config: TrainConfig,
    moments: BTreeMap<String, (Var, Moments)>,
    tables: BTreeMap<String, (Var, RowMoments)>,
}

/// The rows of a table as its last use left them, beside what they are by now.
const RESTING: &str = "resting";

/// The name of the averaged parameter of one of G's.
fn averaged_name(name: &str) -> Option<String> {
    name.strip_prefix("generator.").map(|name| format!("averaged.{name}"))
}

impl Optimizer {
    /// Zero moments for every trainable parameter of `model`; `averaged` is its averaged generator.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn new(model: &CvaeGan, averaged: &Network<Generator>, config: &TrainConfig) -> Result<Self> {
        let (mut moments, mut tables) = (BTreeMap::new(), BTreeMap::new());
        for (network, params) in model.networks() {
            for (name, p) in params.iter().filter(|(_, p)| p.trainable) {
                let full = format!("{network}.{name}");
                if p.by_rows {
                    let average = (network == "generator").then(|| averaged.params[name].var.clone());
                    tables.insert(full, (p.var.clone(), RowMoments::new(&p.var, average)?));
                } else {
                    moments.insert(full, (p.var.clone(), Moments::zeros_like(&p.var)?));
                }
            }
        }
        let params = AdamParams {
            learning_rate: config.learning_rate,
            beta1: config.beta1,
            beta2: config.beta2,
            eps: 1e-8,
            weight_decay: 0.0,
        };
        Ok(Self { params, config: config.clone(), moments, tables })
    }

    /// The constants of a parameter of this full name.
    fn params(&self, name: &str) -> AdamParams {
        let weight_decay = if name.starts_with("classifier.") { self.config.classifier_decay } else { 0.0 };
        AdamParams { weight_decay, ..self.params }
    }

    /// Brings the rows of `network`'s tables that belong to `labels`, each named once, to where they are after step `t`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn catch_up(&mut self, network: &str, labels: &[u32], t: u64) -> Result<()> {
        self.each_table(network, t, |table, rows, course| rows.catch_up(table, labels, t, course))
    }

    /// Moves every network along its gradients; `t` counts steps from 1.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn apply(&mut self, gradients: &StepGradients, t: u64) -> Result<()> {
        self.descend("classifier", &gradients.classifier, t)?;
        self.descend("discriminator", &gradients.discriminator, t)?;
        self.descend("encoder", &gradients.encoder, t)?;
        self.descend("generator", &gradients.generator, t)
    }

    /// Moves every parameter of `network` that has a gradient; `t` counts steps from 1.
    fn descend(&mut self, network: &str, grads: &Gradients, t: u64) -> Result<()> {
        let prefix = format!("{network}.");
        for (name, (var, moments)) in self.moments.range(prefix.clone()..).take_while(|(k, _)| k.starts_with(&prefix)) {
            if let Some(grad) = grads.get(var) {
                moments.step(var, grad, t, &self.params(name))?;
            }
        }
        self.each_table(network, t, |table, rows, course| match grads.rows(table)? {
            Some(gradient) => rows.step(table, &gradient, t, course),
            None => Ok(()),
        })
    }

    /// Calls `f` with each table of `network` and what it is moved by up to step `t`.
    fn each_table(
        &mut self,
        network: &str,
        t: u64,
        f: impl Fn(&Var, &mut RowMoments, &Course) -> candle_core::Result<()>,
    ) -> Result<()> {
        let names: Vec<String> = self.tables.keys().filter(|k| k.split('.').next() == Some(network)).cloned().collect();
        let early = if names.is_empty() { Vec::new() } else { average::early_decays(&self.config, t) };
        for name in names {
            let adam = self.params(&name);
            let course = Course { adam, average: (&early, average::late_decay(&self.config)) };
            if let Some((table, rows)) = self.tables.get_mut(&name) {
                f(table, rows, &course)?;
            }
        }
        Ok(())
    }

    /// Puts in place of the tables in `out`, by their full names, what they are after step `t`: their values in a network are those of each
    /// row's last use.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn make_whole(&self, out: &mut BTreeMap<String, Tensor>, t: u64) -> Result<()> {
        let early = average::early_decays(&self.config, t);
        for (name, (table, rows)) in &self.tables {
            let course = Course { adam: self.params(name), average: (&early, average::late_decay(&self.config)) };
            let (whole, average) = rows.whole(table, t, &course)?;
            for (name, tensor) in [(Some(name.clone()), Some(whole)), (averaged_name(name), average)] {
                if let (Some(slot), Some(tensor)) = (name.and_then(|name| out.get_mut(&name)), tensor) {
                    *slot = tensor;
                }
            }
        }
        Ok(())
    }

    /// Whether there is any table that [`Optimizer::make_whole`] makes whole.
    pub fn has_tables(&self) -> bool {
        !self.tables.is_empty()
    }

    /// Copies the moments into `out`, and beside the tables in it, which are made whole, their rows as they are held.
    ///
    /// # Errors
    /// Too little memory.
    pub fn export(&self, out: &mut BTreeMap<String, Tensor>, t: u64) -> Result<()> {
        for (name, (_, m)) in &self.moments {
            out.insert(format!("adam.first.{name}"), m.first.as_tensor().clone());
            out.insert(format!("adam.second.{name}"), m.second.as_tensor().clone());
        }
        for (name, (_, rows)) in &self.tables {
            for (kind, tensor) in rows.export()? {
                out.insert(format!("adam.{kind}.{name}"), tensor);
            }
            for name in averaged_name(name).iter().chain([name]) {
                if let Some(held) = out.get(name).cloned() {
                    out.insert(format!("{RESTING}.{name}"), held);
                }
            }
        }
        self.make_whole(out, t)
    }

    /// Takes the moments out of `tensors`, as [`Optimizer::export`] left them, and the tables as they were held.
    ///
    /// # Errors
    /// `Model`: a tensor that is missing, or of another shape.
    pub fn import(&mut self, tensors: &mut BTreeMap<String, Tensor>, averaged: &BTreeMap<String, Param>) -> Result<()> {
        let missing = |key: &str| Error::Model(format!("tensor `{key}` is missing or has another shape"));
        for (name, (_, m)) in &self.moments {
            for (kind, var) in [("first", &m.first), ("second", &m.second)] {
                let key = format!("adam.{kind}.{name}");
                let t = tensors.remove(&key).filter(|t| t.dims() == var.dims());
                var.set(&t.ok_or_else(|| missing(&key))?)?;
            }
        }
        for (name, (table, rows)) in &mut self.tables {
            rows.import(|kind| tensors.remove(&format!("adam.{kind}.{name}")))?
                .map_err(|kind| missing(&format!("adam.{kind}.{name}")))?;
            let of_average = name.strip_prefix("generator.").map(|own| &averaged[own].var);
            for (name, var) in averaged_name(name).zip(of_average).into_iter().chain([(name.clone(), &*table)]) {
                let key = format!("{RESTING}.{name}");
                let t = tensors.remove(&key).filter(|t| t.dims() == var.dims());
                var.set(&t.ok_or_else(|| missing(&key))?)?;
            }
        }
        Ok(())
    }
}
