//! Training on a GPU against training on the CPU: forward, every gradient, ten steps, and what is synthesized.
//!
//! Needs a build with the feature `cuda` and a GPU: `pipelines/cuda-build.sh --release --features cuda --test cuda`, then the program
//! that it names. Elsewhere nothing is compiled here.

#![cfg(feature = "cuda")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failed unwrap is a failed test; errors measured are told"
)]

#[path = "suite/common/mod.rs"]
#[allow(dead_code, reason = "the suite uses the rest")]
mod common;

use augment::config::{Preset, RunConfig, with};
use augment::dataset::IdentityDataset;
use augment::nn::{Labels, Mode, Network};
use augment::ops::Gradients;
use augment::seeds::{Seeds, normal};
use augment::train::State;
use augment::train::batch::Batch;
use augment::train::step;
use candle_core::{Device, Tensor};
use rand::RngExt;

/// How far losses of equal weights may be apart, relatively.
const LOSSES: f64 = 1e-3;

/// The same of gradients. Those of G and E pass every normalisation twice: with f32 sums in another order (AVX-512 and portable
/// kernels on one processor) G's are 3e-3 apart here.
const GRADIENTS: f64 = 1e-2;

/// The same of losses after some small steps: Adam divides by the size of a gradient, so that rounding errors of small gradients become
/// whole steps.
const STEPS: f64 = 5e-3;

fn config(size: usize) -> RunConfig {
    let c = RunConfig::preset(Preset::Base).with_image_size(size).unwrap();
    with(&c, "train.batch_size=16").unwrap()
}

/// Smooth pictures of `identities`: sums of few waves, as photographs have large values that are alike in places.
fn pictures(identities: usize, per_id: usize, side: usize) -> IdentityDataset {
    let mut rng = Seeds::new(5).stream("waves", &[]);
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for i in 0..identities * per_id {
        let waves: Vec<[f32; 4]> = (0..4).map(|_| [(); 4].map(|()| rng.random())).collect();
        for y in 0..side {
            for x in 0..side {
                for c in 0..3 {
                    let at = [x as f32, y as f32, 20.0 * c as f32];
                    let sum: f32 = waves
                        .iter()
                        .map(|w| (0.2 * (w[0] * at[0] + w[1] * at[1] + w[2] * at[2]) + 6.0 * w[3]).sin())
                        .sum();
                    pixels.push((127.5 + 30.0 * sum) as u8);
                }
            }
        }
        labels.push((i / per_id) as u32);
    }
    let names = (0..identities).map(|i| i.to_string()).collect();
    IdentityDataset::new(side, pixels, labels, names).unwrap()
}

