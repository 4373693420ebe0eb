//! Rows without their images, for formats whose images lie in files of their own: those of a unit beside its record, and all of them put
//! together at the end.

use super::table::{self, ROW_GROUP, output_schema, value_columns};
use super::{COMMITS, Sample, Site};
use crate::error::Result;
use crate::store;
use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, SchemaRef};
use parquet::arrow::ArrowWriter;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All rows, below the folder of a format.
pub const FILE: &str = "metadata.parquet";

/// Rows of unit `number`.
pub(super) fn of(number: usize) -> String {
    format!("{COMMITS}/{number:05}.parquet")
}

/// Where the image of `sample` lies among others: in a folder of its label, padded so that sorting keeps the order of the labels.
pub(super) fn name(site: &Site, sample: &Sample) -> String {
    let digits = site.classes.len().saturating_sub(1).to_string().len().max(4);
    format!("{:0digits$}/{}.{}", sample.label, sample.sample_id, sample.extension)
}

/// The name of a sample, out of that of its image.
pub(super) fn sample_id(name: &str) -> &str {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.split('.').next().unwrap_or(file)
}

/// The rows of a unit that is being written.
pub(super) struct Rows {
    path: String,
    staged: PathBuf,
    schema: SchemaRef,
    writer: ArrowWriter<File>,
    /// Names of images, and rows without these.
    pending: Vec<(String, Sample)>,
}

impl Rows {
    /// Begins those of unit `number`.
    pub fn new(site: &Site, number: usize) -> Result<Self> {
        let path = of(number);
        let (staged, schema) = (site.staged(&path), Arc::new(output_schema(&site.classes, true)));
        let writer = table::writer(&staged, &schema)?;
        Ok(Self { path, staged, schema, writer, pending: Vec::new() })
    }

    /// Writes a row whose image is called `name`.
    pub fn write(&mut self, name: String, mut sample: Sample) -> Result<()> {
        sample.image = Vec::new();
        self.pending.push((name, sample));
        if self.pending.len() == ROW_GROUP { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let (names, samples): (Vec<String>, Vec<Sample>) = std::mem::take(&mut self.pending).into_iter().unzip();
        let mut columns = value_columns(&samples);
        let names: ArrayRef = Arc::new(StringArray::from(names));
        columns.insert(0, names);
        let failed = |e: &dyn std::fmt::Display| store::failed(&self.staged, e);
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(|e| failed(&e))?;
        self.writer.write(&batch).and_then(|()| self.writer.flush()).map_err(|e| store::failed(&self.staged, &e))
    }

    /// Completes the staged file and returns the path that it will have.
    pub fn close(mut self) -> Result<String> {
        self.flush()?;
        self.writer.close().map_err(|e| store::failed(&self.staged, &e))?;
        Ok(self.path)
    }
}

/// Calls `f` with the rows of units `numbers`, which are in their places, a batch at a time.
fn batches(out: &Path, numbers: std::ops::Range<usize>, f: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()> {
    for path in numbers.map(|number| out.join(of(number))) {
        let failed = |e: &dyn std::fmt::Display| store::failed(&path, e);
        for batch in table::open(&path)?.with_batch_size(ROW_GROUP).build().map_err(|e| failed(&e))? {
            f(batch.map_err(|e| failed(&e))?)?;
        }
    }
    Ok(())
}

/// Stages all rows of a dataset as `path`.
pub(super) fn join(site: &Site, path: &str) -> Result<()> {
    let staged = site.staged(path);
    let failed = |e: &dyn std::fmt::Display| store::failed(&staged, e);
    let mut writer = table::writer(&staged, &Arc::new(output_schema(&site.classes, true)))?;
    batches(&site.out, 0..site.units, &mut |batch| writer.write(&batch).map_err(|e| failed(&e)))?;
    writer.close().map(|_| ()).map_err(|e| failed(&e))
}

/// Calls `f` with the label and the name of the image of every row of `numbers`, in order.
pub(super) fn names(
    out: &Path,
    numbers: std::ops::Range<usize>,
    f: &mut dyn FnMut(i64, &str) -> Result<()>,
) -> Result<()> {
    batches(out, numbers, &mut |batch| {
        let labels = batch.column_by_name("label").and_then(|c| c.as_primitive_opt::<Int64Type>());
        let names = batch.column_by_name("file_name").and_then(|c| c.as_string_opt::<i32>());
        let (Some(labels), Some(names)) = (labels, names) else { return Ok(()) };
        (0..batch.num_rows()).try_for_each(|row| f(labels.value(row), names.value(row)))
    })
}

/// Adds the rows of each label in units `numbers` to `counts`.
pub(super) fn count(out: &Path, numbers: std::ops::Range<usize>, counts: &mut BTreeMap<i64, u64>) -> Result<()> {
    names(out, numbers, &mut |label, _| {
        *counts.entry(label).or_default() += 1;
        Ok(())
    })
}
