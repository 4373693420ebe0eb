//! Takes a person out of everything that was made: rows are erased from datasets, models are marked (those of the cache too), and
//! evaluations deleted, whose pictures and weights are of real images; of comparisons of methods the page, which shows some.

use super::Context;
use super::evaluate::{RUNS, is_own};
use super::judges::TRAINING_FILE;
use super::methods;
use super::seen::Seen;
use super::verify::{Kind, entries};
use crate::error::{Error, Result};
use crate::nn::sealed::{self, Knowledge};
use crate::recogniser::judge::JUDGE_FILE;
use crate::sink::erase::{Erased, forget, would_forget};
use crate::store::{self, PARTIAL};
use crate::train::checkpoint::CHECKPOINT_FILE;
use crate::train::grid::is_grid;
use crate::train::metrics::METRICS_FILE;
use crate::train::trained::MODEL_FILE;
use std::collections::BTreeSet;
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
        Place::Training(folder) => look_at_training(folder),
        Place::Weights(file) => mark(file.parent().unwrap_or(Path::new("")), std::slice::from_ref(file), identity),
        Place::Folder(folder, kind) => match kind {
            Kind::Dataset => Ok(match forget(folder, identity)? {
                Erased::Rows(n) => ("rows erased", n),
                Erased::Before => (BEFORE, 0),
                Erased::Unknown => (UNKNOWN, 0),
            }),
            Kind::Model => mark(folder, &files(folder)?, identity),
            Kind::Evaluation => delete(folder, identity),
            Kind::Comparison => {
                let shown = showing(folder, identity)?;
                remove(folder, &shown)?;
                Ok(if shown.is_empty() { (UNKNOWN, 0) } else { ("files deleted", shown.len()) })
            }
        },
    })
}

/// Says what [`run`] would do, and changes nothing.
///
/// # Errors
/// Those of [`run`].
pub fn preview(request: &Request, context: &Context) -> Result<Forgot> {
    search(request, context, |place, identity| match place {
        Place::Training(folder) => look_at_training(folder),
        Place::Weights(file) => would_mark(std::slice::from_ref(file), identity),
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
            Kind::Comparison => match showing(folder, identity)?.len() {
                0 => (UNKNOWN, 0),
                n => ("files would be deleted", n),
            },
        }),
    })
}

/// Where a person may be known.
enum Place {
    /// A folder of ours.
    Folder(PathBuf, Kind),
    /// A file of weights that somebody copied.
    Weights(PathBuf),
    /// A training that has no weights yet, or none any more.
    Training(PathBuf),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Folder(path, _) | Self::Weights(path) | Self::Training(path) => path,
        }
    }
}

/// The places that a search has found, and what it could not look into.
#[derive(Default)]
struct Found {
    places: Vec<Place>,
    failures: Vec<(PathBuf, String)>,
    /// Folders and files that were seen, without links.
    seen: BTreeSet<PathBuf>,
}

/// Calls `f` for every place in the request's folders and in the cache.
fn search(
    request: &Request,
    context: &Context,
    f: impl Fn(&Place, &str) -> Result<(&'static str, usize)>,
) -> Result<Forgot> {
    let mut found = Found::default();
    for folder in &request.folders {
        let before = (found.places.len(), found.failures.len(), found.seen.len());
        found.look(folder);
        let (places, failures, seen) = (found.places.len(), found.failures.len(), found.seen.len());
        if (places, failures) == (before.0, before.1) && seen > before.2 {
            // Says that it holds nothing of ours.
            Kind::of(folder)?;
        }
    }
    let asked = found.places.len();
    let models = context.cache()?.join("models");
    if models.exists() {
        found.look(&models);
    }
    let Found { places, mut failures, .. } = found;
    let (mut outcomes, mut known) = (Vec::new(), false);
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
            "nothing knows the identity `{}`: {} places were searched",
            request.identity,
            places.len()
        )));
    }
    Ok(Forgot { outcomes, failures })
}

impl Found {
    /// Adds what is in and below `folder`. Links are followed to where they lead, each place is visited once.
    fn look(&mut self, folder: &Path) {
        if folder.is_file() {
            return self.look_at_file(folder);
        }
        let listed = folder.canonicalize().map_err(|e| Error::io(folder, e)).and_then(|real| {
            let entries = entries(&real)?;
            Ok((real, entries))
        });
        let (real, entries) = match listed {
            Ok(listed) => listed,
            Err(e) => return self.failures.push((folder.to_owned(), e.to_string())),
        };
        if !self.seen.insert(real.clone()) {
            return;
        }
        let kinds = Kind::all(&real);
        // As it was typed: that is how its user knows it.
        let named = |path: &Path| path.strip_prefix(&real).map_or(path.to_owned(), |inner| folder.join(inner));
        for kind in &kinds {
            if *kind != Kind::Model || is_our_model(&real) {
                self.places.push(Place::Folder(folder.to_owned(), *kind));
            }
        }
        let has_weights = [MODEL_FILE, CHECKPOINT_FILE].iter().any(|name| real.join(name).exists());
        if !has_weights && real.join(METRICS_FILE).exists() {
            self.places.push(Place::Training(folder.to_owned()));
        }
        // What a place of ours lists is handled with it.
        let own: Vec<&str> = kinds.iter().flat_map(|kind| kind.folders()).collect();
        for path in entries {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !own.contains(&name.as_str()) {
                    self.look(&named(&path));
                }
                continue;
            }
            let handled = [MODEL_FILE, CHECKPOINT_FILE].contains(&name.as_str())
                || (kinds.contains(&Kind::Model) && has_extension(&path, "safetensors") && is_our_model(&real))
                || (kinds.contains(&Kind::Evaluation) && is_own(&path));
            if !handled {
                self.look_at_file(&named(&path));
            }
        }
    }

    /// Adds a file, if it holds weights of ours.
    fn look_at_file(&mut self, path: &Path) {
        if !has_extension(path, "safetensors") || !sealed::is_ours(path) {
            return;
        }
        match path.canonicalize() {
            Ok(file) if self.seen.insert(file.clone()) => {
                self.places.push(Place::Weights(if path.is_symlink() { file } else { path.to_owned() }));
            }
            Ok(_) => {}
            Err(e) => self.failures.push((path.to_owned(), e.to_string())),
        }
    }
}

