//! Takes a person out of everything that was made: rows are erased from datasets, models are marked (those of the cache too), and
//! evaluations deleted, whose pictures and weights are of real images.

use super::Context;
use super::evaluate::{RUNS, is_own};
use super::seen::Seen;
use super::verify::Kind;
use crate::error::{Error, Result};
use crate::nn::sealed::{self, Knowledge};
use crate::sink::erase::{Erased, forget};
use crate::store::{self, PARTIAL};
use std::path::{Path, PathBuf};

/// What to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// Key of the person.
    pub identity: String,
    /// Folders of datasets, models and evaluations; models of the cache are always searched.
    pub folders: Vec<PathBuf>,
}

/// What was done in a folder.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The folder.
    pub folder: PathBuf,
    /// What, in words.
    pub what: &'static str,
    /// To how many rows or files.
    pub count: usize,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Forgot {
    /// In every folder that was searched and asked for, or knew the person.
    pub outcomes: Vec<Outcome>,
}

/// What is said of a folder that had forgotten the identity, and of one that never knew it.
const BEFORE: &str = "forgotten before";
const UNKNOWN: &str = "does not know the identity";

/// Forgets a person.
///
/// # Errors
/// Nothing knows the person; a folder is damaged, or somebody works in it.
pub fn run(request: &Request, context: &Context) -> Result<Forgot> {
    let mut folders = request.folders.clone();
    folders.extend(subfolders(&context.cache.join("models"))?);
    let (mut outcomes, mut known) = (Vec::new(), false);
    for folder in &folders {
        let (what, count) = match Kind::of(folder)? {
            Kind::Dataset => match forget(folder, &request.identity)? {
                Erased::Rows(n) => ("rows erased", n),
                Erased::Before => (BEFORE, 0),
                Erased::Unknown => (UNKNOWN, 0),
            },
            Kind::Model => mark(folder, &request.identity)?,
            Kind::Evaluation => delete(folder, &request.identity)?,
        };
        known |= what != UNKNOWN;
        outcomes.push(Outcome { folder: folder.clone(), what, count });
    }
    if !known {
        return Err(Error::Usage(format!(
            "nothing knows the identity `{}`: {} folders were searched",
            request.identity,
            outcomes.len()
        )));
    }
    outcomes.retain(|o| o.what != UNKNOWN || request.folders.contains(&o.folder));
    Ok(Forgot { outcomes })
}

/// Marks the weights in `dir`, if some of them were trained with `identity`, and deletes their sample grids; says how many files.
fn mark(dir: &Path, identity: &str) -> Result<(&'static str, usize)> {
    let _lock = store::lock(dir)?;
    let all = files(dir)?;
    let weights = all.iter().filter(|p| has_extension(p, "safetensors"));
    let found =
        weights.map(|p| Ok((p, sealed::knowledge(p, identity)?))).collect::<Result<Vec<(&PathBuf, Knowledge)>>>()?;
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
    unmarked.iter().try_for_each(|p| sealed::mark_forgotten(p, identity))?;
    Ok(("files marked", unmarked.len()))
}

/// Deletes an evaluation that has seen `identity`; says how many files.
fn delete(dir: &Path, identity: &str) -> Result<(&'static str, usize)> {
    let _lock = store::lock(dir)?;
    let seen = Seen::read(dir)?;
    if !seen.contains(identity) {
        return Ok((if seen.forgot(identity) { BEFORE } else { UNKNOWN }, 0));
    }
    let own = |p: &PathBuf| is_own(p) || has_extension(p, PARTIAL);
    let (top, runs) = (files(dir)?.into_iter().filter(own).collect::<Vec<_>>(), dir.join(RUNS));
    let trainings = files(&runs)?;
    remove(dir, &top)?;
    remove(&runs, &trainings)?;
    seen.forget(dir, identity)?;
    Ok(("files deleted", top.len() + trainings.len()))
}

/// Deletes files of `folder` for good.
fn remove(folder: &Path, files: &[PathBuf]) -> Result<()> {
    files.iter().try_for_each(|path| store::remove(path))?;
    if files.is_empty() { Ok(()) } else { store::sync_folder(folder) }
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
    Ok(entries(dir)?.into_iter().filter(|p| Kind::find(p).is_some()).collect())
}
