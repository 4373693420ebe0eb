//! Times the engine on one kind of work: one side of the comparison with PyTorch (benches/peer), and the points of
//! benches/scaling.py.
//!
//! usage: engine CONFIG_TOML train|synthesize|recognise STEPS [IDENTITIES [DEVICE]]; prints one JSON object.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops where it fails")]

use augment::config::{EvaluationConfig, Extent, Preset, RecogniserPreset, RunConfig};
use augment::dataset::IdentityDataset;
use augment::nn::{Labels, Mode, params::Param};
use augment::progress::Progress;
use augment::recogniser::{Curriculum, Ingredient, Phase, Training, train};
use augment::seeds::{Seeds, normal};
use augment::train::State;
use candle_core::Device;
use rand::RngExt;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

#[path = "../src/cli/memory.rs"]
mod memory;

/// Identities unless told otherwise: as many as benches/peer/peer.py uses.
const IDENTITIES: usize = 100;

fn count(params: &BTreeMap<String, Param>) -> usize {
    params.values().filter(|p| p.trainable).map(|p| p.var.elem_count()).sum()
}

/// Peak resident memory of this process, MiB.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|v| v.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

/// Images of noise of `classes` identities.
fn noise(classes: usize, side: usize) -> IdentityDataset {
    let mut rng = Seeds::new(0).stream("noise", &[]);
    let images = classes.max(1000);
    let pixels = (0..images * side * side * 3).map(|_| rng.random()).collect();
    let labels = (0..images as u32).map(|i| i % classes as u32).collect();
    let names = (0..classes).map(|i| i.to_string()).collect();
    IdentityDataset::new(side, pixels, labels, names).unwrap()
}

/// Notes when each step ended.
struct Times(Vec<Instant>);

impl Progress for Times {
    fn at(&mut self, done: u64) {
        if done > 0 {
            self.0.push(Instant::now());
        }
    }
}

/// Times the training of a recogniser, without augmentation, which the other side lacks.
fn recognise(path: &Path, steps: u64, classes: usize, device: &Device, start: Instant) {
    let mut config = EvaluationConfig::from_file(path, None, RecogniserPreset::Small, None).unwrap();
    // The first steps are not timed, the last one saves its state.
    config.recipe.steps = steps + 3;
    let images = noise(classes, config.image_size);
    let source = Ingredient { images: &images, classes: (0..classes as u32).collect(), share: 1.0 };
    let phases = vec![Phase { steps: config.recipe.steps, sources: vec![source] }];
    let curriculum = Curriculum { classes, phases, augmented: false };
    let mut times = Times(Vec::new());
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("weights.safetensors");
    let training = Training { curriculum: &curriculum, config: &config, seed: 0, path: &weights };
    let recogniser = train(&training, device, &mut times).unwrap().recogniser;
    let elapsed = times.0[steps as usize + 1].duration_since(times.0[1]).as_secs_f64();
    let result = serde_json::json!({
        "images_per_s": (steps * config.recipe.batch_size as u64) as f64 / elapsed,
        "first_step_s": times.0[0].duration_since(start).as_secs_f64(),
        "peak_mib": peak_mib(),
        "parameters": { "recogniser": recogniser.parameters() },
    });
    println!("{result}");
}

fn main() {
    memory::keep();
    let start = Instant::now();
    // `cargo bench` adds its own flags.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let [path, work, steps, rest @ ..] = &args[..] else {
        println!(
            "usage: engine CONFIG_TOML train|synthesize|recognise STEPS [IDENTITIES [DEVICE]] (benches/peer calls it)"
        );
        return;
    };
    let steps: usize = steps.parse().unwrap();
    let classes: usize = rest.first().map_or(IDENTITIES, |n| n.parse().unwrap());
    let device = rest.get(1).map_or(Device::Cpu, |name| augment::jobs::device(name).unwrap());
    rayon::ThreadPoolBuilder::new().num_threads(2).build_global().unwrap();
    if work == "recognise" {
        return recognise(path.as_ref(), steps as u64, classes, &device, start);
    }
    // As many identities as there are decide the shapes, the file the length.
    let material = Extent { images: classes.max(1000), identities: classes };
    let config = RunConfig::from_file(path.as_ref(), None, Preset::Base, Some(material)).unwrap();
    let side = config.image_size;
    let mut state = State::new(&config, classes, &device).unwrap();
    let mut rng = Seeds::new(0).stream("benchmark", &[]);

    let (batch, mut step): (usize, Box<dyn FnMut()>) = if work == "train" {
        let dataset = noise(classes, side);
        (config.train.batch_size, {
            let (state, config, device) = (&mut state, &config, &device);
            Box::new(move || assert!(state.advance(&dataset, config, device).unwrap().non_finite().is_none()))
        })
    } else {
        let batch = augment::synthesize::BATCH;
        let generator = &state.averaged.net;
        let (z_dim, device) = (config.model.latent_dim, &device);
        let mut step = move || {
            let z = normal(&mut rng, &[batch, z_dim], device).unwrap();
            let labels: Vec<u32> = (0..batch).map(|_| rng.random_range(0..classes as u32)).collect();
            let labels = Labels::plain(&labels, device).unwrap();
            let images = generator.forward(&(&z).into(), &labels, Mode::Eval).unwrap();
            // Pixels on the CPU are what synthesis goes on with.
            assert_eq!(images.tensor().to_device(&Device::Cpu).unwrap().dims(), [batch, side, side, 3]);
        };
        step();
        (batch, Box::new(step))
    };
    step();
    let first = start.elapsed().as_secs_f64();
    step();
    let begin = Instant::now();
    (0..steps).for_each(|_| step());
    let elapsed = begin.elapsed().as_secs_f64();
    drop(step);
    let result = serde_json::json!({
        "images_per_s": (steps * batch) as f64 / elapsed,
        "first_step_s": first,
        "peak_mib": peak_mib(),
        "parameters": state.model.networks().map(|(name, params)| (name, count(params))).collect::<BTreeMap<_, _>>(),
    });
    println!("{result}");
}
