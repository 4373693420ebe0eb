//! Pictures of every colour form and orientation come out as the same upright RGB; bombs are refused before they unfold.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use augment::dataset::decode::{decode, square};
use augment::synthesize::encode::{Origin, encode};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder, RgbImage};

/// Four quadrants of different grey, so that every orientation is told apart.
fn quadrants() -> RgbImage {
    RgbImage::from_fn(48, 32, |x, y| {
        let level = 40 + 50 * (u8::from(x >= 24) + 2 * u8::from(y >= 16));
        image::Rgb([level; 3])
    })
}

/// The same with colours.
fn colours() -> RgbImage {
    RgbImage::from_fn(48, 32, |x, y| image::Rgb([if x < 24 { 200 } else { 30 }, if y < 16 { 180 } else { 60 }, 90]))
}

fn png(image: &DynamicImage) -> Vec<u8> {
    let mut out = Vec::new();
    image.write_to(&mut std::io::Cursor::new(&mut out), image::ImageFormat::Png).unwrap();
    out
}

fn largest_difference(a: &RgbImage, b: &RgbImage) -> u8 {
    assert_eq!(a.dimensions(), b.dimensions());
    a.as_raw().iter().zip(b.as_raw()).map(|(x, y)| x.abs_diff(*y)).max().unwrap()
}

#[test]
fn every_colour_form_becomes_rgb() {
    let (grey, rgb) = (DynamicImage::from(quadrants()), DynamicImage::from(colours()));
    let cases = [
        ("8-bit RGB", png(&rgb), &rgb, 0),
        ("16-bit RGB", png(&DynamicImage::from(rgb.to_rgb16())), &rgb, 0),
        ("8-bit RGBA", png(&DynamicImage::from(rgb.to_rgba8())), &rgb, 0),
        ("16-bit RGBA", png(&DynamicImage::from(rgb.to_rgba16())), &rgb, 0),
        ("8-bit grey", png(&DynamicImage::from(grey.to_luma8())), &grey, 0),
        ("16-bit grey", png(&DynamicImage::from(grey.to_luma16())), &grey, 0),
        ("8-bit grey with alpha", png(&DynamicImage::from(grey.to_luma_alpha8())), &grey, 0),
        ("16-bit grey with alpha", png(&DynamicImage::from(grey.to_luma_alpha16())), &grey, 0),
    ];
    for (name, bytes, expected, tolerance) in &cases {
        let ours = decode(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(largest_difference(&ours, &expected.to_rgb8()) <= *tolerance, "{name}");
    }
    for (image, colour) in [(&rgb, ExtendedColorType::Rgb8), (&grey, ExtendedColorType::L8)] {
        let raw =
            if colour == ExtendedColorType::L8 { image.to_luma8().into_raw() } else { image.to_rgb8().into_raw() };
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 100).encode(&raw, 48, 32, colour).unwrap();
        assert!(largest_difference(&decode(&bytes).unwrap(), &image.to_rgb8()) <= 12, "JPEG {colour:?}");
    }
}

/// An EXIF block that holds an orientation and nothing else.
fn exif(orientation: u8) -> Vec<u8> {
    let mut e = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    e.extend([orientation, 0, 0, 0, 0, 0, 0]);
    e
}

#[test]
fn all_eight_orientations_are_turned_upright() {
    let upright = DynamicImage::from(quadrants());
    // What a camera stores for each orientation: the upright picture turned the other way.
    let stored = [
        upright.clone(),
        upright.fliph(),
        upright.rotate180(),
        upright.flipv(),
        upright.rotate90().fliph(),
        upright.rotate270(),
        upright.rotate270().fliph(),
        upright.rotate90(),
    ];
    for (orientation, image) in (1u8..).zip(&stored) {
        let rgb = image.to_rgb8();
        let mut jpeg = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, 100);
        encoder.set_exif_metadata(exif(orientation)).unwrap();
        encoder.encode(rgb.as_raw(), rgb.width(), rgb.height(), ExtendedColorType::Rgb8).unwrap();
        let ours = decode(&jpeg).unwrap();
        assert!(largest_difference(&ours, &upright.to_rgb8()) <= 12, "JPEG orientation {orientation}");
        let mut png = Vec::new();
        let mut encoder = PngEncoder::new(&mut png);
        encoder.set_exif_metadata(exif(orientation)).unwrap();
        encoder.write_image(rgb.as_raw(), rgb.width(), rgb.height(), ExtendedColorType::Rgb8).unwrap();
        assert_eq!(largest_difference(&decode(&png).unwrap(), &upright.to_rgb8()), 0, "PNG orientation {orientation}");
    }
}

#[test]
fn bombs_and_nonsense_are_refused() {
    // 9,000 x 9,000 pixels of nothing in a small file.
    let wide = png(&DynamicImage::from(image::GrayImage::new(9000, 64)));
    assert!(decode(&wide).unwrap_err().to_lowercase().contains("limit"), "too wide");
    let large = png(&DynamicImage::from(RgbImage::new(8000, 8000)));
    assert!(large.len() < 1_000_000);
    assert!(decode(&large).unwrap_err().to_lowercase().contains("limit"), "192 MB unfolded");
    for bytes in [&b""[..], b"GIF89a\x01\0\x01\0\0\0\0;", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"] {
        assert!(decode(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn squares_are_cut_from_the_centre_with_antialiasing() {
    // Black and white columns: resizing to a third must give even grey, not stripes.
    let stripes = RgbImage::from_fn(96, 96, |x, _| image::Rgb([if x % 2 == 0 { 255 } else { 0 }; 3]));
    let small = square(&stripes, 32).unwrap();
    let inner: Vec<u8> = small.chunks_exact(3 * 32).flat_map(|row| row[12..84].to_vec()).collect();
    assert!(inner.iter().all(|v| (100..=155).contains(v)), "{:?}", &inner[..24]);
    // A red middle between blue sides: only the middle stays.
    let wide = RgbImage::from_fn(90, 30, |x, _| {
        if (30..60).contains(&x) { image::Rgb([200, 0, 0]) } else { image::Rgb([0, 0, 200]) }
    });
    assert!(square(&wide, 30).unwrap().chunks_exact(3).all(|p| p == [200, 0, 0]));
}

/// Decoders fill up a JPEG that was cut off; a half-grey face must not be trained on.
#[test]
fn cut_off_images_are_refused() {
    let pixels: Vec<u8> = (0..64 * 64 * 3).map(|i| (i * 7 % 251) as u8).collect();
    for extension in ["jpg", "png"] {
        let whole = encode(&pixels, 64, 64, extension, Origin::Synthetic).unwrap();
        assert!(decode(&whole).is_ok());
        // Cameras append data of their own, which may hold any bytes.
        assert!(decode(&[&whole[..], &[0xff, 0xda, 0, 1, 2]].concat()).is_ok());
        for keep in [whole.len() - 20, whole.len() * 3 / 4, whole.len() / 2, 100] {
            assert!(decode(&whole[..keep]).is_err(), "{extension}: {keep} of {} bytes", whole.len());
        }
    }
}
