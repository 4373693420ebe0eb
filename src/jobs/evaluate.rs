//! What synthesized images gain, measured by training recognisers with and without them.

use super::gates::Gates;
use super::input::{Input, Source};
use super::material::{Reading, listed, material};
use super::seen::{SEEN, Seen};
use super::splits::{Splits, check_split, unseen};
use super::verify::whole_dataset;
use super::{Context, Rejected, models, place};
use crate::config::{EvaluationConfig, EvaluationSettings};
use crate::dataset::View;
use crate::error::{Error, Result};
use crate::evaluate::comparison::{Arm, Comparison, Material};
use crate::evaluate::contamination;
use crate::evaluate::gain::{ArmResult, summarise};
use crate::evaluate::{outside, quality};
use crate::formats::Reader;
use crate::formats::pairs::PairSet;
use crate::progress::Progress;
use crate::recogniser::judge::{JUDGE_FILE, Judge};
use crate::recogniser::outside::Outside;
pub use crate::recogniser::outside::Placement;
use crate::report::{self, Report};
use crate::sink::ledger::{self, Entry};
use crate::store;
use crate::train::TrainedModel;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The page of an evaluation.
pub const REPORT_HTML: &str = "report.html";
/// The same as an object.
pub const REPORT_JSON: &str = "report.json";
/// Folder of its trainings.
pub(super) const RUNS: &str = "runs";
/// Key of [`REPORT_JSON`] that describes [`REPORT_HTML`].
pub(super) const PAGE: &str = "page";

/// What recognisers are tested on.
#[derive(Clone, Debug)]
pub enum Test {
    /// A list of pairs: Parquet, LFW's pairs.txt, or insightface's .bin.
    List {
        /// The list.
        pairs: PathBuf,
        /// A manifest with the column `image_id`, or LFW's folder for pairs.txt.
        images: Option<String>,
    },
    /// Pairs drawn from a split of other persons.
    Split(String),
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// The real training images.
    pub input: Input,
    /// Recogniser and recipe.
    pub settings: EvaluationSettings,
    /// Dataset that was synthesized; without one only the baselines are trained.
    pub synthetic: Option<PathBuf>,
    /// Folder or file of the model that made it, or its address on the hub, to measure its reconstructions.
    pub model: Option<String>,
    /// Split with other real images of the same persons; without one the manifest's, if it has such a split.
    pub held_out: Option<String>,
    /// The test; without one the manifest's split of other persons.
    pub test: Option<Test>,
    /// What to train recognisers on; without any all that the images allow.
    pub arms: Vec<Arm>,
    /// Number of paired seeds.
    pub seeds: u64,
    /// Similarity to a training image above which a synthetic image counts as a copy.
    pub max_copy_similarity: Option<f64>,
    /// A face network in ONNX that had no part in the images, to measure them with, and where an image lies in its input.
    pub outside_judge: Option<(PathBuf, Option<Placement>)>,
    /// What it must show.
    pub gates: Gates,
    /// File of a short report in Markdown.
    pub summary: Option<PathBuf>,
    /// Folder of outcomes and report.
    pub out: PathBuf,
}

impl Request {
    /// Compares on `manifest`, with pairs drawn from its split of other persons, in `out`.
    pub fn new(manifest: impl Into<String>, out: impl Into<PathBuf>) -> Self {
        Self {
            input: Input::new(manifest),
            settings: EvaluationSettings::default(),
            synthetic: None,
            model: None,
            held_out: None,
            test: None,
            arms: Vec::new(),
            seeds: 5,
            max_copy_similarity: None,
            outside_judge: None,
            gates: Gates::default(),
            summary: None,
            out: out.into(),
        }
    }
}

/// What was measured.
pub struct Evaluated {
    /// The arms, in their order.
    pub arms: Vec<ArmResult>,
    /// The answer in one sentence.
    pub verdict: String,
    /// Name of the test.
    pub test: String,
    /// Number of its pairs.
    pub pairs: usize,
    /// Everything, as it is in [`REPORT_JSON`].
    pub json: serde_json::Value,
    /// The page.
    pub page: PathBuf,
    /// What falls short of what was demanded, in sentences.
    pub fallen: Vec<String>,
    /// Rows that were left out.
    pub rejected: Rejected,
}

