//! The folder that image paths are relative to. Nothing outside it is read, whatever a path or a symbolic link says.

use crate::error::{Error, Result};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

const OUTSIDE: &str = "image path leaves the manifest's folder";

/// A folder whose files can be read, and no others.
#[derive(Clone, Debug)]
pub struct Root(Arc<Dir>);

/// An image file below a [`Root`].
#[derive(Clone, Debug)]
pub struct LocalImage {
    root: Root,
    /// Its path below the root.
    pub path: PathBuf,
}

impl Root {
    /// Opens `folder`; the empty path is the current one.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn open(folder: &Path) -> Result<Self> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let dir = Dir::open_ambient_dir(folder, ambient_authority()).map_err(|e| Error::io(folder, e))?;
        Ok(Self(Arc::new(dir)))
    }

    /// The image that `uri` names, which is not looked at yet.
    ///
    /// # Errors
    /// Text that says why it cannot be one.
    pub fn image(&self, uri: &str) -> std::result::Result<LocalImage, String> {
        if uri.contains("://") {
            return Err("image path is a URL; only files below the manifest's folder are read".into());
        }
        let path = Path::new(uri);
        let plain = path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if uri.is_empty() || uri.contains('\0') || !plain {
            return Err(OUTSIDE.into());
        }
        Ok(LocalImage { root: self.clone(), path: path.to_owned() })
    }
}

impl LocalImage {
    /// The bytes of the file, at most `limit` of them.
    ///
    /// # Errors
    /// Text that says what is wrong.
    pub fn read(&self, limit: u64) -> std::result::Result<Vec<u8>, String> {
        let failed = |e: std::io::Error| match e.kind() {
            // How an escape through a symbolic link shows.
            std::io::ErrorKind::PermissionDenied if e.raw_os_error().is_none() => OUTSIDE.to_owned(),
            _ => format!("image file cannot be read: {e}"),
        };
        let dir = &self.root.0;
        let metadata = dir.metadata(&self.path).map_err(failed)?;
        if !metadata.is_file() {
            return Err("image path names no regular file".into());
        }
        if metadata.len() > limit {
            return Err(format!("image file has {} bytes, more than {limit}", metadata.len()));
        }
        let mut bytes = Vec::new();
        dir.open(&self.path).and_then(|f| f.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
        Ok(bytes)
    }
}
