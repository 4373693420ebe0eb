//! Whether what a run wrote is unchanged, and how far a run is: datasets, models, evaluations, comparisons of methods.

use super::evaluate::{PAGE, REPORT_JSON, RUNS};
use super::methods;
use super::seen::SEEN;
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::nn::sealed;
use crate::recogniser::judge::JUDGE_FILE;
use crate::sink::ledger::{self, Damage, Entry, PLAN_FILE, SUCCESS};
use crate::sink::verify;
use crate::store;
use crate::train::checkpoint::CHECKPOINT_FILE;
use crate::train::grid;
use crate::train::metrics::{self, METRICS_FILE};
use crate::train::trained::MODEL_FILE;
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What a folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A dataset.
    Dataset,
    /// A model, or its training.
    Model,
    /// An evaluation.
    Evaluation,
    /// A comparison of methods that has its page.
    Comparison,
}

impl Kind {
    /// Everything of ours that `dir` holds.
    pub fn all(dir: &Path) -> Vec<Self> {
        let has = |names: &[&str]| names.iter().any(|name| dir.join(name).exists());
        // A page of this name may be anybody's.
        let page_of_ours = dir.join(methods::PAGE).exists() && dir.join(JUDGE_FILE).exists();
        let marks: [(Self, &[&str]); 4] = [
            (Self::Dataset, &[PLAN_FILE, SUCCESS]),
            (Self::Evaluation, &[SEEN]),
            (Self::Comparison, if page_of_ours { &[methods::PAGE] } else { &[methods::JSON] }),
            (Self::Model, &[MODEL_FILE, CHECKPOINT_FILE]),
        ];
        marks.into_iter().filter(|(_, names)| has(names)).map(|(kind, _)| kind).collect()
    }

    /// Folders that hold nothing but its own files.
    pub(super) fn folders(self) -> Vec<&'static str> {
        match self {
            Self::Dataset => ledger::content().collect(),
            Self::Evaluation => vec![RUNS],
            // The models of a comparison are models like others.
            Self::Model | Self::Comparison => Vec::new(),
        }
    }

    /// Folders of the files that [`run`] reads, and the one of these that comes last.
    fn extent(self, dir: &Path) -> Result<(Vec<PathBuf>, &'static str)> {
        let folders = |more: Vec<PathBuf>| [vec![dir.to_owned()], more].concat();
        Ok(match self {
            Self::Dataset => (folders(Vec::new()), SUCCESS),
            Self::Model => (folders(Vec::new()), MODEL_FILE),
            Self::Evaluation => (folders(vec![dir.join(RUNS)]), REPORT_JSON),
            Self::Comparison => (folders(entries(&dir.join(methods::MODELS))?), methods::JSON),
        })
    }

    /// What `dir` holds.
    ///
    /// # Errors
    /// It is nothing of ours.
    pub fn of(dir: &Path) -> Result<Self> {
        let unknown =
            || Error::Usage(format!("{}: holds no dataset, model, evaluation or comparison of augment", dir.display()));
        Self::all(dir).first().copied().ok_or_else(unknown)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dataset => "dataset",
            Self::Model => "model",
            Self::Evaluation => "evaluation",
            Self::Comparison => "comparison of methods",
        }
    }
}

/// What [`run`] found.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What the folder holds.
    pub kind: Kind,
    /// Whether it is complete.
    pub complete: bool,
    /// Files that were read.
    pub files: usize,
    /// What is wrong.
    pub damages: Vec<Damage>,
}

