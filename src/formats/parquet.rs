//! Hugging Face's form: Parquet shards `data/train-00000-of-00012.parquet`, one for each unit.

use super::forgotten::{Forgotten, Rows};
use super::table::{self, ROW_GROUP, ROW_GROUP_BYTES, image_column, output_schema, value_columns};
use super::{Format, Sample, Site, UnitWriter};
use crate::error::Result;
use crate::store;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The format.
pub struct Parquet;

const FOLDER: &str = "data";

impl Format for Parquet {
    fn name(&self) -> &'static str {
        "parquet"
    }

    fn about(&self) -> &'static str {
        "Hugging Face Parquet shards"
    }

    fn folder(&self) -> &'static str {
        FOLDER
    }

    fn endings(&self) -> &'static [&'static str] {
        &[]
    }

    fn unit(&self, site: &Arc<Site>, number: usize) -> Result<Box<dyn UnitWriter>> {
        let path = format!("{FOLDER}/train-{number:05}-of-{:05}.parquet", site.units);
        let schema = Arc::new(output_schema(&site.classes, false));
        let staged = site.staged(&path);
        let writer = table::writer(&staged, &schema)?;
        Ok(Box::new(Shard { path, staged, schema, writer, pending: Vec::new(), pending_bytes: 0 }))
    }

    fn rest(&self, _: &Site) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn card(&self, contents: &str) -> String {
        // Without the hash, `datasets` takes all our folders of one name for the same dataset and reads its cache.
        format!(
            "configs:\n- config_name: default\n  description: contents {contents}\n  data_files:\n  - split: train\n    path: {FOLDER}/train-*\n"
        )
    }

    fn parts(&self, folder: &Path) -> Result<Option<Vec<PathBuf>>> {
        let folder = if folder.join(FOLDER).is_dir() { folder.join(FOLDER) } else { folder.to_owned() };
        let files = super::files_of(&folder, "parquet")?;
        Ok((!files.is_empty()).then_some(files))
    }

    fn read(&self, part: &Path, f: &mut dyn FnMut(Sample) -> Result<()>) -> Result<()> {
        table::read(part, f)
    }

    fn erase_unit(&self, out: &Path, files: &mut Vec<String>, who: &Forgotten) -> Result<(Rows, Rows)> {
        let split = who.split_all(out, files)?;
        who.erase_all(out, files)?;
        Ok(split)
    }

    fn erase_rest(&self, _: &Path, _: &Forgotten) -> Result<()> {
        Ok(())
    }
}

/// A shard that is being written, a row group at a time.
struct Shard {
    path: String,
    staged: PathBuf,
    schema: SchemaRef,
    writer: ArrowWriter<File>,
    pending: Vec<Sample>,
    pending_bytes: usize,
}

impl Shard {
    fn flush(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let samples = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let failed = |e: &dyn std::fmt::Display| store::failed(&self.staged, e);
        let paths: Vec<String> = samples.iter().map(|s| format!("{}.{}", s.sample_id, s.extension)).collect();
        let mut columns = value_columns(&samples);
        let images: Vec<Vec<u8>> = samples.into_iter().map(|s| s.image).collect();
        columns.insert(0, image_column(&images, &paths).map_err(|e| failed(&e))?);
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(|e| failed(&e))?;
        self.writer.write(&batch).and_then(|()| self.writer.flush()).map_err(|e| store::failed(&self.staged, &e))
    }
}

impl UnitWriter for Shard {
    fn write(&mut self, sample: Sample) -> Result<()> {
        self.pending_bytes += sample.image.len();
        self.pending.push(sample);
        if self.pending.len() == ROW_GROUP || self.pending_bytes > ROW_GROUP_BYTES { self.flush() } else { Ok(()) }
    }

    fn close(mut self: Box<Self>) -> Result<Vec<String>> {
        self.flush()?;
        self.writer.close().map_err(|e| store::failed(&self.staged, &e))?;
        Ok(vec![self.path])
    }
}
