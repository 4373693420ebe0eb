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

use super::records::{COMMITS, CONTENT, Entry, SUCCESS, Unit, check_unit, files_below, record, records, verify};
use crate::error::{Error, Result};
use crate::manifest::PLAN_FILE;
use crate::store::{self, LOCK_FILE, Lock};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Files that are not complete.
const STAGING: &str = ".staging";

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

/// Removes files that belong to no unit.
pub(super) fn clean(out: &Path, units: &BTreeMap<usize, Unit>) -> Result<()> {
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

/// Deletes a file.
pub(super) fn remove(path: &Path) -> Result<()> {
    std::fs::remove_file(path).map_err(|e| Error::io(path, e))
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
