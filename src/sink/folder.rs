//! An image folder: `imagefolder/<label>/<sample>.jpg`, labels padded so that sorting keeps their order, and
//! `imagefolder/metadata.parquet` with every other column.

use super::schema::{ROW_GROUP, output_schema, writer_properties};
use super::{Record, Sink, Written, value_columns};
use crate::error::{Error, Result};
use crate::store;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Writes one file an image.
pub struct FolderSink {
    root: PathBuf,
    schema: SchemaRef,
    digits: usize,
    writer: ArrowWriter<File>,
    pending: Vec<(String, Record)>,
    /// Images that are not durable yet.
    images: Vec<String>,
    /// Folders of the classes.
    classes: BTreeSet<String>,
    written: Written,
}

/// Images that are made durable together.
const SYNC_EVERY: usize = 4096;

pub(super) const METADATA: &str = "metadata.parquet";

impl FolderSink {
    /// A folder under `out` for the classes `names`.
    pub fn new(out: &Path, names: &[String]) -> Result<Self> {
        let root = out.join("imagefolder");
        store::create_dir(&root)?;
        let schema = Arc::new(output_schema(names, true));
        let temp = store::temporary(&root.join(METADATA));
        let file = File::create(&temp).map_err(|e| Error::io(&temp, e))?;
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(writer_properties(&schema)))
            .map_err(|e| Error::io(&temp, std::io::Error::other(e.to_string())))?;
        let digits = names.len().saturating_sub(1).to_string().len().max(4);
        Ok(Self {
            root,
            schema,
            digits,
            writer,
            pending: Vec::new(),
            images: Vec::new(),
            classes: BTreeSet::new(),
            written: Written::default(),
        })
    }

    /// Makes the images durable, many at a time: nothing counts before the whole dataset does.
    fn sync(&mut self) -> Result<()> {
        std::mem::take(&mut self.images).par_iter().try_for_each(|name| store::sync(&self.root.join(name)))
    }

    fn flush_pending(&mut self) -> Result<()> {
        let failed =
            |e: &dyn std::fmt::Display| Error::io(self.root.join(METADATA), std::io::Error::other(e.to_string()));
        let (names, records): (Vec<String>, Vec<Record>) = std::mem::take(&mut self.pending).into_iter().unzip();
        let mut columns = value_columns(&records);
        let names: ArrayRef = Arc::new(StringArray::from(names));
        columns.insert(0, names);
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(|e| failed(&e))?;
        self.writer.write(&batch).map_err(|e| failed(&e))
    }
}

impl Sink for FolderSink {
    fn write(&mut self, mut record: Record) -> Result<()> {
        let class = format!("{:0width$}", record.label, width = self.digits);
        let name = format!("{class}/{}.{}", record.sample_id, record.extension);
        store::create_dir(&self.root.join(&class))?;
        self.classes.insert(class);
        let image = std::mem::take(&mut record.image);
        store::write(&self.root.join(&name), &image)?;
        self.images.push(name.clone());
        self.written.bytes += image.len() as u64;
        self.written.rows += 1;
        self.pending.push((name, record));
        if self.images.len() == SYNC_EVERY {
            self.sync()?;
        }
        if self.pending.len() == ROW_GROUP { self.flush_pending() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<Written> {
        self.flush_pending()?;
        self.sync()?;
        self.classes.iter().try_for_each(|class| store::sync(&self.root.join(class)))?;
        let path = self.root.join(METADATA);
        self.writer.close().map_err(|e| Error::io(&path, std::io::Error::other(e.to_string())))?;
        store::publish(&store::temporary(&path), &path)?;
        self.written.files.push(Path::new("imagefolder").join(METADATA));
        Ok(self.written)
    }
}
