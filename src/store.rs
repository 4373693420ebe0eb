//! Atomic publishing of files: the only place that writes outputs to disk. Also locks of folders, and sealed JSON, whose
//! text holds its own hash.

use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the file that is locked while a process works in a folder.
pub const LOCK_FILE: &str = "_LOCK";

/// Creates `folder` and its parents, and makes their names durable.
pub fn create_dir(folder: &Path) -> Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_dir(parent)?;
    match fs::create_dir(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(Error::io(folder, e)),
        _ if !folder.is_dir() => Err(Error::io(folder, std::io::ErrorKind::NotADirectory.into())),
        _ => sync(parent),
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

/// Makes a file, or the names in a folder, durable.
pub fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|f| f.sync_all()).map_err(|e| Error::io(path, e))
}

/// Makes a complete temporary file durable and gives it its name.
pub fn publish(temporary: &Path, path: &Path) -> Result<()> {
    sync(temporary)?;
    fs::rename(temporary, path).map_err(|e| Error::io(path, e))?;
    sync(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Writes a file that counts only once something else names it; [`sync`] must come before that.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|e| Error::io(path, e))
}

/// Writes a whole file: readers see the old one or the new one.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let temp = temporary(path);
    let mut file = File::create(&temp).map_err(|e| Error::io(&temp, e))?;
    file.write_all(bytes).map_err(|e| Error::io(&temp, e))?;
    drop(file);
    publish(&temp, path)
}

/// A folder that this process works in alone, until the value is dropped or the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Creates and locks `folder`.
///
/// # Errors
/// `Busy` if another process holds it.
pub fn lock(folder: &Path) -> Result<Lock> {
    create_dir(folder)?;
    let path = folder.join(LOCK_FILE);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(|e| Error::io(&path, e))?;
    // Somebody who only looks ([`is_locked`]) holds it for a moment.
    for _ in 0..5 {
        match file.try_lock() {
            Ok(()) => return Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            Err(TryLockError::Error(e)) => return Err(Error::io(&path, e)),
        }
    }
    Err(Error::Busy(folder.to_owned()))
}

/// True while a process works in `folder`.
pub fn is_locked(folder: &Path) -> bool {
    File::open(folder.join(LOCK_FILE)).is_ok_and(|f| matches!(f.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Key of a sealed document that holds the hash of its text.
const SEAL: &str = "blake3";

/// Writes an object with the hash of its own text in it.
pub fn write_sealed(path: &Path, object: &Value) -> Result<()> {
    let mut object = object.clone();
    object[SEAL] = json!("");
    let open = format!("{object:#}\n");
    let place = format!("\"{SEAL}\": \"");
    // The last one: hashes of other things stand deeper, in lists that come before or after it.
    let at = open.rfind(&format!("\n  {place}\"")).map_or(0, |at| at + 3 + place.len());
    let hash = blake3::hash(open.as_bytes()).to_hex();
    write_atomic(path, format!("{}{hash}{}", &open[..at], &open[at..]).as_bytes())
}

/// Reads what [`write_sealed`] wrote; `None` where there is no file.
///
/// # Errors
/// `Damaged` if a byte of it is another.
pub fn read_sealed(path: &Path) -> Result<Option<Value>> {
    let text = match fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, e)),
        Ok(bytes) => bytes,
    };
    let damaged = || Error::Damaged { path: path.to_owned(), what: "its content does not fit its hash".into() };
    let text = String::from_utf8(text).map_err(|_| damaged())?;
    let object: Value = serde_json::from_str(&text).map_err(|_| damaged())?;
    let hash = object[SEAL].as_str().filter(|h| h.len() == 64).ok_or_else(damaged)?;
    let open = text.replacen(hash, "", 1);
    if blake3::hash(open.as_bytes()).to_hex().as_str() == hash { Ok(Some(object)) } else { Err(damaged()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_sealed_document_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        let object = json!({ "a": [{ "blake3": "" }, 1.5e-7], "z": { "blake3": "x" }, "text": "a b" });
        write_sealed(&path, &object).unwrap();
        let mut read = read_sealed(&path).unwrap().unwrap();
        read.as_object_mut().unwrap().remove(SEAL);
        assert_eq!(read, object);
        let bytes = fs::read(&path).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &changed).unwrap();
            assert!(matches!(read_sealed(&path), Err(Error::Damaged { .. })), "bit {bit}");
        }
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(read_sealed(&path).is_err());
    }

    #[test]
    fn a_folder_is_locked_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(Error::Busy(_))));
        assert!(is_locked(dir.path()));
        drop(first);
        assert!(!is_locked(dir.path()));
        lock(dir.path()).unwrap();
    }
}
