//! The commit protocol of an output folder: a lock, the plan first, then units of rows, each of which counts once its record
//! exists, and the summary last. What was committed is not made again; what was not committed is.
//!
//! ```text
//! OUT/_LOCK                  locked while a process works here
//!     _PLAN.json             what decides the bytes
//!     .staging/..            files that are not complete
//!     data/.. imgs/..        complete files
//!     _parts/..              what is joined into others once all units are there
//!     _commits/00000.json    files of unit 0 with their hashes
//!     _SUCCESS.json          counts, hashes of all records and other files
//! ```

use super::card;
use super::ledger::{
    CONFIG, Entry, PLAN_FILE, SUCCESS, Summary, Unit, content, content_hash, files_below, is_begun, read_order, record,
    records, share, summary,
};
use super::order::Order;
use super::verify::{check_unit, verify};
use crate::error::{Error, Result};
use crate::formats::{self, COMMITS, PARTS};
use crate::store::{self, Lock, Share, remove};
use rayon::prelude::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Files that are not complete.
const STAGING: &str = ".staging";

/// What a folder holds of an order.
pub enum Stored {
    /// Nothing of anybody.
    Nothing,
    /// The same order, not complete.
    Unfinished,
    /// The same order, complete: its summary.
    Complete(Box<Summary>),
}

/// An output folder ready for what is missing of its order.
pub struct Output {
    out: PathBuf,
    order: String,
    units: BTreeMap<usize, Unit>,
    total_rows: usize,
    unit_rows: usize,
    repair: bool,
    lock: Lock,
}

/// What [`Output::open`] finds.
pub enum Opened {
    /// All is done: the summary.
    Complete(Box<Summary>),
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

/// Looks whether `out` can take `order`, and changes nothing. What `order` does not know yet is not compared.
///
/// # Errors
/// `out` holds another order, or files of somebody else, or a damaged order, unless `repair`.
pub fn look(out: &Path, order: &Order, repair: bool) -> Result<Stored> {
    let advice = "choose another folder with option `out`, or delete it";
    let checked = |read: Result<Option<serde_json::Value>>| match read {
        Err(Error::Damaged { .. }) if repair => Ok(None),
        Err(Error::Damaged { path, what }) => {
            Err(Error::Damaged { path, what: format!("{what}; run again with option `repair`, or {advice}") })
        }
        other => other,
    };
    let done = checked(store::read_sealed(&out.join(SUCCESS)))?;
    let stored = match &done {
        Some(done) => Some(done["plan"].clone()),
        None => checked(read_order(out))?,
    };
    let Some(stored) = stored else {
        if repair && out.join(PLAN_FILE).exists() {
            // Its records tell whether they belong to this order.
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
            if !store::is_lock_file(&name) && name != first.as_os_str() {
                return Err(Error::Usage(format!(
                    "{} is not empty and was not made by augment; choose another folder with option `out`",
                    out.display()
                )));
            }
        }
        return Ok(Stored::Nothing);
    };
    // An order of which nothing was made binds nobody.
    let binds = done.is_some() || is_begun(out);
    let differs = if binds { order.differences(&stored, done.is_some()) } else { Vec::new() };
    if !differs.is_empty() {
        return Err(Error::Usage(format!(
            "{} holds a dataset made with other {}; {advice}",
            out.display(),
            differs.join(", ")
        )));
    }
    Ok(match done {
        Some(_) => summary(out)?.map_or(Stored::Unfinished, |done| Stored::Complete(Box::new(done))),
        None => Stored::Unfinished,
    })
}

impl Output {
    /// Locks `out` and makes it ready for `order`: what records list is kept, what they do not list is removed.
    ///
    /// # Errors
    /// `Busy`; another order; a committed file that has changed, unless `repair`, which makes its unit again.
    pub fn open(out: &Path, order: &Order, repair: bool) -> Result<Opened> {
        look(out, order, repair)?;
        let lock = store::lock(out)?;
        // Again: somebody else may have worked here until now.
        if let Stored::Complete(done) = look(out, order, repair)? {
            let damages = verify(out)?.damages;
            match damages.first() {
                None => {
                    settle(out, order.share)?;
                    return Ok(Opened::Complete(done));
                }
                Some(first) if !repair => return Err(first.error(out)),
                // What is made anew must be made by the same kernels.
                Some(_) => {
                    let differs = order.differences(&json!(done.order), false);
                    if let Some(first) = differs.first() {
                        return Err(Error::Usage(format!(
                            "{}: cannot be repaired here: made with other {first}",
                            out.display()
                        )));
                    }
                }
            }
        }
        if out.join(SUCCESS).exists() {
            remove(&out.join(SUCCESS))?;
        }
        let hash = order.hash();
        let units = read_units(out, &hash, repair)?;
        store::write_sealed(&out.join(PLAN_FILE), &json!(order))?;
        let order = hash;
        clean(out, &units)?;
        store::create_dir(&out.join(COMMITS))?;
        store::create_dir(&out.join(STAGING))?;
        store::sync_folder(out)?;
        let (out, total_rows, unit_rows) = (out.to_owned(), 0, 1);
        Ok(Opened::Ready(Self { out, order, units, total_rows, unit_rows, repair, lock }))
    }

