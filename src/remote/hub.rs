//! Files of the Hugging Face hub: the only code that opens a network connection, and only for `hf://`.
//!
//! Every address is pinned by a 40-digit commit, and by a sha256 in the lock file once it was fetched.

use super::Access;
#[cfg(feature = "hub")]
use super::lock;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// Kind of a hub repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Dataset,
    Model,
}

/// True for a name that an address may hold.
pub(super) fn safe(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    !name.is_empty() && name != "." && name != ".." && name.bytes().all(plain)
}

/// A file of a hub repository at a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HubFile {
    pub kind: Kind,
    owner: String,
    name: String,
    commit: String,
    path: String,
}

impl HubFile {
    /// Parses `hf://datasets/owner/name@COMMIT/path` or `hf://owner/name@COMMIT[/path]`.
    ///
    /// # Errors
    /// `Usage`: no address of a file at a commit.
    pub fn parse(uri: &str, default_path: Option<&str>) -> Result<Self> {
        let error = |m: &str| {
            Error::Usage(format!(
                "{uri}: {m}; expected hf://datasets/owner/name@COMMIT/file.parquet or hf://owner/name@COMMIT"
            ))
        };
        let rest = uri.strip_prefix("hf://").ok_or_else(|| error("not a hub address"))?;
        let (kind, rest) = match rest.strip_prefix("datasets/") {
            Some(rest) => (Kind::Dataset, rest),
            None => (Kind::Model, rest),
        };
        let (owner, rest) = rest.split_once('/').ok_or_else(|| error("no repository name"))?;
        let (name, rest) = rest.split_once('@').ok_or_else(|| error("no commit"))?;
        let (commit, path) = match rest.split_once('/') {
            Some((commit, path)) => (commit, path),
            None => (rest, default_path.ok_or_else(|| error("no file path"))?),
        };
        if commit.len() != 40 || !commit.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(error("the commit must be 40 hexadecimal digits, so that the same files are read every time"));
        }
        if !safe(owner) || !safe(name) || !path.split('/').all(safe) {
            return Err(error("names may hold letters, digits, `-`, `_` and `.` only"));
        }
        let [owner, name, commit, path] = [owner, name, commit, path].map(str::to_owned);
        Ok(Self { kind, owner, name, commit, path })
    }

    /// Where a download of this file lies under the cache folder.
    fn cached(&self, cache: &Path) -> PathBuf {
        let kind = match self.kind {
            Kind::Dataset => "datasets",
            Kind::Model => "models",
        };
        let repo = format!("{kind}--{}--{}", self.owner, self.name);
        cache.join(repo).join("snapshots").join(&self.commit).join(&self.path)
    }

    /// The local copy, downloaded if need be, with the bytes that the lock file says.
    ///
    /// # Errors
    /// `Hub`, `HubRefused`.
    pub fn locked(&self, cache: &Path, access: &Access) -> Result<PathBuf> {
        let path = self.fetch(cache, access)?;
        #[cfg(feature = "hub")]
        if let Some(file) = &access.lock_file {
            lock::check(file, &self.to_string(), &path)?;
        }
        Ok(path)
    }

    /// The local copy, downloaded if need be.
    fn fetch(&self, cache: &Path, access: &Access) -> Result<PathBuf> {
        let cached = self.cached(cache);
        if cached.exists() {
            match self.verify(&cached) {
                Ok(()) => return Ok(cached),
                // A damaged copy is replaced where that is possible.
                Err(Error::Hub(_)) if !access.offline => {}
                Err(e) => return Err(e),
            }
        }
        if access.offline {
            return Err(Error::HubRefused(format!("{self} is not in the cache and HF_HUB_OFFLINE is set")));
        }
        self.download(cache, access)?;
        // The server names the commit that it sent: only the one asked for counts.
        if !cached.exists() {
            return Err(Error::HubRefused(format!("{self}: the server answered with another commit")));
        }
        self.verify(&cached)?;
        Ok(cached)
    }

    /// Compares a download with the hash that the hub gave it as a name; what differs is deleted, so that it is not taken
    /// for the file next time. The client itself checks neither length nor hash.
    #[cfg(feature = "hub")]
    fn verify(&self, cached: &Path) -> Result<()> {
        let blob = cached.canonicalize().map_err(|e| Error::io(cached, e))?;
        let name = blob.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Small files that are not stored apart have another kind of name.
        if name.len() != 64 || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(());
        }
        if lock::sha256(&blob)?.eq_ignore_ascii_case(&name) {
            return Ok(());
        }
        for path in [cached, &blob] {
            std::fs::remove_file(path).map_err(|e| Error::io(path, e))?;
        }
        Err(Error::Hub(format!("{self}: the download is incomplete or damaged (its sha256 is not {name})")))
    }

    #[cfg(not(feature = "hub"))]
    fn verify(&self, _cached: &Path) -> Result<()> {
        Ok(())
    }

    #[cfg(feature = "hub")]
    fn download(&self, cache: &Path, access: &Access) -> Result<()> {
        use hf_hub::HFError;
        let endpoint = &access.endpoint;
        let failed = |e: HFError| match e {
            HFError::EntryNotFound { .. } | HFError::RepoNotFound { .. } => {
                Error::HubRefused(format!("{self}: no such file at {endpoint}"))
            }
            HFError::AuthRequired { .. } | HFError::Forbidden { .. } => {
                Error::HubRefused(format!("{self}: access denied by {endpoint}; set HF_TOKEN"))
            }
            HFError::MalformedResponse { .. } => Error::HubRefused(format!("{self}: {endpoint} is not a hub: {e}")),
            e => Error::Hub(format!("{self}: {e}")),
        };
        let client = hf_hub::HFClient::builder()
            .endpoint(endpoint)
            .cache_dir(cache)
            .retry_max_attempts(2)
            .token(access.hub_token())
            .build_sync()
            .map_err(failed)?;
        match self.kind {
            Kind::Dataset => {
                let repo = client.dataset(&self.owner, &self.name);
                repo.download_file().filename(&self.path).revision(&self.commit).send()
            }
            Kind::Model => {
                let repo = client.model(&self.owner, &self.name);
                repo.download_file().filename(&self.path).revision(&self.commit).send()
            }
        }
        .map_err(failed)?;
        Ok(())
    }

    #[cfg(not(feature = "hub"))]
    fn download(&self, _cache: &Path, _access: &Access) -> Result<()> {
        Err(Error::Usage(format!("{self}: this build has no hub support; build it with the feature hub")))
    }
}

impl std::fmt::Display for HubFile {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let kind = if self.kind == Kind::Dataset { "datasets/" } else { "" };
        write!(f, "hf://{kind}{}/{}@{}/{}", self.owner, self.name, self.commit, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn addresses_are_pinned_and_plain() {
        let f = HubFile::parse(&format!("hf://datasets/o/n@{COMMIT}/a/b.parquet"), None).unwrap();
        assert_eq!((f.kind, f.owner.as_str(), f.path.as_str()), (Kind::Dataset, "o", "a/b.parquet"));
        assert_eq!(HubFile::parse(&format!("hf://o/n@{COMMIT}"), Some("m")).unwrap().path, "m");
        for bad in ["hf://datasets/o/n@main/a", "hf://o", "hf://datasets/o/n@0123/a"] {
            assert!(HubFile::parse(bad, None).is_err(), "{bad}");
        }
        for bad in ["../x", "a//b", "/x", "a?b"] {
            assert!(HubFile::parse(&format!("hf://datasets/o/n@{COMMIT}/{bad}"), None).is_err(), "{bad}");
        }
    }
}
