//! The evaluation's formulas against reference implementations, recognisers that resume, and what contaminates a test.

use augment::config::{Alignment, EvaluationConfig, RecogniserPreset, with};
use augment::dataset::{IdentityDataset, StockWriter};
use augment::error::Error;
use augment::evaluate::comparison::{Arm, Comparison, Material};
use augment::evaluate::contamination::{ENOUGH_IDENTITIES, find, find_by_embedding};
use augment::evaluate::distribution::distances;
use augment::evaluate::gain::summarise;
use augment::evaluate::synthetic::Made;
use augment::evaluate::verification::judge;
use augment::formats::pairs::{Pair, PairSet};
use augment::progress::{Progress, Silent};
use augment::recogniser::outside::{Outside, Placement};
use augment::recogniser::{Curriculum, Embeddings, Ingredient, Phase, Trained, Training, train};
use augment::seeds::Seeds;
use candle_core::Device;
use rand::RngExt;
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

fn goldens() -> Value {
    serde_json::from_str(include_str!("../goldens/evaluation.json")).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn a_network_from_outside_sees_what_onnxruntime_sees() {
    let network = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/face.onnx");
    let golden: Value = serde_json::from_str(include_str!("../goldens/face.json")).unwrap();
    let pixels: Vec<u8> = serde_json::from_value(golden["pixels"].clone()).unwrap();
    let image = IdentityDataset::new(8, pixels, vec![0], vec!["a".into()]).unwrap();
    let outside = Outside::load(&network, Some(Placement { x: 2, y: 5, side: 8 })).unwrap();
    let embedding = outside.embed("", &image, &mut Silent).unwrap();
    assert_eq!((embedding.len(), embedding.size), (1, 6));
    for (ours, theirs) in embedding.row(0).iter().zip(numbers(&golden["embedding"])) {
        assert!((f64::from(*ours) - theirs).abs() < 1e-5, "{:?}", embedding.values);
    }
    // Without a placement an image fills the input.
    let whole = Outside::load(&network, None).unwrap();
    assert_eq!(whole.placement(), Placement { x: 0, y: 2, side: 12 });
    assert!(whole.embed("", &image, &mut Silent).unwrap().values != embedding.values);

    let refused = |path: &Path, placement| Outside::load(path, placement).err().unwrap().to_string();
    let wide = refused(&network, Some(Placement { x: 5, y: 5, side: 8 }));
    assert!(wide.contains("placement 5,5,8 reaches over the input") && wide.contains("12 wide"), "{wide}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("no.onnx");
    for bytes in [&b"no network"[..], &std::fs::read(&network).unwrap()[..2000]] {
        std::fs::write(&file, bytes).unwrap();
        let said = refused(&file, None);
        assert!(said.contains("no.onnx: not a network that can be run"), "{said}");
    }
    assert!(refused(&dir.path().join("absent.onnx"), None).contains("absent.onnx"));
}

#[test]
fn distances_agree_with_the_reference_implementations() {
    for case in goldens()["distances"].as_array().unwrap() {
        let size = case["size"].as_u64().unwrap() as usize;
        let features =
            |name: &str| Embeddings { size, values: numbers(&case[name]).iter().map(|v| *v as f32).collect() };
        let (real, fake) = (features("real"), features("fake"));
        let ours = distances(&real, &fake);
        let near = |ours: f64, name: &str, tolerance: f64| {
            let want = case[name].as_f64().unwrap();
            assert!((ours - want).abs() <= tolerance, "{name}: {ours}, reference {want}");
        };
        // f32 features and products against f64.
        near(ours.frechet, "frechet", 1e-5);
        near(ours.precision, "precision", 1e-12);
        near(ours.recall, "recall", 1e-12);
        near(ours.density, "density", 1e-12);
        near(ours.coverage, "coverage", 1e-12);
        let n = case["kernel_of_first"].as_u64().unwrap() as usize;
        let first = |e: &Embeddings| Embeddings { size, values: e.values[..n * size].to_vec() };
        near(distances(&first(&real), &first(&fake)).kernel, "kernel", 1e-6);
    }
}

#[test]
fn verification_follows_insightface() {
    let golden = &goldens()["verification"];
    let same: Vec<bool> = golden["same"].as_array().unwrap().iter().map(|v| v.as_bool().unwrap()).collect();
    let (n, folds) = (same.len(), 10);
    // The first folds of KFold are larger by one.
    let sizes = (0..folds).map(|f| n / folds + usize::from(f < n % folds));
    let fold_of: Vec<usize> = sizes.enumerate().flat_map(|(f, size)| vec![f; size]).collect();
    let pair = |(is_same, fold): (&bool, &usize)| Pair { left: 0, right: 0, is_same: *is_same, fold: *fold };
    let pairs: Vec<Pair> = same.iter().zip(&fold_of).map(pair).collect();
    let ours = judge(&numbers(&golden["distance"]), &pairs);
    assert!((ours.accuracy - golden["accuracy"].as_f64().unwrap()).abs() < 1e-12);
    assert!((ours.accuracy_deviation - golden["deviation"].as_f64().unwrap()).abs() < 1e-12);
    let correct: Vec<bool> = golden["correct"].as_array().unwrap().iter().map(|v| v.as_bool().unwrap()).collect();
    assert_eq!(ours.correct, correct);
}

/// Images of `identities` persons who differ in colour, with noise and light of many colours.
fn images(identities: usize, per_id: usize, seed: u64) -> IdentityDataset {
    let mut rng = Seeds::new(seed).stream("images", &[]);
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for label in 0..identities {
        let colour: [f32; 3] = [0; 3].map(|_| rng.random_range(60.0..200.0));
        for _ in 0..per_id {
            let light: [f32; 3] = [0; 3].map(|_| rng.random_range(-LIGHT..LIGHT));
            labels.push(label as u32);
            let mut value = |i: usize| (colour[i % 3] + light[i % 3] + rng.random_range(-20.0f32..20.0)) as u8;
            pixels.extend((0..32 * 32 * 3).map(&mut value));
        }
    }
    let names = (0..identities).map(|i| format!("{seed}-{i:03}")).collect();
    IdentityDataset::new(32, pixels, labels, names).unwrap()
}

/// Reach of the light: so large that one image does not tell what a person looks like.
const LIGHT: f32 = 30.0;

fn tiny(changes: &[&str]) -> EvaluationConfig {
    let small = [
        "recogniser.channels=[16,16]",
        "recogniser.blocks=[1,1]",
        "recogniser.stem_channels=8",
        "recipe.batch_size=16",
    ];
    let config = EvaluationConfig::preset(RecogniserPreset::Tiny);
    let config = small.iter().chain(changes).fold(config, |c, set| with(&c, set).unwrap());
    config.validate().unwrap();
    config
}

/// A comparison on the CPU.
fn comparison<'a>(material: &'a Material, config: &'a EvaluationConfig, folder: &Path) -> Comparison<'a> {
    static CPU: Device = Device::Cpu;
    Comparison { material, config, folder: folder.to_owned(), device: &CPU }
}

/// Stops after some reports; each time it is asked, a second has passed.
struct StopAfter {
    reports: Cell<u64>,
    seconds: Cell<u64>,
}

impl StopAfter {
    fn new(reports: u64) -> Self {
        Self { reports: Cell::new(reports), seconds: Cell::new(0) }
    }
}

impl Progress for StopAfter {
    fn elapsed(&self) -> Duration {
        self.seconds.set(self.seconds.get() + 1);
        Duration::from_secs(self.seconds.get())
    }

    fn at(&mut self, _: u64) {
        self.reports.set(self.reports.get().saturating_sub(1));
    }

    fn stop_requested(&self) -> bool {
        self.reports.get() == 0
    }
}

/// As if they had been synthesized.
fn made(images: &IdentityDataset) -> Made {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = StockWriter::new(dir.path(), images.image_size()).unwrap();
    (0..images.len()).for_each(|i| writer.add(images.image(i)).unwrap());
    Made::new(writer.finish(images.labels().to_vec(), images.identities().to_vec()).unwrap()).unwrap()
}

#[test]
fn an_interrupted_recogniser_ends_with_the_same_weights() {
    let real = images(6, 8, 1);
    let other = images(4, 8, 2);
    let dir = tempfile::tempdir().unwrap();
    for optimiser in ["sgd", "adamw"] {
        let config = tiny(&["recipe.steps=9", &format!("recipe.optimiser={optimiser}"), "recipe.learning_rate=0.01"]);
        let curriculum = || {
            let source =
                |images, first: u32, n: u32, share| Ingredient { images, classes: (first..first + n).collect(), share };
            let mixed = vec![source(&real, 0, 6, 0.5), source(&other, 6, 4, 0.5)];
            let phases =
                vec![Phase { steps: 5, sources: mixed }, Phase { steps: 4, sources: vec![source(&real, 0, 6, 1.0)] }];
            Curriculum { classes: 10, phases, augmented: true }
        };
        let path = |name: &str| dir.path().join(format!("{optimiser}-{name}.safetensors"));
        let trained = |name: &str, seed: u64, progress: &mut dyn Progress| {
            let training = Training { curriculum: &curriculum(), config: &config, seed, path: &path(name) };
            train(&training, &Device::Cpu, progress)
        };
        let whole = trained("whole", 3, &mut StopAfter::new(u64::MAX)).unwrap();
        let stopped = trained("parts", 3, &mut StopAfter::new(5));
        assert!(matches!(stopped.err().unwrap(), Error::Interrupted { step: 4 }));
        let parts = trained("parts", 3, &mut StopAfter::new(u64::MAX)).unwrap();
        let embeddings = |t: &Trained| t.recogniser.embed(&real).unwrap().values;
        assert_eq!(whole.curve, parts.curve);
        assert!(embeddings(&whole) == embeddings(&parts));
        // Time of both parts.
        assert_eq!((whole.seconds, parts.seconds), (1.0, 2.0));
        assert!(embeddings(&whole) != embeddings(&trained("another", 4, &mut Silent).unwrap()));
        assert!(whole.curve.last().unwrap().loss.is_finite());
    }
}

#[test]
fn a_comparison_learns_keeps_its_outcomes_and_finds_real_help() {
    // Few and noisy real images, and many of the same persons: "synthetic" images that must help.
    let all = images(12, 40, 7);
    let take = |from: usize, to: usize| {
        let chosen: Vec<usize> = (0..12).flat_map(|l| all.images_of(l)[from..to].to_vec()).collect();
        all.subset(&chosen).unwrap()
    };
    let material = Material {
        real: take(0, 1),
        existing: Some(made(&take(1, 36))),
        new: None,
        held_out: Some(take(36, 40)),
        foreign: BTreeSet::new(),
        reconstructed: None,
        chosen_by: String::new(),
        frame: Alignment::None,
        test: PairSet::draw("test", images(10, 6, 8), 100).unwrap(),
    };
    let config = tiny(&[
        "recipe.steps=120",
        "comparison.synthetic_share=0.8",
        "comparison.real_last=0",
        "augmentation.colour=0",
        "augmentation.erase=0",
    ]);
    let dir = tempfile::tempdir().unwrap();
    let compare = || {
        let comparison = comparison(&material, &config, dir.path());
        comparison.run(&[Arm::Real, Arm::Repeats, Arm::Existing, Arm::Pretrain], 2, &mut Silent).unwrap()
    };
    let runs = compare();
    assert_eq!(runs.len(), 8);
    assert!(
        runs.iter().all(|r| r.verification.accuracy > 0.6),
        "{:?}",
        runs.iter().map(|r| r.verification.accuracy).collect::<Vec<_>>()
    );
    let results = summarise(&runs);
    let existing = results.iter().find(|r| r.arm == Arm::Existing).unwrap();
    let gain = existing.gain.as_ref().unwrap();
    let mean = gain.by_seed.iter().sum::<f64>() / 2.0;
    assert!(
        (gain.accuracy_gain - mean).abs() < 1e-12 && gain.ci95.is_some_and(|(low, high)| low <= mean && mean <= high)
    );
    let rank = |arm: Arm| results.iter().find(|r| r.arm == arm).unwrap().figures["rank1"].mean;
    assert!(rank(Arm::Existing) > rank(Arm::Real), "{} {}", rank(Arm::Existing), rank(Arm::Real));
    // Outcomes in the folder are not computed again, and equal ones are.
    let file = dir.path().join("existing-1.json");
    let kept = std::fs::read(&file).unwrap();
    std::fs::remove_file(dir.path().join("existing-1.safetensors")).unwrap();
    compare();
    assert!(!dir.path().join("existing-1.safetensors").exists());
    std::fs::remove_file(&file).unwrap();
    compare();
    assert!(std::fs::read(&file).unwrap() == kept);
}

#[test]
fn new_identities_and_own_labels_are_classes_of_their_own() {
    let material = |new: usize| Material {
        existing: Some(made(&images(6, 4, 1))),
        new: Some(made(&images(new, 4, 2))),
        real: images(6, 4, 1),
        held_out: None,
        foreign: BTreeSet::new(),
        reconstructed: None,
        chosen_by: String::new(),
        frame: Alignment::None,
        test: PairSet::draw("test", images(4, 4, 3), 20).unwrap(),
    };
    // Number of classes and hash of each training.
    let trained = |new: usize, arm: Arm, changes: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let config =
            tiny(&[&["recipe.steps=2", "comparison.synthetic_share=0.5", "comparison.real_last=0"], changes].concat());
        let material = material(new);
        let comparison = comparison(&material, &config, dir.path());
        let run = comparison.run(&[arm], 1, &mut Silent).unwrap().remove(0);
        let weights = std::fs::read(dir.path().join(format!("{}-0.safetensors", arm.name()))).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&weights).unwrap();
        (*tensors.tensor("recogniser.classes.weight").unwrap().shape().last().unwrap(), run.key)
    };
    let (own, share) = (["comparison.own_labels=true"], ["comparison.new_share=0.25"]);
    let classes = |new: usize, arm: Arm, changes: &[&str]| trained(new, arm, changes).0;
    assert_eq!([Arm::Real, Arm::Existing, Arm::New, Arm::Both].map(|a| classes(5, a, &[])), [6, 6, 11, 11]);
    assert_eq!([Arm::Real, Arm::Existing, Arm::New, Arm::Both].map(|a| classes(5, a, &own)), [6, 12, 11, 17]);
    // As many composites as there are synthetic persons, each a class of its own.
    assert_eq!(classes(5, Arm::Composite, &[]), 17);
    let last = ["comparison.real_last=0.5"];
    for (arm, changes) in [(Arm::Real, false), (Arm::New, true), (Arm::Composite, true), (Arm::Pretrain, false)] {
        assert_eq!(trained(5, arm, &[]).1 != trained(5, arm, &last).1, changes, "{arm:?}");
    }
    for (arm, changes) in [(Arm::New, false), (Arm::Both, true), (Arm::Pretrain, true)] {
        assert_eq!(trained(5, arm, &[]).1 != trained(5, arm, &share).1, changes, "{arm:?}");
    }
}

