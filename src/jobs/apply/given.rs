//! The images that a model is to treat, one after the other, as often as they are asked for.

use super::{Images, Request, Whom, label_of, view};
use crate::dataset::decode::decode_bytes;
use crate::dataset::for_each_image;
use crate::error::{Error, Result};
use crate::jobs::Context;
use crate::jobs::input::Source;
use crate::manifest::keys;
use crate::manifest::rejects::Reject;
use crate::progress::Progress;
use crate::sources::PICTURES;
use crate::train::TrainedModel;
use std::path::{Path, PathBuf};

/// Bytes of a file, at most.
const MOST: u64 = 64 << 20;

/// An image to treat.
pub(super) struct Picture {
    /// What it is called: the path of its file, or its place in the manifest.
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
    /// Rows.
    Rows { source: Box<Source>, whom: &'a Whom, model: &'a TrainedModel, side: usize },
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
                if let Whom::Both(..) = whom {
                    return Err(Error::Usage("two identities are named for images that are given one by one, not for a manifest".into()));
                }
                Ok(Self::Rows { source, whom, model, side })
            }
            Images::Files(_) if *whom == Whom::Rows => Err(Error::Usage(
                "whom the images show is not said: name one of the model's with option `identity`, or `auto`, and its classifier chooses".into(),
            )),
            Images::Files(named) => {
                let mut paths = Vec::new();
                named.iter().try_for_each(|path| files(path, true, &mut paths))?;
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
        match self {
            Self::Files { paths, labels, side } => {
                for (done, path) in paths.iter().enumerate() {
                    let name = path.display().to_string();
                    let refuse = |reason: String| Reject { file: name.clone(), row: 0, item: 0, reason, path: None };
                    let label = labels[done % labels.len()];
                    f(square(path, *side).map(|pixels| Picture { name: name.clone(), label, pixels }).map_err(refuse))?;
                    progress.at(done as u64 + 1);
                    if progress.stop_requested() {
                        return Err(Error::Stopped);
                    }
                }
                Ok(())
            }
            Self::Rows { source, whom, model, side } => {
                let sets = source.sets();
                // A closure that may fail stands in one that may not.
                let mut failed = Ok(());
                let at = |handled: usize| {
                    progress.at(handled as u64);
                    if progress.stop_requested() { Err(Error::Stopped) } else { Ok(()) }
                };
                let known = &model.header.identities;
                let rejects = for_each_image(
                    &source.manifest,
                    &source.selection(&sets, false),
                    view(model, *side),
                    at,
                    |row, pixels| {
                        if failed.is_err() {
                            return;
                        }
                        let identity = row.identity.as_deref().unwrap_or_default();
                        let label = match whom {
                        Whom::Auto | Whom::Both(..) => Ok(None),
                        Whom::Named(named) => label_of(model, named).map(Some).map_err(|e| e.to_string()),
                        Whom::Rows => keys::find(known, identity).map(|l| Some(l as u32)).ok_or_else(|| {
                            format!("the model does not know identity `{identity}`; with option `identity` auto its classifier chooses")
                        }),
                    };
                        let name = format!("{}-{}-{}", row.image_id.clone().unwrap_or_default(), row.row, row.item);
                        failed = f(match label {
                            Ok(label) => Ok(Picture { name, label, pixels: pixels.to_vec() }),
                            Err(reason) => Err(Reject {
                                file: row.file,
                                row: row.row,
                                item: row.item,
                                reason,
                                path: row.image.path(),
                            }),
                        });
                    },
                )?;
                failed?;
                rejects.into_iter().try_for_each(|reject| f(Err(reject)))
            }
        }
    }
}

/// Adds `path`, or the pictures in the folder that it is, in the order of their names.
fn files(path: &Path, named: bool, found: &mut Vec<PathBuf>) -> Result<()> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    if metadata.is_dir() {
        let entries = std::fs::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let mut below: Vec<PathBuf> = entries.map_err(|e| Error::io(path, e))?.into_iter().map(|e| e.path()).collect();
        below.sort();
        below.retain(|p| !p.file_name().unwrap_or_default().to_string_lossy().starts_with(['.', '_']));
        return below.iter().try_for_each(|path| files(path, false, found));
    }
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    if named || PICTURES.contains(&extension.as_str()) {
        found.push(path.to_owned());
    }
    Ok(())
}

/// The pixels of the picture at `path`, which must be a square of side `side`.
fn square(path: &Path, side: usize) -> std::result::Result<Vec<u8>, String> {
    let metadata = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if !metadata.is_file() || metadata.len() > MOST {
        return Err("no picture: it is no regular file, or larger than 64 MB".into());
    }
    let image = decode_bytes(&std::fs::read(path).map_err(|e| e.to_string())?)?;
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
