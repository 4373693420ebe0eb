//! Convolution and its two gradients on channels-last slices, without gathered copies of patches.
//!
//! Images are padded a few at a time, so that a patch is a few straight runs of values; the kernels of [`super::tile`]
//! read them where they lie. Every result is one sum in a fixed order, whatever the number of threads and whatever
//! else is in the batch; only the weight gradient sums over images, in a fixed cut.

mod weights;

use super::Precision;
use super::buffer::written;
#[cfg(target_arch = "x86_64")]
use super::simd::bf16;
use super::simd::dispatch;
use super::tile::{DotProduct, GatherProduct, Run, Scratch, TILE_ROWS};
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Sizes of one convolution: image `[b, h, w, ci]` to `[b, oh, ow, co]` with weights `[kh, kw, ci, co]`.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Images.
    pub b: usize,
    /// Height of the input.
    pub h: usize,
    /// Width of the input.
    pub w: usize,
    /// Channels of the input.
    pub ci: usize,
    /// Height of the kernel.
    pub kh: usize,
    /// Width of the kernel.
    pub kw: usize,
    /// Channels of the output.
    pub co: usize,
    /// Distance of neighbouring patches.
    pub stride: usize,
    /// Zeros on each side.
    pub pad: usize,
    /// Height of the output.
    pub oh: usize,
    /// Width of the output.
    pub ow: usize,
    /// Of the products.
    pub precision: Precision,
}

/// A batch of images with zeros around each.
struct Padded {
    height: usize,
    width: usize,
    channels: usize,
    /// Zeros above and left of each image.
    before: usize,
}

impl Padded {
    /// Copies `[n, h, w, channels]` images into `out`, with [`TILE_ROWS`] values to spare at the end.
    fn fill(&self, images: &[f32], (h, w): (usize, usize), out: &mut Vec<f32>) {
        let (row, n) = (self.width * self.channels, images.len() / (h * w * self.channels));
        out.resize(n * self.height * row + TILE_ROWS, 0.0);
        for (image, to) in images.chunks_exact(h * w * self.channels).zip(out.chunks_exact_mut(self.height * row)) {
            let (top, rest) = to.split_at_mut(self.before * row);
            let (middle, bottom) = rest.split_at_mut(h * row);
            top.fill(0.0);
            bottom.fill(0.0);
            for (line, to) in image.chunks_exact(w * self.channels).zip(middle.chunks_exact_mut(row)) {
                let (left, rest) = to.split_at_mut(self.before * self.channels);
                left.fill(0.0);
                rest[..line.len()].copy_from_slice(line);
                rest[line.len()..].fill(0.0);
            }
        }
    }

    fn offset(&self, image: usize, y: usize, x: usize) -> usize {
        ((image * self.height + y) * self.width + x) * self.channels
    }
}

/// Buffers of one task.
#[derive(Default)]
struct Task {
    precision: Precision,
    padded: Vec<f32>,
    offsets: Vec<usize>,
    scratch: Scratch,
}

/// Rows that a task multiplies at a time: enough to pay for packing the matrix, few enough to stay near the core.
const ROWS: usize = 512;

/// Columns up to which dot products are faster.
const FEW_COLUMNS: usize = 4;

/// Columns of one task where there are too few rows to share out.
const COLUMNS: usize = 64;

impl Geometry {
    fn task(&self) -> Task {
        Task { precision: self.precision, ..Task::default() }
    }

    fn patch(&self) -> usize {
        self.kh * self.kw * self.ci
    }

    /// The results are written where the slices' lengths lead: they must be the sizes'.
    fn check(&self, x: Option<&[f32]>, y: Option<&[f32]>, w: Option<&[f32]>) {
        let expected =
            [self.b * self.h * self.w * self.ci, self.b * self.oh * self.ow * self.co, self.patch() * self.co];
        for (slice, expected) in [x, y, w].into_iter().zip(expected) {
            assert!(slice.is_none_or(|s| s.len() == expected), "slice of another length than {self:?} says");
        }
    }

    /// Images of one task, given the rows of products that each has.
    fn group(&self, rows: usize) -> usize {
        (ROWS / rows.max(1)).clamp(1, self.b.div_ceil(2).max(1))
    }

    fn padded_input(&self) -> Padded {
        Padded { height: self.h + 2 * self.pad, width: self.w + 2 * self.pad, channels: self.ci, before: self.pad }
    }

    /// Runs of a patch in the padded input: one for each row of the kernel.
    fn patch_runs(&self) -> Vec<Run> {
        let (line, len) = (self.padded_input().width * self.ci, self.kw * self.ci);
        (0..self.kh).map(|ky| Run { from: ky * line, len, row: ky * len }).collect()
    }

