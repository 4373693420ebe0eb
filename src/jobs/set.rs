//! What a training will find in a set of images: an image folder, RecordIO, tars, Parquet, or a verification set; and what it will stumble over.

use super::sorting::bytes_of;
use super::verify::Kind;
use crate::dataset::decode::decode_bytes;
use crate::error::Result;
use crate::formats::pairs::FOLDS;
use crate::formats::recordio::SET;
use crate::formats::{FORMATS, METADATA, bin};
use crate::manifest::Columns;
use crate::progress::Progress;
use crate::sources;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Images that are shown one by one.
const FIRST: usize = 5;
/// Sizes that are listed.
const SIZES: usize = 3;

/// An image.
#[derive(Clone, Debug, Serialize)]
pub struct One {
    /// Where it stands.
    pub place: String,
    /// Its label.
    pub label: String,
    /// Width and height, in pixels.
    pub size: Option<(u32, u32)>,
    /// Bytes of its file.
    pub bytes: usize,
}

/// What a set holds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Found {
    /// What it is.
    pub kind: String,
    /// Images.
    pub images: usize,
    /// Labels that have images.
    pub classes: usize,
    /// Images of a label: fewest, median, most.
    pub per_class: [usize; 3],
    /// The sizes that most images have, and how many.
    pub sizes: Vec<((u32, u32), usize)>,
    /// Pairs of a verification set, and those of one person.
    pub pairs: Option<(usize, usize)>,
    /// The first images.
    pub first: Vec<One>,
    /// What a training will stumble over, in sentences.
    pub problems: Vec<String>,
}

/// Width and height of a picture that can be decoded, and the bytes of its file; or what is wrong with it.
type Looked = std::result::Result<((u32, u32), usize), String>;

/// Counts what is gathered on the way.
#[derive(Default)]
struct Counts {
    labels: BTreeMap<String, usize>,
    sizes: BTreeMap<(u32, u32), usize>,
    first: Vec<One>,
    bad: usize,
    first_bad: Option<String>,
}

impl Counts {
    fn add(&mut self, file: &str, place: String, label: Option<String>, looked: Looked) {
        match &looked {
            Ok((size, _)) => *self.sizes.entry(*size).or_default() += 1,
            Err(e) => {
                self.bad += 1;
                self.first_bad.get_or_insert_with(|| format!("{file} {place}: {e}"));
            }
        }
        let label = label.unwrap_or_default();
        *self.labels.entry(label.clone()).or_default() += 1;
        if self.first.len() < FIRST {
            let (size, bytes) = looked.map_or((None, 0), |(size, bytes)| (Some(size), bytes));
            self.first.push(One { place, label, size, bytes });
        }
    }

    /// What is found, of `kind`.
    fn found(self, kind: &str, mut problems: Vec<String>) -> Found {
        let mut counts: Vec<usize> = self.labels.values().copied().collect();
        counts.sort_unstable();
        let mut sizes: Vec<((u32, u32), usize)> = self.sizes.into_iter().collect();
        sizes.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        match (counts.is_empty(), self.labels.get("")) {
            (true, _) => problems.push("no image at all".into()),
            (_, Some(n)) => problems.push(format!("{n} images have no label")),
            _ => {}
        }
        if let Some(first) = self.first_bad {
            problems.push(format!("{} images cannot be decoded; the first: {first}", self.bad));
        }
        if sizes.len() > 1 {
            problems.push(format!("images of {} sizes: most loaders stack images of one", sizes.len()));
        }
        if sizes.iter().any(|((w, h), _)| w != h) {
            problems.push("images that are not square".into());
        }
        Found {
            kind: kind.into(),
            images: counts.iter().sum(),
            classes: self.labels.keys().filter(|label| !label.is_empty()).count(),
            per_class: [counts.first(), counts.get(counts.len() / 2), counts.last()].map(|n| n.copied().unwrap_or(0)),
            sizes: sizes.into_iter().take(SIZES).collect(),
            pairs: None,
            first: self.first,
            problems,
        }
    }
}

/// Decodes every image.
///
/// # Errors
/// The set cannot be read.
pub fn run(set: &Path, progress: &mut dyn Progress) -> Result<Found> {
    let set = within(set);
    if set.extension().is_some_and(|e| e == bin::EXTENSION) {
        return pairs(&set);
    }
    // What stands beside the folders of an image folder is no set of its own.
    let source = if set.join(METADATA).is_file() && !set.join(SET).is_file() {
        sources::tree(&set)?
    } else {
        sources::open(&set.display().to_string(), &Columns::default(), Path::new(""))?
    };
    let (mut counts, mut done) = (Counts::default(), 0);
    progress.start("look", 0, "images");
    source.read(true, &mut |chunk| {
        let looked: Vec<_> = chunk
            .items
            .into_par_iter()
            .map(|item| {
                let file = item.place.0;
                let place = item.image_id.unwrap_or_else(|| format!("{file} row {}", item.place.1));
                (file, place, item.identity, bytes_of(item.picture).and_then(|bytes| decoded(&bytes)))
            })
            .collect();
        done += looked.len();
        looked.into_iter().for_each(|(file, place, label, looked)| counts.add(&file, place, label, looked));
        progress.reached(done as u64)
    })?;
    progress.finish();
    let problems = source.problems(&counts.labels)?;
    Ok(counts.found(source.kind(), problems))
}

/// What there is to know of a picture.
fn decoded(bytes: &[u8]) -> Looked {
    decode_bytes(bytes).map(|image| (image.dimensions(), bytes.len()))
}

/// The set that a dataset of ours holds, or `set` itself.
fn within(set: &Path) -> PathBuf {
    let ours = Kind::all(set).contains(&Kind::Dataset);
    let folder = FORMATS.iter().map(|f| set.join(f.folder())).find(|folder| ours && folder.is_dir());
    folder.unwrap_or_else(|| set.to_owned())
}

/// What a verification set holds.
fn pairs(path: &Path) -> Result<Found> {
    let (images, same) = bin::read(path)?;
    let mut counts = Counts::default();
    let of_one = same.iter().filter(|s| **s).count();
    let looked: Vec<Looked> = images.par_iter().map(|bytes| decoded(bytes)).collect();
    for (i, looked) in looked.into_iter().enumerate() {
        counts.add(
            &path.display().to_string(),
            format!("image {i}"),
            Some(if same[i / 2] { "same" } else { "other" }.into()),
            looked,
        );
    }
    let mut problems = Vec::new();
    let alike = |fold: &&[bool]| fold.iter().all(|s| *s == fold[0]);
    let folds = same.chunks(same.len().div_ceil(FOLDS)).filter(alike).count();
    if folds > 0 {
        problems.push(format!(
            "{folds} of {FOLDS} folds, which are cut in the order of the file, hold pairs of one kind alone: the accuracy of a fold says nothing"
        ));
    }
    Ok(Found { pairs: Some((same.len(), of_one)), ..counts.found("verification set", problems) })
}
