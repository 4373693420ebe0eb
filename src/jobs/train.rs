//! Training alone: the model of each identity set.

use super::input::{Input, Source};
use super::judges::TRAINING_FILE;
use super::preview::Preview;
use super::{Context, Rejected, folder_name, judges, length, models, place};
use crate::config::{RunConfig, Settings};
use crate::dataset::View;
use crate::error::Result;
use crate::progress::Progress;
use crate::recogniser::judge::JUDGE_FILE;
use crate::train::checkpoint::CHECKPOINT_FILE;
use crate::train::metrics::METRICS_FILE;
use crate::train::trained::MODEL_FILE;
use std::path::{Path, PathBuf};

/// What to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// The images to learn from.
    pub input: Input,
    /// How to train.
    pub settings: Settings,
    /// Folder of the model, or of one folder for each identity set; without one models are in the cache.
    pub out: Option<PathBuf>,
    /// A model whose weights it begins with.
    pub init: Option<String>,
    /// Also train the judge that chooses among its images.
    pub judge: bool,
}

/// A trained model.
#[derive(Clone, Debug)]
pub struct Model {
    /// The identity set that it knows.
    pub identity_set: String,
    /// Its folder.
    pub folder: PathBuf,
    /// blake3 (hex) of its file.
    pub model_hash: String,
    /// Number of identities.
    pub identities: usize,
    /// Number of training images.
    pub images: usize,
    /// Steps taken.
    pub steps: u64,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The models.
    pub models: Vec<Model>,
    /// Rows that were left out.
    pub rejected: Rejected,
}

impl Request {
    /// The same with a folder that can be used, if one is named.
    fn placed(&self) -> Result<Self> {
        Ok(Self { out: self.out.as_deref().map(place::usable).transpose()?, ..self.clone() })
    }
}

/// Trains every identity set of the input.
///
/// # Errors
/// See [`Error`].
pub fn run(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Trained> {
    let request = &request.placed()?;
    let (source, mut config) = prepare(request, true, context, progress)?;
    let base = models::base(request.init.as_deref(), &mut config, context)?;
    let out = match &request.out {
        Some(out) => out.clone(),
        None => context.cache()?.join(folder_name(&source.spec, "models")),
    };
    let list = place::rejects_path(&out)?;
    let mut models = Vec::new();
    let sets = source.sets();
    let rejected = source.for_each_set(
        View::new(config.image_size, config.alignment),
        &list,
        progress,
        |set, dataset, progress| {
            let folder = match folder(request, &sets, set) {
                Some(folder) => folder,
                None => models::folder(context, &dataset, &config)?,
            };
            let model = models::train_in(&folder, &dataset, &config, request.judge, base.as_ref(), context, progress)?;
            if request.judge {
                judges::find_or_train(&folder, &dataset, &config, context, progress)?;
            }
            models.push(Model {
                identity_set: set.to_owned(),
                folder,
                model_hash: model.hash,
                identities: dataset.identities().len(),
                images: dataset.len(),
                steps: model.header.step,
            });
            Ok(())
        },
    )?;
    Ok(Trained { models, rejected: Rejected { count: rejected.len(), list } })
}

/// Checks what [`run`] checks before it trains, and says what it would do.
///
/// # Errors
/// Those of [`run`] that can be known without training.
pub fn preview(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Preview> {
    let request = &request.placed()?;
    let (source, config) = prepare(request, false, context, progress)?;
    Preview::new(&source, &config, true, None, context, progress)
}

fn prepare(
    request: &Request,
    keep: bool,
    context: &Context,
    progress: &mut dyn Progress,
) -> Result<(Source, RunConfig)> {
    if request.out.is_none() {
        context.check_cache()?;
    }
    let source = Source::open(&request.input, context)?;
    let config = length::resolve(&request.settings, &source, keep, context, progress)?;
    let sets = source.sets();
    sets.iter()
        .filter_map(|set| folder(request, &sets, set))
        .try_for_each(|dir| place::refuse_foreign(&dir, ("model", "out"), is_own))?;
    Ok((source, config))
}

/// Where the model of `set` goes, if a folder is named.
fn folder(request: &Request, sets: &[String], set: &str) -> Option<PathBuf> {
    let out = request.out.as_ref()?;
    Some(if sets.len() == 1 { out.clone() } else { out.join(set_folder(set)) })
}

/// True for the files that a training leaves.
fn is_own(path: &Path) -> bool {
    [MODEL_FILE, CHECKPOINT_FILE, METRICS_FILE, JUDGE_FILE, TRAINING_FILE].iter().any(|name| path.ends_with(name))
}

/// A folder name for an identity set, whatever characters it has.
fn set_folder(set: &str) -> PathBuf {
    let plain: String = set.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(40).collect();
    PathBuf::from(format!("{plain}-{}", &blake3::hash(set.as_bytes()).to_hex()[..16]))
}
