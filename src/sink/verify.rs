//! The search for what has changed in an output folder since it was written.

use super::ledger::{Damage, PLAN_FILE, SUCCESS, Summary, Unit, content, files_below, is_part, read_unit, records};
use crate::error::{Error, Result};
use crate::formats::is_foreign;
use crate::store;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What [`verify`] finds in a folder.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// The summary is there.
    pub complete: bool,
    /// Committed units.
    pub units: usize,
    /// Files that were read.
    pub files: usize,
    /// What is wrong.
    pub damages: Vec<Damage>,
}

/// Reads the record `path` of `out` and its files.
pub(super) fn check_unit(out: &Path, path: &Path) -> Result<(Option<Unit>, Vec<Damage>)> {
    let unit = match read_unit(&out.join(path)) {
        Ok(unit) => unit,
        Err(Error::Damaged { what, .. }) => {
            return Ok((None, vec![Damage { path: path.to_string_lossy().into_owned(), what }]));
        }
        Err(e) => return Err(e),
    };
    let damages = unit.files.iter().map(|f| f.damage(out)).collect::<Result<Vec<_>>>()?;
    Ok((Some(unit), damages.into_iter().flatten().collect()))
}

/// Reads every file of an output folder, complete or not, and compares it with its record.
///
/// # Errors
/// A file cannot be read. Damage is no error: it is listed.
pub fn verify(out: &Path) -> Result<Verified> {
    let mut found = Verified { complete: false, units: 0, files: 0, damages: Vec::new() };
    let mut listed = BTreeSet::new();
    for name in [PLAN_FILE, SUCCESS] {
        listed.insert(PathBuf::from(name));
        let document = match store::read_sealed(&out.join(name)) {
            Ok(document) => document,
            Err(Error::Damaged { what, .. }) => {
                found.damages.push(Damage { path: name.to_owned(), what });
                continue;
            }
            Err(e) => return Err(e),
        };
        found.files += usize::from(document.is_some());
        let Some(done) = document.filter(|_| name == SUCCESS) else { continue };
        found.complete = true;
        let Ok(summary) = serde_json::from_value::<Summary>(done) else {
            found.damages.push(Damage { path: name.to_owned(), what: "is of another version of augment".into() });
            continue;
        };
        for entry in summary.commits.iter().chain(&summary.files) {
            found.files += 1;
            found.damages.extend(entry.damage(out)?);
            listed.insert(PathBuf::from(&entry.path));
        }
    }
    for (_, path) in records(out)? {
        let (unit, damages) = check_unit(out, &path)?;
        let files = unit.map_or(Vec::new(), |u| u.files);
        // What was joined is gone, or goes with the next run.
        let gone = |path: &str| found.complete && is_part(path);
        found.units += 1;
        found.files += files.iter().filter(|f| !gone(&f.path)).count();
        // A record that differs from the summary's hash is listed already.
        let listed_already = |d: &Damage| found.complete && d.path == path.to_string_lossy();
        let new: Vec<Damage> = damages.into_iter().filter(|d| !listed_already(d) && !gone(&d.path)).collect();
        found.damages.extend(new);
        if !found.complete {
            listed.insert(path);
        }
        listed.extend(files.into_iter().map(|f| PathBuf::from(f.path)));
    }
    for path in content().map(|f| files_below(out, Path::new(f))).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
        // Of an unfinished run, what is not committed yet will be removed or written again.
        if found.complete && !listed.contains(&path) && !is_foreign(&path) {
            found.damages.push(Damage { path: path.to_string_lossy().into_owned(), what: "belongs to nothing".into() });
        }
    }
    if found.complete && !out.join(PLAN_FILE).exists() {
        found.damages.push(Damage { path: PLAN_FILE.into(), what: "missing".into() });
    }
    Ok(found)
}
