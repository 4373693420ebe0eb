//! The identity manifest: Parquet files that list labelled source images.
//!
//! [`Manifest::open`] finds the files and checks their columns; [`Manifest::read`] streams rows, row group by row
//! group, without decoding a picture.

mod census;
pub(crate) mod faces;
mod files;
pub mod keys;
mod other;
mod others;
mod pictures;
pub mod policy;
mod read;
pub mod rejects;
mod root;
pub mod schema;
mod values;
pub mod write;

pub use census::Census;
pub use faces::Face;
pub use policy::Policy;
pub use read::{ImageSource, Place, Row};
pub use root::{LocalImage, Root};
pub use schema::{Columns, DEFAULT_SET};

use crate::error::{Error, Result};
use crate::store::file_hash;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
pub(crate) use files::is_input;
use files::{find_files, hive_folders};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;
use pictures::{Kind, Pictures};
use std::collections::BTreeSet;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// End of the names of lists of rejected rows.
pub const REJECTS_SUFFIX: &str = "-rejects.parquet";
/// End of the names of lists of images whose label is in doubt.
pub const SUSPECTS_SUFFIX: &str = "-suspects.parquet";
/// File that marks the folder of a written dataset.
pub const PLAN_FILE: &str = "_PLAN.json";

/// One Parquet file of a manifest.
#[derive(Clone)]
pub(crate) struct Part {
    pub path: PathBuf,
    pub metadata: ArrowReaderMetadata,
    pub layout: schema::Layout,
    /// What its rows must permit.
    pub terms: Option<policy::Terms>,
    /// Keys and values of the `key=value` folders that it lies in.
    pub folders: Vec<(String, Option<String>)>,
}

impl Part {
    /// True if the file's statistics say that no image lacks its bytes.
    fn holds_all_bytes(&self) -> bool {
        let schema = self.metadata.parquet_schema();
        let [pictures, ..] = &self.layout.pictures[..] else { return false };
        let bytes = |i: usize| {
            let leaf = schema.column(i).path().parts().last().is_some_and(|n| n == "bytes");
            schema.get_column_root_idx(i) == pictures.column && (leaf || pictures.kind == Kind::Bytes)
        };
        let nulls = |c: &ColumnChunkMetaData| c.statistics().and_then(Statistics::null_count_opt);
        self.metadata.metadata().row_groups().iter().all(|group| {
            let mut columns =
                group.columns().iter().enumerate().filter(|(i, _)| bytes(*i)).map(|(_, c)| nulls(c)).peekable();
            columns.peek().is_some() && columns.all(|nulls| nulls == Some(0))
        })
    }
}

/// An opened manifest.
pub struct Manifest {
    /// Its files and their numbers.
    parts: Vec<(usize, Part)>,
    root: Root,
    hash: String,
}

impl Manifest {
    /// Opens a Parquet file, a folder of them (with `key=value` sub-folders) or a glob pattern, in the order of paths.
    ///
    /// # Errors
    /// No such file, not Parquet, a missing column or one of an unusable type: the message names file and column.
    pub fn open(spec: &str, columns: &Columns) -> Result<Self> {
        Self::open_with(spec, columns, None)
    }

    /// [`Manifest::open`] of a manifest whose hash is `known`, without reading its files for it, and of them only those whose numbers are in
    /// `files`. Whoever uses its images must compare them with something else that was known then.
    ///
    /// # Errors
    /// As [`Manifest::open`].
    pub fn open_known(spec: &str, columns: &Columns, known: &str, files: &BTreeSet<usize>) -> Result<Self> {
        Self::open_with(spec, columns, Some((known, files)))
    }

    fn open_with(spec: &str, columns: &Columns, known: Option<(&str, &BTreeSet<usize>)>) -> Result<Self> {
        let (root, paths) = find_files(spec)?;
        let mut hasher = blake3::Hasher::new();
        let mut parts = Vec::new();
        for (number, path) in paths.into_iter().enumerate() {
            if known.is_some_and(|(_, files)| !files.contains(&number)) {
                continue;
            }
            if let Some(what) = other::of_file(&path) {
                return Err(Error::Manifest(what));
            }
            if known.is_none() {
                hasher.update(file_hash(&path)?.as_bytes());
            }
            let folders = hive_folders(&root, &path);
            // What folders say of their rows is no part of the file.
            for (key, value) in &folders {
                hasher.update(format!("{key}={value:?}\0").as_bytes());
            }
            check_footer(&path)?;
            let metadata = guarded(&path, || {
                let file = File::open(&path).map_err(|e| Error::io(&path, e))?;
                ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
                    .map_err(|e| Error::Manifest(format!("{}: not a readable Parquet file: {e}", path.display())))
            })?;
            check_size(&path, &metadata)?;
            let layout = schema::Layout::find(&path, metadata.schema(), columns, &folders)?;
            // Nor is the split that the file's name says.
            if let Some(schema::Field::Fixed(split)) = &layout.split {
                hasher.update(format!("split={split:?}\0").as_bytes());
            }
            parts.push((number, Part { path, metadata, layout, terms: None, folders }));
        }
        let hash = known.map_or_else(|| hasher.finalize().to_hex().to_string(), |(hash, _)| hash.to_owned());
        Ok(Self { parts, root: Root::open(&root)?, hash })
    }

