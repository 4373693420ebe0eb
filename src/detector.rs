//! Faces in photographs, found by a network in ONNX of YuNet's form: for strides of 8, 16 and 32 pixels the outputs `cls_8`, `obj_8`,
//! `bbox_8` and `kps_8`, .., a row of each for every place of its grid.

use crate::error::{Error, Result};
use crate::manifest::Face;
use crate::onnx::{Model, Network, Output};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use std::path::Path;
use std::sync::OnceLock;

/// Pixels between the places of its three grids.
const STRIDES: [usize; 3] = [8, 16, 32];
/// What it says of every place: two scores, a box, and five points.
const KINDS: [&str; 4] = ["cls", "obj", "bbox", "kps"];
/// Sides of inputs: a photograph is brought to the smallest one that holds it, or made smaller to the largest.
const SIDES: [usize; 3] = [160, 320, 640];
/// Boxes that overlap by a larger share (intersection over union) are one face.
const OVERLAP: f64 = 0.3;

/// A face that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Left, top, width and height of its box, in pixels of the picture.
    pub bbox: [f64; 4],
    /// Five points, x and y of each.
    pub landmarks: [f64; 10],
    /// How sure the network is, in [0, 1].
    pub score: f64,
}

impl Found {
    /// Where it is.
    pub fn face(&self) -> Face {
        Face::Landmarks(self.landmarks)
    }
}

/// A detector of faces.
pub struct Detector {
    model: Model,
    networks: [OnceLock<std::result::Result<Network, String>>; SIDES.len()],
    least_score: f64,
}

impl Detector {
    /// Reads an ONNX file. Only faces with a score of `least_score` count.
    ///
    /// # Errors
    /// `Usage`: a score outside [0, 1]; `Model`: the file cannot be read, or is no detector of this form.
    pub fn load(path: &Path, least_score: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&least_score) {
            return Err(Error::Usage(format!("option `min_score` {least_score} is not a share in [0, 1]")));
        }
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let failed = |e: String| Error::Model(format!("{}: {e}", path.display()));
        let model = Model::parse(&bytes).map_err(failed)?;
        let names = STRIDES.iter().flat_map(|stride| KINDS.map(|kind| format!("{kind}_{stride}")));
        if let Some(name) = names.into_iter().find(|name| !model.outputs().contains(name)) {
            let have = model.outputs().join(", ");
            return Err(failed(format!("no detector of YuNet's form: it has no output `{name}`, but {have}")));
        }
        let detector = Self { model, networks: Default::default(), least_score };
        // What it cannot do is found before any photograph is read.
        detector.find(&RgbImage::new(8, 8)).map_err(failed)?;
        Ok(detector)
    }

    /// The faces in `picture`, the surest first.
    ///
    /// # Errors
    /// Text that says why the network cannot be run.
    pub fn find(&self, picture: &RgbImage) -> std::result::Result<Vec<Found>, String> {
        let longest = picture.width().max(picture.height()) as usize;
        let at = SIDES.iter().position(|side| longest <= *side).unwrap_or(SIDES.len() - 1);
        let found = self.find_at(picture, at)?;
        // A face that fills a photograph is too large for its grids.
        if found.is_empty() && at > 0 { self.find_at(picture, at - 1) } else { Ok(found) }
    }

    fn find_at(&self, picture: &RgbImage, at: usize) -> std::result::Result<Vec<Found>, String> {
        let side = SIDES[at];
        let network = self.networks[at].get_or_init(|| self.model.at((side, side))).as_ref().map_err(String::clone)?;
        let (input, scale) = input(picture, side)?;
        let outputs = network.run(&input)?;
        let mut found = Vec::new();
        for stride in STRIDES {
            let cells = side / stride;
            let of =
                |kind: usize, width: usize| rows(&outputs, &format!("{}_{stride}", KINDS[kind]), cells * cells, width);
            let (class, object, boxes, points) = (of(0, 1)?, of(1, 1)?, of(2, 4)?, of(3, 10)?);
            for place in 0..cells * cells {
                let score = f64::from(class[place].clamp(0.0, 1.0) * object[place].clamp(0.0, 1.0)).sqrt();
                if score < self.least_score {
                    continue;
                }
                let corner = [place % cells, place / cells].map(|v| v as f64);
                let bound = |v: f32| f64::from(v);
                let to = |axis: usize, off: f32| (corner[axis] + bound(off)) * stride as f64 / scale;
                let b = &boxes[4 * place..][..4];
                let size = [2, 3].map(|i| bound(b[i]).exp() * stride as f64 / scale);
                let bbox = [to(0, b[0]) - size[0] / 2.0, to(1, b[1]) - size[1] / 2.0, size[0], size[1]];
                let landmarks = std::array::from_fn(|i| to(i % 2, points[10 * place + i]));
                if bbox.iter().chain(&landmarks).all(|v| v.is_finite()) {
                    found.push(Found { bbox, landmarks, score });
                }
            }
        }
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut apart: Vec<Found> = Vec::new();
        for face in found {
            if apart.iter().all(|other| overlap(&other.bbox, &face.bbox) <= OVERLAP) {
                apart.push(face);
            }
        }
        Ok(apart)
    }
}

/// The face that a photograph of one person shows: the largest, where one near the middle counts for more (area less twice the squared
/// distance from the middle).
pub fn principal(faces: &[Found], width: u32, height: u32) -> Option<&Found> {
    let worth = |found: &Found| {
        let [x, y, w, h] = found.bbox;
        let off = [x + w / 2.0 - f64::from(width) / 2.0, y + h / 2.0 - f64::from(height) / 2.0];
        w * h - 2.0 * (off[0] * off[0] + off[1] * off[1])
    };
    faces.iter().max_by(|a, b| worth(a).total_cmp(&worth(b)))
}

/// `[3, side, side]`, blue, green and red in 0..=255: the picture in the left upper corner, black beside it; and its scale.
fn input(picture: &RgbImage, side: usize) -> std::result::Result<(Vec<f32>, f64), String> {
    let (w, h) = picture.dimensions();
    let scale = side as f64 / f64::from(w.max(h));
    let [wide, high] = [w, h].map(|v| ((f64::from(v) * scale).round() as u32).max(1));
    let source = ImageRef::new(w, h, picture.as_raw(), PixelType::U8x3).map_err(|e| e.to_string())?;
    let mut small = Image::new(wide, high, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(&source, &mut small, &options).map_err(|e| e.to_string())?;
    let mut input = vec![0.0; 3 * side * side];
    for (at, pixel) in small.buffer().chunks_exact(3).enumerate() {
        let (x, y) = (at % wide as usize, at / wide as usize);
        for (channel, value) in pixel.iter().rev().enumerate() {
            input[(channel * side + y) * side + x] = f32::from(*value);
        }
    }
    Ok((input, scale))
}

/// The values of the output `name`: `count` rows of `width`.
fn rows<'a>(outputs: &'a [Output], name: &str, count: usize, width: usize) -> std::result::Result<&'a [f32], String> {
    let output = outputs.iter().find(|o| o.name == name).ok_or_else(|| format!("it has no output `{name}`"))?;
    if output.values.len() != count * width {
        return Err(format!("its output `{name}` is {:?}, expected [1, {count}, {width}]", output.shape));
    }
    Ok(&output.values)
}

/// Intersection over union of two boxes.
fn overlap(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let along = |i: usize| ((a[i] + a[i + 2]).min(b[i] + b[i + 2]) - a[i].max(b[i])).max(0.0);
    let both = along(0) * along(1);
    both / (a[2] * a[3] + b[2] * b[3] - both)
}
