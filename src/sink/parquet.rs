//! Parquet shards `data/train-00000-of-00012.parquet`, one for each unit of the output.

use super::commit::{Missing, Output};
use super::schema::{ROW_GROUP, ROW_GROUP_BYTES, image_column, output_schema, writer_properties};
use super::{Record, Sink, value_columns};
use crate::error::{Error, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use std::fs::File;
use std::sync::Arc;

/// Writes shards of a fixed number of rows.
pub struct ParquetSink {
    output: Output,
    schema: SchemaRef,
    writer: Option<ArrowWriter<File>>,
    /// The shard that is being written.
    unit: usize,
    rows_in_shard: usize,
    pending: Vec<Record>,
    pending_bytes: usize,
}

impl ParquetSink {
    /// Shards of the units of `output` for records of the classes `names`.
    pub fn new(output: Output, names: &[String]) -> Self {
        Self {
            unit: output.next_unit(),
            output,
            schema: Arc::new(output_schema(names, false)),
            writer: None,
            rows_in_shard: 0,
            pending: Vec::new(),
            pending_bytes: 0,
        }
    }

    fn shard(&self) -> String {
        format!("data/train-{:05}-of-{:05}.parquet", self.unit, self.output.units())
    }

    fn failed(&self, e: &dyn std::fmt::Display) -> Error {
        Error::io(self.output.full(&self.shard()), std::io::Error::other(e.to_string()))
    }

    fn flush_pending(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let paths: Vec<String> = records.iter().map(|r| format!("{}.{}", r.sample_id, r.extension)).collect();
        let mut columns = value_columns(&records);
        let images: Vec<Vec<u8>> = records.into_iter().map(|r| r.image).collect();
        columns.insert(0, image_column(&images, &paths).map_err(|e| self.failed(&e))?);
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(|e| self.failed(&e))?;
        let mut writer = if let Some(writer) = self.writer.take() {
            writer
        } else {
            let staged = self.output.staged(&self.shard());
            let file = File::create(&staged).map_err(|e| Error::io(&staged, e))?;
            ArrowWriter::try_new(file, self.schema.clone(), Some(writer_properties(&self.schema)))
                .map_err(|e| self.failed(&e))?
        };
        writer.write(&batch).and_then(|()| writer.flush()).map_err(|e| self.failed(&e))?;
        self.rows_in_shard += batch.num_rows();
        self.writer = Some(writer);
        if self.rows_in_shard == self.output.rows_of(self.unit) { self.close_shard() } else { Ok(()) }
    }

    fn close_shard(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            writer.close().map_err(|e| self.failed(&e))?;
            let entry = self.output.publish(&self.shard())?;
            self.output.commit(self.unit, self.rows_in_shard, vec![entry])?;
            (self.unit, self.rows_in_shard) = (self.output.next_unit(), 0);
        }
        Ok(())
    }
}

impl Sink for ParquetSink {
    fn missing(&self) -> Missing {
        self.output.missing()
    }

    fn write(&mut self, record: Record) -> Result<()> {
        self.pending_bytes += record.image.len();
        self.pending.push(record);
        let room = self.output.rows_of(self.unit) - self.rows_in_shard;
        if self.pending.len() == ROW_GROUP.min(room) || self.pending_bytes > ROW_GROUP_BYTES {
            self.flush_pending()
        } else {
            Ok(())
        }
    }

    fn finish(mut self: Box<Self>) -> Result<Output> {
        self.flush_pending()?;
        self.close_shard()?;
        Ok(self.output)
    }
}
