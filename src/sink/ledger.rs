//! The ledger of an output folder: what was ordered, what each committed unit holds, and the summary. The one home of their keys and
//! file names.
//!
//! ```text
//! OUT/_PLAN.json             the order: all that decides the bytes
//!     _commits/00000.json    unit 0: its rows, and its files with their hashes
//!     _SUCCESS.json          the summary: counts, hashes of all records and other files
//! ```

use crate::config::LatentSource;
use crate::error::{Error, Result};
pub use crate::formats::COMMITS;
use crate::formats::FORMATS;
pub use crate::manifest::PLAN_FILE;
use crate::manifest::Policy;
use crate::ops::simd;
use crate::store::{self, file_hash};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Summary of a complete dataset, written last.
pub const SUCCESS: &str = "_SUCCESS.json";
/// The resolved configuration.
pub const CONFIG: &str = "config.toml";
/// Version of an [`Order`].
pub const ORDER_VERSION: u32 = 4;
/// Version of a [`Summary`].
pub const SUMMARY_VERSION: u32 = 2;

/// What was ordered: all that decides the bytes of a dataset. Equal orders give equal bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// [`ORDER_VERSION`].
    pub version: u32,
    /// Version of the program.
    pub program: String,
    /// Hash of the manifest, or of the training images where no manifest takes part.
    pub manifest_hash: String,
    /// Rows of this split only.
    pub split: Option<String>,
    /// What rows must permit.
    pub policy: Option<Policy>,
    /// Names of the columns for identities, images, and paths of images.
    pub columns: Option<[String; 3]>,
    /// Hash of the resolved configuration.
    pub config_hash: String,
    /// The models, once they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<OrderedModel>>,
    /// Versions of the training algorithm and of the kernels.
    #[serde(default)]
    pub algorithm: (u32, u32),
    /// The kernels that compute.
    pub kernels: String,
    /// Root of the random streams.
    pub seed: u64,
    /// Distribution of z.
    pub latent: LatentSource,
    /// Factor on its deviation.
    pub truncation: f64,
    /// Images of each identity.
    pub per_id: usize,
    /// Instead, up to so many, real ones counted.
    pub balance_to: Option<usize>,
    /// New identities of each set.
    pub new_identities: usize,
    /// Identities mixed into each.
    pub mix: usize,
    /// Who decides which candidates are kept.
    pub judge: Option<OrderedJudge>,
    /// Similarity to a training image above which an image is left out.
    pub max_copy_similarity: Option<f64>,
    /// Whether real images are merged in.
    pub include_real: bool,
    /// Name of the format.
    pub format: String,
    /// Extension of image files.
    pub encoding: String,
    /// Rows of a unit.
    pub shard_rows: usize,
    /// Rows asked for, once they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
}

/// A model of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedModel {
    /// The identity set that it knows.
    pub identity_set: String,
    /// Hash of its file.
    pub hash: String,
    /// Hash of the real images of the set.
    pub images: String,
}

/// A judge of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderedJudge {
    /// Hash of its file.
    pub hash: String,
    /// Similarity that counts instead of its threshold.
    pub min_similarity: Option<f64>,
    /// Candidates that it looks at, in multiples of the images asked for.
    pub tries: usize,
}

impl Order {
    /// An order of the images of a manifest and a configuration with these hashes, everything else plain: N(0, I), no judge, Parquet.
    pub fn new(manifest_hash: &str, config_hash: &str) -> Self {
        Self {
            version: ORDER_VERSION,
            program: env!("CARGO_PKG_VERSION").into(),
            manifest_hash: manifest_hash.into(),
            split: None,
            policy: None,
            columns: None,
            config_hash: config_hash.into(),
            models: None,
            algorithm: (0, crate::ops::VERSION),
            kernels: simd::name().into(),
            seed: 0,
            latent: LatentSource::Prior,
            truncation: 1.0,
            per_id: 0,
            balance_to: None,
            new_identities: 0,
            mix: 0,
            judge: None,
            max_copy_similarity: None,
            include_real: false,
            format: "parquet".into(),
            encoding: "jpg".into(),
            shard_rows: 1,
            rows: None,
        }
    }

    /// Hash by which units say which order they belong to.
    pub(super) fn hash(&self) -> String {
        blake3::hash(json!(self).to_string().as_bytes()).to_hex().to_string()
    }