/// Images of `identities` persons, each of whom is a soft pattern, behind patterns that change from image to image.
fn patterns(identities: usize, per_id: usize, seed: u64) -> IdentityDataset {
    const SIZE: usize = 32;
    let mut rng = Seeds::new(seed).stream("patterns", &[]);
    let mut pattern = |waves: usize| -> Vec<f32> {
        let waves: Vec<[f32; 6]> = (0..waves).map(|_| [0; 6].map(|_| rng.random_range(-1.0..1.0))).collect();
        let at = |i: usize| {
            let (x, y, c) = ((i / 3 % SIZE) as f32, (i / 3 / SIZE) as f32, i % 3);
            let wave = |w: &[f32; 6]| w[c] * (4.0 * w[3] + 0.35 * w[4] * x + 0.35 * w[5] * y).sin();
            waves.iter().map(wave).sum::<f32>() / (waves.len() as f32).sqrt()
        };
        (0..SIZE * SIZE * 3).map(at).collect()
    };
    let mut pixels = Vec::new();
    for _ in 0..identities {
        let person = pattern(12);
        for _ in 0..per_id {
            let light = pattern(8);
            pixels.extend(person.iter().zip(light).map(|(p, l)| (127.0 + 50.0 * p + 50.0 * l).clamp(0.0, 255.0) as u8));
        }
    }
    let labels = (0..identities).flat_map(|l| vec![l as u32; per_id]).collect();
    let names = (0..identities).map(|i| format!("{seed}-{i:03}")).collect();
    IdentityDataset::new(SIZE, pixels, labels, names).unwrap()
}

