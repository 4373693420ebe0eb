//! Reads back the shards that [`super::ParquetSink`] wrote.

use super::Record;
use crate::error::{Error, Result};
use crate::manifest::guarded;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, UInt64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The shards of a dataset: a file, or a folder with `data/`.
pub fn shards(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let folder = if path.join("data").is_dir() { path.join("data") } else { path.to_owned() };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(|e| Error::io(&folder, e))? {
        let file = entry.map_err(|e| Error::io(&folder, e))?.path();
        if file.extension().is_some_and(|e| e == "parquet") {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Error::Manifest(format!("{}: holds no Parquet shard", folder.display())));
    }
    Ok(files)
}

/// Calls `f` with the records of a shard in order.
pub fn records(shard: &Path, mut f: impl FnMut(Record) -> Result<()>) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| Error::Manifest(format!("{}: {e}", shard.display()));
    let mut reader = guarded(shard, || {
        let file = File::open(shard).map_err(|e| Error::io(shard, e))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| failed(&e))?;
        builder.with_batch_size(256).build().map_err(|e| failed(&e))
    })?;
    while let Some(batch) = guarded(shard, || reader.next().transpose().map_err(|e| failed(&e)))? {
        for row in 0..batch.num_rows() {
            let record = guarded(shard, || record(&batch, row).ok_or_else(|| failed(&"not written by augment")))?;
            f(record)?;
        }
    }
    Ok(())
}

/// Row `row`; `None` if a column is missing or has another type.
fn record(batch: &RecordBatch, row: usize) -> Option<Record> {
    let text = |name: &str| batch.column_by_name(name)?.as_string_opt::<i32>().map(|a| a.value(row).to_owned());
    let image = batch.column_by_name("image")?.as_struct_opt()?;
    let path = image.column_by_name("path")?.as_string_opt::<i32>()?.value(row).to_owned();
    Some(Record {
        image: image.column_by_name("bytes")?.as_binary_opt::<i32>()?.value(row).to_vec(),
        extension: if path.rsplit('.').next() == Some("png") { "png" } else { "jpg" },
        label: batch.column_by_name("label")?.as_primitive_opt::<Int64Type>()?.value(row),
        identity: text("identity")?,
        sample_id: text("sample_id")?,
        synthetic: batch.column_by_name("synthetic")?.as_boolean_opt()?.value(row),
        seed: batch.column_by_name("seed")?.as_primitive_opt::<UInt64Type>()?.value(row),
        index: batch.column_by_name("index")?.as_primitive_opt::<Int64Type>()?.value(row),
        label_mix: text("label_mix")?,
        latent: text("latent")?,
        truncation: batch.column_by_name("truncation")?.as_primitive_opt::<Float64Type>()?.value(row),
        model_hash: text("model_hash")?,
        config_hash: text("config_hash")?,
        manifest_hash: text("manifest_hash")?,
    })
}
