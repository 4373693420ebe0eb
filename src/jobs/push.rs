//! A finished dataset or model on its way to an object store: complete and unchanged, or not at all.

use super::Context;
use super::verify::{self, Kind};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::recogniser::judge::JUDGE_FILE;
use crate::remote::{self, Outgoing, Pushed};
use crate::sink::erase::tombstones;
use crate::sink::ledger::{CONFIG, Entry, PLAN_FILE, SUCCESS, all_files};
use crate::train::trained::MODEL_FILE;
use std::path::{Path, PathBuf};

/// What to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// Folder of a dataset or a model.
    pub folder: PathBuf,
    /// Where to: `s3://bucket/path`, `gs://..`, `az://..`.
    pub to: String,
    /// Take the place of what is there.
    pub replace: bool,
}

/// Pushes it: what is there already is not sent again, and the file that tells that all is there comes last.
///
/// # Errors
/// It is damaged or not complete; something else is at the place; the store fails.
pub fn run(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Pushed> {
    let folder = &request.folder;
    if !remote::is_object(&request.to) {
        return Err(Error::Usage(format!("{}: expected s3://, gs:// or az:// and a place", request.to)));
    }
    let found = verify::run(folder)?;
    if let Some(damage) = found.damages.first() {
        return Err(Error::Damaged {
            path: folder.join(&damage.path),
            what: format!("{}; mend it first", damage.what),
        });
    }
    if !found.complete {
        return Err(Error::Usage(format!(
            "{}: is not complete; run the command that makes it again",
            folder.display()
        )));
    }
    let files = match found.kind {
        Kind::Dataset => of_dataset(folder)?,
        Kind::Model => of_names(folder, &[CONFIG, JUDGE_FILE, MODEL_FILE])?,
        Kind::Evaluation => {
            return Err(Error::Usage(format!(
                "{}: an evaluation shows real images and is not pushed; a dataset or a model is",
                folder.display()
            )));
        }
    };
    remote::push(folder, &files, &request.to, request.replace, &context.access, progress)
}

/// The files of a dataset, the plan first and the summary last.
fn of_dataset(folder: &Path) -> Result<Vec<Outgoing>> {
    if tombstones(folder)?.is_some_and(|t| t.is_pending()) {
        return Err(Error::Usage(format!(
            "{}: the erasure of a person was interrupted; run that command again first",
            folder.display()
        )));
    }
    let mut files = of_names(folder, &[PLAN_FILE])?;
    files.extend(all_files(folder)?.into_iter().map(outgoing));
    files.extend(of_names(folder, &[SUCCESS])?);
    Ok(files)
}

/// Those of `names` that are there.
fn of_names(folder: &Path, names: &[&str]) -> Result<Vec<Outgoing>> {
    let there = names.iter().filter(|name| folder.join(name).exists());
    there.map(|name| Entry::of(folder, name).map(outgoing)).collect()
}

fn outgoing(entry: Entry) -> Outgoing {
    Outgoing { path: entry.path, bytes: entry.bytes, hash: entry.blake3 }
}
