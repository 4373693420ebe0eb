//! The decoded images of one identity set, in memory as bytes, and the one place where [-1, 1] is defined.

pub(crate) mod align;
pub mod decode;
pub mod encode;
pub(crate) mod scale;
mod view;

use crate::error::{Error, Result};
use crate::manifest::rejects::Reject;
use crate::manifest::{Manifest, Place, Row, keys};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
pub use view::View;

/// Which rows of a manifest belong to datasets.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only rows of this split.
    pub split: Option<String>,
    /// Only rows of these identity sets.
    pub sets: Option<Vec<String>>,
    /// Also rows without identity, of whatever set: they are rejected, and must not go unseen.
    pub unlabelled: bool,
    /// Of these, those of this set alone.
    pub alone: Option<String>,
    /// Only these row groups, which hold all rows of the sets.
    pub places: Option<BTreeSet<Place>>,
}

impl Selection {
    /// True if `row` belongs to it.
    pub fn contains(&self, row: &Row) -> bool {
        let split = self.split.is_none() || self.split == row.split;
        let set = self.sets.as_ref().is_none_or(|sets| sets.iter().any(|s| s == row.set()));
        let alone = self.alone.as_ref().is_none_or(|alone| alone == row.set());
        split && if row.identity.is_some() { set } else { self.unlabelled && alone }
    }
}

/// Images on their way into a dataset.
#[derive(Default)]
struct Growing {
    pixels: Vec<u8>,
    names: Vec<String>,
    groups: BTreeMap<String, String>,
}

impl Growing {
    fn complete(self, image_size: usize) -> Result<IdentityDataset> {
        let mut identities: Vec<String> = self.names.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect();
        identities.sort_by(|a, b| keys::compare(a, b));
        let number: BTreeMap<&str, u32> = identities.iter().zip(0..).map(|(n, i)| (n.as_str(), i)).collect();
        let labels = self.names.iter().map(|n| number[n.as_str()]).collect();
        Ok(IdentityDataset::new(image_size, self.pixels, labels, identities)?.with_groups(self.groups))
    }
}

/// Reads the selected images of `manifest` as `view` shows them, in one pass. Hands each to `f` with its row; unusable rows are
/// returned with reasons. `progress` is told the number of images handled so far; its error ends the reading.
///
/// # Errors
/// A file is damaged; and those of `progress`.
pub fn for_each_image(
    manifest: &Manifest,
    selection: &Selection,
    view: View,
    mut progress: impl FnMut(usize) -> Result<()>,
    mut f: impl FnMut(Row, &[u8]),
) -> Result<Vec<Reject>> {
    let (mut rejects, mut handled) = (Vec::new(), 0);
    manifest.read_places(true, selection.places.as_ref(), |rows| {
        let rows: Vec<Row> = rows.into_iter().filter(|r| selection.contains(r)).collect();
        let decoded: Vec<std::result::Result<Vec<u8>, String>> = rows.par_iter().map(|row| view.row(row)).collect();
        for (row, image) in rows.into_iter().zip(decoded) {
            match image {
                Ok(image) => f(row, &image),
                Err(reason) => rejects.push(Reject {
                    file: row.file,
                    row: row.row,
                    item: row.item,
                    reason,
                    path: row.image.path(),
                }),
            }
            handled += 1;
        }
        progress(handled)
    })?;
    Ok(rejects)
}

/// The selected images of `manifest` as `view` shows them: a dataset for each of `sets`, in their order, read in one pass; and the
/// rows that are unusable. Memory is taken at once for as many images of a set as are expected.
///
/// # Errors
/// As [`for_each_image`].
pub fn load_sets(
    manifest: &Manifest,
    selection: &Selection,
    sets: &[(&str, usize)],
    view: View,
    progress: impl FnMut(usize) -> Result<()>,
) -> Result<(Vec<IdentityDataset>, Vec<Reject>)> {
    let image = view.size() * view.size() * 3;
    let begun = |expected: usize| Growing { pixels: Vec::with_capacity(expected * image), ..Growing::default() };
    let mut growing: BTreeMap<&str, Growing> = sets.iter().map(|(set, expected)| (*set, begun(*expected))).collect();
    let rejects = for_each_image(manifest, selection, view, progress, |row, image| {
        let (Some(set), Some(identity)) = (growing.get_mut(row.set()), row.identity) else { return };
        set.pixels.extend_from_slice(image);
        if let Some(group) = row.group {
            set.groups.entry(identity.clone()).or_insert(group);
        }
        set.names.push(identity);
    })?;
    let datasets = sets.iter().map(|(set, _)| growing.remove(set).unwrap_or_default().complete(view.size()));
    Ok((datasets.collect::<Result<_>>()?, rejects))
}

