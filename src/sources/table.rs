//! A table in Parquet: a manifest that is there already, or the folder of a dataset of Hugging Face.

use super::{Chunk, Item, Picture, Source};
use crate::error::Result;
use crate::manifest::{Columns, ImageSource, Manifest};
use arrow::datatypes::SchemaRef;

/// A manifest and the columns that are kept of it.
pub(super) struct Table {
    manifest: Manifest,
    extras: SchemaRef,
}

impl Table {
    /// Opens `spec`, as [`Manifest::open`] does.
    ///
    /// # Errors
    /// As [`Manifest::open`]; files whose other columns differ.
    pub fn open(spec: &str, columns: &Columns) -> Result<Self> {
        let manifest = Manifest::open(spec, columns)?;
        let extras = manifest.other_columns()?;
        Ok(Self { manifest, extras })
    }
}

impl Source for Table {
    fn kind(&self) -> &'static str {
        "Parquet"
    }

    fn naming(&self) -> &'static str {
        "a column names persons: option `identity_column` says which"
    }

    fn extras(&self) -> SchemaRef {
        self.extras.clone()
    }

    fn read(&self, pictures: bool, f: &mut dyn FnMut(Chunk) -> Result<()>) -> Result<()> {
        self.manifest.read_whole(pictures, &self.extras, |rows, extras| {
            let items = rows.into_iter().map(|row| Item {
                place: (row.file, row.row, row.item),
                identity: row.identity,
                image_id: row.image_id.or_else(|| row.image.path()),
                split: row.split,
                identity_set: row.identity_set,
                group: row.group,
                face: row.face,
                picture: match row.image {
                    ImageSource::Bytes(bytes) => Picture::Bytes(bytes),
                    ImageSource::Path(image) => Picture::Below(image),
                    ImageSource::Skipped => Picture::Skipped,
                    ImageSource::Bad { reason, path } => Picture::None(reason, path),
                },
            });
            f(Chunk { items: items.collect(), extras: Some(extras).filter(|e| e.num_columns() > 0) })
        })
    }
}
