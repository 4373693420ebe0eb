//! What can be known of an output folder before hours of work: whether it can be written, and holds what is to come.

use crate::error::{Error, Result};
use crate::manifest::{REJECTS_SUFFIX, rejects};
use crate::store;
use crate::tombstones::Tombstones;
use rustix::fs::{Access, access, statvfs};
use std::path::{Path, PathBuf};

/// The folder that `out` means, if it is one, or can become one, that can be written. `.` and the like get their name.
///
/// # Errors
/// A file stands in its place, it cannot be written, or its path leads nowhere.
pub(super) fn usable(out: &Path) -> Result<PathBuf> {
    usable_as("out", out)
}

/// [`usable`] for the folder that option `name` names.
///
/// # Errors
/// As [`usable`].
pub(super) fn usable_as(name: &str, out: &Path) -> Result<PathBuf> {
    let advice = format!("name another folder with option `{name}`");
    if out.to_string_lossy().contains("://") {
        return Err(Error::Usage(format!(
            "option `{name}` {} is an address, where a folder of this machine is taken; write into one, and `augment push` it there",
            out.display()
        )));
    }
    let (real, missing) = nearest(out, &advice)?;
    if !real.is_dir() {
        return Err(Error::Usage(format!("{} is a file; {advice}", real.display())));
    }
    if store::is_locked(out) {
        return Err(Error::Busy(out.to_owned()));
    }
    let refused =
        |e: &dyn std::fmt::Display| Error::Usage(format!("{}: cannot be written ({e}); {advice}", real.display()));
    access(&real, Access::WRITE_OK | Access::EXEC_OK).map_err(|e| refused(&e))?;
    // Permissions do not tell all: only a file that could be made does.
    let probe = real.join(store::unique(store::PROBE)?);
    match store::create(&probe).and_then(|_| store::remove(&probe)) {
        Err(Error::Io { source, .. }) if !Error::may_pass(&source) => return Err(refused(&source)),
        done => done?,
    }
    let full = missing.iter().rev().fold(real, |path, name| path.join(name));
    if full.file_name().is_none() {
        return Err(Error::Usage(format!("{}: is the root of a file system; {advice}", full.display())));
    }
    // As it was typed, where that has a name to put others beside.
    let named = out.components().next_back().is_some_and(|c| matches!(c, std::path::Component::Normal(_)));
    Ok(if named { out.to_owned() } else { full })
}

/// Refuses a folder, named by option `name`, whose entries are all somebody else's: none of them `is_own`, of a `what`.
///
/// # Errors
/// `Usage`: it is such a folder.
pub(super) fn refuse_foreign(folder: &Path, (what, name): (&str, &str), is_own: impl Fn(&Path) -> bool) -> Result<()> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let entries: Vec<PathBuf> = entries.filter(|e| !store::is_lock_file(&e.file_name())).map(|e| e.path()).collect();
    if entries.is_empty() || entries.iter().any(|path| is_own(path)) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{} is not empty and holds no {what}; choose another folder with option `{name}`",
        folder.display()
    )))
}

/// Refuses a name that is no Parquet file's, and that of a file that is not `is_own`, as this command writes it.
///
/// # Errors
/// `Usage`: one of these.
pub(super) fn usable_parquet(out: &Path, is_own: impl Fn(&Path) -> bool) -> Result<()> {
    if out.is_dir() || out.extension().is_none_or(|e| e != "parquet") {
        return Err(Error::Usage(format!("option `out` {} must name a .parquet file", out.display())));
    }
    if out.exists() && !is_own(out) {
        return Err(Error::Usage(format!(
            "{} is there already, and not of this command; name another file with option `out`",
            out.display()
        )));
    }
    Ok(())
}

/// The folder of a file.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where the list of rejected rows goes: beside the output folder, which belongs to the dataset alone.
///
/// # Errors
/// Its folder cannot be made, or a file that is no such list has its name.
pub(super) fn rejects_path(out: &Path) -> Result<PathBuf> {
    let path = named_list(out, REJECTS_SUFFIX, "rejected rows")?;
    store::create_dir(folder_of(&path))?;
    Ok(path)
}

