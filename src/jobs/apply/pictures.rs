//! The frames of morphs in one picture, and as a moving one.

use crate::dataset::decode::decode_bytes;
use crate::dataset::encode::{Origin, encode};
use crate::error::{Error, Result};
use crate::formats::Reader;
use crate::sink::ledger::PICTURES;
use crate::store;
use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, Frame, RgbImage, imageops};
use std::path::Path;

/// Rows of the picture, at most.
const ROWS: usize = 20;
/// Time that a frame stands, in milliseconds.
const FRAME: u32 = 120;

/// Writes [`PICTURES`] for the dataset in `out`, whose images have this side and stand in morphs of `steps` frames: all frames, a row for each
/// morph, and those of the first one, there and back.
///
/// # Errors
/// A file cannot be read or written.
pub(super) fn write(out: &Path, side: usize, steps: usize) -> Result<()> {
    let [all, animation] = PICTURES;
    let (mut frames, side) = (Vec::new(), side as u32);
    Reader::open(out)?.read_all(|sample| {
        if frames.len() < ROWS * steps {
            frames.push(decode_bytes(&sample.image).map_err(Error::Model)?);
        }
        Ok(())
    })?;
    let rows = frames.len().div_ceil(steps) as u32;
    let mut strip = RgbImage::new(side * steps as u32, side * rows);
    for (n, frame) in frames.iter().enumerate() {
        imageops::replace(
            &mut strip,
            frame,
            i64::from(n as u32 % steps as u32 * side),
            i64::from((n / steps) as u32 * side),
        );
    }
    let (width, height) = (strip.width() as usize, strip.height() as usize);
    let png = encode(strip.as_raw(), width, height, "png", Origin::Synthetic)?;
    store::write_atomic(&out.join(all), &png)?;
    let mut gif = Vec::new();
    let failed = |e: image::ImageError| Error::Model(format!("{animation}: {e}"));
    let mut encoder = GifEncoder::new(&mut gif);
    encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
    let there = frames.iter().take(steps);
    let back = frames.iter().take(steps).skip(1).rev().skip(1);
    for frame in there.chain(back) {
        let pixels = image::DynamicImage::ImageRgb8(frame.clone()).into_rgba8();
        encoder.encode_frame(Frame::from_parts(pixels, 0, 0, Delay::from_numer_denom_ms(FRAME, 1))).map_err(failed)?;
    }
    drop(encoder);
    store::write_atomic(&out.join(animation), &gif)
}