    /// Offsets of the patches of output pixels `pixels` of `images` images in the padded input.
    fn patch_offsets(&self, images: usize, offsets: &mut Vec<usize>) {
        let padded = self.padded_input();
        offsets.clear();
        for image in 0..images {
            for oy in 0..self.oh {
                offsets.extend((0..self.ow).map(|ox| padded.offset(image, oy * self.stride, ox * self.stride)));
            }
        }
    }

    /// `y[b, oh, ow, co] = conv(x, w)`.
    ///
    /// # Panics
    /// If a slice has another length than the sizes say; so do the gradients.
    pub fn forward(&self, x: &[f32], w: &[f32]) -> Vec<f32> {
        self.check(Some(x), None, Some(w));
        let runs = self.patch_runs();
        if self.is_dense() {
            return by_columns(self.b, self.co, COLUMNS, |range, sink| {
                let mut task = Task { offsets: (0..self.b).map(|i| i * self.ci).collect(), ..self.task() };
                task.product(Some(x), &runs, w, self.co, range, sink);
            });
        }
        let pixels = self.oh * self.ow;
        let group = self.group(pixels);
        let write = |y: &mut [MaybeUninit<f32>]| {
            let parts = y.par_chunks_mut(group * pixels * self.co).zip(x.par_chunks(group * self.h * self.w * self.ci));
            parts.for_each_init(
                || self.task(),
                |task, (y, x)| {
                    self.padded_input().fill(x, (self.h, self.w), &mut task.padded);
                    self.patch_offsets(y.len() / (pixels * self.co), &mut task.offsets);
                    task.product(None, &runs, w, self.co, 0..self.co, |row, column, values| {
                        let at = row * self.co + column;
                        y[at..at + values.len()].write_copy_of_slice(values);
                    });
                },
            );
        };
        // SAFETY: every task has one row for each pixel of its part, and a product gives all columns of all its rows.
        unsafe { written(self.b * pixels * self.co, write) }
    }

    /// Gradient with respect to `x` of `sum(dy * conv(x, w))`.
    ///
    /// Input pixels of one remainder modulo the stride see the same taps of the kernel, each tap a pixel of `dy`.
    pub fn input_gradient(&self, dy: &[f32], w: &[f32]) -> Vec<f32> {
        self.check(None, Some(dy), Some(w));
        // The transposed weights' columns are straight runs of values: with few of them, or few rows, dot products are
        // faster than a transposed copy.
        if self.is_dense() {
            return dot_products(dy, w, self.co);
        }
        let dots = self.ci <= FEW_COLUMNS;
        let transposed = if dots { Vec::new() } else { self.transposed_weights(w) };
        let s = self.stride;
        let (before_y, before_x) = ((self.kh - 1) / s, (self.kw - 1) / s);
        let before = before_y.max(before_x);
        let last = |n: usize| (n - 1 + self.pad) / s;
        let padded = Padded {
            height: before + (last(self.h) + 1).max(self.oh),
            width: before + (last(self.w) + 1).max(self.ow),
            channels: self.co,
            before,
        };
        let image = self.h * self.w * self.ci;
        let group = self.group(self.h.div_ceil(s) * self.w.div_ceil(s));
        let write = |dx: &mut [MaybeUninit<f32>]| {
            let parts = dx.par_chunks_mut(group * image).zip(dy.par_chunks(group * self.oh * self.ow * self.co));
            parts.for_each_init(
                || self.task(),
                |task, (dx, dy)| {
                    let images = dx.len() / image;
                    padded.fill(dy, (self.oh, self.ow), &mut task.padded);
                    let mut targets = Vec::new();
                    for (ry, rx) in (0..s).flat_map(|ry| (0..s).map(move |rx| (ry, rx))) {
                        let mut runs = Vec::new();
                        for (jy, ky) in (ry..self.kh).step_by(s).enumerate() {
                            for (jx, kx) in (rx..self.kw).step_by(s).enumerate() {
                                let from = padded.offset(0, before - jy, before - jx);
                                let tap = ky * self.kw + kx;
                                let row = if dots { tap * self.ci * self.co } else { tap * self.co };
                                runs.push(Run { from, len: self.co, row });
                            }
                        }
                        task.offsets.clear();
                        targets.clear();
                        // Pixels y = q * stride + remainder - pad of the image.
                        let pixels = |r: usize, n: usize| {
                            (0..n).filter(move |y| (y + self.pad) % s == r).map(move |y| (y, (y + self.pad) / s))
                        };
                        for image in 0..images {
                            for (y, qy) in pixels(ry, self.h) {
                                for (x, qx) in pixels(rx, self.w) {
                                    task.offsets.push(padded.offset(image, qy, qx));
                                    targets.push(((image * self.h + y) * self.w + x) * self.ci);
                                }
                            }
                        }
                        let sink = |row: usize, column: usize, values: &[f32]| {
                            let at = targets[row] + column;
                            dx[at..at + values.len()].write_copy_of_slice(values);
                        };
                        if dots {
                            task.dots(None, &runs, w, self.co, 0..self.ci, sink);
                        } else {
                            task.product(None, &runs, &transposed, self.ci, 0..self.ci, sink);
                        }
                    }
                },
            );
        };
        // SAFETY: every pixel has one remainder in each direction, so it is a row of one product, which gives all columns.
        unsafe { written(self.b * image, write) }
    }

