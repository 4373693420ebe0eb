//! Trained models: the cache, by what decides their weights, and training under a lock.

use super::Context;
use crate::config::RunConfig;
use crate::dataset::IdentityDataset;
use crate::error::{Error, Result};
use crate::ops;
use crate::progress::Progress;
use crate::store;
use crate::train::{self, TrainedModel, checkpoint::CHECKPOINT_FILE, trained::MODEL_FILE};
use candle_core::Device;
use std::path::{Path, PathBuf};

/// Folder of the model for `dataset` and `config` in the cache.
///
/// # Errors
/// The configuration has no text.
pub fn folder(context: &Context, dataset: &IdentityDataset, config: &RunConfig) -> Result<PathBuf> {
    let versions = format!("training {} kernels {}", train::VERSION, ops::VERSION);
    let key = format!("{versions} {} {}", dataset.hash(), config.training_only().hash()?);
    let key = blake3::hash(key.as_bytes());
    Ok(context.cache.join("models").join(&key.to_hex()[..32]))
}

/// The model for `dataset` and `config` of the cache, trained if it is not there, and its folder.
///
/// # Errors
/// Those of [`train_in`]; a model that is damaged.
pub fn find_or_train(
    dataset: &IdentityDataset,
    config: &RunConfig,
    context: &Context,
    progress: &mut dyn Progress,
) -> Result<(PathBuf, TrainedModel)> {
    let dir = folder(context, dataset, config)?;
    if dir.join(MODEL_FILE).exists() {
        match TrainedModel::load(&dir, &context.device) {
            Err(Error::OtherVersion { .. }) => {
                progress.note(&format!(
                    "the model in {} was made by another version of augment: training it again",
                    dir.display()
                ));
                for file in [MODEL_FILE, CHECKPOINT_FILE].map(|f| dir.join(f)).iter().filter(|f| f.exists()) {
                    store::remove(file)?;
                }
            }
            model => {
                progress.note(&format!("using the trained model in {}", dir.display()));
                return Ok((dir, model?));
            }
        }
    }
    let model = train_in(&dir, dataset, config, &context.device, progress).map_err(|e| context.of_cache(e))?;
    Ok((dir, model))
}

/// Trains in `dir`, or goes on there, while nobody else works in it.
///
/// # Errors
/// `Busy`, and those of [`train::fit`].
pub fn train_in(
    dir: &Path,
    dataset: &IdentityDataset,
    config: &RunConfig,
    device: &Device,
    progress: &mut dyn Progress,
) -> Result<TrainedModel> {
    let lock = store::lock(dir)?;
    if let Some(note) = lock.note() {
        progress.note(&note);
    }
    progress.note(&format!(
        "training on {} images of {} identities at {} px, in {}",
        dataset.len(),
        dataset.identities().len(),
        config.image_size,
        dir.display()
    ));
    train::fit(dataset, config, dir, device, progress)
}
