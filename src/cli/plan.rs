//! The validated plan of a run: an opened manifest, a resolved configuration, a device and the folders to use.

use super::args::{ConfigArgs, EvaluationConfigArgs, GlobalArgs, InputArgs, SynthesisArgs};
use super::boundary;
use super::terminal::Terminal;
use crate::config::{EvaluationConfig, Preset, RecogniserPreset, RunConfig};
use crate::dataset::{Census, IdentityDataset, Selection, decode_source};
use crate::error::{Error, Result};
use crate::evaluate::judge::Judge;
use crate::manifest::rejects::{self, Reject};
use crate::manifest::{Columns, ImageSource, Manifest, Policy, REJECTS_SUFFIX};
use crate::progress::Progress;
use crate::store;
use candle_core::Device;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Images under this side are trained with the preset `tiny` unless one is named.
const TINY_BELOW: usize = 48;

/// An opened manifest and the rows of it to use.
pub struct Source {
    pub spec: String,
    pub manifest: Manifest,
    pub census: Census,
    /// Rows of this split only.
    pub split: Option<String>,
    /// What the rows must permit.
    pub policy: Option<Policy>,
    pub max_bad: f64,
    /// Names of the columns that were asked for.
    pub columns: Columns,
}

impl Source {
    /// Opens the manifest that `args` name and chooses the split.
    pub fn open(args: &InputArgs, global_cache: &Path) -> Result<Self> {
        let spec = args.manifest.clone().ok_or_else(|| Error::Usage("--manifest is missing".into()))?;
        if !(0.0..=1.0).contains(&args.max_bad) {
            return Err(Error::Usage(format!("--max-bad {} is not a share in [0, 1]", args.max_bad)));
        }
        let columns = Columns {
            identity: args.identity_column.clone(),
            image: args.image_column.clone(),
            image_uri: args.uri_column.clone(),
        };
        let local = crate::hub::localize_manifest(&spec, global_cache)?;
        boundary::try_manifest(&local, &columns)?;
        let mut manifest = Manifest::open(&local, &columns)?;
        let policy = policy(args)?;
        if let Some(policy) = &policy {
            manifest = manifest.restrict(policy)?;
        }
        let census = Census::take(&manifest)?;
        let splits = census.splits();
        let split = match args.split.as_deref() {
            Some("all") => None,
            Some(name) if splits.contains(name) => Some(name.to_owned()),
            Some(name) => {
                let have = splits.iter().copied().collect::<Vec<_>>().join(", ");
                return Err(Error::Manifest(format!("{spec}: no row has split `{name}`; there are: {have}, all")));
            }
            None => splits.contains("train").then(|| "train".to_owned()),
        };
        let source = Self { spec, manifest, census, split, policy, max_bad: args.max_bad, columns };
        if source.sets().is_empty() {
            let why = if source.policy.is_some() { " that --purpose permits" } else { "" };
            return Err(Error::Manifest(format!("{}: holds no labelled row to work on{why}", source.spec)));
        }
        Ok(source)
    }

    /// True if rows of `split` are used.
    fn uses(&self, split: &str) -> bool {
        self.split.as_deref().is_none_or(|want| want == split)
    }

    /// Identity sets that have rows, in order.
    pub fn sets(&self) -> Vec<String> {
        self.census.sets(self.split.as_deref()).into_iter().collect()
    }

    /// Numbers of identities and of labelled images of `set`.
    pub fn count(&self, set: &str) -> (usize, usize) {
        let rows = self.census.images.iter().filter(|((s, split, _), _)| s == set && self.uses(split));
        (self.identities(set).len(), rows.map(|(_, n)| n).sum())
    }

    /// Identities of `set`.
    pub fn identities(&self, set: &str) -> BTreeSet<&str> {
        let rows = self.census.images.keys().filter(|(s, split, _)| s == set && self.uses(split));
        rows.map(|(_, _, identity)| identity.as_str()).collect()
    }

