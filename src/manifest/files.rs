//! Which files a manifest consists of, and what the names of their folders say.

use super::{PLAN_FILE, REJECTS_SUFFIX, SUSPECTS_SUFFIX, other};
use crate::error::{Error, Result};
use percent_encoding::percent_decode_str;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What Hive and DuckDB write for a null in the name of a folder.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The files that `spec` means, sorted, and the folder that image paths are relative to.
///
/// # Errors
/// There is none, or a folder cannot be read.
pub(super) fn find_files(spec: &str) -> Result<(PathBuf, Vec<PathBuf>)> {
    let path = Path::new(spec);
    if path.is_dir() {
        let mut paths = Vec::new();
        collect_parquet(path, &[], &mut paths)?;
        if paths.is_empty() {
            return Err(Error::Manifest(other::of_folder(spec)));
        }
        return Ok((path.to_owned(), once(paths)));
    }
    if path.exists() || !spec.contains(['*', '?', '[']) {
        if !path.exists() {
            let stdin = if spec == "-" { ": standard input is not read; save it as a file" } else { "" };
            return Err(Error::Manifest(format!(
                "{spec}: no such file{stdin}; give a Parquet file, a folder or a quoted glob"
            )));
        }
        return Ok((path.parent().unwrap_or(Path::new("")).to_owned(), vec![path.to_owned()]));
    }
    let pattern = glob::glob(spec).map_err(|e| Error::Manifest(format!("{spec}: {e}")))?;
    let matching = pattern
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| Error::io(e.path(), std::io::Error::other(e.to_string())))?;
    // A pattern means what a folder would: no hidden files, nothing of our own; a folder that matches is searched.
    let mut paths = Vec::new();
    for path in matching.into_iter().filter(|path| is_input(path)) {
        if path.is_dir() {
            collect_parquet(&path, &[], &mut paths)?;
        } else {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(Error::Manifest(format!("{spec}: no file matches, hidden ones and augment's own left out")));
    }
    let paths = once(paths);
    // Relative to the part of the pattern before the first wildcard.
    let fixed: PathBuf =
        path.components().take_while(|c| !c.as_os_str().to_string_lossy().contains(['*', '?', '['])).collect();
    Ok((fixed, paths))
}

/// The Parquet files below `folder`. `above` are the real folders that lead to it: a link back to one of them is passed over.
fn collect_parquet(folder: &Path, above: &[PathBuf], paths: &mut Vec<PathBuf>) -> Result<()> {
    let real = std::fs::canonicalize(folder).map_err(|e| Error::io(folder, e))?;
    if above.contains(&real) {
        return Ok(());
    }
    let here: Vec<PathBuf> = above.iter().cloned().chain([real]).collect();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if !is_input(&path) {
            continue;
        }
        if path.is_dir() {
            collect_parquet(&path, &here, paths)?;
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet")) {
            paths.push(path);
        }
    }
    Ok(())
}

/// False for hidden files and folders, and for what this program wrote: datasets, and lists of rejected rows.
pub(crate) fn is_input(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let list = [REJECTS_SUFFIX, SUSPECTS_SUFFIX].iter().any(|suffix| name.ends_with(suffix));
    !name.starts_with(['.', '_']) && !list && !path.join(PLAN_FILE).exists()
}

/// Every real file once, under the first of its names, in the order of names.
fn once(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    paths.sort();
    // Also one with several hard links is one file.
    paths.retain(|path| std::fs::metadata(path).map_or(true, |m| seen.insert((m.dev(), m.ino()))));
    paths
}

/// Keys and values of the `key=value` folders below `root` that `path` lies in, as Hive and DuckDB write them: escaped, with a word for null.
pub(super) fn hive_folders(root: &Path, path: &Path) -> Vec<(String, Option<String>)> {
    let inner = path.strip_prefix(root).unwrap_or(path);
    let folders = inner.parent().into_iter().flat_map(Path::components);
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    folders
        .filter_map(|c| {
            let (key, value) = c.as_os_str().to_str()?.split_once('=')?;
            let value = Some(decoded(value)).filter(|_| value != HIVE_NULL);
            Some((decoded(key), value))
        })
        .collect()
}
