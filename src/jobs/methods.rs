//! Table 1 of the paper: its methods, and CVAE-GAN without one of its parts, trained and judged with equal budgets and seeds.

use super::input::{Input, Source};
use super::splits::{Splits, check_split};
use super::{Context, Rejected, evaluate, judges, length, material, models, place};
pub use crate::config::Variant;
use crate::config::{LatentSource, RunConfig, Settings};
use crate::dataset::{IdentityDataset, View};
use crate::error::{Error, Result};
use crate::evaluate::judges::{Role, possible};
use crate::evaluate::measures::{Measures, looked_at};
use crate::evaluate::quality::Figures;
use crate::evaluate::statistics::summary;
use crate::progress::Progress;
use crate::recogniser::judge::{JUDGE_FILE, Judge};
use crate::report::methods::{Row, Samples, Table};
use crate::sink::ledger::Entry;
use crate::store;
use crate::synthesize::{Item, Sampling, render};
use crate::train::{TrainedModel, trained::MODEL_FILE};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The page.
pub const PAGE: &str = "methods.html";
/// The same as an object.
pub const JSON: &str = "methods.json";
/// The table alone, in Markdown.
pub const MARKDOWN: &str = "methods.md";
/// Folder of the models, one for each variant and seed.
pub(super) const MODELS: &str = "models";
/// Identities and images of each that the page shows.
const SHOWN: (usize, usize) = (8, 5);

/// Images that are made between two looks at the progress.
const PART: usize = 256;

/// What to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// The images to learn from.
    pub input: Input,
    /// How to train; every variant is laid over it, and nobody ends early.
    pub settings: Settings,
    /// What to compare.
    pub variants: Vec<&'static Variant>,
    /// Trainings of each variant; their seeds count up from that of the settings.
    pub seeds: u64,
    /// Images of each identity that are judged, at most: about 4,000 in all.
    pub per_id: usize,
    /// Split with other real images of the same persons; without one the manifest's, if it has such a split.
    pub held_out: Option<String>,
    /// Folder of models, figures and page.
    pub out: PathBuf,
}

impl Request {
    /// Compares the methods of the paper on `manifest`, in `out`.
    pub fn new(manifest: impl Into<String>, out: impl Into<PathBuf>) -> Self {
        Self {
            input: Input::new(manifest),
            settings: Settings::default(),
            variants: Variant::of_paper().iter().collect(),
            seeds: 3,
            per_id: 20,
            held_out: None,
            out: out.into(),
        }
    }
}

/// What was measured.
pub struct Compared {
    /// Everything.
    pub table: Table,
    /// The page.
    pub page: PathBuf,
    /// Rows that were left out.
    pub rejected: Rejected,
}

