//! The main job: validate, train where no model is in the cache, synthesize, write.

use super::args::{ConfigArgs, GlobalArgs, RunArgs, SynthesisArgs};
use super::output::{Job, SetModel};
use super::plan::{self, Source};
use super::terminal::Terminal;
use super::{Outcome, train};
use crate::config::RunConfig;
use crate::dataset::IdentityDataset;
use crate::error::{Error, Result};
use crate::hub;
use crate::progress::Progress;
use crate::train::{TrainedModel, trained::MODEL_FILE};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;

/// `augment --manifest ..`
pub fn run(args: &RunArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let cache = plan::cache_dir(global)?;
    let source = Source::open(&args.input, &cache)?;
    let device = plan::device(global)?;
    let sets = source.sets();
    let given = match &args.model {
        None => None,
        Some(spec) => {
            refuse_training_options(&args.config)?;
            if sets.len() != 1 {
                let message = format!("--model serves one identity set, the manifest has {}", sets.len());
                return Err(Error::Usage(message));
            }
            let path = hub::localize_model(spec, &cache)?;
            let model = TrainedModel::load(&path, &device)?;
            Some((path, model))
        }
    };
    let mut config = match &given {
        // The model decides its own configuration; only seed and synthesis are the run's.
        Some((_, model)) => {
            RunConfig { seed: args.config.seed.unwrap_or(model.header.config.seed), ..model.header.config.clone() }
        }
        None => plan::resolve_config(&args.config, Some(&source))?,
    };
    apply_synthesis(&mut config, &args.synthesis)?;
    let mut job = Job {
        models: Vec::new(),
        manifest_hash: source.manifest.hash().to_owned(),
        source: Some(&source),
        rejected: Vec::new(),
        synthesis: &args.synthesis,
        output: &args.output,
        out: args.output.out.clone().unwrap_or_else(|| plan::default_out(&source.spec)),
        device: device.clone(),
        judge: plan::judge(&args.synthesis, &device)?,
        config,
    };
    let identities: Vec<_> = sets.iter().map(|s| source.identities(s)).collect();
    job.refuse_forgotten(identities.iter().flatten().copied())?;
    let complete = job.check(identities.iter().map(BTreeSet::len).min().unwrap_or(0))?;
    if global.dry_run {
        return dry_run(&source, &job.config, Some(&args.synthesis));
    }
    // What is there already needs no training; unless another model is given, or images may have changed beside the manifest.
    if let Some(outcome) = complete.filter(|_| given.is_none() && source.manifest.embeds_images()) {
        return Ok(outcome);
    }
    let mut models = Vec::new();
    let rejects_to = plan::rejects_path(&job.out)?;
    let image_size = job.config.image_size;
    let rejected = source.for_each_set(image_size, &rejects_to, terminal, |set, dataset, terminal| {
        models.push(match &given {
            Some((path, model)) => {
                if source.policy.is_some() && model.header.dataset_hash != dataset.hash() {
                    return Err(Error::Usage(
                        "--model was trained on other images than --purpose permits; leave it out, and one is trained"
                            .into(),
                    ));
                }
                let mut m = SetModel::new(set, path, model);
                m.images = counts_for(&dataset, &m)?;
                dataset.hash().clone_into(&mut m.dataset_hash);
                m
            }
            None => {
                let dir = plan::model_dir(&cache, &dataset, &job.config)?;
                let model = if dir.join(MODEL_FILE).exists() {
                    terminal.note(&format!("using the trained model in {}", dir.display()));
                    TrainedModel::load(&dir, &device)?
                } else {
                    train::train_one(&dataset, &job.config, &dir, &device, terminal)?
                };
                SetModel::new(set, &dir, &model)
            }
        });
        if let (Some(_), Some(m)) = (args.synthesis.max_copy_similarity, models.last_mut()) {
            m.training = Some(dataset);
        }
        Ok(())
    })?;
    job.models = models;
    let count = rejected.len();
    job.rejected = rejected;
    Ok(job.write(terminal)?.with_rejects(count, &rejects_to))
}

/// With --model nothing is trained: options of the training would be ignored, so they are errors.
fn refuse_training_options(args: &ConfigArgs) -> Result<()> {
    let given = [
        ("--config", args.config.is_some()),
        ("--preset", args.preset.is_some()),
        ("--image-size", args.image_size.is_some()),
        ("--duration-kimg", args.duration_kimg.is_some()),
        ("--balanced", args.balanced),
        ("--set", !args.set.is_empty()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Error::Usage(format!("{option} has no effect with --model: the model is trained"))),
        None => Ok(()),
    }
}

/// Lays the synthesis flags over the configuration.
pub fn apply_synthesis(config: &mut RunConfig, args: &SynthesisArgs) -> Result<()> {
    config.synthesis.latent = args.latent.unwrap_or(config.synthesis.latent);
    config.synthesis.truncation = args.truncation.unwrap_or(config.synthesis.truncation);
    config.validate()
}

/// Real images of each identity of a given model.
fn counts_for(dataset: &IdentityDataset, model: &SetModel) -> Result<Vec<usize>> {
    let mut counts = vec![0; model.identities.len()];
    for (label, identity) in (0..).zip(dataset.identities()) {
        let Some(at) = model.identities.iter().position(|i| i == identity) else {
            return Err(Error::Model(format!(
                "{}: was not trained on identity `{identity}` of the manifest; train a model for this manifest",
                model.path.display()
            )));
        };
        counts[at] = dataset.images_of(label).len();
    }
    Ok(counts)
}

/// What would be done, without doing it: the resolved configuration and the numbers of images.
pub fn dry_run(source: &Source, config: &RunConfig, synthesis: Option<&SynthesisArgs>) -> Result<Outcome> {
    let mut text = format!("manifest {} ({} rows)\n", source.spec, source.manifest.rows());
    if let Some(split) = &source.split {
        let _ = writeln!(text, "split {split}");
    }
    let mut sets: Vec<Value> = Vec::new();
    for set in source.sets() {
        let (identities, images) = source.count(&set);
        let _ = writeln!(text, "set {}: {images} images of {identities} identities", super::printable(&set));
        sets.push(json!({ "identity_set": set, "images": images, "identities": identities }));
    }
    if let Some(s) = synthesis {
        let (n, new) = (s.balance_to.unwrap_or(s.per_id), s.new_identities);
        let _ = writeln!(text, "to synthesize: {n} per identity, {new} new identities a set");
    }
    text.push('\n');
    text += &crate::config::to_toml(config)?;
    Ok(Outcome::new(text, json!({ "version": 1, "dry_run": true, "sets": sets, "config": config })))
}
