//! `augment evaluate`: what synthesized images gain, measured by training recognisers with and without them.

use super::Outcome;
use super::args::{EvaluateArgs, GlobalArgs};
use super::plan::{self, Source};
use super::seen::Seen;
use super::terminal::Terminal;
use crate::dataset::{IdentityDataset, Selection};
use crate::error::{Error, Result};
use crate::evaluate::Synthetic;
use crate::evaluate::comparison::{Arm, Comparison, Material};
use crate::evaluate::contamination;
use crate::evaluate::gain::{ArmResult, summarise};
use crate::evaluate::judge::JUDGE_FILE;
use crate::evaluate::pairs::PairSet;
use crate::evaluate::quality;
use crate::progress::Progress;
use crate::report::{self, Report};
use crate::sink::records::Entry;
use crate::store;
use serde_json::json;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub(super) const REPORT_HTML: &str = "report.html";
pub(super) const REPORT_JSON: &str = "report.json";
/// Key of [`REPORT_JSON`] that describes [`REPORT_HTML`].
pub(super) const PAGE: &str = "page";

/// Pairs of each kind that are drawn, at most.
const DRAWN_PAIRS: usize = 3000;

/// Compares recognisers on one identity set.
pub fn run(args: &EvaluateArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let cache = plan::cache_dir(global)?;
    let source = Source::open(&args.input, &cache)?;
    let config = plan::resolve_evaluation(&args.config, &source)?;
    let device = plan::device(global)?;
    let sets = source.sets();
    let [set] = sets.as_slice() else {
        return Err(Error::Usage(format!("evaluate serves one identity set, the manifest has {}", sets.len())));
    };
    if global.dry_run {
        let text = crate::config::to_toml(&config)?;
        return Ok(Outcome::new(text, json!({ "version": 1, "dry_run": true, "config": config })));
    }
    let test = test_of(args)?;
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}-evaluation", stem(&source.spec))));
    let _lock = store::lock(&out)?;
    let rejects_to = plan::rejects_path(&out)?;
    let mut loaded = None;
    let rejected = source.for_each_set(config.image_size, &rejects_to, terminal, |_, dataset, _| {
        loaded = Some(dataset);
        Ok(())
    })?;
    let Some(real) = loaded else { return Err(Error::Manifest(format!("{}: no image", source.spec))) };
    // A report of an earlier run says nothing of this one until it is complete.
    for name in [REPORT_HTML, REPORT_JSON] {
        let old = out.join(name);
        if old.exists() {
            std::fs::remove_file(&old).map_err(|e| Error::io(&old, e))?;
        }
    }
    let material = material(args, &test, &source, set, real, terminal)?;
    let arms = chosen_arms(args, &material)?;
    Seen::add(&out, &material)?;
    refuse(&contamination::find(&material, terminal)?)?;
    let began = Instant::now();
    let comparison = Comparison {
        material: &material,
        config: &config,
        folder: out.join("runs"),
        device: &device,
        clock: &|| began.elapsed(),
    };
    terminal.note(&format!(
        "training {} recognisers on {} real images of {} identities, testing on {} pairs ({})",
        arms.len() as u64 * args.seeds,
        material.real.len(),
        material.real.identities().len(),
        material.test.pairs.len(),
        super::printable(&material.test.name)
    ));
    let baseline = comparison.baseline(terminal)?;
    let embedded = baseline.embed(&material.real)?;
    let alike = contamination::find_by_embedding(&material, &baseline, &embedded)?;
    if material.real.identities().len() >= contamination::ENOUGH_IDENTITIES {
        refuse(&alike)?;
    } else if !alike.is_empty() {
        terminal.note(&format!(
            "look whether the test shows training images or persons; fewer than {} training identities are too few to tell: {}",
            contamination::ENOUGH_IDENTITIES,
            super::printable(&alike.join("; "))
        ));
    }
    let runs = comparison.run(&arms, args.seeds, terminal)?;
    let results = summarise(&runs);
    let (quality, judge) =
        quality::measure(&material, baseline, embedded, &config, args.max_copy_similarity, terminal)?;
    // Synthesis can filter its images with it.
    judge.save(&out.join(JUDGE_FILE))?;
    let report = Report {
        manifest: &source.spec,
        manifest_hash: source.manifest.hash(),
        config: &config,
        material: &material,
        runs: &runs,
        arms: &results,
        quality: &quality,
        alike: &alike,
    };
    let page = out.join(REPORT_HTML);
    store::write_atomic(&page, report.html()?.as_bytes())?;
    let mut json = report.json();
    json[PAGE] = json!(Entry::of(&out, REPORT_HTML)?);
    store::write_sealed(&out.join(REPORT_JSON), &json)?;
    let verdict = report::verdict(&results, material.test.pairs.len());
    let text = format!("{}\n{verdict}\nreport: {}\n", table(&results, &material.test), page.display());
    Ok(Outcome::new(text, json).with_rejects(rejected.len(), &rejects_to))
}

/// No gain is measured on a contaminated test.
fn refuse(found: &[String]) -> Result<()> {
    if found.is_empty() { Ok(()) } else { Err(Error::Contaminated(found.join("; "))) }
}

