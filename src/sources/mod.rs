//! What people have before they have a manifest: folders, lists, RecordIO, tars and tables, each read as a stream of labelled pictures.

mod list;
mod recordio;
mod table;
mod tar;
mod tree;

use crate::error::{Error, Result};
use crate::manifest::{Columns, Face, LocalImage, is_input};
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Ends of the names of pictures.
pub const PICTURES: [&str; 10] = ["jpg", "jpeg", "png", "webp", "bmp", "jfif", "jpe", "jif", "pjpeg", "dib"];
/// Ends of the names of pictures that must be converted first.
const OTHER_PICTURES: [&str; 9] = ["gif", "tif", "tiff", "avif", "heic", "heif", "jp2", "jxl", "ppm"];
/// Ends of the names of packed files.
const PACKED: [&str; 7] = ["gz", "tgz", "zst", "xz", "bz2", "zip", "7z"];
/// Pictures that are handed over at a time, at most.
const CHUNK: usize = 2048;
/// Bytes of them, about.
const CHUNK_BYTES: usize = 32 << 20;

/// Where the bytes of a picture are.
#[derive(Clone, Debug)]
pub enum Picture {
    /// The encoded file.
    Bytes(Vec<u8>),
    /// A file beside the source.
    File(PathBuf),
    /// A file below a manifest, and nothing else.
    Below(LocalImage),
    /// They were not asked for.
    Skipped,
    /// There is none: why, and the path that is named for it.
    None(String, Option<String>),
}

/// Where an image stands: its file, the row in that, and its number in the row's list, from 0.
pub type Place = (String, usize, usize);

/// A labelled picture.
#[derive(Clone, Debug)]
pub struct Item {
    /// Where it stands.
    pub place: Place,
    /// Whom it shows.
    pub identity: Option<String>,
    /// Its name within its identity.
    pub image_id: Option<String>,
    /// The split that it belongs to already.
    pub split: Option<String>,
    /// Its identity set.
    pub identity_set: Option<String>,
    /// The group of its person.
    pub group: Option<String>,
    /// The picture.
    pub picture: Picture,
    /// Where its face is, or what is wrong with what is said of it; none where nothing is said.
    pub face: Option<std::result::Result<Face, String>>,
}

/// Some pictures in a row.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The pictures.
    pub items: Vec<Item>,
    /// A row of kept columns for each, if the source has any.
    pub extras: Option<RecordBatch>,
}

/// A stream of labelled pictures.
pub trait Source: Send {
    /// What it is, in a word or two.
    fn kind(&self) -> &'static str;

    /// What names persons in it, in words.
    fn naming(&self) -> &'static str;

    /// Columns that are kept as they are.
    fn extras(&self) -> SchemaRef {
        Arc::new(Schema::empty())
    }

    /// Hands over all pictures in order, without their bytes unless `pictures`.
    ///
    /// # Errors
    /// The source is damaged; and those of `f`.
    fn read(&self, pictures: bool, f: &mut dyn FnMut(Chunk) -> Result<()>) -> Result<()>;

    /// What a training will stumble over that is not seen in an image, in sentences; `labels` are those that were read.
    ///
    /// # Errors
    /// A file cannot be read.
    fn problems(&self, _labels: &BTreeMap<String, usize>) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// What was passed over, once everything was read, in words.
    fn passed_over(&self) -> Option<String> {
        None
    }
}

