//! Register tiles: the inner loops that every product of this crate runs in.
//!
//! Three kernels, all on tiles of [`TILE_ROWS`] rows held in registers. [`GatherProduct`] multiplies rows that lie scattered
//! in a source (patches of an image) with a matrix; [`DotProduct`] does the same with a transposed matrix of few columns, or
//! for few rows; [`OuterProduct`] sums outer products of such rows with the rows of a matrix. No result depends on how work
//! was cut: every one is a sum in a fixed order.

#![allow(
    clippy::inline_always,
    clippy::needless_range_loop,
    reason = "a kernel and all that it calls must be compiled for one instruction set, so it is inlined and has no closures"
)]

mod outer;

pub use outer::{OuterProduct, Tile};
use pulp::{Simd, WithSimd};

/// Rows of a register tile.
pub const TILE_ROWS: usize = 6;

/// Values of a packed block of a panel: 32 KiB, so that it stays in the first-level cache.
const BLOCK: usize = 8192;

/// Values that every row reads: `len` of them, `from` past the row's offset, against rows `row..row + len` of the matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// Distance from the row's offset.
    pub from: usize,
    /// Number of values.
    pub len: usize,
    /// First row of the matrix.
    pub row: usize,
}

/// Buffers that one task uses again and again.
#[derive(Default)]
pub struct Scratch {
    panel: Vec<f32>,
    sums: Vec<f32>,
    /// Those of products in bf16.
    #[cfg(target_arch = "x86_64")]
    pub(super) bf16: super::bf16::Buffers,
}

/// The first `len` values of a buffer, from a cache line's start; the buffer grows if it must.
fn aligned(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    const LINE: usize = 64;
    if buffer.len() < len + LINE {
        buffer.resize(len + LINE, 0.0);
    }
    let start = buffer.as_ptr().align_offset(LINE).min(LINE);
    &mut buffer[start..start + len]
}

/// Vectors of a full panel: as many as the tile's sums leave registers for.
const fn panel_vectors(lanes: usize) -> usize {
    if lanes == 8 { 2 } else { 4 }
}

/// `sink(row, column, values)` receives `rows of src * matrix`, a panel of columns at a time.
pub struct GatherProduct<'a, F> {
    /// Where the rows lie.
    pub src: &'a [f32],
    /// Start of each row in `src`; padded to a multiple of [`TILE_ROWS`].
    pub offsets: &'a [usize],
    /// Rows that count; those that fill up the last tile do not reach the sink.
    pub rows: usize,
    /// What each row is made of.
    pub runs: &'a [Run],
    /// Row-major, `columns` wide.
    pub matrix: &'a [f32],
    /// Columns of the matrix.
    pub columns: usize,
    /// Columns to compute.
    pub range: std::ops::Range<usize>,
    /// Buffers.
    pub scratch: &'a mut Scratch,
    /// Takes (row, first column, values).
    pub sink: F,
}

impl<F: FnMut(usize, usize, &[f32])> WithSimd for GatherProduct<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = S::F32_LANES;
        let width = panel_vectors(lanes) * lanes;
        let mut column = self.range.start;
        while column < self.range.end {
            let rest = (self.range.end - column).min(width);
            match rest.div_ceil(lanes) {
                1 => self.panel::<S, 1>(simd, column, rest),
                2 => self.panel::<S, 2>(simd, column, rest),
                3 => self.panel::<S, 3>(simd, column, rest),
                _ => self.panel::<S, 4>(simd, column, rest),
            }
            column += rest;
        }
    }
}

impl<F: FnMut(usize, usize, &[f32])> GatherProduct<'_, F> {
    #[inline(always)]
    fn panel<S: Simd, const V: usize>(&mut self, simd: S, column: usize, rest: usize) {
        let width = V * S::F32_LANES;
        let depth = BLOCK / width;
        let Scratch { panel, sums, .. } = &mut *self.scratch;
        let panel = aligned(panel, BLOCK);
        let sums = aligned(sums, self.offsets.len() * width);
        sums.fill(0.0);
        // The next stretch of the runs that fills a block.
        let (mut run, mut done) = (0, 0);
        let mut pieces: Vec<Run> = Vec::with_capacity(self.runs.len());
        while run < self.runs.len() {
            pieces.clear();
            let mut filled = 0;
            while run < self.runs.len() && filled < depth {
                let r = self.runs[run];
                let len = (r.len - done).min(depth - filled);
                pieces.push(Run { from: r.from + done, len, row: r.row + done });
                (filled, done) = (filled + len, done + len);
                if done == r.len {
                    (run, done) = (run + 1, 0);
                }
            }
            let mut packed = panel.chunks_exact_mut(width);
            for piece in &pieces {
                let rows = self.matrix[piece.row * self.columns..].chunks(self.columns).take(piece.len);
                for (from, to) in rows.zip(packed.by_ref()) {
                    to[..rest].copy_from_slice(&from[column..column + rest]);
                    to[rest..].fill(0.0);
                }
            }
            let packed = S::as_simd_f32s(&panel[..filled * width]).0;
            let tiles = S::as_mut_simd_f32s(sums).0.as_chunks_mut::<V>().0.as_chunks_mut::<TILE_ROWS>().0;
            for (tile, offsets) in tiles.iter_mut().zip(self.offsets.as_chunks::<TILE_ROWS>().0) {
                *tile = gather_tile(simd, self.src, offsets, &pieces, packed.as_chunks::<V>().0, *tile);
            }
        }
        for (row, values) in sums.chunks_exact(width).enumerate().take(self.rows) {
            (self.sink)(row, column, &values[..rest]);
        }
    }
}

