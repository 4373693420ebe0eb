//! The images that a model is to treat, one after the other, as often as they are asked for.

use super::{Images, Request, Whom, label_of, view};
use crate::dataset::decode::{decode_bytes, read_file};
use crate::dataset::for_each_image;
use crate::error::{Error, Result};
use crate::jobs::Context;
use crate::jobs::input::Source;
use crate::jobs::walk::at;
use crate::manifest::rejects::Reject;
use crate::manifest::{is_input, keys};
use crate::progress::Progress;
use crate::sources::{PICTURES, picture_of, sorted};
use crate::train::TrainedModel;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// An image to treat.
pub(super) struct Picture {
    /// What it is called, and no other is: the path of its file, or its key and place in the manifest; what is given again has a number.
    pub name: String,
    /// The label of whom it shows, where somebody says it.
    pub label: Option<u32>,
    /// `[S, S, 3]` bytes.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// Its name without folders and extension.
    pub fn stem(&self) -> String {
        Path::new(&self.name).file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The images, opened.
pub(super) enum Given<'a> {
    /// Files, and the labels that are named for them in turn.
    Files { paths: Vec<PathBuf>, labels: Vec<Option<u32>>, side: usize },
    /// Rows, and the label that is named for all; of each its own, where `by_row`.
    Rows { source: Box<Source>, label: Option<u32>, by_row: bool, model: &'a TrainedModel, side: usize },
}

impl<'a> Given<'a> {
    /// Finds the images of `request`, which are taken at side `side`.
    ///
    /// # Errors
    /// There are none; an identity that the model does not know.
    pub fn open(request: &'a Request, model: &'a TrainedModel, side: usize, context: &Context) -> Result<Self> {
        let whom = &request.whom;
        let labels = match whom {
            Whom::Named(identity) => vec![Some(label_of(model, identity)?)],
            Whom::Both(first, second) => vec![Some(label_of(model, first)?), Some(label_of(model, second)?)],
            Whom::Auto | Whom::Rows => vec![None],
        };
        match &request.images {
            Images::Manifest(input) => {
                let source = Box::new(Source::open(input, context)?);
                source.set_of("a model serves")?;
                if let Whom::Both(..) = whom {
                    return Err(Error::Usage("two identities are named for images that are given one by one, not for a manifest".into()));
                }
                Ok(Self::Rows { source, label: labels[0], by_row: *whom == Whom::Rows, model, side })
            }
            Images::Files(_) if *whom == Whom::Rows => Err(Error::Usage(
                "whom the images show is not said: name one of the model's with option `identity`, or `auto`, and its classifier chooses".into(),
            )),
            Images::Files(named) => {
                let mut paths = Vec::new();
                named.iter().try_for_each(|path| files(path, true, &mut BTreeSet::new(), &mut paths))?;
                if paths.is_empty() {
                    return Err(Error::Usage(format!(
                        "no image to treat: {} holds no {}",
                        named.first().map_or(String::new(), |p| p.display().to_string()),
                        PICTURES.join(", ")
                    )));
                }
                Ok(Self::Files { paths, labels, side })
            }
        }
    }

    /// Number of images, about.
    pub fn about(&self) -> u64 {
        match self {
            Self::Files { paths, .. } => paths.len() as u64,
            Self::Rows { source, .. } => source.sets().iter().map(|set| source.count(set).1 as u64).sum(),
        }
    }

    /// Hands all images to `f`, in order, or why one cannot be used.
    ///
    /// # Errors
    /// Those of `f`; `Stopped`; a manifest that cannot be read.
    pub fn read(
        &self,
        progress: &mut dyn Progress,
        f: &mut dyn FnMut(std::result::Result<Picture, Reject>) -> Result<()>,
    ) -> Result<()> {
        let mut names = BTreeSet::new();
        let f = &mut |picture: std::result::Result<Picture, Reject>| {
            f(picture.map(|picture| Picture { name: distinct(&mut names, &picture.name), ..picture }))
        };
        match self {
            Self::Files { paths, labels, side } => {
                for (done, path) in paths.iter().enumerate() {
                    let name = path.display().to_string();
                    let path_of_file = Some(name.clone());
                    let refuse = |reason| Reject { file: name.clone(), row: 0, item: 0, reason, path: path_of_file };
                    let label = labels[done % labels.len()];
                    f(square(path, *side).map(|pixels| Picture { name: name.clone(), label, pixels }).map_err(refuse))?;
                    progress.reached(done as u64 + 1)?;
                }
                Ok(())
            }
            Self::Rows { source, label, by_row, model, side } => {
                let of_row = |identity: &str| match keys::find(&model.header.identities, identity) {
                    _ if !by_row => Ok(*label),
                    Some(label) => Ok(Some(label as u32)),
                    None => Err(format!(
                        "the model does not know identity `{identity}`; with option `identity` auto its classifier chooses"
                    )),
                };
                let (selection, view) = (source.selection(&source.sets(), false), view(model, *side));
                // A closure that may fail stands in one that may not.
                let mut failed = Ok(());
                let rejects = for_each_image(&source.manifest, &selection, view, at(progress), |row, pixels| {
                    if failed.is_err() {
                        return;
                    }
                    failed = f(match of_row(row.identity.as_deref().unwrap_or_default()) {
                        Ok(label) => {
                            let file =
                                || Path::new(&row.file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
                            let name = format!("{}-{}-{}", row.image_id.unwrap_or_else(file), row.row, row.item);
                            Ok(Picture { name, label, pixels: pixels.to_vec() })
                        }
                        Err(reason) => {
                            let path = row.image.path();
                            Err(Reject { file: row.file, row: row.row, item: row.item, reason, path })
                        }
                    });
                })?;
                failed?;
                rejects.into_iter().try_for_each(|reject| f(Err(reject)))
            }
        }
    }
}

/// `name` with a number, where it is among `names`, to which it is added.
fn distinct(names: &mut BTreeSet<String>, name: &str) -> String {
    let (mut free, mut number) = (name.to_owned(), 1);
    while !names.insert(free.clone()) {
        number += 1;
        free = format!("{name} ({number})");
    }
    free
}

/// Adds `path`, or the pictures in the folder that it is, in the order of their names; links lead into no folder `within` which they are.
fn files(path: &Path, named: bool, within: &mut BTreeSet<PathBuf>, found: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |e| Error::io(path, e);
    if std::fs::metadata(path).map_err(failed)?.is_dir() {
        let real = path.canonicalize().map_err(failed)?;
        if within.insert(real.clone()) {
            let inner = sorted(path)?;
            inner.iter().filter(|p| is_input(p)).try_for_each(|path| files(path, false, within, found))?;
            within.remove(&real);
        }
        return Ok(());
    }
    if named || picture_of(path).is_some() {
        found.push(path.to_owned());
    }
    Ok(())
}

/// The pixels of the picture at `path`, which must be a square of side `side`.
fn square(path: &Path, side: usize) -> std::result::Result<Vec<u8>, String> {
    let image = decode_bytes(&read_file(path)?)?;
    if image.dimensions() != (side as u32, side as u32) {
        return Err(format!(
            "is {} x {} px, where {side} x {side} px are taken, with the face as the training images show it; `augment manifest` with option \
             `detector` and option `manifest` here cut and scale photographs",
            image.width(),
            image.height()
        ));
    }
    Ok(image.into_raw())
}
