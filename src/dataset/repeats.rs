//! Images of a dataset in another order, as often as wanted, without a copy of any.

use super::IdentityDataset;
use super::catalogue::{Catalogue, Images};
use crate::error::Result;
use std::borrow::Cow;

/// Images of a dataset, some of them several times.
pub struct Repeats<'a> {
    images: &'a IdentityDataset,
    /// Which image each of ours is.
    indices: Vec<usize>,
    catalogue: Catalogue,
}

impl<'a> Repeats<'a> {
    /// The images `indices` of `images`, with the same identities.
    ///
    /// # Errors
    /// There are none.
    pub fn new(images: &'a IdentityDataset, indices: Vec<usize>) -> Result<Self> {
        let mut pixels = blake3::Hasher::new();
        for i in &indices {
            pixels.update(images.image(*i));
        }
        let labels = indices.iter().map(|i| images.labels()[*i]).collect();
        let catalogue = Catalogue::new(images.image_size(), pixels, labels, images.identities().to_vec())?;
        Ok(Self { images, indices, catalogue })
    }
}

impl Images for Repeats<'_> {
    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn read(&self, i: usize) -> Result<Cow<'_, [u8]>> {
        Ok(self.images.image(self.indices[i]).into())
    }
}