#[inline(always)]
fn gather_tile<S: Simd, const V: usize>(
    simd: S,
    src: &[f32],
    offsets: &[usize; TILE_ROWS],
    pieces: &[Run],
    packed: &[[S::f32s; V]],
    mut sums: [[S::f32s; V]; TILE_ROWS],
) -> [[S::f32s; V]; TILE_ROWS] {
    let mut at = 0;
    for piece in pieces {
        let b = &packed[at..at + piece.len];
        let mut a = [&[][..]; TILE_ROWS];
        for i in 0..TILE_ROWS {
            a[i] = &src[offsets[i] + piece.from..][..piece.len];
        }
        for (k, b) in b.iter().enumerate() {
            for i in 0..TILE_ROWS {
                let a = simd.splat_f32s(a[i][k]);
                for j in 0..V {
                    sums[i][j] = simd.mul_add_e_f32s(a, b[j], sums[i][j]);
                }
            }
        }
        at += piece.len;
    }
    sums
}

/// Columns of a tile of dot products.
const DOT_COLUMNS: usize = 3;

/// `sink(row, column, values)` receives dot products of rows with columns that are contiguous, three columns at a time.
pub struct DotProduct<'a, F> {
    /// Where the rows lie.
    pub src: &'a [f32],
    /// Start of each row in `src`; padded to a multiple of [`TILE_ROWS`].
    pub offsets: &'a [usize],
    /// Rows that count.
    pub rows: usize,
    /// What each row is made of; here `row` is the distance of the run's values from a column's start.
    pub runs: &'a [Run],
    /// Where the columns lie.
    pub matrix: &'a [f32],
    /// Distance of the columns' starts.
    pub step: usize,
    /// Columns to compute.
    pub range: std::ops::Range<usize>,
    /// Takes (row, first column, values).
    pub sink: F,
}

impl<F: FnMut(usize, usize, &[f32])> WithSimd for DotProduct<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for column in self.range.clone().step_by(DOT_COLUMNS) {
            match self.range.end - column {
                1 => self.columns::<S, 1>(simd, column),
                2 => self.columns::<S, 2>(simd, column),
                _ => self.columns::<S, DOT_COLUMNS>(simd, column),
            }
        }
    }
}

impl<F: FnMut(usize, usize, &[f32])> DotProduct<'_, F> {
    #[inline(always)]
    fn columns<S: Simd, const C: usize>(&mut self, simd: S, column: usize) {
        for (tile, offsets) in self.offsets.as_chunks::<TILE_ROWS>().0.iter().enumerate() {
            let mut sums = [[simd.splat_f32s(0.0); C]; TILE_ROWS];
            for run in self.runs {
                // Loops, not closures: a closure would be compiled without the instruction set.
                let whole = run.len / S::F32_LANES;
                let (mut a, mut a_tail) = ([&[][..]; TILE_ROWS], [&[][..]; TILE_ROWS]);
                for i in 0..TILE_ROWS {
                    let (head, tail) = S::as_simd_f32s(&self.src[offsets[i] + run.from..][..run.len]);
                    (a[i], a_tail[i]) = (&head[..whole], tail);
                }
                let (mut b, mut b_tail) = ([&[][..]; C], [&[][..]; C]);
                for j in 0..C {
                    let column = &self.matrix[(column + j) * self.step + run.row..][..run.len];
                    let (head, tail) = S::as_simd_f32s(column);
                    (b[j], b_tail[j]) = (&head[..whole], tail);
                }
                for k in 0..whole {
                    for i in 0..TILE_ROWS {
                        for j in 0..C {
                            sums[i][j] = simd.mul_add_e_f32s(a[i][k], b[j][k], sums[i][j]);
                        }
                    }
                }
                if run.len > whole * S::F32_LANES {
                    for i in 0..TILE_ROWS {
                        let a = simd.partial_load_f32s(a_tail[i]);
                        for j in 0..C {
                            let b = simd.partial_load_f32s(b_tail[j]);
                            sums[i][j] = simd.mul_add_e_f32s(a, b, sums[i][j]);
                        }
                    }
                }
            }
            for i in 0..TILE_ROWS.min(self.rows - tile * TILE_ROWS) {
                let mut row = [0.0; C];
                for j in 0..C {
                    row[j] = simd.reduce_sum_f32s(sums[i][j]);
                }
                (self.sink)(tile * TILE_ROWS + i, column, &row);
            }
        }
    }
}
