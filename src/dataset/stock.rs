//! Images on the disk, in a file without a name that is gone with the process: for those that are too many for memory, and of which a
//! training draws a batch at a time.

use super::catalogue::{Catalogue, Images, unfit};
use crate::error::{Error, Result};
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Labelled square images of one identity set, on the disk.
pub struct Stock {
    file: File,
    /// Where the file has no name.
    folder: PathBuf,
    catalogue: Catalogue,
}

impl Images for Stock {
    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn read(&self, i: usize) -> Result<Cow<'_, [u8]>> {
        let mut pixels = vec![0; self.catalogue.image_size().pow(2) * 3];
        let at = (i * pixels.len()) as u64;
        self.file.read_exact_at(&mut pixels, at).map_err(|e| Error::io(&self.folder, e))?;
        Ok(pixels.into())
    }
}

/// Images on their way to the disk.
pub struct StockWriter {
    file: BufWriter<File>,
    folder: PathBuf,
    image_size: usize,
    pixels: blake3::Hasher,
    images: usize,
}

impl StockWriter {
    /// Of images of side `image_size`, on the disk of `folder`.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn new(folder: &Path, image_size: usize) -> Result<Self> {
        let file = tempfile::tempfile_in(folder).map_err(|e| Error::io(folder, e))?;
        let (file, folder) = (BufWriter::new(file), folder.to_owned());
        Ok(Self { file, folder, image_size, pixels: blake3::Hasher::new(), images: 0 })
    }

    /// Adds an image, `[S, S, 3]`.
    ///
    /// # Errors
    /// The disk is full.
    pub fn add(&mut self, pixels: &[u8]) -> Result<()> {
        if pixels.len() != self.image_size.pow(2) * 3 {
            return Err(unfit());
        }
        self.pixels.update(pixels);
        self.images += 1;
        self.file.write_all(pixels).map_err(|e| Error::io(&self.folder, e))
    }

    /// The images, whose `labels` index `identities`.
    ///
    /// # Errors
    /// The disk is full; labels that do not fit to the images.
    pub fn finish(self, labels: Vec<u32>, identities: Vec<String>) -> Result<Stock> {
        let Self { file, folder, image_size, pixels, images } = self;
        if images != labels.len() {
            return Err(unfit());
        }
        let file = file.into_inner().map_err(|e| Error::io(&folder, e.into_error()))?;
        Ok(Stock { file, folder, catalogue: Catalogue::new(image_size, pixels, labels, identities)? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::IdentityDataset;
    use super::*;

    #[test]
    fn images_on_the_disk_are_those_of_memory() {
        let dir = tempfile::tempdir().unwrap();
        let images: Vec<Vec<u8>> = (0..5).map(|i| vec![i * 50; 12]).collect();
        let (labels, names) = (vec![1, 0, 1, 1, 0], ["a", "b"].map(Into::into).to_vec());
        let mut writer = StockWriter::new(dir.path(), 2).unwrap();
        images.iter().for_each(|image| writer.add(image).unwrap());
        assert!(writer.add(&[0; 11]).is_err());
        let stock = writer.finish(labels.clone(), names.clone()).unwrap();
        let memory = IdentityDataset::new(2, images.concat(), labels, names).unwrap();
        assert_eq!(stock.catalogue().hash(), memory.hash());
        assert!([4, 0, 3, 1, 2].into_iter().all(|i| *stock.read(i).unwrap() == *memory.image(i)));
        let some = IdentityDataset::of(&stock, &[3, 1]).unwrap();
        assert_eq!(some.hash(), memory.subset(&[3, 1]).unwrap().hash());
        // Nothing is left of it, and images that are not there are an error.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(stock.read(5).unwrap_err().to_string().contains(&dir.path().display().to_string()));
        let few = StockWriter::new(dir.path(), 2).unwrap().finish(vec![0], vec!["a".into()]);
        assert!(few.is_err());
        assert!(StockWriter::new(&dir.path().join("gone"), 2).is_err());
    }
}
