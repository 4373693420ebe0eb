//! Images of a source on their way into rows of a manifest: looked at side by side, kept or refused in their order.

use super::findings::{Looked, Seen, key};
use super::manifest::Request;
use super::shares::Division;
use super::suspects::Suspects;
use crate::dataset::View;
use crate::dataset::decode::{self, MAX_FILE, read_file};
use crate::detector::{Detector, principal};
use crate::error::Result;
use crate::manifest::Root;
use crate::manifest::rejects::Reject;
use crate::manifest::write::{Entry, FoundFace};
use crate::recogniser::outside::Outside;
use crate::sources::{Chunk, Item, Picture, Place};
use crate::store;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use rayon::prelude::*;
use std::path::PathBuf;

/// Bytes of pictures that are looked at and written at a time, about.
const AT_ONCE: u64 = 64 << 20;
/// Why a photograph without a face is left out.
const FACELESS: &str = "no face was found in it";

/// Rows to write, and their kept columns.
pub(super) type Rows = (Vec<Entry>, Option<RecordBatch>);

/// Images on their way into rows.
pub(super) struct Sorting<'a> {
    request: &'a Request,
    /// The folder that linked images must lie in.
    root: Option<Root>,
    detector: Option<Detector>,
    judge: Option<Outside>,
    /// Columns of the source that are kept.
    kept: Vec<usize>,
    division: Option<Division>,
    /// What is known of the usable images.
    pub seen: Seen,
    /// Photographs without a face.
    pub faceless: usize,
    /// Images that cannot be used.
    pub rejected: Vec<Reject>,
    /// What the judge sees in the usable ones, if there is one.
    pub suspects: Option<Suspects>,
}

impl<'a> Sorting<'a> {
    /// Nothing sorted yet. Linked images must lie below `root`; of the source's other columns those numbered `kept` are kept.
    pub fn new(
        request: &'a Request,
        root: Option<Root>,
        detector: Option<Detector>,
        judge: Option<Outside>,
        kept: Vec<usize>,
        division: Option<Division>,
    ) -> Self {
        let suspects = judge.is_some().then(Suspects::default);
        let (seen, rejected) = (Seen::default(), Vec::new());
        Self { request, root, detector, judge, kept, division, seen, faceless: 0, rejected, suspects }
    }

    /// The usable images of `chunk`, as many at a time as are not too large together.
    pub fn sort(&mut self, chunk: Chunk) -> Result<Vec<Rows>> {
        let size = |item: &Item| match &item.picture {
            Picture::Bytes(bytes) => bytes.len() as u64,
            Picture::File(path) => std::fs::metadata(path).map_or(0, |m| m.len()),
            Picture::Below(_) => MAX_FILE / 8,
            Picture::Skipped | Picture::None(..) => 0,
        };
        let (mut items, mut from, mut found) = (chunk.items.into_iter().peekable(), 0, Vec::new());
        while items.peek().is_some() {
            let (mut some, mut bytes) = (Vec::new(), 0);
            while let Some(item) = items.next_if(|_| some.is_empty() || bytes < AT_ONCE) {
                bytes += size(&item);
                some.push(item);
            }
            let extras = chunk.extras.as_ref().map(|extras| extras.slice(from, some.len()));
            from += some.len();
            found.extend(self.sort_some(some, extras.as_ref())?);
        }
        Ok(found)
    }

    fn sort_some(&mut self, items: Vec<Item>, extras: Option<&RecordBatch>) -> Result<Option<Rows>> {
        let this = &*self;
        let places: Vec<Place> = items.iter().map(|item| item.place.clone()).collect();
        let looked: Vec<std::result::Result<_, Reject>> = items.into_par_iter().map(|item| this.look(item)).collect();
        let (mut entries, mut kept) = (Vec::new(), Vec::new());
        for (row, (found, place)) in looked.into_iter().zip(places).enumerate() {
            match found {
                Ok((mut entry, looked, embedding)) => {
                    if let Some(division) = &mut self.division {
                        entry.split =
                            Some(division.next(&key(&entry.identity, entry.identity_set.as_deref())).to_owned());
                    }
                    let (set, split) = (entry.identity_set.as_deref(), entry.split.as_deref());
                    let person = self.seen.add(&entry.identity, set, split, &looked);
                    if let (Some(suspects), Some(embedding)) = (&mut self.suspects, embedding) {
                        suspects.add(person, embedding, place);
                    }
                    entries.push(entry);
                    kept.push(row as u32);
                }
                Err(reject) => {
                    self.faceless += usize::from(reject.reason == FACELESS);
                    self.rejected.push(reject);
                }
            }
        }
        let extras = extras.map(|extras| {
            let rows = UInt32Array::from(kept);
            extras
                .project(&self.kept)
                .and_then(|extras| take_record_batch(&extras, &rows))
                .map_err(|e| store::failed(&self.request.out, &e))
        });
        Ok(if entries.is_empty() { None } else { Some((entries, extras.transpose()?)) })
    }

