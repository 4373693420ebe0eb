//! Folders that one process works in at a time.

use super::{create_dir, is_one_of, remove, unique, write};
use crate::error::{Error, Result};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the file that is locked while a process works in a folder.
pub const LOCK_FILE: &str = "_LOCK";

/// Beside the lock file, where the file system has no locks: names the process that works in the folder.
const HOLDER: &str = "_LOCK.holder";

/// True for the files that a lock leaves in its folder, and for the probes of who looks whether it can be written.
pub fn is_lock_file(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name == LOCK_FILE || name.starts_with(HOLDER) || name.starts_with(PROBE)
}

/// Beginning of the names of files that are made only to see whether they can be.
pub const PROBE: &str = ".augment-";

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
