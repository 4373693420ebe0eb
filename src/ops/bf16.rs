//! Products of operands rounded to bf16, with sums in f32: on the processor's matrix unit (Intel AMX), or by its dot products of
//! pairs (AVX512-BF16).
//!
//! The kernels of [`super::tile`] in other clothes: the same rows and runs, packed as the matrix unit wants them. Its tiles have 16
//! rows of 64 bytes; blocks of 2 x 2 tiles of sums share their operands. Dot products read the same blocks. No result depends on
//! how work was cut.

use super::tile::{GatherProduct, OuterProduct, Run};
use std::arch::asm;
use std::arch::x86_64::{
    __cpuid_count, __m256bh, __m256i, __m512bh, __m512i, _mm256_mask_storeu_epi16, _mm512_cvtne2ps_pbh,
    _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_maskz_loadu_ps,
    _mm512_permutexvar_epi16, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_storeu_ps,
    _mm512_storeu_si512, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};
use std::sync::OnceLock;

/// Proof that this process may use the instruction that it names.
#[derive(Clone, Copy, Debug)]
pub struct Bf16(Instruction);

#[derive(Clone, Copy, Debug)]
enum Instruction {
    /// `tdpbf16ps`: two tiles.
    Tiles,
    /// `vdpbf16ps`: two vectors of pairs.
    Dots,
}

/// Rows or columns of a tile of sums.
const TILE: usize = 16;
/// Rows and columns of a block of sums.
const BLOCK: usize = 2 * TILE;
/// Values of the inner dimension that two tiles take.
const STEP: usize = 32;
/// Rows of sums that dot products hold in registers, two vectors each.
const DOT_ROWS: usize = 8;
/// Values of the inner dimension that are packed at a time, so that a block's operands stay near the core.
const DEPTH: usize = 1024;
/// bf16 values between packed rows: a cache line more than [`DEPTH`], so that rows do not fall on the same lines.
const STRIDE: usize = DEPTH + 32;

/// Packed operands and sums.
#[derive(Default)]
pub struct Buffers {
    a: Vec<u16>,
    b: Vec<u16>,
    sums: Vec<f32>,
    rows: Vec<usize>,
}

impl Bf16 {
    /// The matrix unit, if the processor has it and the system lets this process use it; else dot products, if it has those.
    pub fn get() -> Option<Self> {
        Self::tiles().or_else(Self::dots)
    }

    /// The matrix unit.
    pub fn tiles() -> Option<Self> {
        static TILES: OnceLock<Option<Bf16>> = OnceLock::new();
        *TILES.get_or_init(|| {
            const TILES_AND_BF16: u32 = 1 << 24 | 1 << 22;
            let unit = __cpuid_count(7, 0).edx & TILES_AND_BF16 == TILES_AND_BF16;
            (Self::dots().is_some() && unit && permitted()).then_some(Self(Instruction::Tiles))
        })
    }

    /// Dot products of pairs.
    pub fn dots() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bf16");
        has.then_some(Self(Instruction::Dots))
    }
}

/// Asks the system for the tiles' registers, for all threads of this process.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and no memory.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// All tiles have 16 rows of 64 bytes.
#[repr(C, align(64))]
struct TileConfig([u8; 64]);

static CONFIG: TileConfig = {
    let mut c = [0; 64];
    c[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        c[16 + 2 * tile] = 64;
        c[48 + tile] = TILE as u8;
        tile += 1;
    }
    TileConfig(c)
};

/// Adds the product of 32 packed rows and 32 packed columns to a block of sums.
///
/// # Shapes
/// - `a`: 32 rows of `32 steps` values, [`STRIDE`] apart
/// - `b`: for each step two tiles of `[16 pairs of rows, 16 columns, 2]`
/// - `c`: 32 rows of 32 sums, `c_stride` apart
fn multiply(by: Bf16, a: &[u16], b: &[u16], c: &mut [f32], c_stride: usize, steps: usize) {
    assert!(
        steps > 0
            && steps * STEP <= STRIDE
            && a.len() >= (BLOCK - 1) * STRIDE + steps * STEP
            && b.len() >= steps * STEP * BLOCK
            && c.len() >= (BLOCK - 1) * c_stride + BLOCK,
        "operands are shorter than a block"
    );
    // SAFETY: `Bf16` proves that the instructions exist and are permitted. What is read and written lies within the slices, as asserted.
    unsafe {
        match by.0 {
            Instruction::Tiles => multiply_tiles(a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), c_stride, steps),
            Instruction::Dots => multiply_dots(a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), c_stride, steps),
        }
    }
}

