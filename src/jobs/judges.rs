//! The judge of an identity set: it stands beside the model and decides which of its images are kept.

use super::Context;
use crate::config::{EvaluationSettings, RunConfig};
use crate::dataset::{IdentityDataset, View};
use crate::error::{Error, Result};
use crate::evaluate::judges::{Role, possible, train_judge};
use crate::progress::Progress;
use crate::recogniser::judge::{JUDGE_FILE, Judge};
use crate::store;
use candle_core::Device;
use std::path::{Path, PathBuf};

/// The state of a judge's training, beside the model.
pub(super) const TRAINING_FILE: &str = "judge-training.safetensors";

/// File and hash of the judge in the folder of the model `path`, if there is one that knows all of its `identities`; else a note says that
/// nobody judges.
///
/// # Errors
/// It is damaged, or knows a forgotten person.
pub(super) fn find(
    path: &Path,
    identities: &[String],
    device: &Device,
    progress: &mut dyn Progress,
) -> Result<Option<(PathBuf, String)>> {
    let judge = folder(path).join(JUDGE_FILE);
    if judge.exists() {
        match Judge::load(&judge, device) {
            Ok(found) if identities.iter().all(|i| found.known.mean(i).is_some()) => {
                return Ok(Some((judge, found.hash)));
            }
            Ok(_) | Err(Error::OtherVersion { .. }) => {}
            Err(e) => return Err(e),
        }
    }
    progress.note(&format!(
        "no judge of these identities stands beside {}: nobody looks whether images show their identity",
        path.display()
    ));
    Ok(None)
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
    let (path, judge) = trained(Role::Chooses, folder(path), dataset, config, context, progress)?;
    Ok(Some((path, judge.hash)))
}

/// The judge of `role` of `dataset` in `folder`, trained if it is not there, and its file.
///
/// # Errors
/// As [`find_or_train`].
pub(super) fn trained(
    role: Role,
    folder: &Path,
    dataset: &IdentityDataset,
    config: &RunConfig,
    context: &Context,
    progress: &mut dyn Progress,
) -> Result<(PathBuf, Judge)> {
    let settings = EvaluationSettings { alignment: Some(config.alignment), ..EvaluationSettings::default() };
    let seen = if role == Role::Labels { dataset.len() } else { dataset.len() / 2 };
    let config = settings.resolve(Some(config.image_size), Some(seen))?;
    let images = dataset.seen_as(View::square(config.image_size))?;
    let own = role.images(&images)?;
    let path = folder.join(JUDGE_FILE);
    let there = || match Judge::load(&path, &context.device) {
        Ok(judge) if judge.config == config && judge.images == own.hash() => Ok(Some(judge)),
        // Of other images, or of another version: it is trained again.
        Ok(_) | Err(Error::OtherVersion { .. }) => Ok(None),
        Err(_) if !path.exists() => Ok(None),
        Err(e) => Err(e),
    };
    if let Some(judge) = there()? {
        return Ok((path, judge));
    }
    let train = |progress: &mut dyn Progress| {
        let _lock = store::lock(folder)?;
        // Somebody else may have trained it meanwhile.
        if let Some(judge) = there()? {
            return Ok(judge);
        }
        let training = folder.join(TRAINING_FILE);
        progress.note(&format!(
            "training a judge on {} of {} images, in {}",
            own.len(),
            images.len(),
            folder.display()
        ));
        train_judge(role, &images, &config, &training, &context.device, progress)?.save(&path)?;
        store::remove(&training)?;
        Judge::load(&path, &context.device)
    };
    let judge = train(progress).map_err(|e| context.of_cache(e))?;
    Ok((path, judge))
}

/// The folder of a model, which may be given by its file.
fn folder(path: &Path) -> &Path {
    if path.is_dir() { path } else { path.parent().unwrap_or(path) }
}