/// What recognisers are tested on.
enum Test<'a> {
    /// A list of pairs.
    List(&'a Path),
    /// Pairs drawn from a split of other persons.
    Split(&'a str),
}

fn test_of(args: &EvaluateArgs) -> Result<Test<'_>> {
    match (&args.pairs, &args.pairs_from) {
        (Some(list), _) => Ok(Test::List(list)),
        (None, Some(split)) => Ok(Test::Split(split)),
        (None, None) => Err(Error::Usage(
            "nothing to test on: name a split of other persons with --pairs-from, or a list with --pairs".into(),
        )),
    }
}

/// The manifest's name without folders and extension.
fn stem(spec: &str) -> String {
    plan::default_out(spec).to_string_lossy().trim_end_matches("-augmented").to_owned()
}

/// Reads all images but the training images.
fn material(
    args: &EvaluateArgs,
    test: &Test,
    source: &Source,
    set: &str,
    real: IdentityDataset,
    terminal: &mut Terminal,
) -> Result<Material> {
    let size = real.image_size();
    let mut split = |name: &str, option: &str| -> Result<IdentityDataset> {
        if source.split.as_deref().is_none_or(|s| s == name) {
            return Err(Error::Usage(format!(
                "{option} {name}: recognisers would be trained on these rows too; choose others with --split"
            )));
        }
        let selection = Selection { split: Some(name.into()), identity_set: Some(set.into()), unlabelled: false };
        let (images, rejects) = IdentityDataset::load(&source.manifest, &selection, size, |_| Ok(()))?;
        if let Some(first) = rejects.first() {
            terminal.note(&format!("{} rows of split {name} left out; first: {first}", rejects.len()));
        }
        if images.is_empty() {
            return Err(Error::Manifest(format!("{}: no usable row has split `{name}`", source.spec)));
        }
        Ok(images)
    };
    let held_out = match &args.held_out {
        Some(name) => Some(of_known(&split(name, "--held-out")?, &real, name)?),
        None => None,
    };
    let test = match test {
        Test::List(list) => {
            if let (Some(images), true) = (&args.pair_images, list.extension().is_some_and(|e| e == "parquet")) {
                super::boundary::try_manifest(images, &source.columns)?;
            }
            PairSet::read(list, args.pair_images.as_deref(), &source.columns, source.policy.as_ref(), size)?
        }
        Test::Split(name) => {
            PairSet::draw(&format!("drawn from split {name}"), split(name, "--pairs-from")?, DRAWN_PAIRS)?
        }
    };
    let synthetic = match &args.synthetic {
        Some(dataset) => Synthetic::read(dataset, &real)?,
        None => Synthetic::default(),
    };
    if !synthetic.foreign.is_empty() {
        let n = synthetic.foreign.len();
        terminal
            .note(&format!("synthetic images of {n} identities that are not among the training images are left out"));
    }
    let Synthetic { existing, new, foreign } = synthetic;
    Ok(Material { real, existing, new, held_out, foreign, test })
}

/// Those of `images` that show identities of `real`, with its labels.
fn of_known(images: &IdentityDataset, real: &IdentityDataset, split: &str) -> Result<IdentityDataset> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for i in 0..images.len() {
        let name = &images.identities()[images.labels()[i] as usize];
        if let Ok(label) = real.identities().binary_search(name) {
            pixels.extend_from_slice(images.image(i));
            labels.push(label as u32);
        }
    }
    if labels.is_empty() {
        return Err(Error::Manifest(format!("no row of split `{split}` shows an identity of the training rows")));
    }
    IdentityDataset::new(real.image_size(), pixels, labels, real.identities().to_vec())
}

/// The arms to train: the baseline is always one of them.
fn chosen_arms(args: &EvaluateArgs, material: &Material) -> Result<Vec<Arm>> {
    let possible = material.arms();
    if args.arms.is_empty() {
        return Ok(possible);
    }
    if let Some(arm) = args.arms.iter().find(|a| !possible.contains(a)) {
        return Err(Error::Usage(format!("--arms {}: --synthetic holds no images for it", arm.name())));
    }
    Ok(Arm::ALL.into_iter().filter(|a| *a == Arm::Real || args.arms.contains(a)).collect())
}

/// The arms, one a line.
fn table(results: &[ArmResult], test: &PairSet) -> String {
    let mut text = format!(
        "{:<10} {:>18} {:>10} {:>8} {:>26}  {}\n",
        "arm", "accuracy %", "TAR@1e-3", "rank-1", "gain, points (95 %)", "seconds"
    );
    for r in results {
        let accuracy = r.accuracy.percent();
        let gain = r.gain.as_ref().map_or(String::new(), |g| {
            let interval = |(low, high): (f64, f64)| format!(" ({:+.2} .. {:+.2})", 100.0 * low, 100.0 * high);
            format!("{:+.2}{}", 100.0 * g.accuracy_gain, g.ci95.map_or(String::new(), interval))
        });
        let rank = r.figures.get("rank1").map_or("-".into(), |s| format!("{:.3}", s.mean));
        let tar = r.figures["tar_at_far_1e3"].mean;
        let _ =
            writeln!(text, "{:<10} {accuracy:>18} {tar:>10.3} {rank:>8} {gain:>26}  {:.0}", r.arm.name(), r.seconds);
    }
    let _ = writeln!(
        text,
        "\n{} seeds, {} pairs ({})",
        results.first().map_or(0, |r| r.accuracy.count),
        test.pairs.len(),
        super::printable(&test.name)
    );
    text
}