/// [`multiply`] by dot products of pairs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn multiply_dots(a: *const u16, b: *const u16, c: *mut f32, c_stride: usize, steps: usize) {
    for first in (0..BLOCK).step_by(DOT_ROWS) {
        // SAFETY: the caller's slices hold a whole block; vectors of 16 pairs of bf16 have the size of those of integers.
        unsafe {
            let at = |row: usize, tile: usize| c.add((first + row) * c_stride + tile * TILE);
            let mut sums: [_; DOT_ROWS] =
                std::array::from_fn(|row| [_mm512_loadu_ps(at(row, 0)), _mm512_loadu_ps(at(row, 1))]);
            for step in 0..steps {
                let (a, b) = (a.add(first * STRIDE + step * STEP), b.add(step * STEP * BLOCK));
                for pair in 0..STEP / 2 {
                    let columns = |tile: usize| {
                        let pairs = _mm512_loadu_si512(b.add(tile * STEP * TILE + pair * STEP).cast());
                        std::mem::transmute::<__m512i, __m512bh>(pairs)
                    };
                    let (left, right) = (columns(0), columns(1));
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let value = a.add(row * STRIDE + 2 * pair).cast::<i32>().read_unaligned();
                        let value = std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(value));
                        sums[0] = _mm512_dpbf16_ps(sums[0], value, left);
                        sums[1] = _mm512_dpbf16_ps(sums[1], value, right);
                    }
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                _mm512_storeu_ps(at(row, 0), sums[0]);
                _mm512_storeu_ps(at(row, 1), sums[1]);
            }
        }
    }
}

/// [`multiply`] on the matrix unit.
unsafe fn multiply_tiles(a: *const u16, b: *const u16, c: *mut f32, c_stride: usize, steps: usize) {
    // SAFETY: the caller's slices hold a whole block; no tile register is used outside of this block, and it ends with all of them
    // released.
    unsafe {
        asm!(
            "ldtilecfg [{config}]",
            "tileloadd tmm0, [{c0} + {sc}*1]",
            "tileloadd tmm1, [{c0} + {sc}*1 + 64]",
            "tileloadd tmm2, [{c1} + {sc}*1]",
            "tileloadd tmm3, [{c1} + {sc}*1 + 64]",
            "2:",
            "tileloadd tmm4, [{a0} + {sa}*1]",
            "tileloadd tmm6, [{b} + {sb}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b} + {sb}*1 + 1024]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{a1} + {sa}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a0}, 64",
            "add {a1}, 64",
            "add {b}, 2048",
            "dec {n}",
            "jnz 2b",
            "tilestored [{c0} + {sc}*1], tmm0",
            "tilestored [{c0} + {sc}*1 + 64], tmm1",
            "tilestored [{c1} + {sc}*1], tmm2",
            "tilestored [{c1} + {sc}*1 + 64], tmm3",
            "tilerelease",
            config = in(reg) CONFIG.0.as_ptr(),
            c0 = in(reg) c,
            c1 = in(reg) c.add(TILE * c_stride),
            sc = in(reg) c_stride * size_of::<f32>(),
            a0 = inout(reg) a => _,
            a1 = inout(reg) a.add(TILE * STRIDE) => _,
            sa = in(reg) STRIDE * size_of::<u16>(),
            b = inout(reg) b => _,
            sb = in(reg) 64usize,
            n = inout(reg) steps => _,
            options(nostack),
        );
    }
}