/// Opens what `spec` names: a folder, a file, or a glob of files. `out`, the manifest that is to be written, is no part of it.
///
/// # Errors
/// Nothing is there, or nothing that can be read.
pub fn open(spec: &str, columns: &Columns, out: &Path) -> Result<Box<dyn Source>> {
    let path = Path::new(spec);
    if path.is_dir() {
        return of_folder(path, columns, out);
    }
    if !path.exists() && spec.contains(['*', '?', '[']) {
        let found = glob::glob(spec).map_err(|e| Error::Usage(format!("{spec}: {e}")))?;
        let mut paths: Vec<PathBuf> = found.filter_map(std::result::Result::ok).collect();
        paths.sort();
        return match paths.first() {
            None => Err(Error::Usage(format!("{spec}: no file matches"))),
            Some(first) if has_extension(first, "tar") => Ok(Box::new(tar::Tars::open(paths)?)),
            Some(first) if has_extension(first, "rec") => Ok(Box::new(recordio::Records::open(paths)?)),
            Some(first) if is_packed(first) => Err(unpack(first)),
            Some(_) => {
                if paths.iter().any(|p| is_same(p, out)) {
                    return Err(among(out));
                }
                Ok(Box::new(table::Table::open(spec, columns)?))
            }
        };
    }
    if spec == "-" || std::fs::metadata(path).is_ok_and(|m| !m.is_file()) {
        return Err(Error::Usage(format!("{spec}: is a pipe, which can be read only once; save it as a file first")));
    }
    if !path.exists() {
        return Err(Error::Usage(format!("{spec}: no such file or folder")));
    }
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match extension.as_str() {
        "csv" | "tsv" | "txt" | "lst" => Ok(Box::new(list::List::of_table(path, columns)?)),
        "jsonl" | "ndjson" | "json" => Ok(Box::new(list::List::of_json(path, columns)?)),
        "rec" | "idx" => Ok(Box::new(recordio::Records::open(vec![path.with_extension("rec")])?)),
        "tar" => Ok(Box::new(tar::Tars::open(vec![path.to_owned()])?)),
        "parquet" => Ok(Box::new(table::Table::open(spec, columns)?)),
        _ if is_packed(path) => Err(unpack(path)),
        _ => Err(Error::Usage(format!(
            "{spec}: neither a folder of persons, a list (.csv, .tsv, .jsonl), RecordIO (.rec), a .tar nor .parquet"
        ))),
    }
}

/// Opens a folder with a folder of pictures for each label, whatever else is in it.
///
/// # Errors
/// It cannot be read.
pub fn tree(folder: &Path) -> Result<Box<dyn Source>> {
    Ok(Box::new(tree::Tree::open(folder)?))
}

/// Opens a folder by what lies in it.
fn of_folder(folder: &Path, columns: &Columns, out: &Path) -> Result<Box<dyn Source>> {
    let entries: Vec<PathBuf> = sorted(folder)?.into_iter().filter(|p| !is_same(p, out) && is_input(p)).collect();
    let with = |extension: &str| -> Vec<PathBuf> {
        entries.iter().filter(|p| has_extension(p, extension) && p.is_file()).cloned().collect()
    };
    let (records, tars, tables) = (with("rec"), with("tar"), with("parquet"));
    let data = folder.join("data");
    let data = data.is_dir() && sorted(&data)?.iter().any(|p| has_extension(p, "parquet"));
    let person = |p: &&PathBuf| p.is_dir() && sorted(p).is_ok_and(|e| e.iter().any(|p| picture_of(p).is_some()));
    let persons = entries.iter().find(person);
    let files = records.first().or(tars.first()).or(tables.first());
    if let (Some(person), Some(file)) = (persons, files) {
        return Err(Error::Usage(format!(
            "{}: holds both folders of pictures ({}) and files that hold such ({}); name one of them",
            folder.display(),
            person.display(),
            file.display()
        )));
    }
    if let Some(packed) = entries.iter().find(|p| is_packed(p) && persons.is_none()) {
        return Err(unpack(packed));
    }
    if let Some(first) = records.first() {
        // Parts of one set have one name but for their numbers: classes of others are other persons.
        let name = |p: &PathBuf| {
            p.file_stem().map(|s| s.to_string_lossy().trim_end_matches(|c: char| c.is_ascii_digit()).to_owned())
        };
        if let Some(other) = records.iter().find(|p| name(p) != name(first)) {
            return Err(Error::Usage(format!(
                "{}: holds several sets of records ({}, {}), whose classes need not be the same persons; name one of them",
                folder.display(),
                first.display(),
                other.display()
            )));
        }
        return Ok(Box::new(recordio::Records::open(records)?));
    }
    if !tars.is_empty() {
        return Ok(Box::new(tar::Tars::open(tars)?));
    }
    // Folders of `key=value` are a table's.
    let parted = persons.is_none()
        && entries
            .iter()
            .any(|p| p.is_dir() && p.to_string_lossy().rsplit('/').next().is_some_and(|n| n.contains('=')));
    if !tables.is_empty() || data || parted {
        let within =
            |names: [std::io::Result<PathBuf>; 2]| matches!(names, [Ok(out), Ok(folder)] if out.starts_with(&folder));
        if within([std::path::absolute(out), std::path::absolute(folder)]) {
            return Err(among(out));
        }
        return Ok(Box::new(table::Table::open(&folder.display().to_string(), columns)?));
    }
    tree(folder)
}

