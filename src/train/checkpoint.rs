//! Checkpoints: one safetensors file with all that a training needs to go on bit for bit.

use super::State;
use super::watch::Figures;
use crate::config::RunConfig;
use crate::dataset::IdentityDataset;
use crate::error::{Error, Result};
use crate::nn::params::all_finite;
use crate::nn::sealed;
use candle_core::Device;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Name of the checkpoint in a model folder.
pub const CHECKPOINT_FILE: &str = "checkpoint.safetensors";

#[derive(Serialize, Deserialize)]
struct CheckpointHeader {
    format: u32,
    step: u64,
    /// Configuration without what a resumed run may change: its length and its output intervals.
    training: String,
    dataset: String,
    /// Identity keys in the order of their labels.
    #[serde(default)]
    identities: Vec<String>,
    /// Of every look so far.
    figures: Vec<Figures>,
    /// Whom the weights knew that it began with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    base: Vec<String>,
}

const FORMAT: u32 = 3;

/// Hash of all settings that decide the weights at a given step.
fn training_key(config: &RunConfig) -> Result<String> {
    let mut c = config.training_only();
    c.train.duration_kimg = 1.0;
    c.hash()
}

/// Writes the state to `path`; refuses tensors that are not finite.
///
/// # Errors
/// `Diverged`: a tensor is not finite; the file cannot be written.
pub fn save(path: &Path, state: &State, config: &RunConfig, dataset: &IdentityDataset) -> Result<()> {
    let mut tensors = state.model.export();
    state.averaged.export("averaged", &mut tensors);
    state.optimizer.export(&mut tensors, state.step)?;
    state.centres.export(&mut tensors)?;
    for (name, t) in tensors.iter().filter(|(_, t)| t.dtype().is_float()) {
        if !all_finite(t)? {
            return Err(Error::Diverged {
                step: state.step,
                what: format!("tensor `{name}`"),
                advice: format!("{} was left as it was; lower train.learning_rate", path.display()),
            });
        }
    }
    let (training, identities) = (training_key(config)?, dataset.identities().to_vec());
    let header = CheckpointHeader {
        format: FORMAT,
        step: state.step,
        training,
        dataset: dataset.hash().into(),
        identities,
        figures: state.figures.clone(),
        base: state.base.clone(),
    };
    sealed::write(path, &tensors, &header)
}

/// Puts the state of `path` into `state`.
///
/// # Errors
/// The file is damaged, or belongs to another configuration or other images.
pub fn load(
    path: &Path,
    state: &mut State,
    config: &RunConfig,
    dataset: &IdentityDataset,
    device: &Device,
) -> Result<()> {
    let (mut tensors, header, _): (_, serde_json::Value, _) = sealed::read(path, device)?;
    if header["format"] != FORMAT {
        return Err(Error::OtherVersion { path: path.to_owned(), found: header["format"].to_string(), known: FORMAT });
    }
    let header: CheckpointHeader = serde_json::from_value(header)
        .map_err(|e| Error::Model(format!("{}: damaged or no checkpoint: {e}", path.display())))?;
    let other = |what: &str| {
        Error::Model(format!("{}: made with {what}; move it away or choose another folder", path.display()))
    };
    if header.training != training_key(config)? {
        return Err(other("another configuration"));
    }
    if header.dataset != dataset.hash() {
        return Err(other("other images"));
    }
    for (prefix, params) in state.model.networks().chain([("averaged", &state.averaged.params)]) {
        for (name, p) in params {
            let key = format!("{prefix}.{name}");
            let t = tensors.remove(&key).ok_or_else(|| missing(path, &key))?;
            if t.dims() != p.var.dims() {
                return Err(Error::Model(format!("{}: tensor `{key}` has another shape", path.display())));
            }
            p.var.set(&t)?;
        }
    }
    state.optimizer.import(&mut tensors, &state.averaged.params)?;
    state.centres.import(&mut tensors)?;
    if let Some(name) = tensors.keys().next() {
        return Err(Error::Model(format!("{}: unexpected tensor `{name}`", path.display())));
    }
    (state.step, state.figures, state.base) = (header.step, header.figures, header.base);
    Ok(())
}

fn missing(path: &Path, key: &str) -> Error {
    Error::Model(format!("{}: tensor `{key}` is missing", path.display()))
}
