//! `augment synthesize`: images from a trained model alone, or stored images made again.

use super::args::{GlobalArgs, SynthesizeArgs};
use super::output::{Job, SetModel};
use super::terminal::Terminal;
use super::{Outcome, plan, run::apply_synthesis};
use crate::config::RunConfig;
use crate::dataset::DEFAULT_SET;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::sink::{Record, read};
use crate::store;
use crate::synthesize::{encode, item_of, render};
use crate::train::TrainedModel;
use serde_json::json;
use std::path::{Path, PathBuf};

/// `augment synthesize`
pub fn run(args: &SynthesizeArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let device = plan::device(global)?;
    let path = crate::hub::localize_model(&args.model, &plan::cache_dir(global)?)?;
    let model = TrainedModel::load(&path, &device)?;
    if let Some(dataset) = &args.regenerate {
        return regenerate(&model, dataset, args, terminal);
    }
    if args.output.include_real {
        return Err(Error::Usage("--include-real needs the manifest: use `augment --manifest .. --model ..`".into()));
    }
    let mut config = RunConfig { seed: args.seed.unwrap_or(model.header.config.seed), ..model.header.config.clone() };
    apply_synthesis(&mut config, &args.synthesis)?;
    if global.dry_run {
        return Ok(Outcome::new(config.to_toml()?, json!({ "version": 1, "dry_run": true, "config": config })));
    }
    let out = args.output.out.clone().unwrap_or_else(|| PathBuf::from("synthesized"));
    let job = Job {
        models: vec![SetModel::new(DEFAULT_SET, &path, &model)],
        manifest_hash: model.header.manifest_hash.clone(),
        source: None,
        synthesis: &args.synthesis,
        output: &args.output,
        out,
        device,
        config,
    };
    job.write(terminal)
}

/// Makes images again from their rows and compares the bytes.
fn regenerate(model: &TrainedModel, dataset: &Path, args: &SynthesizeArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let (mut equal, mut different) = (0usize, Vec::new());
    let size = model.header.config.image_size;
    let batch_size = model.header.config.synthesis.batch_size;
    let mut check = |records: &[Record]| -> Result<()> {
        let mut items = Vec::new();
        for r in records {
            items.push(item_of(model, r)?);
        }
        for ((record, (item, sampling)), at) in records.iter().zip(&items).zip(0..) {
            // Rows of one dataset share their sampling, so whole batches go through the network together.
            if at > 0 && items[at - 1].1 != *sampling {
                return Err(Error::Manifest(format!("sample {}: another seed than its neighbour's", item.identity)));
            }
            debug_assert!(record.synthetic);
        }
        let Some((_, sampling)) = items.first() else { return Ok(()) };
        let sampling = *sampling;
        let only: Vec<_> = items.into_iter().map(|(item, _)| item).collect();
        for (record, pixels) in records.iter().zip(render(model, &sampling, &only, batch_size)?) {
            let image = encode(&pixels, size, size, record.extension)?;
            if let (Some(_), Some(out)) = (&args.sample_id, &args.output.out) {
                store::create_dir(out)?;
                store::write_atomic(&out.join(format!("{}.{}", record.sample_id, record.extension)), &image)?;
            }
            if image == record.image { equal += 1 } else { different.push(record.sample_id.clone()) }
        }
        Ok(())
    };
    let shards = read::shards(dataset)?;
    terminal.start("regenerate", shards.len() as u64, "shards");
    for (done, shard) in shards.iter().enumerate() {
        let mut waiting: Vec<Record> = Vec::new();
        read::records(shard, |record| {
            let wanted = args.sample_id.as_ref().is_none_or(|id| *id == record.sample_id);
            if record.synthetic && wanted {
                waiting.push(record);
            }
            if waiting.len() == batch_size {
                check(&waiting)?;
                waiting.clear();
            }
            Ok(())
        })?;
        check(&waiting)?;
        terminal.at(done as u64 + 1);
    }
    terminal.finish();
    if let (Some(id), 0) = (&args.sample_id, equal + different.len()) {
        return Err(Error::Usage(format!("{}: holds no synthetic image {id}", dataset.display())));
    }
    if let Some(first) = different.first() {
        return Err(Error::Model(format!(
            "{} of {} images came out with other bytes, the first is {first}; the dataset was changed, or made by \
             another build or on another instruction set",
            different.len(),
            equal + different.len()
        )));
    }
    let text = format!("{equal} images regenerated, all byte-equal\n");
    Ok(Outcome::new(text, json!({ "version": 1, "regenerated": equal, "equal": equal })))
}
