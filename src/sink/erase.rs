//! Erasure of an identity from a written dataset: its rows and files go, its name goes from the class list, all other images
//! keep their bytes, and a tombstone (a keyed hash of the name) keeps it from being written here again.
//!
//! The tombstone comes first, marked as pending, then the summary, and the mark goes last. A run that ends between them is made good by
//! the same command: every step can be done twice.

use super::card;
use super::commit::clean;
use super::ledger::{self, Entry, PICTURES, SUCCESS, content_hash, read_unit, records, summary, units};
use super::verify::verify;
use crate::error::{Error, Result};
use crate::formats::forgotten::{Forgotten, Rows};
use crate::formats::table::{self, class_name, is_table};
use crate::formats::{self, Format};
use crate::store;
use crate::tombstones::Tombstones;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Names that must not be written into a folder again.
const TOMBSTONES: &str = "_TOMBSTONES.json";

/// The tombstones of `folder`.
///
/// # Errors
/// `Damaged`.
pub fn tombstones(folder: &Path) -> Result<Option<Tombstones>> {
    let path = folder.join(TOMBSTONES);
    let Some(object) = store::read_sealed(&path)? else { return Ok(None) };
    let read = serde_json::from_value(object);
    read.map(Some).map_err(|_| Error::Damaged { path, what: "it is no list of tombstones".into() })
}

/// What was erased from a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erased {
    /// So many rows.
    Rows(usize),
    /// The identity had been forgotten here before.
    Before,
    /// Nothing here knows the identity.
    Unknown,
}

/// Erases `identity` from the dataset in `out`: its images, and those of new identities that it is mixed into.
///
/// # Errors
/// `Busy`; the dataset is damaged; the erasure of somebody else was interrupted.
pub fn forget(out: &Path, identity: &str) -> Result<Erased> {
    let _lock = store::lock(out)?;
    let mut done = summary(out)?;
    let (format, mut tombstones, mut forgotten) = prepare(out, identity)?;
    match tombstones.pending(identity) {
        Some(true) => add_classes(&mut forgotten, tombstones.pending_classes(), &tombstones),
        Some(false) => {
            return Err(interrupted(out));
        }
        None => {
            // From here on, damage and what is half done look alike.
            refuse_damage(out)?;
            if done.is_none() {
                clean(out, &units(out)?)?;
            }
            if !is_known(out, &forgotten)? {
                return Ok(if tombstones.contains(identity) { Erased::Before } else { Erased::Unknown });
            }
            let mixes = mixes(out, &forgotten)?;
            add_classes(&mut forgotten, &mixes, &tombstones);
            tombstones.begin(identity, mixes);
            store::write_sealed(&out.join(TOMBSTONES), &json!(tombstones))?;
        }
    }
    let (gone, stays) = erase_units(out, format, &forgotten)?;
    format.erase_rest(out, &forgotten)?;
    let task = ledger::order(out)?.and_then(|order| order.task);
    if task.is_some_and(|task| task["name"] == "morph") {
        for path in PICTURES.map(|name| out.join(name)).iter().filter(|path| path.exists()) {
            store::remove(path)?;
        }
    }
    if let Some(done) = &mut done {
        (done.rows, done.synthetic, done.real) = (stays.count, stays.synthetic, stays.count - stays.synthetic);
        let units = units(out)?;
        // Of what was joined the parts are gone.
        let is_set = |path: &str| Path::new(path).extension().is_some_and(|e| e == "rec");
        let joined: Vec<Entry> = done.files.iter().filter(|f| is_set(&f.path)).cloned().collect();
        let joined = joined.iter().map(|f| Entry::of(out, &f.path)).collect::<Result<Vec<_>>>()?;
        let files = || units.values().flat_map(|u| &u.files).chain(&joined);
        done.bytes = files().map(|f| f.bytes).sum();
        done.content_hash = content_hash(files());
        for screening in &mut done.screenings {
            screening.short.retain(|s| s.identity != identity);
        }
        store::write_atomic(&out.join(card::FILE), card::markdown(done).as_bytes())?;
        done.files.retain(|f| !PICTURES.contains(&f.path.as_str()));
        for entry in done.commits.iter_mut().chain(&mut done.files) {
            *entry = Entry::of(out, &entry.path)?;
        }
        store::write_sealed(&out.join(SUCCESS), &json!(done))?;
        ledger::share(out, done.order.share)?;
    }
    tombstones.complete();
    store::write_sealed(&out.join(TOMBSTONES), &json!(tombstones))?;
    Ok(Erased::Rows(gone.count))
}

