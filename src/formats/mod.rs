//! Layouts of a written dataset, one file each, which owns writing, reading and erasing it; and lists of verification pairs.

pub mod bin;
pub mod croissant;
pub mod folder;
pub mod forgotten;
mod metadata;
pub mod pairs;
pub mod parquet;
mod pickle;
pub mod recordio;
pub mod table;
pub mod webdataset;

use crate::error::{Error, Result};
use forgotten::{Forgotten, Rows};
pub use metadata::FILE as METADATA;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folder of the records of units, where a format may keep rows of its own.
pub const COMMITS: &str = "_commits";

/// Folder of what units have made of files that are joined once all units are there. It is gone then.
pub const PARTS: &str = "_parts";

/// How the names of tables, of records and of files that are not complete end.
const COMMON: [&str; 3] = ["parquet", "json", crate::store::PARTIAL];

/// True for a file that no reader of a format takes for a part of a dataset: in their folders it is its owner's business.
pub fn is_foreign(path: &Path) -> bool {
    let end = path.extension().or(path.file_name()).unwrap_or_default();
    !COMMON.iter().chain(FORMATS.iter().flat_map(|format| format.endings())).any(|known| end == *known)
}

/// Every format; what the more special ones hold, the first may take for its own.
pub static FORMATS: [&dyn Format; 4] =
    [&parquet::Parquet, &folder::Imagefolder, &recordio::RecordIo, &webdataset::WebDataset];

/// The format of this name.
pub fn named(name: &str) -> Option<&'static dyn Format> {
    FORMATS.into_iter().find(|f| f.name() == name)
}

/// One labelled image on its way out, with all that is needed to make it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Encoded image.
    #[serde(skip)]
    pub image: Vec<u8>,
    /// `jpg` or `png`.
    #[serde(skip)]
    pub extension: &'static str,
    /// Class number in this dataset.
    pub label: i64,
    /// Identity key.
    pub identity: String,
    /// Identity set; keys are unique within one.
    pub identity_set: String,
    /// Unique name: letters and digits.
    pub sample_id: String,
    /// False for merged real images.
    pub synthetic: bool,
    /// Root of the random streams.
    pub seed: u64,
    /// Number of the image within its identity.
    pub index: i64,
    /// JSON list of [identity, weight] that G was given.
    pub label_mix: String,
    /// Distribution of z.
    pub latent: String,
    /// Factor on z's deviation.
    pub truncation: f64,
    /// blake3 of the model file; empty for real images.
    pub model_hash: String,
    /// blake3 of the resolved configuration.
    pub config_hash: String,
    /// blake3 of the manifest.
    pub manifest_hash: String,
}

/// A dataset that is being written: where its files go, and what they have in common.
#[derive(Debug)]
pub struct Site {
    /// Its folder.
    pub out: PathBuf,
    /// Where files are that are not complete.
    pub staging: PathBuf,
    /// Class names in the order of their labels.
    pub classes: Vec<String>,
    /// Number of units that its rows are cut into.
    pub units: usize,
    /// Number of its rows.
    pub rows: usize,
}

impl Site {
    /// Where the file that will be `path` is written.
    pub fn staged(&self, path: &str) -> PathBuf {
        staged(&self.staging, path)
    }
}

/// Where the file that will be `path` is written in a folder of files that are not complete.
pub fn staged(staging: &Path, path: &str) -> PathBuf {
    staging.join(path.replace('/', "-"))
}

/// A layout. Paths of files are relative to the dataset's folder, with `/`.
pub trait Format: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// What it is, in a few words.
    fn about(&self) -> &'static str;
    /// The folder that holds its files and nothing else.
    fn folder(&self) -> &'static str;
    /// How the names of its files end, tables and records left out; the whole name of one without an extension.
    fn endings(&self) -> &'static [&'static str];
    /// Begins unit `number`.
    ///
    /// # Errors
    /// A file cannot be written.
    fn unit(&self, site: &Arc<Site>, number: usize) -> Result<Box<dyn UnitWriter>>;
    /// Stages the files that stand beside those of the units, which are all in their places; returns their paths.
    ///
    /// # Errors
    /// A file cannot be read or written.
    fn rest(&self, site: &Site) -> Result<Vec<String>>;
    /// Its lines in the front matter of the dataset card. `contents` is the hash of what the dataset holds.
    fn card(&self, contents: &str) -> String;
    /// The parts of the dataset in `folder` that hold its rows, if it has this format.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn parts(&self, folder: &Path) -> Result<Option<Vec<PathBuf>>>;
    /// Calls `f` with the samples of a part in order.
    ///
    /// # Errors
    /// The part is damaged, or was not written by augment; and those of `f`.
    fn read(&self, part: &Path, f: &mut dyn FnMut(Sample) -> Result<()>) -> Result<()>;
    /// Erases a person from the files `files` of a unit below `out`, and takes files that are gone from the list; returns which rows
    /// went, and which stay. Can be done twice.
    ///
    /// # Errors
    /// A file cannot be read or written.
    fn erase_unit(&self, out: &Path, files: &mut Vec<String>, who: &Forgotten) -> Result<(Rows, Rows)>;
    /// Erases a person from the files of [`Format::rest`].
    ///
    /// # Errors
    /// A file cannot be read or written.
    fn erase_rest(&self, out: &Path, who: &Forgotten) -> Result<()>;
}

/// Writes the rows of one unit to staged files.
pub trait UnitWriter: Send {
    /// Writes the next sample.
    ///
    /// # Errors
    /// A file cannot be written.
    fn write(&mut self, sample: Sample) -> Result<()>;
    /// Completes the staged files and returns the paths that they will have.
    ///
    /// # Errors
    /// A file cannot be written.
    fn close(self: Box<Self>) -> Result<Vec<String>>;
}

/// Files in `folder` whose names end in `.extension`, sorted; none if it is not there.
fn files_of(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|e| e.path())).collect();
    let mut files = paths.map_err(|e| Error::io(folder, e))?;
    files.retain(|file| file.extension().is_some_and(|e| e == extension));
    files.sort();
    Ok(files)
}

/// Reads a written dataset.
pub struct Reader {
    format: &'static dyn Format,
    /// Its parts, in order.
    pub parts: Vec<PathBuf>,
}

impl Reader {
    /// Finds the parts of the dataset in `path`: a folder, or one of its files.
    ///
    /// # Errors
    /// There is none.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_file() {
            return Ok(Self { format: &parquet::Parquet, parts: vec![path.to_owned()] });
        }
        for format in FORMATS.into_iter().rev() {
            if let Some(parts) = format.parts(path)? {
                return Ok(Self { format, parts });
            }
        }
        if !path.exists() {
            return Err(Error::Manifest(format!("{}: no such folder or file", path.display())));
        }
        Err(Error::Manifest(format!("{}: holds no dataset of augment", path.display())))
    }

    /// Calls `f` with the samples of `part` in order.
    ///
    /// # Errors
    /// Those of [`Format::read`].
    pub fn read(&self, part: &Path, mut f: impl FnMut(Sample) -> Result<()>) -> Result<()> {
        self.format.read(part, &mut f)
    }

    /// Calls `f` with all samples in order.
    ///
    /// # Errors
    /// Those of [`Format::read`].
    pub fn read_all(&self, mut f: impl FnMut(Sample) -> Result<()>) -> Result<()> {
        self.parts.iter().try_for_each(|part| self.format.read(part, &mut f))
    }
}
