//! The one way from a picture to the square pixels that networks see.

use super::align::{LEAST_SIDE, Square};
use super::decode::{decode, decode_source};
use crate::config::Alignment;
use crate::manifest::Row;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

/// How a picture is cut and scaled. Its errors are text that says what is wrong with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    size: usize,
    alignment: Alignment,
}

impl View {
    /// Pictures at a side of `size` pixels: of rows that say where their face is that face, of all others the centre square.
    pub fn new(size: usize, alignment: Alignment) -> Self {
        Self { size, alignment }
    }

    /// The centre square of pictures, at a side of `size` pixels.
    pub fn square(size: usize) -> Self {
        Self::new(size, Alignment::None)
    }

    /// Side of the square, in pixels.
    pub fn size(self) -> usize {
        self.size
    }

    /// What it shows of rows that say where their face is.
    pub fn alignment(self) -> Alignment {
        self.alignment
    }

    /// The centre square of a decoded picture, antialiased.
    ///
    /// # Shapes
    /// - returns `[S, S, 3]` bytes, row-major RGB
    ///
    /// # Errors
    /// The picture cannot be scaled.
    pub fn centre(self, image: &RgbImage) -> Result<Vec<u8>, String> {
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
        self.centre(&image.ok_or("the picture has another size than it is said to have")?)
    }

    /// The view of an encoded picture of which nobody says where its face is.
    ///
    /// # Errors
    /// It cannot be decoded.
    pub fn encoded(self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        self.centre(&decode(bytes)?)
    }

    /// The view of a manifest's row.
    ///
    /// # Errors
    /// The row has no identity, no picture that can be decoded, or no face in it.
    pub fn row(self, row: &Row) -> Result<Vec<u8>, String> {
        if row.identity.is_none() {
            return Err("identity is null or empty".into());
        }
        self.picture(row).map_err(|e| format!("column `{}`: {e}", row.column))
    }

    fn picture(self, row: &Row) -> Result<Vec<u8>, String> {
        let image = decode_source(&row.image)?;
        if let Some(face) = self.face(row)? {
            return face.cut(&image, self.size);
        }
        let (w, h) = image.dimensions();
        if w.min(h) < LEAST_SIDE {
            return Err(format!("the image is {w}x{h} px, which shows nobody: {LEAST_SIDE} px a side are the least"));
        }
        self.centre(&image)
    }

    /// Side of what the view shows of a manifest's row, in pixels of its picture; none of a picture that cannot be shown.
    pub fn side(self, row: &Row) -> Option<usize> {
        match self.face(row).ok()? {
            Some(face) => Some(face.side() as usize),
            None => decode_source(&row.image).ok().map(|image| image.width().min(image.height()) as usize),
        }
    }

    /// True if the view of `row` is cut out of its picture by where its face is.
    pub fn aligns(self, row: &Row) -> bool {
        self.alignment != Alignment::None && row.face.is_some()
    }

    fn face(self, row: &Row) -> Result<Option<Square>, String> {
        match &row.face {
            Some(face) if self.aligns(row) => {
                Ok(Some(Square::of(face.as_ref().map_err(String::clone)?, self.alignment)?))
            }
            _ => Ok(None),
        }
    }
}
