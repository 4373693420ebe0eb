//! The one way from a picture to the square pixels that networks see.

use super::decode::{decode, decode_source};
use crate::manifest::Row;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

/// How a picture is cut and scaled. Its errors are text that says what is wrong with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    size: usize,
}

impl View {
    /// The centre square at a side of `size` pixels.
    pub fn new(size: usize) -> Self {
        Self { size }
    }

    /// Side of the square, in pixels.
    pub fn size(self) -> usize {
        self.size
    }

    /// The view of a decoded picture, antialiased.
    ///
    /// # Shapes
    /// - returns `[S, S, 3]` bytes, row-major RGB
    ///
    /// # Errors
    /// The picture cannot be scaled.
    pub fn square(self, image: &RgbImage) -> Result<Vec<u8>, String> {
        let (w, h) = image.dimensions();
        if (w as usize, h as usize) == (self.size, self.size) {
            return Ok(image.as_raw().clone());
        }
        let side = w.min(h);
        let source = ImageRef::new(w, h, image.as_raw(), PixelType::U8x3).map_err(|e| e.to_string())?;
        let mut target = Image::new(self.size as u32, self.size as u32, PixelType::U8x3);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).crop(
            f64::from((w - side) / 2),
            f64::from((h - side) / 2),
            f64::from(side),
            f64::from(side),
        );
        Resizer::new().resize(&source, &mut target, &options).map_err(|e| e.to_string())?;
        Ok(target.into_vec())
    }

    /// The view of the pixels of a square picture of side `size`.
    ///
    /// # Errors
    /// They are not `size * size * 3` bytes.
    pub fn pixels(self, pixels: Vec<u8>, size: usize) -> Result<Vec<u8>, String> {
        let image = RgbImage::from_raw(size as u32, size as u32, pixels);
        self.square(&image.ok_or("the picture has another size than it is said to have")?)
    }

    /// The view of an encoded picture.
    ///
    /// # Errors
    /// It cannot be decoded.
    pub fn encoded(self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        self.square(&decode(bytes)?)
    }

    /// The view of a manifest's row.
    ///
    /// # Errors
    /// The row has no identity, or no picture that can be decoded.
    pub fn row(self, row: &Row) -> Result<Vec<u8>, String> {
        if row.identity.is_none() {
            return Err("identity is null or empty".into());
        }
        self.square(&decode_source(&row.image)?)
    }
}
