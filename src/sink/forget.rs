//! Erasure of an identity from a written dataset: its rows and files go, its name goes from the class list, all other images
//! keep their bytes, and a tombstone (a keyed hash of the name) keeps it from being written here again.
//!
//! The tombstone comes first, marked as pending, then the summary, and the mark goes last. A run that ends between them is made good by
//! the same command: every step can be done twice.

use super::card;
use super::commit::{clean, remove};
use super::records::{Entry, SUCCESS, Unit, content_hash, files_below, read_unit, records, verify};
use super::schema::{class_name, has_class, rename_class, writer_properties};
use crate::error::{Error, Result};
use crate::manifest::PLAN_FILE;
use crate::store;
use crate::tombstones::Tombstones;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names that must not be written into a folder again.
const TOMBSTONES: &str = "_TOMBSTONES.json";
/// Folder of image files, which rows name from there.
const IMAGES: &str = "imagefolder";

/// The tombstones of `folder`.
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
    let mut done = store::read_sealed(&out.join(SUCCESS))?;
    let mut tombstones = match tombstones(out)? {
        Some(all) => all,
        None => Tombstones::new()?,
    };
    let forgotten = Forgotten::new(out, identity, tombstones.placeholder(identity))?;
    match tombstones.pending(identity) {
        Some(true) => {}
        Some(false) => {
            return Err(Error::Usage(format!(
                "{}: the erasure of another identity was interrupted; run that command again first",
                out.display()
            )));
        }
        None => {
            // From here on, damage and what is half done look alike.
            if let Some(first) = verify(out)?.damages.first() {
                return Err(first.error(out));
            }
            if done.is_none() {
                clean(out, &units(out)?)?;
            }
            if !forgotten.is_known(out)? {
                return Ok(if tombstones.contains(identity) { Erased::Before } else { Erased::Unknown });
            }
            tombstones.begin(identity);
            store::write_sealed(&out.join(TOMBSTONES), &json!(tombstones))?;
        }
    }
    let (mut erased, mut kept, mut synthetic) = (0, 0, 0);
    for (_, path) in records(out)? {
        let mut unit = read_unit(&out.join(&path))?;
        let (gone, stays) = forgotten.erase_unit(out, &mut unit)?;
        store::write_sealed(&out.join(path), &json!(unit))?;
        erased += gone.count;
        kept += stays.count;
        synthetic += stays.synthetic;
    }
    for metadata in files_below(out, Path::new(IMAGES))?.iter().filter(|p| is_parquet(p)) {
        forgotten.erase_file(&out.join(metadata))?;
    }
    if let Some(done) = &mut done {
        (done["rows"], done["synthetic"], done["real"]) = (json!(kept), json!(synthetic), json!(kept - synthetic));
        let units = units(out)?;
        let files = || units.values().flat_map(|u| &u.files);
        done["bytes"] = json!(files().map(|f| f.bytes).sum::<u64>());
        done["content_hash"] = json!(content_hash(files()));
        for selection in done["selection"].as_array_mut().into_iter().flatten() {
            if let Some(short) = selection["short"].as_array_mut() {
                short.retain(|s| s["identity"] != identity);
            }
        }
        store::write_atomic(&out.join(card::FILE), card::markdown(done).as_bytes())?;
        for key in ["commits", "files"] {
            let entries: Vec<Entry> = serde_json::from_value(done[key].clone()).unwrap_or_default();
            done[key] = json!(entries.iter().map(|e| Entry::of(out, &e.path)).collect::<Result<Vec<_>>>()?);
        }
        store::write_sealed(&out.join(SUCCESS), done)?;
    }
    tombstones.complete();
    store::write_sealed(&out.join(TOMBSTONES), &json!(tombstones))?;
    Ok(Erased::Rows(erased))
}

/// The recorded units of `out`.
fn units(out: &Path) -> Result<BTreeMap<usize, Unit>> {
    records(out)?.into_iter().map(|(number, path)| Ok((number, read_unit(&out.join(path))?))).collect()
}

/// The identity to erase, and what its classes are called from now on.
struct Forgotten<'a> {
    identity: &'a str,
    /// Its class, in every identity set.
    classes: BTreeSet<String>,
    placeholder: String,
}

/// Some rows of a file.
#[derive(Default)]
struct Rows {
    count: usize,
    synthetic: usize,
    /// Their image files, below [`IMAGES`].
    images: BTreeSet<String>,
}

impl Rows {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.synthetic += other.synthetic;
        self.images.extend(other.images);
    }
}

impl<'a> Forgotten<'a> {
    fn new(out: &Path, identity: &'a str, placeholder: String) -> Result<Self> {
        let plan = store::read_sealed(&out.join(PLAN_FILE))?.unwrap_or_default();
        let sets: Vec<&str> =
            plan["models"].as_array().into_iter().flatten().filter_map(|m| m["identity_set"].as_str()).collect();
        let classes = sets.iter().map(|set| class_name(sets.len(), set, identity)).collect();
        Ok(Self { identity, classes, placeholder })
    }

