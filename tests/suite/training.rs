//! The training step and its loop: who descends on what, resuming, determinism, and what stops a run.

use crate::common::{bits, small_config, small_dataset};
use augment::config::{LatentSource, Method, Preset, RunConfig, SynthesisConfig, TrainConfig};
use augment::error::Error;
use augment::model::CvaeGan;
use augment::nn::params::Param;
use augment::nn::{Labels, Mode, sealed};
use augment::ops::Precision;
use augment::progress::{Progress, Silent};
use augment::seeds::Seeds;
use augment::synthesize::{Item, Sampling, render};
use augment::train::base::Base;
use augment::train::batch::Batch;
use augment::train::step::{self, StepGradients, StepLosses};
use augment::train::watch::Figures;
use augment::train::{State, TrainedModel, fit, metrics};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;

const CPU: Device = Device::Cpu;

type Bits = BTreeMap<String, Vec<u32>>;

/// All weights after `f` changed the configuration and one step was taken from the same state on the same batch.
fn after_one_step(change: impl Fn(&mut RunConfig)) -> Bits {
    let (mut config, dataset) = (small_config(), small_dataset(3, 4));
    change(&mut config);
    let mut state = State::new(&config, 3, &CPU).unwrap();
    let batch = batch(&config);
    let (_, gradients) = step::gradients(&state.model, &mut state.centres, &batch, &config.train).unwrap();
    state.optimizer.apply(&gradients, 1).unwrap();
    drop(dataset);
    trainable(&state.model)
}

fn batch(config: &RunConfig) -> Batch {
    let dataset = small_dataset(3, 4);
    let labels = vec![0, 0, 1, 1, 2, 2];
    let images = dataset.batch(&[0, 1, 4, 5, 8, 9], &[], &CPU).unwrap();
    Batch::draw(images, labels, &[0, 1, 2], config.model.latent_dim, &config.train, &Seeds::new(3), 0).unwrap()
}

/// Every parameter by its full name, in the order of the names.
fn networks(model: &CvaeGan) -> impl Iterator<Item = (String, &Param)> {
    model.networks().flat_map(|(n, ps)| ps.iter().map(move |(k, p)| (format!("{n}.{k}"), p)))
}

/// The parameters of a network.
fn params<'a>(model: &'a CvaeGan, network: &str) -> &'a BTreeMap<String, Param> {
    model.networks().find(|(name, _)| *name == network).unwrap().1
}

fn trainable(model: &CvaeGan) -> Bits {
    networks(model).filter(|(_, p)| p.trainable).map(|(k, p)| (k, bits(&p.var))).collect()
}

/// Networks with at least one weight that differs.
fn moved(a: &Bits, b: &Bits) -> Vec<String> {
    let mut networks: Vec<String> =
        a.iter().filter(|(k, v)| b[*k] != **v).map(|(k, _)| k.split('.').next().unwrap().to_owned()).collect();
    networks.dedup();
    networks
}

#[test]
fn each_loss_moves_only_the_networks_that_descend_on_it() {
    let base = after_one_step(|_| {});
    let changed = |f: fn(&mut RunConfig)| moved(&base, &after_one_step(f));
    assert_eq!(changed(|c| c.train.kl_weight = 60.0), ["encoder"], "L_KL");
    assert_eq!(changed(|c| c.train.mean_weight = 50.0), ["generator"], "L_GD");
    assert_eq!(changed(|c| c.train.class_mean_weight = 50.0), ["generator"], "L_GC");
    for f in [
        (|c: &mut RunConfig| c.train.pair_pixel = 0.0) as fn(&mut RunConfig),
        |c| c.train.pair_d = 30.0,
        |c| c.train.pair_c = 0.0,
        |c| c.train.pair_weight = 30.0,
        |c| c.train.pair_maps = 30.0,
        |c| c.train.adversarial_weight = 30.0,
    ] {
        assert_eq!(changed(f), ["encoder", "generator"], "L_G, or G's cross entropy");
    }
    assert_eq!(changed(|c| c.train.class_adversarial_weight = 30.0), ["generator"], "G's cross entropy under C");
    assert_eq!(changed(|c| c.train.classifier_decay = 0.5), ["classifier"], "AdamW");
}

