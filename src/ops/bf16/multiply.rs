//! The product of two packed blocks, by the instructions that the processor has.

use super::{BLOCK, Bf16, Instruction, STEP, STRIDE, TILE};
use std::arch::asm;
use std::arch::x86_64::{
    __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_storeu_ps,
};

/// Rows of sums that dot products hold in registers, two vectors each.
const DOT_ROWS: usize = 8;

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
pub(super) fn multiply(by: Bf16, a: &[u16], b: &[u16], c: &mut [f32], c_stride: usize, steps: usize) {
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
