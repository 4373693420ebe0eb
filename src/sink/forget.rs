//! Erasure of an identity from a written dataset: its rows and files go, its name goes from the class list, all other images
//! keep their bytes, and a tombstone (a keyed hash of the name) keeps it from being written here again.
//!
//! The tombstone comes first and the summary last. A run that ends between them is made good by the same command: every step can be
//! done twice.

use super::commit::remove;
use super::records::{Entry, SUCCESS, Unit, files_below, read_unit, records, verify};
use super::schema::{rename_class, writer_properties};
use crate::error::{Error, Result};
use crate::store;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Names that must not be written into a folder again.
const TOMBSTONES: &str = "_TOMBSTONES.json";

/// Keyed hashes of forgotten identities.
#[derive(Serialize, Deserialize)]
pub struct Tombstones {
    /// Random, of this folder: equal names have other hashes elsewhere.
    key: [u8; 32],
    hashes: BTreeSet<String>,
}

impl Tombstones {
    /// Those of `folder`.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(TOMBSTONES);
        let Some(object) = store::read_sealed(&path)? else { return Ok(None) };
        let read = serde_json::from_value(object);
        read.map(Some).map_err(|_| Error::Damaged { path, what: "it is no list of tombstones".into() })
    }

    /// Keyed hash of an identity.
    fn hash(&self, identity: &str) -> String {
        blake3::keyed_hash(&self.key, identity.as_bytes()).to_hex().to_string()
    }

    /// True if `identity` was forgotten.
    pub fn contains(&self, identity: &str) -> bool {
        self.hashes.contains(&self.hash(identity))
    }

    /// Adds `identity` to the tombstones of `folder`, if it is not there; returns its hash and whether it was.
    fn add(folder: &Path, identity: &str) -> Result<(String, bool)> {
        let mut all = match Self::read(folder)? {
            Some(all) => all,
            None => Self { key: random_key()?, hashes: BTreeSet::new() },
        };
        let hash = all.hash(identity);
        let added = all.hashes.insert(hash.clone());
        if added {
            store::write_sealed(&folder.join(TOMBSTONES), &json!(all))?;
        }
        Ok((hash, !added))
    }
}

fn random_key() -> Result<[u8; 32]> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|e| Error::io("random numbers of the system", std::io::Error::other(e)))?;
    Ok(key)
}

/// What takes the place of a forgotten name.
pub fn placeholder() -> Result<String> {
    Ok(format!("forgotten-{}", &blake3::hash(&random_key()?).to_hex()[..8]))
}

/// What was erased from a dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// Rows.
    pub rows: usize,
    /// The name had been forgotten here before.
    pub before: bool,
}

/// Erases `identity` from the dataset in `out`: its images, and those of new identities that it is mixed into.
///
/// # Errors
/// `Busy`; the dataset is damaged.
pub fn forget(out: &Path, identity: &str) -> Result<Erased> {
    let _lock = store::lock(out)?;
    let mut done = store::read_sealed(&out.join(SUCCESS))?;
    if !Tombstones::read(out)?.is_some_and(|t| t.contains(identity)) {
        // Afterwards damage and what is half done look alike.
        if let Some(first) = verify(out)?.damages.first() {
            return Err(first.error(out));
        }
    }
    let (hash, before) = Tombstones::add(out, identity)?;
    let forgotten = Forgotten { identity, class: format!("forgotten-{}", &hash[..8]) };
    let mut erased = Erased { rows: 0, before };
    let mut synthetic = 0;
    for (_, path) in records(out)? {
        let mut unit = read_unit(&out.join(&path))?;
        let found = forgotten.erase_unit(out, &mut unit)?;
        store::write_sealed(&out.join(path), &json!(unit))?;
        erased.rows += found.rows;
        synthetic += found.synthetic;
    }
    for metadata in files_below(out, Path::new("imagefolder"))? {
        if metadata.extension().is_some_and(|e| e == "parquet") {
            forgotten.erase_file(&out.join(metadata))?;
        }
    }
    if let Some(done) = &mut done {
        let units = records(out)?;
        let read = |(_, path): &(usize, _)| read_unit(&out.join(path));
        let kept = units.iter().map(read).collect::<Result<Vec<Unit>>>()?;
        let again = |key: &str| -> Result<serde_json::Value> {
            let entries: Vec<Entry> = serde_json::from_value(done[key].clone()).unwrap_or_default();
            Ok(json!(entries.iter().map(|e| Entry::of(out, &e.path)).collect::<Result<Vec<_>>>()?))
        };
        let (commits, files) = (again("commits")?, again("files")?);
        let less = |key: &str, n: usize| json!(done[key].as_u64().unwrap_or(0).saturating_sub(n as u64));
        let (made, real) = (less("synthetic", synthetic), less("real", erased.rows - synthetic));
        (done["synthetic"], done["real"]) = (made, real);
        done["rows"] = json!(kept.iter().map(|u| u.rows).sum::<usize>());
        done["bytes"] = json!(kept.iter().flat_map(|u| &u.files).map(|f| f.bytes).sum::<u64>());
        (done["commits"], done["files"]) = (commits, files);
        for selection in done["selection"].as_array_mut().into_iter().flatten() {
            if let Some(short) = selection["short"].as_array_mut() {
                short.retain(|s| s["identity"] != identity);
            }
        }
        store::write_sealed(&out.join(SUCCESS), done)?;
    }
    Ok(erased)
}

