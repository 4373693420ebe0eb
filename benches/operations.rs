//! GFLOP/s of the operations that a training step is made of, beside what the processor can do: a Markdown table.
//!
//! usage: cargo bench --bench operations

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops where it fails")]

use augment::ops::{self, Activation, Tape, Value, simd};
use augment::seeds::{Seeds, normal};
use candle_core::{Device, Tensor};
use pulp::{Simd, WithSimd};
use std::hint::black_box;
use std::time::Instant;

#[path = "../src/cli/memory.rs"]
mod memory;

const BATCH: usize = 32;
const THREADS: usize = 2;

/// Fused products and sums on registers alone.
struct Ceiling {
    rounds: usize,
}

impl WithSimd for Ceiling {
    /// Operations done.
    type Output = f64;

    #[inline(always)]
    #[allow(clippy::inline_always, clippy::needless_range_loop, reason = "compiled for one instruction set")]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        const SUMS: usize = 12;
        let mut sums = [simd.splat_f32s(0.0); SUMS];
        let (a, b) = (simd.splat_f32s(black_box(0.999)), simd.splat_f32s(black_box(1e-3)));
        for _ in 0..self.rounds {
            for i in 0..SUMS {
                sums[i] = simd.mul_add_e_f32s(sums[i], a, b);
            }
        }
        black_box(sums);
        (self.rounds * SUMS * S::F32_LANES * 2) as f64
    }
}

/// Shortest of some runs, in seconds.
fn seconds(mut f: impl FnMut()) -> f64 {
    f();
    (0..5).map(|_| time(|| (0..4).for_each(|_| f())) / 4.0).fold(f64::INFINITY, f64::min)
}

fn time(f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

fn random(shape: &[usize]) -> Tensor {
    normal(&mut Seeds::new(1).stream("operations", &[shape.len() as u64]), shape, &Device::Cpu).unwrap()
}

/// Times `f` and the gradients of its inputs, each alone; `flops` of one of them.
fn row(name: &str, inputs: &[Tensor], flops: f64, ceiling: f64, f: impl Fn(&[Value]) -> Value) {
    let run = || {
        let tape = Tape::default();
        let values: Vec<Value> = inputs.iter().map(|t| tape.leaf(t)).collect();
        (f(&values), tape)
    };
    let mut times = vec![seconds(|| drop(black_box(run())))];
    let (y, tape) = run();
    for input in inputs.iter().take(2) {
        times.push(seconds(|| drop(black_box(tape.gradients(&[(&y, y.tensor())], [input]).unwrap()))));
    }
    let cells: Vec<String> = times
        .iter()
        .map(|t| {
            let rate = flops / t * 1e-9;
            if flops > 0.0 {
                format!("{:.2} ms, {rate:.0} GFLOP/s, {:.0} %", t * 1e3, rate / ceiling * 100.0)
            } else {
                format!("{:.2} ms", t * 1e3)
            }
        })
        .collect();
    println!("| {name} | {} |", cells.join(" | "));
}

fn main() {
    memory::keep();
    rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global().unwrap();
    let peak = || {
        let rates = rayon::broadcast(|_| {
            let mut done = 0.0;
            let seconds = time(|| done = simd::dispatch(Ceiling { rounds: 20_000_000 }));
            done / seconds * 1e-9
        });
        rates.iter().sum::<f64>()
    };
    let ceiling = (0..3).map(|_| peak()).fold(0.0, f64::max);
    println!("{}, {THREADS} threads, batch {BATCH}; ceiling {ceiling:.0} GFLOP/s in registers\n", simd::name());
    println!("| operation | forward | gradient of the input | gradient of the weights |\n|---|---|---|---|");
    for (side, inputs, outputs) in [(64, 3, 64), (32, 64, 128), (16, 128, 256), (8, 256, 512)] {
        let (x, w) = (random(&[BATCH, side, side, inputs]), random(&[4, 4, inputs, outputs]));
        let flops = 2.0 * (BATCH * side * side / 4 * 16 * inputs * outputs) as f64;
        let name = format!("4x4, stride 2, {side}x{side}x{inputs} to {outputs}");
        row(&name, &[x, w], flops, ceiling, |v| ops::conv2d(&v[0], &v[1], 2, 1).unwrap());
    }
    for (side, inputs, outputs) in [(4, 512, 256), (8, 256, 128), (16, 128, 64), (32, 64, 3)] {
        let (x, w) = (random(&[BATCH, side, side, inputs]), random(&[4, 4, outputs, inputs]));
        let flops = 2.0 * (BATCH * side * side * 16 * inputs * outputs) as f64;
        let name = format!("4x4 transposed, stride 2, {side}x{side}x{inputs} to {outputs}");
        row(&name, &[x, w], flops, ceiling, |v| ops::conv_transpose2d(&v[0], &v[1], 2, 1).unwrap());
    }
    for (side, inputs, outputs, kernel) in [(56, 64, 64, 3), (28, 128, 128, 3), (14, 256, 256, 1)] {
        let (x, w) = (random(&[BATCH, side, side, inputs]), random(&[kernel, kernel, inputs, outputs]));
        let flops = 2.0 * (BATCH * side * side * kernel * kernel * inputs * outputs) as f64;
        let name = format!("{kernel}x{kernel}, {side}x{side}x{inputs} to {outputs}");
        row(&name, &[x, w], flops, ceiling, |v| ops::conv2d(&v[0], &v[1], 1, kernel / 2).unwrap());
    }
    let (x, w) = (random(&[BATCH, 64, 64, 64]), random(&[5, 5, 64, 64]));
    let flops = 2.0 * (BATCH * 64 * 64 * 36 * 64 * 64) as f64;
    row("upsample and 5x5 (folded), 64x64x64 to 64", &[x, w], flops, ceiling, |v| {
        ops::upsample_conv2d(&v[0], &v[1]).unwrap()
    });
    let (x, w) = (random(&[BATCH, 1, 1, 8192]), random(&[1, 1, 8192, 512]));
    let flops = 2.0 * (BATCH * 8192 * 512) as f64;
    row("fully connected, 8192 to 512", &[x, w], flops, ceiling, |v| ops::conv2d(&v[0], &v[1], 1, 0).unwrap());
    let (x, g) = (random(&[BATCH, 32, 32, 64]), random(&[64]));
    row("normalisation and LeakyReLU, 32x32x64", &[x.clone(), g], 0.0, ceiling, |v| {
        ops::batch_norm_act(&v[0], &v[1], &v[1], Activation::LeakyRelu).unwrap().0
    });
    row("depthwise 3x3, 32x32x64", &[x, random(&[3, 3, 64])], 0.0, ceiling, |v| {
        ops::depthwise_conv2d(&v[0], &v[1], 1, 1).unwrap()
    });
}
