//! Trained models: the cache, by what decides their weights, and training under a lock.

use super::watch::Watching;
use super::{Context, judges, length};
use crate::config::RunConfig;
use crate::dataset::IdentityDataset;
use crate::error::{Error, Result};
use crate::ops;
use crate::progress::Progress;
use crate::recogniser::judge::Judge;
use crate::store;
use crate::train::base::Base;
use crate::train::{self, TrainedModel, checkpoint::CHECKPOINT_FILE, grid, trained::MODEL_FILE, watch::Watch};
use crate::{remote, report};
use candle_core::Device;
use std::path::{Path, PathBuf};

/// The page of a training, in the folder of its model.
pub const PAGE: &str = "training.html";

/// Folder of the model for `dataset` and `config` in the cache.
///
/// # Errors
/// The configuration has no text.
pub fn folder(context: &Context, dataset: &IdentityDataset, config: &RunConfig) -> Result<PathBuf> {
    let versions = format!("training {} kernels {}", train::VERSION, ops::VERSION);
    let key = format!("{versions} {} {}", dataset.hash(), config.training_only().hash()?);
    let key = blake3::hash(key.as_bytes());
    Ok(context.cache()?.join("models").join(&key.to_hex()[..32]))
}

/// The model that `spec` names (folder or file, or its address on the hub or in a store), and where it lies here.
///
/// # Errors
/// It cannot be brought or read.
pub fn load(spec: &str, context: &Context) -> Result<(PathBuf, TrainedModel)> {
    let path = remote::localize_model(spec, MODEL_FILE, &context.cache, &context.access)?;
    let file = if path.is_dir() { path.join(MODEL_FILE) } else { path.clone() };
    if !file.exists() {
        return Err(Error::Usage(format!(
            "option `model` {spec}: {} is not there; name the folder of a trained model, or its {MODEL_FILE}",
            file.display()
        )));
    }
    let model = TrainedModel::load(&path, &context.device)?;
    Ok((path, model))
}

/// The weights that `init` names (folder or file of a model, or its address on the hub), and `config` with their hash.
///
/// # Errors
/// They cannot be read.
pub fn base(init: Option<&str>, config: &mut RunConfig, context: &Context) -> Result<Option<Base>> {
    let Some(spec) = init else { return Ok(None) };
    let path = remote::localize_model(spec, MODEL_FILE, &context.cache, &context.access)?;
    let base = Base::load(&path, &context.device)?;
    config.train.init = Some(base.hash.clone());
    Ok(Some(base))
}

/// The model for `dataset` and `config` of the cache, trained if it is not there, and its folder. Where one is there, it serves, whether it was
/// `watched` or not.
///
/// # Errors
/// Those of [`train_in`]; a model that is damaged.
pub fn find_or_train(
    dataset: &IdentityDataset,
    config: &RunConfig,
    watched: bool,
    base: Option<&Base>,
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
                retire(&dir, &context.device)?;
            }
            model => {
                progress.note(&format!("using the trained model in {}", dir.display()));
                return Ok((dir, model?));
            }
        }
    }
    let train = |progress: &mut dyn Progress| train_in(&dir, dataset, config, watched, base, context, progress);
    let model = match train(progress) {
        // A checkpoint of another version.
        Err(Error::OtherVersion { .. }) => {
            retire(&dir, &context.device)?;
            train(progress)
        }
        trained => trained,
    };
    Ok((dir.clone(), model.map_err(|e| context.of_cache(e))?))
}

/// Removes weights of another version, and what stands beside them, unless somebody else has trained again meanwhile.
fn retire(dir: &Path, device: &Device) -> Result<()> {
    let _lock = store::lock(dir)?;
    if TrainedModel::load(dir, device).is_ok() {
        return Ok(());
    }
    for entry in std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))? {
        let path = entry.map_err(|e| Error::io(dir, e))?.path();
        if [MODEL_FILE, CHECKPOINT_FILE].iter().any(|name| path.ends_with(name)) || grid::is_grid(&path) {
            store::remove(&path)?;
        }
    }
    Ok(())
}

/// The model in `dir`, where it has no checkpoint and `dataset` and `config` make it.
///
/// # Errors
/// Others made it: it would be lost.
fn finished(
    dir: &Path,
    dataset: &IdentityDataset,
    config: &RunConfig,
    device: &Device,
) -> Result<Option<TrainedModel>> {
    if dir.join(CHECKPOINT_FILE).exists() || !dir.join(MODEL_FILE).exists() {
        return Ok(None);
    }
    let model = TrainedModel::load(dir, device)?;
    if model.header.config == config.training_only() && model.header.dataset_hash == dataset.hash() {
        return Ok(Some(model));
    }
    Err(Error::Usage(format!(
        "{}: holds a model of other images or of another configuration, and no checkpoint: it would be overwritten; name another folder, or delete it",
        dir.display()
    )))
}

/// Trains in `dir`, or goes on there, while nobody else works in it; a model that is there without a checkpoint is done. If it is `watched`, the judge is trained first, and may end the training
/// where the configuration has patience.
///
/// # Errors
/// `Busy`, and those of [`train::fit`].
pub fn train_in(
    dir: &Path,
    dataset: &IdentityDataset,
    config: &RunConfig,
    watched: bool,
    base: Option<&Base>,
    context: &Context,
    progress: &mut dyn Progress,
) -> Result<TrainedModel> {
    let device = &context.device;
    if let Some(model) = finished(dir, dataset, config, device)? {
        progress.note(&format!("using the trained model in {}", dir.display()));
        return Ok(model);
    }
    store::create_dir(dir)?;
    let judge = if watched && config.train.patience_kimg > 0.0 {
        judges::find_or_train(dir, dataset, config, context, progress)?
    } else {
        None
    };
    let watching = match judge {
        Some((path, _)) => Some(Watching::new(Judge::load(&path, device)?, dataset, config)?),
        None => None,
    };
    let lock = store::lock(dir)?;
    if let Some(note) = lock.note() {
        progress.note(&note);
    }
    if let Some(base) = base.filter(|_| !dir.join(CHECKPOINT_FILE).exists()) {
        base.begin(dir, config, dataset, device)?;
    }
    let takes = if dir.join(CHECKPOINT_FILE).exists() {
        None
    } else {
        length::seconds(config, dataset.identities().len(), device, progress)?
    };
    progress.note(&format!(
        "training on {} images of {} identities at {} px for {} thousand images{}, in {}",
        dataset.len(),
        dataset.identities().len(),
        config.image_size,
        config.train.duration_kimg,
        takes.map_or(String::new(), |s| format!(", about {}", length::in_words(s))),
        dir.display()
    ));
    let mut look = watching.map(|w| move |model: &TrainedModel| w.look(model));
    let watch = look.as_mut().map(|look| look as &mut Watch);
    let fitted = train::fit(dataset, config, dir, device, watch, progress);
    if matches!(fitted, Ok(_) | Err(Error::Interrupted { .. } | Error::Diverged { .. })) {
        store::write_atomic(&dir.join(PAGE), report::training::page(dir)?.as_bytes())?;
    }
    fitted
}
