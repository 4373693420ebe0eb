//! The commit protocol of an output folder: a lock, the plan first, then units of rows, each of which counts once its record
//! exists, and the summary last. What was committed is not made again; what was not committed is.
//!
//! ```text
//! OUT/_LOCK                  locked while a process works here
//!     _PLAN.json             what decides the bytes
//!     .staging/..            files that are not complete
//!     data/.. imagefolder/.. complete files
//!     _commits/00000.json    files of unit 0 with their hashes
//!     _SUCCESS.json          counts, hashes of all records and other files
//! ```

use crate::error::{Error, Result};
use crate::manifest::{PLAN_FILE, file_hash};
use crate::store::{self, LOCK_FILE, Lock};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Summary of a complete dataset, written last.
pub const SUCCESS: &str = "_SUCCESS.json";
/// Records of units.
const COMMITS: &str = "_commits";
/// Files that are not complete.
const STAGING: &str = ".staging";
/// Folders that hold nothing but what records list.
const CONTENT: [&str; 3] = ["data", "imagefolder", COMMITS];

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
    fn damage(&self, out: &Path) -> Result<Option<Damage>> {
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

/// What a folder holds of a plan.
pub enum Stored {
    /// Nothing of anybody.
    Nothing,
    /// The same plan, not complete.
    Unfinished,
    /// The same plan, complete: its summary.
    Complete(Value),
}

/// An output folder ready for what is missing of its plan.
pub struct Output {
    out: PathBuf,
    plan: String,
    units: BTreeMap<usize, Unit>,
    total_rows: usize,
    unit_rows: usize,
    repair: bool,
    _lock: Lock,
}

/// What [`Output::open`] finds.
pub enum Opened {
    /// All is done: the summary.
    Complete(Value),
    /// Something is to be made.
    Ready(Output),
}

/// Which rows are still to be written.
#[derive(Clone, Debug)]
pub struct Missing {
    committed: BTreeSet<usize>,
    unit_rows: usize,
}

impl Missing {
    /// True if row `row` of the output is to be written.
    pub fn contains(&self, row: usize) -> bool {
        !self.committed.contains(&(row / self.unit_rows))
    }
}

/// Looks whether `out` can take `plan`, and changes nothing. Keys that `plan` lacks are not compared.
///
/// # Errors
/// `out` holds another plan, or files of somebody else, or a damaged plan, unless `repair`.
pub fn look(out: &Path, plan: &Value, repair: bool) -> Result<Stored> {
    let advice = "choose another folder with --out, or delete it";
    let read = |name: &str| match store::read_sealed(&out.join(name)) {
        Err(Error::Damaged { .. }) if repair => Ok(None),
        Err(Error::Damaged { path, what }) => {
            Err(Error::Damaged { path, what: format!("{what}; run again with --repair, or {advice}") })
        }
        other => other,
    };
    let done = read(SUCCESS)?;
    let stored = match &done {
        Some(done) => Some(done["plan"].clone()),
        None => read(PLAN_FILE)?,
    };
    let Some(stored) = stored else {
        if repair && out.join(PLAN_FILE).exists() {
            // Its records tell whether they belong to this plan.
            return Ok(Stored::Unfinished);
        }
        let entries = match std::fs::read_dir(out) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Stored::Nothing),
            entries => entries.map_err(|e| Error::io(out, e))?,
        };
        // A run that was stopped at once leaves these.
        let first = store::temporary(Path::new(PLAN_FILE));
        for entry in entries {
            let name = entry.map_err(|e| Error::io(out, e))?.file_name();
            if name != LOCK_FILE && name != first.as_os_str() {
                return Err(Error::Usage(format!(
                    "{} is not empty and was not made by augment; {advice}",
                    out.display()
                )));
            }
        }
        return Ok(Stored::Nothing);
    };
    let plan = plan.as_object().into_iter().flatten();
    // Which kernels made it matters only to what is not made yet.
    let counts = |key: &str| key != "kernels" || done.is_none();
    let differs: Vec<String> = plan
        .filter(|(k, v)| counts(k) && stored[k.as_str()] != **v)
        .map(|(k, v)| format!("{k} ({} there, {v} now)", stored[k.as_str()]))
        .collect();
    match done {
        _ if !differs.is_empty() => Err(Error::Usage(format!(
            "{} holds a dataset made with other {}; {advice}",
            out.display(),
            differs.join(", ")
        ))),
        Some(done) => Ok(Stored::Complete(done)),
        None => Ok(Stored::Unfinished),
    }
}

