//! Checkpoints: one safetensors file with all that a training needs to go on bit for bit.

use super::State;
use crate::config::RunConfig;
use crate::dataset::IdentityDataset;
use crate::error::{Error, Result};
use crate::model::params::all_finite;
use crate::store;
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Key of the one metadata entry (several would come out in random order).
const METADATA: &str = "augment";

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    step: u64,
    /// Configuration without what a resumed run may change: its length and its output intervals.
    training: String,
    dataset: String,
}

const FORMAT: u32 = 1;

/// Hash of all settings that decide the weights at a given step.
fn training_key(config: &RunConfig) -> Result<String> {
    let mut c = config.training_only();
    c.train.duration_kimg = 1.0;
    c.hash()
}

/// Writes the state to `path`; refuses tensors that are not finite.
pub fn save(path: &Path, state: &State, config: &RunConfig, dataset: &IdentityDataset) -> Result<()> {
    let mut tensors = state.model.export();
    state.averaged.export("averaged", &mut tensors);
    state.optimizer.export(&mut tensors);
    state.centres.export(&mut tensors)?;
    for (name, t) in &tensors {
        if !all_finite(t)? {
            return Err(Error::Diverged {
                step: state.step,
                what: format!("tensor `{name}`"),
                advice: format!("{} was left as it was; lower train.learning_rate", path.display()),
            });
        }
    }
    let header =
        Header { format: FORMAT, step: state.step, training: training_key(config)?, dataset: dataset.hash().into() };
    write(path, &tensors, &header)
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
    let (mut tensors, header): (_, Header) = read(path, device)?;
    let other = |what: &str| {
        Error::Model(format!("{}: made with {what}; move it away or choose another folder", path.display()))
    };
    if header.format != FORMAT {
        return Err(other("another version of augment"));
    }
    if header.training != training_key(config)? {
        return Err(other("another configuration"));
    }
    if header.dataset != dataset.hash() {
        return Err(other("other images"));
    }
    let networks = [
        ("encoder", &state.model.encoder.params),
        ("generator", &state.model.generator.params),
        ("discriminator", &state.model.discriminator.params),
        ("classifier", &state.model.classifier.params),
        ("averaged", &state.averaged.params),
    ];
    for (prefix, params) in networks {
        for (name, p) in params {
            let key = format!("{prefix}.{name}");
            let t = tensors.remove(&key).ok_or_else(|| missing(path, &key))?;
            if t.dims() != p.var.dims() {
                return Err(Error::Model(format!("{}: tensor `{key}` has another shape", path.display())));
            }
            p.var.set(&t)?;
        }
    }
    state.optimizer.import(&mut tensors)?;
    state.centres.import(&mut tensors)?;
    if let Some(name) = tensors.keys().next() {
        return Err(Error::Model(format!("{}: unexpected tensor `{name}`", path.display())));
    }
    state.step = header.step;
    Ok(())
}

fn missing(path: &Path, key: &str) -> Error {
    Error::Model(format!("{}: tensor `{key}` is missing", path.display()))
}

/// Writes tensors and a header as safetensors.
pub(crate) fn write(path: &Path, tensors: &BTreeMap<String, Tensor>, header: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string(header).map_err(|e| Error::Model(e.to_string()))?;
    let metadata = HashMap::from([(METADATA.to_owned(), json)]);
    let bytes = safetensors::serialize(tensors.iter().map(|(k, t)| (k.as_str(), t)), Some(metadata))
        .map_err(|e| Error::Model(format!("{}: {e}", path.display())))?;
    store::write_atomic(path, &bytes)
}

/// Reads what [`write`] wrote.
pub(crate) fn read<H: DeserializeOwned>(path: &Path, device: &Device) -> Result<(BTreeMap<String, Tensor>, H)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    parse(&bytes, device).map_err(|m| Error::Model(format!("{}: {m}", path.display())))
}

fn parse<H: DeserializeOwned>(
    bytes: &[u8],
    device: &Device,
) -> std::result::Result<(BTreeMap<String, Tensor>, H), String> {
    let damaged = |e: &dyn std::fmt::Display| format!("damaged or not safetensors: {e}");
    let (_, metadata) = safetensors::SafeTensors::read_metadata(bytes).map_err(|e| damaged(&e))?;
    let json = metadata.metadata().as_ref().and_then(|m| m.get(METADATA));
    let json = json.ok_or("not written by augment: its header entry is missing")?;
    let header = serde_json::from_str(json).map_err(|e| damaged(&e))?;
    let tensors = candle_core::safetensors::load_buffer(bytes, device).map_err(|e| damaged(&e))?;
    Ok((tensors.into_iter().collect(), header))
}
