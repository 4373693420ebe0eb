//! A model of an identity set on its way to images: where it lies, and what it knows.

use crate::dataset::IdentityDataset;
use crate::error::Result;
use crate::sink::order::OrderedModel;
use crate::train::TrainedModel;
use candle_core::Device;
use std::path::PathBuf;

/// Models that stay in memory from their training to the last image; of more, each is loaded again when it is needed.
const KEPT: usize = 16;

/// One identity set to synthesize: where its model is and what it knows.
pub(super) struct SetModel {
    pub set: String,
    pub path: PathBuf,
    pub hash: String,
    /// Of the real images.
    pub dataset_hash: String,
    pub identities: Vec<String>,
    /// Real images of each identity.
    pub images: Vec<usize>,
    pub image_size: usize,
    /// The training images, if they are kept in memory.
    pub training: Option<IdentityDataset>,
    /// File and hash of the judge beside it, if that chooses.
    pub judge: Option<(PathBuf, String)>,
    /// The model, if it is kept in memory.
    model: Option<TrainedModel>,
}

impl SetModel {
    /// Describes a loaded model, the `number`th of a job.
    pub fn new(number: usize, set: &str, path: PathBuf, model: TrainedModel) -> Self {
        let header = &model.header;
        Self {
            set: set.to_owned(),
            path,
            hash: model.hash.clone(),
            dataset_hash: header.dataset_hash.clone(),
            identities: header.identities.clone(),
            images: header.images.clone(),
            image_size: header.config.image_size,
            training: None,
            judge: None,
            model: (number < KEPT).then_some(model),
        }
    }

    /// What an order says of it.
    pub fn ordered(&self) -> OrderedModel {
        OrderedModel {
            identity_set: self.set.clone(),
            hash: self.hash.clone(),
            images: self.dataset_hash.clone(),
            judge: self.judge.as_ref().map(|(_, hash)| hash.clone()),
        }
    }

    /// Describes a model of which only the record is left, and what is known of its identities and their images.
    pub fn recorded(model: &OrderedModel, identities: &[(String, usize)], image_size: usize) -> Self {
        Self {
            set: model.identity_set.clone(),
            path: PathBuf::new(),
            hash: model.hash.clone(),
            dataset_hash: model.images.clone(),
            identities: identities.iter().map(|(identity, _)| identity.clone()).collect(),
            images: identities.iter().map(|(_, images)| *images).collect(),
            image_size,
            training: None,
            judge: model.judge.clone().map(|hash| (PathBuf::new(), hash)),
            model: None,
        }
    }

    /// Calls `f` with the model, loaded if need be.
    ///
    /// # Errors
    /// Those of `f`; the model cannot be loaded.
    pub fn with<T>(&self, device: &Device, f: impl FnOnce(&TrainedModel) -> Result<T>) -> Result<T> {
        match &self.model {
            Some(model) => f(model),
            None => f(&TrainedModel::load(&self.path, device)?),
        }
    }
}
