//! The main job: validate, train where no model is in the cache, synthesize, write.

use super::args::{GlobalArgs, RunArgs, SynthesisArgs};
use super::output::{Job, SetModel};
use super::plan::{self, Source};
use super::terminal::Terminal;
use super::{Outcome, train};
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::hub;
use crate::progress::Progress;
use crate::store;
use crate::train::{TrainedModel, trained::MODEL_FILE};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// `augment --manifest ..`
pub fn run(args: &RunArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let cache = plan::cache_dir(global)?;
    let source = Source::open(&args.input, &cache)?;
    let device = plan::device(global)?;
    let sets = source.sets();
    let model = args.model.as_deref().map(|m| hub::localize_model(m, &cache)).transpose()?;
    let given = model.as_deref().map(|path| TrainedModel::load(path, &device)).transpose()?;
    let mut config = match &given {
        // The model decides its own configuration; only seed and synthesis are the run's.
        Some(model) => {
            RunConfig { seed: args.config.seed.unwrap_or(model.header.config.seed), ..model.header.config.clone() }
        }
        None => plan::resolve_config(&args.config, Some(&source))?,
    };
    apply_synthesis(&mut config, &args.synthesis)?;
    if global.dry_run {
        return dry_run(&source, &config, Some(&args.synthesis));
    }
    let out = args.output.out.clone().unwrap_or_else(|| default_out(&source.spec));
    let rejects_to = default_rejects(&out);
    let mut rejected = 0;
    let mut models = Vec::new();
    if let (Some(path), Some(model)) = (model, &given) {
        let [set] = sets.as_slice() else {
            return Err(Error::Usage(format!("--model serves one identity set, the manifest has {}", sets.len())));
        };
        let mut m = SetModel::new(set, &path, model);
        m.images = counts_for(&source, set, &m)?;
        models.push(m);
    } else {
        for set in &sets {
            let (dataset, rejects) = source.load(set, config.image_size, &rejects_to, terminal)?;
            rejected += rejects.len();
            let dir = plan::model_dir(&cache, &dataset, &config)?;
            let model = if dir.join(MODEL_FILE).exists() {
                terminal.note(&format!("using the trained model in {}", dir.display()));
                TrainedModel::load(&dir, &device)?
            } else {
                train::train_one(&dataset, &config, &dir, &device, terminal)?
            };
            models.push(SetModel::new(set, &dir, &model));
        }
    }
    let job = Job {
        models,
        manifest_hash: source.manifest.hash().to_owned(),
        source: Some(&source),
        synthesis: &args.synthesis,
        output: &args.output,
        out,
        device,
        config,
    };
    let mut outcome = job.write(terminal)?;
    outcome.rejects = rejected > 0;
    outcome.json["rejected"] = json!(rejected);
    Ok(outcome)
}

/// Lays the synthesis flags over the configuration.
pub fn apply_synthesis(config: &mut RunConfig, args: &SynthesisArgs) -> Result<()> {
    config.synthesis.latent = args.latent.unwrap_or(config.synthesis.latent);
    config.synthesis.truncation = args.truncation.unwrap_or(config.synthesis.truncation);
    config.validate()
}

/// Real images per identity of a given model, by the manifest's labels.
fn counts_for(source: &Source, set: &str, model: &SetModel) -> Result<Vec<usize>> {
    let chosen = |split: &str| source.split.as_deref().is_none_or(|want| want == split);
    let mut counts = vec![0; model.identities.len()];
    for ((_, _, identity), n) in source.census.images.iter().filter(|((s, split, _), _)| s == set && chosen(split)) {
        let Some(label) = model.identities.iter().position(|i| i == identity) else {
            return Err(Error::Model(format!(
                "{}: was not trained on identity `{identity}` of the manifest; train a model for this manifest",
                model.path.display()
            )));
        };
        counts[label] += n;
    }
    Ok(counts)
}

/// What would be done, without doing it: the resolved configuration and the numbers of images.
pub fn dry_run(source: &Source, config: &RunConfig, synthesis: Option<&SynthesisArgs>) -> Result<Outcome> {
    let sets: Vec<Value> = source
        .sets()
        .iter()
        .map(|set| {
            let identities: std::collections::BTreeSet<&str> = source
                .census
                .images
                .keys()
                .filter(|(s, split, _)| s == set && source.split.as_deref().is_none_or(|want| want == split))
                .map(|(_, _, i)| i.as_str())
                .collect();
            json!({ "identity_set": set, "images": source.rows_of(set), "identities": identities.len() })
        })
        .collect();
    let mut text = format!("manifest {} ({} rows)\n", source.spec, source.manifest.rows());
    if let Some(split) = &source.split {
        let _ = writeln!(text, "split {split}");
    }
    for s in &sets {
        let _ = writeln!(text, "set {}: {} images of {} identities", s["identity_set"], s["images"], s["identities"]);
    }
    if let Some(s) = synthesis {
        let _ = writeln!(
            text,
            "to synthesize: {} per identity, {} new identities a set",
            s.balance_to.unwrap_or(s.per_id),
            s.new_identities
        );
    }
    text += "\n";
    text += &config.to_toml()?;
    Ok(Outcome::new(text, json!({ "version": 1, "dry_run": true, "sets": sets, "config": config })))
}

/// Output folder if none is named: the manifest's name with `-augmented`.
fn default_out(spec: &str) -> PathBuf {
    let stem = Path::new(spec).file_stem().map(|s| s.to_string_lossy().replace(['*', '?', '['], ""));
    let stem = stem.filter(|s| !s.is_empty()).unwrap_or_else(|| "manifest".into());
    PathBuf::from(format!("{stem}-augmented"))
}

/// The list of rejected rows lies beside the output folder, which belongs to the dataset alone.
fn default_rejects(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push("-rejects.parquet");
    let path = out.with_file_name(name);
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        // A folder that cannot be made shows itself when the list is written.
        let _ = store::create_dir(folder);
    }
    path
}