    /// In words, what `stored`, which may be of another version, has otherwise. What this order does not know yet is not compared, nor
    /// are the kernels, where `complete`: they matter only to what is not made yet.
    pub(super) fn differences(&self, stored: &Value, complete: bool) -> Vec<String> {
        let own = json!(self);
        let counts = |key: &str| key != "kernels" || !complete;
        let keys = own.as_object().into_iter().flatten().filter(|(k, v)| counts(k) && stored[k.as_str()] != **v);
        let words = |(key, now): (&String, &Value)| {
            let there = &stored[key.as_str()];
            match key.as_str() {
                "manifest_hash" => "content of the manifest".into(),
                "config_hash" => "configuration (config.toml there tells which)".into(),
                "models" => "models, or training images".into(),
                "seed" => format!("option `sampling_seed` ({} there, {} now)", plain(there), plain(now)),
                "judge" => {
                    format!("judge{}", if there.is_null() || now.is_null() { "" } else { ", or what it demands" })
                }
                // Options by the names that their user knows.
                "per_id"
                | "balance_to"
                | "new_identities"
                | "mix"
                | "latent"
                | "truncation"
                | "split"
                | "format"
                | "encoding"
                | "shard_rows"
                | "include_real"
                | "max_copy_similarity" => {
                    format!("option `{key}` ({} there, {} now)", plain(there), plain(now))
                }
                _ => format!("{} ({} there, {} now)", key.replace('_', " "), plain(there), plain(now)),
            }
        };
        keys.map(words).collect()
    }
}

/// A value as a user would write it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
        Value::Object(items) => items.iter().map(|(k, v)| format!("{k} {}", plain(v))).collect::<Vec<_>>().join(" "),
        value => value.to_string(),
    }
}

/// What a filter rejected, and whom it could not satisfy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Screening {
    /// Images that were judged.
    pub candidates: usize,
    /// Images that were rejected.
    pub rejected: usize,
    /// Accepted images that were left out because they are copies of training images.
    pub copies: usize,
    /// Identities with fewer images than were asked for.
    pub short: Vec<Short>,
}

/// An identity that too few candidates were accepted of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Short {
    /// Its key.
    pub identity: String,
    /// Images asked for.
    pub wanted: usize,
    /// Images accepted.
    pub accepted: usize,
}

/// Summary of a complete dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`SUMMARY_VERSION`].
    pub version: u32,
    /// What was ordered.
    #[serde(rename = "plan")]
    pub order: Order,
    /// Synthetic images.
    pub synthetic: usize,
    /// Real ones.
    pub real: usize,
    /// Classes.
    pub classes: usize,
    /// New identities that have images.
    pub new_identities: usize,
    /// What was rejected, by model; nothing where nobody judged.
    #[serde(rename = "selection")]
    pub screenings: Vec<Screening>,
    /// Hash of what the dataset holds.
    pub content_hash: String,
    /// Side of the images, in pixels.
    pub image_size: Option<usize>,
    /// Rows of all units.
    #[serde(default)]
    pub rows: usize,
    /// Size of all their files.
    #[serde(default)]
    pub bytes: u64,
    /// The records of units.
    #[serde(default)]
    pub commits: Vec<Entry>,
    /// Files beside those of the units.
    #[serde(default)]
    pub files: Vec<Entry>,
}

/// A file of the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path below the output folder.
    pub path: String,
    /// Size, in bytes.
    pub bytes: u64,
    /// Hash of its bytes.
    pub blake3: String,
}

impl Entry {
    /// Describes `out/path`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of(out: &Path, path: &str) -> Result<Self> {
        let full = out.join(path);
        let bytes = std::fs::metadata(&full).map_err(|e| Error::io(&full, e))?.len();
        Ok(Self { path: path.to_owned(), bytes, blake3: file_hash(&full)?.to_hex().to_string() })
    }

    /// What is wrong with the file in `out`, if anything is.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn damage(&self, out: &Path) -> Result<Option<Damage>> {
        let is = |what: &str| Ok(Some(Damage { path: self.path.clone(), what: what.to_owned() }));
        let full = out.join(&self.path);
        match std::fs::metadata(&full) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => is("missing"),
            Err(e) => Err(Error::io(&full, e)),
            Ok(m) if m.len() != self.bytes => is("has another size"),
            Ok(_) if file_hash(&full)?.to_hex().as_str() != self.blake3 => is("has other bytes"),
            Ok(_) => Ok(None),
        }
    }
}