impl Output {
    /// Locks `out` and makes it ready for `plan`: what records list is kept, what they do not list is removed.
    ///
    /// # Errors
    /// `Busy`; another plan; a committed file that has changed, unless `repair`, which makes its unit again.
    pub fn open(out: &Path, plan: &Value, repair: bool) -> Result<Opened> {
        look(out, plan, repair)?;
        let lock = store::lock(out)?;
        // Again: somebody else may have worked here until now.
        if let Stored::Complete(done) = look(out, plan, repair)? {
            let damages = verify(out)?.damages;
            match damages.first() {
                None => return Ok(Opened::Complete(done)),
                Some(first) if !repair => return Err(first.error(out)),
                Some(_) => {}
            }
        }
        if out.join(SUCCESS).exists() {
            remove(&out.join(SUCCESS))?;
        }
        store::write_sealed(&out.join(PLAN_FILE), plan)?;
        let plan = blake3::hash(plan.to_string().as_bytes()).to_hex().to_string();
        let units = read_units(out, &plan, repair)?;
        clean(out, &units)?;
        store::create_dir(&out.join(COMMITS))?;
        store::create_dir(&out.join(STAGING))?;
        store::sync(out)?;
        let (out, total_rows, unit_rows) = (out.to_owned(), 0, 1);
        Ok(Opened::Ready(Self { out, plan, units, total_rows, unit_rows, repair, _lock: lock }))
    }

    /// Cuts `total_rows` into units of `unit_rows`.
    ///
    /// # Errors
    /// A unit that is there was cut otherwise, unless this is a repair, which makes all again.
    pub fn arrange(&mut self, total_rows: usize, unit_rows: usize) -> Result<()> {
        (self.total_rows, self.unit_rows) = (total_rows, unit_rows);
        let strange = self.units.iter().find(|(number, unit)| unit.rows != self.rows_of(**number));
        let Some((number, _)) = strange else { return Ok(()) };
        if !self.repair {
            let what = "it does not belong to this plan; run again with --repair".into();
            return Err(Error::Damaged { path: self.out.join(record(*number)), what });
        }
        self.units.clear();
        clean(&self.out, &self.units)
    }

    /// Number of units.
    pub fn units(&self) -> usize {
        self.total_rows.div_ceil(self.unit_rows).max(1)
    }

    /// Rows of unit `number`.
    pub fn rows_of(&self, number: usize) -> usize {
        self.total_rows.saturating_sub(number * self.unit_rows).min(self.unit_rows)
    }

    /// Which rows are still to be written.
    pub fn missing(&self) -> Missing {
        Missing { committed: self.units.keys().copied().collect(), unit_rows: self.unit_rows }
    }

    /// The first unit that is not committed.
    pub fn next_unit(&self) -> usize {
        (0..self.units()).find(|n| !self.units.contains_key(n)).unwrap_or(self.units())
    }

    /// Where the file that will be `path` is written.
    pub fn staged(&self, path: &str) -> PathBuf {
        self.out.join(STAGING).join(path.replace('/', "-"))
    }

    /// Full path of `path`.
    pub fn full(&self, path: &str) -> PathBuf {
        self.out.join(path)
    }

    /// Makes the staged file of `path` durable and moves it to its place.
    pub fn publish(&self, path: &str) -> Result<Entry> {
        let full = self.out.join(path);
        if let Some(folder) = full.parent() {
            store::create_dir(folder)?;
        }
        store::publish(&self.staged(path), &full)?;
        Entry::of(&self.out, path)
    }

    /// Moves the staged file of `path`, which is durable, to its place; [`store::sync`] of its folder must follow.
    pub fn place(&self, path: &str) -> Result<Entry> {
        let full = self.out.join(path);
        std::fs::rename(self.staged(path), &full).map_err(|e| Error::io(&full, e))?;
        Entry::of(&self.out, path)
    }

    /// Commits unit `number` of `rows` rows, whose files are in their places.
    pub fn commit(&mut self, number: usize, rows: usize, files: Vec<Entry>) -> Result<()> {
        assert_eq!(rows, self.rows_of(number), "a unit that is not full");
        let unit = Unit { plan: self.plan.clone(), rows, files };
        store::write_sealed(&self.out.join(record(number)), &json!(unit))?;
        self.units.insert(number, unit);
        Ok(())
    }

