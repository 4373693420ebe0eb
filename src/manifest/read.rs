//! Streams the rows of one manifest file: projection to the columns we need, batches of a bounded number of rows.

use super::policy::Terms;
use super::root::{LocalImage, Root};
use super::schema::{Field, ImageKind};
use super::{Part, guarded};
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeSet;
use std::fs::File;
use std::ops::ControlFlow;

/// Rows read at a time, at most.
const BATCH_ROWS: usize = 256;
/// Bytes read at a time, about.
const BATCH_BYTES: usize = 64 << 20;

/// Rows to read at a time, so that large images and long lists do not fill the memory.
fn batch_rows(part: &Part, columns: &[usize]) -> usize {
    let groups = part.metadata.metadata().row_groups();
    let schema = part.metadata.parquet_schema();
    let row_bytes = groups.iter().map(|group| {
        let read =
            group.columns().iter().enumerate().filter(|(i, _)| columns.contains(&schema.get_column_root_idx(*i)));
        let bytes: i64 = read.map(|(_, c)| c.uncompressed_size().max(0)).sum();
        bytes as usize / (group.num_rows().max(1) as usize)
    });
    (BATCH_BYTES / row_bytes.max().unwrap_or(0).max(1)).clamp(1, BATCH_ROWS)
}

/// The picture of a row.
#[derive(Clone, Debug)]
pub enum ImageSource {
    /// The encoded file.
    Bytes(Vec<u8>),
    /// A file under the manifest's folder.
    Path(LocalImage),
    /// Images were not asked for.
    Skipped,
    /// There is none.
    Bad {
        /// What is wrong with it.
        reason: String,
        /// The path that the row names, if it does.
        path: Option<String>,
    },
}

impl ImageSource {
    fn bad(reason: &str) -> Self {
        Self::Bad { reason: reason.into(), path: None }
    }

    /// The path that the row names, if it does.
    pub fn path(&self) -> Option<String> {
        match self {
            Self::Path(image) => Some(image.path.display().to_string()),
            Self::Bad { path, .. } => path.clone(),
            _ => None,
        }
    }
}

/// Number of a file of a manifest, and of a row group in it.
pub type Place = (usize, usize);

/// One labelled image of a manifest.
#[derive(Clone, Debug)]
pub struct Row {
    /// Path of the Parquet file.
    pub file: String,
    /// Number of that file, and of the row group in it.
    pub place: Place,
    /// Its permission has ended since the day that counts.
    pub lapsed: bool,
    /// Row in that file, from 0.
    pub row: usize,
    /// Position in the row's list of images, 0 without a list.
    pub item: usize,
    /// Identity key; `None` if null or empty.
    pub identity: Option<String>,
    /// Value of `identity_set`.
    pub identity_set: Option<String>,
    /// Value of `split`.
    pub split: Option<String>,
    /// Value of `image_id`.
    pub image_id: Option<String>,
    /// Value of `group`.
    pub group: Option<String>,
    /// The picture.
    pub image: ImageSource,
}

impl Row {
    /// Name of the row's identity set.
    pub fn set(&self) -> &str {
        self.identity_set.as_deref().unwrap_or(super::DEFAULT_SET)
    }
}

/// Reads those row groups of `part` that `wanted` holds, all of them without, and hands over their rows in order until `f` breaks. Rows
/// that its terms do not permit are left out here, so that nothing else sees them.
pub(super) fn read_part(
    (number, part): (usize, &Part),
    root: &Root,
    images: bool,
    places: Option<&BTreeSet<Place>>,
    f: &mut impl FnMut(Vec<Row>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let layout = &part.layout;
    let optional = [&layout.split, &layout.identity_set, &layout.image_id, &layout.group].into_iter().flatten();
    let mut wanted: Vec<usize> = std::iter::once(&layout.identity)
        .chain(optional)
        .chain(part.terms.iter().flat_map(|t| &t.fields))
        .filter_map(|f| match f {
            Field::Column(i) => Some(*i),
            Field::Folder(_) => None,
        })
        .collect();
    // Lists are always read: their lengths are the numbers of images.
    let read_images = images || layout.list;
    if read_images {
        wanted.push(layout.image);
    }
    wanted.sort_unstable();
    wanted.dedup();
    let groups = part.metadata.metadata().row_groups();
    let chosen: Vec<usize> = (0..groups.len()).filter(|g| places.is_none_or(|p| p.contains(&(number, *g)))).collect();
    if chosen.is_empty() {
        return Ok(());
    }
    let rows_of = |g: usize| groups[g].num_rows().max(0) as usize;
    let starts: Vec<usize> = (0..groups.len())
        .scan(0, |next, g| {
            *next += rows_of(g);
            Some(*next - rows_of(g))
        })
        .collect();
    let mut numbers = chosen.iter().flat_map(|g| (starts[*g]..starts[*g] + rows_of(*g)).map(move |row| (*g, row)));
    let damaged =
        |e: &dyn std::fmt::Display| Error::Manifest(format!("{}: damaged Parquet data: {e}", part.path.display()));
    let mut reader = guarded(&part.path, || {
        let file = File::open(&part.path).map_err(|e| Error::io(&part.path, e))?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, part.metadata.clone());
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.iter().copied());
        builder
            .with_projection(mask)
            .with_row_groups(chosen.clone())
            .with_batch_size(batch_rows(part, &wanted))
            .build()
            .map_err(|e| damaged(&e))
    })?;
    loop {
        let rows = guarded(&part.path, || {
            let Some(batch) = reader.next() else { return Ok(None) };
            let batch = batch.map_err(|e| damaged(&e))?;
            let column = |i: usize| -> Option<ArrayRef> {
                wanted.iter().position(|w| *w == i).map(|at| batch.column(at).clone())
            };
            let text = |field: Option<&Field>| text_values(field, &batch, &column).map_err(|e| damaged(&e));
            let identity = text(Some(&layout.identity))?;
            let split = text(layout.split.as_ref())?;
            let set = text(layout.identity_set.as_ref())?;
            let image_id = text(layout.image_id.as_ref())?;
            let group = text(layout.group.as_ref())?;
            // Whether a row may be used, and whether it may still be.
            let permitted: Vec<(bool, bool)> = match &part.terms {
                Some(Terms { policy, later, fields: [consent, purpose, expires] }) => {
                    let (consent, purpose, expires) =
                        (text(Some(consent))?, text(Some(purpose))?, text(Some(expires))?);
                    let row = |r: usize| [consent[r].as_deref(), purpose[r].as_deref(), expires[r].as_deref()];
                    let permits =
                        |r| (policy.permits(row(r)), later.as_ref().is_none_or(|later| later.permits(row(r))));
                    (0..batch.num_rows()).map(permits).collect()
                }
                None => vec![(true, true); batch.num_rows()],
            };
            let pictures = column(layout.image).filter(|_| read_images);
            let mut rows = Vec::new();
            for r in 0..batch.num_rows() {
                // A damaged file may hold more rows than its footer says.
                let (row_group, row) = numbers.next().ok_or_else(|| damaged(&"more rows than its footer says"))?;
                if !permitted[r].0 {
                    continue;
                }
                let sources = match &pictures {
                    Some(array) => {
                        row_images(array, r, layout.list, layout.kind, root, images).map_err(|e| damaged(&e))?
                    }
                    None => vec![ImageSource::Skipped],
                };
                for (item, image) in sources.into_iter().enumerate() {
                    rows.push(Row {
                        file: part.path.display().to_string(),
                        place: (number, row_group),
                        lapsed: !permitted[r].1,
                        row,
                        item,
                        identity: identity[r].clone().filter(|v| !v.is_empty()),
                        identity_set: set[r].clone(),
                        split: split[r].clone(),
                        image_id: image_id[r].clone(),
                        group: group[r].clone(),
                        image,
                    });
                }
            }
            Ok(Some(rows))
        })?;
        match rows {
            None => return Ok(()),
            Some(rows) => {
                if f(rows)?.is_break() {
                    return Ok(());
                }
            }
        }
    }
}

