//! Pixels to image files. Synthetic ones carry the machine-readable mark of the IPTC: digital source type
//! `trainedAlgorithmicMedia`, as XMP.

use crate::error::{Error, Result};

/// Quality of JPEG output.
const JPEG_QUALITY: u8 = 95;

/// What an image shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A photograph.
    Real,
    /// Made by a generator: the file says so.
    Synthetic,
}

/// Name of the source type that marks a synthetic image (IPTC NewsCodes).
pub const SOURCE_TYPE: &str = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia";

/// Start of an XMP segment of a JPEG file.
const XMP_SEGMENT: &str = "http://ns.adobe.com/xap/1.0/\0";

/// Keyword of XMP in a PNG file.
const XMP_KEYWORD: &str = "XML:com.adobe.xmp";

/// The XMP packet of a synthetic image.
fn xmp() -> String {
    format!(
        "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?><x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\
         <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"><rdf:Description rdf:about=\"\" \
         xmlns:Iptc4xmpExt=\"http://iptc.org/std/Iptc4xmpExt/2008-02-29/\" \
         Iptc4xmpExt:DigitalSourceType=\"{SOURCE_TYPE}\"/></rdf:RDF></x:xmpmeta><?xpacket end=\"r\"?>"
    )
}

/// Encodes RGB bytes as `extension` (`jpg` or `png`).
///
/// # Errors
/// A side of more than 65,535 pixels, or pixels of another number.
pub fn encode(pixels: &[u8], width: usize, height: usize, extension: &str, origin: Origin) -> Result<Vec<u8>> {
    let encoded = match extension {
        "png" => png(pixels, width, height, origin),
        _ => jpeg(pixels, width, height, origin),
    };
    encoded.map_err(|e| Error::Model(format!("image encoder: {e}")))
}

type Encoded = std::result::Result<Vec<u8>, Box<dyn std::error::Error>>;

fn jpeg(pixels: &[u8], width: usize, height: usize, origin: Origin) -> Encoded {
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, JPEG_QUALITY);
    if origin == Origin::Synthetic {
        encoder.add_app_segment(1, format!("{XMP_SEGMENT}{}", xmp()).into_bytes())?;
    }
    encoder.encode(pixels, u16::try_from(width)?, u16::try_from(height)?, jpeg_encoder::ColorType::Rgb)?;
    Ok(bytes)
}

fn png(pixels: &[u8], width: usize, height: usize, origin: Origin) -> Encoded {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, u32::try_from(width)?, u32::try_from(height)?);
    encoder.set_color(png::ColorType::Rgb);
    if origin == Origin::Synthetic {
        encoder.add_itxt_chunk(XMP_KEYWORD.to_owned(), xmp())?;
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

/// Whether an encoded image carries the mark of a synthetic one.
pub fn is_marked(image: &[u8]) -> bool {
    let mark = xmp();
    image.windows(mark.len()).any(|w| w == mark.as_bytes())
}
