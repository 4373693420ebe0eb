//! What the images of an identity set show, apart from their pixels; and what can be asked of images wherever these lie.

use crate::error::{Error, Result};
use crate::manifest::keys;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Labelled square images of one identity set, wherever their pixels are.
pub trait Images: Sync {
    /// What they show.
    fn catalogue(&self) -> &Catalogue;

    /// Pixels of image `i`, row-major RGB.
    ///
    /// # Errors
    /// They lie on a disk that cannot be read.
    fn read(&self, i: usize) -> Result<Cow<'_, [u8]>>;
}

/// What images show, in their order.
pub struct Catalogue {
    image_size: usize,
    labels: Vec<u32>,
    identities: Vec<String>,
    by_label: Vec<Vec<usize>>,
    hash: String,
}

impl Catalogue {
    /// Of images of side `image_size` whose `pixels` have been hashed; `labels` index `identities`.
    ///
    /// # Errors
    /// A label of no identity.
    pub(super) fn new(
        image_size: usize,
        pixels: blake3::Hasher,
        labels: Vec<u32>,
        identities: Vec<String>,
    ) -> Result<Self> {
        if labels.iter().any(|l| *l as usize >= identities.len()) {
            return Err(unfit());
        }
        let mut by_label = vec![Vec::new(); identities.len()];
        for (i, l) in labels.iter().enumerate() {
            by_label[*l as usize].push(i);
        }
        let hash = content_hash(pixels, labels.iter().map(|l| identities[*l as usize].as_str()));
        Ok(Self { image_size, labels, identities, by_label, hash })
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

    /// Labels that have images.
    pub fn present(&self) -> impl Iterator<Item = u32> {
        (0..self.identities.len() as u32).filter(|l| !self.images_of(*l).is_empty())
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

    /// blake3 (hex) over pixels and identities.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

/// Numbers of pixels, labels and identities that contradict each other.
pub(super) fn unfit() -> Error {
    Error::Manifest("images, labels and identities do not fit together".into())
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

#[cfg(test)]
mod tests {
    use super::super::IdentityDataset;
    use super::*;

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
}