    /// The row of `item`, if it can be used. With a root, its picture is named by a path below that.
    fn look(&self, item: Item) -> std::result::Result<(Entry, Looked, Option<Vec<f32>>), Reject> {
        let (request, root) = (self.request, self.root.as_ref());
        let (file, row, at) = item.place.clone();
        let path = match &item.picture {
            Picture::File(path) => Some(path.clone()),
            Picture::Below(image) => Some(image.absolute()),
            Picture::None(_, path) => path.as_ref().map(PathBuf::from),
            Picture::Bytes(_) | Picture::Skipped => None,
        };
        let shown = path.as_ref().map(|p| p.display().to_string());
        let refuse = |reason: String| Reject { file: file.clone(), row, item: at, reason, path: shown.clone() };
        if let Picture::None(reason, _) = item.picture {
            return Err(refuse(reason));
        }
        let identity =
            item.identity.filter(|i| !i.trim().is_empty()).ok_or_else(|| refuse("it names no person".into()))?;
        let (bytes, name) = match (item.picture, root, &path) {
            (_, Some(_), None) => return Err(refuse("it lies in no file of its own: leave out option `link`".into())),
            // What is written is what was read, as its reader will read it.
            (_, Some(root), Some(path)) => {
                let image = std::path::absolute(path).map_err(|e| e.to_string());
                let image = image.and_then(|path| root.image(path.to_str().ok_or("its path is no UTF-8")?));
                let image = image.map_err(|e| refuse(format!("{e}; or leave out option `link`")))?;
                (image.read(MAX_FILE).map_err(&refuse)?, Some(image.path.to_string_lossy().into_owned()))
            }
            (picture, None, _) => (bytes_of(picture).map_err(&refuse)?, None),
        };
        let view = View::new(0, request.alignment);
        let (mut face, mut known) = (None, item.face);
        let pixels = if request.check || self.detector.is_some() || self.judge.is_some() {
            Some(decode::decode_bytes(&bytes).map_err(&refuse)?)
        } else {
            None
        };
        if let (Some(detector), Some(pixels)) = (&self.detector, &pixels) {
            let faces = detector.find(pixels).map_err(&refuse)?;
            let found = principal(&faces, pixels.width(), pixels.height()).ok_or_else(|| refuse(FACELESS.into()))?;
            known = Some(Ok(found.face()));
            face = Some(FoundFace {
                landmarks: found.landmarks.map(|v| v as f32),
                bbox: found.bbox.map(|v| v as f32),
                score: found.score as f32,
                faces: faces.len() as i32,
            });
        }
        let side = view.side(known.as_ref(), "image", &bytes).map_err(&refuse)?;
        let embedding = match (&self.judge, &pixels) {
            (Some(judge), Some(pixels)) => {
                let view = View::new(judge.placement().side, request.alignment);
                let seen =
                    view.image(known.as_ref(), "image", pixels).and_then(|seen| judge.embed_one(&seen, view.size()));
                Some(seen.map_err(&refuse)?)
            }
            _ => None,
        };
        let hashed = pixels.as_ref().map_or(&bytes[..], |pixels| pixels.as_raw());
        let looked = Looked::at(hashed, Some(side), face.map_or(1, |f| f.faces as usize));
        let file_name = || path.as_ref().and_then(|p| p.file_name()).map(|n| n.to_string_lossy().into_owned());
        let path = name.or_else(file_name).or_else(|| item.image_id.clone()).unwrap_or_default();
        let image = if request.link { Vec::new() } else { bytes };
        let Item { image_id, split, identity_set, group, .. } = item;
        Ok((Entry { identity, image_id, image, path, split, identity_set, group, face }, looked, embedding))
    }
}

/// The bytes of a picture, or text that says why it has none.
pub(super) fn bytes_of(picture: Picture) -> std::result::Result<Vec<u8>, String> {
    match picture {
        Picture::Bytes(bytes) => Ok(bytes),
        Picture::File(path) => read_file(&path),
        Picture::Below(image) => image.read(MAX_FILE),
        Picture::None(reason, _) => Err(reason),
        Picture::Skipped => Err("it was not read".into()),
    }
}
