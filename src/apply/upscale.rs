//! Super-resolution: z is read from the enlarged image, descends on the difference of what G makes, made small again, from the small image, and
//! what remains of that difference is put back.

use super::Networks;
use crate::dataset::scale::{Filter, scaled};
use crate::error::{Error, Result};
use candle_core::Tensor;
use image::RgbImage;
use rayon::prelude::*;
use serde::Serialize;

/// How small images are made large.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Upscale {
    /// Side of the large image in sides of the small one.
    pub factor: usize,
    /// Steps by which z descends.
    pub refine: usize,
    /// Rounds in which what is different is put back.
    pub rounds: usize,
}

impl Upscale {
    /// The defaults for `factor`.
    pub fn new(factor: usize) -> Self {
        Self { factor, refine: 10, rounds: 20 }
    }
}

/// Makes `small` images (`[S / factor, S / factor, 3]` bytes each), whose labels are `labels`, as large as the model's, `[S, S, 3]` bytes each. What comes
/// out, averaged over blocks of `factor` x `factor` pixels, is the small image again.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn upscale(networks: &Networks, small: &[Vec<u8>], labels: &[u32], options: &Upscale) -> Result<Vec<Vec<u8>>> {
    let (size, factor) = (networks.image_size(), options.factor);
    let side = size / factor;
    let enlarged = small.iter().map(|pixels| bicubic(pixels, side, size)).collect::<Result<Vec<_>>>()?;
    let (z, _) = networks.encode(&enlarged, labels)?;
    let targets: Vec<Vec<f32>> = small.iter().map(|pixels| super::values(pixels)).collect();
    let z = if options.refine > 0 {
        let target = Tensor::from_vec(targets.concat(), (small.len(), side, 1, side, 1, 3), networks.device)?;
        // A small pixel speaks for a block of large ones.
        let weight = 0.5 * (factor * factor) as f64;
        networks.refine(&z, labels, options.refine, |made| {
            let blocks = made.reshape((small.len(), side, factor, side, factor, 3))?;
            let small = blocks.mean_keepdim(2)?.mean_keepdim(4)?;
            (small - &target)?.sqr()?.sum_all()? * weight
        })?
    } else {
        z
    };
    let mut made = networks.decode(&z, &networks.labels(labels)?)?;
    let finished = made.par_iter_mut().zip(&targets).zip(small).map(|((image, target), small)| {
        project(image, target, size, factor, options.rounds);
        let mut bytes = super::bytes(image);
        settle(&mut bytes, small, size, factor);
        bytes
    });
    Ok(finished.collect())
}

/// Enlarged by the cubic of Catmull and Rom, in [-1, 1].
///
/// # Errors
/// The pixels are of another side.
pub fn bicubic(pixels: &[u8], side: usize, size: usize) -> Result<Vec<f32>> {
    let image = RgbImage::from_raw(side as u32, side as u32, pixels.to_vec())
        .ok_or_else(|| Error::Model("the small image has another size than it is said to have".into()))?;
    let large = scaled(&image, [0.0; 2], [side as f64; 2], [size as u32; 2], Filter::Cubic).map_err(Error::Model)?;
    Ok(super::values(&large))
}

/// Means over blocks of `factor` x `factor` pixels of an image of side `size`.
pub fn reduced(image: &[f32], size: usize, factor: usize) -> Vec<f32> {
    let side = size / factor;
    let mut small = vec![0f32; side * side * 3];
    for (i, pixel) in image.chunks_exact(3).enumerate() {
        let at = (i / size / factor * side + i % size / factor) * 3;
        small[at..at + 3].iter_mut().zip(pixel).for_each(|(s, v)| *s += v / (factor * factor) as f32);
    }
    small
}

/// Moves `image` until its means over blocks are `target`: smoothly at first, block by block at last.
fn project(image: &mut [f32], target: &[f32], size: usize, factor: usize, rounds: usize) {
    let side = size / factor;
    for round in 0..rounds {
        let small = reduced(image, size, factor);
        let apart: Vec<f32> = target.iter().zip(&small).map(|(t, s)| t - s).collect();
        for (i, pixel) in image.chunks_exact_mut(3).enumerate() {
            let (x, y) = (i % size, i / size);
            for (channel, value) in pixel.iter_mut().enumerate() {
                let change = if 2 * round < rounds {
                    between(&apart, side, factor, (x, y), channel)
                } else {
                    apart[(y / factor * side + x / factor) * 3 + channel]
                };
                *value = (*value + change).clamp(-1.0, 1.0);
            }
        }
    }
}

/// Moves single bytes of `image` by a step until every block has exactly the mean that `small` says: rounding has left less than that.
fn settle(image: &mut [u8], small: &[u8], size: usize, factor: usize) {
    let side = size / factor;
    for (i, target) in small.iter().enumerate() {
        let (channel, x, y) = (i % 3, i / 3 % side * factor, i / 3 / side * factor);
        let block = (0..factor * factor).map(|j| ((y + j / factor) * size + x + j % factor) * 3 + channel);
        let sum: i64 = block.clone().map(|at| i64::from(image[at])).sum();
        let mut rest = i64::from(*target) * (factor * factor) as i64 - sum;
        while rest != 0 {
            let before = rest;
            for at in block.clone() {
                let moved = i64::from(image[at]) + rest.signum();
                if rest != 0
                    && let Ok(moved) = u8::try_from(moved)
                {
                    image[at] = moved;
                    rest -= rest.signum();
                }
            }
            if rest == before {
                break;
            }
        }
    }
}

/// Value at the large pixel (`x`, `y`) of `small`, linear between its pixels.
fn between(small: &[f32], side: usize, factor: usize, (x, y): (usize, usize), channel: usize) -> f32 {
    let place = |at: usize| {
        let at = ((at as f32 + 0.5) / factor as f32 - 0.5).clamp(0.0, (side - 1) as f32);
        let first = at.floor();
        (first as usize, (first as usize + 1).min(side - 1), at - first)
    };
    let ((x0, x1, fx), (y0, y1, fy)) = (place(x), place(y));
    let value = |x: usize, y: usize| small[(y * side + x) * 3 + channel];
    let row = |y: usize| value(x0, y) + fx * (value(x1, y) - value(x0, y));
    row(y0) + fy * (row(y1) - row(y0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_back_leaves_no_difference() {
        let image: Vec<f32> = (0..16 * 16 * 3).map(|i| (i as f32 * 0.37).sin()).collect();
        let target: Vec<f32> = (0..4 * 4 * 3).map(|i| 0.9 * (i as f32 * 1.7).cos()).collect();
        let mut moved = image.clone();
        project(&mut moved, &target, 16, 4, 20);
        let worst = |image: &[f32]| {
            let small = reduced(image, 16, 4);
            small.iter().zip(&target).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max)
        };
        assert!(worst(&image) > 0.5 && worst(&moved) < 1.0 / 255.0, "{} {}", worst(&image), worst(&moved));
        assert!(moved.iter().all(|v| (-1.0..=1.0).contains(v)));
        let small: Vec<u8> = (0..4 * 4 * 3).map(|i| (i * 37 % 256) as u8).collect();
        let mut bytes: Vec<u8> = (0..16 * 16 * 3).map(|i| (i * 91 % 256) as u8).collect();
        settle(&mut bytes, &small, 16, 4);
        let means = reduced(&bytes.iter().map(|b| f32::from(*b)).collect::<Vec<_>>(), 16, 4);
        assert!(means.iter().zip(&small).all(|(a, b)| (a - f32::from(*b)).abs() < 1e-3));
    }
}