#[test]
fn every_network_moves_alone_on_its_own_gradient() {
    let config = small_config();
    for network in ["classifier", "discriminator", "encoder", "generator"] {
        let mut state = State::new(&config, 3, &CPU).unwrap();
        let before = trainable(&state.model);
        let (_, all) = step::gradients(&state.model, &mut state.centres, &batch(&config), &config.train).unwrap();
        let owners = [
            ("classifier", &all.classifier),
            ("discriminator", &all.discriminator),
            ("encoder", &all.encoder),
            ("generator", &all.generator),
        ];
        for (owner, gradients) in owners {
            for (of, _) in owners {
                let found = params(&state.model, of).values().any(|p| gradients.get(&p.var).is_some());
                assert_eq!(found, of == owner, "gradients of {of}'s weights among {owner}'s");
            }
        }
        let mut alone = StepGradients::default();
        match network {
            "classifier" => alone.classifier = all.classifier,
            "discriminator" => alone.discriminator = all.discriminator,
            "encoder" => alone.encoder = all.encoder,
            _ => alone.generator = all.generator,
        }
        state.optimizer.apply(&alone, 1).unwrap();
        assert_eq!(moved(&before, &trainable(&state.model)), [network]);
    }
}

/// The same for many identities: a label is a few values, and C is asked about some labels at a time.
fn config_for_many() -> RunConfig {
    let set = ["model.label_width=6", "train.sampled_classes=4"];
    set.iter().fold(small_config(), |config, set| augment::config::with(&config, set).unwrap())
}

#[test]
fn training_learns_and_labels_matter() {
    learns(&small_config());
}

#[test]
fn training_learns_from_a_few_values_a_label() {
    learns(&config_for_many());
}

fn learns(config: &RunConfig) {
    let dataset = small_dataset(3, 8);
    let mut state = State::new(config, 3, &CPU).unwrap();
    let first = state.advance(&dataset, config, &CPU).unwrap();
    let mut last = first.clone();
    for _ in 0..250 {
        last = state.advance(&dataset, config, &CPU).unwrap();
    }
    assert!(last.loss_pixel < 0.3 * first.loss_pixel, "{} to {}", first.loss_pixel, last.loss_pixel);
    assert!(last.loss_c < 0.9 * first.loss_c, "{} to {}", first.loss_c, last.loss_c);
    // Identities differ by brightness: samples of the averaged generator must too.
    let z = augment::seeds::normal(&mut Seeds::new(1).stream("z", &[]), &[32, 4], &CPU).unwrap();
    let networks = state.networks(config, &CPU).unwrap();
    let brightness = |label: u32| {
        let labels = Labels::plain(&[label; 32], &CPU).unwrap();
        let x = networks.generator.net.forward(&(&z).into(), &labels, Mode::Eval).unwrap();
        x.mean_all().unwrap().to_scalar::<f32>().unwrap()
    };
    let (dark, bright) = (brightness(0), brightness(2));
    assert!(bright - dark > 0.5, "brightness {dark} of the dark identity, {bright} of the bright one");
}

/// Asks to stop after some steps.
struct StopAfter(u64);