    /// `[kh, kw, ci, co]` to `[kh, kw, co, ci]`.
    fn transposed_weights(&self, w: &[f32]) -> Vec<f32> {
        /// Rows of the result at a time, so that few cache lines are open.
        const STRIP: usize = 16;
        let (ci, co) = (self.ci, self.co);
        let mut out = vec![0.0; w.len()];
        out.par_chunks_mut(ci * co).zip(w.par_chunks(ci * co)).for_each(|(out, w)| {
            for (strip, out) in out.chunks_mut(STRIP * ci).enumerate() {
                let (first, rows) = (strip * STRIP, out.len() / ci);
                for (i, line) in w.chunks_exact(co).enumerate() {
                    for (j, v) in line[first..first + rows].iter().enumerate() {
                        out[j * ci + i] = *v;
                    }
                }
            }
        });
        out
    }

    /// True for a plain matrix product of `[b, ci]` and `[ci, co]`.
    fn is_dense(&self) -> bool {
        self.pad == 0 && [self.h, self.w, self.kh, self.kw, self.oh, self.ow].iter().all(|n| *n == 1)
    }
}

/// `a b^T` of row-major matrices whose rows have `width` values: every dot product of a row of `a` with one of `b`.
///
/// # Shapes
/// - `a`: `[n, width]`, `b`: `[m, width]`; returns `[n, m]`
pub fn dot_products(a: &[f32], b: &[f32], width: usize) -> Vec<f32> {
    let (rows, columns) = (a.len() / width, b.len() / width);
    let run = [Run { from: 0, len: width, row: 0 }];
    by_columns(rows, columns, COLUMNS, |range, sink| {
        let mut task = Task { offsets: (0..rows).map(|i| i * width).collect(), ..Task::default() };
        task.dots(Some(a), &run, b, width, range, sink);
    })
}

/// `[rows, columns]` from products of column ranges, each made by one task: few rows cannot be shared out.
fn by_columns(
    rows: usize,
    columns: usize,
    width: usize,
    product: impl Fn(Range<usize>, &mut dyn FnMut(usize, usize, &[f32])) + Sync,
) -> Vec<f32> {
    let blocks: Vec<Vec<f32>> = (0..columns.div_ceil(width))
        .into_par_iter()
        .map(|i| {
            let range = i * width..((i + 1) * width).min(columns);
            let mut block = vec![0.0; rows * range.len()];
            let (first, len) = (range.start, range.len());
            product(range, &mut |row, column, values| {
                let at = row * len + column - first;
                block[at..at + values.len()].copy_from_slice(values);
            });
            block
        })
        .collect();
    let mut out = vec![0.0; rows * columns];
    for (row, out) in out.chunks_exact_mut(columns.max(1)).enumerate() {
        for (block, out) in blocks.iter().zip(out.chunks_mut(width)) {
            out.copy_from_slice(&block[row * out.len()..(row + 1) * out.len()]);
        }
    }
    out
}

impl Task {
    /// Fills up the last tile with rows that are computed and dropped; returns the number of rows before.
    fn round_up(&mut self) -> usize {
        let rows = self.offsets.len();
        if let Some(last) = self.offsets.last().copied() {
            self.offsets.resize(rows.next_multiple_of(TILE_ROWS), last);
        }
        rows
    }

    /// Products of the rows at `offsets` of `src` (the padded images if none) with columns `range` of `matrix`.
    fn product(
        &mut self,
        src: Option<&[f32]>,
        runs: &[Run],
        matrix: &[f32],
        columns: usize,
        range: Range<usize>,
        sink: impl FnMut(usize, usize, &[f32]),
    ) {
        let rows = self.round_up();
        let (src, offsets) = (src.unwrap_or(&self.padded), &self.offsets[..]);
        let product =
            GatherProduct { src, offsets, rows, runs, matrix, columns, range, scratch: &mut self.scratch, sink };
        #[cfg(target_arch = "x86_64")]
        if let Some(by) = bf16(self.precision) {
            return product.in_bf16(by);
        }
        dispatch(product);
    }

    /// The same with columns that lie `step` apart, each in runs of values.
    fn dots(
        &mut self,
        src: Option<&[f32]>,
        runs: &[Run],
        matrix: &[f32],
        step: usize,
        range: Range<usize>,
        sink: impl FnMut(usize, usize, &[f32]),
    ) {
        let rows = self.round_up();
        let (src, offsets) = (src.unwrap_or(&self.padded), &self.offsets[..]);
        dispatch(DotProduct { src, offsets, rows, runs, matrix, step, range, sink });
    }
}
