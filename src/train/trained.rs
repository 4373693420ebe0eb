//! A trained model on disk: averaged generator, encoder, classifier and the fitted latent distribution.

use super::latent::Latents;
use super::{State, reconstruction};
use crate::config::RunConfig;
use crate::dataset::IdentityDataset;
use crate::error::{Error, Result};
use crate::model::{Networks, classifier::Classifier, encoder::Encoder, generator::Generator};
use crate::nn::{Network, sealed};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Name of the weights file in a model folder.
pub const MODEL_FILE: &str = "model.safetensors";

const FORMAT: u32 = 6;

/// What a model was trained on and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelHeader {
    /// Version of the file's layout.
    pub format: u32,
    /// Configuration of the training.
    pub config: RunConfig,
    /// Identity keys in the order of their labels.
    pub identities: Vec<String>,
    /// blake3 of the training images.
    pub dataset_hash: String,
    /// Number of training images of each identity.
    pub images: Vec<usize>,
    /// Steps taken.
    pub step: u64,
    /// Whom the weights knew that its training began with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base: Vec<String>,
    /// The largest difference between a training image and what E and G make of it ([`reconstruction::largest`]); none without E, and in
    /// files of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconstruction: Option<f32>,
}

/// A model ready to synthesize.
pub struct TrainedModel {
    /// What it was trained on and how.
    pub header: ModelHeader,
    /// blake3 (hex) of the weights file.
    pub hash: String,
    /// The averaged generator.
    pub generator: Network<Generator>,
    /// E, for reconstructions; none with a method that has no encoder.
    pub encoder: Option<Network<Encoder>>,
    /// C, for judging images.
    pub classifier: Network<Classifier>,
    /// Distribution of z over the training images, by E.
    latents: Option<Latents>,
    /// Where the networks are.
    pub device: Device,
}

/// Tensors of a finished training, not yet on disk.
pub struct Unsaved {
    tensors: BTreeMap<String, Tensor>,
    header: ModelHeader,
    device: Device,
}

impl TrainedModel {
    /// Collects what synthesis needs from a training: its `networks` and the posteriors that were fitted with them.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn from_training(
        state: &State,
        networks: &Networks,
        latents: Option<&Latents>,
        config: &RunConfig,
        dataset: &IdentityDataset,
        device: &Device,
    ) -> Result<Unsaved> {
        let mut tensors = BTreeMap::new();
        networks.export(&mut tensors);
        latents.map(|l| l.export(&mut tensors)).transpose()?;
        let header = ModelHeader {
            format: FORMAT,
            // Only what decides the weights: equal weights are equal files, whatever is made of them later.
            config: config.training_only(),
            identities: dataset.identities().to_vec(),
            dataset_hash: dataset.hash().into(),
            images: (0..dataset.identities().len() as u32).map(|l| dataset.images_of(l).len()).collect(),
            step: state.step,
            base: state.base.clone(),
            reconstruction: None,
        };
        Ok(Unsaved { tensors, header, device: device.clone() })
    }

    /// Loads `dir/model.safetensors`: exact names, shapes and types, finite values.
    ///
    /// # Errors
    /// `Model`: a file that is damaged or is no model, or knows a forgotten person; `OtherVersion`.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        let path = if dir.is_dir() { dir.join(MODEL_FILE) } else { dir.to_owned() };
        let (tensors, header, hash): (_, serde_json::Value, _) = sealed::read(&path, device)?;
        if header["format"] != FORMAT {
            let found = header["format"].to_string();
            return Err(Error::OtherVersion { path, found, known: FORMAT });
        }
        let header = serde_json::from_value(header)
            .map_err(|e| Error::Model(format!("{}: damaged or not a model: {e}", path.display())))?;
        Self::from_tensors(tensors, header, hash, device).map_err(|e| match e {
            Error::Model(m) => Error::Model(format!("{}: {m}", path.display())),
            e => e,
        })
    }

    /// The posteriors of training images.
    ///
    /// # Errors
    /// `Config`: the method has no encoder.
    pub fn latents(&self) -> Result<&Latents> {
        self.latents.as_ref().ok_or_else(|| {
            Error::Config(format!(
                "this model was trained with train.method {}, which has no encoder: nothing is known of training images' z; draw it from N(0, I) (latent `prior`), or train with method cvae-gan or cvae",
                self.header.config.train.method.name()
            ))
        })
    }

    fn from_tensors(
        mut tensors: BTreeMap<String, Tensor>,
        header: ModelHeader,
        hash: String,
        device: &Device,
    ) -> Result<Self> {
        header.config.validate()?;
        let (config, classes) = (&header.config, header.identities.len());
        let encodes = config.train.method.encodes();
        let latents = encodes.then(|| Latents::import(&mut tensors, config.model.latent_dim, classes)).transpose()?;
        let Networks { generator, encoder, classifier } = Networks::loaded(config, classes, &mut tensors, device)?;
        if let Some(name) = tensors.keys().next() {
            return Err(Error::Model(format!("unexpected tensor `{name}`")));
        }
        Ok(Self { header, hash, generator, encoder, classifier, latents, device: device.clone() })
    }
}

impl Unsaved {
    /// Adds how far training images are from what the networks make of them.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn with_reconstruction(mut self, networks: &Networks, dataset: &IdentityDataset) -> Result<Self> {
        let largest =
            |e: &Network<Encoder>| reconstruction::largest(&e.net, &networks.generator.net, dataset, &self.device);
        self.header.reconstruction = networks.encoder.as_ref().map(largest).transpose()?;
        Ok(self)
    }

    /// The model as it is, without a file and its hash.
    ///
    /// # Errors
    /// Too little memory.
    pub fn in_memory(self) -> Result<TrainedModel> {
        TrainedModel::from_tensors(self.tensors, self.header, String::new(), &self.device)
    }

    /// Writes the model into `dir` and loads it back, so that what is used is what was saved.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(self, dir: &Path) -> Result<TrainedModel> {
        sealed::write(&dir.join(MODEL_FILE), &self.tensors, &self.header)?;
        TrainedModel::load(dir, &self.device)
    }
}
