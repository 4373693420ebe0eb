//! Encoded image to upright RGB, with limits.

use crate::manifest::ImageSource;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};
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

/// The upright picture that a row names, at its own size, or what is wrong with it.
pub fn decode_source(source: &ImageSource) -> std::result::Result<RgbImage, String> {
    let from_file;
    let bytes: &[u8] = match source {
        ImageSource::Bytes(bytes) => bytes,
        ImageSource::Path(image) => {
            from_file = image.read(MAX_ALLOC)?;
            &from_file
        }
        ImageSource::Skipped => return Err("image was not read".into()),
        ImageSource::Bad { reason, .. } => return Err(reason.clone()),
    };
    // A decoder that panics on a hostile file is a bad row, not the end of the run.
    std::panic::catch_unwind(|| decode(bytes)).unwrap_or_else(|_| Err("the image decoder gave up".into()))
}