/// blake3 (hex) of images whose `pixels` have been hashed, and of the identities that they show.
fn content_hash<'a>(mut pixels: blake3::Hasher, identities: impl Iterator<Item = &'a str>) -> String {
    for identity in identities {
        pixels.update(identity.as_bytes());
        pixels.update(&[0]);
    }
    pixels.finalize().to_hex().to_string()
}

/// What a dataset holds, seen image by image without keeping them.
#[derive(Default)]
pub struct Contents {
    pixels: blake3::Hasher,
    /// Number of each identity by the first sight of it, and its images.
    identities: BTreeMap<String, (u32, usize)>,
    shown: Vec<u32>,
}

impl Contents {
    /// Adds an image of `identity`.
    pub fn add(&mut self, identity: &str, pixels: &[u8]) {
        self.pixels.update(pixels);
        let next = self.identities.len() as u32;
        let (number, images) = match self.identities.get_mut(identity) {
            Some(known) => known,
            None => self.identities.entry(identity.to_owned()).or_insert((next, 0)),
        };
        *images += 1;
        self.shown.push(*number);
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.shown.len()
    }

    /// True without images.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// The hash of the dataset, and its identities in the order of their labels with the number of their images.
    pub fn finish(self) -> (String, Vec<(String, usize)>) {
        let mut names = vec![""; self.identities.len()];
        self.identities.iter().for_each(|(name, (number, _))| names[*number as usize] = name);
        let hash = content_hash(self.pixels, self.shown.iter().map(|number| names[*number as usize]));
        let mut identities: Vec<(String, usize)> =
            self.identities.into_iter().map(|(name, (_, n))| (name, n)).collect();
        identities.sort_by(|(a, _), (b, _)| keys::compare(a, b));
        (hash, identities)
    }
}

/// Labelled square images of one identity set.
pub struct IdentityDataset {
    image_size: usize,
    /// `[N, S, S, 3]`
    pixels: Vec<u8>,
    labels: Vec<u32>,
    identities: Vec<String>,
    by_label: Vec<Vec<usize>>,
    groups: BTreeMap<String, String>,
    hash: String,
}

impl IdentityDataset {
    /// A dataset from parts: `pixels` is `[N, S, S, 3]`, `labels` index `identities`.
    ///
    /// # Errors
    /// Numbers of pixels and labels that do not fit together.
    pub fn new(image_size: usize, pixels: Vec<u8>, labels: Vec<u32>, identities: Vec<String>) -> Result<Self> {
        if pixels.len() != labels.len() * image_size * image_size * 3
            || labels.iter().any(|l| *l as usize >= identities.len())
        {
            return Err(Error::Manifest("images, labels and identities do not fit together".into()));
        }
        let mut by_label = vec![Vec::new(); identities.len()];
        for (i, l) in labels.iter().enumerate() {
            by_label[*l as usize].push(i);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&pixels);
        let hash = content_hash(hasher, labels.iter().map(|l| identities[*l as usize].as_str()));
        Ok(Self { image_size, pixels, labels, identities, by_label, groups: BTreeMap::new(), hash })
    }

    /// The same images with the groups of their identities, which are not part of the hash.
    #[must_use]
    pub fn with_groups(mut self, groups: BTreeMap<String, String>) -> Self {
        self.groups = groups;
        self
    }

    /// Group of identity `label`, if it has one.
    pub fn group(&self, label: u32) -> Option<&str> {
        self.groups.get(&self.identities[label as usize]).map(String::as_str)
    }

    /// The images `indices`, with the same identities.
    ///
    /// # Errors
    /// An index of no image.
    pub fn subset(&self, indices: &[usize]) -> Result<Self> {
        let mut pixels = Vec::with_capacity(indices.len() * self.image_size * self.image_size * 3);
        indices.iter().for_each(|i| pixels.extend_from_slice(self.image(*i)));
        let labels = indices.iter().map(|i| self.labels[*i]).collect();
        Self::new(self.image_size, pixels, labels, self.identities.clone())
    }

