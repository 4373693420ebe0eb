//! The one way from a picture to the square pixels that networks see.

use super::align::{LEAST_SIDE, Square};
use super::decode::{decode, decode_bytes, look, read_source};
use super::scale::{Filter, scaled};
use crate::config::Alignment;
use crate::manifest::{Face, Row};
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
        let from = [w, h].map(|v| f64::from((v - side) / 2));
        scaled(image, from, [f64::from(side); 2], [self.size as u32; 2], Filter::Cubic)
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
        let of_picture = |e| format!("column `{}`: {e}", row.column);
        let bytes = read_source(&row.image).map_err(of_picture)?;
        let image = decode_bytes(&bytes).map_err(of_picture)?;
        self.image(row.face.as_ref(), &row.column, &image)
    }

    /// The view of a decoded picture of `column` whose face is as [`Row::face`] says.
    ///
    /// # Errors
    /// Its face lies nowhere in it, or it is too small to show anybody.
    pub fn image(self, face: Option<&Result<Face, String>>, column: &str, image: &RgbImage) -> Result<Vec<u8>, String> {
        match self.square_of(face, column, image.dimensions())? {
            Some(face) => face.cut(image, self.size),
            None => self.centre(image),
        }
    }

    /// Side of what the view shows of the encoded picture `bytes` of `column`, in pixels of that, where its face is as [`Row::face`] says. Only
    /// the picture's head is looked at.
    ///
    /// # Errors
    /// What the head tells of the errors of [`Self::row`].
    pub fn side(self, face: Option<&Result<Face, String>>, column: &str, bytes: &[u8]) -> Result<u32, String> {
        let (w, h) = look(bytes).map_err(|e| format!("column `{column}`: {e}"))?;
        // Whether it is to be turned upright, the head does not tell.
        let side = w.max(h);
        let square = self.square_of(face, column, if face.is_some() { (side, side) } else { (w, h) })?;
        Ok(square.map_or(w.min(h), |square| square.side().round() as u32))
    }

    /// True if the view of `row` is cut out of its picture by where its face is.
    pub fn aligns(self, row: &Row) -> bool {
        self.alignment != Alignment::None && row.face.is_some()
    }

    /// The part that it shows of a picture of this width and height; none for the centre square.
    fn square_of(
        self,
        face: Option<&Result<Face, String>>,
        column: &str,
        size: (u32, u32),
    ) -> Result<Option<Square>, String> {
        match face {
            Some(face) if self.alignment != Alignment::None => {
                let square = face.as_ref().map_err(String::clone);
                let square = square.and_then(|face| Square::within(face, self.alignment, size));
                square.map(Some).map_err(|e| {
                    format!("its face, of columns such as `landmarks` and `bbox`: {e}; if faces are cut out already, use option `alignment` none")
                })
            }
            _ if size.0.min(size.1) < LEAST_SIDE => Err(format!(
                "column `{column}`: the image is {}x{} px, which shows nobody: {LEAST_SIDE} px a side are the least",
                size.0, size.1
            )),
            _ => Ok(None),
        }
    }
}
