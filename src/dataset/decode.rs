//! Encoded image to square RGB: decoding with limits, EXIF orientation, antialiased resize.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use std::io::Cursor;

/// Largest accepted side of a source image, in pixels.
pub const MAX_SIDE: u32 = 8192;
/// Largest memory that decoding one image may take, in bytes.
pub const MAX_ALLOC: u64 = 64 << 20;

/// Decodes a JPEG or PNG of any colour form and turns it upright.
///
/// # Errors
/// Text that says what is wrong with the picture.
pub fn decode(bytes: &[u8]) -> Result<image::RgbImage, String> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_ALLOC);
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let format = reader.format();
    if format.is_none() {
        return Err("not a JPEG or PNG image".into());
    }
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    limits.reserve(decoder.total_bytes()).map_err(|e| e.to_string())?;
    if format == Some(image::ImageFormat::Jpeg) && !has_end(bytes) {
        return Err("the JPEG data end before the image does".into());
    }
    let orientation = decoder.orientation().map_err(|e| e.to_string())?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    image.apply_orientation(orientation);
    Ok(image.into_rgb8())
}

/// True if JPEG data reach the image's end marker: decoders fill up what is cut off with grey.
fn has_end(jpeg: &[u8]) -> bool {
    let mut at = 0;
    loop {
        // The next marker; in the data of a scan, stuffed zeros and restart markers are none.
        let Some(found) = jpeg.get(at..).and_then(|rest| {
            rest.windows(2).position(|w| w[0] == 0xff && !matches!(w[1], 0x00 | 0xff | 0x01 | 0xd0..=0xd8))
        }) else {
            return false;
        };
        at += found + 2;
        if jpeg[at - 1] == 0xd9 {
            return true;
        }
        // Every other marker has a segment, which may hold anything, such as a smaller picture.
        let Some(length) = jpeg.get(at..at + 2) else { return false };
        at += usize::from(u16::from_be_bytes([length[0], length[1]]));
    }
}

/// The centre square of `image`, resized to `size` x `size` with antialiasing; row-major RGB.
pub fn square(image: &image::RgbImage, size: usize) -> Result<Vec<u8>, String> {
    let (w, h) = image.dimensions();
    if (w as usize, h as usize) == (size, size) {
        return Ok(image.as_raw().clone());
    }
    let side = w.min(h);
    let source = ImageRef::new(w, h, image.as_raw(), PixelType::U8x3).map_err(|e| e.to_string())?;
    let mut target = Image::new(size as u32, size as u32, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).crop(
        f64::from((w - side) / 2),
        f64::from((h - side) / 2),
        f64::from(side),
        f64::from(side),
    );
    Resizer::new().resize(&source, &mut target, &options).map_err(|e| e.to_string())?;
    Ok(target.into_vec())
}