/// The values of a text field for every row of a batch.
fn text_values(
    field: Option<&Field>,
    batch: &RecordBatch,
    column: &impl Fn(usize) -> Option<ArrayRef>,
) -> std::result::Result<Vec<Option<String>>, arrow::error::ArrowError> {
    match field {
        None => Ok(vec![None; batch.num_rows()]),
        Some(Field::Folder(value)) => Ok(vec![Some(value.clone()); batch.num_rows()]),
        Some(Field::Column(i)) => {
            let Some(array) = column(*i) else { return Ok(vec![None; batch.num_rows()]) };
            let array = cast(&array, &DataType::Utf8)?;
            let strings: &StringArray = array.as_string();
            Ok(strings.iter().map(|v| v.map(str::to_owned)).collect())
        }
    }
}

/// The images of row `r`.
fn row_images(
    array: &ArrayRef,
    r: usize,
    list: bool,
    kind: ImageKind,
    root: &Root,
    images: bool,
) -> std::result::Result<Vec<ImageSource>, arrow::error::ArrowError> {
    if array.is_null(r) {
        return Ok(vec![ImageSource::bad("image is null")]);
    }
    let items = if list {
        let items = match array.data_type() {
            DataType::LargeList(_) => array.as_list::<i64>().value(r),
            _ => array.as_list::<i32>().value(r),
        };
        if items.is_empty() {
            return Ok(vec![ImageSource::bad("the list of images is empty")]);
        }
        items
    } else {
        array.slice(r, 1)
    };
    if !images {
        return Ok(vec![ImageSource::Skipped; items.len()]);
    }
    if kind == ImageKind::Uri {
        return local_paths(&items, root);
    }
    let bytes = match kind {
        ImageKind::Struct => {
            let s = items.as_struct();
            let Some(bytes) = s.column_by_name("bytes") else {
                return Ok(vec![ImageSource::bad("image has no bytes"); items.len()]);
            };
            // The form of images that lie beside the file.
            let all_paths = !bytes.is_empty() && bytes.null_count() == bytes.len();
            if let (true, Some(paths)) = (all_paths, s.column_by_name("path")) {
                return local_paths(paths, root);
            }
            bytes.clone()
        }
        _ => items,
    };
    let bytes = cast(&bytes, &DataType::Binary)?;
    let bytes: &BinaryArray = bytes.as_binary();
    Ok(bytes
        .iter()
        .map(|b| match b {
            None => ImageSource::bad("image bytes are null"),
            Some([]) => ImageSource::bad("image bytes are empty"),
            Some(b) => ImageSource::Bytes(b.to_vec()),
        })
        .collect())
}

/// The images that a column of paths names.
fn local_paths(paths: &ArrayRef, root: &Root) -> std::result::Result<Vec<ImageSource>, arrow::error::ArrowError> {
    let paths = cast(paths, &DataType::Utf8)?;
    let strings: &StringArray = paths.as_string();
    let source = |uri: Option<&str>| match uri {
        None => ImageSource::bad("image has neither bytes nor path"),
        Some(uri) => root
            .image(uri)
            .map_or_else(|reason| ImageSource::Bad { reason, path: Some(uri.to_owned()) }, ImageSource::Path),
    };
    Ok(strings.iter().map(source).collect())
}
