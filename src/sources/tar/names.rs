//! What readers of tars stumble over: names that they take for others, tars without a picture, labels that are no classes.

use super::super::no_classes;
use super::{is_apart, is_picture, parts};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

/// Kinds of members that hold the number of a class.
const CLASSES: [&str; 2] = ["cls", "class"];

/// What is wrong with `tars`, whose pictures have `labels`, in sentences.
///
/// # Errors
/// A tar cannot be read.
pub(super) fn problems(tars: &[PathBuf], labels: &BTreeMap<String, usize>) -> Result<Vec<String>> {
    let (mut dotted, mut first, mut empty, mut classes) = (0, None, Vec::new(), false);
    for path in tars {
        let mut pictures = 0;
        let damaged = |e: std::io::Error| Error::Manifest(format!("{}: damaged tar: {e}", path.display()));
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let mut archive = tar::Archive::new(file);
        // Tars that were put one after the other each have an end.
        archive.set_ignore_zeros(true);
        for member in archive.entries_with_seek().map_err(damaged)? {
            let name = String::from_utf8_lossy(&member.map_err(damaged)?.path_bytes()).into_owned();
            if name.rsplit('/').next().is_some_and(|file| file.matches('.').count() > 1) {
                dotted += 1;
                first.get_or_insert_with(|| name.clone());
            }
            let kind = parts(&name).filter(|_| !is_apart(&name)).map_or("", |(_, _, kind)| kind);
            pictures += usize::from(is_picture(kind));
            classes |= CLASSES.iter().any(|class| kind.eq_ignore_ascii_case(class));
        }
        if pictures == 0 {
            empty.push(path);
        }
    }
    let told =
        |first| format!("{dotted} names with dots in their keys, the first {first}: readers cut at the first dot");
    let hollow = empty.first().map(|path| {
        format!(
            "{} tars hold no picture, the first {}: a worker that reads one gets nothing",
            empty.len(),
            path.display()
        )
    });
    let no_classes = if classes { no_classes(labels) } else { None };
    Ok(first.map(told).into_iter().chain(hollow).chain(no_classes).collect())
}
