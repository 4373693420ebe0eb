//! The CPU kernels against candle's own operations in f64: values and every gradient, on random shapes.

use augment::ops::{self, Activation, Gradients, Tape, Value, bias_act};
use augment::seeds::{Seeds, normal};
use candle_core::{DType, Device, Result, Tensor};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

const CPU: Device = Device::Cpu;

/// Uses the kernels that the environment names: [`every_instruction_set`] runs these tests again for each.
fn chosen_kernels() {
    let name = std::env::var("AUGMENT_SIMD").ok();
    ops::engine::choose(name.as_deref(), None).unwrap();
}

fn random(rng: &mut ChaCha8Rng, shape: &[usize]) -> Tensor {
    chosen_kernels();
    let values = normal(rng, shape, &CPU).unwrap();
    if ["amx", "avx512bf16"].contains(&ops::simd::name()) {
        // These round their operands: those that need no rounding must give what the others give.
        return values.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
    }
    values
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
fn compare(what: &str, rng: &mut ChaCha8Rng, inputs: &[Tensor], f: impl Fn(&[Value]) -> Result<Value>) {
    let run = |dtype: DType, weights: Option<&Tensor>| {
        let leaves: Vec<Tensor> = inputs.iter().map(|t| t.to_dtype(dtype).unwrap()).collect();
        let tape = Tape::default();
        let args: Vec<Value> = leaves.iter().map(|t| tape.leaf(t)).collect();
        let y = f(&args).unwrap();
        let grads = weights.map(|w| {
            let grads = tape.gradients(&[(&y, &w.to_dtype(dtype).unwrap())], &leaves).unwrap();
            leaves.iter().map(|t| grads.get(t).unwrap().clone()).collect::<Vec<_>>()
        });
        (y.tensor().clone(), grads.unwrap_or_default())
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

/// Sizes at which work is cut into several tasks, blocks of a panel, panels, and groups of images.
#[test]
fn large_convolutions_are_cut_into_parts() {
    let mut rng = Seeds::new(2).stream("conv", &[]);
    for (what, x, w, stride, pad) in [
        ("thin", [9, 32, 32, 3], [4, 4, 3, 72], 2, 1),
        ("few columns", [6, 30, 30, 40], [4, 4, 40, 2], 2, 1),
        ("deep", [5, 8, 8, 96], [4, 4, 96, 200], 2, 1),
        ("many weights", [4, 6, 6, 128], [5, 5, 128, 130], 1, 2),
        ("dense", [33, 1, 1, 700], [1, 1, 700, 450], 1, 0),
        ("padding alone", [3, 1, 1, 5], [1, 1, 5, 4], 3, 1),
        ("to one", [7, 1, 1, 300], [1, 1, 300, 1], 1, 0),
    ] {
        let (x, w) = (random(&mut rng, &x), random(&mut rng, &w));
        compare(what, &mut rng, &[x, w], |a| ops::conv2d(&a[0], &a[1], stride, pad));
    }
    for (what, x, w) in [
        ("wide image", [6, 16, 16, 64], [4, 4, 3, 64]),
        ("deep image", [20, 4, 4, 200], [4, 4, 72, 200]),
        ("half a thousand", [3, 8, 8, 520], [4, 4, 33, 520]),
    ] {
        let (x, w) = (random(&mut rng, &x), random(&mut rng, &w));
        compare(what, &mut rng, &[x, w], |a| ops::conv_transpose2d(&a[0], &a[1], 2, 1));
    }
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
    let stats = |dtype: DType| {
        let (x, one) = (x.to_dtype(dtype).unwrap(), one.to_dtype(dtype).unwrap());
        ops::batch_norm_act(&(&x).into(), &(&one).into(), &(&one).into(), Activation::Relu).unwrap().1
    };
    let (ours, theirs) = (stats(DType::F32), stats(DType::F64));
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
    for act in [Activation::Identity, Activation::Relu, Activation::LeakyRelu] {
        for (s, h) in [(&s, &h), (&s.get(0).unwrap(), &h.get(0).unwrap())] {
            compare("fixed normalisation", &mut rng, std::slice::from_ref(&x), |a| {
                let of = |t: &Tensor| t.to_dtype(a[0].dtype()).unwrap();
                ops::channel_affine_act(&a[0], &of(s), &of(h), act)
            });
        }
    }
    for (kernel, stride, pad) in [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1)] {
        let x = random(&mut rng, &[2, 9, 7, 5]);
        compare("pool", &mut rng, &[x], |a| ops::max_pool2d(&a[0], kernel, stride, pad));
    }
    let x = random(&mut rng, &[3, 4, 5, 9]);
    compare("global mean", &mut rng, &[x], |a| ops::global_mean_pool(&a[0]));
    for (k, ci, co) in [(1, 4, 5), (3, 5, 3), (5, 18, 20), (7, 3, 2)] {
        let (x, w) = (random(&mut rng, &[2, 4, 4, ci]), random(&mut rng, &[k, k, ci, co]));
        compare("upsample", &mut rng, &[x, w], |a| ops::upsample_conv2d(&a[0], &a[1]));
    }
}

/// What a recogniser needs beside the above.
#[test]
fn depthwise_convolution_and_prelu() {
    let mut rng = Seeds::new(9).stream("recogniser", &[]);
    for (k, stride, pad, c) in [(3, 1, 1, 19), (3, 2, 1, 33), (5, 2, 2, 4), (7, 1, 0, 6)] {
        let (x, w) = (random(&mut rng, &[3, 9, 8, c]), random(&mut rng, &[k, k, c]));
        compare("depthwise", &mut rng, &[x, w], |a| ops::depthwise_conv2d(&a[0], &a[1], stride, pad));
    }
    let (x, a) = (random(&mut rng, &[4, 3, 3, 21]), random(&mut rng, &[21]));
    compare("prelu", &mut rng, &[x, a], |a| ops::prelu(&a[0], &a[1]));
}

#[test]
fn bits_do_not_depend_on_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut rng = Seeds::new(5).stream("threads", &[]);
            let (x, g) = (random(&mut rng, &[17, 16, 16, 24]), random(&mut rng, &[80]));
            let (few, many) = (random(&mut rng, &[4, 4, 24, 80]), random(&mut rng, &[8, 8, 80, 80]));
            let tape = Tape::default();
            let y = ops::conv2d(&tape.leaf(&x), &tape.leaf(&few), 2, 1).unwrap();
            let (y, _) = ops::batch_norm_act(&y, &y.leaf(&g), &y.leaf(&g), Activation::LeakyRelu).unwrap();
            let y = ops::conv2d(&y, &y.leaf(&many), 1, 0).unwrap();
            let grads = tape.gradients(&[(&y, y.tensor())], [&x, &few, &many, &g]).unwrap();
            let bits = |t: &Tensor| -> Vec<u32> {
                t.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect()
            };
            let grads = [&x, &few, &many, &g].map(|t| bits(grads.get(t).unwrap()));
            (bits(&y), grads)
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3));
}

