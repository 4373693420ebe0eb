//! The main job: validate, train where no model is in the cache, synthesize, write.

use super::input::{Input, Source};
use super::makers::Models;
use super::preview::{OutputPreview, Preview};
use super::set_model::SetModel;
use super::wanted::{Chooser, Destination, Synthesis};
use super::write::{Assembly, Written};
use super::{Context, Rejected, judges, length, models, place};
use crate::config::{RunConfig, Settings};
use crate::dataset::{IdentityDataset, View};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::sink::{commit, ledger};
use crate::train::TrainedModel;
use crate::train::base::Base;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Bytes of training images that are kept from training to synthesis; more are read again.
const KEPT_PIXELS: usize = 512 << 20;

/// What to do.
#[derive(Clone)]
pub struct Request {
    /// The images to learn from.
    pub input: Input,
    /// How to train.
    pub settings: Settings,
    /// Folder or file of a trained model to use instead, or its address on the hub.
    pub model: Option<String>,
    /// A model whose weights the training begins with.
    pub init: Option<String>,
    /// What to synthesize.
    pub synthesis: Synthesis,
    /// Where to write it.
    pub destination: Destination,
}

impl Request {
    /// Trains on `manifest` by the rules for its images, and writes 50 images of every identity to `out`.
    pub fn new(manifest: impl Into<String>, out: impl Into<PathBuf>) -> Self {
        Self {
            input: Input::new(manifest),
            settings: Settings::default(),
            model: None,
            init: None,
            synthesis: Synthesis::default(),
            destination: Destination::new(out),
        }
    }

    /// The same with an output folder that can be used.
    pub(super) fn placed(&self) -> Result<Self> {
        Ok(Self { destination: self.destination.placed()?, ..self.clone() })
    }
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Augmented {
    /// The dataset.
    pub written: Written,
    /// Rows that were left out.
    pub rejected: Rejected,
}

/// What is checked before anything is trained.
pub(super) struct Prepared<'a> {
    pub assembly: Assembly<'a>,
    pub trainer: Trainer,
    /// The dataset, if it is complete already, by what is known before a training.
    pub complete: Option<Written>,
    pub output: OutputPreview,
}

/// Where models come from.
pub(super) struct Trainer {
    /// The one that is given instead.
    pub given: Option<(PathBuf, TrainedModel)>,
    /// What a training begins with.
    pub base: Option<Base>,
    /// Whether a judge of its own stands beside each.
    pub judged: bool,
    /// Whether rows must permit their use.
    pub policy: bool,
}

impl Trainer {
    /// The model of `set`, the `number`th of a job, for its images `dataset`, and its judge.
    pub fn obtain(
        &mut self,
        number: usize,
        set: &str,
        dataset: &IdentityDataset,
        config: &RunConfig,
        context: &Context,
        progress: &mut dyn Progress,
    ) -> Result<SetModel> {
        if let Some((path, model)) = self.given.take() {
            let mut m = adopt(set, path, model, dataset, self.policy)?;
            if self.judged {
                m.judge = judges::find(&m.path, &m.identities, &context.device, progress)?;
            }
            return Ok(m);
        }
        let (path, model) = models::find_or_train(dataset, config, self.judged, self.base.as_ref(), context, progress)?;
        let mut m = SetModel::new(number, set, path, model);
        if self.judged {
            m.judge = judges::find_or_train(&m.path, dataset, config, context, progress)?;
        }
        Ok(m)
    }
}

