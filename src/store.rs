//! Atomic publishing of files: the only place that writes outputs to disk. Also locks of folders, and sealed JSON, whose
//! text holds its own hash.

use crate::error::{Error, Result};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the file that is locked while a process works in a folder.
pub const LOCK_FILE: &str = "_LOCK";

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

/// Beside the lock file, where the file system has no locks: names the process that works in the folder.
const HOLDER: &str = "_LOCK.holder";

/// True for the files that a lock leaves in its folder, and for the probes of who looks whether it can be written.
pub fn is_lock_file(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name == LOCK_FILE || name.starts_with(HOLDER) || name.starts_with(PROBE)
}

/// Beginning of the names of files that are made only to see whether they can be.
pub const PROBE: &str = ".augment-";

/// A name that nothing else has, after `prefix`.
///
/// # Errors
/// The system has no random numbers.
pub fn unique(prefix: &str) -> Result<String> {
    let mut number = [0; 8];
    getrandom::fill(&mut number).map_err(|e| Error::io("random numbers of the system", std::io::Error::other(e)))?;
    Ok(format!("{prefix}{:016x}", u64::from_le_bytes(number)))
}

/// A folder that this process works in alone, until the value is dropped or the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    /// The file that stands for a lock where the file system has none.
    holder: Option<PathBuf>,
}

impl Lock {
    /// What the user should know of it, if there is something.
    pub fn note(&self) -> Option<String> {
        let holder = self.holder.as_ref()?;
        Some(format!(
            "the file system has no locks: {} keeps other runs out; delete it if its process ended on another machine",
            holder.display()
        ))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(holder) = &self.holder {
            // One that stays names a process that is gone, and is taken over.
            let _ = fs::remove_file(holder);
        }
    }
}

/// Creates and locks `folder`.
///
/// # Errors
/// `Busy` if another process holds it.
pub fn lock(folder: &Path) -> Result<Lock> {
    create_dir(folder)?;
    let path = folder.join(LOCK_FILE);
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(|e| Error::io(&path, e))?;
    // Somebody who only looks ([`is_locked`]) holds it for a moment.
    for _ in 0..5 {
        match file.try_lock() {
            Ok(()) => return Ok(Lock { _file: file, holder: None }),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            Err(TryLockError::Error(e)) if is_one_of(&e, &[Errno::NOSYS, Errno::NOTSUP, Errno::NOLCK]) => {
                return Ok(Lock { _file: file, holder: Some(hold(folder)?) });
            }
            Err(TryLockError::Error(e)) => return Err(Error::io(&path, e)),
        }
    }
    Err(Error::Busy(folder.to_owned()))
}

/// Takes the place of a lock by a file that names this process, unless it names another one that may live.
fn hold(folder: &Path) -> Result<PathBuf> {
    let path = folder.join(HOLDER);
    let mine = folder.join(unique(&format!("{HOLDER}-"))?);
    write(&mine, this_process().as_bytes())?;
    let held = link(&mine, &path).or_else(|_| {
        // Whose it is, is looked at once more after it was taken away: another process may have been faster.
        let dead = folder.join(unique(&format!("{HOLDER}-"))?);
        if may_live(&path) || fs::rename(&path, &dead).is_err() {
            return Err(Error::Busy(folder.to_owned()));
        }
        let back = may_live(&dead).then(|| link(&dead, &path));
        remove(&dead)?;
        match back {
            None => link(&mine, &path).map_err(|_| Error::Busy(folder.to_owned())),
            Some(_) => Err(Error::Busy(folder.to_owned())),
        }
    });
    remove(&mine)?;
    held.map(|()| path)
}

/// Gives a file a second name, which must not be there.
fn link(from: &Path, to: &Path) -> Result<()> {
    fs::hard_link(from, to).map_err(|e| Error::io(to, e))
}

/// The machine and the namespace that process numbers count in, the number of this process, and the moment at which it began, by which
/// a later one of the same number is told apart.
fn this_process() -> String {
    let id = std::process::id().to_string();
    format!("{} {id} {}", here(), began(&id).unwrap_or_default())
}

fn here() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{}/{}", boot.trim(), space.display())
}

/// When the process `id` of this machine began, in the system's ticks; none if it is gone.
fn began(id: &str) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the moment is the 20th field after it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
}

/// True unless the process that the file names is known to be gone.
fn may_live(holder: &Path) -> bool {
    let text = match fs::read_to_string(holder) {
        Ok(text) => text,
        Err(e) => return e.kind() != std::io::ErrorKind::NotFound,
    };
    match text.split(' ').collect::<Vec<_>>()[..] {
        // Of another machine or container nothing can be known.
        [place, id, moment] => place != here() || began(id).is_some_and(|began| began == moment),
        _ => true,
    }
}

/// True while a process works in `folder`.
pub fn is_locked(folder: &Path) -> bool {
    let held = |f: File| matches!(f.try_lock_shared(), Err(TryLockError::WouldBlock));
    File::open(folder.join(LOCK_FILE)).is_ok_and(held) || may_live(&folder.join(HOLDER))
}

/// Key of a sealed document that holds the hash of its text.
const SEAL: &str = "blake3";

/// Writes an object with the hash of its own text in it.
///
/// # Errors
/// The file cannot be written.
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

    #[test]
    fn a_file_stands_for_a_lock_while_its_process_lives() {
        let dir = tempfile::tempdir().unwrap();
        let path = hold(dir.path()).unwrap();
        assert!(is_locked(dir.path()) && matches!(hold(dir.path()), Err(Error::Busy(_))));
        // A process of the same number that began at another time is another process, and so is one that is gone.
        for gone in [format!("{} {} 1", here(), std::process::id()), format!("{} 4194305 7", here())] {
            fs::write(&path, gone).unwrap();
            assert!(!is_locked(dir.path()));
            hold(dir.path()).unwrap();
        }
        // Of a process elsewhere nothing is known.
        fs::write(&path, "elsewhere 4194305 7").unwrap();
        assert!(matches!(hold(dir.path()), Err(Error::Busy(_))));
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.len() == 1 && left.iter().all(|name| is_lock_file(name)), "{left:?}");
    }

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
