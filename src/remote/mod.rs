//! What lies on other machines: an address becomes a local path, the cache's copy of what it names.

mod hub;
#[cfg(feature = "hub")]
mod lock;

use crate::error::{Error, Result};
use hub::{HubFile, Kind};
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
}

impl Default for Access {
    fn default() -> Self {
        Self { endpoint: "https://huggingface.co".into(), token: None, offline: false, lock_file: None }
    }
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
    if !spec.starts_with("hf://") {
        return Ok(PathBuf::from(spec));
    }
    HubFile::parse(spec, Some(name))?.locked(&there(cache)?.join("hub"), access)
}