    /// Files of all units, in order.
    pub fn files(&self) -> impl Iterator<Item = &Entry> {
        self.units.values().flat_map(|u| &u.files)
    }

    /// Writes the summary `done`, to which the hashes of all records and of `others` are added.
    pub fn complete(self, mut done: Value, others: &[&str]) -> Result<Value> {
        assert_eq!(self.next_unit(), self.units(), "an output that lacks units");
        let records = self.units.keys().map(|n| Entry::of(&self.out, &record(*n).to_string_lossy()));
        done["rows"] = json!(self.units.values().map(|u| u.rows).sum::<usize>());
        done["bytes"] = json!(self.files().map(|f| f.bytes).sum::<u64>());
        done["commits"] = json!(records.collect::<Result<Vec<_>>>()?);
        done["files"] = json!(others.iter().map(|o| Entry::of(&self.out, o)).collect::<Result<Vec<_>>>()?);
        store::write_sealed(&self.out.join(SUCCESS), &done)?;
        let staging = self.out.join(STAGING);
        std::fs::remove_dir_all(&staging).map_err(|e| Error::io(&staging, e))?;
        Ok(done)
    }
}

impl Damage {
    fn error(&self, out: &Path) -> Error {
        let what = format!("{} since it was written; run again with --repair to make it again", self.what);
        Error::Damaged { path: out.join(&self.path), what }
    }
}

/// Removes files that belong to no unit.
fn clean(out: &Path, units: &BTreeMap<usize, Unit>) -> Result<()> {
    let files = |(number, unit): (&usize, &Unit)| {
        let paths: Vec<PathBuf> = unit.files.iter().map(|f| PathBuf::from(&f.path)).collect();
        paths.into_iter().chain([record(*number)])
    };
    let listed: BTreeSet<PathBuf> = units.iter().flat_map(files).collect();
    for name in CONTENT.into_iter().chain([STAGING]) {
        for path in files_below(out, Path::new(name))? {
            if !listed.contains(&path) {
                remove(&out.join(path))?;
            }
        }
    }
    Ok(())
}

/// Path of the record of unit `number`.
fn record(number: usize) -> PathBuf {
    Path::new(COMMITS).join(format!("{number:05}.json"))
}

fn remove(path: &Path) -> Result<()> {
    std::fs::remove_file(path).map_err(|e| Error::io(path, e))
}

/// The record in `path`.
fn read_unit(path: &Path) -> Result<Unit> {
    let object = store::read_sealed(path)?.unwrap_or_default();
    serde_json::from_value(object)
        .map_err(|_| Error::Damaged { path: path.to_owned(), what: "it is no record of a commit".into() })
}

/// Numbers and paths of the records in `out`.
fn records(out: &Path) -> Result<Vec<(usize, PathBuf)>> {
    let paths =
        files_below(out, Path::new(COMMITS))?.into_iter().filter(|p| p.extension().is_some_and(|e| e == "json"));
    let number = |p: &PathBuf| p.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok());
    Ok(paths.filter_map(|p| Some((number(&p)?, p))).filter(|(n, p)| record(*n) == *p).collect())
}

/// The committed units of `plan` in `out`; with `repair` damaged ones are left out instead of being an error.
fn read_units(out: &Path, plan: &str, repair: bool) -> Result<BTreeMap<usize, Unit>> {
    let mut units = BTreeMap::new();
    for (number, path) in records(out)? {
        let (found, damages) = check_unit(out, &path)?;
        if found.as_ref().is_some_and(|unit| unit.plan != plan) {
            // Not even a repair deletes what somebody else made.
            let advice = "choose another folder with --out, or delete it";
            return Err(Error::Usage(format!("{}: a record of another plan; {advice}", out.join(path).display())));
        }
        match (found, damages.first()) {
            (Some(unit), None) => _ = units.insert(number, unit),
            (_, Some(first)) if !repair => return Err(first.error(out)),
            _ => {}
        }
    }
    Ok(units)
}

/// Rows of all units that have a record in `out`.
pub fn committed_rows(out: &Path) -> Result<usize> {
    records(out)?.iter().map(|(_, path)| Ok(read_unit(&out.join(path))?.rows)).sum()
}

/// Reads the record `path` of `out` and its files.
fn check_unit(out: &Path, path: &Path) -> Result<(Option<Unit>, Vec<Damage>)> {
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
fn files_below(out: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
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
