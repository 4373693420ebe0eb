//! `augment forget`: takes a person out of everything that was made.

use super::Outcome;
use super::args::{ForgetArgs, GlobalArgs};
use super::evaluate::{REPORT_HTML, REPORT_JSON};
use super::folder::Kind;
use super::plan;
use super::seen::Seen;
use crate::error::{Error, Result};
use crate::evaluate::judge::JUDGE_FILE;
use crate::sink::forget::{Erased, forget};
use crate::store::{self, PARTIAL};
use crate::train::checkpoint::{self, Knowledge};
use serde_json::json;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Erases from datasets, marks models (those of the cache too), and deletes evaluations, whose pictures and weights are of real
/// images.
pub fn run(args: &ForgetArgs, global: &GlobalArgs) -> Result<Outcome> {
    let mut dirs = args.dirs.clone();
    dirs.extend(subfolders(&plan::cache_dir(global)?.join("models"))?);
    let (mut text, mut entries, mut known) = (String::new(), Vec::new(), false);
    for dir in &dirs {
        let (what, n) = match Kind::of(dir)? {
            Kind::Dataset => match forget(dir, &args.identity)? {
                Erased::Rows(n) => ("rows erased", n),
                Erased::Before => (BEFORE, 0),
                Erased::Unknown => (UNKNOWN, 0),
            },
            Kind::Model => mark(dir, &args.identity)?,
            Kind::Evaluation => delete(dir, &args.identity)?,
        };
        known |= what != UNKNOWN;
        if what != UNKNOWN || args.dirs.contains(dir) {
            let _ = writeln!(text, "{}: {what}: {n}", dir.display());
        }
        entries.push(json!({ "folder": dir, "what": what, "count": n }));
    }
    if !known {
        return Err(Error::Usage(format!(
            "nothing knows the identity `{}`: {} folders were searched",
            args.identity,
            entries.len()
        )));
    }
    text += "Take the identity out of the manifest too, and delete marked models when nothing else needs them.\n";
    Ok(Outcome::new(text, json!({ "version": 1, "folders": entries })))
}

/// What is said of a folder that had forgotten the identity, and of one that never knew it.
const BEFORE: &str = "forgotten before";
const UNKNOWN: &str = "does not know the identity";

/// Marks the weights in `dir`, if some of them were trained with `identity`, and deletes their sample grids; says how many files.
fn mark(dir: &Path, identity: &str) -> Result<(&'static str, usize)> {
    let _lock = store::lock(dir)?;
    let all = files(dir)?;
    let weights = all.iter().filter(|p| has_extension(p, "safetensors"));
    let found = weights
        .map(|p| Ok((p, checkpoint::knowledge(p, identity)?)))
        .collect::<Result<Vec<(&PathBuf, Knowledge)>>>()?;
    if found.iter().all(|(_, knows)| *knows == Knowledge::None) {
        return Ok((UNKNOWN, 0));
    }
    // Grids show photographs: they go first, as nothing tells of them once all weights are marked.
    let pictures = all.iter().filter(|p| has_extension(p, "png") || has_extension(p, PARTIAL));
    remove(dir, &pictures.cloned().collect::<Vec<_>>())?;
    if found.iter().all(|(_, knows)| *knows == Knowledge::Forgotten) {
        return Ok((BEFORE, 0));
    }
    // Those that do not name it, such as checkpoints of old, are of the same training.
    let unmarked: Vec<&PathBuf> =
        found.into_iter().filter(|(_, knows)| *knows != Knowledge::Forgotten).map(|(p, _)| p).collect();
    unmarked.iter().try_for_each(|p| checkpoint::mark_forgotten(p, identity))?;
    Ok(("files marked", unmarked.len()))
}

/// Deletes an evaluation that has seen `identity`; says how many files.
fn delete(dir: &Path, identity: &str) -> Result<(&'static str, usize)> {
    let _lock = store::lock(dir)?;
    let seen = Seen::read(dir)?;
    if !seen.contains(identity) {
        return Ok((if seen.forgot(identity) { BEFORE } else { UNKNOWN }, 0));
    }
    let own = |p: &PathBuf| {
        [REPORT_HTML, REPORT_JSON, JUDGE_FILE].iter().any(|name| p.ends_with(name)) || has_extension(p, PARTIAL)
    };
    let (top, runs) = (files(dir)?.into_iter().filter(own).collect::<Vec<_>>(), dir.join("runs"));
    let trainings = files(&runs)?;
    remove(dir, &top)?;
    remove(&runs, &trainings)?;
    seen.forget(dir, identity)?;
    Ok(("files deleted", top.len() + trainings.len()))
}

/// Deletes files of `folder` for good.
fn remove(folder: &Path, files: &[PathBuf]) -> Result<()> {
    for path in files {
        std::fs::remove_file(path).map_err(|e| Error::io(path, e))?;
    }
    if files.is_empty() { Ok(()) } else { store::sync(folder) }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e == extension)
}

/// Entries of `dir`, sorted; none if it is not there.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| Error::io(dir, e))?,
    };
    let mut paths: Vec<PathBuf> =
        entries.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>().map_err(|e| Error::io(dir, e))?;
    paths.sort();
    Ok(paths)
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(dir)?.into_iter().filter(|p| p.is_file()).collect())
}

/// Folders in `dir` that hold something of this program.
fn subfolders(dir: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(dir)?.into_iter().filter(|p| Kind::of(p).is_ok()).collect())
}