/// True if the weights in `dir` have names that others give theirs, too, but are ours.
fn is_our_model(dir: &Path) -> bool {
    dir.join(METRICS_FILE).exists() || [MODEL_FILE, CHECKPOINT_FILE].iter().any(|name| sealed::is_ours(&dir.join(name)))
}

/// A training without weights: nobody knows whom it shows.
fn look_at_training(dir: &Path) -> Result<(&'static str, usize)> {
    if store::is_locked(dir) {
        return Err(Error::Busy(dir.to_owned()));
    }
    if files(dir)?.iter().any(|p| is_grid(p)) {
        let message =
            "holds pictures of a training whose weights are gone, so that nobody knows whom they show: delete it";
        return Err(Error::Usage(message.into()));
    }
    Ok((UNKNOWN, 0))
}

/// The weights among `files` that know `identity`, and those that did before they were marked. A checkpoint that names nobody is of the
/// same training as the model beside it.
fn knowing(files: &[PathBuf], identity: &str) -> Result<(Vec<PathBuf>, usize)> {
    let weights = files.iter().filter(|p| has_extension(p, "safetensors") && sealed::is_ours(p));
    let found: Vec<(&PathBuf, Knowledge)> =
        weights.map(|p| Ok((p, sealed::knowledge(p, identity)?))).collect::<Result<_>>()?;
    let of_model = |knows: Knowledge| found.iter().any(|(p, k)| p.ends_with(MODEL_FILE) && *k == knows);
    let trained = |(p, knows): &(&PathBuf, Knowledge)| {
        *knows == Knowledge::Trained
            || (*knows == Knowledge::None && p.ends_with(CHECKPOINT_FILE) && of_model(Knowledge::Trained))
    };
    let known = found.iter().filter(|f| trained(f)).map(|(p, _)| (*p).clone()).collect();
    Ok((known, found.iter().filter(|(_, knows)| *knows == Knowledge::Forgotten).count()))
}

fn would_mark(files: &[PathBuf], identity: &str) -> Result<(&'static str, usize)> {
    let (known, before) = knowing(files, identity)?;
    Ok(match (known.len(), before) {
        (0, 0) => (UNKNOWN, 0),
        (0, _) => (BEFORE, 0),
        (n, _) => ("files would be marked", n),
    })
}

/// Marks the weights among the files `all` of `dir` that were trained with `identity`, and deletes their sample grids; says how many
/// files.
fn mark(dir: &Path, all: &[PathBuf], identity: &str) -> Result<(&'static str, usize)> {
    let (known, before) = knowing(all, identity)?;
    if known.is_empty() && before == 0 {
        return Ok((UNKNOWN, 0));
    }
    let _lock = store::lock(dir)?;
    // Grids show photographs, and an unfinished judge names nobody: they go first, as nothing tells of them once all weights are marked.
    let pictures = all.iter().filter(|p| {
        is_grid(p)
            || p.ends_with(TRAINING_FILE)
            || has_extension(p, PARTIAL) && has_extension(&p.with_extension(""), "safetensors")
    });
    remove(dir, &pictures.cloned().collect::<Vec<_>>())?;
    if known.is_empty() {
        return Ok((BEFORE, 0));
    }
    known.iter().try_for_each(|p| sealed::mark_forgotten(p, identity))?;
    Ok(("files marked", known.len()))
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

/// The files of the comparison in `dir` that show `identity`, which its judge knows or has known.
fn showing(dir: &Path, identity: &str) -> Result<Vec<PathBuf>> {
    let judge = dir.join(JUDGE_FILE);
    if !judge.exists() {
        let message =
            "holds the page of a comparison whose judge is gone, so that nobody knows whom it shows: delete it";
        return Err(Error::Usage(message.into()));
    }
    if sealed::knowledge(&judge, identity)? == Knowledge::None {
        return Ok(Vec::new());
    }
    let files = [methods::PAGE, methods::MARKDOWN, methods::JSON].map(|name| dir.join(name));
    Ok(files.into_iter().filter(|path| path.exists()).collect())
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

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(dir)?.into_iter().filter(|p| p.is_file()).collect())
}