    /// Its files with their numbers.
    fn numbered(&self) -> impl Iterator<Item = (usize, &Part)> {
        self.parts.iter().map(|(number, part)| (*number, part))
    }

    /// From now on only rows that `policy` permits are there; those that `later` does not permit are marked as lapsed.
    ///
    /// # Errors
    /// A file lacks one of the columns that a policy reads.
    pub fn restrict(mut self, policy: &Policy, later: Option<&Policy>) -> Result<Self> {
        for (_, part) in &mut self.parts {
            part.terms = Some(policy.terms(later, &part.path, part.metadata.schema(), &part.folders)?);
        }
        Ok(self)
    }

    /// blake3 (hex) over the hashes of the files, in order, and the names of their `key=value` folders.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// True if all images lie in the Parquet files, so that [`Manifest::hash`] covers them. Files whose statistics do not tell are read.
    ///
    /// # Errors
    /// A file is damaged.
    pub fn embeds_images(&self) -> Result<bool> {
        for part in self.numbered() {
            let pictures = &part.1.layout.pictures;
            let embeds = match pictures[..] {
                [Pictures { kind: Kind::Bytes, .. }] => true,
                [Pictures { kind: Kind::Path, .. }] => false,
                // Where bytes are null the path counts.
                _ => {
                    part.1.holds_all_bytes() || {
                        let mut all = true;
                        read::read_part(part, &self.root, true, None, &mut |rows| {
                            all &= rows.iter().all(|row| row.image.path().is_none());
                            Ok(if all { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
                        })?;
                        all
                    }
                }
            };
            if !embeds {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Bytes of all files that `spec` means.
    ///
    /// # Errors
    /// No such file.
    pub fn size(spec: &str) -> Result<u64> {
        let bytes = |path: &PathBuf| std::fs::metadata(path).map(|m| m.len()).map_err(|e| Error::io(path, e));
        find_files(spec)?.1.iter().map(bytes).sum()
    }

    /// True if a file has columns that say where faces are.
    pub fn says_faces(&self) -> bool {
        self.parts.iter().any(|(_, part)| part.layout.faces.is_some())
    }

    /// Names of the columns of the first file.
    pub fn columns(&self) -> Vec<String> {
        let fields = self.parts.iter().take(1).flat_map(|(_, part)| part.metadata.schema().fields());
        fields.map(|field| field.name().clone()).collect()
    }

    /// [`Manifest::read`] with the columns `others` of each row.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn read_whole(
        &self,
        images: bool,
        others: &SchemaRef,
        mut f: impl FnMut(Vec<Row>, RecordBatch) -> Result<()>,
    ) -> Result<()> {
        for part in self.numbered() {
            read::read_with(part, &self.root, images, None, others, &mut |rows, others| {
                f(rows, others).map(ControlFlow::Continue)
            })?;
        }
        Ok(())
    }

    /// Number of rows in all files.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|(_, p)| p.metadata.metadata().file_metadata().num_rows().max(0) as usize).sum()
    }

    /// The first rows, one an image, at most `n` of them.
    ///
    /// # Errors
    /// A file is damaged.
    pub fn first(&self, n: usize) -> Result<Vec<Row>> {
        let mut out = Vec::new();
        for part in self.numbered() {
            read::read_part(part, &self.root, true, None, &mut |rows| {
                out.extend(rows.into_iter().take(n - out.len()));
                Ok(if out.len() < n { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
            if out.len() == n {
                break;
            }
        }
        Ok(out)
    }

    /// Calls `f` with batches of rows in file order; image bytes are read only if `images`.
    ///
    /// # Errors
    /// A file is damaged; and those of `f`.
    pub fn read(&self, images: bool, f: impl FnMut(Vec<Row>) -> Result<()>) -> Result<()> {
        self.read_places(images, None, f)
    }

    /// [`Manifest::read`] of those row groups alone that `places` holds.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn read_places(
        &self,
        images: bool,
        places: Option<&BTreeSet<Place>>,
        mut f: impl FnMut(Vec<Row>) -> Result<()>,
    ) -> Result<()> {
        for part in self.numbered() {
            read::read_part(part, &self.root, images, places, &mut |rows| f(rows).map(ControlFlow::Continue))?;
        }
        Ok(())
    }
}

/// Values of a column that a byte of a file may stand for, and bytes of memory: pictures and their paths do not compress so well.
const MOST_VALUES: u64 = 8;
const MOST_BYTES: u64 = 1000;

/// A footer that is smaller is never too large, in bytes: that of a written dataset lists all its classes, however few rows it has.
const FINE_FOOTER: u64 = 4 << 20;

/// Refuses a file that is description more than data: thousands of columns or row groups.
fn check_footer(path: &Path) -> Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    let failed = |e| Error::io(path, e);
    let mut file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let mut end = [0; 8];
    if bytes < end.len() as u64 {
        // Its reader says what is wrong.
        return Ok(());
    }
    file.seek(SeekFrom::End(-(end.len() as i64))).and_then(|_| file.read_exact(&mut end)).map_err(failed)?;
    let footer = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]]));
    if end[4..] == *b"PAR1" && footer > FINE_FOOTER && (bytes / 2..bytes).contains(&footer) {
        return Err(Error::Manifest(format!(
            "{}: {footer} of its {bytes} bytes describe columns and row groups; write it again with the columns that are needed, in larger \
             row groups",
            path.display()
        )));
    }
    Ok(())
}

/// Refuses a file that would take far more time or memory to read than its size says.
fn check_size(path: &Path, metadata: &ArrowReaderMetadata) -> Result<()> {
    let bytes = std::fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    let of = |n: i64| n.max(0) as u64;
    let groups = metadata.metadata().row_groups();
    let rows = groups.iter().fold(0u64, |sum, g| sum.saturating_add(of(g.num_rows())));
    let columns = groups.iter().flat_map(RowGroupMetaData::columns);
    let (mut values, mut memory) = (rows, 0u64);
    for column in columns {
        values = values.max(of(column.num_values()));
        memory = memory.saturating_add(of(column.uncompressed_size()));
    }
    if values > MOST_VALUES.saturating_mul(bytes) || memory > MOST_BYTES.saturating_mul(bytes) {
        return Err(Error::Manifest(format!(
            "{}: {rows} rows, {values} values in a column and {memory} bytes of data in a file of {bytes} bytes: no list of pictures \
             compresses so well; write it again without rows that are empty",
            path.display()
        )));
    }
    Ok(())
}

/// Runs a parser and turns a panic inside it into an error that names `path`.
pub(crate) fn guarded<T>(path: &Path, f: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or_else(|_| {
        Err(Error::Manifest(format!("{}: the file is damaged (its reader gave up); write it again", path.display())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::file::properties::WriterProperties;
    use std::sync::Arc;

    #[test]
    fn descriptions_larger_than_the_data_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.parquet");
        let checked = |data: usize, footer: u64, end: &[u8; 4]| {
            let length = (footer as u32).to_le_bytes();
            let bytes = [&vec![0; data + footer as usize], &length[..], &end[..]].concat();
            std::fs::write(&path, bytes).unwrap();
            check_footer(&path).map_err(|e| e.to_string())
        };
        let message = checked(100, FINE_FOOTER + 1, b"PAR1").unwrap_err();
        assert!(message.contains("x.parquet") && message.contains("in larger row groups"), "{message}");
        assert_eq!(checked(100, FINE_FOOTER, b"PAR1"), Ok(()));
        assert_eq!(checked(2 * FINE_FOOTER as usize, FINE_FOOTER + 1, b"PAR1"), Ok(()));
        // No Parquet file, and one that is cut off: their reader says so.
        assert_eq!(checked(100, FINE_FOOTER + 1, b"PNG1"), Ok(()));
        std::fs::write(&path, b"PAR1").unwrap();
        assert!(check_footer(&path).is_ok());
    }

    #[test]
    fn files_that_unfold_to_far_more_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.parquet");
        let opened = |names: Vec<Option<String>>, images: Vec<Option<&[u8]>>| {
            let columns: [(&str, ArrayRef); 2] =
                [("identity", Arc::new(StringArray::from(names))), ("image", Arc::new(BinaryArray::from(images)))];
            let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap();
            let zstd = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
            let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), Some(zstd)).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
            Manifest::open(&path.to_string_lossy(), &Columns::default())
                .err()
                .map_or_else(String::new, |e| e.to_string())
        };
        let refused = |message: String| message.contains("compresses so well");
        assert!(refused(opened(vec![None; 100_000], vec![None; 100_000])));
        let zeros = vec![0; 16 << 20];
        assert!(refused(opened(vec![Some("a".into())], vec![Some(&zeros)])));
        let noise: Vec<u8> =
            (0..20_000u32).flat_map(|i| blake3::hash(&i.to_le_bytes()).as_bytes()[..4].to_vec()).collect();
        assert_eq!(opened(vec![Some("a".into())], vec![Some(&noise)]), "");
    }
}
