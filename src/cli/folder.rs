//! `augment verify` and `augment status`: whether what a run wrote is unchanged, and how far a run is.

use super::Outcome;
use super::args::FolderArgs;
use super::evaluate::{PAGE, REPORT_JSON};
use super::seen::SEEN;
use crate::error::{Error, Result};
use crate::manifest::PLAN_FILE;
use crate::sink::records::{self, Damage, Entry, SUCCESS};
use crate::store;
use crate::train::checkpoint::{self, CHECKPOINT_FILE};
use crate::train::trained::MODEL_FILE;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Exit code of damage.
const DAMAGED: u8 = 2;

/// `augment verify DIR`: reads every file of a dataset, a model or an evaluation.
pub fn verify(args: &FolderArgs) -> Result<Outcome> {
    let dir = args.dir.as_path();
    let kind = Kind::of(dir)?;
    let (complete, files, damages) = if kind == Kind::Dataset {
        let found = records::verify(dir)?;
        (found.complete, found.files, found.damages)
    } else {
        let paths = kept_files(dir)?;
        let mut damages = Vec::new();
        for path in &paths {
            damages.extend(damage(dir, path)?);
        }
        if kind == Kind::Model {
            (dir.join(MODEL_FILE).exists(), paths.len(), damages)
        } else {
            let page = page(dir)?;
            if let Some(page) = &page {
                damages.extend(page.damage(dir)?);
            }
            (dir.join(REPORT_JSON).exists(), paths.len() + usize::from(page.is_some()), damages)
        }
    };
    let mut text = String::new();
    for d in &damages {
        let _ = writeln!(text, "{}: {}", super::printable(&d.path), d.what);
    }
    let state = if complete { "complete" } else { "not complete" };
    let _ = writeln!(text, "{}: {state}, {files} files read, {} damaged", dir.display(), damages.len());
    let code = if damages.is_empty() { 0 } else { DAMAGED };
    let json = json!({ "version": 1, "kind": kind.name(), "complete": complete, "files": files, "damages": damages });
    Ok(Outcome { code, ..Outcome::new(text, json) })
}

/// `augment status DIR`: how far a run is, and whether it still runs.
pub fn status(args: &FolderArgs) -> Result<Outcome> {
    let dir = args.dir.as_path();
    let kind = Kind::of(dir)?;
    let running = store::is_locked(dir);
    let progress = match kind {
        Kind::Dataset => {
            let done = store::read_sealed(&dir.join(SUCCESS))?;
            let plan = store::read_sealed(&dir.join(PLAN_FILE))?.unwrap_or_default();
            let rows = match &done {
                Some(done) => done["rows"].clone(),
                None => json!(records::committed_rows(dir)?),
            };
            json!({ "complete": done.is_some(), "rows": rows, "planned_rows": plan["rows"] })
        }
        Kind::Model => {
            let step = |name: &str| -> Result<Value> {
                let path = dir.join(name);
                if path.exists() { Ok(checkpoint::header(&path)?["step"].clone()) } else { Ok(Value::Null) }
            };
            json!({ "complete": dir.join(MODEL_FILE).exists(), "checkpoint_step": step(CHECKPOINT_FILE)?, "model_step": step(MODEL_FILE)? })
        }
        Kind::Evaluation => {
            let outcome = |p: &&PathBuf| p.parent() != Some(dir) && p.extension().is_some_and(|e| e == "json");
            let finished = kept_files(dir)?.iter().filter(outcome).count();
            json!({ "complete": dir.join(REPORT_JSON).exists(), "finished_trainings": finished })
        }
    };
    let mut text =
        format!("{}: {}{}\n", dir.display(), kind.name(), if running { ", a process works here" } else { "" });
    for (key, value) in progress.as_object().into_iter().flatten() {
        let _ = writeln!(text, "  {} {value}", key.replace('_', " "));
    }
    Ok(Outcome::new(text, json!({ "version": 1, "kind": kind.name(), "running": running, "progress": progress })))
}

/// What a folder holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Dataset,
    Model,
    Evaluation,
}

impl Kind {
    pub(super) fn of(dir: &Path) -> Result<Self> {
        let has = |name: &str| dir.join(name).exists();
        if has(PLAN_FILE) || has(SUCCESS) {
            Ok(Self::Dataset)
        } else if has(SEEN) {
            Ok(Self::Evaluation)
        } else if has(MODEL_FILE) || has(CHECKPOINT_FILE) {
            Ok(Self::Model)
        } else {
            Err(Error::Usage(format!("{}: holds no dataset, model or evaluation of augment", dir.display())))
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Dataset => "dataset",
            Self::Model => "model",
            Self::Evaluation => "evaluation",
        }
    }
}

/// Files of a model or an evaluation that hold their own hash.
fn kept_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for folder in [dir.to_owned(), dir.join("runs")] {
        let entries = match std::fs::read_dir(&folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.map_err(|e| Error::io(&folder, e))?,
        };
        for entry in entries {
            let path = entry.map_err(|e| Error::io(&folder, e))?.path();
            let json = folder != dir && path.extension().is_some_and(|e| e == "json");
            if json
                || path.ends_with(REPORT_JSON)
                || path.ends_with(SEEN)
                || path.extension().is_some_and(|e| e == "safetensors")
            {
                paths.push(path);
            }
        }
    }
    paths.sort();
    Ok(paths)
}

/// The page that an evaluation's summary describes.
fn page(dir: &Path) -> Result<Option<Entry>> {
    match store::read_sealed(&dir.join(REPORT_JSON)) {
        Ok(report) => Ok(report.and_then(|r| serde_json::from_value(r[PAGE].clone()).ok())),
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
        checkpoint::header(path).map(|_| ())
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
