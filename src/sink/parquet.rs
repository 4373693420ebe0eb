//! Parquet shards `data/train-00000-of-00012.parquet`: each appears under its name when it is complete.

use super::schema::{ROW_GROUP, ROW_GROUP_BYTES, image_column, output_schema, writer_properties};
use super::{Record, Sink, Written, value_columns};
use crate::error::{Error, Result};
use crate::store;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Writes shards of a fixed number of rows.
pub struct ParquetSink {
    out: PathBuf,
    schema: SchemaRef,
    shard_rows: usize,
    shards: usize,
    writer: Option<ArrowWriter<File>>,
    rows_in_shard: usize,
    pending: Vec<Record>,
    pending_bytes: usize,
    written: Written,
}

impl ParquetSink {
    /// Shards under `out/data` for exactly `total` records of the classes `names`.
    pub fn new(out: &Path, names: &[String], total: usize, shard_rows: usize) -> Result<Self> {
        store::create_dir(&out.join("data"))?;
        Ok(Self {
            out: out.to_owned(),
            schema: Arc::new(output_schema(names, false)),
            shard_rows,
            shards: total.div_ceil(shard_rows).max(1),
            writer: None,
            rows_in_shard: 0,
            pending: Vec::new(),
            pending_bytes: 0,
            written: Written::default(),
        })
    }

    fn shard(&self) -> PathBuf {
        PathBuf::from(format!("data/train-{:05}-of-{:05}.parquet", self.written.files.len(), self.shards))
    }

    fn failed(&self, e: &dyn std::fmt::Display) -> Error {
        Error::io(self.out.join(self.shard()), std::io::Error::other(e.to_string()))
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
            let temp = store::temporary(&self.out.join(self.shard()));
            let file = File::create(&temp).map_err(|e| Error::io(&temp, e))?;
            ArrowWriter::try_new(file, self.schema.clone(), Some(writer_properties(&self.schema)))
                .map_err(|e| self.failed(&e))?
        };
        writer.write(&batch).and_then(|()| writer.flush()).map_err(|e| self.failed(&e))?;
        self.rows_in_shard += batch.num_rows();
        self.written.rows += batch.num_rows();
        self.writer = Some(writer);
        if self.rows_in_shard == self.shard_rows { self.close_shard() } else { Ok(()) }
    }

    fn close_shard(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            writer.close().map_err(|e| self.failed(&e))?;
            let shard = self.shard();
            let path = self.out.join(&shard);
            store::publish(&store::temporary(&path), &path)?;
            self.written.bytes += std::fs::metadata(&path).map_err(|e| Error::io(&path, e))?.len();
            self.written.files.push(shard);
            self.rows_in_shard = 0;
        }
        Ok(())
    }
}

impl Sink for ParquetSink {
    fn write(&mut self, record: Record) -> Result<()> {
        self.pending_bytes += record.image.len();
        self.pending.push(record);
        let room = self.shard_rows - self.rows_in_shard;
        if self.pending.len() == ROW_GROUP.min(room) || self.pending_bytes > ROW_GROUP_BYTES {
            self.flush_pending()
        } else {
            Ok(())
        }
    }

    fn finish(mut self: Box<Self>) -> Result<Written> {
        self.flush_pending()?;
        self.close_shard()?;
        Ok(self.written)
    }
}