/// The identity to erase, and what its class is called from now on.
struct Forgotten<'a> {
    identity: &'a str,
    class: String,
}

/// What was found in a file.
#[derive(Default)]
struct Found {
    rows: usize,
    synthetic: usize,
    /// Image files of these rows, below the file's folder.
    images: Vec<String>,
}

impl Forgotten<'_> {
    /// Erases from the files of a unit and describes them anew.
    fn erase_unit(&self, out: &Path, unit: &mut Unit) -> Result<Found> {
        let mut all = Found::default();
        for file in unit.files.iter().filter(|f| is_parquet(&f.path)) {
            let rows = rows_of(&out.join(&file.path), |batch| Ok(self.found(batch)?.0))?;
            // Images first: the rows name them.
            for name in &rows.images {
                let path = out.join("imagefolder").join(name);
                if path.exists() {
                    remove(&path)?;
                }
            }
            self.erase_file(&out.join(&file.path))?;
            all.rows += rows.rows;
            all.synthetic += rows.synthetic;
        }
        let there: Vec<String> =
            unit.files.iter().filter(|f| out.join(&f.path).exists()).map(|f| f.path.clone()).collect();
        unit.files = there.iter().map(|path| Entry::of(out, path)).collect::<Result<_>>()?;
        unit.rows = 0;
        for file in unit.files.iter().filter(|f| is_parquet(&f.path)) {
            unit.rows += rows_of(&out.join(&file.path), |b| Ok(Found { rows: b.num_rows(), ..Found::default() }))?.rows;
        }
        Ok(all)
    }

    /// The rows of a batch that show the identity, and a mask of the others.
    fn found(&self, batch: &RecordBatch) -> Result<(Found, BooleanArray)> {
        let text = |name: &str| {
            let column = batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
            column.ok_or_else(|| Error::Manifest(format!("column `{name}` is missing: not written by augment")))
        };
        let (identity, mix) = (text("identity")?, text("label_mix")?);
        let shows = |row: usize| {
            let sources: Vec<(String, f32)> = serde_json::from_str(mix.value(row)).unwrap_or_default();
            identity.value(row) == self.identity || sources.iter().any(|(name, _)| name == self.identity)
        };
        let names = batch.column_by_name("file_name").and_then(|c| c.as_string_opt::<i32>());
        let made = batch.column_by_name("synthetic").and_then(|c| c.as_boolean_opt());
        let mut found = Found::default();
        let mut keep = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            keep.push(!shows(row));
            if shows(row) {
                found.rows += 1;
                found.synthetic += usize::from(made.is_some_and(|m| m.value(row)));
                found.images.extend(names.map(|n| n.value(row).to_owned()));
            }
        }
        Ok((found, BooleanArray::from(keep)))
    }

    /// Writes a Parquet file again without the identity's rows and name.
    fn erase_file(&self, path: &Path) -> Result<()> {
        let failed = |e: &dyn std::fmt::Display| Error::io(path, std::io::Error::other(e.to_string()));
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| failed(&e))?;
        let schema = Arc::new(rename_class(builder.schema(), self.identity, &self.class));
        let staged = store::temporary(path);
        let file = File::create(&staged).map_err(|e| Error::io(&staged, e))?;
        let mut writer =
            ArrowWriter::try_new(file, schema.clone(), Some(writer_properties(&schema))).map_err(|e| failed(&e))?;
        for batch in builder.build().map_err(|e| failed(&e))? {
            let batch = batch.map_err(|e| failed(&e))?;
            let kept = filter_record_batch(&batch, &self.found(&batch)?.1).map_err(|e| failed(&e))?;
            let kept = RecordBatch::try_new(schema.clone(), kept.columns().to_vec()).map_err(|e| failed(&e))?;
            writer.write(&kept).map_err(|e| failed(&e))?;
        }
        writer.close().map_err(|e| failed(&e))?;
        store::publish(&staged, path)
    }
}

fn is_parquet(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|e| e == "parquet")
}

/// Sums what `f` finds in the batches of a Parquet file.
fn rows_of(path: &Path, f: impl Fn(&RecordBatch) -> Result<Found>) -> Result<Found> {
    let failed = |e: &dyn std::fmt::Display| Error::io(path, std::io::Error::other(e.to_string()));
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| failed(&e))?;
    let mut all = Found::default();
    for batch in builder.build().map_err(|e| failed(&e))? {
        let found = f(&batch.map_err(|e| failed(&e))?)?;
        all.rows += found.rows;
        all.synthetic += found.synthetic;
        all.images.extend(found.images);
    }
    Ok(all)
}