/// Where the list of `what` goes, by a name that ends with `suffix`; nothing is made.
///
/// # Errors
/// A file that is no such list has its name.
pub(super) fn named_list(out: &Path, suffix: &str, what: &str) -> Result<PathBuf> {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    let path = out.with_file_name(name);
    if path.exists() && !rejects::is_list(&path) {
        return Err(Error::Usage(format!(
            "{} has the name of the list of {what}, and is none; name another output with option `out`",
            path.display()
        )));
    }
    Ok(path)
}

/// Refuses `persons` who were forgotten in `folder`, by its tombstones; `advice` says what to do.
///
/// # Errors
/// `Usage`: somebody was.
pub(super) fn refuse_forgotten<'a>(
    folder: &Path,
    forgotten: Option<&Tombstones>,
    mut persons: impl Iterator<Item = &'a str>,
    advice: &str,
) -> Result<()> {
    match persons.find(|person| forgotten.is_some_and(|f| f.contains(person))) {
        Some(person) => {
            Err(Error::Usage(format!("identity `{person}` was forgotten in {}: {advice}", folder.display())))
        }
        None => Ok(()),
    }
}

/// Bytes that are free where `out` is or will be; none where the system does not say.
pub(super) fn free(out: &Path) -> Option<u64> {
    let (real, _) = nearest(out, "").ok()?;
    let disk = statvfs(&real).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Refuses `out` where `images` decoded images of side `size` have no room for as long as a job runs.
pub(super) fn room_for(out: &Path, images: usize, size: usize) -> Result<()> {
    let bytes = (images * size * size * 3) as u64;
    match free(out) {
        Some(free) if free < bytes => Err(Error::Usage(format!(
            "{images} synthetic images take {} MB while this runs, but {} has {} MB free; name another place with option `out`",
            bytes / 1_000_000,
            out.display(),
            free / 1_000_000
        ))),
        _ => Ok(()),
    }
}

/// The nearest folder of `out` that is there, without links, and the names below it, the last first.
fn nearest(out: &Path, advice: &str) -> Result<(PathBuf, Vec<std::ffi::OsString>)> {
    let nowhere = || Error::Usage(format!("{}: leads nowhere; {advice}", out.display()));
    let full = std::path::absolute(out).map_err(|_| nowhere())?;
    let (mut base, mut missing) = (full.as_path(), Vec::new());
    loop {
        match base.canonicalize() {
            Ok(real) => return Ok((real, missing)),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                if base.is_symlink() {
                    return Err(Error::Usage(format!("{} is a link that leads nowhere; {advice}", base.display())));
                }
                missing.push(base.file_name().ok_or_else(nowhere)?.to_owned());
                base = base.parent().ok_or_else(nowhere)?;
            }
            Err(e) => return Err(Error::Usage(format!("{}: {e}; {advice}", base.display()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_resolved_and_files_in_their_place_refused() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::fs::write(real.join("file"), "x").unwrap();
        assert_eq!(usable(&real.join("a/b")).unwrap(), real.join("a/b"));
        assert_eq!(usable(&real.join("a/../b")).ok(), None, "a is not there");
        std::fs::create_dir(real.join("a")).unwrap();
        assert_eq!(usable(&real.join("a/..")).unwrap(), real);
        assert_eq!(usable(&real.join("a/../b")).unwrap(), real.join("a/../b"));
        for bad in ["file", "file/x"] {
            assert!(usable(&real.join(bad)).unwrap_err().to_string().contains("file is a file"));
        }
        assert!(usable(Path::new("s3://bucket/x")).unwrap_err().to_string().contains("`augment push`"));
        assert!(usable(Path::new("/")).is_err() && usable(Path::new("/proc/x/y")).is_err());
        assert!(free(&real.join("x/y")).is_some_and(|bytes| bytes > 0));
        assert!(room_for(&real.join("x"), 10, 64).is_ok());
        let full = room_for(&real.join("x"), 1 << 40, 64).unwrap_err().to_string();
        assert!(full.contains("synthetic images take 13510798882 MB while this runs"), "{full}");
    }
}