/// Reads every file of a dataset, a model, an evaluation or a comparison and compares it with its hash.
///
/// # Errors
/// The folder holds none of them, or a file cannot be read. Damage is no error: it is listed.
pub fn run(dir: &Path) -> Result<Verified> {
    let kind = Kind::of(dir)?;
    if kind == Kind::Dataset {
        let found = verify::verify(dir)?;
        return Ok(Verified { kind, complete: found.complete, files: found.files, damages: found.damages });
    }
    let (folders, end) = kind.extent(dir)?;
    let paths = kept_files(dir, &folders)?;
    let mut damages = Vec::new();
    for path in &paths {
        damages.extend(damage(dir, path)?);
    }
    let mut files = paths.len();
    if kind != Kind::Model
        && let Some(page) = page(&dir.join(end))?
    {
        damages.extend(page.damage(dir)?);
        files += 1;
    }
    Ok(Verified { kind, complete: dir.join(end).exists(), files, damages })
}

/// What `dir` holds, which must be complete and as it was written.
///
/// # Errors
/// `Damaged`; `Usage`: it is not complete, or nothing of ours.
pub(super) fn whole(dir: &Path) -> Result<Kind> {
    let found = run(dir)?;
    if !found.complete {
        let advice = "run the command that writes it again first";
        return Err(Error::Usage(format!("{}: is not complete; {advice}", dir.display())));
    }
    if let Some(damage) = found.damages.first() {
        let what = format!("{} since it was written; run the command that wrote it with option `repair`", damage.what);
        return Err(Error::Damaged { path: dir.join(&damage.path), what });
    }
    Ok(found.kind)
}

/// Refuses a dataset in `dir` that is not complete, or has changed since it was written. Files alone, and what others wrote, are taken as they are.
///
/// # Errors
/// Those of [`whole`].
pub(super) fn whole_dataset(dir: &Path) -> Result<()> {
    if Kind::all(dir).first() == Some(&Kind::Dataset) { whole(dir).map(|_| ()) } else { Ok(()) }
}

/// How far a run is.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Stage {
    /// A dataset.
    Dataset {
        /// The summary is there.
        complete: bool,
        /// Committed rows.
        rows: usize,
        /// Rows asked for.
        planned_rows: Option<usize>,
    },
    /// A training.
    Model {
        /// The model is there.
        complete: bool,
        /// Step of the checkpoint.
        checkpoint_step: Option<u64>,
        /// Step of the model.
        model_step: Option<u64>,
        /// Images shown.
        images: Option<u64>,
        /// Rate of the last steps.
        images_per_second: Option<f64>,
        /// What is left at that rate; less where a judge ends the training earlier.
        seconds_left: Option<f64>,
        /// The last picture of what it makes.
        last_grid: Option<PathBuf>,
    },
    /// An evaluation.
    Evaluation {
        /// The report is there.
        complete: bool,
        /// Recognisers that are trained and tested.
        finished_trainings: usize,
    },
    /// A comparison of methods.
    Comparison {
        /// The table is there.
        complete: bool,
        /// Models that are trained.
        finished_trainings: usize,
    },
}

/// What [`status`] found.
#[derive(Clone, Debug)]
pub struct Status {
    /// What the folder holds.
    pub kind: Kind,
    /// A process works there.
    pub running: bool,
    /// How far it is.
    pub stage: Stage,
}