/// A picture turned by eight degrees.
fn turned(pixels: &[u8]) -> Vec<u8> {
    let (sin, cos) = 8.0f32.to_radians().sin_cos();
    let at = |v: f32| (v + 15.5).round().clamp(0.0, 31.0) as usize;
    let from = |i: usize| {
        let (x, y) = ((i % 32) as f32 - 15.5, (i / 32) as f32 - 15.5);
        (at(sin * x + cos * y) * 32 + at(cos * x - sin * y)) * 3
    };
    (0..32 * 32).flat_map(|i| &pixels[from(i)..][..3]).copied().collect()
}

#[test]
fn a_recogniser_finds_training_images_and_persons_in_the_test() {
    let known = patterns(ENOUGH_IDENTITIES, 18, 5);
    let of_known = |range: std::ops::Range<usize>| {
        let own = (0..ENOUGH_IDENTITIES as u32).flat_map(|l| known.images_of(l)[range.clone()].to_vec());
        known.subset(&own.collect::<Vec<_>>()).unwrap()
    };
    let (real, unseen) = (of_known(0..8), of_known(8..18));
    let strangers = patterns(20, 10, 6);
    // Strangers, of whom some images, or all of some persons, are others.
    let test = |replaced: &dyn Fn(usize) -> Option<Vec<u8>>| {
        let pixels = (0..strangers.len()).flat_map(|i| replaced(i).unwrap_or_else(|| strangers.image(i).to_vec()));
        let (labels, names) = (strangers.labels().to_vec(), strangers.identities().to_vec());
        PairSet::draw("test", IdentityDataset::new(32, pixels.collect(), labels, names).unwrap(), 100).unwrap()
    };
    let mut material = Material {
        real,
        existing: None,
        new: None,
        held_out: None,
        foreign: BTreeSet::new(),
        reconstructed: None,
        chosen_by: String::new(),
        frame: Alignment::None,
        test: test(&|_| None),
    };
    let config = tiny(&["recipe.steps=400", "recipe.batch_size=64"]);
    let dir = tempfile::tempdir().unwrap();
    let mut look = |test: PairSet| {
        material.test = test;
        let comparison = comparison(&material, &config, dir.path());
        let baseline = comparison.baseline(&mut Silent).unwrap();
        let embedded = baseline.embed(&material.real).unwrap();
        // Names and pixels alone say nothing of any of these.
        assert_eq!(find(&material, &mut Silent).unwrap(), Vec::<String>::new());
        let tested = baseline.embed(&material.test.images).unwrap();
        find_by_embedding(&material, &tested, &embedded, &mut Silent).unwrap()
    };
    assert_eq!(look(test(&|_| None)), Vec::<String>::new());
    let real = of_known(0..8);
    let count = |found: &[String], words: &str| match found {
        [only] => only.split_once(words).map_or(0, |(n, _)| n.parse().unwrap()),
        _ => panic!("{found:?}"),
    };
    let copies = look(test(&|i| i.is_multiple_of(16).then(|| turned(real.image(3 * i)))));
    assert!((10..=13).contains(&count(&copies, " test images look like training images: of 6-0")), "{copies:?}");
    // Unseen images of ten training persons, under other names.
    let persons = look(test(&|i| (i < 100).then(|| unseen.image(i).to_vec())));
    let renamed = (0..10).filter(|i| persons[0].contains(&format!("6-{i:03} (like 5-{i:03})"))).count();
    let words = " test persons look like training persons of another name: 6-0";
    // Five are listed.
    assert!(renamed >= 4 && renamed == count(&persons, words).min(5), "{persons:?}");
}
