//! Erasure of a person from tables: rows go, class names are replaced, everything else stays.

use super::table::{class_name, has_class, is_table, open, rename_class, writer};
use crate::error::{Error, Result};
use crate::store;
use arrow::array::{AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A person to erase, and what the person's classes are called from now on.
pub struct Forgotten<'a> {
    /// The key.
    pub identity: &'a str,
    /// Its classes, in every identity set, those of new identities that it is mixed into among them, and what takes the place of their names.
    pub classes: BTreeMap<String, String>,
}

/// Some rows of a file.
#[derive(Default)]
pub struct Rows {
    /// Number of rows.
    pub count: usize,
    /// Those that are synthetic.
    pub synthetic: usize,
    /// Their image files, below the image folder.
    pub images: BTreeSet<String>,
}

impl Rows {
    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.count += other.count;
        self.synthetic += other.synthetic;
        self.images.extend(other.images);
    }
}

/// Column `name` of a table of ours.
fn text<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray> {
    let column = batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
    column.ok_or_else(|| Error::Manifest(format!("column `{name}` is missing: not written by augment")))
}

/// The tables among `files` of `out`.
fn tables<'a>(out: &'a Path, files: &'a [String]) -> impl Iterator<Item = PathBuf> + 'a {
    files.iter().map(|file| out.join(file)).filter(|path| is_table(path))
}

impl Forgotten<'_> {
    /// True if a row or the class list of a table names the person.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn is_known(&self, path: &Path) -> Result<bool> {
        Ok(has_class(open(path)?.schema(), &self.classes) || self.split(path)?.0.count > 0)
    }

    /// Classes of the new identities in a file that the person is mixed into, in a dataset of `sets` identity sets.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn mixes(&self, path: &Path, sets: usize) -> Result<BTreeSet<String>> {
        let mut mixes = BTreeSet::new();
        for batch in open(path)?.build().map_err(|e| store::failed(path, &e))? {
            let batch = batch.map_err(|e| store::failed(path, &e))?;
            let (names, of) = (text(&batch, "identity")?, text(&batch, "identity_set")?);
            let shown = self.shown(&batch)?.into_iter().enumerate();
            let new = shown.filter(|(row, shown)| *shown && names.value(*row) != self.identity);
            mixes.extend(new.map(|(row, _)| class_name(sets, of.value(row), names.value(row))));
        }
        Ok(mixes)
    }

    /// The rows of a file that show the identity, and the others.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn split(&self, path: &Path) -> Result<(Rows, Rows)> {
        let (mut gone, mut stays) = (Rows::default(), Rows::default());
        for batch in open(path)?.build().map_err(|e| store::failed(path, &e))? {
            let batch = batch.map_err(|e| store::failed(path, &e))?;
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

    /// The rows of the tables among `files` of `out` that show the identity, and the others.
    pub(super) fn split_all(&self, out: &Path, files: &[String]) -> Result<(Rows, Rows)> {
        let (mut gone, mut stays) = (Rows::default(), Rows::default());
        for table in tables(out, files) {
            let (g, s) = self.split(&table)?;
            gone.add(g);
            stays.add(s);
        }
        Ok((gone, stays))
    }

    /// Writes the tables among `files` of `out` again without the identity's rows and name.
    pub(super) fn erase_all(&self, out: &Path, files: &[String]) -> Result<()> {
        tables(out, files).try_for_each(|table| self.erase(&table))
    }

    /// Which rows of a batch show the identity.
    fn shown(&self, batch: &RecordBatch) -> Result<Vec<bool>> {
        let (identity, mix) = (text(batch, "identity")?, text(batch, "label_mix")?);
        let shows = |row: usize| {
            let sources: Vec<(String, f32)> = serde_json::from_str(mix.value(row)).unwrap_or_default();
            identity.value(row) == self.identity || sources.iter().any(|(name, _)| name == self.identity)
        };
        Ok((0..batch.num_rows()).map(shows).collect())
    }

    /// Writes a Parquet file again without the identity's rows and name.
    pub(super) fn erase(&self, path: &Path) -> Result<()> {
        let builder = open(path)?;
        let schema = Arc::new(rename_class(builder.schema(), &self.classes));
        let staged = store::temporary(path);
        let mut writer = writer(&staged, &schema)?;
        for batch in builder.build().map_err(|e| store::failed(path, &e))? {
            let batch = batch.map_err(|e| store::failed(path, &e))?;
            let keep: BooleanArray = self.shown(&batch)?.into_iter().map(|shown| Some(!shown)).collect();
            let kept = filter_record_batch(&batch, &keep).map_err(|e| store::failed(path, &e))?;
            let kept =
                RecordBatch::try_new(schema.clone(), kept.columns().to_vec()).map_err(|e| store::failed(path, &e))?;
            writer.write(&kept).map_err(|e| store::failed(path, &e))?;
        }
        writer.close().map_err(|e| store::failed(path, &e))?;
        store::publish(&staged, path)
    }
}
