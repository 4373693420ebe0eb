//! The ledger of an output folder: the order, what each committed unit holds, and the summary. The one home of their file names.
//!
//! ```text
//! OUT/_PLAN.json             the order: all that decides the bytes
//!     _commits/00000.json    unit 0: its rows, and its files with their hashes
//!     _SUCCESS.json          the summary: counts, hashes of all records and other files
//! ```

use super::order::Order;
use crate::error::{Error, Result};
pub use crate::formats::COMMITS;
use crate::formats::table::is_table;
use crate::formats::{FORMATS, PARTS};
pub use crate::manifest::PLAN_FILE;
use crate::store::{self, LOCK_FILE, Share, file_hash};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Summary of a complete dataset, written last.
pub const SUCCESS: &str = "_SUCCESS.json";
/// The resolved configuration.
pub const CONFIG: &str = "config.toml";
/// Pictures that show many rows at once, which a dataset of morphs has: their frames, and the first of them moving.
pub const PICTURES: [&str; 2] = ["morph.png", "morph.gif"];

/// Version of a [`Summary`].
const SUMMARY_VERSION: u32 = 2;

/// What a filter rejected, and whom it could not satisfy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Screening {
    /// Images that were judged.
    pub candidates: usize,
    /// Images that do not show their identity well enough.
    pub rejected: usize,
    /// Images that are copies of training images.
    pub copies: usize,
    /// Similarity to a training image above which an image counts as a copy; none where nobody looked.
    #[serde(default)]
    pub copy_limit: Option<f64>,
    /// Rejected images that were kept nonetheless, because too few others were accepted.
    #[serde(default)]
    pub filled: usize,
    /// Identities that too few candidates were accepted of.
    pub short: Vec<Short>,
}

/// An identity that fewer candidates were accepted of than were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Short {
    /// Its key.
    pub identity: String,
    /// Images asked for.
    pub wanted: usize,
    /// Images accepted.
    pub accepted: usize,
}

/// Summary of a complete dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`SUMMARY_VERSION`].
    pub version: u32,
    /// What was ordered.
    #[serde(rename = "plan")]
    pub order: Order,
    /// Synthetic images.
    pub synthetic: usize,
    /// Real ones.
    pub real: usize,
    /// Classes.
    pub classes: usize,
    /// New identities that have images.
    pub new_identities: usize,
    /// What was rejected, by model; nothing where nobody judged.
    #[serde(rename = "selection")]
    pub screenings: Vec<Screening>,
    /// Hash of what the dataset holds.
    pub content_hash: String,
    /// Side of the images, in pixels.
    pub image_size: Option<usize>,
    /// Rows of all units.
    #[serde(default)]
    pub rows: usize,
    /// Size of all their files.
    #[serde(default)]
    pub bytes: u64,
    /// The records of units.
    #[serde(default)]
    pub commits: Vec<Entry>,
    /// Files beside those of the units.
    #[serde(default)]
    pub files: Vec<Entry>,
}

impl Summary {
    /// That of a dataset of `order`, of so many synthetic images, real ones and classes; completing it adds the rest.
    pub fn new(order: Order, synthetic: usize, real: usize, classes: usize) -> Self {
        Self {
            version: SUMMARY_VERSION,
            order,
            synthetic,
            real,
            classes,
            new_identities: 0,
            screenings: Vec::new(),
            content_hash: String::new(),
            image_size: None,
            rows: 0,
            bytes: 0,
            commits: Vec::new(),
            files: Vec::new(),
        }
    }
}

/// A file of the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path below the output folder.
    pub path: String,
    /// Size, in bytes.
    pub bytes: u64,
    /// Hash of its bytes.
    pub blake3: String,
}

impl Entry {
    /// Describes `out/path`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of(out: &Path, path: &str) -> Result<Self> {
        let full = out.join(path);
        let bytes = std::fs::metadata(&full).map_err(|e| Error::io(&full, e))?.len();
        Ok(Self { path: path.to_owned(), bytes, blake3: file_hash(&full)?.to_hex().to_string() })
    }

    /// What is wrong with the file in `out`, if anything is.
    ///
    /// # Errors
    /// The file is there and cannot be read.
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
    /// Hash of the order that they belong to.
    #[serde(rename = "plan")]
    pub order: String,
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
        let what = format!("{} since it was written; run again with option `repair` to make it again", self.what);
        Error::Damaged { path: out.join(&self.path), what }
    }
}

