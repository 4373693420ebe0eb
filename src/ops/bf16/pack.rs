//! Rounds f32 values to bf16 and lays them out as [`mod@super::multiply`] reads them: rows of the first operand, pairs of rows of the
//! second one.

use super::{BLOCK, STEP, STRIDE, TILE};
use std::arch::x86_64::{
    __m256bh, __m256i, __m512bh, __m512i, _mm256_mask_storeu_epi16, _mm512_cvtne2ps_pbh, _mm512_cvtneps_pbh,
    _mm512_maskz_loadu_ps, _mm512_permutexvar_epi16, _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_storeu_si512,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

/// Rounds values to bf16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) fn round(from: &[f32], to: &mut [u16]) {
    for (from, to) in from.chunks(TILE).zip(to.chunks_mut(TILE)) {
        let mask = mask(from.len().min(to.len()));
        // SAFETY: the mask keeps reads and writes within the chunks.
        unsafe {
            let values = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, from.as_ptr()));
            _mm256_mask_storeu_epi16(to.as_mut_ptr().cast(), mask, std::mem::transmute::<__m256bh, __m256i>(values));
        }
    }
}

/// The lowest `n` of 16 bits.
fn mask(n: usize) -> u16 {
    ((1u32 << n.min(TILE)) - 1) as u16
}

/// Two rows of at most 16 values as 16 pairs of bf16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn pairs(first: &[f32], second: &[f32]) -> __m512i {
    const ORDER: [u16; 32] = {
        let mut order = [0; 32];
        let mut i = 0;
        while i < 16 {
            order[2 * i] = i as u16;
            order[2 * i + 1] = 16 + i as u16;
            i += 1;
        }
        order
    };
    // SAFETY: the masks keep reads within the slices; types of equal size and no invalid values.
    unsafe {
        let low = _mm512_maskz_loadu_ps(mask(first.len()), first.as_ptr());
        let high = _mm512_maskz_loadu_ps(mask(second.len()), second.as_ptr());
        let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
        _mm512_permutexvar_epi16(std::mem::transmute::<[u16; 32], __m512i>(ORDER), both)
    }
}

/// Packs columns `column..column + 32` of the rows `rows` of `matrix` as the second operand. Rows that fill up the last step, and
/// columns beyond the matrix, are 0.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) fn pack_columns(matrix: &[f32], columns: usize, rows: &[usize], column: usize, to: &mut [u16]) {
    let none: &[f32] = &[];
    for (i, to) in to.chunks_exact_mut(STEP * BLOCK).enumerate() {
        for (pair, at) in (i * STEP..(i + 1) * STEP).step_by(2).zip((0..).step_by(STEP)) {
            for (tile, first) in [column, column + TILE].into_iter().enumerate() {
                let part = |k: usize| match rows.get(k) {
                    Some(row) if first < columns => {
                        &matrix[row * columns + first..row * columns + columns.min(first + TILE)]
                    }
                    _ => none,
                };
                let to = &mut to[tile * STEP * TILE + at..][..STEP];
                let pairs = pairs(part(pair), part(pair + 1));
                // SAFETY: a vector is 32 values of the slice.
                unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs) };
            }
        }
    }
}

/// Packs at most 16 values of each row, whose distances from its offset are `values`, as 16 rows over all offsets.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) fn pack_transposed(src: &[f32], offsets: &[usize], values: &[usize], to: &mut [u16]) {
    let straight = values.last().is_some_and(|last| last - values[0] + 1 == values.len());
    for (step, offsets) in offsets.chunks(STEP).enumerate() {
        let mut lines = [_mm512_setzero_si512(); TILE];
        for (line, two) in lines.iter_mut().zip(offsets.chunks(2)) {
            let mut copies = [[0.0; TILE]; 2];
            let part = |i: usize| two.get(i).map_or(&[][..], |o| &src[o + values[0]..][..values.len()]);
            *line = if straight {
                pairs(part(0), part(1))
            } else {
                for (offset, copy) in two.iter().zip(&mut copies) {
                    values.iter().zip(copy).for_each(|(v, c)| *c = src[offset + v]);
                }
                pairs(&copies[0], &copies[1])
            };
        }
        for (row, line) in transpose(&lines).into_iter().enumerate() {
            let to = &mut to[row * STRIDE + step * STEP..][..STEP];
            // SAFETY: a vector is 32 values of the slice.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), line) };
        }
    }
}

/// Rows of 16 pairs to columns.
#[target_feature(enable = "avx512f")]
fn transpose(lines: &[__m512i; TILE]) -> [__m512i; TILE] {
    let mut a = *lines;
    // Pairs of neighbours, then of pairs, within 128 bits.
    let mut b = a;
    for i in (0..16).step_by(2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    for i in (0..16).step_by(4) {
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    // a[4 g + c] holds columns c, c + 4, c + 8, c + 12 of rows 4 g ..: exchange the quarters of the four groups.
    for c in 0..4 {
        let low = [_mm512_shuffle_i32x4::<0x88>(a[c], a[4 + c]), _mm512_shuffle_i32x4::<0xdd>(a[c], a[4 + c])];
        let high =
            [_mm512_shuffle_i32x4::<0x88>(a[8 + c], a[12 + c]), _mm512_shuffle_i32x4::<0xdd>(a[8 + c], a[12 + c])];
        b[c] = _mm512_shuffle_i32x4::<0x88>(low[0], high[0]);
        b[8 + c] = _mm512_shuffle_i32x4::<0xdd>(low[0], high[0]);
        b[4 + c] = _mm512_shuffle_i32x4::<0x88>(low[1], high[1]);
        b[12 + c] = _mm512_shuffle_i32x4::<0xdd>(low[1], high[1]);
    }
    b
}