    /// Decodes the images of the sets in turn and hands each to `f`. Before that all are tried: rejected rows are written to
    /// one list, and the run fails if they are more than `max_bad` of all rows. Returns them.
    pub fn for_each_set(
        &self,
        image_size: usize,
        rejects_to: &Path,
        terminal: &mut Terminal,
        mut f: impl FnMut(&str, IdentityDataset, &mut Terminal) -> Result<()>,
    ) -> Result<Vec<Reject>> {
        if rejects_to.exists() {
            // The list of an earlier run says nothing of this one.
            std::fs::remove_file(rejects_to).map_err(|e| Error::io(rejects_to, e))?;
        }
        let sets = self.sets();
        let labelled: usize = sets.iter().map(|s| self.count(s).1).sum();
        let unlabelled: usize =
            self.census.unlabelled.iter().filter(|(split, _)| self.uses(split)).map(|(_, n)| n).sum();
        let rows = labelled + unlabelled;
        let mut rejected: Vec<Reject> = Vec::new();
        let (mut only, mut empty) = (None, None);
        for (n, set) in sets.iter().enumerate() {
            // Rows without identity are told of once.
            let (dataset, more) = self.load(set, n == 0, image_size, terminal)?;
            rejected.extend(more);
            if dataset.is_empty() {
                empty = Some(set);
            }
            // Of several sets only one is in memory at a time: they are decoded again.
            only = (sets.len() == 1).then_some(dataset);
        }
        if let Some(first) = rejected.first() {
            let list = rejects_to.display().to_string();
            rejects::write(rejects_to, &rejected)?;
            if rejected.len() as f64 > self.max_bad * rows as f64 {
                let (rejected, first) = (rejected.len(), first.to_string());
                return Err(Error::TooManyRejects { rejected, rows, max_bad: self.max_bad, first, list });
            }
            terminal.note(&format!("{} rows rejected, listed in {list}", rejected.len()));
        }
        if let Some(set) = empty {
            return Err(Error::Manifest(format!("{}: no usable image in identity set `{set}`", self.spec)));
        }
        for set in &sets {
            let dataset = match only.take() {
                Some(dataset) => dataset,
                None => self.load(set, false, image_size, terminal)?.0,
            };
            f(set, dataset, terminal)?;
        }
        Ok(rejected)
    }

    /// Decodes the images of one set.
    fn load(
        &self,
        set: &str,
        unlabelled: bool,
        image_size: usize,
        terminal: &mut Terminal,
    ) -> Result<(IdentityDataset, Vec<Reject>)> {
        let selection = Selection { split: self.split.clone(), identity_set: Some(set.to_owned()), unlabelled };
        terminal.start("read", self.count(set).1 as u64, "images");
        let loaded = IdentityDataset::load(&self.manifest, &selection, image_size, |n| {
            terminal.at(n as u64);
            if terminal.stop_requested() { Err(Error::Stopped) } else { Ok(()) }
        })?;
        terminal.finish();
        Ok(loaded)
    }
}

/// The policy that `args` set. Today is read here alone, and kept in the output's plan.
fn policy(args: &InputArgs) -> Result<Option<Policy>> {
    let today = || chrono::Utc::now().format("%Y-%m-%d").to_string();
    let policy = |purpose: &String| Policy::new(purpose, &args.as_of.clone().unwrap_or_else(today));
    args.purpose.as_ref().map(policy).transpose()
}

/// Where the list of rejected rows goes: beside the output folder, which belongs to the dataset alone.
pub fn rejects_path(out: &Path) -> Result<PathBuf> {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(REJECTS_SUFFIX);
    let path = out.with_file_name(name);
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        store::create_dir(folder)?;
    }
    Ok(path)
}

/// Output folder if none is named: the manifest's name with `-augmented`.
pub fn default_out(spec: &str) -> PathBuf {
    let stem = Path::new(spec).file_stem().map(|s| s.to_string_lossy().replace(['*', '?', '['], ""));
    let stem = stem.filter(|s| !s.is_empty()).unwrap_or_else(|| "manifest".into());
    PathBuf::from(format!("{stem}-augmented"))
}