/// Compares recognisers on one identity set.
///
/// # Errors
/// `Contaminated` where the test shows training persons or images: nothing is measured then. Else see [`Error`].
pub fn run(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Evaluated> {
    let request = &Request { out: place::usable(&request.out)?, ..request.clone() };
    check_folder(&request.out)?;
    let Prepared { source, set, config, held_out, test, model } = prepare(request, context, progress)?;
    let out = &request.out;
    let outside = outside_judge(request)?;
    let lock = store::lock(out)?;
    if let Some(note) = lock.note() {
        progress.note(&note);
    }
    let list = place::rejects_path(out)?;
    let view = View::new(config.image_size, config.alignment);
    let (real, rejected) = source.only_set(view, &list, progress)?;
    // A report of an earlier run says nothing of this one until it is complete.
    for name in [REPORT_HTML, REPORT_JSON] {
        let old = out.join(name);
        if old.exists() {
            store::remove(&old)?;
        }
    }
    let tested_on = match &test {
        Test::Split(name) => format!("pairs are drawn from split {name}"),
        Test::List { pairs, .. } => format!("pairs are those of {}", pairs.display()),
    };
    progress.note(&format!(
        "{tested_on}; {}",
        held_out.as_ref().map_or("no split holds other images of the training persons".into(), |name| format!(
            "held-out images of the training persons are those of split {name}"
        ))
    ));
    let reading = Reading { source: &source, set: &set, view, context };
    let material = material(request, &reading, real, held_out.as_deref(), &test, model.as_ref(), progress)?;
    let arms = chosen_arms(request, &material)?;
    Seen::add(out, &material)?;
    refuse(&contamination::find(&material, progress)?)?;
    let comparison =
        Comparison { material: &material, config: &config, folder: out.join(RUNS), device: &context.device };
    progress.note(&format!(
        "training {} recognisers on {} real images of {} identities, testing on {} pairs ({})",
        arms.len() as u64 * request.seeds,
        material.real.len(),
        material.real.identities().len(),
        material.test.pairs.len(),
        material.test.name
    ));
    let baseline = comparison.baseline(progress)?;
    let embedded = baseline.embed(&material.real)?;
    let tested = baseline.embed(&material.test.images)?;
    let mut alike = contamination::find_by_embedding(&material, &tested, &embedded, progress)?;
    if material.real.identities().len() >= contamination::ENOUGH_IDENTITIES {
        refuse(&alike)?;
    } else if !alike.is_empty() {
        progress.note(&format!(
            "look whether the test shows training images or persons; fewer than {} training identities are too few to tell: {}",
            contamination::ENOUGH_IDENTITIES,
            alike.join("; ")
        ));
    }
    let outside = match outside {
        Some(judge) => Some((judge.embed("outside judge (training)", &material.real, progress)?, judge)),
        None => None,
    };
    if let Some((training, outside)) = &outside {
        let tested = outside.embed("outside judge (test)", &material.test.images, progress)?;
        let found = contamination::find_by_embedding(&material, &tested, training, progress)?;
        if !found.is_empty() {
            progress.warn(&format!("under the outside judge, look whether that is so: {}", found.join("; ")));
            alike.extend(found.into_iter().map(|line| format!("under the outside judge: {line}")));
        }
    }
    let runs = comparison.run(&arms, request.seeds, progress)?;
    let results = summarise(&runs);
    let mut measuring = comparison.measuring_judge(progress)?;
    let quality = quality::measure(&material, &mut measuring, &config, request.max_copy_similarity, progress)?;
    let outside =
        outside.map(|(training, judge)| outside::measure(&judge, &training, &material, progress)).transpose()?;
    // Synthesis can filter its images with the baseline.
    let mut judge = Judge::new(baseline, &config, &material.real, &embedded);
    if let Some(held_out) = &material.held_out {
        judge.calibrate(held_out)?;
    }
    judge.save(&out.join(JUDGE_FILE))?;
    let report = Report {
        manifest: &source.named(),
        manifest_hash: source.manifest.hash(),
        config: &config,
        material: &material,
        runs: &runs,
        arms: &results,
        quality: &quality,
        outside: outside.as_ref(),
        alike: &alike,
    };
    let page = out.join(REPORT_HTML);
    store::write_atomic(&page, report.html()?.as_bytes())?;
    let fallen = request.gates.fallen(&results, &quality);
    if let Some(path) = &request.summary {
        store::create_dir(place::folder_of(path))?;
        store::write_atomic(path, report.markdown(&fallen).as_bytes())?;
    }
    let mut json = report.json();
    json["fallen"] = json!(fallen);
    json[PAGE] = json!(Entry::of(out, REPORT_HTML)?);
    store::write_sealed(&out.join(REPORT_JSON), &json)?;
    let verdict = report::verdict(&results, material.test.pairs.len());
    let (test, pairs) = (material.test.name.clone(), material.test.pairs.len());
    let rejected = Rejected { count: rejected.len(), list };
    Ok(Evaluated { arms: results, verdict, test, pairs, json, page, fallen, rejected })
}

/// Checks what [`run`] checks before it reads training images, and returns the configuration that it would use.
///
/// # Errors
/// Those of [`run`] that can be known before.
pub fn preview(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<EvaluationConfig> {
    check_folder(&place::usable(&request.out)?)?;
    outside_judge(request)?;
    let Prepared { source, config, test, .. } = prepare(request, context, progress)?;
    if let Test::List { pairs, images } = &test {
        listed(pairs, images.as_deref(), &source, View::new(config.image_size, config.alignment), context)?;
    }
    Ok(config)
}

/// What is decided before images are read.
struct Prepared {
    source: Source,
    set: String,
    config: EvaluationConfig,
    held_out: Option<String>,
    test: Test,
    model: Option<TrainedModel>,
}

fn prepare(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Prepared> {
    let source = Source::open(&request.input, context)?;
    let set = source.set_of("evaluate serves")?;
    let images = Some(source.count(&set).1);
    let made = request.synthetic.as_ref().and_then(|dataset| ledger::order(dataset).ok().flatten());
    let alignment = request.settings.alignment()?.or(made.as_ref().map(|order| order.alignment));
    let settings = EvaluationSettings { alignment, ..request.settings.clone() };
    let config = settings.resolve(source.typical_side(alignment.unwrap_or_default())?, images)?;
    let Splits { of_others, of_known } = Splits::of(&source, &set);
    let held_out = request.held_out.clone().or(of_known);
    let test = request.test.clone().or(of_others.map(Test::Split)).ok_or_else(|| {
        Error::Usage(format!(
            "nothing to test on: {} has no split that shows two persons or more, one of them twice, who are not among the training rows; \
             give the rows of some persons a split of their own, `dev` say, or name a list of pairs with option `pairs`",
            source.spec
        ))
    })?;
    check(request, &source, &set, held_out.as_ref(), &test)?;
    let held_out = match made {
        Some(made) => unseen(held_out, request.held_out.is_some(), &made, &source, progress)?,
        None => held_out,
    };
    if let Some(dataset) = &request.synthetic {
        place::room_for(&request.out, ledger::rows(dataset), config.image_size)?;
    }
    request.gates.check(request.synthetic.is_some(), held_out.is_some())?;
    if let Some(path) = &request.summary {
        place::usable_as("summary", place::folder_of(path))?;
    }
    let model = request.model.as_ref().map(|spec| models::load(spec, context)).transpose()?.map(|(_, model)| model);
    Ok(Prepared { source, set, config, held_out, test, model })
}

/// Refuses a folder with files of somebody else alone.
fn check_folder(out: &Path) -> Result<()> {
    place::refuse_foreign(out, ("evaluation", "out"), |path| {
        is_own(path) || path.ends_with(RUNS) || path.ends_with(SEEN)
    })
}

/// The network from outside, if one is named.
fn outside_judge(request: &Request) -> Result<Option<Outside>> {
    request.outside_judge.as_ref().map(|(path, placement)| Outside::load(path, *placement)).transpose()
}

/// Refuses a test, splits and a dataset that can be seen to serve no comparison.
fn check(request: &Request, source: &Source, set: &str, held_out: Option<&String>, test: &Test) -> Result<()> {
    let splits = held_out.into_iter().map(|name| ("held_out", name));
    let test = match test {
        Test::Split(name) => Some(("pairs_from", name)),
        Test::List { pairs, images } => {
            let local = images.iter().map(Path::new).filter(|i| !i.to_string_lossy().contains(['*', '?', '[', ':']));
            for path in std::iter::once(pairs.as_path()).chain(local) {
                if !path.exists() {
                    return Err(Error::Usage(format!("{}: no such file or folder", path.display())));
                }
            }
            PairSet::check(pairs, images.is_some())?;
            None
        }
    };
    for (option, name) in splits.chain(test) {
        check_split(source, set, option, name, "recognisers")?;
    }
    if let Some(dataset) = &request.synthetic {
        Reader::open(dataset)?;
        whole_dataset(dataset)?;
    }
    Ok(())
}

/// No gain is measured on a contaminated test.
fn refuse(found: &[String]) -> Result<()> {
    if found.is_empty() { Ok(()) } else { Err(Error::Contaminated(found.join("; "))) }
}

/// The arms to train: the baseline is always one of them.
fn chosen_arms(request: &Request, material: &Material) -> Result<Vec<Arm>> {
    let possible = material.arms();
    if request.arms.is_empty() {
        return Ok(possible);
    }
    if let Some(arm) = request.arms.iter().find(|a| !possible.contains(a)) {
        return Err(Error::Usage(format!(
            "option `arms` {}: the synthetic dataset holds no images for it",
            arm.name()
        )));
    }
    Ok(Arm::ALL.into_iter().filter(|a| *a == Arm::Real || request.arms.contains(a)).collect())
}

/// Files that an evaluation leaves beside its trainings.
pub(super) fn is_own(path: &Path) -> bool {
    [REPORT_HTML, REPORT_JSON, JUDGE_FILE].iter().any(|name| path.ends_with(name))
}
