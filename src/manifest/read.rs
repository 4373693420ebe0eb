//! Streams the rows of one manifest file: projection to the columns we need, batches of a bounded number of rows.

use super::faces::Face;
use super::others::item_of_each;
use super::policy::Terms;
use super::root::{LocalImage, Root};
use super::schema::{Field, Layout};
use super::values::texts;
use super::{Part, guarded};
use crate::error::{Error, Result};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeSet;
use std::fs::File;
use std::ops::ControlFlow;
use std::sync::Arc;

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

    /// The file that `path` names below `root`.
    pub(super) fn at(path: &str, root: &Root) -> Self {
        root.image(path).map_or_else(|reason| Self::Bad { reason, path: Some(path.to_owned()) }, Self::Path)
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
    /// Name of the column that says which that is.
    pub column: Arc<str>,
    /// Where its face is, or what is wrong with what the file says of it; none where the file has no column for it.
    pub face: Option<std::result::Result<Face, String>>,
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
    part: (usize, &Part),
    root: &Root,
    images: bool,
    places: Option<&BTreeSet<Place>>,
    f: &mut impl FnMut(Vec<Row>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    read_with(part, root, images, places, &Arc::new(Schema::empty()), &mut |rows, _| f(rows))
}

/// [`read_part`] with the columns `others` of each row.
pub(super) fn read_with(
    (number, part): (usize, &Part),
    root: &Root,
    images: bool,
    places: Option<&BTreeSet<Place>>,
    others: &SchemaRef,
    f: &mut impl FnMut(Vec<Row>, RecordBatch) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let layout = &part.layout;
    // The rest is what the folders say.
    let kept: Vec<Option<usize>> =
        others.fields().iter().map(|field| part.metadata.schema().index_of(field.name()).ok()).collect();
    let said = |name: &str| part.folders.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.clone());
    let terms = part.terms.iter().flat_map(|t| &t.fields).filter_map(Field::column);
    let mut wanted: Vec<usize> = layout.texts().chain(terms).collect();
    // Lists are always read: their lengths are the numbers of images.
    let pictures_column: Arc<str> =
        layout.pictures.first().map_or("", |p| part.metadata.schema().field(p.column).name()).into();
    let listed = layout.pictures.iter().any(|p| p.list);
    let read_images = images || listed;
    if read_images {
        wanted.extend(layout.pictures.iter().map(|p| p.column));
    }
    // Where a face is means something with its picture alone.
    let faces = layout.faces.as_ref().filter(|_| images);
    wanted.extend(faces.iter().flat_map(|f| f.columns()));
    wanted.extend(kept.iter().flatten());
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
    let mut places = chosen.iter().flat_map(|g| (starts[*g]..starts[*g] + rows_of(*g)).map(move |row| (*g, row)));
    let damaged = |e: &dyn std::fmt::Display| {
        let columns = unreadable(part, &wanted, &chosen);
        let columns = if columns.is_empty() { String::new() } else { format!("columns {}: ", columns.join(", ")) };
        Error::Manifest(format!(
            "{}: {columns}damaged Parquet data, or encrypted: {e}; write it again, without encryption",
            part.path.display()
        ))
    };
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
            let numbers: Vec<(usize, usize)> = places.by_ref().take(batch.num_rows()).collect();
            if numbers.len() < batch.num_rows() {
                return Err(damaged(&"more rows than its footer says"));
            }
            let text = |field: Option<&Field>| match field {
                None => Ok(vec![None; batch.num_rows()]),
                Some(Field::Fixed(value)) => Ok(vec![value.clone(); batch.num_rows()]),
                Some(Field::Column(i, names)) => {
                    let Some(array) = column(*i) else { return Ok(vec![None; batch.num_rows()]) };
                    let values = texts(&array).and_then(|values| match names {
                        Some(names) => named(values, names),
                        None => Ok(values),
                    });
                    values.map_err(|(r, what)| {
                        let name = part.metadata.schema().field(*i).name();
                        let row = numbers.get(r).map_or(0, |(_, row)| *row);
                        Error::Manifest(format!("{}: column `{name}` row {row}: {what}", part.path.display()))
                    })
                }
            };
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
            let pictures: Vec<ArrayRef> = layout.pictures.iter().filter_map(|p| column(p.column)).collect();
            let (mut rows, mut taken) = (Vec::new(), Vec::new());
            for r in 0..batch.num_rows() {
                let (row_group, row) = numbers[r];
                if !permitted[r].0 {
                    continue;
                }
                let sources = match (read_images, images) {
                    (false, _) => vec![ImageSource::Skipped],
                    (true, false) => vec![ImageSource::Skipped; count(layout, &pictures, r).map_err(|e| damaged(&e))?],
                    (true, true) => row_images(layout, &pictures, r, root).map_err(|e| damaged(&e))?,
                };
                let mut found = faces.map(|faces| faces.row(&column, r, sources.len(), listed).into_iter());
                for (item, image) in sources.into_iter().enumerate() {
                    taken.push(r as u32);
                    rows.push(Row {
                        file: part.path.display().to_string(),
                        place: (number, row_group),
                        lapsed: !permitted[r].1,
                        row,
                        item,
                        identity: identity[r].clone().filter(|v| !v.trim().is_empty()),
                        identity_set: set[r].clone(),
                        split: split[r].clone(),
                        image_id: image_id[r].clone(),
                        group: group[r].clone(),
                        image,
                        column: pictures_column.clone(),
                        face: found.as_mut().and_then(Iterator::next),
                    });
                }
            }
            let places: Vec<usize> = rows.iter().map(|row| row.item).collect();
            let taken = UInt32Array::from(taken);
            let columns = kept.iter().zip(others.fields()).map(|(at, field)| match at.and_then(column) {
                // A list that has one for each picture.
                Some(array) if array.data_type() != field.data_type() => item_of_each(&array, &taken, &places, field),
                Some(array) => take(&array, &taken, None),
                None => Ok(Arc::new(StringArray::from(vec![said(field.name()); taken.len()])) as ArrayRef),
            });
            let columns = columns.collect::<std::result::Result<Vec<ArrayRef>, _>>().map_err(|e| damaged(&e))?;
            let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
            let kept = RecordBatch::try_new_with_options(others.clone(), columns, &options);
            Ok(Some((rows, kept.map_err(|e| damaged(&e))?)))
        })?;
        match rows {
            None => return Ok(()),
            Some((rows, kept)) => {
                if f(rows, kept)?.is_break() {
                    return Ok(());
                }
            }
        }
    }
}

