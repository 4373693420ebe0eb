//! Holes in images, and the smooth surface that spans one.

use crate::config::Alignment;
use crate::dataset::align::{Feature, place};
use crate::dataset::decode::{decode_bytes, read_file};
use crate::error::{Error, Result};
use std::path::Path;

/// Rounds of relaxation. A hole of half an image's side needs about as many as it has pixels from edge to edge.
const ROUNDS: usize = 400;
/// Over-relaxation, which speeds that up.
const OVER: f32 = 1.8;
/// A surface that moves by less has settled: a fifth of a step of 8 bits.
const STILL: f32 = 0.4 / 255.0 / 2.0;

/// The pixels of a square image that are to be filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    size: usize,
    /// Row by row, true within.
    within: Vec<bool>,
    /// Of each pixel within, where its values begin, and those of its neighbours.
    inside: Vec<(usize, [usize; 4])>,
}

impl Hole {
    /// The hole `within` an image of side `size`.
    ///
    /// # Errors
    /// `Usage`: it is empty, or nothing is left around it.
    pub fn new(size: usize, within: Vec<bool>) -> Result<Self> {
        let pixels = within.iter().filter(|w| **w).count();
        if within.len() != size * size || pixels == 0 || pixels == within.len() {
            return Err(Error::Usage(format!(
                "a hole of {pixels} of {} pixels: some must be within, and some without",
                size * size
            )));
        }
        let neighbours = |i: usize| {
            let (x, y) = (i % size, i / size);
            let all = [
                (x > 0, i.wrapping_sub(1)),
                (x + 1 < size, i + 1),
                (y > 0, i.wrapping_sub(size)),
                (y + 1 < size, i + size),
            ];
            (3 * i, all.map(|(there, j)| 3 * if there { j } else { i }))
        };
        let inside = (0..size * size).filter(|i| within[*i]).map(neighbours).collect();
        Ok(Self { size, within, inside })
    }

    /// The rectangle at (`x`, `y`) of `width` and `height` pixels.
    ///
    /// # Errors
    /// `Usage`: it is empty, reaches over the image, or covers it.
    pub fn rectangle(size: usize, [x, y, width, height]: [usize; 4]) -> Result<Self> {
        let named = format!("option `box` {x},{y},{width},{height}");
        if width == 0 || height == 0 {
            return Err(Error::Usage(format!("{named} is empty: X,Y,W,H are left, top, width and height in pixels")));
        }
        if x.saturating_add(width) > size || y.saturating_add(height) > size {
            return Err(Error::Usage(format!(
                "{named} reaches over the images, which the model sees at {size} x {size} px"
            )));
        }
        let inside = |i: usize| (x..x + width).contains(&(i % size)) && (y..y + height).contains(&(i / size));
        Self::new(size, (0..size * size).map(inside).collect()).map_err(|e| Error::Usage(format!("{named}: {e}")))
    }

    /// The rectangles around `features` where `alignment` puts them.
    ///
    /// # Errors
    /// `Usage`: the model's images are not aligned, or nothing is left around the features.
    pub fn of_features(features: &[Feature], alignment: Alignment, size: usize) -> Result<Self> {
        if alignment == Alignment::None {
            return Err(Error::Usage(
                "option `mask_from` needs to know where eyes, nose and mouth lie: the model was trained with option `alignment` none; use option \
                 `box` or option `mask`"
                    .into(),
            ));
        }
        let mut within = vec![false; size * size];
        for feature in features {
            let [left, top, right, bottom] =
                place(*feature, alignment).map(|v| (v * size as f64).round().clamp(0.0, size as f64) as usize);
            (top..bottom).for_each(|y| within[y * size + left..y * size + right].fill(true));
        }
        Self::new(size, within)
    }

    /// The picture at `path`: white is the hole, black is kept.
    ///
    /// # Errors
    /// `Usage`: it cannot be read, has another size, or is all white or black.
    pub fn read(path: &Path, size: usize) -> Result<Self> {
        let wrong = |what: &str| Error::Usage(format!("option `mask` {}: {what}", path.display()));
        let image = read_file(path).and_then(|bytes| decode_bytes(&bytes)).map_err(|e| wrong(&e))?;
        if image.dimensions() != (size as u32, size as u32) {
            return Err(wrong(&format!(
                "the mask is {} x {} px, the model sees images at {size} x {size} px; scale it to that",
                image.width(),
                image.height()
            )));
        }
        let within = image.pixels().map(|p| p.0.iter().map(|v| u32::from(*v)).sum::<u32>() >= 3 * 128).collect();
        Self::new(size, within)
            .map_err(|e| wrong(&format!("{e}; white is filled, black stays, and transparency does not count")))
    }

    /// Side of the image.
    pub fn size(&self) -> usize {
        self.size
    }

    /// True for each pixel within it, row by row.
    pub fn within(&self) -> &[bool] {
        &self.within
    }

    /// 1 for every value of a known pixel, 0 within, `[S, S, 3]`.
    pub fn known(&self) -> Vec<f32> {
        self.within.iter().flat_map(|w| [if *w { 0.0 } else { 1.0 }; 3]).collect()
    }

    /// Fills the hole in `values`, `[S, S, 3]`, with the surface of least slope that meets what is around it (Laplace's equation; the
    /// image's own edge holds nothing).
    pub fn span(&self, values: &mut [f32]) {
        let (mut mean, mut known) = ([0f32; 3], 0f32);
        for (pixel, _) in values.chunks_exact(3).zip(&self.within).filter(|(_, within)| !**within) {
            mean.iter_mut().zip(pixel).for_each(|(m, v)| *m += v);
            known += 1.0;
        }
        mean.iter_mut().for_each(|m| *m /= known);
        self.inside.iter().for_each(|(at, _)| values[*at..*at + 3].copy_from_slice(&mean));
        for _ in 0..ROUNDS {
            let mut moved = 0f32;
            for (at, neighbours) in &self.inside {
                // Of a neighbour outside the image, the pixel itself stands in.
                for channel in 0..3 {
                    let sum: f32 = neighbours.iter().map(|n| values[n + channel]).sum();
                    let change = OVER * (sum / 4.0 - values[at + channel]);
                    values[at + channel] += change;
                    moved = moved.max(change.abs());
                }
            }
            if moved < STILL {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_spans_a_hole_in_a_slope_is_the_slope() {
        let slope: Vec<f32> = (0..16 * 16).flat_map(|i| [(i % 16) as f32, (i / 16) as f32, 3.0]).collect();
        let hole = Hole::rectangle(16, [3, 4, 9, 8]).unwrap();
        let mut holed = slope.clone();
        hole.within().iter().enumerate().filter(|(_, w)| **w).for_each(|(i, _)| holed[3 * i..3 * i + 3].fill(-50.0));
        hole.span(&mut holed);
        for (a, b) in holed.iter().zip(&slope) {
            assert!((a - b).abs() < 1e-3, "{a} {b}");
        }
        assert_eq!(hole.known().iter().sum::<f32>(), (3 * (256 - 72)) as f32);
    }

    #[test]
    fn holes_that_leave_nothing_or_reach_over_are_refused() {
        for of in [[0, 0, 16, 16], [10, 0, 7, 2], [0, 0, 0, 3], [usize::MAX, 0, 2, 2]] {
            assert!(Hole::rectangle(16, of).is_err(), "{of:?}");
        }
        assert!(Hole::new(4, vec![false; 16]).unwrap_err().to_string().contains("0 of 16"));
    }
}
