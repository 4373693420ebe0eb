//! A face network of somebody else's, in ONNX.

use super::filter::{Chooser, Known};
use super::judge::{THRESHOLD, equal_error_of, step};
use super::{Embeddings, class_means, dot};
use crate::dataset::{IdentityDataset, Images, View};
use crate::error::{Error, Result};
use crate::onnx::{Model, Network};
use crate::progress::Progress;
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Images embedded between two looks at the progress.
const PART: usize = 256;

/// Where a square image lies in the network's input, in pixels of the input; what it leaves free repeats its edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// Of its left edge.
    pub x: usize,
    /// Of its upper edge.
    pub y: usize,
    /// Its side.
    pub side: usize,
}

/// Order of the colours of a pixel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// A network and how it is fed, as a file in TOML says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feeding {
    /// The network's file, beside the TOML.
    #[serde(skip_serializing)]
    model: PathBuf,
    /// Where an image lies in the input; without it the image fills the smaller side, in the middle.
    placement: Option<Placement>,
    /// Height and width of the input, where the file leaves them open.
    sides: Option<(usize, usize)>,
    /// Order of the colours.
    #[serde(default)]
    channels: Channels,
    /// What is taken from a value, in 0..255.
    #[serde(default = "middle")]
    mean: f32,
    /// What the rest is divided by.
    #[serde(default = "half")]
    scale: f32,
    /// Whether the embedding of the mirrored image is added.
    #[serde(default)]
    mirrored: bool,
}

fn middle() -> f32 {
    127.5
}

fn half() -> f32 {
    128.0
}

impl Feeding {
    /// What most face networks take: RGB, (value - 127.5) / 128.
    fn plain(model: &Path) -> Self {
        let (model, channels) = (model.to_owned(), Channels::Rgb);
        Self { model, placement: None, sides: None, channels, mean: middle(), scale: half(), mirrored: false }
    }

