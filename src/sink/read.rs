//! Reads back what the sinks wrote: Parquet shards, or an image folder with its metadata.

use super::Record;
use crate::error::{Error, Result};
use crate::manifest::guarded;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, UInt64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

/// The shards of a dataset: a file, or a folder with `data/`.
pub fn shards(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    for folder in [path.join("imagefolder"), path.to_owned()] {
        if folder.join(super::folder::METADATA).is_file() {
            return Ok(vec![folder.join(super::folder::METADATA)]);
        }
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
            let (mut record, path) =
                guarded(shard, || record(&batch, row).ok_or_else(|| failed(&"not written by augment")))?;
            if record.image.is_empty() {
                if !Path::new(&path).components().all(|c| matches!(c, Component::Normal(_))) {
                    return Err(failed(&format!("row {row}: `{path}` leaves the folder")));
                }
                let file = shard.with_file_name(&path);
                record.image = std::fs::read(&file).map_err(|e| Error::io(&file, e))?;
            }
            f(record)?;
        }
    }
    Ok(())
}

/// Row `row` and the path of its image, whose bytes a folder's metadata do not hold; `None` if a column is missing or has
/// another type.
fn record(batch: &RecordBatch, row: usize) -> Option<(Record, String)> {
    let text = |name: &str| batch.column_by_name(name)?.as_string_opt::<i32>().map(|a| a.value(row).to_owned());
    let (path, image) = match text("file_name") {
        Some(name) => (name, Vec::new()),
        None => {
            let image = batch.column_by_name("image")?.as_struct_opt()?;
            (
                image.column_by_name("path")?.as_string_opt::<i32>()?.value(row).to_owned(),
                image.column_by_name("bytes")?.as_binary_opt::<i32>()?.value(row).to_vec(),
            )
        }
    };
    let record = Record {
        image,
        extension: if path.rsplit('.').next() == Some("png") { "png" } else { "jpg" },
        label: batch.column_by_name("label")?.as_primitive_opt::<Int64Type>()?.value(row),
        identity: text("identity")?,
        identity_set: text("identity_set")?,
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
    };
    Some((record, path))
}
