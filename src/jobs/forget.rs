//! Takes a person out of everything that was made: rows are erased from datasets, models are marked (those of the cache too), and
//! evaluations deleted, whose pictures and weights are of real images.

use super::Context;
use super::evaluate::{RUNS, is_own};
use super::seen::Seen;
use super::verify::Kind;
use crate::error::{Error, Result};
use crate::nn::sealed::{self, Knowledge};
use crate::sink::erase::{Erased, forget, would_forget};
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
    /// Where it failed, and why: the person may still be known there.
    pub failures: Vec<(PathBuf, String)>,
}

/// What is said of a folder that had forgotten the identity, and of one that never knew it.
const BEFORE: &str = "forgotten before";
const UNKNOWN: &str = "does not know the identity";

/// Forgets a person. A place where it fails does not keep the others from being searched.
///
/// # Errors
/// Nothing knows the person, or a folder holds nothing of ours.
pub fn run(request: &Request, context: &Context) -> Result<Forgot> {
    search(request, context, |place, identity| match place {
        Place::Weights(file) => mark(file.parent().unwrap_or(Path::new("")), &[file.clone()], identity),
        Place::Folder(folder, kind) => match kind {
            Kind::Dataset => Ok(match forget(folder, identity)? {
                Erased::Rows(n) => ("rows erased", n),
                Erased::Before => (BEFORE, 0),
                Erased::Unknown => (UNKNOWN, 0),
            }),
            Kind::Model => mark(folder, &files(folder)?, identity),
            Kind::Evaluation => delete(folder, identity),
        },
    })
}

/// Says what [`run`] would do, and changes nothing.
///
/// # Errors
/// Those of [`run`].
pub fn preview(request: &Request, context: &Context) -> Result<Forgot> {
    search(request, context, |place, identity| match place {
        Place::Weights(file) => Ok(would_mark(std::slice::from_ref(file), identity)?),
        Place::Folder(folder, kind) => Ok(match kind {
            Kind::Dataset => match would_forget(folder, identity)? {
                Erased::Rows(n) => ("rows would be erased", n),
                Erased::Before => (BEFORE, 0),
                Erased::Unknown => (UNKNOWN, 0),
            },
            Kind::Model => would_mark(&files(folder)?, identity)?,
            Kind::Evaluation => {
                let seen = Seen::read(folder)?;
                match (seen.contains(identity), seen.forgot(identity)) {
                    (true, _) => ("files would be deleted", own_files(folder)?.iter().map(Vec::len).sum()),
                    (false, true) => (BEFORE, 0),
                    (false, false) => (UNKNOWN, 0),
                }
            }
        }),
    })
}

/// Where a person may be known.
enum Place {
    /// A folder of ours.
    Folder(PathBuf, Kind),
    /// A file of weights that somebody copied.
    Weights(PathBuf),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Folder(path, _) | Self::Weights(path) => path,
        }
    }
}

/// Calls `f` for every place in the request's folders and in the cache.
fn search(
    request: &Request,
    context: &Context,
    f: impl Fn(&Place, &str) -> Result<(&'static str, usize)>,
) -> Result<Forgot> {
    let mut places = Vec::new();
    for folder in &request.folders {
        let before = places.len();
        find(folder, &mut places)?;
        if places.len() == before {
            // Says that it holds nothing of ours.
            Kind::of(folder)?;
        }
    }
    let asked = places.len();
    find(&context.cache.join("models"), &mut places)?;
    let (mut outcomes, mut failures, mut known) = (Vec::new(), Vec::new(), false);
    for (n, place) in places.iter().enumerate() {
        match f(place, &request.identity) {
            Ok((what, count)) => {
                known |= what != UNKNOWN;
                if what != UNKNOWN || n < asked {
                    outcomes.push(Outcome { folder: place.path().to_owned(), what, count });
                }
            }
            Err(e) => failures.push((place.path().to_owned(), e.to_string())),
        }
    }
    if !known && failures.is_empty() {
        return Err(Error::Usage(format!(
            "nothing knows the identity `{}`: {} folders were searched",
            request.identity,
            places.len()
        )));
    }
    Ok(Forgot { outcomes, failures })
}

/// Adds the places in and below `folder`; none if it is not there.
fn find(folder: &Path, places: &mut Vec<Place>) -> Result<()> {
    if let Some(kind) = Kind::find(folder) {
        places.push(Place::Folder(folder.to_owned(), kind));
        return Ok(());
    }
    for path in entries(folder)? {
        if path.is_dir() && !path.is_symlink() {
            find(&path, places)?;
        } else if has_extension(&path, "safetensors") && sealed::is_ours(&path) {
            places.push(Place::Weights(path));
        }
    }
    Ok(())
}

/// What the weights among `files` know of `identity`.
fn knowledge<'a>(files: &'a [PathBuf], identity: &str) -> Result<Vec<(&'a PathBuf, Knowledge)>> {
    let weights = files.iter().filter(|p| has_extension(p, "safetensors"));
    weights.map(|p| Ok((p, sealed::knowledge(p, identity)?))).collect()
}

fn would_mark(files: &[PathBuf], identity: &str) -> Result<(&'static str, usize)> {
    let found = knowledge(files, identity)?;
    let unmarked = found.iter().filter(|(_, knows)| *knows != Knowledge::Forgotten).count();
    Ok(match () {
        () if found.iter().all(|(_, knows)| *knows == Knowledge::None) => (UNKNOWN, 0),
        () if unmarked == 0 => (BEFORE, 0),
        () => ("files would be marked", unmarked),
    })
}

/// Marks the weights among the files `all` of `dir`, if some of them were trained with `identity`, and deletes their sample grids; says
/// how many files.
fn mark(dir: &Path, all: &[PathBuf], identity: &str) -> Result<(&'static str, usize)> {
    let _lock = store::lock(dir)?;
    let found = knowledge(all, identity)?;
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
    let [top, trainings] = own_files(dir)?;
    remove(dir, &top)?;
    remove(&dir.join(RUNS), &trainings)?;
    seen.forget(dir, identity)?;
    Ok(("files deleted", top.len() + trainings.len()))
}

/// What an evaluation in `dir` made: its files, and those of its trainings.
fn own_files(dir: &Path) -> Result<[Vec<PathBuf>; 2]> {
    let own = |p: &PathBuf| is_own(p) || has_extension(p, PARTIAL);
    Ok([files(dir)?.into_iter().filter(own).collect(), files(&dir.join(RUNS))?])
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
