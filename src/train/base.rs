//! A training that begins with the weights of another: label tables get rows for new persons, everything else is taken as it is.

use super::State;
use super::checkpoint::{self, CHECKPOINT_FILE};
use super::trained::MODEL_FILE;
use crate::config::RunConfig;
use crate::dataset::IdentityDataset;
use crate::error::{Error, Result};
use crate::manifest::keys;
use crate::nn::params::Param;
use crate::nn::sealed;
use crate::store;
use candle_core::{Device, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Weights to begin with.
pub struct Base {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
    /// Keys in the order of the labels.
    identities: Vec<String>,
    /// Those, and all that its own base knew.
    known: Vec<String>,
    /// blake3 (hex) of the file.
    pub hash: String,
}

impl Base {
    /// Reads the weights in a folder (a checkpoint, which has all networks, before a model) or file.
    ///
    /// # Errors
    /// `Model`: it is damaged, holds no such weights, or knows a forgotten person.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let inner = [CHECKPOINT_FILE, MODEL_FILE].map(|name| path.join(name)).into_iter().find(|file| file.exists());
        let path = inner.unwrap_or_else(|| path.to_owned());
        let (tensors, header, hash): (_, Value, _) = sealed::read(&path, device)?;
        let names = |key: &str| serde_json::from_value::<Vec<String>>(header[key].clone()).unwrap_or_default();
        let (identities, mut known) = (names("identities"), names(sealed::BASE));
        if identities.is_empty() {
            return Err(Error::Model(format!(
                "{}: does not say whom it knows: not weights of a model",
                path.display()
            )));
        }
        known.extend(identities.iter().cloned());
        known.sort();
        known.dedup();
        Ok(Self { path, tensors, identities, known, hash })
    }

    /// Writes a checkpoint of step 0 into `dir`, from which a training of `config` on `dataset` goes on.
    ///
    /// # Errors
    /// `Model`: networks of another shape.
    pub fn begin(&self, dir: &Path, config: &RunConfig, dataset: &IdentityDataset, device: &Device) -> Result<()> {
        store::create_dir(dir)?;
        let mut state = State::new(config, dataset.identities().len(), device)?;
        state.base.clone_from(&self.known);
        let averaged = [("averaged", &state.averaged.params)];
        for (network, params) in state.model.networks().chain(averaged) {
            for (name, own) in params {
                self.take(network, name, own, dataset.identities())?;
            }
        }
        checkpoint::save(&dir.join(CHECKPOINT_FILE), &state, config, dataset)
    }

    /// Takes the value of a parameter over; a model has no D, which begins anew then.
    fn take(&self, network: &str, name: &str, own: &Param, identities: &[String]) -> Result<()> {
        let stored = if network == "averaged" { ["averaged", "generator"] } else { [network; 2] };
        let stored = stored.iter().find_map(|network| self.tensors.get(&format!("{network}.{name}")));
        let Some(stored) = stored else { return Ok(()) };
        let axis = label_axis(network, name, own.var.rank());
        let value = match axis {
            Some(axis) => self.of_persons(stored, own.var.as_tensor(), axis, network == "classifier", identities)?,
            None => stored.clone(),
        };
        if value.dims() != own.var.dims() {
            return Err(Error::Model(format!(
                "{}: `{network}.{name}` has the shape {:?}, here it is {:?}: train with the preset, image size, model.label_width and method of option `init`",
                self.path.display(),
                stored.dims(),
                own.var.dims()
            )));
        }
        Ok(own.var.set(&value)?)
    }

    /// The values of `identities` along `axis`: those that are known, and for new ones the mean of all, or fresh ones of `own`.
    fn of_persons(
        &self,
        stored: &Tensor,
        own: &Tensor,
        axis: usize,
        fresh: bool,
        identities: &[String],
    ) -> Result<Tensor> {
        let rows = |t: &Tensor| -> Result<Vec<Vec<f32>>> {
            Ok(t.transpose(0, axis)?.contiguous()?.reshape((t.dims()[axis], ()))?.to_vec2()?)
        };
        let known = self.identities.len();
        let fits = stored.rank() == own.rank() && stored.dims()[axis] == known;
        if !fits || stored.elem_count() * own.dims()[axis] != own.elem_count() * known {
            // Its shape tells what is wrong.
            return Ok(stored.clone());
        }
        let (stored, mut values) = (rows(stored)?, rows(own)?);
        let mean = |at: usize| stored.iter().map(|row| row[at]).sum::<f32>() / stored.len() as f32;
        let mean: Vec<f32> = (0..stored[0].len()).map(mean).collect();
        for (value, identity) in values.iter_mut().zip(identities) {
            match keys::find(&self.identities, identity) {
                Some(known) => value.clone_from(&stored[known]),
                None if fresh => {}
                None => value.clone_from(&mean),
            }
        }
        let mut dims = own.dims().to_vec();
        dims.swap(0, axis);
        Ok(Tensor::from_vec(values.concat(), dims, own.device())?.transpose(0, axis)?.contiguous()?)
    }
}

/// The axis along which a parameter has a value for each person, if it has one.
fn label_axis(network: &str, name: &str, rank: usize) -> Option<usize> {
    match (network, name) {
        ("classifier", "fc.bias" | "fc.label") => Some(0),
        ("classifier", "fc.weight") => rank.checked_sub(1),
        ("classifier" | "discriminator", _) => None,
        _ => match name.rsplit('.').next() {
            Some("label") => Some(0),
            Some("beta" | "gamma") if rank == 2 => Some(0),
            _ => None,
        },
    }
}
