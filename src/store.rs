//! Atomic publishing of files: the only place that writes outputs to disk. Also locks of folders (`lock`), and sealed JSON (`seal`), whose
//! text holds its own hash.

mod lock;
mod seal;

use crate::error::{Error, Result};
pub use lock::{LOCK_FILE, Lock, PROBE, is_lock_file, is_locked, lock};
use rustix::io::Errno;
pub use seal::{read_sealed, write_sealed};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Creates `folder` and its parents, and makes their names durable.
///
/// # Errors
/// The folder cannot be made.
pub fn create_dir(folder: &Path) -> Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_dir(parent)?;
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(Error::io(folder, e)),
        _ if !folder.is_dir() => Err(Error::io(folder, std::io::ErrorKind::NotADirectory.into())),
        _ => sync_folder(parent),
    }
}

/// Extension of files that are not complete.
pub const PARTIAL: &str = "partial";

/// The name under which `path` is written before it is complete.
pub fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(PARTIAL);
    path.with_file_name(name)
}

/// Creates or empties a file that its owner alone may read, whatever the umask.
///
/// # Errors
/// It cannot be written.
pub fn create(path: &Path) -> Result<File> {
    let options = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    options.map_err(|e| Error::io(path, e))
}

/// Who may read what was written, beside its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// Nobody.
    #[default]
    Nobody,
    /// The group of the files.
    Group,
    /// Everybody on this machine.
    All,
}

impl Share {
    /// True if nobody else may read it.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    pub fn is_nobody(&self) -> bool {
        *self == Self::Nobody
    }

    /// Lets others read a file, or enter a folder.
    ///
    /// # Errors
    /// It is another user's, or not there.
    pub fn allow(self, path: &Path) -> Result<()> {
        let mode = match (self, path.is_dir()) {
            (Self::Nobody, _) => return Ok(()),
            (Self::Group, false) => 0o640,
            (Self::Group, true) => 0o750,
            (Self::All, false) => 0o644,
            (Self::All, true) => 0o755,
        };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|e| Error::io(path, e))
    }
}

/// Deletes a file.
///
/// # Errors
/// It is not there, or cannot be deleted.
pub fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|e| Error::io(path, e))
}

/// An error of another library about the file `path`.
pub fn failed(path: &Path, e: &dyn std::fmt::Display) -> Error {
    Error::io(path, std::io::Error::other(e.to_string()))
}

/// Makes a file durable.
///
/// # Errors
/// The disk is full, or broken.
pub fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|f| f.sync_all()).map_err(|e| Error::io(path, e))
}

/// Makes the names in a folder durable, where the file system can: CIFS and others have no such call.
///
/// # Errors
/// The disk is full, or broken.
pub fn sync_folder(path: &Path) -> Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    match File::open(path).and_then(|f| f.sync_all()) {
        Err(e) if is_one_of(&e, &[Errno::INVAL, Errno::NOTSUP]) => Ok(()),
        done => done.map_err(|e| Error::io(path, e)),
    }
}

fn is_one_of(e: &std::io::Error, numbers: &[Errno]) -> bool {
    Errno::from_io_error(e).is_some_and(|e| numbers.contains(&e))
}

/// Makes a complete temporary file durable and gives it its name.
///
/// # Errors
/// The disk is full, or broken.
pub fn publish(temporary: &Path, path: &Path) -> Result<()> {
    sync(temporary)?;
    fs::rename(temporary, path).map_err(|e| Error::io(path, e))?;
    sync_folder(path.parent().unwrap_or(Path::new("")))
}

/// Writes a file that counts only once something else names it; [`sync`] must come before that.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    create(path)?.write_all(bytes).map_err(|e| Error::io(path, e))
}

/// Writes a whole file: readers see the old one or the new one.
///
/// # Errors
/// It cannot be written; the old one stays.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let temp = temporary(path);
    write(&temp, bytes)?;
    publish(&temp, path)
}

/// blake3 of a file's bytes.
///
/// # Errors
/// The file cannot be read.
pub fn file_hash(path: &Path) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    hasher.update_reader(file).map_err(|e| Error::io(path, e))?;
    Ok(hasher.finalize())
}

/// A name that nothing else has, after `prefix`.
///
/// # Errors
/// The system has no random numbers.
pub fn unique(prefix: &str) -> Result<String> {
    let mut number = [0; 8];
    getrandom::fill(&mut number).map_err(|e| Error::io("random numbers of the system", std::io::Error::other(e)))?;
    Ok(format!("{prefix}{:016x}", u64::from_le_bytes(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_are_their_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        create_dir(&folder).unwrap();
        write_atomic(&folder.join("c"), b"x").unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("c"))), (0o700, 0o600));
    }
}