/// The order in `out`, if there is one; of whatever version.
pub(super) fn read_order(out: &Path) -> Result<Option<Value>> {
    store::read_sealed(&out.join(PLAN_FILE))
}

/// The order in `out`, if there is one.
///
/// # Errors
/// `Damaged`; another version of the program made it.
pub fn order(out: &Path) -> Result<Option<Order>> {
    let path = out.join(PLAN_FILE);
    read_order(out)?.map(|v| serde_json::from_value(v).map_err(|_| other_version(&path))).transpose()
}

/// True if something of an order was committed in `out`.
pub fn is_begun(out: &Path) -> bool {
    out.join(SUCCESS).exists() || records(out).is_ok_and(|r| !r.is_empty())
}

/// The summary in `out`, if it is complete.
///
/// # Errors
/// `Damaged`; another version of the program made it.
pub fn summary(out: &Path) -> Result<Option<Summary>> {
    let path = out.join(SUCCESS);
    store::read_sealed(&path)?.map(|v| serde_json::from_value(v).map_err(|_| other_version(&path))).transpose()
}

/// Rows of the complete dataset in `out`; 0 where nothing tells.
pub fn rows(out: &Path) -> usize {
    summary(out).ok().flatten().map_or(0, |summary| summary.rows)
}

fn other_version(path: &Path) -> Error {
    Error::Usage(format!(
        "{}: made by another version of augment; choose another folder, or delete this one",
        path.display()
    ))
}

/// Folders that hold nothing but what records list.
pub fn content() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().map(|f| f.folder()).chain([COMMITS, PARTS])
}

/// Lets others read what a dataset consists of. Whom it has forgotten stays its owner's to know.
pub(super) fn share(out: &Path, share: Share) -> Result<()> {
    if share.is_nobody() {
        return Ok(());
    }
    for path in content().map(|f| files_below(out, Path::new(f))).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
        for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            share.allow(&out.join(folder))?;
        }
        share.allow(&out.join(path))?;
    }
    let own = [LOCK_FILE, PLAN_FILE, CONFIG, super::card::FILE, SUCCESS].map(|name| out.join(name));
    own.iter().filter(|path| path.exists()).try_for_each(|path| share.allow(path))?;
    share.allow(out)
}

/// True for a file that is there only until all units are.
pub(super) fn is_part(path: &str) -> bool {
    Path::new(path).starts_with(PARTS)
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

/// The recorded units of `out`.
pub(super) fn units(out: &Path) -> Result<BTreeMap<usize, Unit>> {
    records(out)?.into_iter().map(|(number, path)| Ok((number, read_unit(&out.join(path))?))).collect()
}

/// All files of the complete dataset in `out` but the plan and the summary.
///
/// # Errors
/// A record is damaged; there is no summary.
pub fn all_files(out: &Path) -> Result<Vec<Entry>> {
    let done = summary(out)?.ok_or_else(|| Error::Usage(format!("{}: is not complete", out.display())))?;
    let units = units(out)?;
    let files = units.values().flat_map(|u| &u.files).filter(|f| !is_part(&f.path));
    Ok(files.chain(&done.commits).chain(&done.files).cloned().collect())
}

/// The tables of all units of `out`, in order.
///
/// # Errors
/// A record is damaged.
pub fn tables(out: &Path) -> Result<Vec<PathBuf>> {
    let units = units(out)?;
    Ok(units.values().flat_map(|u| &u.files).map(|f| out.join(&f.path)).filter(|path| is_table(path)).collect())
}

/// Rows of all units that have a record in `out`.
///
/// # Errors
/// A record is damaged.
pub fn committed_rows(out: &Path) -> Result<usize> {
    Ok(units(out)?.values().map(|u| u.rows).sum())
}

/// Paths of all files below `out/folder`, relative to `out`, sorted.
///
/// # Errors
/// A folder cannot be read.
pub fn files_below(out: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
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