/// What [`forget`] would do, without doing it.
///
/// # Errors
/// A file cannot be read.
pub fn would_forget(out: &Path, identity: &str) -> Result<Erased> {
    let (_, tombstones, forgotten) = prepare(out, identity)?;
    match tombstones.pending(identity) {
        Some(true) => return Ok(Erased::Rows(0)),
        Some(false) => return Err(interrupted(out)),
        None => refuse_damage(out)?,
    }
    if !is_known(out, &forgotten)? {
        return Ok(if tombstones.contains(identity) { Erased::Before } else { Erased::Unknown });
    }
    let counts = tables(out)?.into_iter().map(|table| Ok(forgotten.split(&table)?.0.count));
    Ok(Erased::Rows(counts.collect::<Result<Vec<_>>>()?.into_iter().sum()))
}

/// From what is damaged nothing can be erased for sure.
fn refuse_damage(out: &Path) -> Result<()> {
    match verify(out)?.damages.first() {
        Some(d) => Err(Error::Damaged {
            path: out.join(&d.path),
            what: format!(
                "{} since it was written; mend it with the command that wrote it and option `repair`",
                d.what
            ),
        }),
        None => Ok(()),
    }
}

fn interrupted(out: &Path) -> Error {
    Error::Usage(format!(
        "{}: the erasure of another identity was interrupted; run that command again first",
        out.display()
    ))
}

/// The format of the dataset in `out`, who was forgotten there, and what `identity` is called in it.
fn prepare<'a>(out: &Path, identity: &'a str) -> Result<(&'static dyn Format, Tombstones, Forgotten<'a>)> {
    let order = ledger::order(out)?.or(summary(out)?.map(|d| d.order));
    let order = order.ok_or_else(|| Error::Usage(format!("{}: holds no dataset of augment", out.display())))?;
    let unknown = || Error::Usage(format!("{}: unknown format `{}`", out.display(), order.format));
    let format = formats::named(&order.format).ok_or_else(unknown)?;
    let tombstones = tombstones(out)?.map_or_else(Tombstones::new, Ok)?;
    let sets: Vec<&str> = order.models.iter().flatten().map(|m| m.identity_set.as_str()).collect();
    let mut classes: BTreeSet<String> = sets.iter().map(|set| class_name(sets.len(), set, identity)).collect();
    if sets.len() > 1
        && let Some(table) = ledger::tables(out)?.first()
    {
        // Merged images may come from sets that no model knows.
        let of_any_set = |class: &String| class.split_once('/').is_some_and(|(_, name)| name == identity);
        classes.extend(table::classes(table)?.into_iter().filter(of_any_set));
    }
    let mut forgotten = Forgotten { identity, classes: BTreeMap::new() };
    add_classes(&mut forgotten, &classes, &tombstones);
    Ok((format, tombstones, forgotten))
}

/// Adds `classes` to those that are erased with a person.
fn add_classes(who: &mut Forgotten, classes: &BTreeSet<String>, tombstones: &Tombstones) {
    who.classes.extend(classes.iter().map(|class| (class.clone(), tombstones.placeholder(class))));
}

/// Tables of all units of `out`.
fn tables(out: &Path) -> Result<Vec<PathBuf>> {
    let paths = units(out)?.into_values().flat_map(|u| u.files).map(|f| out.join(f.path));
    Ok(paths.filter(|path| is_table(path)).collect())
}

/// Classes of new identities in `out` that the person is mixed into.
fn mixes(out: &Path, who: &Forgotten) -> Result<BTreeSet<String>> {
    let sets = ledger::order(out)?.and_then(|order| order.models).map_or(1, |models| models.len());
    let mut all = BTreeSet::new();
    for table in tables(out)? {
        all.extend(who.mixes(&table, sets)?);
    }
    Ok(all)
}

/// Keeps in `out` from being written whoever was forgotten in `from`, of which it is made.
///
/// # Errors
/// A list is damaged, or cannot be written.
pub fn inherit(out: &Path, from: &Path) -> Result<()> {
    let Some(theirs) = tombstones(from)? else { return Ok(()) };
    let mut own = tombstones(out)?.map_or_else(Tombstones::new, Ok)?;
    own.inherit(&theirs);
    store::write_sealed(&out.join(TOMBSTONES), &json!(own))
}

/// True if a row or a class list of `out` names the person.
fn is_known(out: &Path, who: &Forgotten) -> Result<bool> {
    for table in tables(out)? {
        if who.is_known(&table)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Erases from the files of all units and describes these anew; returns which rows went, and which stay.
fn erase_units(out: &Path, format: &dyn Format, who: &Forgotten) -> Result<(Rows, Rows)> {
    let (mut gone, mut stays) = (Rows::default(), Rows::default());
    for (_, path) in records(out)? {
        let mut unit = read_unit(&out.join(&path))?;
        let mut files: Vec<String> = unit.files.iter().map(|f| f.path.clone()).collect();
        let (g, s) = format.erase_unit(out, &mut files, who)?;
        unit.rows = s.count;
        unit.files = files.iter().map(|path| Entry::of(out, path)).collect::<Result<_>>()?;
        store::write_sealed(&out.join(path), &json!(unit))?;
        gone.add(g);
        stays.add(s);
    }
    Ok((gone, stays))
}
