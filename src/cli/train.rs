//! `augment train`: the model of each identity set.

use super::Outcome;
use super::args::{GlobalArgs, TrainArgs};
use super::plan::{self, Source};
use super::terminal::Terminal;
use crate::config::RunConfig;
use crate::dataset::IdentityDataset;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::store;
use crate::train::checkpoint::CHECKPOINT_FILE;
use crate::train::trained::MODEL_FILE;
use crate::train::{self, TrainedModel};
use candle_core::Device;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Trains every identity set that the arguments select.
pub fn run(args: &TrainArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let cache = plan::cache_dir(global)?;
    let source = Source::open(&args.input, &cache)?;
    let config = plan::resolve_config(&args.config, Some(&source))?;
    let device = plan::device(global)?;
    let sets = source.sets();
    let folder = |set: &str| {
        let one = sets.len() == 1;
        args.out.as_ref().map(|dir| if one { dir.clone() } else { dir.join(set_folder(set)) })
    };
    for set in &sets {
        folder(set).map_or(Ok(()), |dir| check_folder(&dir))?;
    }
    if global.dry_run {
        return super::run::dry_run(&source, &config, None);
    }
    let mut models = Vec::new();
    let rejects_to = plan::rejects_path(&args.out.clone().unwrap_or_else(|| plan::default_out(&source.spec)))?;
    let rejected = source.for_each_set(config.image_size, &rejects_to, terminal, |set, dataset, terminal| {
        let dir = match folder(set) {
            Some(dir) => dir,
            None => plan::model_dir(&cache, &dataset, &config)?,
        };
        let model = train_one(&dataset, &config, &dir, &device, terminal)?;
        models.push(serde_json::json!({
            "identity_set": set, "folder": dir, "model_hash": model.hash, "identities": dataset.identities().len(),
            "images": dataset.len(), "steps": model.header.step,
        }));
        Ok(())
    })?;
    let mut text = String::new();
    for (set, model) in sets.iter().zip(&models) {
        let _ = writeln!(text, "model of `{}` in {}", super::printable(set), model["folder"]);
    }
    let outcome = Outcome::new(text, serde_json::json!({ "version": 1, "models": models }));
    Ok(outcome.with_rejects(rejected.len(), &rejects_to))
}

/// Refuses a folder with files of somebody else.
fn check_folder(dir: &Path) -> Result<()> {
    let ours = [MODEL_FILE, CHECKPOINT_FILE, "metrics.jsonl"].iter().any(|f| dir.join(f).exists());
    let foreign = |e: std::io::Result<std::fs::DirEntry>| e.is_ok_and(|e| e.file_name() != store::LOCK_FILE);
    let empty = std::fs::read_dir(dir).map_or(true, |mut entries| !entries.any(foreign));
    if ours || empty {
        return Ok(());
    }
    Err(Error::Usage(format!("{} is not empty and holds no model; choose another folder with --out", dir.display())))
}

/// Trains in `dir`, with metrics beside the checkpoint.
pub fn train_one(
    dataset: &IdentityDataset,
    config: &RunConfig,
    dir: &Path,
    device: &Device,
    terminal: &mut Terminal,
) -> Result<TrainedModel> {
    let _lock = store::lock(dir)?;
    terminal.note(&format!(
        "training on {} images of {} identities at {} px, in {}",
        dataset.len(),
        dataset.identities().len(),
        config.image_size,
        dir.display()
    ));
    terminal.log_metrics(&dir.join("metrics.jsonl"))?;
    train::fit(dataset, config, dir, device, terminal)
}

/// A folder name for an identity set, whatever characters it has.
pub fn set_folder(set: &str) -> PathBuf {
    let plain: String = set.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(40).collect();
    PathBuf::from(format!("{plain}-{}", &blake3::hash(set.as_bytes()).to_hex()[..16]))
}
