//! Products of operands rounded to bf16, with sums in f32: on the processor's matrix unit (Intel AMX), or by its dot products of
//! pairs (AVX512-BF16).
//!
//! The kernels of [`super::tile`] in other clothes: the same rows and runs, packed as the matrix unit wants them. Its tiles have 16
//! rows of 64 bytes; blocks of 2 x 2 tiles of sums share their operands. Dot products read the same blocks. No result depends on
//! how work was cut.

mod multiply;
mod pack;

use super::tile::{GatherProduct, OuterProduct, Run};
use multiply::multiply;
use pack::{pack_columns, pack_transposed, round};
use std::arch::x86_64::__cpuid_count;
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
