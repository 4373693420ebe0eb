//! Records of what a run wrote into its folder, and the search for what has changed since.

use crate::error::{Error, Result};
use crate::manifest::{PLAN_FILE, file_hash};
use crate::store;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Summary of a complete dataset, written last.
pub const SUCCESS: &str = "_SUCCESS.json";
/// Records of units.
pub(super) const COMMITS: &str = "_commits";
/// Folders that hold nothing but what records list.
pub(super) const CONTENT: [&str; 3] = ["data", "imagefolder", COMMITS];

/// A file of the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path below the output folder.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// Hash of its bytes.
    pub blake3: String,
}

impl Entry {
    /// Describes `out/path`.
    pub fn of(out: &Path, path: &str) -> Result<Self> {
        let full = out.join(path);
        let bytes = std::fs::metadata(&full).map_err(|e| Error::io(&full, e))?.len();
        Ok(Self { path: path.to_owned(), bytes, blake3: file_hash(&full)?.to_hex().to_string() })
    }

    /// What is wrong with the file in `out`, if anything is.
    pub fn damage(&self, out: &Path) -> Result<Option<Damage>> {
        let is = |what: &str| Ok(Some(Damage { path: self.path.clone(), what: what.to_owned() }));
        let full = out.join(&self.path);
        match std::fs::metadata(&full) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => is("missing"),
            Err(e) => Err(Error::io(&full, e)),
            Ok(m) if m.len() != self.bytes => is("has another size"),
            Ok(_) if file_hash(&full)?.to_hex().as_str() != self.blake3 => is("has other bytes"),
            Ok(_) => Ok(None),
        }
    }
}

/// Hash of the hashes of `files`, in order.
pub fn content_hash<'a>(files: impl Iterator<Item = &'a Entry>) -> String {
    let mut hasher = blake3::Hasher::new();
    files.for_each(|f| _ = hasher.update(f.blake3.as_bytes()));
    hasher.finalize().to_hex().to_string()
}

/// Rows that are committed together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Hash of the plan that they belong to.
    pub plan: String,
    /// Its rows.
    pub rows: usize,
    /// Its files.
    pub files: Vec<Entry>,
}

/// A file that is not what it was when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Path below the folder.
    pub path: String,
    /// How it shows.
    pub what: String,
}

impl Damage {
    pub(super) fn error(&self, out: &Path) -> Error {
        let what = format!("{} since it was written; run again with --repair to make it again", self.what);
        Error::Damaged { path: out.join(&self.path), what }
    }
}

/// Path of the record of unit `number`.
pub(super) fn record(number: usize) -> PathBuf {
    Path::new(COMMITS).join(format!("{number:05}.json"))
}

/// The record in `path`.
pub(super) fn read_unit(path: &Path) -> Result<Unit> {
    let object = store::read_sealed(path)?.unwrap_or_default();
    serde_json::from_value(object)
        .map_err(|_| Error::Damaged { path: path.to_owned(), what: "it is no record of a commit".into() })
}

/// Numbers and paths of the records in `out`.
pub(super) fn records(out: &Path) -> Result<Vec<(usize, PathBuf)>> {
    let paths =
        files_below(out, Path::new(COMMITS))?.into_iter().filter(|p| p.extension().is_some_and(|e| e == "json"));
    let number = |p: &PathBuf| p.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok());
    Ok(paths.filter_map(|p| Some((number(&p)?, p))).filter(|(n, p)| record(*n) == *p).collect())
}

/// Rows of all units that have a record in `out`.
pub fn committed_rows(out: &Path) -> Result<usize> {
    records(out)?.iter().map(|(_, path)| Ok(read_unit(&out.join(path))?.rows)).sum()
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

/// Paths of all files below `out/folder`, relative to `out`, sorted.
pub(super) fn files_below(out: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let full = out.join(folder);
    let entries = match std::fs::read_dir(&full) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| Error::io(&full, e))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(&full, e))?;
        let path = folder.join(entry.file_name());
        if entry.file_type().map_err(|e| Error::io(&full, e))?.is_dir() {
            paths.extend(files_below(out, &path)?);
        } else {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

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
        for entry in ["commits", "files"].iter().filter_map(|key| done[*key].as_array()).flatten() {
            let Ok(entry) = serde_json::from_value::<Entry>(entry.clone()) else { continue };
            found.files += 1;
            found.damages.extend(entry.damage(out)?);
            listed.insert(PathBuf::from(&entry.path));
        }
    }
    for (_, path) in records(out)? {
        let (unit, damages) = check_unit(out, &path)?;
        let files = unit.map_or(Vec::new(), |u| u.files);
        found.units += 1;
        found.files += files.len();
        // A record that differs from the summary's hash is listed already.
        found.damages.extend(damages.into_iter().filter(|d| d.path != path.to_string_lossy() || !found.complete));
        if !found.complete {
            listed.insert(path);
        }
        listed.extend(files.into_iter().map(|f| PathBuf::from(f.path)));
    }
    for path in
        CONTENT.iter().map(|f| files_below(out, Path::new(f))).collect::<Result<Vec<_>>>()?.into_iter().flatten()
    {
        // Of an unfinished run, what is not committed yet will be removed or written again.
        if found.complete && !listed.contains(&path) {
            found.damages.push(Damage { path: path.to_string_lossy().into_owned(), what: "belongs to nothing".into() });
        }
    }
    if found.complete && !out.join(PLAN_FILE).exists() {
        found.damages.push(Damage { path: PLAN_FILE.into(), what: "missing".into() });
    }
    Ok(found)
}