/// Hash of the hashes of `files`, in order.
pub fn content_hash<'a>(files: impl Iterator<Item = &'a Entry>) -> String {
    let mut hasher = blake3::Hasher::new();
    files.for_each(|f| _ = hasher.update(f.blake3.as_bytes()));
    hasher.finalize().to_hex().to_string()
}

/// Rows that are committed together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Hash of the order that they belong to.
    #[serde(rename = "plan")]
    pub order: String,
    /// Its rows.
    pub rows: usize,
    /// Its files.
    pub files: Vec<Entry>,
}

/// A file that is not what it was when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Path below the folder.
    pub path: String,
    /// How it shows.
    pub what: String,
}

impl Damage {
    pub(super) fn error(&self, out: &Path) -> Error {
        let what = format!("{} since it was written; run again with option `repair` to make it again", self.what);
        Error::Damaged { path: out.join(&self.path), what }
    }
}

/// The order in `out`, if there is one; of whatever version.
pub(super) fn read_order(out: &Path) -> Result<Option<Value>> {
    store::read_sealed(&out.join(PLAN_FILE))
}

/// The order in `out`, if there is one.
///
/// # Errors
/// `Damaged`; another version of the program made it.
pub fn order(out: &Path) -> Result<Option<Order>> {
    let path = out.join(PLAN_FILE);
    read_order(out)?.map(|v| serde_json::from_value(v).map_err(|_| other_version(&path))).transpose()
}

/// True if something of an order was committed in `out`.
pub fn is_begun(out: &Path) -> bool {
    out.join(SUCCESS).exists() || records(out).is_ok_and(|r| !r.is_empty())
}

/// The summary in `out`, if it is complete.
///
/// # Errors
/// `Damaged`; another version of the program made it.
pub fn summary(out: &Path) -> Result<Option<Summary>> {
    let path = out.join(SUCCESS);
    store::read_sealed(&path)?.map(|v| serde_json::from_value(v).map_err(|_| other_version(&path))).transpose()
}

fn other_version(path: &Path) -> Error {
    Error::Usage(format!(
        "{}: made by another version of augment; choose another folder, or delete this one",
        path.display()
    ))
}

/// Folders that hold nothing but what records list.
pub fn content() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().map(|f| f.folder()).chain([COMMITS])
}

/// Path of the record of unit `number`.
pub(super) fn record(number: usize) -> PathBuf {
    Path::new(COMMITS).join(format!("{number:05}.json"))
}

/// The record in `path`.
pub(super) fn read_unit(path: &Path) -> Result<Unit> {
    let object = store::read_sealed(path)?.unwrap_or_default();
    serde_json::from_value(object)
        .map_err(|_| Error::Damaged { path: path.to_owned(), what: "it is no record of a commit".into() })
}

/// Numbers and paths of the records in `out`.
pub(super) fn records(out: &Path) -> Result<Vec<(usize, PathBuf)>> {
    let paths =
        files_below(out, Path::new(COMMITS))?.into_iter().filter(|p| p.extension().is_some_and(|e| e == "json"));
    let number = |p: &PathBuf| p.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok());
    Ok(paths.filter_map(|p| Some((number(&p)?, p))).filter(|(n, p)| record(*n) == *p).collect())
}

/// The recorded units of `out`.
pub(super) fn units(out: &Path) -> Result<BTreeMap<usize, Unit>> {
    records(out)?.into_iter().map(|(number, path)| Ok((number, read_unit(&out.join(path))?))).collect()
}

/// Rows of all units that have a record in `out`.
///
/// # Errors
/// A record is damaged.
pub fn committed_rows(out: &Path) -> Result<usize> {
    Ok(units(out)?.values().map(|u| u.rows).sum())
}

/// Paths of all files below `out/folder`, relative to `out`, sorted.
pub(super) fn files_below(out: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let full = out.join(folder);
    let entries = match std::fs::read_dir(&full) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| Error::io(&full, e))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(&full, e))?;
        let path = folder.join(entry.file_name());
        if entry.file_type().map_err(|e| Error::io(&full, e))?.is_dir() {
            paths.extend(files_below(out, &path)?);
        } else {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
