//! `augment forget`: takes a person out of everything that was made.

use super::Outcome;
use super::args::{ForgetArgs, GlobalArgs};
use super::folder::Kind;
use super::plan;
use crate::error::{Error, Result};
use crate::sink::forget::{forget, placeholder};
use crate::store;
use crate::train::checkpoint;
use serde_json::json;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Erases from datasets, marks models (those of the cache too), and deletes evaluations, whose pictures and weights are of real
/// images.
pub fn run(args: &ForgetArgs, global: &GlobalArgs) -> Result<Outcome> {
    let mut dirs = args.dirs.clone();
    dirs.extend(subfolders(&plan::cache_dir(global)?.join("models"))?);
    let (mut text, mut entries) = (String::new(), Vec::new());
    for dir in &dirs {
        let (what, n) = match Kind::of(dir)? {
            Kind::Dataset => {
                let erased = forget(dir, &args.identity)?;
                if erased.rows == 0 && erased.before { ("erased before", 1) } else { ("rows erased", erased.rows) }
            }
            Kind::Model => ("files marked", mark(dir, &args.identity)?),
            Kind::Evaluation => ("files deleted", delete(dir, &args.identity)?),
        };
        if n > 0 || args.dirs.contains(dir) {
            let _ = writeln!(text, "{}: {what}: {n}", dir.display());
        }
        entries.push(json!({ "folder": dir, "what": what, "count": n }));
    }
    if entries.iter().all(|e| e["count"] == 0) {
        return Err(Error::Usage(format!(
            "nothing knows the identity `{}`: {} folders were searched",
            args.identity,
            entries.len()
        )));
    }
    text += "Take the identity out of the manifest too, and delete marked models when nothing else needs them.\n";
    Ok(Outcome::new(text, json!({ "version": 1, "folders": entries })))
}

/// Marks the weights in `dir` that were trained with `identity`, and deletes their sample grids; returns how many files.
fn mark(dir: &Path, identity: &str) -> Result<usize> {
    let _lock = store::lock(dir)?;
    let (all, name) = (files(dir)?, placeholder()?);
    let mut marked = 0;
    for path in all.iter().filter(|p| has_extension(p, "safetensors")) {
        marked += usize::from(checkpoint::mark_forgotten(path, identity, &name)?);
    }
    if marked > 0 {
        for grid in all.iter().filter(|p| has_extension(p, "png")) {
            std::fs::remove_file(grid).map_err(|e| Error::io(grid, e))?;
        }
    }
    Ok(marked)
}

/// Deletes an evaluation whose judge knows `identity`, or that is not finished and so has none.
fn delete(dir: &Path, identity: &str) -> Result<usize> {
    let _lock = store::lock(dir)?;
    let judges: Vec<PathBuf> = files(dir)?.into_iter().filter(|p| has_extension(p, "safetensors")).collect();
    let knows = |path: &PathBuf| Ok(checkpoint::identities(path)?.is_none_or(|all| all.iter().any(|i| i == identity)));
    if !judges.is_empty() && !judges.iter().map(knows).collect::<Result<Vec<bool>>>()?.contains(&true) {
        return Ok(0);
    }
    let kept = |p: &PathBuf| p.file_name().is_some_and(|n| n == store::LOCK_FILE);
    let all: Vec<PathBuf> =
        [files(&dir.join("runs"))?, files(dir)?].concat().into_iter().filter(|p| !kept(p)).collect();
    for path in &all {
        std::fs::remove_file(path).map_err(|e| Error::io(path, e))?;
    }
    Ok(all.len())
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
