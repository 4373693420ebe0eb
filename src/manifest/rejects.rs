//! The list of manifest rows that were refused, with reasons, as Parquet.

use crate::error::{Error, Result};
use crate::store;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// A refused image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// Path of the manifest file, or of an image that is given by itself.
    pub file: String,
    /// Row in that file, from 0.
    pub row: usize,
    /// Position in the row's list of images.
    pub item: usize,
    /// What is wrong.
    pub reason: String,
    /// Path of the image file, if the row names one; of an image that is given by itself, the same as [`Reject::file`].
    pub path: Option<String>,
}

impl std::fmt::Display for Reject {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        if self.path.as_ref() == Some(&self.file) {
            return write!(f, "{}: {}", self.file, self.reason);
        }
        write!(f, "{} row {}: {}", self.file, self.row, self.reason)
    }
}

/// Names of the columns of a list.
const COLUMNS: [&str; 5] = ["file", "row", "item", "reason", "path"];

/// True if the file `path` is such a list.
pub fn is_list(path: &Path) -> bool {
    let Ok(file) = std::fs::File::open(path) else { return false };
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new());
    metadata.is_ok_and(|m| m.schema().fields().iter().map(|f| f.name().as_str()).eq(COLUMNS))
}

/// Writes `rejects` to the Parquet file `path` with columns file, row, item, reason, path.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, rejects: &[Reject]) -> Result<()> {
    let text = |f: &dyn Fn(&Reject) -> Option<String>| -> ArrayRef {
        Arc::new(rejects.iter().map(f).collect::<StringArray>())
    };
    let number = |f: &dyn Fn(&Reject) -> usize| -> ArrayRef {
        Arc::new(rejects.iter().map(|r| f(r) as i64).collect::<Int64Array>())
    };
    let columns: [(&str, ArrayRef, bool); 5] = [
        ("file", text(&|r| Some(r.file.clone())), false),
        ("row", number(&|r| r.row), false),
        ("item", number(&|r| r.item), false),
        ("reason", text(&|r| Some(r.reason.clone())), false),
        ("path", text(&|r| r.path.clone()), true),
    ];
    let failed = |e: &dyn std::fmt::Display| Error::Manifest(format!("{}: {e}", path.display()));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).map_err(|e| failed(&e))?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).map_err(|e| failed(&e))?;
    writer.write(&batch).map_err(|e| failed(&e))?;
    writer.close().map_err(|e| failed(&e))?;
    store::create_dir(path.parent().unwrap_or(Path::new("")))?;
    store::write_atomic(path, &bytes)
}
