//! Pictures of every colour form and orientation come out as the same upright RGB; bombs are refused before they unfold.

use augment::dataset::View;
use augment::dataset::decode::decode;
use augment::dataset::encode::{Origin, encode};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder, RgbImage};
use jpeg_encoder::SamplingFactor;
use png::{BitDepth::*, ColorType::*};

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

/// A PNG file of 48 x 32 samples that are in the file's own form already.
fn png_form(
    colour: png::ColorType,
    depth: png::BitDepth,
    data: &[u8],
    palette: Option<&[u8]>,
    transparent: Option<&[u8]>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 48, 32);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    if let Some(palette) = palette {
        encoder.set_palette(palette.to_vec());
    }
    if let Some(transparent) = transparent {
        encoder.set_trns(transparent.to_vec());
    }
    encoder.write_header().unwrap().write_image_data(data).unwrap();
    bytes
}

/// Samples of `bits` bits each, the first in the highest bits; a row of 48 fills whole bytes.
fn packed(samples: &[u8], bits: usize) -> Vec<u8> {
    samples.chunks(8 / bits).map(|chunk| chunk.iter().fold(0, |byte, s| byte << bits | s)).collect()
}

#[test]
fn all_colour_forms_become_rgb() {
    let (grey, rgb) = (DynamicImage::from(quadrants()).to_luma8(), colours());
    let wide = |samples: &[u8]| -> Vec<u8> { samples.iter().flat_map(|&s| [s, 17]).collect() };
    let opaque = |samples: &[u8], channels: usize| -> Vec<u8> {
        samples.chunks(channels).flat_map(|c| [c, &[255]].concat()).collect()
    };
    let shown = |samples: &[u8]| RgbImage::from_fn(48, 32, |x, y| image::Rgb([samples[(y * 48 + x) as usize]; 3]));
    let mut forms: Vec<(String, Vec<u8>, RgbImage, u8)> = Vec::new();
    let (g, c, as_grey) = (grey.as_raw(), rgb.as_raw(), shown(grey.as_raw()));
    for (name, colour, depth, data, expected) in [
        ("8-bit grey", Grayscale, Eight, g.clone(), &as_grey),
        ("16-bit grey", Grayscale, Sixteen, wide(g), &as_grey),
        ("8-bit grey with alpha", GrayscaleAlpha, Eight, opaque(g, 1), &as_grey),
        ("16-bit grey with alpha", GrayscaleAlpha, Sixteen, wide(&opaque(g, 1)), &as_grey),
        ("8-bit RGB", Rgb, Eight, c.clone(), &rgb),
        ("16-bit RGB", Rgb, Sixteen, wide(c), &rgb),
        ("8-bit RGBA", Rgba, Eight, opaque(c, 3), &rgb),
        ("16-bit RGBA", Rgba, Sixteen, wide(&opaque(c, 3)), &rgb),
    ] {
        // The low byte of 16 bits moves a value by less than one.
        forms.push((name.into(), png_form(colour, depth, &data, None, None), expected.clone(), 1));
    }
    forms.push((
        "RGB with a transparent colour".into(),
        png_form(Rgb, Eight, c, None, Some(&[0, 1, 0, 1, 0, 1])),
        rgb.clone(),
        0,
    ));
    forms.push((
        "grey with a transparent value".into(),
        png_form(Grayscale, Eight, g, None, Some(&[0, 1])),
        as_grey,
        0,
    ));
    for (bits, depth) in [(1, One), (2, Two), (4, Four), (8, Eight)] {
        let levels = 1usize << bits;
        let samples: Vec<u8> = g.iter().map(|&v| (usize::from(v) * levels / 256) as u8).collect();
        let data = packed(&samples, bits);
        if bits < 8 {
            let values: Vec<u8> = samples.iter().map(|&s| (usize::from(s) * 255 / (levels - 1)) as u8).collect();
            forms.push((format!("{bits}-bit grey"), png_form(Grayscale, depth, &data, None, None), shown(&values), 0));
        }
        let palette: Vec<u8> =
            (0..levels).flat_map(|i| [i * 255 / (levels - 1), 255 - i, i / 2].map(|v| v as u8)).collect();
        let expected = RgbImage::from_fn(48, 32, |x, y| {
            let at = 3 * usize::from(samples[(y * 48 + x) as usize]);
            image::Rgb([palette[at], palette[at + 1], palette[at + 2]])
        });
        for transparent in [None, Some(&[255u8, 255][..])] {
            let form = format!("{bits}-bit palette, transparency {}", transparent.is_some());
            forms.push((form, png_form(Indexed, depth, &data, Some(&palette), transparent), expected.clone(), 0));
        }
    }
    let jpeg = |sampling, progressive, colour, data: &[u8]| {
        let mut bytes = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 100);
        encoder.set_sampling_factor(sampling);
        encoder.set_progressive(progressive);
        encoder.encode(data, 48, 32, colour).unwrap();
        bytes
    };
    // Chroma of half the size is smoothed where blocks of one colour meet.
    let blocks = RgbImage::from_fn(48, 32, |x, y| *rgb.get_pixel(x / 16 * 16, y / 16 * 16));
    let inks: Vec<u8> = blocks.as_raw().chunks(3).flat_map(|p| [255 - p[0], 255 - p[1], 255 - p[2], 0]).collect();
    for progressive in [false, true] {
        for (sampling, tolerance) in
            [(SamplingFactor::F_1_1, 12), (SamplingFactor::F_2_1, 40), (SamplingFactor::F_2_2, 60)]
        {
            let bytes = jpeg(sampling, progressive, jpeg_encoder::ColorType::Rgb, blocks.as_raw());
            forms.push((format!("JPEG {sampling:?}, progressive {progressive}"), bytes, blocks.clone(), tolerance));
        }
        let bytes = jpeg(SamplingFactor::F_1_1, progressive, jpeg_encoder::ColorType::Luma, g);
        forms.push((format!("JPEG grey, progressive {progressive}"), bytes, shown(g), 12));
        let bytes = jpeg(SamplingFactor::F_1_1, progressive, jpeg_encoder::ColorType::Cmyk, &inks);
        forms.push((format!("JPEG CMYK, progressive {progressive}"), bytes, blocks.clone(), 12));
    }
    assert_eq!(forms.len(), 31);
    for (name, bytes, expected, tolerance) in &forms {
        let ours = decode(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(largest_difference(&ours, expected) <= *tolerance, "{name}: {}", largest_difference(&ours, expected));
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
    assert!(decode(&wide).unwrap_err().contains("9000x64 px; at most 8192 px a side and 64 megapixels"), "too wide");
    let large = png(&DynamicImage::from(RgbImage::new(8000, 8000)));
    assert!(large.len() < 1_000_000);
    assert!(decode(&large).unwrap_err().contains("cannot hold a photograph of 8000x8000 px"), "192 MB unfolded");
    // What a telephone makes is read.
    let noise =
        RgbImage::from_fn(6000, 4000, |x, y| image::Rgb([(x * y % 251) as u8, (x % 256) as u8, (y % 256) as u8]));
    let photograph = encode(noise.as_raw(), 6000, 4000, "jpg", Origin::Real).unwrap();
    assert_eq!(decode(&photograph).unwrap().dimensions(), (6000, 4000));
    for bytes in [&b""[..], b"GIF89a\x01\0\x01\0\0\0\0;", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"] {
        assert!(decode(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn squares_are_cut_from_the_centre_with_antialiasing() {
    // Black and white columns: resizing to a third must give even grey, not stripes.
    let stripes = RgbImage::from_fn(96, 96, |x, _| image::Rgb([if x % 2 == 0 { 255 } else { 0 }; 3]));
    let small = View::square(32).centre(&stripes).unwrap();
    let inner: Vec<u8> = small.chunks_exact(3 * 32).flat_map(|row| row[12..84].to_vec()).collect();
    assert!(inner.iter().all(|v| (100..=155).contains(v)), "{:?}", &inner[..24]);
    // A red middle between blue sides: only the middle stays.
    let wide = RgbImage::from_fn(90, 30, |x, _| {
        if (30..60).contains(&x) { image::Rgb([200, 0, 0]) } else { image::Rgb([0, 0, 200]) }
    });
    assert!(View::square(30).centre(&wide).unwrap().chunks_exact(3).all(|p| p == [200, 0, 0]));
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
