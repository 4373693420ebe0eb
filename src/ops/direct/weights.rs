//! The gradient of a convolution with respect to its weights.

use super::{Geometry, Task};
#[cfg(target_arch = "x86_64")]
use crate::ops::simd::bf16;
use crate::ops::simd::dispatch;
use crate::ops::tile::{OuterProduct, TILE_ROWS, Tile};
use rayon::prelude::*;
use std::ops::Range;

impl Geometry {
    /// Gradient with respect to `w` of `sum(dy * conv(x, w))`.
    ///
    /// Where the weights are few, groups of images are summed apart and then together; where they are many, each task has
    /// some of them and all images.
    pub fn weight_gradient(&self, x: &[f32], dy: &[f32]) -> Vec<f32> {
        const FEW: usize = 1 << 18;
        self.check(Some(x), Some(dy), None);
        let few = self.patch() * self.co <= FEW;
        let (groups, ranges) = if few { (self.b.min(8), 1) } else { (1, 4) };
        let tiles: Vec<Tile> = self
            .patch_runs()
            .iter()
            .flat_map(|r| {
                (0..r.len).step_by(TILE_ROWS).map(|i| Tile { from: r.from + i, rows: (r.len - i).min(TILE_ROWS) })
            })
            .collect();
        let share = self.b.div_ceil(groups);
        let size = self.patch() * self.co;
        let mut parts = vec![0.0; groups * size];
        let mut tasks = Vec::with_capacity(groups * ranges);
        let mut left = &mut parts[..];
        for i in 0..groups * ranges {
            let (group, range) = (i / ranges, i % ranges);
            let images = (group * share).min(self.b)..((group + 1) * share).min(self.b);
            let tiles = &tiles[range * tiles.len() / ranges..(range + 1) * tiles.len() / ranges];
            let rows: usize = tiles.iter().map(|t| t.rows).sum();
            let (out, rest) = left.split_at_mut(rows * self.co);
            left = rest;
            tasks.push((images, tiles, out));
        }
        tasks.into_par_iter().for_each_init(
            || self.task(),
            |task, (images, tiles, out)| {
                self.weight_sums(x, dy, images, tiles, task, out);
            },
        );
        let (dw, others) = parts.split_at_mut(size);
        for part in others.chunks_exact(size) {
            dw.iter_mut().zip(part).for_each(|(a, b)| *a += b);
        }
        parts.truncate(size);
        parts
    }

    /// The rows of the weight gradient that `tiles` name, summed over `images`.
    fn weight_sums(
        &self,
        x: &[f32],
        dy: &[f32],
        images: Range<usize>,
        tiles: &[Tile],
        task: &mut Task,
        out: &mut [f32],
    ) {
        let (image, pixels) = (self.h * self.w * self.ci, self.oh * self.ow);
        let step = (256 / pixels).max(1);
        for start in images.clone().step_by(step) {
            let end = (start + step).min(images.end);
            self.padded_input().fill(&x[start * image..end * image], (self.h, self.w), &mut task.padded);
            self.patch_offsets(end - start, &mut task.offsets);
            let product = OuterProduct {
                src: &task.padded,
                offsets: &task.offsets,
                tiles,
                matrix: &dy[start * pixels * self.co..end * pixels * self.co],
                columns: self.co,
                scratch: &mut task.scratch,
                out,
                accumulate: start > images.start,
            };
            #[cfg(target_arch = "x86_64")]
            if let Some(by) = bf16(self.precision) {
                product.in_bf16(by);
                continue;
            }
            dispatch(product);
        }
    }
}