/// The rows of a product do not depend on what else is in the batch, nor on how many there are.
#[test]
fn an_image_does_not_depend_on_its_batch() {
    let mut rng = Seeds::new(7).stream("batch", &[]);
    let (x, w) = (random(&mut rng, &[13, 8, 8, 20]), random(&mut rng, &[4, 4, 20, 30]));
    let values = |x: &Tensor| {
        let y = ops::conv2d(&x.into(), &(&w).into(), 2, 1).unwrap();
        y.flatten_from(1).unwrap().to_vec2::<f32>().unwrap()
    };
    let all = values(&x);
    for i in [0, 5, 12] {
        assert_eq!(values(&x.narrow(0, i, 1).unwrap().contiguous().unwrap())[0], all[i]);
    }
}

#[test]
fn only_wanted_gradients_are_computed() {
    let mut rng = Seeds::new(6).stream("wanted", &[]);
    let (x, w) = (random(&mut rng, &[2, 6, 6, 3]), random(&mut rng, &[3, 3, 3, 4]));
    let tape = Tape::default();
    let y = ops::conv2d(&tape.leaf(&x), &tape.leaf(&w), 1, 1).unwrap();
    // A leaf that is used twice has the sum of both gradients.
    let y = y.add(&ops::conv2d(&tape.leaf(&x), &tape.leaf(&w), 1, 1).unwrap()).unwrap();
    let gradients =
        |wanted: &[&Tensor]| -> Gradients { tape.gradients(&[(&y, y.tensor())], wanted.iter().copied()).unwrap() };
    let (all, of_x) = (gradients(&[&x, &w]), gradients(&[&x]));
    assert!(of_x.get(&w).is_none() && all.get(&w).is_some());
    assert_eq!(difference(of_x.get(&x).unwrap(), all.get(&x).unwrap()), 0.0);
    let single = Tape::default();
    let z = ops::conv2d(&single.leaf(&x), &single.leaf(&w), 1, 1).unwrap();
    let twice = (z.tensor() * 4.0).unwrap();
    let expected = single.gradients(&[(&z, &twice)], [&x]).unwrap();
    assert!(difference(of_x.get(&x).unwrap(), expected.get(&x).unwrap()) < 1e-6);
}