impl Progress for StopAfter {
    fn train_step(&mut self, _: u64, _: &[(&'static str, f32)]) {
        self.0 -= 1;
    }

    fn stop_requested(&self) -> bool {
        self.0 == 0
    }
}

#[test]
fn resumed_equals_uninterrupted() {
    for balanced in [false, true] {
        let mut config = small_config();
        config.train.balanced = balanced;
        resumes(config, &small_dataset(3, 5));
    }
}

/// Rows of tables that rest while the training is interrupted.
#[test]
fn resumed_equals_uninterrupted_where_rows_rest() {
    resumes(config_for_many(), &small_dataset(40, 1));
}

fn resumes(mut config: RunConfig, dataset: &augment::dataset::IdentityDataset) {
    config.train.duration_kimg = 0.06;
    {
        let whole = tempfile::tempdir().unwrap();
        let expected = fit(dataset, &config, whole.path(), &CPU, None, &mut Silent).unwrap();
        for stop in [1, 4, 9] {
            let dir = tempfile::tempdir().unwrap();
            let interrupted = fit(dataset, &config, dir.path(), &CPU, None, &mut StopAfter(stop));
            assert!(matches!(interrupted, Err(Error::Interrupted { step }) if step == stop));
            let resumed = fit(dataset, &config, dir.path(), &CPU, None, &mut Silent).unwrap();
            assert_eq!(resumed.hash, expected.hash, "stopped after {stop} steps");
            let bytes = |d: &tempfile::TempDir, f: &str| std::fs::read(d.path().join(f)).unwrap();
            assert!(bytes(&dir, "checkpoint.safetensors") == bytes(&whole, "checkpoint.safetensors"));
            // Every loss of every step; only the time differs.
            let losses = |d: &tempfile::TempDir| -> Vec<serde_json::Value> {
                let text = String::from_utf8(bytes(d, "metrics.jsonl")).unwrap();
                text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["losses"].clone()).collect()
            };
            assert_eq!(losses(&dir), losses(&whole));
            let names: Vec<String> = losses(&whole)[0].as_object().unwrap().keys().cloned().collect();
            let all =
                ["adversarial", "c", "class_adversarial", "d", "gc", "gd", "kl", "maps", "pair_c", "pair_d", "pixel"];
            assert_eq!(names[..11], all.map(|n| format!("loss_{n}")));
        }
    }
}

#[test]
fn a_training_ends_when_the_figures_have_settled() {
    let (mut config, dataset) = (small_config(), small_dataset(3, 5));
    (config.train.duration_kimg, config.train.patience_kimg) = (0.3, 0.03);
    let batch = config.train.batch_size as u64;
    let every = (10.0 / batch as f64).round() as u64;
    // The third look is the last at which something gets better.
    let distance = |look: usize| 1.0 / (1 + look.min(3)) as f64;
    let run = |dir: &std::path::Path, stop: Option<u64>| {
        let looks = std::cell::Cell::new(0);
        let mut watch = |model: &TrainedModel| {
            looks.set(looks.get() + 1);
            Ok(Figures { frechet: distance((model.header.step / every) as usize), top1: 0.0 })
        };
        let trained = match stop {
            Some(steps) => fit(&dataset, &config, dir, &CPU, Some(&mut watch), &mut StopAfter(steps)),
            None => fit(&dataset, &config, dir, &CPU, Some(&mut watch), &mut Silent),
        };
        (trained, looks.get())
    };
    let whole = tempfile::tempdir().unwrap();
    let (trained, looks) = run(whole.path(), None);
    let trained = trained.unwrap();
    assert_eq!((looks, trained.header.step), (6, 6 * every));
    let figures: Vec<f64> =
        metrics::read(whole.path()).unwrap().iter().filter_map(|p| p.figures.get("frechet").copied()).collect();
    assert_eq!(figures, (1..=6).map(distance).collect::<Vec<_>>());
    // What was seen before an interruption counts after it.
    let parts = tempfile::tempdir().unwrap();
    let (interrupted, looks) = run(parts.path(), Some(4 * every + 1));
    assert!(matches!(interrupted, Err(Error::Interrupted { .. })) && looks == 4);
    let (resumed, looks) = run(parts.path(), None);
    assert_eq!((resumed.unwrap().hash, looks), (trained.hash, 2));
}

/// What is saved is what a table that is moved whole would be, and a checkpoint's networks are those after its last step.
#[test]
fn a_checkpoint_holds_tables_as_they_are_after_its_step() {
    let (mut config, dataset, dir) = (config_for_many(), small_dataset(10, 1), tempfile::tempdir().unwrap());
    config.train.duration_kimg = 0.06;
    let model = fit(&dataset, &config, dir.path(), &CPU, None, &mut Silent).unwrap();
    let path = dir.path().join("checkpoint.safetensors");
    let tensors = sealed::read::<serde_json::Value>(&path, &CPU).unwrap().0;
    let table = &tensors["averaged.fc.label"];
    assert_eq!(bits(table), bits(&model.generator.params["fc.label"].var));
    assert_ne!(bits(table), bits(&tensors["resting.averaged.fc.label"]), "nothing rested");
    assert_eq!(table.dims(), [10, 6]);
    assert_eq!(tensors["classifier.fc.label"].dims(), [10, 5]);
    // Others may begin with it.
    let base = Base::load(&path, &CPU).unwrap();
    let mut changed = config.clone();
    changed.train.init = Some(base.hash.clone());
    let next = dir.path().join("next");
    base.begin(&next, &changed, &small_dataset(10, 1), &CPU).unwrap();
    let after = sealed::read::<serde_json::Value>(&next.join("checkpoint.safetensors"), &CPU).unwrap().0;
    for name in ["averaged.fc.label", "classifier.fc.label", "encoder.fc.label"] {
        let rows = |t: &Tensor| t.to_vec2::<f32>().unwrap();
        assert_eq!(rows(&after[name]), rows(&tensors[name]), "{name}");
    }
}

#[test]
fn a_longer_run_goes_on_from_the_checkpoint_of_a_shorter_one() {
    let (mut config, dataset) = (small_config(), small_dataset(3, 5));
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    config.train.duration_kimg = 0.03;
    fit(&dataset, &config, a.path(), &CPU, None, &mut Silent).unwrap();
    config.train.duration_kimg = 0.06;
    let longer = fit(&dataset, &config, a.path(), &CPU, None, &mut Silent).unwrap();
    assert_eq!(longer.hash, fit(&dataset, &config, b.path(), &CPU, None, &mut Silent).unwrap().hash);
}

#[test]
fn weights_do_not_depend_on_threads() {
    let dataset = small_dataset(20, 1);
    for mut config in [small_config(), config_for_many()] {
        config.train.duration_kimg = 0.03;
        let run = |threads: usize| {
            let dir = tempfile::tempdir().unwrap();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| fit(&dataset, &config, dir.path(), &CPU, None, &mut Silent).unwrap().hash)
        };
        assert_eq!(run(1), run(2));
    }
}