    /// True if a row or a class list of `out` names the identity.
    fn is_known(&self, out: &Path) -> Result<bool> {
        for file in units(out)?.values().flat_map(|u| &u.files).filter(|f| is_parquet(Path::new(&f.path))) {
            let path = out.join(&file.path);
            if has_class(open(&path)?.schema(), &self.classes) || self.split(&path)?.0.count > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Erases from the files of a unit and describes them anew; returns which rows went, and which stay.
    fn erase_unit(&self, out: &Path, unit: &mut Unit) -> Result<(Rows, Rows)> {
        let (mut gone, mut stays) = (Rows::default(), Rows::default());
        for file in unit.files.iter_mut().filter(|f| is_parquet(Path::new(&f.path))) {
            let path = out.join(&file.path);
            let (g, s) = self.split(&path)?;
            // Images first, and for good: the rows name them.
            let images: Vec<PathBuf> =
                g.images.iter().map(|name| out.join(IMAGES).join(name)).filter(|p| p.exists()).collect();
            images.iter().try_for_each(|image| remove(image))?;
            let folders: BTreeSet<&Path> = images.iter().filter_map(|p| p.parent()).collect();
            folders.into_iter().try_for_each(store::sync)?;
            self.erase_file(&path)?;
            *file = Entry::of(out, &file.path)?;
            gone.add(g);
            stays.add(s);
        }
        let named =
            |path: &str| path.strip_prefix(IMAGES).is_some_and(|p| stays.images.contains(p.trim_start_matches('/')));
        unit.files.retain(|f| is_parquet(Path::new(&f.path)) || named(&f.path));
        unit.rows = stays.count;
        Ok((gone, stays))
    }

    /// The rows of a file that show the identity, and the others.
    fn split(&self, path: &Path) -> Result<(Rows, Rows)> {
        let (mut gone, mut stays) = (Rows::default(), Rows::default());
        for batch in open(path)?.build().map_err(|e| failed(path, &e))? {
            let batch = batch.map_err(|e| failed(path, &e))?;
            let names = batch.column_by_name("file_name").and_then(|c| c.as_string_opt::<i32>());
            let made = batch.column_by_name("synthetic").and_then(|c| c.as_boolean_opt());
            for (row, shown) in self.shown(&batch)?.into_iter().enumerate() {
                let synthetic = usize::from(made.is_some_and(|m| m.value(row)));
                let images = names.map(|n| n.value(row).to_owned()).into_iter().collect();
                if shown { &mut gone } else { &mut stays }.add(Rows { count: 1, synthetic, images });
            }
        }
        Ok((gone, stays))
    }

    /// Which rows of a batch show the identity.
    fn shown(&self, batch: &RecordBatch) -> Result<Vec<bool>> {
        let text = |name: &str| {
            let column = batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
            column.ok_or_else(|| Error::Manifest(format!("column `{name}` is missing: not written by augment")))
        };
        let (identity, mix) = (text("identity")?, text("label_mix")?);
        let shows = |row: usize| {
            let sources: Vec<(String, f32)> = serde_json::from_str(mix.value(row)).unwrap_or_default();
            identity.value(row) == self.identity || sources.iter().any(|(name, _)| name == self.identity)
        };
        Ok((0..batch.num_rows()).map(shows).collect())
    }

    /// Writes a Parquet file again without the identity's rows and name.
    fn erase_file(&self, path: &Path) -> Result<()> {
        let builder = open(path)?;
        let schema = Arc::new(rename_class(builder.schema(), &self.classes, &self.placeholder));
        let staged = store::temporary(path);
        let file = File::create(&staged).map_err(|e| Error::io(&staged, e))?;
        let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(writer_properties(&schema)))
            .map_err(|e| failed(path, &e))?;
        for batch in builder.build().map_err(|e| failed(path, &e))? {
            let batch = batch.map_err(|e| failed(path, &e))?;
            let keep: BooleanArray = self.shown(&batch)?.into_iter().map(|shown| Some(!shown)).collect();
            let kept = filter_record_batch(&batch, &keep).map_err(|e| failed(path, &e))?;
            let kept = RecordBatch::try_new(schema.clone(), kept.columns().to_vec()).map_err(|e| failed(path, &e))?;
            writer.write(&kept).map_err(|e| failed(path, &e))?;
        }
        writer.close().map_err(|e| failed(path, &e))?;
        store::publish(&staged, path)
    }
}

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "parquet")
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| failed(path, &e))
}

fn failed(path: &Path, e: &dyn std::fmt::Display) -> Error {
    Error::io(path, std::io::Error::other(e.to_string()))
}
