//! What networks are made of: layers, named parameters, and sealed files of weights. The model and the recogniser share it.
//!
//! Shape legend: B batch, S image side, Z latent, K identities, F features. Images are `[B, S, S, 3]` in [-1, 1].

pub mod labels;
pub mod layers;
pub mod linear;
pub mod params;
pub mod sealed;

use crate::error::{Error, Result};
use crate::seeds::Seeds;
use candle_core::{Device, Tensor};
pub use labels::Labels;
pub use layers::Mode;
use params::{Param, Params};
use std::collections::BTreeMap;

/// A network with its named parameters.
pub struct Network<N> {
    /// Forward functions.
    pub net: N,
    /// Parameters in the order of their names.
    pub params: BTreeMap<String, Param>,
}

impl<N> Network<N> {
    /// Copies every parameter under `prefix.` into `out`.
    pub fn export(&self, prefix: &str, out: &mut BTreeMap<String, Tensor>) {
        for (name, p) in &self.params {
            out.insert(format!("{prefix}.{name}"), p.var.as_tensor().clone());
        }
    }
}

/// Where a network's parameters come from.
pub enum Weights<'a> {
    /// Drawn from seeded streams.
    Fresh(&'a Seeds),
    /// Taken out of a map of tensors named `prefix.name`.
    Loaded(&'a mut BTreeMap<String, Tensor>),
}

/// Builds one network from `weights` under `prefix`.
///
/// # Errors
/// `Model`: weights that are missing, unexpected, or of another shape.
pub fn build<N>(
    prefix: &str,
    weights: &mut Weights,
    device: &Device,
    new: impl FnOnce(&mut Params) -> Result<N>,
) -> Result<Network<N>> {
    let mut params = match weights {
        Weights::Fresh(seeds) => Params::fresh(seeds, prefix, device),
        Weights::Loaded(tensors) => {
            let dotted = format!("{prefix}.");
            let names: Vec<String> = tensors.keys().filter(|k| k.starts_with(&dotted)).cloned().collect();
            let own = names
                .into_iter()
                .filter_map(|k| tensors.remove(&k).map(|t| (k[dotted.len()..].to_owned(), t)))
                .collect();
            Params::loaded(own, device)
        }
    };
    let net = new(&mut params)?;
    let params = params.finish().map_err(|e| match e {
        Error::Model(m) => Error::Model(format!("{prefix}: {m}")),
        e => e,
    })?;
    Ok(Network { net, params })
}
