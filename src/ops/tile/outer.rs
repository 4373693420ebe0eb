//! Sums of outer products of scattered rows with the rows of a matrix.

use super::{BLOCK, Scratch, TILE_ROWS, aligned, panel_vectors};
use pulp::{Simd, WithSimd};

/// Values of the source that a tile of an outer product stands for.
#[derive(Clone, Copy, Debug)]
pub struct Tile {
    /// Distance of the first from the row's offset; [`TILE_ROWS`] are read.
    pub from: usize,
    /// How many of them count.
    pub rows: usize,
}

/// `out = sum over rows r of src[offset(r) + from ..] (outer) matrix[r]`, or that added to `out`.
pub struct OuterProduct<'a> {
    /// Where the rows lie.
    pub src: &'a [f32],
    /// Start of each row in `src`.
    pub offsets: &'a [usize],
    /// Which values of a row to take.
    pub tiles: &'a [Tile],
    /// Row-major, one row for each offset.
    pub matrix: &'a [f32],
    /// Columns of the matrix and of the result.
    pub columns: usize,
    /// Buffers.
    pub scratch: &'a mut Scratch,
    /// One row for each value that the tiles take.
    pub out: &'a mut [f32],
    /// Add to what `out` holds.
    pub accumulate: bool,
}

impl WithSimd for OuterProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = S::F32_LANES;
        let width = panel_vectors(lanes) * lanes;
        let mut column = 0;
        while column < self.columns {
            let rest = (self.columns - column).min(width);
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

impl OuterProduct<'_> {
    #[inline(always)]
    fn panel<S: Simd, const V: usize>(&mut self, simd: S, column: usize, rest: usize) {
        let width = V * S::F32_LANES;
        let depth = BLOCK / width;
        let panel = aligned(&mut self.scratch.panel, BLOCK);
        let blocks = self.offsets.chunks(depth).zip(self.matrix.chunks(self.columns * depth));
        for (block, (offsets, rows)) in blocks.enumerate() {
            for (to, from) in panel.chunks_exact_mut(width).zip(rows.chunks_exact(self.columns)) {
                to[..rest].copy_from_slice(&from[column..column + rest]);
                to[rest..].fill(0.0);
            }
            let packed = S::as_simd_f32s(&panel[..offsets.len() * width]).0.as_chunks::<V>().0;
            let add = self.accumulate || block > 0;
            let mut out = &mut self.out[..];
            for tile in self.tiles {
                let (rows, rest_of_out) = out.split_at_mut(tile.rows * self.columns);
                out = rest_of_out;
                let mut sums = [[simd.splat_f32s(0.0); V]; TILE_ROWS];
                if add {
                    for (sums, row) in sums.iter_mut().zip(rows.chunks_exact(self.columns)) {
                        load(simd, &row[column..column + rest], sums);
                    }
                }
                let src = &self.src[tile.from..];
                for (offset, b) in offsets.iter().zip(packed) {
                    let a: &[f32] = &src[*offset..*offset + TILE_ROWS];
                    for i in 0..TILE_ROWS {
                        let a = simd.splat_f32s(a[i]);
                        for j in 0..V {
                            sums[i][j] = simd.mul_add_e_f32s(a, b[j], sums[i][j]);
                        }
                    }
                }
                for (sums, row) in sums.iter().zip(rows.chunks_exact_mut(self.columns)) {
                    store(simd, sums, &mut row[column..column + rest]);
                }
            }
        }
    }
}

#[inline(always)]
fn load<S: Simd, const V: usize>(simd: S, from: &[f32], to: &mut [S::f32s; V]) {
    let (whole, tail) = S::as_simd_f32s(from);
    if let Ok(all) = <&[S::f32s; V]>::try_from(whole) {
        *to = *all;
        return;
    }
    to[..whole.len()].copy_from_slice(whole);
    if !tail.is_empty() {
        to[whole.len()] = simd.partial_load_f32s(tail);
    }
}

#[inline(always)]
fn store<S: Simd, const V: usize>(simd: S, from: &[S::f32s; V], to: &mut [f32]) {
    let (whole, tail) = S::as_mut_simd_f32s(to);
    if let Ok(all) = <&mut [S::f32s; V]>::try_from(&mut *whole) {
        *all = *from;
        return;
    }
    whole.copy_from_slice(&from[..whole.len()]);
    if !tail.is_empty() {
        simd.partial_store_f32s(tail, from[whole.len()]);
    }
}