#[test]
fn checkpoints_of_other_trainings_are_refused() {
    let (mut config, dataset) = (small_config(), small_dataset(3, 5));
    config.train.duration_kimg = 0.012;
    let dir = tempfile::tempdir().unwrap();
    fit(&dataset, &config, dir.path(), &CPU, None, &mut Silent).unwrap();
    let refused = |config: &RunConfig, images: usize, why: &str| {
        let e = fit(&small_dataset(3, images), config, dir.path(), &CPU, None, &mut Silent).err().unwrap();
        assert!(e.to_string().contains(why), "{e}");
    };
    refused(&config, 6, "other images");
    let mut other = config.clone();
    other.train.kl_weight = 1.0;
    refused(&other, 5, "another configuration");
    let path = dir.path().join("checkpoint.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    refused(&config, 5, "damaged");
}

#[test]
fn damaged_models_are_refused() {
    let (mut config, dataset) = (small_config(), small_dataset(3, 5));
    config.train.duration_kimg = 0.012;
    let dir = tempfile::tempdir().unwrap();
    fit(&dataset, &config, dir.path(), &CPU, None, &mut Silent).unwrap();
    let path = dir.path().join("model.safetensors");
    let good = std::fs::read(&path).unwrap();
    let mut bad = good.clone();
    // The last tensor holds the labels of the posteriors, one an image; values come before it.
    let values = bad.len() - 4 * dataset.len();
    bad[values - 4..values].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut foreign = good.clone();
    let end = foreign.len();
    foreign[end - 4..].copy_from_slice(&7u32.to_le_bytes());
    let changed = bad.clone();
    // Whoever changes a file can also write its hash.
    [&mut bad, &mut foreign].into_iter().for_each(|bytes| sealed::seal(bytes).unwrap());
    let cut = &good[..good.len() - 8];
    for (bytes, why) in [
        (&changed[..], "does not fit its hash"),
        (&bad[..], "finite"),
        (&foreign[..], "labels that the model lacks"),
        (cut, "damaged"),
        (b"\x80\x04pickle", "damaged"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let e = TrainedModel::load(dir.path(), &CPU).err().unwrap().to_string();
        assert!(e.contains(why) && e.contains("model.safetensors"), "{e}");
    }
}

#[test]
fn divergence_stops_the_run_and_keeps_the_last_good_state() {
    let (mut config, dataset) = (small_config(), small_dataset(3, 5));
    config.train.duration_kimg = 0.03;
    let dir = tempfile::tempdir().unwrap();
    fit(&dataset, &config, dir.path(), &CPU, None, &mut Silent).unwrap();
    let path = dir.path().join("checkpoint.safetensors");
    let good = std::fs::read(&path).unwrap();
    config.train.duration_kimg = 0.06;
    // One value of each network in turn is poisoned at the start of the next step, in 100 places.
    for (network, n) in ["encoder", "generator", "discriminator", "classifier"]
        .map(|w| (0..25).map(move |n| (w, n)))
        .into_iter()
        .flatten()
    {
        let mut state = State::new(&config, 3, &CPU).unwrap();
        augment::train::checkpoint::load(&path, &mut state, &config, &dataset, &CPU).unwrap();
        let (name, param) = params(&state.model, network).iter().filter(|(_, p)| p.trainable).cycle().nth(n).unwrap();
        let mut values = param.var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (name, at) = (name.clone(), n * 7 % values.len());
        values[at] = f32::NAN;
        param.var.set(&Tensor::from_vec(values, param.var.dims(), &CPU).unwrap()).unwrap();
        let losses = state.advance(&dataset, &config, &CPU).unwrap();
        assert!(losses.non_finite().is_some(), "a NaN in {network} {name} shows in a loss of the same step");
        let refused = augment::train::checkpoint::save(&path, &state, &config, &dataset);
        assert!(matches!(refused, Err(Error::Diverged { .. })), "{network}");
        assert!(good == std::fs::read(&path).unwrap(), "the last good state was overwritten");
    }
    // A step size that throws the weights out of range at once.
    config.train.learning_rate = 1e36;
    let fresh = tempfile::tempdir().unwrap();
    let e = fit(&dataset, &config, fresh.path(), &CPU, None, &mut Silent).err().unwrap();
    assert!(matches!(&e, Error::Diverged { step, .. } if *step < 4), "{e}");
    assert!(!fresh.path().join("model.safetensors").exists());
}

#[test]
fn bf16_follows_f32_and_is_refused_where_the_processor_lacks_it() {
    let (mut config, dataset) = (small_config(), small_dataset(3, 5));
    let first_losses = |config: &RunConfig| {
        let mut state = State::new(config, 3, &CPU).unwrap();
        let losses: Vec<StepLosses> = (0..3).map(|_| state.advance(&dataset, config, &CPU).unwrap()).collect();
        losses.iter().flat_map(|l| [l.loss_kl, l.loss_pixel, l.loss_d, l.loss_c]).collect::<Vec<_>>()
    };
    let full = first_losses(&config);
    config.train.precision = Precision::Bf16;
    if !augment::ops::simd::has_bf16() {
        let dir = tempfile::tempdir().unwrap();
        let e = fit(&dataset, &config, dir.path(), &CPU, None, &mut Silent).err().unwrap();
        assert!(matches!(&e, Error::Config(m) if m.contains("AVX512-BF16")), "{e}");
        return;
    }
    let rounded = first_losses(&config);
    assert!(full != rounded, "nothing was rounded");
    for (a, b) in rounded.iter().zip(&full) {
        assert!((a - b).abs() < 0.03 * b.abs().max(0.1), "{a} in bf16, {b} in f32");
    }
}

#[test]
fn a_checkpoint_beyond_the_asked_length_is_not_relabelled() {
    let (mut config, dataset) = (small_config(), small_dataset(3, 5));
    config.train.duration_kimg = 0.03;
    let dir = tempfile::tempdir().unwrap();
    fit(&dataset, &config, dir.path(), &CPU, None, &mut Silent).unwrap();
    config.train.duration_kimg = 0.012;
    let e = fit(&dataset, &config, dir.path(), &CPU, None, &mut Silent).err().unwrap();
    assert!(e.to_string().contains("0.03 kimg already"), "{e}");
}

#[test]
fn an_image_does_not_depend_on_its_batch() {
    let (mut config, dataset) = (small_config(), small_dataset(3, 5));
    config.train.duration_kimg = 0.012;
    let dir = tempfile::tempdir().unwrap();
    let model = fit(&dataset, &config, dir.path(), &CPU, None, &mut Silent).unwrap();
    for latent in LatentSource::ALL {
        let sampling = Sampling { seed: 4, latent, truncation: 0.9 };
        let items: Vec<Item> = (0..20)
            .map(|i| Item {
                identity: format!("id{}", i % 3),
                index: i,
                mix: if i % 4 == 3 { vec![(0, 0.25), (2, 0.75)] } else { vec![(i as u32 % 3, 1.0)] },
            })
            .collect();
        let together = render(&model, &sampling, &items).unwrap();
        for (item, image) in items.iter().zip(&together) {
            let alone = render(&model, &sampling, std::slice::from_ref(item)).unwrap();
            assert!(alone[0] == *image, "{item:?}");
        }
        assert!(together[0] != together[3], "different z give different images");
    }
}

/// The paper's networks at their own size: GoogLeNet, AlexNet, two fully connected layers and upsampling in G.
#[test]
fn the_networks_of_the_paper_take_a_step() {
    let config = RunConfig::preset(Preset::Paper);
    let classes = 100;
    let mut state = State::new(&config, classes, &CPU).unwrap();
    let counts = |params: &BTreeMap<String, Param>| -> usize {
        params.values().filter(|p| p.trainable).map(|p| p.var.elem_count()).sum()
    };
    let counts = ["encoder", "generator", "discriminator", "classifier"].map(|n| counts(params(&state.model, n)));
    // What benches/peer/networks.py counts for the same configuration.
    assert_eq!(counts, PAPER_PARAMETERS);
    let pixels: Vec<u8> = (0..4 * 128 * 128 * 3).map(|i| (i / 5 % 256) as u8).collect();
    let names = (0..classes).map(|i| format!("{i:03}")).collect();
    let dataset = augment::dataset::IdentityDataset::new(128, pixels, vec![0, 1, 2, 99], names).unwrap();
    let images = dataset.batch(&[0, 1, 2, 3], &[], &CPU).unwrap();
    let z = config.model.latent_dim;
    let batch = Batch::draw(images, vec![0, 1, 2, 99], &[0, 1, 2, 99], z, &config.train, &Seeds::new(1), 0).unwrap();
    let before = trainable(&state.model);
    let (losses, gradients) = step::gradients(&state.model, &mut state.centres, &batch, &config.train).unwrap();
    assert_eq!(losses.non_finite(), None, "{losses:?}");
    state.optimizer.apply(&gradients, 1).unwrap();
    let after = trainable(&state.model);
    assert_eq!(moved(&before, &after), ["classifier", "discriminator", "encoder", "generator"]);
    let still = before.iter().filter(|(name, v)| after[*name] == **v).map(|(name, _)| name).collect::<Vec<_>>();
    assert!(still.is_empty(), "no gradient reached {still:?}");
}

/// Trainable parameters of E, G, D and C for 100 identities.
const PAPER_PARAMETERS: [usize; 4] = [6_556_832, 3_862_523, 11_164_481, 5_985_316];

/// Value `i` of array `k` of tests/goldens/step.py.
fn formula(k: usize, shape: &[usize], offset: f64, scale: f64) -> Tensor {
    let n = shape.iter().product::<usize>();
    let value = |i: usize| (offset + scale * (1.0 + 3.0 * k as f64 + 0.7 * i as f64).sin()) as f32;
    Tensor::from_vec((0..n).map(value).collect::<Vec<_>>(), shape, &CPU).unwrap()
}

#[test]
fn gradients_equal_pytorch_s() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("../goldens/step.json")).unwrap();
    let mut config = small_config();
    for (key, value) in golden["config"]["train"].as_object().unwrap() {
        config = augment::config::with(&config, &format!("train.{key}={value}")).unwrap();
    }
    let model = &golden["config"]["model"];
    assert_eq!(serde_json::to_value(&config.model).unwrap(), *model, "tests/goldens/step.py has other networks");
    for method in Method::ALL {
        config.train.method = method;
        gradients_of(&config, &golden, &golden["methods"][method.name()]);
    }
}