/// |a - b| / |b|
fn apart(a: &Tensor, b: &Tensor) -> f64 {
    let [a, b] = [a, b].map(|t| t.to_device(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap());
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let distance = norm(&mut a.iter().zip(&b).map(|(a, b)| f64::from(a - b)));
    distance / norm(&mut b.iter().map(|b| f64::from(*b))).max(1e-12)
}

/// The farthest gradient of a network, with its name.
fn farthest<N>(name: &str, [a, b]: [(&Network<N>, &Gradients); 2]) -> (String, f64) {
    let mut worst = (String::new(), 0.0);
    for (key, p) in b.0.params.iter().filter(|(_, p)| p.trainable) {
        let [ours, theirs] = [(&a.0.params[key], a.1), (p, b.1)].map(|(p, g)| g.get(&p.var).cloned());
        match (ours, theirs) {
            (Some(ours), Some(theirs)) => {
                let error = apart(&ours, &theirs);
                if error.is_nan() || error > worst.1 {
                    worst = (format!("{name}.{key}"), error);
                }
            }
            (ours, theirs) => {
                assert!(ours.is_none() && theirs.is_none(), "{name}.{key}: a gradient on one device only")
            }
        }
    }
    worst
}

#[test]
fn a_step_on_the_gpu_is_a_step_on_the_cpu() {
    let gpu = Device::new_cuda(0).unwrap();
    for size in [64, 112] {
        let (config, dataset) = (config(size), pictures(8, 4, size));
        let [(losses, of_gpu, state_gpu), (expected, of_cpu, state_cpu)] = [&gpu, &Device::Cpu].map(|device| {
            let mut state = State::new(&config, 8, device).unwrap();
            let indices: Vec<usize> = (0..16).map(|i| 2 * i).collect();
            let images = dataset.batch(&indices, &[], device).unwrap();
            let labels = indices.iter().map(|i| dataset.labels()[*i]).collect();
            let z = config.model.latent_dim;
            let pool: Vec<u32> = (0..8).collect();
            let batch = Batch::draw(images, labels, &pool, z, &config.train, &Seeds::new(3), 0).unwrap();
            let (losses, gradients) = step::gradients(&state.model, &mut state.centres, &batch, &config.train).unwrap();
            (losses, gradients, state)
        });
        for ((name, ours), (_, theirs)) in losses.named().iter().zip(expected.named()) {
            let error = f64::from((ours - theirs).abs()) / f64::from(theirs.abs()).max(0.01);
            assert!(error <= LOSSES, "{size} px: {name} {ours} {theirs}");
        }
        let (a, b) = (&state_gpu.model, &state_cpu.model);
        for (name, error) in [
            farthest("encoder", [(&a.encoder, &of_gpu.encoder), (&b.encoder, &of_cpu.encoder)]),
            farthest("generator", [(&a.generator, &of_gpu.generator), (&b.generator, &of_cpu.generator)]),
            farthest(
                "discriminator",
                [(&a.discriminator, &of_gpu.discriminator), (&b.discriminator, &of_cpu.discriminator)],
            ),
            farthest("classifier", [(&a.classifier, &of_gpu.classifier), (&b.classifier, &of_cpu.classifier)]),
        ] {
            eprintln!("{size} px: farthest gradient {name} {error:.2e}");
            assert!(error <= GRADIENTS, "{size} px: gradient of {name}: {error}");
        }
    }
}

#[test]
fn ten_steps_on_the_gpu_are_ten_steps_on_the_cpu() {
    let (config, dataset) = (with(&config(64), "train.learning_rate=1e-5").unwrap(), pictures(8, 4, 64));
    let gpu = Device::new_cuda(0).unwrap();
    let mut states = [&gpu, &Device::Cpu].map(|d| State::new(&config, 8, d).unwrap());
    for at in 1..=10 {
        let [gpu_state, cpu_state] = &mut states;
        let ours = gpu_state.advance(&dataset, &config, &gpu).unwrap().named();
        let theirs = cpu_state.advance(&dataset, &config, &Device::Cpu).unwrap().named();
        let worst = ours
            .iter()
            .zip(theirs)
            .filter(|((name, _), _)| name.starts_with("loss"))
            .map(|((name, a), (_, b))| (f64::from((a - b).abs()) / f64::from(b.abs()).max(1.0), *name))
            .fold((0.0, ""), |a, b| if a.0 >= b.0 { a } else { b });
        eprintln!("step {at}: farthest loss {} {:.2e}", worst.1, worst.0);
        assert!(worst.0 <= if at == 1 { LOSSES } else { STEPS }, "step {at}: {worst:?}");
    }
    // What has been learnt makes the same pictures.
    let z = normal(&mut Seeds::new(1).stream("z", &[]), &[16, config.model.latent_dim], &Device::Cpu).unwrap();
    let labels: Vec<u32> = (0..16).map(|i| i % 8).collect();
    let [a, b] = [(&states[0], &gpu), (&states[1], &Device::Cpu)].map(|(state, device)| {
        let (z, labels) = (z.to_device(device).unwrap(), Labels::plain(&labels, device).unwrap());
        state.averaged.net.forward(&(&z).into(), &labels, Mode::Eval).unwrap().tensor().clone()
    });
    let error = apart(&a, &b);
    eprintln!("synthesized after ten steps: {error:.2e}");
    assert!(error <= STEPS, "{error}");
}
