//! A part of a picture at another size.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

/// How pixels are mixed; both average where they make smaller.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Filter {
    /// The cubic of Catmull and Rom.
    Cubic,
    /// Linear, as face detectors were trained with.
    Linear,
}

/// The part of `picture` at `from` that is `length` wide and high, in its pixels, at the size `to`.
///
/// # Shapes
/// - returns `[H, W, 3]` bytes, row-major RGB
///
/// # Errors
/// Text that says why it cannot be scaled.
pub(crate) fn scaled(
    picture: &RgbImage,
    from: [f64; 2],
    length: [f64; 2],
    to: [u32; 2],
    filter: Filter,
) -> Result<Vec<u8>, String> {
    let source = TypedImageRef::<U8x3>::from_buffer(picture.width(), picture.height(), picture.as_raw());
    let source = source.map_err(|e| e.to_string())?;
    let mut bytes = vec![0; 3 * to[0] as usize * to[1] as usize];
    let mut target = TypedImage::<U8x3>::from_buffer(to[0], to[1], &mut bytes).map_err(|e| e.to_string())?;
    let filter = match filter {
        Filter::Cubic => FilterType::CatmullRom,
        Filter::Linear => FilterType::Bilinear,
    };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    let options = options.crop(from[0], from[1], length[0], length[1]);
    // Of one kind of pixel: `resize` would be compiled for all thirteen, a fifth of this crate.
    Resizer::new().resize_typed(&source, &mut target, &options).map_err(|e| e.to_string())?;
    Ok(bytes)
}