/// Compares losses and gradients of one step with `expected`, part of `golden`.
fn gradients_of(config: &RunConfig, golden: &serde_json::Value, expected: &serde_json::Value) {
    let method = config.train.method.name();
    // Arrays are counted over all networks, also those that a method lacks.
    let whole = State::new(
        &RunConfig { train: TrainConfig { method: Method::CvaeGan, ..config.train.clone() }, ..config.clone() },
        3,
        &CPU,
    );
    let names: Vec<String> =
        networks(&whole.unwrap().model).filter(|(_, p)| p.trainable).map(|(name, _)| name).collect();
    let mut state = State::new(config, 3, &CPU).unwrap();
    for (name, p) in networks(&state.model).filter(|(_, p)| p.trainable) {
        let offset = if name.ends_with("gamma") { 1.0 } else { 0.0 };
        let at = names.iter().position(|n| *n == name).unwrap();
        p.var.set(&formula(at, p.var.dims(), offset, 0.1)).unwrap();
    }
    let labels = |key: &str| serde_json::from_value::<Vec<u32>>(golden[key].clone()).unwrap();
    let (side, z) = (config.image_size, config.model.latent_dim);
    let filled = |i: usize, shape: &[usize], scale: f64| formula(names.len() + i, shape, 0.0, scale);
    let batch = Batch {
        images: filled(0, &[6, side, side, 3], 0.9),
        posterior_noise: filled(1, &[6, z], 1.0),
        prior_noise: filled(2, &[6, z], 1.0),
        labels: labels("labels"),
        fake_labels: labels("fake_labels"),
        cross: (0..6).map(|i| (i < 3).then_some(5 - i)).collect(),
        candidates: None,
    };
    let (losses, found) = step::gradients(&state.model, &mut state.centres, &batch, &config.train).unwrap();
    let near = |what: &str, ours: f64, theirs: f64, size: f64| {
        assert!((ours - theirs).abs() <= 1e-4 * size, "{method}: {what}: {ours}, PyTorch has {theirs}");
    };
    let losses: BTreeMap<&str, f32> = losses.named().into();
    let known = expected["losses"].as_object().unwrap();
    for (name, value) in known {
        let value = value.as_f64().unwrap();
        near(name, f64::from(losses[name.as_str()]), value, value.abs());
    }
    if config.train.method != Method::CvaeGan {
        let left_out = |name: &&str| name.starts_with("loss") && !known.contains_key(*name);
        assert!(losses.iter().filter(|(name, _)| left_out(name)).all(|(_, v)| *v == 0.0), "{method}: {losses:?}");
    }
    let mut compared = 0;
    for (name, p) in networks(&state.model).filter(|(_, p)| p.trainable) {
        let of = match name.split('.').next().unwrap() {
            "encoder" => &found.encoder,
            "generator" => &found.generator,
            "discriminator" => &found.discriminator,
            _ => &found.classifier,
        };
        let ours: Vec<f32> = of.get(&p.var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let theirs: Vec<f64> = serde_json::from_value(expected["gradients"][&name].clone()).unwrap();
        assert_eq!(ours.len(), theirs.len(), "{method}: {name}");
        let largest = theirs.iter().fold(0f64, |m, v| m.max(v.abs()));
        ours.iter().zip(&theirs).enumerate().for_each(|(i, (a, b))| {
            near(&format!("{name}[{i}]"), f64::from(*a), *b, largest);
        });
        compared += 1;
    }
    assert_eq!(compared, expected["gradients"].as_object().unwrap().len(), "{method}");
}

#[test]
fn a_method_without_an_encoder_trains_resumes_and_says_what_it_lacks() {
    let (mut config, dataset) = (small_config(), small_dataset(3, 5));
    config.train.duration_kimg = 0.06;
    for method in Method::ALL {
        config.train.method = method;
        config.synthesis = SynthesisConfig::of(config.preset, method);
        config.validate().unwrap();
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let model = fit(&dataset, &config, whole.path(), &CPU, None, &mut Silent).unwrap();
        fit(&dataset, &config, parts.path(), &CPU, None, &mut StopAfter(4)).err().unwrap();
        let resumed = fit(&dataset, &config, parts.path(), &CPU, None, &mut Silent).unwrap();
        assert_eq!(resumed.hash, model.hash, "{}", method.name());
        assert_eq!(model.encoder.is_some(), method.encodes());
        let items = [Item { identity: "id1".into(), index: 0, mix: vec![(1, 1.0)] }];
        for latent in LatentSource::ALL {
            let drawn = render(&model, &Sampling { seed: 1, latent, truncation: 1.0 }, &items);
            if latent == LatentSource::Prior || method.encodes() {
                assert_eq!(drawn.unwrap().len(), 1);
            } else {
                let e = drawn.unwrap_err().to_string();
                assert!(e.contains(method.name()) && e.contains("no encoder") && e.contains("`prior`"), "{e}");
            }
        }
    }
}

#[test]
fn a_training_begins_with_the_weights_of_another() {
    let (config, dir) = (small_config(), tempfile::tempdir().unwrap());
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let trained = RunConfig { train: TrainConfig { duration_kimg: 0.03, ..config.train.clone() }, ..config.clone() };
    fit(&small_dataset(3, 4), &trained, &old, &CPU, None, &mut Silent).unwrap();
    let base = Base::load(&old, &CPU).unwrap();
    let changed = RunConfig { train: TrainConfig { init: Some(base.hash.clone()), ..trained.train.clone() }, ..config };
    // Five persons, three of whom the base knows.
    let dataset = small_dataset(5, 4);
    let e = fit(&dataset, &changed, &new, &CPU, None, &mut Silent).err().unwrap().to_string();
    assert!(e.contains("set by option `init`"), "{e}");
    base.begin(&new, &changed, &dataset, &CPU).unwrap();
    let tensors =
        |dir: &std::path::Path| sealed::read::<serde_json::Value>(&dir.join("checkpoint.safetensors"), &CPU).unwrap().0;
    let (before, after) = (tensors(&old), tensors(&new));
    let rows = |t: &Tensor| t.to_vec2::<f32>().unwrap();
    for name in ["generator.fc.label", "generator.start.gamma", "averaged.fc.label", "encoder.fc.label"] {
        let (before, after) = (rows(&before[name]), rows(&after[name]));
        assert_eq!(after[..3], before[..], "{name}");
        let mean = |at: usize| before.iter().map(|row| row[at]).sum::<f32>() / 3.0;
        assert!(after[3..].iter().all(|row| (0..row.len()).all(|at| (row[at] - mean(at)).abs() < 1e-6)), "{name}");
    }
    for name in ["discriminator.fc.weight", "generator.fc.weight", "encoder.fc.weight"] {
        assert_eq!(bits(&before[name]), bits(&after[name]), "{name}");
    }
    let weights = |t: &Tensor, k: usize| rows(&t.reshape(((), k)).unwrap());
    let (old_c, new_c) = (weights(&before["classifier.fc.weight"], 3), weights(&after["classifier.fc.weight"], 5));
    assert!(old_c.iter().zip(&new_c).all(|(a, b)| a[..] == b[..3]));
    // The training goes on from there, and says whom its weights have known.
    let model = fit(&dataset, &changed, &new, &CPU, None, &mut Silent).unwrap();
    assert_eq!((model.header.base.len(), model.header.step), (3, 5));
    let alone = small_dataset(2, 4);
    let next = dir.path().join("next");
    Base::load(&new, &CPU).unwrap().begin(&next, &changed, &alone, &CPU).unwrap();
    let file = next.join("checkpoint.safetensors");
    assert_eq!(sealed::knowledge(&file, "id4").unwrap(), sealed::Knowledge::Trained);
    sealed::mark_forgotten(&file, "id4").unwrap();
    assert_eq!(sealed::knowledge(&file, "id4").unwrap(), sealed::Knowledge::Forgotten);
    assert!(Base::load(&next, &CPU).err().unwrap().to_string().contains("forgotten"));
    let other = augment::config::with(&changed, "model.latent_dim=6").unwrap();
    let e = base.begin(&next, &other, &alone, &CPU).err().unwrap().to_string();
    assert!(e.contains("train with the preset"), "{e}");
}
