//! Names in tars that readers take for others.

use crate::error::{Error, Result};
use std::fs::File;
use std::path::PathBuf;

/// What is wrong with the names in `tars`, in sentences.
///
/// # Errors
/// A tar cannot be read.
pub(super) fn problems(tars: &[PathBuf]) -> Result<Vec<String>> {
    let (mut dotted, mut first) = (0, None);
    for path in tars {
        let damaged = |e: std::io::Error| Error::Manifest(format!("{}: damaged tar: {e}", path.display()));
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        for member in tar::Archive::new(file).entries_with_seek().map_err(damaged)? {
            let name = String::from_utf8_lossy(&member.map_err(damaged)?.path_bytes()).into_owned();
            if name.rsplit('/').next().is_some_and(|file| file.matches('.').count() > 1) {
                dotted += 1;
                first.get_or_insert(name);
            }
        }
    }
    let told =
        |first| format!("{dotted} names with dots in their keys, the first {first}: readers cut at the first dot");
    Ok(first.map(told).into_iter().collect())
}
