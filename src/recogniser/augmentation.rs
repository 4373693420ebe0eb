//! The usual augmentation of face images for recognition training: mirror, shift, scale, colour, erase.

use crate::config::AugmentationConfig;
use crate::dataset::to_signed;
use rand::{Rng, RngExt};

/// Largest share of the image that is erased.
const ERASED: f32 = 0.4;

/// Writes `pixels` (`[S, S, 3]` bytes), changed at random as `config` says, to `out` (`[S, S, 3]` in [-1, 1]).
///
/// What lies outside of the image is its edge, repeated. An erased rectangle is grey.
pub fn augment(pixels: &[u8], size: usize, config: &AugmentationConfig, rng: &mut impl Rng, out: &mut [f32]) {
    let mut even = |reach: f64| ((2.0 * rng.random::<f64>() - 1.0) * reach) as f32;
    let zoom = 1.0 / (1.0 + even(config.scale));
    let (dy, dx) = (even(config.shift) * size as f32, even(config.shift) * size as f32);
    let (brightness, contrast, saturation) =
        (even(config.colour), 1.0 + even(config.colour), 1.0 + even(config.colour));
    let flip = config.flip && rng.random();
    let middle = (size as f32 - 1.0) / 2.0;
    let last = size as f32 - 1.0;
    let source = |at: usize, shift: f32| ((at as f32 - middle) * zoom + middle + shift).clamp(0.0, last);
    for (y, row) in out.chunks_exact_mut(3 * size).enumerate() {
        let sy = source(y, dy);
        let (y0, wy) = (sy as usize, sy.fract());
        let y1 = (y0 + 1).min(size - 1);
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            let sx = source(if flip { size - 1 - x } else { x }, dx);
            let (x0, wx) = (sx as usize, sx.fract());
            let x1 = (x0 + 1).min(size - 1);
            let corner = |y: usize, x: usize, c: usize| to_signed(pixels[(y * size + x) * 3 + c]);
            for (c, value) in pixel.iter_mut().enumerate() {
                let top = corner(y0, x0, c) * (1.0 - wx) + corner(y0, x1, c) * wx;
                let bottom = corner(y1, x0, c) * (1.0 - wx) + corner(y1, x1, c) * wx;
                *value = top * (1.0 - wy) + bottom * wy;
            }
            // Rec. 601
            let grey = 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2];
            for value in pixel {
                *value = ((grey + (*value - grey) * saturation) * contrast + brightness).clamp(-1.0, 1.0);
            }
        }
    }
    if rng.random::<f64>() < config.erase {
        let mut side = || 1 + (rng.random::<f32>() * ERASED * size as f32) as usize;
        let (h, w) = (side(), side());
        let (top, left) = (rng.random_range(0..=size - h), rng.random_range(0..=size - w));
        for row in out.chunks_exact_mut(3 * size).skip(top).take(h) {
            row[3 * left..3 * (left + w)].fill(0.0);
        }
    }
}

/// `pixels` unchanged, in [-1, 1].
pub fn plain(pixels: &[u8], out: &mut [f32]) {
    out.iter_mut().zip(pixels).for_each(|(o, p)| *o = to_signed(*p));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::Seeds;

    const NONE: AugmentationConfig =
        AugmentationConfig { flip: false, shift: 0.0, scale: 0.0, colour: 0.0, erase: 0.0 };

    #[test]
    fn without_reach_nothing_changes_and_every_change_shows() {
        let size = 16;
        let pixels: Vec<u8> = (0..size * size * 3).map(|i| (i * 7 % 251) as u8).collect();
        let mut want = vec![0.0; pixels.len()];
        plain(&pixels, &mut want);
        let apply = |config: &AugmentationConfig, n: u64| {
            let mut out = vec![0.0; pixels.len()];
            augment(&pixels, size, config, &mut Seeds::new(n).stream("test", &[]), &mut out);
            out
        };
        let distance = |a: &[f32]| a.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(distance(&apply(&NONE, 1)) < 1e-5);
        let changes = [
            AugmentationConfig { shift: 0.2, ..NONE },
            AugmentationConfig { scale: 0.3, ..NONE },
            AugmentationConfig { colour: 0.3, ..NONE },
            AugmentationConfig { erase: 1.0, ..NONE },
        ];
        for config in changes {
            let out = apply(&config, 2);
            assert!(distance(&out) > 0.05, "{config:?}");
            assert!(out.iter().all(|v| (-1.0..=1.0).contains(v)));
        }
        let mirrored = (0..20).filter(|n| {
            let out = apply(&AugmentationConfig { flip: true, ..NONE }, *n);
            let back: Vec<f32> =
                out.chunks_exact(3 * size).flat_map(|r| r.chunks_exact(3).rev().flatten().copied()).collect();
            assert!(distance(&out) < 1e-5 || distance(&back) < 1e-5);
            distance(&back) < 1e-5
        });
        assert!((4..=16).contains(&mirrored.count()));
    }
}
