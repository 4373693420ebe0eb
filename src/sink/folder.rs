//! An image folder: `imagefolder/<label>/<sample>.jpg`, labels padded so that sorting keeps their order, and
//! `imagefolder/metadata.parquet` with every other column.
//!
//! The rows of a unit are kept beside its record; the metadata are put together from them at the end.

use super::commit::{Missing, Output};
use super::records::COMMITS;
use super::schema::{ROW_GROUP, output_schema, writer_properties};
use super::{Record, Sink, value_columns};
use crate::error::{Error, Result};
use crate::store;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Writes one file an image.
pub struct FolderSink {
    output: Output,
    schema: SchemaRef,
    digits: usize,
    /// The unit that is being written.
    unit: usize,
    /// Paths below the image folder, and rows without their images.
    pending: Vec<(String, Record)>,
}

pub(super) const METADATA: &str = "metadata.parquet";
const ROOT: &str = "imagefolder";

impl FolderSink {
    /// A folder for the units of `output`, for records of the classes `names`.
    pub fn new(output: Output, names: &[String]) -> Self {
        Self {
            unit: output.next_unit(),
            output,
            schema: Arc::new(output_schema(names, true)),
            digits: names.len().saturating_sub(1).to_string().len().max(4),
            pending: Vec::new(),
        }
    }

    /// Path of the metadata below the output folder.
    pub fn metadata() -> String {
        format!("{ROOT}/{METADATA}")
    }

    /// Rows of unit `number`.
    fn part(number: usize) -> String {
        format!("{COMMITS}/{number:05}.parquet")
    }

    /// Writes a Parquet file of `batches` in its place.
    fn write_rows(&self, path: &str, batches: impl Iterator<Item = Result<RecordBatch>>) -> Result<()> {
        let staged = self.output.staged(path);
        let failed = |e: &dyn std::fmt::Display| Error::io(&staged, std::io::Error::other(e.to_string()));
        let file = File::create(&staged).map_err(|e| Error::io(&staged, e))?;
        let mut writer = ArrowWriter::try_new(file, self.schema.clone(), Some(writer_properties(&self.schema)))
            .map_err(|e| failed(&e))?;
        for batch in batches {
            writer.write(&batch?).map_err(|e| failed(&e))?;
        }
        writer.close().map_err(|e| failed(&e))?;
        Ok(())
    }

    /// The rows of unit `number` as they were written.
    fn read_rows(&self, number: usize) -> Result<Vec<RecordBatch>> {
        let path = self.output.full(&Self::part(number));
        let failed = |e: &dyn std::fmt::Display| Error::io(&path, std::io::Error::other(e.to_string()));
        let file = File::open(&path).map_err(|e| Error::io(&path, e))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| failed(&e))?;
        let reader = reader.with_batch_size(ROW_GROUP).build().map_err(|e| failed(&e))?;
        reader.map(|batch| batch.map_err(|e| failed(&e))).collect()
    }

    /// Moves the images of the unit to their places, writes its rows and commits it.
    fn close_unit(&mut self) -> Result<()> {
        let (names, records): (Vec<String>, Vec<Record>) = std::mem::take(&mut self.pending).into_iter().unzip();
        let paths: Vec<String> = names.iter().map(|name| format!("{ROOT}/{name}")).collect();
        paths.par_iter().try_for_each(|path| store::sync(&self.output.staged(path)))?;
        let folders: BTreeSet<&Path> = names.iter().filter_map(|n| Path::new(n).parent()).collect();
        let root = self.output.full(ROOT);
        folders.iter().try_for_each(|f| store::create_dir(&root.join(f)))?;
        let mut files = paths.par_iter().map(|path| self.output.place(path)).collect::<Result<Vec<_>>>()?;
        folders.iter().map(|f| root.join(f)).chain([root.clone()]).try_for_each(|f| store::sync(&f))?;
        let failed = |e: &dyn std::fmt::Display| Error::io(&root, std::io::Error::other(e.to_string()));
        let mut columns = value_columns(&records);
        let names: ArrayRef = Arc::new(StringArray::from(names));
        columns.insert(0, names);
        let rows = RecordBatch::try_new(self.schema.clone(), columns).map_err(|e| failed(&e))?;
        let part = Self::part(self.unit);
        self.write_rows(&part, std::iter::once(Ok(rows)))?;
        files.push(self.output.publish(&part)?);
        self.output.commit(self.unit, records.len(), files)?;
        self.unit = self.output.next_unit();
        Ok(())
    }
}

impl Sink for FolderSink {
    fn missing(&self) -> Missing {
        self.output.missing()
    }

    fn write(&mut self, mut record: Record) -> Result<()> {
        let class = format!("{:0width$}", record.label, width = self.digits);
        let name = format!("{class}/{}.{}", record.sample_id, record.extension);
        let image = std::mem::take(&mut record.image);
        store::write(&self.output.staged(&format!("{ROOT}/{name}")), &image)?;
        self.pending.push((name, record));
        if self.pending.len() == self.output.rows_of(self.unit) { self.close_unit() } else { Ok(()) }
    }

    fn finish(self: Box<Self>) -> Result<Output> {
        let metadata = Self::metadata();
        let rows = (0..self.output.units()).flat_map(|number| match self.read_rows(number) {
            Ok(batches) => batches.into_iter().map(Ok).collect(),
            Err(e) => vec![Err(e)],
        });
        self.write_rows(&metadata, rows)?;
        self.output.publish(&metadata)?;
        Ok(self.output)
    }
}
