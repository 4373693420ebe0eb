//! Encoded image to upright RGB, with limits.

use crate::manifest::ImageSource;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use std::borrow::Cow;
use std::io::{Cursor, Read};
use std::path::Path;

/// Largest accepted side of a source image, in pixels.
pub const MAX_SIDE: u32 = 8192;
/// Most pixels of a source image.
pub const MAX_PIXELS: u64 = 64_000_000;
/// Largest file of a source image, in bytes.
pub const MAX_FILE: u64 = 64 << 20;
/// Images of more pixels must have the data of a photograph: a byte for so many pixels at least.
const LARGE: u64 = 25_000_000;
const PIXELS_A_BYTE: u64 = 50;
/// Bytes of a pixel in memory, at most: 16 bits of red, green, blue and alpha.
const PIXEL_BYTES: u64 = 8;

/// First bytes of files that people take for pictures that can be read.
const OTHERS: [(&[u8], &str); 14] = [
    (b"GIF8", "it is a GIF: convert it to JPEG or PNG"),
    (b"II*\0", "it is a TIFF: convert it to JPEG or PNG"),
    (b"MM\0*", "it is a TIFF: convert it to JPEG or PNG"),
    (b"\0\0\0\x0cjP", "it is a JPEG 2000: convert it to JPEG or PNG"),
    (b"\xff\x4f\xff\x51", "it is a JPEG 2000: convert it to JPEG or PNG"),
    (b"\xff\x0a", "it is a JPEG XL: convert it to JPEG or PNG"),
    (b"P5", "it is a PGM: convert it to JPEG or PNG"),
    (b"P6", "it is a PPM: convert it to JPEG or PNG"),
    (b"\x93NUMPY", "it is an array of NumPy: write it as PNG"),
    (b"%PDF", "it is a PDF: convert it to JPEG or PNG"),
    (b"data:image", "it is a data URL: decode what follows the comma (base64), and write the bytes as binary"),
    (b"/9j/", "it is base64 text: decode it, and write the bytes as binary"),
    (b"iVBORw0KGgo", "it is base64 text: decode it, and write the bytes as binary"),
    (b"version https://git-lfs", "it is a pointer of Git LFS: fetch the file itself with `git lfs pull`"),
];

/// What bytes are that no decoder knows.
fn unknown(bytes: &[u8]) -> String {
    let start = bytes.trim_ascii_start();
    let page = [&b"<!doctype"[..], b"<html", b"<?xml"]
        .iter()
        .any(|s| start.len() >= s.len() && start[..s.len()].eq_ignore_ascii_case(s));
    let brand =
        bytes.get(4..12).filter(|b| b.starts_with(b"ftyp")).map(|b| String::from_utf8_lossy(&b[4..]).into_owned());
    match (OTHERS.iter().find(|(magic, _)| bytes.starts_with(magic)), brand) {
        (Some((_, what)), _) => (*what).into(),
        (None, Some(brand)) => format!(
            "it is {} picture: convert it to JPEG or PNG",
            if brand.starts_with("avi") { "an AVIF" } else { "a HEIF" }
        ),
        (None, None) if page => "it is a web page, such as a server sends in place of a picture".into(),
        (None, None) => "it is no JPEG, PNG, WebP or BMP image".into(),
    }
}

/// Decodes a JPEG, PNG, WebP or BMP of any colour form and turns it upright.
///
/// # Errors
/// Text that says what is wrong with the picture.
pub fn decode(bytes: &[u8]) -> Result<image::RgbImage, String> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_PIXELS * PIXEL_BYTES);
    let mut reader = reader(bytes)?;
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    check_size(decoder.dimensions(), bytes.len() as u64)?;
    limits.reserve(decoder.total_bytes()).map_err(|e| e.to_string())?;
    let orientation = decoder.orientation().map_err(|e| e.to_string())?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    image.apply_orientation(orientation);
    Ok(image.into_rgb8())
}

/// Width and height of a picture whose pixels are not looked at: only what its head and its end say.
///
/// # Errors
/// Text that says why it cannot be decoded.
pub fn look(bytes: &[u8]) -> Result<(u32, u32), String> {
    guarded(|| {
        let size = reader(bytes)?.into_dimensions().map_err(|e| e.to_string())?;
        check_size(size, bytes.len() as u64)?;
        Ok(size)
    })
}

/// A reader of a picture of a kind that is read, whose end is there.
fn reader(bytes: &[u8]) -> Result<ImageReader<Cursor<&[u8]>>, String> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let format = reader.format().filter(ImageFormat::reading_enabled).ok_or_else(|| unknown(bytes))?;
    if format == ImageFormat::Jpeg && !has_end(bytes) {
        return Err("the JPEG data end before the image does".into());
    }
    Ok(reader)
}

/// Runs a decoder, of which a panic on a hostile file is an error like others: a bad row is not the end of the run.
fn guarded<T>(f: impl FnOnce() -> Result<T, String> + std::panic::UnwindSafe) -> Result<T, String> {
    std::panic::catch_unwind(f).unwrap_or_else(|_| Err("the image decoder gave up".into()))
}

/// Refuses pictures that are too large, by their side, their pixels, or their pixels for the size of the file.
fn check_size((width, height): (u32, u32), bytes: u64) -> Result<(), String> {
    let pixels = u64::from(width) * u64::from(height);
    if width.max(height) > MAX_SIDE || pixels > MAX_PIXELS {
        return Err(format!(
            "the image is {width}x{height} px; at most {MAX_SIDE} px a side and {} megapixels are read: make it smaller",
            MAX_PIXELS / 1_000_000
        ));
    }
    if pixels > LARGE && bytes < pixels / PIXELS_A_BYTE {
        return Err(format!("{bytes} bytes cannot hold a photograph of {width}x{height} px"));
    }
    Ok(())
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

/// The encoded picture that a row names.
///
/// # Errors
/// Text that says why there is none.
pub fn read_source(source: &ImageSource) -> Result<Cow<'_, [u8]>, String> {
    match source {
        ImageSource::Bytes(bytes) => Ok(bytes.into()),
        ImageSource::Path(image) => Ok(image.read(MAX_FILE)?.into()),
        ImageSource::Skipped => Err("image was not read".into()),
        ImageSource::Bad { reason, .. } => Err(reason.clone()),
    }
}

/// The bytes of the file `path`, which somebody names: at most [`MAX_FILE`].
///
/// # Errors
/// Text that says why it has none.
pub fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => {
            let name = path.to_string_lossy();
            let hint = if name.contains("://") || name.contains(":/") {
                ": no URL is followed; download the files, and name them by their paths"
            } else if name.contains('\\') {
                "; write its path with /"
            } else {
                ""
            };
            format!("file {name} is not there{hint}")
        }
        _ => format!("file {} cannot be read: {e}", path.display()),
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(format!("{} is no regular file", path.display()));
    }
    if metadata.len() > MAX_FILE {
        return Err(format!("file {} has {} bytes, more than {MAX_FILE}", path.display(), metadata.len()));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    std::fs::File::open(path).and_then(|f| f.take(MAX_FILE).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}

/// The upright picture that a row names, at its own size, or what is wrong with it.
///
/// # Errors
/// Text that says what is wrong with the picture, or why there is none.
pub fn decode_source(source: &ImageSource) -> Result<RgbImage, String> {
    decode_bytes(&read_source(source)?)
}

/// [`decode`], of which a panic on a hostile file is an error like others.
///
/// # Errors
/// Text that says what is wrong with the picture.
pub fn decode_bytes(bytes: &[u8]) -> Result<RgbImage, String> {
    guarded(|| decode(bytes))
}