#[test]
fn rows_and_concatenations() {
    let mut rng = Seeds::new(8).stream("rows", &[]);
    let table = random(&mut rng, &[5, 7]);
    let ids = Tensor::new(&[3u32, 0, 3], &CPU).unwrap();
    let other = random(&mut rng, &[3, 2]);
    compare("rows", &mut rng, &[table, other], |a| {
        let rows = a[0].rows(&ids)?;
        Value::concatenate(&[&rows, &a[1], &rows])?.reshape((2, 24))
    });
}

#[test]
fn wrong_shapes_are_errors() {
    let t = |s: &[usize]| -> Value { (&Tensor::zeros(s, DType::F32, &CPU).unwrap()).into() };
    assert!(ops::conv2d(&t(&[1, 4, 4, 3]), &t(&[3, 3, 2, 5]), 1, 1).is_err());
    assert!(ops::conv2d(&t(&[1, 2, 2, 3]), &t(&[5, 5, 3, 5]), 1, 0).is_err());
    assert!(ops::conv_transpose2d(&t(&[1, 4, 4, 3]), &t(&[3, 3, 2, 5]), 1, 1).is_err());
    assert!(ops::max_pool2d(&t(&[1, 4, 4, 3]), 5, 1, 0).is_err());
    assert!(ops::batch_norm_act(&t(&[2, 4, 4, 3]), &t(&[2]), &t(&[2]), Activation::Relu).is_err());
    assert!(bias_act(&t(&[2, 4, 4, 3]), &t(&[4]), Activation::Relu).is_err());
    assert!(bias_act(&t(&[3]), &t(&[3]), Activation::Relu).is_err());
    assert!(ops::batch_norm_act(&t(&[3]), &t(&[3]), &t(&[3]), Activation::Relu).is_err());
    assert!(ops::conv2d(&t(&[0, 4, 4, 3]), &t(&[3, 3, 3, 5]), 1, 1).is_err());
    assert!(ops::conv_transpose2d(&t(&[1, 4, 4, 3]), &t(&[3, 3, 5, 3]), 0, 1).is_err());
}

/// The tests of the convolutions once more on each instruction set that the processor has.
#[test]
fn every_instruction_set() {
    if std::env::var_os("AUGMENT_SIMD").is_some() {
        return;
    }
    let paths = ops::simd::available();
    assert!(paths.contains(&"portable"));
    for path in paths {
        let tests = ["convolutions", "large_convolutions", "bits", "an_image", "only_wanted", "the_forced"]
            .map(|t| format!("ops::{t}"));
        let exe = std::env::current_exe().unwrap();
        let output = std::process::Command::new(exe).args(&tests).env("AUGMENT_SIMD", path).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("6 passed"), "{path}: {text}");
    }
}

#[test]
fn the_forced_instruction_set_is_used() {
    chosen_kernels();
    if let Ok(forced) = std::env::var("AUGMENT_SIMD") {
        assert_eq!(ops::simd::name(), forced);
    }
}
