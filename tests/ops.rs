//! The CPU kernels against candle's own operations in f64: values and every gradient, on random shapes.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use augment::ops::{self, Activation, bias_act};
use augment::seeds::{Seeds, normal};
use candle_core::{DType, Device, Result, Tensor, Var};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

const CPU: Device = Device::Cpu;

fn random(rng: &mut ChaCha8Rng, shape: &[usize]) -> Tensor {
    normal(rng, shape, &CPU).unwrap()
}

/// Largest difference, relative to the largest value of `b`.
fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (a.to_dtype(DType::F64).unwrap(), b.to_dtype(DType::F64).unwrap());
    let max = |t: &Tensor| t.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap();
    max(&(&a - &b).unwrap()) / max(&b).max(1e-3)
}

/// Runs `f` on the inputs in f32 (our kernels) and in f64 (candle's operations) and compares the result and the
/// gradients of `sum(result * weights)`.
fn compare(what: &str, rng: &mut ChaCha8Rng, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let run = |dtype: DType, weights: Option<&Tensor>| {
        let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(&t.to_dtype(dtype).unwrap()).unwrap()).collect();
        let args: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
        let y = f(&args).unwrap();
        let grads = weights.map(|w| {
            let loss = (&y * w.to_dtype(dtype).unwrap()).unwrap().sum_all().unwrap();
            let grads = loss.backward().unwrap();
            vars.iter().map(|v| grads.get(v).unwrap().clone()).collect::<Vec<_>>()
        });
        (y, grads.unwrap_or_default())
    };
    let shape = run(DType::F32, None).0.dims().to_vec();
    let weights = random(rng, &shape);
    let (y, grads) = run(DType::F32, Some(&weights));
    let (y64, grads64) = run(DType::F64, Some(&weights));
    assert!(difference(&y, &y64) < 1e-5, "{what}: forward differs by {}", difference(&y, &y64));
    for (i, (a, b)) in grads.iter().zip(&grads64).enumerate() {
        assert!(difference(a, b) < 2e-5, "{what}: gradient {i} differs by {}", difference(a, b));
    }
}

#[test]
fn convolutions() {
    let mut rng = Seeds::new(1).stream("conv", &[]);
    for case in 0..40 {
        let k = rng.random_range(1..=5usize);
        let (stride, pad) = (rng.random_range(1..=3), rng.random_range(0..=k / 2));
        let b = rng.random_range(1..=9);
        // candle's gradient handles one remainder for both sides only.
        let rest = rng.random_range(0..stride);
        let mut side = || (rng.random_range(1..=5usize) * stride + k + rest).saturating_sub(2 * pad).max(k);
        let (h, w) = if pad == 0 {
            (side(), side())
        } else {
            let s = side();
            (s, s)
        };
        let (ci, co) = (rng.random_range(1..=19), rng.random_range(1..=19));
        let (x, wt) = (random(&mut rng, &[b, h, w, ci]), random(&mut rng, &[k, k, ci, co]));
        let what = format!("case {case}: {b}x{h}x{w}x{ci} kernel {k} stride {stride} pad {pad} to {co}");
        compare(&what, &mut rng, &[x, wt], |a| ops::conv2d(&a[0], &a[1], stride, pad));
        let (x, wt) = (random(&mut rng, &[b, h, w, ci]), random(&mut rng, &[k, k, co, ci]));
        compare(&what, &mut rng, &[x, wt], |a| ops::conv_transpose2d(&a[0], &a[1], stride, pad));
    }
}

#[test]
fn large_convolutions_use_several_blocks() {
    let mut rng = Seeds::new(2).stream("conv", &[]);
    let (x, wt) = (random(&mut rng, &[8, 32, 32, 3]), random(&mut rng, &[4, 4, 3, 8]));
    compare("thin", &mut rng, &[x, wt], |a| ops::conv2d(&a[0], &a[1], 2, 1));
    let (x, wt) = (random(&mut rng, &[40, 4, 4, 64]), random(&mut rng, &[4, 4, 32, 64]));
    compare("deep", &mut rng, &[x, wt], |a| ops::conv_transpose2d(&a[0], &a[1], 2, 1));
}

