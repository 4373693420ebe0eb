//! The judge of an identity set: it stands beside the model and decides which of its images are kept.

use super::Context;
use crate::config::{EvaluationSettings, RunConfig};
use crate::dataset::{IdentityDataset, View};
use crate::error::Result;
use crate::evaluate::judges::{Role, possible, train_judge};
use crate::progress::Progress;
use crate::recogniser::judge::{JUDGE_FILE, Judge};
use crate::store;
use candle_core::Device;
use std::path::{Path, PathBuf};

/// The state of a judge's training, beside the model.
const TRAINING_FILE: &str = "judge-training.safetensors";

/// File and hash of the judge in the folder of the model `path`, if there is one.
///
/// # Errors
/// It is damaged, or knows a forgotten person.
pub(super) fn find(path: &Path, device: &Device) -> Result<Option<(PathBuf, String)>> {
    let path = folder(path).join(JUDGE_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let hash = Judge::load(&path, device)?.hash;
    Ok(Some((path, hash)))
}

/// File and hash of the judge of `dataset` in the folder of the model `path`, trained if it is not there; none where there are too few
/// images to train one.
///
/// # Errors
/// `Busy`, `Diverged`, `Interrupted`; the folder cannot be written.
pub(super) fn find_or_train(
    path: &Path,
    dataset: &IdentityDataset,
    config: &RunConfig,
    context: &Context,
    progress: &mut dyn Progress,
) -> Result<Option<(PathBuf, String)>> {
    if !possible(dataset) {
        progress.note("too few images to train a judge: nobody looks whether images show their identity");
        return Ok(None);
    }
    let folder = folder(path);
    let config = EvaluationSettings::default().resolve(Some(config.image_size), Some(dataset.len() / 2))?;
    let images = dataset.seen_as(View::new(config.image_size))?;
    let path = folder.join(JUDGE_FILE);
    let _lock = store::lock(folder)?;
    if path.exists() {
        let judge = Judge::load(&path, &context.device)?;
        if judge.config == config && judge.images == Role::Chooses.images(&images)?.hash() {
            return Ok(Some((path, judge.hash)));
        }
    }
    let training = folder.join(TRAINING_FILE);
    progress.note(&format!("training a judge on half of the {} images, in {}", images.len(), folder.display()));
    let judge = train_judge(Role::Chooses, &images, &config, &training, &context.device, progress);
    judge.and_then(|judge| judge.save(&path)).map_err(|e| context.of_cache(e))?;
    store::remove(&training)?;
    let hash = Judge::load(&path, &context.device)?.hash;
    Ok(Some((path, hash)))
}

/// The folder of a model, which may be given by its file.
fn folder(path: &Path) -> &Path {
    if path.is_dir() { path } else { path.parent().unwrap_or(path) }
}