    /// The images cut in two, every other one of each identity: their indices. Who has a single image has it in both.
    pub fn halves(&self) -> [Vec<usize>; 2] {
        [0, 1].map(|part: usize| {
            let of_one = |own: &Vec<usize>| {
                own.iter().copied().skip(part.min(own.len().saturating_sub(1))).step_by(2).collect::<Vec<_>>()
            };
            self.by_label.iter().flat_map(of_one).collect()
        })
    }

    /// The same images as `view` shows them.
    ///
    /// # Errors
    /// A picture cannot be scaled.
    pub fn seen_as(&self, view: View) -> Result<Self> {
        let seen = |i: usize| view.pixels(self.image(i).to_vec(), self.image_size).map_err(Error::Model);
        let pixels: Vec<Vec<u8>> = (0..self.len()).into_par_iter().map(seen).collect::<Result<_>>()?;
        let same = Self::new(view.size(), pixels.concat(), self.labels.clone(), self.identities.clone())?;
        Ok(same.with_groups(self.groups.clone()))
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True without images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Side of the images, in pixels.
    pub fn image_size(&self) -> usize {
        self.image_size
    }

    /// Identity keys in the order of their labels.
    pub fn identities(&self) -> &[String] {
        &self.identities
    }

    /// Label of each image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Indices of the images of `label`.
    pub fn images_of(&self, label: u32) -> &[usize] {
        &self.by_label[label as usize]
    }

    /// blake3 (hex) over pixels and identities.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Pixels of image `i`, row-major RGB.
    pub fn image(&self, i: usize) -> &[u8] {
        let n = self.image_size * self.image_size * 3;
        &self.pixels[i * n..(i + 1) * n]
    }

    /// Images `[B, S, S, 3]` in [-1, 1]; those whose `flips` is set are mirrored.
    ///
    /// # Errors
    /// Too little memory.
    pub fn batch(&self, indices: &[usize], flips: &[bool], device: &Device) -> Result<Tensor> {
        let s = self.image_size;
        let mut values = Vec::with_capacity(indices.len() * s * s * 3);
        for (n, &i) in indices.iter().enumerate() {
            for row in self.image(i).chunks_exact(3 * s) {
                if flips.get(n) == Some(&true) {
                    values.extend(row.chunks_exact(3).rev().flatten().map(|b| to_signed(*b)));
                } else {
                    values.extend(row.iter().map(|b| to_signed(*b)));
                }
            }
        }
        Ok(Tensor::from_vec(values, (indices.len(), s, s, 3), device)?)
    }
}

/// Byte 0..255 to [-1, 1].
pub fn to_signed(byte: u8) -> f32 {
    f32::from(byte) / 127.5 - 1.0
}

/// [-1, 1] to the nearest byte.
pub fn to_byte(value: f32) -> u8 {
    ((value + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_signed_range() {
        assert!((0..=255).all(|b| to_byte(to_signed(b)) == b));
        assert_eq!((to_signed(0), to_signed(255)), (-1.0, 1.0));
    }

    #[test]
    fn contents_are_known_without_keeping_the_images() {
        let shown = [("10", 3u8), ("9", 1), ("10", 2)];
        let mut contents = Contents::default();
        shown.iter().for_each(|(name, v)| contents.add(name, &[*v; 12]));
        let pixels = shown.iter().flat_map(|(_, v)| [*v; 12]).collect();
        let dataset = IdentityDataset::new(2, pixels, vec![1, 0, 1], vec!["9".into(), "10".into()]).unwrap();
        assert_eq!(contents.len(), 3);
        assert_eq!(contents.finish(), (dataset.hash().to_owned(), vec![("9".into(), 1), ("10".into(), 2)]));
    }

    #[test]
    fn halves_share_only_the_images_of_those_who_have_one() {
        let pixels: Vec<u8> = (0..6).flat_map(|i| [i; 12]).collect();
        let names = ["a", "b", "c"].map(Into::into).to_vec();
        let all = IdentityDataset::new(2, pixels, vec![0, 2, 2, 0, 2, 1], names).unwrap();
        let seen = |half: &IdentityDataset| (0..half.len()).map(|i| half.image(i)[0]).collect::<Vec<_>>();
        let [first, second] = all.halves().map(|half| all.subset(&half).unwrap());
        assert_eq!((seen(&first), first.labels()), (vec![0, 5, 1, 4], &[0, 1, 2, 2][..]));
        assert_eq!((seen(&second), second.labels()), (vec![3, 5, 2], &[0, 1, 2][..]));
        assert_eq!(first.identities(), all.identities());
    }
}
