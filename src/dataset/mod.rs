//! The decoded images of one identity set, in memory as bytes, and the one place where [-1, 1] is defined.

pub mod decode;

use crate::error::{Error, Result};
use crate::manifest::rejects::Reject;
use crate::manifest::{DEFAULT_SET, ImageSource, Manifest, Row};
use candle_core::{Device, Tensor};
use image::RgbImage;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Which rows of a manifest belong to a dataset.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only rows of this split.
    pub split: Option<String>,
    /// Only rows of this identity set.
    pub identity_set: Option<String>,
    /// Also rows without identity, of whatever set: they are rejected, and must not go unseen.
    pub unlabelled: bool,
}

impl Selection {
    /// True if `row` belongs to it.
    pub fn contains(&self, row: &Row) -> bool {
        let split = self.split.is_none() || self.split == row.split;
        let set = self.identity_set.as_deref().is_none_or(|s| s == row.set());
        split && if row.identity.is_some() { set } else { self.unlabelled }
    }
}

/// What a manifest holds: images per (identity set, split, identity), without looking at pictures.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Number of images by (set, split, identity); no split is the empty string.
    pub images: BTreeMap<(String, String, String), usize>,
    /// Number of rows without identity by split.
    pub unlabelled: BTreeMap<String, usize>,
}

impl Census {
    /// Counts the rows of `manifest`.
    pub fn take(manifest: &Manifest) -> Result<Self> {
        let mut census = Self::default();
        manifest.read(false, |rows| {
            for row in rows {
                match row.identity {
                    None => *census.unlabelled.entry(row.split.unwrap_or_default()).or_default() += 1,
                    Some(identity) => {
                        let set = row.identity_set.unwrap_or_else(|| DEFAULT_SET.to_owned());
                        let key = (set, row.split.unwrap_or_default(), identity);
                        *census.images.entry(key).or_default() += 1;
                    }
                }
            }
            Ok(())
        })?;
        Ok(census)
    }

    /// Names of the splits, without the empty one.
    pub fn splits(&self) -> BTreeSet<&str> {
        self.images.keys().map(|(_, s, _)| s.as_str()).filter(|s| !s.is_empty()).collect()
    }

    /// Names of the identity sets that have rows in `split`.
    pub fn sets(&self, split: Option<&str>) -> BTreeSet<String> {
        let chosen = self.images.keys().filter(|(_, s, _)| split.is_none_or(|want| want == s));
        chosen.map(|(set, _, _)| set.clone()).collect()
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
    /// Decodes the selected images of `manifest` to `image_size`; unusable rows are returned with reasons.
    ///
    /// `progress` is told the number of rows handled so far; its error ends the reading.
    pub fn load(
        manifest: &Manifest,
        selection: &Selection,
        image_size: usize,
        mut progress: impl FnMut(usize) -> Result<()>,
    ) -> Result<(Self, Vec<Reject>)> {
        let mut pixels = Vec::new();
        let mut names: Vec<String> = Vec::new();
        let mut groups = BTreeMap::new();
        let mut rejects = Vec::new();
        let mut handled = 0;
        manifest.read(true, |rows| {
            let rows: Vec<Row> = rows.into_iter().filter(|r| selection.contains(r)).collect();
            let decoded: Vec<std::result::Result<Vec<u8>, String>> =
                rows.par_iter().map(|row| decode_row(row, image_size)).collect();
            for (row, image) in rows.into_iter().zip(decoded) {
                match (image, row.identity) {
                    (Ok(image), Some(identity)) => {
                        pixels.extend_from_slice(&image);
                        if let Some(group) = row.group {
                            groups.entry(identity.clone()).or_insert(group);
                        }
                        names.push(identity);
                    }
                    (image, _) => rejects.push(Reject {
                        file: row.file,
                        row: row.row,
                        item: row.item,
                        reason: image.err().unwrap_or_default(),
                        path: row.image.path(),
                    }),
                }
                handled += 1;
            }
            progress(handled)
        })?;
        let identities: Vec<String> = names.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect();
        let number: BTreeMap<&str, u32> = identities.iter().zip(0..).map(|(n, i)| (n.as_str(), i)).collect();
        let labels = names.iter().map(|n| number[n.as_str()]).collect();
        Ok((Self::new(image_size, pixels, labels, identities)?.with_groups(groups), rejects))
    }

    /// A dataset from parts: `pixels` is `[N, S, S, 3]`, `labels` index `identities`.
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
        for l in &labels {
            hasher.update(identities[*l as usize].as_bytes());
            hasher.update(&[0]);
        }
        let hash = hasher.finalize().to_hex().to_string();
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
    pub fn subset(&self, indices: &[usize]) -> Result<Self> {
        let pixels = indices.iter().flat_map(|i| self.image(*i)).copied().collect();
        let labels = indices.iter().map(|i| self.labels[*i]).collect();
        Self::new(self.image_size, pixels, labels, self.identities.clone())
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

/// Pixels of a row, or why it has none.
pub(crate) fn decode_row(row: &Row, image_size: usize) -> std::result::Result<Vec<u8>, String> {
    if row.identity.is_none() {
        return Err("identity is null or empty".into());
    }
    decode::square(&decode_source(&row.image)?, image_size)
}

/// The upright picture that a row names, at its own size, or what is wrong with it.
pub fn decode_source(source: &ImageSource) -> std::result::Result<RgbImage, String> {
    let from_file;
    let bytes: &[u8] = match source {
        ImageSource::Bytes(bytes) => bytes,
        ImageSource::Path(image) => {
            from_file = image.read(decode::MAX_ALLOC)?;
            &from_file
        }
        ImageSource::Skipped => return Err("image was not read".into()),
        ImageSource::Bad { reason, .. } => return Err(reason.clone()),
    };
    // A decoder that panics on a hostile file is a bad row, not the end of the run.
    std::panic::catch_unwind(|| decode::decode(bytes)).unwrap_or_else(|_| Err("the image decoder gave up".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_signed_range() {
        assert!((0..=255).all(|b| to_byte(to_signed(b)) == b));
        assert_eq!((to_signed(0), to_signed(255)), (-1.0, 1.0));
    }
}