/// How far the run is that writes into `dir`, and whether it still runs.
///
/// # Errors
/// The folder holds nothing of ours, or a file is damaged.
pub fn status(dir: &Path) -> Result<Status> {
    let kind = Kind::of(dir)?;
    let stage = match kind {
        Kind::Dataset => {
            let (done, order) = (ledger::summary(dir)?, ledger::order(dir)?);
            let planned_rows = order.and_then(|o| o.rows);
            let rows = done.as_ref().map_or_else(|| ledger::committed_rows(dir), |done| Ok(done.rows))?;
            Stage::Dataset { complete: done.is_some(), rows, planned_rows }
        }
        Kind::Model => {
            let step = |name: &str| -> Result<Option<u64>> {
                let path = dir.join(name);
                if path.exists() { Ok(sealed::header(&path)?["step"].as_u64()) } else { Ok(None) }
            };
            let (checkpoint_step, model_step) = (step(CHECKPOINT_FILE)?, step(MODEL_FILE)?);
            let complete = dir.join(MODEL_FILE).exists();
            let points = if dir.join(METRICS_FILE).exists() { metrics::read(dir)? } else { Vec::new() };
            let images = points.last().map(|p| p.images);
            let rate = metrics::rate(&points);
            let config = std::fs::read_to_string(dir.join(ledger::CONFIG)).ok();
            let total = config.and_then(|text| toml::from_str::<RunConfig>(&text).ok());
            let total = total.map(|config| config.train.duration_kimg * 1000.0).filter(|_| !complete);
            let left =
                total.zip(images).zip(rate).map(|((total, images), rate)| (total - images as f64).max(0.0) / rate);
            let tenth = |v: f64| (v * 10.0).round() / 10.0;
            let last_grid = grid::grids(dir)?.pop().map(|(_, path)| path);
            let (images_per_second, seconds_left) = (rate.map(tenth), left.map(f64::round));
            Stage::Model { complete, checkpoint_step, model_step, images, images_per_second, seconds_left, last_grid }
        }
        Kind::Evaluation => {
            let outcome = |p: &&PathBuf| p.parent() != Some(dir) && p.extension().is_some_and(|e| e == "json");
            let (folders, end) = kind.extent(dir)?;
            let finished_trainings = kept_files(dir, &folders)?.iter().filter(outcome).count();
            Stage::Evaluation { complete: dir.join(end).exists(), finished_trainings }
        }
        Kind::Comparison => {
            let (folders, end) = kind.extent(dir)?;
            let finished_trainings = folders.iter().filter(|folder| folder.join(MODEL_FILE).exists()).count();
            Stage::Comparison { complete: dir.join(end).exists(), finished_trainings }
        }
    };
    Ok(Status { kind, running: store::is_locked(dir), stage })
}

/// Files of ours in the `folders` of `dir` that hold their own hash.
fn kept_files(dir: &Path, folders: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for folder in folders {
        paths.extend(entries(folder)?.into_iter().filter(|path| {
            let json = folder != dir && path.extension().is_some_and(|e| e == "json");
            let weights = path.extension().is_some_and(|e| e == "safetensors");
            json || weights || [REPORT_JSON, SEEN, methods::JSON].iter().any(|name| path.ends_with(name))
        }));
    }
    paths.sort();
    Ok(paths)
}

/// Entries of `dir`, sorted; none if it is not there, or is a file.
///
/// # Errors
/// It cannot be read.
pub(super) fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let entries = match std::fs::read_dir(dir) {
        Err(e) if matches!(e.kind(), NotFound | NotADirectory) => return Ok(Vec::new()),
        entries => entries.map_err(|e| Error::io(dir, e))?,
    };
    let mut paths: Vec<PathBuf> =
        entries.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>().map_err(|e| Error::io(dir, e))?;
    paths.sort();
    Ok(paths)
}

/// The page that the summary `path` of an evaluation or a comparison describes.
fn page(path: &Path) -> Result<Option<Entry>> {
    match store::read_sealed(path) {
        Ok(report) => Ok(report.and_then(|r: Value| serde_json::from_value(r[PAGE].clone()).ok())),
        // Listed already.
        Err(Error::Damaged { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What is wrong with a file that holds its own hash, if anything is.
fn damage(dir: &Path, path: &Path) -> Result<Option<Damage>> {
    let found = if path.extension().is_some_and(|e| e == "json") {
        store::read_sealed(path).map(|_| ())
    } else {
        sealed::header(path).map(|_| ())
    };
    let is = |what: String| {
        let path = path.strip_prefix(dir).unwrap_or(path).to_string_lossy().into_owned();
        Ok(Some(Damage { path, what }))
    };
    match found {
        Ok(()) => Ok(None),
        Err(Error::Damaged { what, .. } | Error::Model(what)) => is(what),
        Err(e) => Err(e),
    }
}