    /// What the user should know of the folder's lock, if there is something.
    pub fn note(&self) -> Option<String> {
        self.lock.note()
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.out
    }

    /// Its folder of files that are not complete.
    pub fn staging(&self) -> PathBuf {
        self.out.join(STAGING)
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
            let what = "it does not belong to this plan; run again with option `repair`".into();
            return Err(Error::Damaged { path: self.out.join(record(*number)), what });
        }
        self.units.clear();
        clean(&self.out, &self.units)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.total_rows
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

    /// Makes the staged files of `paths` durable and moves them to their places.
    ///
    /// # Errors
    /// The disk is full, or broken.
    pub fn publish(&self, paths: &[String]) -> Result<Vec<Entry>> {
        let staging = self.staging();
        let staged = |path: &String| formats::staged(&staging, path);
        paths.par_iter().try_for_each(|path| store::sync(&staged(path)))?;
        let folders: BTreeSet<PathBuf> =
            paths.iter().filter_map(|p| Some(self.out.join(p).parent()?.to_owned())).collect();
        folders.iter().try_for_each(|f| store::create_dir(f))?;
        let place = |path: &String| {
            let full = self.out.join(path);
            std::fs::rename(staged(path), &full).map_err(|e| Error::io(&full, e))?;
            Entry::of(&self.out, path)
        };
        let entries = paths.par_iter().map(place).collect::<Result<Vec<_>>>()?;
        folders.iter().try_for_each(|f| store::sync_folder(f))?;
        Ok(entries)
    }

    /// Commits unit `number` of `rows` rows, whose files are in their places.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn commit(&mut self, number: usize, rows: usize, files: Vec<Entry>) -> Result<()> {
        assert_eq!(rows, self.rows_of(number), "a unit that is not full");
        let unit = Unit { order: self.order.clone(), rows, files };
        store::write_sealed(&self.out.join(record(number)), &json!(unit))?;
        self.units.insert(number, unit);
        Ok(())
    }

    /// Files of all units, in order.
    pub fn files(&self) -> impl Iterator<Item = &Entry> {
        self.units.values().flat_map(|u| &u.files)
    }

    /// Writes the card and the summary `done`, to which the hashes of what is there are added: of all units and records, of `rest`, the card
    /// and the configuration, and of `others` beside them.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn complete(self, mut done: Summary, others: &[&str], rest: Vec<Entry>) -> Result<Summary> {
        assert_eq!(self.next_unit(), self.units(), "an output that lacks units");
        let records = self.units.keys().map(|n| Entry::of(&self.out, &record(*n).to_string_lossy()));
        done.rows = self.units.values().map(|u| u.rows).sum();
        done.bytes = self.files().map(|f| f.bytes).sum();
        done.commits = records.collect::<Result<_>>()?;
        done.content_hash = content_hash(self.files());
        store::write_atomic(&self.out.join(card::FILE), card::markdown(&done).as_bytes())?;
        let others = [card::FILE, CONFIG].iter().chain(others);
        done.files = others.map(|o| Entry::of(&self.out, o)).collect::<Result<_>>()?;
        done.files.extend(rest);
        store::write_sealed(&self.out.join(SUCCESS), &json!(done))?;
        settle(&self.out, done.order.share)?;
        Ok(done)
    }
}

/// Ends what a run may have left to do after the summary of `out` was written: parts go, and others may read the rest.
///
/// # Errors
/// A file cannot be removed, or is another user's.
pub fn settle(out: &Path, who: Share) -> Result<()> {
    for folder in [STAGING, PARTS].map(|name| out.join(name)).iter().filter(|folder| folder.exists()) {
        std::fs::remove_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    }
    share(out, who)
}

/// Removes files that belong to no unit.
pub(super) fn clean(out: &Path, units: &BTreeMap<usize, Unit>) -> Result<()> {
    let files = |(number, unit): (&usize, &Unit)| {
        let paths: Vec<PathBuf> = unit.files.iter().map(|f| PathBuf::from(&f.path)).collect();
        paths.into_iter().chain([record(*number)])
    };
    let listed: BTreeSet<PathBuf> = units.iter().flat_map(files).collect();
    for name in content().chain([STAGING]) {
        for path in files_below(out, Path::new(name))? {
            if !listed.contains(&path) && !formats::is_foreign(&path) {
                remove(&out.join(path))?;
            }
        }
    }
    Ok(())
}

/// The committed units of `order` in `out`; with `repair` damaged ones are left out instead of being an error.
fn read_units(out: &Path, order: &str, repair: bool) -> Result<BTreeMap<usize, Unit>> {
    let mut units = BTreeMap::new();
    for (number, path) in records(out)? {
        let (found, damages) = check_unit(out, &path)?;
        if found.as_ref().is_some_and(|unit| unit.order != order) {
            // Not even a repair deletes what somebody else made.
            let advice = "choose another folder with option `out`, or delete it";
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