/// Trains, judges, and writes the page.
///
/// # Errors
/// See [`Error`].
pub fn run(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Compared> {
    let request = &Request { out: place::usable(&request.out)?, ..request.clone() };
    let Prepared { source, set, held_out, base, configs } = prepare(request, context, progress)?;
    let out = &request.out;
    store::create_dir(&out.join(MODELS))?;
    // One comparison at a time; its trainings have locks of their own.
    let _lock = store::lock(&out.join(MODELS))?;
    let list = place::rejects_path(out)?;
    let view = View::new(base.image_size, base.alignment);
    let (real, rejected) = source.only_set(view, &list, progress)?;
    if !possible(&real) {
        return Err(too_few(&source));
    }
    let held_out = match &held_out {
        Some(name) => Some(material::held_out(&source, &set, name, view, &real, progress)?),
        None => {
            progress.warn("no split holds other images of the training persons: there is no level of real images, and no distance to them");
            None
        }
    };
    let of_others = |judge: Judge| Ok(judge.images != real.seen_as(View::square(judge.config.image_size))?.hash());
    if Judge::load(&out.join(JUDGE_FILE), &context.device).and_then(of_others).unwrap_or(false) {
        return Err(Error::Usage(format!(
            "{}: holds a comparison on other images; name another folder with option `out`, or delete it",
            out.display()
        )));
    }
    let (_, mut judge) = judges::trained(Role::Labels, out, &real, &base, context, progress)?;
    let (hash, recipe) = (judge.hash.clone(), judge.config.clone());
    // What it measures it sees at its own side.
    let view = View::square(recipe.image_size);
    let seen = (real.seen_as(view)?, held_out.as_ref().map(|images| images.seen_as(view)).transpose()?);
    let measures = Measures::new(&seen.0, seen.1.as_ref(), &mut judge, &recipe, None, progress)?;
    let level = measures.level(progress)?;
    let measuring =
        Measuring { request, real: &real, held_out: held_out.as_ref(), judge: &hash, view, measures, context };
    let (mut rows, mut samples) = (Vec::new(), vec![of_real(&real)]);
    for (variant, of_seeds) in &configs {
        let mut figures: BTreeMap<&str, Vec<BTreeMap<String, f64>>> = BTreeMap::new();
        for config in of_seeds {
            let folder = out.join(MODELS).join(format!("{}-{}", variant.name, config.seed));
            progress.note(&format!("{}, seed {}", variant.name, config.seed));
            let model = measuring.model(&folder, config, progress)?;
            for sampling in samplings(config) {
                let name = sampling.latent.name();
                figures.entry(name).or_default().push(measuring.figures(&folder, &model, &sampling, progress)?);
                if config.seed == of_seeds[0].seed {
                    samples.push(of_model(&format!("{}, z of {name}", variant.name), &model, &sampling)?);
                }
            }
        }
        for (latent, of_seeds) in figures {
            let names = of_seeds[0].keys();
            let values = |name: &String| of_seeds.iter().filter_map(|f| f.get(name).copied()).collect::<Vec<_>>();
            let figures = names.map(|name| (name.clone(), summary(&values(name)))).collect();
            rows.push(Row { variant: variant.name, about: variant.about, latent: latent.to_owned(), figures });
        }
    }
    let (shown, each) = looked_at(real.identities().len(), request.per_id);
    let table = Table {
        manifest: source.named(),
        dataset_hash: real.hash().to_owned(),
        identities: real.identities().len(),
        images: real.len(),
        held_out: held_out.as_ref().map_or(0, IdentityDataset::len),
        image_size: base.image_size,
        kimg: base.train.duration_kimg,
        seeds: request.seeds,
        judged: shown.len() * each,
        real: level.as_ref().map(flat),
        rows,
        config: base,
    };
    let page = out.join(PAGE);
    store::write_atomic(&page, table.html(&samples)?.as_bytes())?;
    store::write_atomic(&out.join(MARKDOWN), table.markdown().as_bytes())?;
    let mut json = json!(table);
    json[evaluate::PAGE] = json!(Entry::of(out, PAGE)?);
    store::write_sealed(&out.join(JSON), &json)?;
    Ok(Compared { table, page, rejected: Rejected { count: rejected.len(), list } })
}

/// Checks what [`run`] checks before it reads images: the configuration that variants are laid over, and the number of trainings.
///
/// # Errors
/// Those of [`run`] that can be known before.
pub fn preview(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<(RunConfig, usize)> {
    let request = &Request { out: place::usable(&request.out)?, ..request.clone() };
    let prepared = prepare(request, context, progress)?;
    Ok((prepared.base, prepared.configs.iter().map(|(_, of_seeds)| of_seeds.len()).sum()))
}

/// What is decided before images are read.
struct Prepared {
    source: Source,
    set: String,
    held_out: Option<String>,
    base: RunConfig,
    /// The configurations of each variant, one for each seed.
    configs: Vec<(&'static Variant, Vec<RunConfig>)>,
}

fn prepare(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Prepared> {
    let is_own = |path: &Path| [PAGE, JSON, MODELS].iter().any(|name| path.ends_with(name));
    place::refuse_foreign(&request.out, ("comparison of methods", "out"), is_own)?;
    let source = Source::open(&request.input, context)?;
    let set = source.set_of("compare-methods serves")?;
    let held_out = request.held_out.clone().or(Splits::of(&source, &set).of_known);
    if let Some(name) = &held_out {
        check_split(&source, &set, "held_out", name, "models and their judge")?;
    }
    let persons = source.persons(&set);
    if persons.len() < 2 || persons.values().all(|n| *n < 2) {
        return Err(too_few(&source));
    }
    let of = |set: &[String], progress: &mut dyn Progress| -> Result<RunConfig> {
        let set = request.settings.set.iter().chain(set).cloned().collect();
        let settings = Settings { set, ..request.settings.clone() };
        let mut config = length::resolve(&settings, &source, true, context, progress)?;
        // Equal budgets: nobody ends early.
        config.train.patience_kimg = 0.0;
        Ok(config)
    };
    let base = of(&[], progress)?;
    let kept = store::read_sealed(&request.out.join(JSON)).ok().flatten();
    let kept = kept.and_then(|kept| serde_json::from_value::<RunConfig>(kept["config"].clone()).ok());
    if let Some(kept) = kept.filter(|kept| kept.training_only() != base.training_only()) {
        let in_words = |c: &RunConfig| format!("{} px, {} kimg, seed {}", c.image_size, c.train.duration_kimg, c.seed);
        return Err(Error::Usage(format!(
            "{}: holds a comparison under other settings ({}; asked for is {}); name another folder with option `out`, or delete it",
            request.out.display(),
            in_words(&kept),
            in_words(&base)
        )));
    }
    let mut configs: Vec<(&'static Variant, Vec<RunConfig>)> = Vec::new();
    for variant in &request.variants {
        if configs.iter().any(|(named, _)| named.name == variant.name) {
            continue;
        }
        let set: Vec<String> = variant.set.iter().map(|s| (*s).to_owned()).collect();
        let config = of(&set, progress)?;
        let of_seeds = (0..request.seeds).map(|n| RunConfig { seed: config.seed + n, ..config.clone() });
        configs.push((*variant, of_seeds.collect()));
    }
    Ok(Prepared { source, set, held_out, base, configs })
}

fn too_few(source: &Source) -> Error {
    Error::Manifest(format!(
        "{}: too few images to train a judge: two identities are needed, one of them with two images",
        source.spec
    ))
}

/// The ways in which z is drawn from a model of `config`: N(0, I) as in the paper, and what is the default.
fn samplings(config: &RunConfig) -> Vec<Sampling> {
    let s = &config.synthesis;
    let mut all = vec![Sampling { seed: s.seed, latent: LatentSource::Prior, truncation: 1.0 }];
    if s.latent != LatentSource::Prior {
        all.push(Sampling { seed: s.seed, latent: s.latent, truncation: s.truncation });
    }
    all
}

/// What models are measured with.
struct Measuring<'a> {
    request: &'a Request,
    real: &'a IdentityDataset,
    held_out: Option<&'a IdentityDataset>,
    /// Hash of the judge.
    judge: &'a str,
    /// How it sees images.
    view: View,
    measures: Measures<'a>,
    context: &'a Context,
}

impl Measuring<'_> {
    /// The model of `config` in `folder`, trained if it is not there.
    fn model(&self, folder: &Path, config: &RunConfig, progress: &mut dyn Progress) -> Result<TrainedModel> {
        if folder.join(MODEL_FILE).exists() {
            let model = TrainedModel::load(folder, &self.context.device).map_err(|e| match e {
                Error::Model(what) => {
                    Error::Model(format!("{what}; delete the file, and the same command makes it again"))
                }
                e => e,
            })?;
            if model.header.config == config.training_only() && model.header.dataset_hash == self.real.hash() {
                return Ok(model);
            }
        }
        models::train_in(folder, self.real, config, false, None, self.context, progress)
    }

    /// Figures of what `model` in `folder` makes; kept beside it.
    fn figures(
        &self,
        folder: &Path,
        model: &TrainedModel,
        sampling: &Sampling,
        progress: &mut dyn Progress,
    ) -> Result<BTreeMap<String, f64>> {
        let name = sampling.latent.name();
        let held_out = self.held_out.map_or("", IdentityDataset::hash);
        let per_id = self.request.per_id;
        let Sampling { seed, truncation, .. } = sampling;
        let key = format!("2 {} {} {held_out} {name} {truncation} {seed} {per_id}", model.hash, self.judge);
        let path = folder.join(format!("figures-{name}.json"));
        // A damaged file is written again.
        if let Some(kept) = store::read_sealed(&path).ok().flatten().filter(|kept| kept["key"] == key.as_str())
            && let Ok(figures) = serde_json::from_value(kept["figures"].clone())
        {
            return Ok(figures);
        }
        // Nobody looks at more.
        let (shown, each) = looked_at(self.real.identities().len(), per_id);
        let labels: Vec<u32> = shown.into_iter().flat_map(|label| vec![label; each]).collect();
        let items: Vec<Item> = labels.iter().enumerate().map(|(i, l)| item(model, *l, (i % each) as u64)).collect();
        let mut pixels = Vec::new();
        progress.start(&format!("samples ({name})"), items.len() as u64, "images");
        for (n, part) in items.chunks(PART).enumerate() {
            pixels.extend(render(model, sampling, part)?.concat());
            progress.reached((n * PART + part.len()) as u64)?;
        }
        progress.finish();
        let size = model.header.config.image_size;
        let made = IdentityDataset::new(size, pixels, labels, self.real.identities().to_vec())?;
        let figures = flat(&self.measures.figures(name, &made.seen_as(self.view)?, progress)?);
        store::write_sealed(&path, &json!({ "key": key, "figures": figures }))?;
        Ok(figures)
    }
}

/// Image `index` of label `label`.
fn item(model: &TrainedModel, label: u32, index: u64) -> Item {
    Item { identity: model.header.identities[label as usize].clone(), index, mix: vec![(label, 1.0)] }
}

/// Figures by name.
fn flat(figures: &Figures) -> BTreeMap<String, f64> {
    let distances = figures.distances.map(|(_, d)| d);
    let all = [
        ("top1", figures.top1),
        ("score", Some(figures.score)),
        ("similarity", Some(figures.similarity)),
        ("frechet", distances.map(|d| d.frechet)),
        ("kernel", distances.map(|d| d.kernel)),
        ("precision", distances.map(|d| d.precision)),
        ("recall", distances.map(|d| d.recall)),
        ("density", distances.map(|d| d.density)),
        ("coverage", distances.map(|d| d.coverage)),
        ("diversity", figures.diversity),
        ("copies", Some(figures.copies.share)),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Labels that the page shows.
fn shown(identities: usize) -> impl Iterator<Item = u32> {
    let rows = SHOWN.0.min(identities);
    (0..rows).map(move |row| (row * identities / rows) as u32)
}

/// Real images for the page.
fn of_real(real: &IdentityDataset) -> Samples {
    let size = real.image_size();
    let blank = vec![255; size * size * 3];
    let images = shown(real.identities().len()).flat_map(|label| {
        let own = real.images_of(label).iter().map(|i| real.image(*i).to_vec());
        own.chain(std::iter::repeat(blank.clone())).take(SHOWN.1).collect::<Vec<_>>()
    });
    Samples { name: "real".into(), images: images.collect(), size, columns: SHOWN.1 }
}

/// Images of a model for the page: those of a column share nothing but their number.
fn of_model(name: &str, model: &TrainedModel, sampling: &Sampling) -> Result<Samples> {
    let labels = shown(model.header.identities.len());
    let items: Vec<Item> = labels.flat_map(|l| (0..SHOWN.1 as u64).map(move |i| item(model, l, i))).collect();
    let (images, size) = (render(model, sampling, &items)?, model.header.config.image_size);
    Ok(Samples { name: name.to_owned(), images, size, columns: SHOWN.1 })
}
