//! The folder that image paths are relative to. Nothing outside it is read, whatever a path or a symbolic link says.

use crate::error::{Error, Result};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use percent_encoding::percent_decode_str;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// A folder whose files can be read, and no others.
#[derive(Clone, Debug)]
pub struct Root(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    dir: Dir,
    /// Its absolute path, for people and for paths that begin with it; the names that it was opened by, and what links lead to.
    names: [PathBuf; 2],
}

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
        let failed = |e| Error::io(folder, e);
        let dir = Dir::open_ambient_dir(folder, ambient_authority()).map_err(failed)?;
        let names = [std::path::absolute(folder).map_err(failed)?, std::fs::canonicalize(folder).map_err(failed)?];
        Ok(Self(Arc::new(Opened { dir, names })))
    }

    /// The image that `uri` names, which is not looked at yet: a path below the folder, or an absolute one or a `file:` URL of a file that
    /// lies there.
    ///
    /// # Errors
    /// Text that says why it cannot be one.
    pub fn image(&self, uri: &str) -> std::result::Result<LocalImage, String> {
        let encoded = uri.len() > LONGEST || uri.starts_with("data:");
        if encoded || BASE64.iter().any(|start| uri.starts_with(start) && uri.len() > start.len() + 40) {
            return Err("image path is no path but the picture itself as text (base64): decode it, and write the bytes as binary".into());
        }
        let decoded;
        let path = match uri.split_once("://") {
            None => uri,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("file") => {
                decoded = percent_decode_str(rest.strip_prefix("localhost").unwrap_or(rest)).decode_utf8_lossy();
                &decoded
            }
            Some(_) => {
                return Err(
                    "image path is a URL, and none is followed: download the files, and name them by their paths"
                        .into(),
                );
            }
        };
        if path.is_empty() || path.contains('\0') {
            return Err("image path is no path".into());
        }
        let path = Path::new(path);
        let below = self.0.names.iter().find_map(|name| path.strip_prefix(name).ok());
        match below.or(Some(path)).and_then(within) {
            Some(path) => Ok(LocalImage { root: self.clone(), path }),
            None => {
                Err(format!("image path leads out of the manifest's folder, {}: {OUTSIDE}", self.0.names[0].display()))
            }
        }
    }
}

/// Bytes of a path, at most.
const LONGEST: usize = 4096;
/// How pictures begin as base64: JPEG, PNG, WebP.
const BASE64: [&str; 3] = ["/9j/", "iVBORw0KGgo", "UklGR"];
const OUTSIDE: &str = "only files below it are read; move the manifest above them, or copy them";

/// `path` without `.` and `..`, if it stays below where it begins.
fn within(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                if !clean.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!clean.as_os_str().is_empty()).then_some(clean)
}

impl LocalImage {
    /// Its absolute path.
    pub fn absolute(&self) -> PathBuf {
        self.root.0.names[0].join(&self.path)
    }

    /// The bytes of the file, at most `limit` of them.
    ///
    /// # Errors
    /// Text that says what is wrong.
    pub fn read(&self, limit: u64) -> std::result::Result<Vec<u8>, String> {
        let Opened { dir, names } = &*self.root.0;
        let folder = names[0].display();
        let failed = |e: std::io::Error| match e.kind() {
            // How an escape through a symbolic link shows.
            std::io::ErrorKind::PermissionDenied if e.raw_os_error().is_none() => {
                format!(
                    "image file is a link that leads out of the manifest's folder, {folder} (as in a cache of the hub): copy the files \
                     themselves, with `cp -rL`"
                )
            }
            std::io::ErrorKind::NotFound => {
                let slashes = if self.path.to_string_lossy().contains('\\') { "; write its path with /" } else { "" };
                format!("image file {} is not in {folder}{slashes}", self.path.display())
            }
            _ => format!("image file {} in {folder} cannot be read: {e}", self.path.display()),
        };
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
