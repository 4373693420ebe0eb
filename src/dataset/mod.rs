//! The decoded images of one identity set, in memory as bytes or on the disk, and the one place where [-1, 1] is defined.

pub(crate) mod align;
mod catalogue;
pub mod decode;
pub mod encode;
mod repeats;
pub(crate) mod scale;
mod stock;
mod view;

use crate::error::{Error, Result};
use crate::manifest::rejects::Reject;
use crate::manifest::{Manifest, Place, Row, keys};
use candle_core::{Device, Tensor};
use catalogue::unfit;
pub use catalogue::{Catalogue, Contents, Images};
use rayon::prelude::*;
pub use repeats::Repeats;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
pub use stock::{Stock, StockWriter};
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

/// Labelled square images of one identity set.
pub struct IdentityDataset {
    /// `[N, S, S, 3]`
    pixels: Vec<u8>,
    catalogue: Catalogue,
    groups: BTreeMap<String, String>,
}

impl Images for IdentityDataset {
    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn read(&self, i: usize) -> Result<Cow<'_, [u8]>> {
        Ok(self.image(i).into())
    }
}

impl IdentityDataset {
    /// A dataset from parts: `pixels` is `[N, S, S, 3]`, `labels` index `identities`.
    ///
    /// # Errors
    /// Numbers of pixels and labels that do not fit together.
    pub fn new(image_size: usize, pixels: Vec<u8>, labels: Vec<u32>, identities: Vec<String>) -> Result<Self> {
        if pixels.len() != labels.len() * image_size * image_size * 3 {
            return Err(unfit());
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&pixels);
        let catalogue = Catalogue::new(image_size, hasher, labels, identities)?;
        Ok(Self { pixels, catalogue, groups: BTreeMap::new() })
    }

    /// The images `indices` of `images`, with the same identities.
    ///
    /// # Errors
    /// They lie on a disk that cannot be read.
    pub fn of(images: &dyn Images, indices: &[usize]) -> Result<Self> {
        let all = images.catalogue();
        let mut pixels = Vec::with_capacity(indices.len() * all.image_size().pow(2) * 3);
        for i in indices {
            pixels.extend_from_slice(&images.read(*i)?);
        }
        let labels = indices.iter().map(|i| all.labels()[*i]).collect();
        Self::new(all.image_size(), pixels, labels, all.identities().to_vec())
    }

    /// The same images with the groups of their identities, which are not part of the hash.
    #[must_use]
    pub fn with_groups(mut self, groups: BTreeMap<String, String>) -> Self {
        self.groups = groups;
        self
    }

    /// Group of identity `label`, if it has one.
    pub fn group(&self, label: u32) -> Option<&str> {
        self.groups.get(&self.identities()[label as usize]).map(String::as_str)
    }

    /// The images `indices`, with the same identities.
    ///
    /// # Errors
    /// Numbers that do not fit together.
    pub fn subset(&self, indices: &[usize]) -> Result<Self> {
        Self::of(self, indices)
    }

    /// The images cut in two, see [`Catalogue::halves`].
    pub fn halves(&self) -> [Vec<usize>; 2] {
        self.catalogue.halves()
    }

    /// The same images as `view` shows them.
    ///
    /// # Errors
    /// A picture cannot be scaled.
    pub fn seen_as(&self, view: View) -> Result<Self> {
        let seen = |i: usize| view.pixels(self.image(i).to_vec(), self.image_size()).map_err(Error::Model);
        let pixels: Vec<Vec<u8>> = (0..self.len()).into_par_iter().map(seen).collect::<Result<_>>()?;
        let same = Self::new(view.size(), pixels.concat(), self.labels().to_vec(), self.identities().to_vec())?;
        Ok(same.with_groups(self.groups.clone()))
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.catalogue.len()
    }

    /// True without images.
    pub fn is_empty(&self) -> bool {
        self.catalogue.is_empty()
    }

    /// Side of the images, in pixels.
    pub fn image_size(&self) -> usize {
        self.catalogue.image_size()
    }

    /// Identity keys in the order of their labels.
    pub fn identities(&self) -> &[String] {
        self.catalogue.identities()
    }

    /// Label of each image.
    pub fn labels(&self) -> &[u32] {
        self.catalogue.labels()
    }

    /// Indices of the images of `label`.
    pub fn images_of(&self, label: u32) -> &[usize] {
        self.catalogue.images_of(label)
    }

    /// blake3 (hex) over pixels and identities.
    pub fn hash(&self) -> &str {
        self.catalogue.hash()
    }

    /// Pixels of image `i`, row-major RGB.
    pub fn image(&self, i: usize) -> &[u8] {
        let n = self.image_size() * self.image_size() * 3;
        &self.pixels[i * n..(i + 1) * n]
    }

    /// Images `[B, S, S, 3]` in [-1, 1]; those whose `flips` is set are mirrored.
    ///
    /// # Errors
    /// Too little memory.
    pub fn batch(&self, indices: &[usize], flips: &[bool], device: &Device) -> Result<Tensor> {
        let s = self.image_size();
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
