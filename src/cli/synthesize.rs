//! `augment synthesize`: images from a trained model alone, or stored images made again.

use super::args::{GlobalArgs, SynthesizeArgs};
use super::output::{Job, SetModel};
use super::terminal::Terminal;
use super::{Outcome, plan, run::apply_synthesis};
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::manifest::DEFAULT_SET;
use crate::progress::Progress;
use crate::sink::{Record, read};
use crate::store;
use crate::synthesize::encode::{Origin, encode};
use crate::synthesize::{BATCH, Item, Sampling, item_of, render};
use crate::train::TrainedModel;
use serde_json::json;
use std::path::{Path, PathBuf};

/// `augment synthesize`
pub fn run(args: &SynthesizeArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let device = plan::device(global)?;
    let path = crate::hub::localize_model(&args.model, &plan::cache_dir(global)?)?;
    let model = TrainedModel::load(&path, &device)?;
    if let Some(dataset) = &args.regenerate {
        if global.dry_run {
            return Err(Error::Usage("--dry-run does not apply to --regenerate".into()));
        }
        return regenerate(&model, dataset, args, terminal);
    }
    if args.output.include_real {
        return Err(Error::Usage("--include-real needs the manifest: use `augment --manifest .. --model ..`".into()));
    }
    if args.synthesis.max_copy_similarity.is_some() {
        return Err(Error::Usage(
            "--max-copy-similarity needs the training images: use `augment --manifest .. --model ..`".into(),
        ));
    }
    let mut config = RunConfig { seed: args.seed.unwrap_or(model.header.config.seed), ..model.header.config.clone() };
    apply_synthesis(&mut config, &args.synthesis)?;
    let identities = model.header.identities.len();
    let out = args.output.out.clone().unwrap_or_else(|| PathBuf::from("synthesized"));
    let job = Job {
        models: vec![SetModel::new(DEFAULT_SET, &path, &model)],
        // No manifest takes part: the training images stand for it.
        manifest_hash: model.header.dataset_hash.clone(),
        source: None,
        rejected: Vec::new(),
        synthesis: &args.synthesis,
        output: &args.output,
        out,
        judge: plan::judge(&args.synthesis, &device)?,
        device,
        config,
    };
    job.refuse_forgotten(model.header.identities.iter().map(String::as_str))?;
    job.check(identities)?;
    if global.dry_run {
        let config = &job.config;
        return Ok(Outcome::new(
            crate::config::to_toml(config)?,
            json!({ "version": 1, "dry_run": true, "config": config }),
        ));
    }
    job.write(terminal)
}

/// Makes images again from their rows and compares the bytes. Rows of other models are left alone.
fn regenerate(model: &TrainedModel, dataset: &Path, args: &SynthesizeArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let mut check = Check { model, args, equal: 0, different: Vec::new(), waiting: Vec::new() };
    let mut others = 0usize;
    let shards = read::shards(dataset)?;
    terminal.start("regenerate", shards.len() as u64, "shards");
    for (done, shard) in shards.iter().enumerate() {
        read::records(shard, |record| {
            let wanted = args.sample_id.as_ref().is_none_or(|id| *id == record.sample_id);
            if !record.synthetic || !wanted {
                return Ok(());
            }
            if record.model_hash != model.hash {
                others += 1;
                return Ok(());
            }
            check.add(record)
        })?;
        terminal.at(done as u64 + 1);
    }
    check.flush()?;
    terminal.finish();
    let (equal, different) = (check.equal, check.different);
    if equal + different.len() == 0 {
        return Err(Error::Usage(format!(
            "{}: no image that was asked for was made by this model ({others} by others)",
            dataset.display()
        )));
    }
    if let Some(first) = different.first() {
        return Err(Error::Model(format!(
            "{} of {} images came out with other bytes, the first is {first}; the dataset was changed, or made by \
             another build or on another instruction set",
            different.len(),
            equal + different.len()
        )));
    }
    let mut text = format!("{equal} images regenerated, all byte-equal\n");
    if others > 0 {
        text += "images of other models were left out\n";
    }
    Ok(Outcome::new(text, json!({ "version": 1, "regenerated": equal, "equal": equal, "other_models": others })))
}

/// Compares stored images with new ones, a batch at a time.
struct Check<'a> {
    model: &'a TrainedModel,
    args: &'a SynthesizeArgs,
    equal: usize,
    different: Vec<String>,
    /// Rows of one sampling.
    waiting: Vec<(Record, Item, Sampling)>,
}

impl Check<'_> {
    fn add(&mut self, record: Record) -> Result<()> {
        let (item, sampling) = item_of(self.model, &record)?;
        let another = self.waiting.last().is_some_and(|(_, _, s)| *s != sampling);
        if another || self.waiting.len() == BATCH {
            self.flush()?;
        }
        self.waiting.push((record, item, sampling));
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let Some((_, _, sampling)) = waiting.first() else { return Ok(()) };
        let items: Vec<Item> = waiting.iter().map(|(_, item, _)| item.clone()).collect();
        let size = self.model.header.config.image_size;
        for (pixels, (record, _, _)) in render(self.model, sampling, &items)?.iter().zip(&waiting) {
            let image = encode(pixels, size, size, record.extension, Origin::Synthetic)?;
            if let (Some(_), Some(out)) = (&self.args.sample_id, &self.args.output.out) {
                store::create_dir(out)?;
                store::write_atomic(&out.join(format!("{}.{}", record.sample_id, record.extension)), &image)?;
            }
            if image == record.image {
                self.equal += 1;
            } else {
                self.different.push(record.sample_id.clone());
            }
        }
        Ok(())
    }
}