/// True for the names of packed files.
fn is_packed(path: &Path) -> bool {
    PACKED.iter().any(|extension| has_extension(path, extension))
}

/// True for the first bytes of packed files: gzip, Zstandard, xz, bzip2, zip.
fn is_compressed(start: &[u8]) -> bool {
    [&b"\x1f\x8b"[..], b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh", b"PK\x03\x04"]
        .iter()
        .any(|magic| start.starts_with(magic))
}

/// What to do with a packed file.
fn unpack(path: &Path) -> Error {
    Error::Usage(format!(
        "{}: is compressed: unpack it first; tars, folders, lists, RecordIO and Parquet are read",
        path.display()
    ))
}

/// True for two names of one file, which need not be there.
fn is_same(a: &Path, b: &Path) -> bool {
    let absolute = |p: &Path| std::path::absolute(p).ok();
    absolute(a).is_some_and(|a| absolute(b) == Some(a))
}

/// What is written among the files that are read would be read the next time.
fn among(out: &Path) -> Error {
    Error::Usage(format!("option `out` {} lies among the files that are read; write it elsewhere", out.display()))
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case(extension))
}

/// What the end of a file's name says of it as a picture: that it is one, that it must be converted, or nothing.
pub(crate) fn picture_of(path: &Path) -> Option<std::result::Result<(), String>> {
    let extension = path.extension()?.to_string_lossy().to_lowercase();
    if PICTURES.contains(&extension.as_str()) {
        return Some(Ok(()));
    }
    OTHER_PICTURES
        .contains(&extension.as_str())
        .then(|| Err(format!("it is a .{extension} file: convert it to JPEG or PNG")))
}

/// The same of a file whose name says nothing: whether it begins as a picture does.
fn picture_within(path: &Path) -> Option<std::result::Result<(), String>> {
    let mut start = Vec::new();
    std::fs::File::open(path).and_then(|f| f.take(12).read_to_end(&mut start)).ok()?;
    let webp = start.len() == 12 && start.starts_with(b"RIFF") && start.ends_with(b"WEBP");
    (webp || start.starts_with(b"\xff\xd8\xff") || start.starts_with(b"\x89PNG\r\n\x1a\n")).then_some(Ok(()))
}

/// The entries of a folder in the order of their names, hidden ones left out.
///
/// # Errors
/// It cannot be read.
pub(crate) fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| Error::io(folder, e);
    let mut paths = std::fs::read_dir(folder)
        .map_err(failed)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(failed)?;
    paths.retain(|p| !p.file_name().unwrap_or_default().to_string_lossy().starts_with('.'));
    paths.sort();
    Ok(paths)
}

/// What is wrong with `labels` that trainings take for the numbers of classes.
fn no_classes(labels: &BTreeMap<String, usize>) -> Option<String> {
    let wrong: Vec<&String> = labels.keys().filter(|l| !l.is_empty() && l.parse::<u32>().is_err()).collect();
    let first = wrong.first()?;
    Some(format!("{} labels are no numbers of classes from 0 on, the first `{first}`", wrong.len()))
}

/// Collects pictures, and hands them over when they are many or large.
struct Gathering<'a> {
    items: Vec<Item>,
    bytes: usize,
    f: &'a mut dyn FnMut(Chunk) -> Result<()>,
}

impl<'a> Gathering<'a> {
    fn new(f: &'a mut dyn FnMut(Chunk) -> Result<()>) -> Self {
        Self { items: Vec::new(), bytes: 0, f }
    }

    fn push(&mut self, item: Item) -> Result<()> {
        if let Picture::Bytes(bytes) = &item.picture {
            self.bytes += bytes.len();
        }
        self.items.push(item);
        if self.items.len() < CHUNK && self.bytes < CHUNK_BYTES {
            return Ok(());
        }
        self.bytes = 0;
        (self.f)(Chunk { items: std::mem::take(&mut self.items), extras: None })
    }

    fn finish(self) -> Result<()> {
        if self.items.is_empty() { Ok(()) } else { (self.f)(Chunk { items: self.items, extras: None }) }
    }
}