/// Rounds values to bf16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn round(from: &[f32], to: &mut [u16]) {
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
fn pack_columns(matrix: &[f32], columns: usize, rows: &[usize], column: usize, to: &mut [u16]) {
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

/// The first `n` values of a buffer, which grows if it must.
fn first<T: Copy + Default>(buffer: &mut Vec<T>, n: usize) -> &mut [T] {
    if buffer.len() < n {
        buffer.resize(n, T::default());
    }
    &mut buffer[..n]
}

impl<F: FnMut(usize, usize, &[f32])> GatherProduct<'_, F> {
    /// The product of operands rounded to bf16.
    pub fn in_bf16(mut self, by: Bf16) {
        let Buffers { a, b, sums, rows } = &mut self.scratch.bf16;
        let height = self.rows.next_multiple_of(BLOCK);
        let width = self.range.len().next_multiple_of(BLOCK);
        let sums = first(sums, height * width);
        sums.fill(0.0);
        let a = first(a, height * STRIDE);
        let b = first(b, DEPTH * BLOCK);
        for pieces in blocks(self.runs) {
            rows.clear();
            pieces.iter().for_each(|p| rows.extend(p.row..p.row + p.len));
            let depth = rows.len().next_multiple_of(STEP);
            for (offset, to) in self.offsets.iter().take(self.rows).zip(a.chunks_exact_mut(STRIDE)) {
                let mut at = 0;
                for p in &pieces {
                    // SAFETY: `Bf16` proves the instruction set.
                    unsafe { round(&self.src[offset + p.from..][..p.len], &mut to[at..at + p.len]) };
                    at += p.len;
                }
                to[at..depth].fill(0);
            }
            for column in (0..self.range.len()).step_by(BLOCK) {
                let b = &mut b[..depth * BLOCK];
                // SAFETY: `Bf16` proves the instruction set.
                unsafe { pack_columns(self.matrix, self.columns, rows, self.range.start + column, b) };
                for row in (0..height).step_by(BLOCK) {
                    multiply(by, &a[row * STRIDE..], b, &mut sums[row * width + column..], width, depth / STEP);
                }
            }
        }
        for (row, values) in sums.chunks_exact(width).enumerate().take(self.rows) {
            (self.sink)(row, self.range.start, &values[..self.range.len()]);
        }
    }
}

/// Runs cut into groups of at most [`DEPTH`] values.
fn blocks(runs: &[Run]) -> Vec<Vec<Run>> {
    let mut groups: Vec<Vec<Run>> = Vec::new();
    let mut room = 0;
    for run in runs {
        let mut done = 0;
        while done < run.len {
            if room == 0 {
                groups.push(Vec::new());
                room = DEPTH;
            }
            let len = (run.len - done).min(room);
            if let Some(group) = groups.last_mut() {
                group.push(Run { from: run.from + done, len, row: run.row + done });
            }
            (done, room) = (done + len, room - len);
        }
    }
    groups
}

impl OuterProduct<'_> {
    /// The sums of outer products of operands rounded to bf16.
    pub fn in_bf16(self, by: Bf16) {
        // Distance of each value from a row's offset.
        let values: Vec<usize> = self.tiles.iter().flat_map(|t| t.from..t.from + t.rows).collect();
        let Buffers { a, b, sums, rows } = &mut self.scratch.bf16;
        let panels = self.columns.div_ceil(BLOCK);
        let a = first(a, BLOCK * STRIDE);
        let sums = first(sums, BLOCK * BLOCK);
        for (block, offsets) in self.offsets.chunks(DEPTH).enumerate() {
            let depth = offsets.len().next_multiple_of(STEP);
            let size = depth * BLOCK;
            rows.clear();
            rows.extend(block * DEPTH..block * DEPTH + offsets.len());
            let b = first(b, panels * size);
            for (panel, to) in b.chunks_exact_mut(size).enumerate() {
                // SAFETY: `Bf16` proves the instruction set.
                unsafe { pack_columns(self.matrix, self.columns, rows, panel * BLOCK, to) };
            }
            let add = self.accumulate || block > 0;
            for (values, out) in values.chunks(BLOCK).zip(self.out.chunks_mut(BLOCK * self.columns)) {
                for (values, to) in values.chunks(TILE).zip(a.chunks_exact_mut(TILE * STRIDE)) {
                    // SAFETY: `Bf16` proves the instruction set.
                    unsafe { pack_transposed(self.src, offsets, values, to) };
                }
                for (panel, b) in b.chunks_exact(size).enumerate() {
                    sums.fill(0.0);
                    multiply(by, a, b, sums, BLOCK, depth / STEP);
                    let column = panel * BLOCK;
                    let width = (self.columns - column).min(BLOCK);
                    for (row, sums) in out.chunks_exact_mut(self.columns).zip(sums.chunks_exact(BLOCK)) {
                        let row = &mut row[column..column + width];
                        if add {
                            row.iter_mut().zip(sums).for_each(|(o, s)| *o += s);
                        } else {
                            row.copy_from_slice(&sums[..width]);
                        }
                    }
                }
            }
        }
    }
}

/// Packs at most 16 values of each row, whose distances from its offset are `values`, as 16 rows over all offsets.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn pack_transposed(src: &[f32], offsets: &[usize], values: &[usize], to: &mut [u16]) {
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
