//! A part of a picture at another size.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
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
    let source = ImageRef::new(picture.width(), picture.height(), picture.as_raw(), PixelType::U8x3);
    let source = source.map_err(|e| e.to_string())?;
    let mut target = Image::new(to[0], to[1], PixelType::U8x3);
    let filter = match filter {
        Filter::Cubic => FilterType::CatmullRom,
        Filter::Linear => FilterType::Bilinear,
    };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    let options = options.crop(from[0], from[1], length[0], length[1]);
    Resizer::new().resize(&source, &mut target, &options).map_err(|e| e.to_string())?;
    Ok(target.into_vec())
}
