//! A face network of somebody else's: it measures, and neither trains nor chooses anything.

use super::Embeddings;
use crate::dataset::{IdentityDataset, View};
use crate::error::{Error, Result};
use crate::onnx::{Model, Network};
use crate::progress::Progress;
use image::RgbImage;
use rayon::prelude::*;
use serde::Serialize;
use std::path::Path;

/// Images embedded between two looks at the progress.
const PART: usize = 256;

/// Where a square image lies in the network's input, in pixels of the input; what it leaves free repeats its edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// Of its left edge.
    pub x: usize,
    /// Of its upper edge.
    pub y: usize,
    /// Its side.
    pub side: usize,
}

/// The network and how it is fed.
pub struct Outside {
    network: Network,
    placement: Placement,
    /// blake3 (hex) of its file.
    pub hash: String,
}

impl Outside {
    /// Reads an ONNX file whose input is `[1, 3, height, width]`, RGB, (value - 127.5) / 128, as face networks have it. Without a
    /// `placement` an image fills the smaller side of the input, in the middle.
    ///
    /// # Errors
    /// `Model`: the file cannot be read, or is another network; `Usage`: a placement outside the input.
    pub fn load(path: &Path, placement: Option<Placement>) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let failed = |e: String| Error::Model(format!("{}: {e}", path.display()));
        let model = Model::parse(&bytes).map_err(failed)?;
        let network = model.sides().and_then(|sides| model.at(sides)).map_err(failed)?;
        let (height, width) = network.sides();
        // What it cannot do is found before hours of training.
        network.run(&vec![0.0; 3 * height * width]).map_err(failed)?;
        let side = height.min(width);
        let placement = placement.unwrap_or(Placement { x: (width - side) / 2, y: (height - side) / 2, side });
        let Placement { x, y, side } = placement;
        if side == 0 || x.saturating_add(side) > width || y.saturating_add(side) > height {
            return Err(Error::Usage(format!(
                "option `outside_placement` {x},{y},{side} reaches over the input of {}, which is {width} wide and {height} high",
                path.display()
            )));
        }
        Ok(Self { network, placement, hash: blake3::hash(&bytes).to_hex().to_string() })
    }

    /// How images are placed.
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// Embeddings of `images`, of length 1.
    ///
    /// # Errors
    /// `Stopped`; `Model`: the network fails on an image.
    pub fn embed(&self, name: &str, images: &IdentityDataset, progress: &mut dyn Progress) -> Result<Embeddings> {
        progress.start(name, images.len() as u64, "images");
        let mut values = Vec::new();
        let mut size = 0;
        for start in (0..images.len()).step_by(PART) {
            let part = start..(start + PART).min(images.len());
            let rows = part.into_par_iter().map(|i| self.embed_one(images.image(i), images.image_size()));
            for row in rows.collect::<std::result::Result<Vec<_>, String>>().map_err(Error::Model)? {
                size = row.len();
                values.extend(row);
            }
            progress.at((start + PART).min(images.len()) as u64);
            if progress.stop_requested() {
                return Err(Error::Stopped);
            }
        }
        progress.finish();
        Ok(Embeddings { size, values })
    }

    /// Embedding of one square image of side `size`, of length 1.
    ///
    /// # Errors
    /// Text: the network fails on it.
    pub fn embed_one(&self, pixels: &[u8], size: usize) -> std::result::Result<Vec<f32>, String> {
        let input = self.input(pixels, size)?;
        let outputs = self.network.run(&input).map_err(|e| format!("the outside judge: {e}"))?;
        let mut row = outputs.into_iter().next().ok_or("the outside judge has no output")?.values;
        let norm = super::dot(&row, &row).sqrt();
        if !norm.is_finite() || norm == 0.0 {
            return Err("the outside judge gives an embedding that has no direction".into());
        }
        row.iter_mut().for_each(|v| *v /= norm);
        Ok(row)
    }

    /// `[3, height, width]`
    fn input(&self, pixels: &[u8], size: usize) -> std::result::Result<Vec<f32>, String> {
        let image = RgbImage::from_raw(size as u32, size as u32, pixels.to_vec()).ok_or("not a square image")?;
        let Placement { x, y, side } = self.placement;
        let image = View::square(side).centre(&image)?;
        let (height, width) = self.network.sides();
        let inside = |at: usize, from: usize| at.saturating_sub(from).min(side - 1);
        let value = |channel: usize, row: usize, column: usize| {
            let at = (inside(row, y) * side + inside(column, x)) * 3 + channel;
            (f32::from(image[at]) - 127.5) / 128.0
        };
        let places = (0..3).flat_map(|c| (0..height).flat_map(move |r| (0..width).map(move |w| (c, r, w))));
        Ok(places.map(|(c, r, w)| value(c, r, w)).collect())
    }
}