/// Does the job.
///
/// # Errors
/// Everything that can be known is refused before hours of training; see [`Error`].
pub fn run(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Augmented> {
    let request = &request.placed()?;
    let source = open(request, context)?;
    let Prepared { mut assembly, mut trainer, complete, .. } = prepare(request, &source, true, context, progress)?;
    let list = place::rejects_path(&request.destination.out)?;
    // What is there already needs no training; unless another model is given, or images may have changed beside the manifest.
    if let Some(written) = complete.filter(|_| trainer.given.is_none())
        && source.manifest.embeds_images()?
    {
        commit::settle(&written.out, request.destination.share)?;
        return Ok(Augmented { written, rejected: Rejected { count: 0, list } });
    }
    let (mut found, config) = (Vec::new(), assembly.config.clone());
    let view = View::new(config.image_size, config.alignment);
    let mut held = 0;
    let rejected = source.for_each_set(view, &list, progress, |set, dataset, progress| {
        let mut m = trainer.obtain(found.len(), set, &dataset, &config, context, progress)?;
        let size = dataset.len() * view.size() * view.size() * 3;
        if held + size <= KEPT_PIXELS {
            held += size;
            m.training = Some(dataset);
        }
        found.push(m);
        Ok(())
    })?;
    (assembly.models, assembly.rejected) = (found, rejected);
    let count = assembly.rejected.len();
    let written = assembly.write(&mut Models::default(), progress)?;
    Ok(Augmented { written, rejected: Rejected { count, list } })
}

/// Checks what [`run`] checks before it trains, and says what it would do.
///
/// # Errors
/// Those of [`run`] that can be known without training.
pub fn preview(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Preview> {
    let request = &request.placed()?;
    let source = open(request, context)?;
    let prepared = prepare(request, &source, false, context, progress)?;
    let (config, trained) =
        (&prepared.assembly.config, prepared.trainer.given.is_none() && prepared.complete.is_none());
    Preview::new(&source, config, trained, Some(prepared.output), context, progress)
}

/// Opens the manifest, for work that was begun earlier under that day's permissions.
pub(super) fn open(request: &Request, context: &Context) -> Result<Source> {
    let out = &request.destination.out;
    let begun = ledger::is_begun(out).then(|| ledger::order(out).ok().flatten()).flatten().and_then(|o| o.policy);
    Source::open_begun(&request.input, context, begun)
}

/// Checks what can be known before a training.
pub(super) fn prepare<'a>(
    request: &'a Request,
    source: &'a Source,
    keep: bool,
    context: &Context,
    progress: &mut dyn Progress,
) -> Result<Prepared<'a>> {
    let (sets, synthesis) = (source.sets(), &request.synthesis);
    let given = match &request.model {
        None => None,
        Some(spec) => {
            if let Some(name) = request.settings.of_training() {
                let message = format!("option `{name}` has no effect with option `model`: the model is trained");
                return Err(Error::Usage(message));
            }
            source.set_of("option `model` serves")?;
            Some(models::load(spec, context)?)
        }
    };
    let mut config = match &given {
        // The model decides its own configuration; only the synthesis is the run's.
        Some((_, model)) => model.header.config.clone(),
        None => length::resolve(&request.settings, source, keep, context, progress)?,
    };
    let base = models::base(request.init.as_deref(), &mut config, context)?;
    let assembly = Assembly {
        models: Vec::new(),
        config: synthesis.over(config)?,
        manifest_hash: source.manifest.hash().to_owned(),
        source: Some(source),
        rejected: Vec::new(),
        synthesis,
        destination: &request.destination,
        device: context.device.clone(),
        judge: synthesis.load_judge(&context.device)?,
        part: None,
    };
    let mut persons: Vec<BTreeMap<&str, usize>> = sets.iter().map(|s| source.persons(s)).collect();
    if let (Some((_, model)), [of_manifest]) = (&given, &mut persons[..]) {
        // Those that only the model knows are made, too.
        model.header.identities.iter().for_each(|i| _ = of_manifest.entry(i).or_insert(0));
    }
    let (complete, output) = assembly.check(&persons)?;
    if given.is_none() && complete.is_none() {
        context.check_cache()?;
    }
    let (judged, policy) = (synthesis.chooser == Chooser::Own, source.policy.is_some());
    Ok(Prepared { assembly, trainer: Trainer { given, base, judged, policy }, complete, output })
}

/// Takes a given model for `dataset`.
fn adopt(set: &str, path: PathBuf, model: TrainedModel, dataset: &IdentityDataset, policy: bool) -> Result<SetModel> {
    if policy && model.header.dataset_hash != dataset.hash() {
        return Err(Error::Usage(
            "option `model` was trained on other images than option `purpose` permits; leave it out, and one is trained".into(),
        ));
    }
    let images = counts(dataset, &model.header.identities, &path)?;
    let mut m = SetModel::new(0, set, path, model);
    m.images = images;
    dataset.hash().clone_into(&mut m.dataset_hash);
    Ok(m)
}

/// Real images of each of the identities of the model in `path`.
fn counts(dataset: &IdentityDataset, identities: &[String], path: &Path) -> Result<Vec<usize>> {
    let mut counts = vec![0; identities.len()];
    for (label, identity) in (0..).zip(dataset.identities()) {
        let Some(at) = identities.iter().position(|i| i == identity) else {
            return Err(Error::Model(format!(
                "{}: was not trained on identity `{identity}` of the manifest; train a model for this manifest",
                path.display()
            )));
        };
        counts[at] = dataset.images_of(label).len();
    }
    Ok(counts)
}
