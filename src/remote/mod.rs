//! What lies on other machines: an address becomes a local path, the cache's copy of what it names.

mod hub;
#[cfg(feature = "hub")]
mod lock;
#[cfg(feature = "cloud")]
mod object;
#[cfg(feature = "hub")]
mod publish;

use crate::error::{Error, Result};
use crate::progress::Progress;
use hub::{HubFile, Kind};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How other machines are spoken to.
#[derive(Clone, Debug)]
pub struct Access {
    /// Address of the Hugging Face hub.
    pub endpoint: String,
    /// Who asks.
    pub token: Option<String>,
    /// Use only what is in the cache.
    pub offline: bool,
    /// Where the sha256 of every file that was ever fetched is kept: the first fetch writes it down, every later one must bring the
    /// same bytes. Nowhere without one.
    pub lock_file: Option<PathBuf>,
    /// Variables of object stores (`AWS_REGION` and the like) and their values.
    pub options: Vec<(String, String)>,
}

impl Access {
    /// The token for a hub's client; without one a header that cannot be sent, which keeps the client from looking for one elsewhere.
    #[cfg(feature = "hub")]
    fn hub_token(&self) -> String {
        self.token.clone().unwrap_or_else(|| "\n".to_owned())
    }
}

/// A file that is to be pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its path below the folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// blake3 (hex) of its bytes.
    pub hash: String,
}

/// What was pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Files that were sent.
    pub sent: usize,
    /// Files that were there already.
    pub before: usize,
    /// Objects that were no part of them, and were removed.
    pub removed: usize,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            endpoint: "https://huggingface.co".into(),
            token: None,
            offline: false,
            lock_file: None,
            options: Vec::new(),
        }
    }
}

/// True for an address of an object store, or of a file behind `https://`.
pub fn is_object(spec: &str) -> bool {
    spec.split_once("://").is_some_and(|(scheme, _)| ["s3", "gs", "az", "http", "https"].contains(&scheme))
}

#[cfg(feature = "cloud")]
fn fetch(spec: &str, cache: &Path, access: &Access) -> Result<PathBuf> {
    object::fetch(spec, &there(cache)?.join("objects"), access)
}

/// Extension of the files of the cache that say what was fetched.
pub const FETCHED: &str = "fetched";

/// The local copy of the folder at `url` of an object store; none if nothing is there.
///
/// # Errors
/// As [`localize_file`].
pub fn fetch_folder(url: &str, cache: &Path, access: &Access) -> Result<Option<PathBuf>> {
    if list(url, access)?.is_empty() { Ok(None) } else { fetch(url, cache, access).map(Some) }
}

/// True if an object lies at `url`.
///
/// # Errors
/// `Usage`, `Hub`, `HubRefused`.
#[cfg(feature = "cloud")]
pub fn is_there(url: &str, access: &Access) -> Result<bool> {
    object::is_there(url, access)
}

/// What lies below `url`, by its path from there.
///
/// # Errors
/// `Usage`, `Hub`, `HubRefused`.
#[cfg(feature = "cloud")]
pub fn list(url: &str, access: &Access) -> Result<BTreeSet<String>> {
    object::list(url, access)
}

#[cfg(not(feature = "cloud"))]
pub fn is_there(url: &str, _: &Access) -> Result<bool> {
    Err(no_stores(url))
}

#[cfg(not(feature = "cloud"))]
pub fn list(url: &str, _: &Access) -> Result<BTreeSet<String>> {
    Err(no_stores(url))
}

#[cfg(not(feature = "cloud"))]
fn no_stores(spec: &str) -> Error {
    Error::Usage(format!("{spec}: this build has no object stores; build it with the feature cloud"))
}

#[cfg(not(feature = "cloud"))]
fn fetch(spec: &str, _: &Path, _: &Access) -> Result<PathBuf> {
    Err(no_stores(spec))
}

/// True for a place that can be pushed to.
pub fn takes(url: &str) -> bool {
    url.starts_with("hf://") || is_object(url)
}

/// Name and page of the dataset that `url` names on a hub.
pub fn dataset_page(url: &str, access: &Access) -> Option<(String, String)> {
    let name = url.strip_prefix("hf://datasets/")?.trim_end_matches('/');
    Some((name.to_owned(), format!("{}/datasets/{name}", access.endpoint.trim_end_matches('/'))))
}

/// Pushes `files` of the folder `root` to `url`, the last one last, which tells that all are there. A repository of a hub gets `texts`, by their paths, too.
///
/// # Errors
/// `Usage`: something else is there, or this build knows no such place; `Hub`, `HubRefused`; a file cannot be read.
pub fn push(
    root: &Path,
    files: &[Outgoing],
    texts: &[(String, String)],
    (url, replace): (&str, bool),
    access: &Access,
    progress: &mut dyn Progress,
) -> Result<Pushed> {
    #[cfg(feature = "hub")]
    if url.starts_with("hf://") {
        return publish::push(root, files, texts, url, replace, access);
    }
    #[cfg(feature = "cloud")]
    if is_object(url) {
        return object::push(root, files, url, replace, access, progress);
    }
    let _ = (root, files, texts, replace, access, progress);
    Err(Error::Usage(format!("{url}: this build knows no such place; build it with the features hub and cloud")))
}

/// `cache`, unless it is empty.
///
/// # Errors
/// `Usage`: there is none.
pub(crate) fn there(cache: &Path) -> Result<&Path> {
    if cache.as_os_str().is_empty() {
        return Err(Error::Usage("no home folder for the cache of models; name one with option `cache`".into()));
    }
    Ok(cache)
}

/// The local path of a manifest: `spec` itself, or the download of an `hf://` address into `cache`.
///
/// # Errors
/// `Usage` for an address that is none; `Hub` and `HubRefused`.
pub fn localize_manifest(spec: &str, cache: &Path, access: &Access) -> Result<String> {
    if is_object(spec) {
        return Ok(fetch(spec, cache, access)?.display().to_string());
    }
    if !spec.starts_with("hf://") {
        return Ok(spec.to_owned());
    }
    let file = HubFile::parse(spec, None)?;
    if file.kind != Kind::Dataset {
        return Err(Error::Usage(format!("{spec}: a manifest comes from hf://datasets/..")));
    }
    Ok(file.locked(&there(cache)?.join("hub"), access)?.display().to_string())
}

/// The local path of a file: `spec` itself, or the download of an `hf://` address that names one in a repository into `cache`.
///
/// # Errors
/// As [`localize_manifest`].
pub fn localize_file(spec: &str, cache: &Path, access: &Access) -> Result<PathBuf> {
    if is_object(spec) {
        return fetch(spec, cache, access);
    }
    if !spec.starts_with("hf://") {
        return Ok(PathBuf::from(spec));
    }
    HubFile::parse(spec, None)?.locked(&there(cache)?.join("hub"), access)
}

/// The local path of a model: `spec` itself, or the download of an `hf://` address into `cache`, which names a repository whose model
/// is the file `name`.
///
/// # Errors
/// As [`localize_manifest`].
pub fn localize_model(spec: &str, name: &str, cache: &Path, access: &Access) -> Result<PathBuf> {
    if is_object(spec) {
        return fetch(spec, cache, access);
    }
    if !spec.starts_with("hf://") {
        return Ok(PathBuf::from(spec));
    }
    HubFile::parse(spec, Some(name))?.locked(&there(cache)?.join("hub"), access)
}
