//! Faces in photographs, found by a network in ONNX of one of two forms. YuNet's has for strides of 8, 16 and 32 pixels the outputs `cls_8`,
//! `obj_8`, `bbox_8` and `kps_8`, .., a row of each for every place of its grid; SCRFD's has nine outputs, a score, a box and five points for two
//! anchors of every place, which their shapes tell.

use crate::dataset::scale::{Filter, scaled};
use crate::error::{Error, Result};
use crate::manifest::Face;
use crate::onnx::{Model, Network, Output};
use image::RgbImage;
use std::path::Path;
use std::sync::OnceLock;

/// Pixels between the places of its three grids.
const STRIDES: [usize; 3] = [8, 16, 32];
/// What YuNet says of every place: two scores, a box, and five points.
const KINDS: [&str; 4] = ["cls", "obj", "bbox", "kps"];
/// Anchors of a place in SCRFD's grids, and its outputs.
const ANCHORS: usize = 2;
const SCRFD_OUTPUTS: usize = 9;
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

/// How a network is fed, and what its outputs mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Yunet,
    Scrfd,
}

/// A detector of faces.
pub struct Detector {
    model: Model,
    form: Form,
    networks: [OnceLock<std::result::Result<Network, String>>; SIDES.len()],
    least_score: f64,
}

impl Detector {
    /// Reads an ONNX file. Only faces with a score of `least_score` count.
    ///
    /// # Errors
    /// `Usage`: a score outside [0, 1]; `Model`: the file cannot be read, or is no detector of a form that is known.
    pub fn load(path: &Path, least_score: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&least_score) {
            return Err(Error::Usage(format!("option `min_score` {least_score} is not a share in [0, 1]")));
        }
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let failed = |e: String| Error::Model(format!("{}: {e}", path.display()));
        let model = Model::parse(&bytes).map_err(failed)?;
        let form = Form::of(model.outputs()).map_err(failed)?;
        let detector = Self { model, form, networks: Default::default(), least_score };
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
        let (input, scale) = self.form.input(picture, side)?;
        let outputs = network.run(&input)?;
        let mut found = Vec::new();
        for stride in STRIDES {
            found.extend(self.form.faces(&outputs, side, stride, self.least_score)?);
        }
        for face in &mut found {
            face.bbox.iter_mut().chain(&mut face.landmarks).for_each(|v| *v /= scale);
        }
        found.retain(|face| face.bbox.iter().chain(&face.landmarks).all(|v| v.is_finite()));
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

impl Form {
    /// The form of a network with these outputs.
    fn of(outputs: &[String]) -> std::result::Result<Self, String> {
        let names = STRIDES.iter().flat_map(|stride| KINDS.map(|kind| format!("{kind}_{stride}")));
        let lacking = names.into_iter().find(|name| !outputs.contains(name));
        match lacking {
            None => Ok(Self::Yunet),
            Some(_) if outputs.len() == SCRFD_OUTPUTS => Ok(Self::Scrfd),
            Some(name) => Err(format!(
                "no detector of YuNet's or SCRFD's form: it has no output `{name}`, nor nine outputs, but {}",
                outputs.join(", ")
            )),
        }
    }

    /// `[3, side, side]`, the picture in the left upper corner and black beside it, and its scale: YuNet sees blue, green and red in 0..=255,
    /// SCRFD red, green and blue as (value - 127.5) / 128.
    fn input(self, picture: &RgbImage, side: usize) -> std::result::Result<(Vec<f32>, f64), String> {
        let (w, h) = picture.dimensions();
        let scale = side as f64 / f64::from(w.max(h));
        let [wide, high] = [w, h].map(|v| ((f64::from(v) * scale).round() as u32).max(1));
        let small = scaled(picture, [0.0; 2], [w, h].map(f64::from), [wide, high], Filter::Linear)?;
        let value = |v: u8| if self == Self::Yunet { f32::from(v) } else { (f32::from(v) - 127.5) / 128.0 };
        let mut input = vec![value(0); 3 * side * side];
        for (at, pixel) in small.chunks_exact(3).enumerate() {
            let (x, y) = (at % wide as usize, at / wide as usize);
            for (channel, v) in pixel.iter().enumerate() {
                let plane = if self == Self::Yunet { 2 - channel } else { channel };
                input[(plane * side + y) * side + x] = value(*v);
            }
        }
        Ok((input, scale))
    }

    /// The faces of a score of `least` that the grid of `stride` has seen, in pixels of the input.
    fn faces(
        self,
        outputs: &[Output],
        side: usize,
        stride: usize,
        least: f64,
    ) -> std::result::Result<Vec<Found>, String> {
        let (cells, unit) = (side / stride, stride as f64);
        let mut found = Vec::new();
        let corner = |place: usize| [place % cells, place / cells].map(|v| v as f64);
        match self {
            Self::Yunet => {
                let of = |kind: usize, width: usize| {
                    rows(outputs, &format!("{}_{stride}", KINDS[kind]), cells * cells, width)
                };
                let (class, object, boxes, points) = (of(0, 1)?, of(1, 1)?, of(2, 4)?, of(3, 10)?);
                for place in 0..cells * cells {
                    let score = f64::from(class[place].clamp(0.0, 1.0) * object[place].clamp(0.0, 1.0)).sqrt();
                    // No number is no face.
                    if score.is_nan() || score < least {
                        continue;
                    }
                    let to = |axis: usize, off: f32| (corner(place)[axis] + f64::from(off)) * unit;
                    let b = &boxes[4 * place..][..4];
                    let size = [2, 3].map(|i| f64::from(b[i]).exp() * unit);
                    let bbox = [to(0, b[0]) - size[0] / 2.0, to(1, b[1]) - size[1] / 2.0, size[0], size[1]];
                    found.push(Found {
                        bbox,
                        landmarks: std::array::from_fn(|i| to(i % 2, points[10 * place + i])),
                        score,
                    });
                }
            }
            Self::Scrfd => {
                let count = ANCHORS * cells * cells;
                let of = |width: usize| shaped(outputs, count, width);
                let (scores, boxes, points) = (of(1)?, of(4)?, of(10)?);
                for at in (0..count).filter(|at| f64::from(scores[*at]) >= least) {
                    let [x, y] = corner(at / ANCHORS).map(|v| v * unit);
                    let [left, top, right, bottom] = [0, 1, 2, 3].map(|i| f64::from(boxes[4 * at + i]) * unit);
                    let bbox = [x - left, y - top, left + right, top + bottom];
                    let landmarks = std::array::from_fn(|i| [x, y][i % 2] + f64::from(points[10 * at + i]) * unit);
                    found.push(Found { bbox, landmarks, score: f64::from(scores[at]).min(1.0) });
                }
            }
        }
        Ok(found)
    }
}

/// The values of the output that has `count` rows of `width`.
fn shaped(outputs: &[Output], count: usize, width: usize) -> std::result::Result<&[f32], String> {
    let output = outputs.iter().find(|o| o.values.len() == count * width && o.shape.last() == Some(&width));
    let shapes = || outputs.iter().map(|o| format!("{:?}", o.shape)).collect::<Vec<_>>().join(", ");
    let output = output.ok_or_else(|| {
        format!("no detector of SCRFD's form: no output is [{count}, {width}], but they are {}", shapes())
    })?;
    Ok(&output.values)
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