#[test]
fn normalisation() {
    let mut rng = Seeds::new(3).stream("norm", &[]);
    for act in [Activation::Identity, Activation::Relu, Activation::LeakyRelu] {
        for (b, h, c) in [(9, 1, 7), (5, 3, 16), (3, 8, 33)] {
            let x = random(&mut rng, &[b, h, h, c]).affine(3.0, 1.5).unwrap();
            let (g, s) = (random(&mut rng, &[c]), random(&mut rng, &[c]));
            compare("shared", &mut rng, &[x.clone(), g, s], |a| {
                ops::batch_norm_act(&a[0], &a[1], &a[2], act).map(|r| r.0)
            });
            let (g, s) = (random(&mut rng, &[b, c]), random(&mut rng, &[b, c]));
            compare("conditional", &mut rng, &[x, g, s], |a| {
                ops::batch_norm_act(&a[0], &a[1], &a[2], act).map(|r| r.0)
            });
        }
    }
    let x = random(&mut rng, &[6, 5, 5, 4]);
    let one = Tensor::ones(4, DType::F32, &CPU).unwrap();
    let (_, ours) = ops::batch_norm_act(&x, &one, &one, Activation::Relu).unwrap();
    let one = one.to_dtype(DType::F64).unwrap();
    let (_, theirs) = ops::batch_norm_act(&x.to_dtype(DType::F64).unwrap(), &one, &one, Activation::Relu).unwrap();
    assert!(difference(&ours.mean, &theirs.mean) < 1e-5 && difference(&ours.var, &theirs.var) < 1e-5);
}

#[test]
fn bias_pooling_and_upsampling() {
    let mut rng = Seeds::new(4).stream("rest", &[]);
    for act in [Activation::Identity, Activation::Relu, Activation::LeakyRelu, Activation::Tanh] {
        let (x, b) = (random(&mut rng, &[3, 4, 4, 9]), random(&mut rng, &[9]));
        compare("bias", &mut rng, &[x, b], |a| bias_act(&a[0], &a[1], act));
    }
    let (x, s, h) = (random(&mut rng, &[3, 4, 4, 9]), random(&mut rng, &[3, 9]), random(&mut rng, &[3, 9]));
    let f = |t: DType| {
        let c = |x: &Tensor| x.to_dtype(t).unwrap();
        ops::channel_affine_act(&c(&x), &c(&s), &c(&h), Activation::LeakyRelu).unwrap()
    };
    assert!(difference(&f(DType::F32), &f(DType::F64)) < 1e-6);
    for (kernel, stride, pad) in [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1)] {
        let x = random(&mut rng, &[2, 9, 7, 5]);
        compare("pool", &mut rng, &[x], |a| ops::max_pool2d(&a[0], kernel, stride, pad));
    }
    let x = random(&mut rng, &[2, 3, 5, 4]);
    compare("upsample", &mut rng, &[x], |a| ops::upsample_nearest2x(&a[0]));
}

#[test]
fn bits_do_not_depend_on_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut rng = Seeds::new(5).stream("threads", &[]);
            let x = Var::from_tensor(&random(&mut rng, &[16, 16, 16, 24])).unwrap();
            let w = Var::from_tensor(&random(&mut rng, &[4, 4, 24, 40])).unwrap();
            let g = Var::from_tensor(&random(&mut rng, &[40])).unwrap();
            let y = ops::conv2d(&x, &w, 2, 1).unwrap();
            let (y, _) = ops::batch_norm_act(&y, &g, &g, Activation::LeakyRelu).unwrap();
            let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let bits = |t: &Tensor| -> Vec<u32> {
                t.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect()
            };
            [bits(&y), bits(grads.get(&x).unwrap()), bits(grads.get(&w).unwrap()), bits(grads.get(&g).unwrap())]
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3));
}

#[test]
fn frozen_weights_keep_the_input_gradient() {
    let mut rng = Seeds::new(6).stream("frozen", &[]);
    let x = Var::from_tensor(&random(&mut rng, &[2, 6, 6, 3])).unwrap();
    let w = Var::from_tensor(&random(&mut rng, &[3, 3, 3, 4])).unwrap();
    let loss = || ops::conv2d(&x, &w, 1, 1).unwrap().sqr().unwrap().sum_all().unwrap();
    let all = loss().backward().unwrap();
    let frozen = ops::frozen_weights(|| loss().backward()).unwrap();
    assert!(frozen.get(&w).is_none() && all.get(&w).is_some());
    assert_eq!(difference(frozen.get(&x).unwrap(), all.get(&x).unwrap()), 0.0);
}

#[test]
fn wrong_shapes_are_errors() {
    let t = |s: &[usize]| Tensor::zeros(s, DType::F32, &CPU).unwrap();
    assert!(ops::conv2d(&t(&[1, 4, 4, 3]), &t(&[3, 3, 2, 5]), 1, 1).is_err());
    assert!(ops::conv2d(&t(&[1, 2, 2, 3]), &t(&[5, 5, 3, 5]), 1, 0).is_err());
    assert!(ops::conv_transpose2d(&t(&[1, 4, 4, 3]), &t(&[3, 3, 2, 5]), 1, 1).is_err());
    assert!(ops::max_pool2d(&t(&[1, 4, 4, 3]), 5, 1, 0).is_err());
    assert!(ops::batch_norm_act(&t(&[2, 4, 4, 3]), &t(&[2]), &t(&[2]), Activation::Relu).is_err());
}