/// Resolves the configuration: flags (and environment), then the file, then the preset; `source` decides the preset if
/// nothing names one.
pub fn resolve_config(args: &ConfigArgs, source: Option<&Source>) -> Result<RunConfig> {
    let fallback = match source {
        Some(source) if args.preset.is_none() => match typical_side(&source.manifest)? {
            Some(side) if side < TINY_BELOW => Preset::Tiny,
            _ => Preset::Base,
        },
        _ => Preset::Base,
    };
    let mut config = match &args.config {
        Some(path) => RunConfig::from_file(path, args.preset, fallback)?,
        None => RunConfig::preset(args.preset.unwrap_or(fallback)),
    };
    if let Some(size) = args.image_size {
        config = config.with_image_size(size)?;
    }
    if let Some(kimg) = args.duration_kimg {
        config.train.duration_kimg = kimg;
    }
    if let Some(seed) = args.seed {
        config.seed = seed;
    }
    config.train.balanced |= args.balanced;
    for set in &args.set {
        config = crate::config::with(&config, set)?;
    }
    config.validate()?;
    Ok(config)
}

/// Resolves the configuration of an evaluation, as [`resolve_config`] does.
pub fn resolve_evaluation(args: &EvaluationConfigArgs, source: &Source) -> Result<EvaluationConfig> {
    let fallback = match typical_side(&source.manifest)? {
        Some(side) if side < TINY_BELOW => RecogniserPreset::Tiny,
        _ => RecogniserPreset::Small,
    };
    let mut config = match &args.config {
        Some(path) => EvaluationConfig::from_file(path, args.preset, fallback)?,
        None => EvaluationConfig::preset(args.preset.unwrap_or(fallback)),
    };
    config.image_size = args.image_size.unwrap_or(config.image_size);
    config.seed = args.seed.unwrap_or(config.seed);
    for set in &args.set {
        config = crate::config::with(&config, set)?;
    }
    config.validate()?;
    Ok(config)
}

/// Median shorter side of the first images that can be decoded, in pixels.
fn typical_side(manifest: &Manifest) -> Result<Option<usize>> {
    let images = manifest.first_images(64)?;
    let side = |i: &ImageSource| decode_source(i).ok().map(|i| i.width().min(i.height()) as usize);
    let mut sides: Vec<usize> = images.iter().filter_map(side).collect();
    sides.sort_unstable();
    Ok(sides.get(sides.len() / 2).copied())
}

/// The judge that `--judge` names.
pub fn judge(args: &SynthesisArgs, device: &Device) -> Result<Option<Judge>> {
    args.judge.as_ref().map(|path| Judge::load(path, device)).transpose()
}

/// The device that `--device` names.
pub fn device(global: &GlobalArgs) -> Result<Device> {
    let name = global.device.as_str();
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let number = match name {
        "cuda" => Some(0),
        _ => name.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
    };
    match number {
        None => Err(Error::Usage(format!("--device {name}: expected cpu or cuda:N"))),
        Some(_) if !cfg!(feature = "cuda") => {
            Err(Error::Usage(format!("--device {name}: this build has no GPU support; build it with --features cuda")))
        }
        Some(n) => Device::new_cuda(n).map_err(|e| {
            let reason = e.to_string();
            Error::Usage(format!("--device {name}: {}", reason.lines().next().unwrap_or("no such device")))
        }),
    }
}

/// Folder of cached models and downloads.
pub fn cache_dir(global: &GlobalArgs) -> Result<PathBuf> {
    if let Some(dir) = &global.cache {
        return Ok(dir.clone());
    }
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| std::env::home_dir().map(|h| h.join(".cache")));
    base.map(|b| b.join("augment"))
        .ok_or_else(|| Error::Usage("no home folder for the model cache; name one with --cache".into()))
}

/// Folder of the model for `dataset` and `config` in the cache.
pub fn model_dir(cache: &Path, dataset: &IdentityDataset, config: &RunConfig) -> Result<PathBuf> {
    let key = blake3::hash(format!("{}{}", dataset.hash(), config.training_only().hash()?).as_bytes());
    Ok(cache.join("models").join(&key.to_hex()[..32]))
}