/// Names of those among the root columns `wanted` that cannot be read alone, from the first of the row groups `chosen`.
fn unreadable(part: &Part, wanted: &[usize], chosen: &[usize]) -> Vec<String> {
    let is_read = |column: usize| {
        guarded(&part.path, || {
            let failed = |e: &dyn std::fmt::Display| Error::Manifest(e.to_string());
            let file = File::open(&part.path).map_err(|e| Error::io(&part.path, e))?;
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, part.metadata.clone());
            let mask = ProjectionMask::roots(builder.parquet_schema(), [column]);
            let first = chosen.iter().copied().take(1).collect();
            let reader = builder.with_projection(mask).with_row_groups(first).with_batch_size(1).build();
            reader.map_err(|e| failed(&e))?.next().transpose().map_err(|e| failed(&e))
        })
    };
    let name = |column: &usize| format!("`{}`", part.metadata.schema().field(*column).name());
    wanted.iter().filter(|column| is_read(**column).is_err()).map(name).collect()
}

/// The names of class numbers. A number below 0 is no class, as `datasets` has it.
fn named(numbers: Vec<Option<String>>, names: &[String]) -> std::result::Result<Vec<Option<String>>, (usize, String)> {
    let name = |(r, number): (usize, Option<String>)| match number {
        Some(number) if !number.starts_with('-') => match number.parse().ok().and_then(|n: usize| names.get(n)) {
            Some(name) => Ok(Some(name.clone())),
            None => Err((r, format!("holds {number}, but the file's features name {} classes", names.len()))),
        },
        _ => Ok(None),
    };
    numbers.into_iter().enumerate().map(name).collect()
}

/// Number of images of row `r`.
fn count(layout: &Layout, pictures: &[ArrayRef], r: usize) -> std::result::Result<usize, ArrowError> {
    for (at, array) in layout.pictures.iter().zip(pictures) {
        if let Some(n) = at.count(array, r)? {
            return Ok(n);
        }
    }
    Ok(1)
}

/// The images of row `r`. The first column that says something decides how many they are; what it lacks, the other may have.
fn row_images(
    layout: &Layout,
    pictures: &[ArrayRef],
    r: usize,
    root: &Root,
) -> std::result::Result<Vec<ImageSource>, ArrowError> {
    let (mut images, mut decided) = (Vec::new(), false);
    for (at, array) in layout.pictures.iter().zip(pictures) {
        let (found, says) = (at.row(array, r, root)?, at.count(array, r)?.is_some());
        if images.is_empty() || says && !decided {
            images = found;
        } else if images.len() == found.len() {
            let lacking = images.iter_mut().zip(found).filter(|(image, other)| image.is_err() && other.is_ok());
            lacking.for_each(|(image, other)| *image = other);
        }
        decided |= says;
    }
    Ok(images.into_iter().map(|image| image.unwrap_or_else(ImageSource::bad)).collect())
}