    /// What the file `path` says, or what is plain for the network in it.
    fn read(path: &Path) -> Result<Self> {
        if path.extension().is_none_or(|e| e != "toml") {
            return Ok(Self::plain(path));
        }
        let failed = |what: &str| Error::Usage(format!("{}: {what}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        let mut feeding: Self = toml::from_str(&text).map_err(|e| failed(e.to_string().trim()))?;
        if !feeding.mean.is_finite() || !feeding.scale.is_normal() {
            return Err(failed("`mean` and `scale` must be numbers, and `scale` not 0"));
        }
        feeding.model = path.with_file_name(&feeding.model);
        Ok(feeding)
    }
}

/// The network and how it is fed.
pub struct Outside {
    network: Network,
    feeding: Feeding,
    placement: Placement,
    /// blake3 (hex) of its file, and of how it is fed if that is not plain.
    pub hash: String,
}

impl Outside {
    /// Reads an ONNX file whose input is `[1, 3, height, width]`, RGB, (value - 127.5) / 128, as face networks have it; or a TOML that names
    /// such a file and says how else it is fed. `placement` counts before what that says.
    ///
    /// # Errors
    /// `Model`: the file cannot be read, or is another network; `Usage`: a placement outside the input.
    pub fn load(path: &Path, placement: Option<Placement>) -> Result<Self> {
        let feeding = Feeding::read(path)?;
        let path = &feeding.model;
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let failed = |e: String| Error::Model(format!("{}: {e}", path.display()));
        let model = Model::parse(&bytes).map_err(failed)?;
        let sides = feeding.sides.map_or_else(|| model.sides(), Ok);
        let network = sides.and_then(|sides| model.at(sides)).map_err(failed)?;
        let (height, width) = network.sides();
        // What it cannot do is found before hours of training.
        let outputs = network.run(&vec![0.0; 3 * height * width]).map_err(failed)?;
        let shapes: Vec<&[usize]> = outputs.iter().map(|o| &o.shape[..]).collect();
        if !matches!(shapes[..], [shape] if shape.iter().filter(|n| **n != 1).count() == 1) {
            return Err(failed(format!("is no face network: it gives {shapes:?} for an image, expected one vector")));
        }
        let side = height.min(width);
        let middle = Placement { x: (width - side) / 2, y: (height - side) / 2, side };
        let placement = placement.or(feeding.placement).unwrap_or(middle);
        let Placement { x, y, side } = placement;
        if side == 0 || x.saturating_add(side) > width || y.saturating_add(side) > height {
            return Err(Error::Usage(format!(
                "placement {x},{y},{side} reaches over the input of {}, which is {width} wide and {height} high",
                path.display()
            )));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes);
        if feeding != Feeding::plain(path) {
            hasher.update(json!(feeding).to_string().as_bytes());
        }
        Ok(Self { network, placement, hash: hasher.finalize().to_hex().to_string(), feeding })
    }

    /// How images are placed.
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// Embeddings of `images`, of length 1.
    ///
    /// # Errors
    /// `Stopped`; `Model`: the network fails on an image; the disk cannot be read.
    pub fn embed(&self, name: &str, images: &dyn Images, progress: &mut dyn Progress) -> Result<Embeddings> {
        let (n, side) = (images.catalogue().len(), images.catalogue().image_size());
        progress.start(name, n as u64, "images");
        let mut values = Vec::new();
        let mut size = 0;
        for start in (0..n).step_by(PART) {
            let part = start..(start + PART).min(n);
            let rows = part.into_par_iter().map(|i| self.embed_one(&images.read(i)?, side).map_err(Error::Model));
            for row in rows.collect::<Result<Vec<_>>>()? {
                size = row.len();
                values.extend(row);
            }
            progress.reached((start + PART).min(n) as u64)?;
        }
        progress.finish();
        Ok(Embeddings { size, values })
    }

    /// Embedding of one square image of side `size`, of length 1.
    ///
    /// # Errors
    /// Text: the network fails on it.
    pub fn embed_one(&self, pixels: &[u8], size: usize) -> std::result::Result<Vec<f32>, String> {
        let run = |mirrored: bool| {
            let outputs = self.network.run(&self.input(pixels, size, mirrored)?);
            let outputs = outputs.map_err(|e| format!("the outside judge: {e}"))?;
            outputs.into_iter().next().map(|o| o.values).ok_or("the outside judge has no output".to_owned())
        };
        let mut row = run(false)?;
        if self.feeding.mirrored {
            row.iter_mut().zip(run(true)?).for_each(|(v, other)| *v += other);
        }
        let norm = dot(&row, &row).sqrt();
        if !norm.is_finite() || norm == 0.0 {
            return Err("the outside judge gives an embedding that has no direction".into());
        }
        row.iter_mut().for_each(|v| *v /= norm);
        Ok(row)
    }

    /// `[3, height, width]`
    fn input(&self, pixels: &[u8], size: usize, mirrored: bool) -> std::result::Result<Vec<f32>, String> {
        let image = RgbImage::from_raw(size as u32, size as u32, pixels.to_vec()).ok_or("not a square image")?;
        let Placement { x, y, side } = self.placement;
        let Feeding { channels, mean, scale, .. } = &self.feeding;
        let image = View::square(side).centre(&image)?;
        let (height, width) = self.network.sides();
        let inside = |at: usize, from: usize| at.saturating_sub(from).min(side - 1);
        let value = |channel: usize, row: usize, column: usize| {
            let column = inside(column, x);
            let column = if mirrored { side - 1 - column } else { column };
            let channel = if *channels == Channels::Bgr { 2 - channel } else { channel };
            (f32::from(image[(inside(row, y) * side + column) * 3 + channel]) - mean) / scale
        };
        let places = (0..3).flat_map(|c| (0..height).flat_map(move |r| (0..width).map(move |w| (c, r, w))));
        Ok(places.map(|(c, r, w)| value(c, r, w)).collect())
    }
}

/// A network from outside and the persons whom it was shown: it can choose.
pub struct Acquainted<'a> {
    outside: &'a Outside,
    known: Known,
}

impl<'a> Acquainted<'a> {
    /// Shows `outside` the images `training`. Its threshold is the similarity of equal error of each image and the mean of the others of
    /// its person, and of other persons.
    ///
    /// # Errors
    /// Those of [`Outside::embed`].
    pub fn new(outside: &'a Outside, training: &IdentityDataset, progress: &mut dyn Progress) -> Result<Self> {
        let embedded = outside.embed("judge (training)", training, progress)?;
        let means = class_means(&embedded, training);
        let mut scored = Vec::new();
        for (i, label) in training.labels().iter().enumerate().step_by(step(training.len(), means.len())) {
            let own = training.images_of(*label);
            if own.len() < 2 {
                continue;
            }
            let others = embedded.mean(own.iter().copied().filter(|other| *other != i));
            let of = |c: usize| if c == *label as usize { &others[..] } else { means.row(c) };
            scored.extend((0..means.len()).map(|c| (dot(embedded.row(i), of(c)), c == *label as usize)));
        }
        let threshold = if scored.is_empty() { THRESHOLD } else { equal_error_of(scored).1 };
        Ok(Self { outside, known: Known { identities: training.identities().to_vec(), means, threshold } })
    }
}

impl Chooser for Acquainted<'_> {
    fn embed(&self, images: &[Vec<u8>], size: usize) -> Result<Embeddings> {
        let rows = images.par_iter().map(|image| self.outside.embed_one(image, size));
        let rows = rows.collect::<std::result::Result<Vec<_>, String>>().map_err(Error::Model)?;
        Ok(Embeddings { size: self.known.means.size, values: rows.concat() })
    }

    fn known(&self) -> &Known {
        &self.known
    }
}
