//! Writes a dataset from trained models: the plan first, then images, the card, and `_SUCCESS.json` last.

mod filter;
mod real;

use super::Outcome;
use super::args::{Encoding, Format, OutputArgs, SynthesisArgs};
use super::plan::Source;
use super::terminal::Terminal;
use crate::config::RunConfig;
use crate::dataset::IdentityDataset;
use crate::error::{Error, Result};
use crate::evaluate::judge::Judge;
use crate::manifest::rejects::Reject;
use crate::sink::card;
use crate::sink::commit::{Opened, Output, Stored, look};
use crate::sink::forget::tombstones;
use crate::sink::records::{content_hash, verify};
use crate::sink::schema::class_name;
use crate::sink::{FolderSink, ParquetSink, Sink};
use crate::store;
use crate::synthesize::plan::{Amount, NewIdentities, Plan, Target};
use crate::synthesize::select::{Selection, select};
use crate::synthesize::{self, Provenance, Sampling, gate};
use crate::train::TrainedModel;
use candle_core::Device;
use filter::{Filter, drop_copies};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.toml";

/// One identity set to synthesize: where its model is and what it knows.
pub struct SetModel {
    pub set: String,
    pub path: PathBuf,
    pub hash: String,
    /// Of the real images.
    pub dataset_hash: String,
    pub identities: Vec<String>,
    /// Real images of each identity.
    pub images: Vec<usize>,
    pub image_size: usize,
    /// The training images, where copies of them are looked for.
    pub training: Option<IdentityDataset>,
}

impl SetModel {
    /// Describes a loaded model.
    pub fn new(set: &str, path: &Path, model: &TrainedModel) -> Self {
        Self {
            set: set.to_owned(),
            path: path.to_owned(),
            hash: model.hash.clone(),
            dataset_hash: model.header.dataset_hash.clone(),
            identities: model.header.identities.clone(),
            images: model.header.images.clone(),
            image_size: model.header.config.image_size,
            training: None,
        }
    }
}

/// Everything that decides the bytes of a dataset.
pub struct Job<'a> {
    pub models: Vec<SetModel>,
    pub config: RunConfig,
    pub manifest_hash: String,
    /// Where real images come from, for --include-real.
    pub source: Option<&'a Source>,
    /// Rows of it that were rejected.
    pub rejected: Vec<Reject>,
    pub synthesis: &'a SynthesisArgs,
    pub output: &'a OutputArgs,
    pub out: PathBuf,
    pub device: Device,
    /// Decides which candidates are kept.
    pub judge: Option<Judge>,
}

impl Job<'_> {
    fn sampling(&self) -> Sampling {
        let s = &self.config.synthesis;
        Sampling { seed: self.config.seed, latent: s.latent, truncation: s.truncation }
    }

    fn extension(&self) -> &'static str {
        match self.output.encoding {
            Encoding::Jpeg => "jpg",
            Encoding::Png => "png",
        }
    }

    /// The plan of every set, and the class names in the order of their labels: existing identities of all sets, then
    /// the new ones.
    fn plans(&self) -> Result<(Vec<Plan>, Vec<String>)> {
        let amount = match self.synthesis.balance_to {
            Some(n) => Amount::BalanceTo(n),
            None => Amount::PerIdentity(self.synthesis.per_id),
        };
        let new = NewIdentities {
            count: self.synthesis.new_identities,
            mix: self.synthesis.mix,
            per_id: self.synthesis.balance_to.unwrap_or(self.synthesis.per_id),
        };
        let named = |set: &str, identity: &str| class_name(self.models.len(), set, identity);
        let (mut plans, mut names) = (Vec::new(), Vec::new());
        for m in &self.models {
            let first = names.len() as i64;
            plans.push(Plan::existing(&m.identities, &m.images, amount, first, self.sampling()));
            names.extend(m.identities.iter().map(|i| named(&m.set, i)));
        }
        for (m, plan) in self.models.iter().zip(&mut plans) {
            plan.add_new(&m.identities, new, names.len() as i64)?;
            names.extend(plan.targets[m.identities.len()..].iter().map(|t| named(&m.set, &t.identity)));
        }
        Ok((plans, names))
    }

    /// Refuses what can be seen to fail before hours of training: sets of too few identities (`fewest` has the smallest) for
    /// the mix, and an output folder that holds something else. Returns the summary if all is done already.
    pub fn check(&self, fewest: usize) -> Result<Option<Outcome>> {
        let s = self.synthesis;
        if s.new_identities > 0 && !(2..=fewest).contains(&s.mix) {
            return Err(Error::Usage(format!(
                "--mix {} must lie between 2 and the {fewest} identities of the smallest set",
                s.mix
            )));
        }
        let mut plan = self.describe(0)?;
        if let Some(plan) = plan.as_object_mut() {
            plan.retain(|key, _| !matches!(key.as_str(), "models" | "rows"));
        }
        match look(&self.out, &plan, self.output.repair)? {
            // Whether the files are unchanged is seen by reading them.
            Stored::Complete(done) if verify(&self.out)?.damages.is_empty() => Ok(Some(self.outcome(&done, true))),
            _ => Ok(None),
        }
    }

    /// Refuses identities that were forgotten in the output folder.
    pub fn refuse_forgotten<'b>(&self, mut identities: impl Iterator<Item = &'b str>) -> Result<()> {
        let Some(tombstones) = tombstones(&self.out)? else { return Ok(()) };
        match identities.find(|i| tombstones.contains(i)) {
            Some(identity) => Err(Error::Usage(format!(
                "identity `{identity}` was forgotten in {}: take it out of the manifest, or choose a model that does not know it",
                self.out.display()
            ))),
            None => Ok(()),
        }
    }

    /// The plan as it is kept in the output folder; equal plans give equal bytes.
    fn describe(&self, rows: usize) -> Result<Value> {
        let s = self.sampling();
        Ok(json!({
            "version": 3,
            "program": env!("CARGO_PKG_VERSION"),
            "manifest_hash": self.manifest_hash,
            "split": self.source.and_then(|s| s.split.clone()),
            "policy": self.source.and_then(|s| s.policy.as_ref()),
            "columns": self.source.map(|s| [&s.columns.identity, &s.columns.image, &s.columns.image_uri]),
            "config_hash": self.config.hash()?,
            "models": self.models.iter().map(|m| json!({ "identity_set": m.set, "hash": m.hash, "images": m.dataset_hash })).collect::<Vec<_>>(),
            "kernels": if self.device.is_cpu() { crate::ops::simd::name() } else { "cuda" },
            "seed": s.seed,
            "latent": s.latent,
            "truncation": s.truncation,
            "per_id": self.synthesis.per_id,
            "balance_to": self.synthesis.balance_to,
            "new_identities": self.synthesis.new_identities,
            "mix": self.synthesis.mix,
            "judge": self.judge.as_ref().map(|j| json!({ "hash": j.hash, "min_similarity": self.synthesis.min_similarity, "tries": self.synthesis.tries })),
            "max_copy_similarity": self.synthesis.max_copy_similarity,
            "include_real": self.output.include_real,
            "format": format!("{:?}", self.output.format).to_lowercase(),
            "encoding": self.extension(),
            "shard_rows": self.output.shard_rows,
            "rows": rows,
        }))
    }

    /// Those of the planned images' candidates that the judge accepts, without copies of training images.
    fn select(&self, plans: Vec<Plan>, terminal: &mut Terminal) -> Result<(Vec<Plan>, Vec<Selection>)> {
        let limit = self.synthesis.max_copy_similarity;
        if self.judge.is_none() && limit.is_none() {
            return Ok((plans, Vec::new()));
        }
        let (mut chosen, mut selections) = (Vec::new(), Vec::new());
        for (m, mut plan) in self.models.iter().zip(plans) {
            let model = TrainedModel::load(&m.path, &self.device)?;
            let mut selection = Selection::default();
            if let Some(judge) = &self.judge {
                let mut filter = Filter { judge, least: self.synthesis.min_similarity, size: m.image_size, new: None };
                let mut accept = |target: &Target, pixels: &[Vec<u8>]| filter.accept(target, pixels);
                (plan, selection) = select(&model, plan, self.synthesis.tries, &mut accept, terminal)?;
            }
            if let (Some(limit), Some(training)) = (limit, &m.training) {
                selection.copies = drop_copies(&model, &mut plan, training, limit, terminal)?;
            }
            chosen.push(plan);
            selections.push(selection);
        }
        Ok((chosen, selections))
    }

    /// Writes the dataset, or finds it complete.
    pub fn write(&self, terminal: &mut Terminal) -> Result<Outcome> {
        let (plans, names) = self.plans()?;
        let asked: usize = plans.iter().map(Plan::images).sum();
        let real = if self.output.include_real { self.models.iter().flat_map(|m| &m.images).sum() } else { 0 };
        if asked + real == 0 {
            return Err(Error::Usage("nothing to make: every identity has the images that were asked for".into()));
        }
        let description = self.describe(asked + real)?;
        // A folder is not taken for a model that is refused.
        if !matches!(look(&self.out, &description, self.output.repair)?, Stored::Complete(_)) {
            for m in &self.models {
                gate::check(&TrainedModel::load(&m.path, &self.device)?, self.config.seed)?;
            }
        }
        let mut output = match Output::open(&self.out, &description, self.output.repair)? {
            Opened::Complete(done) => return Ok(self.outcome(&done, true)),
            Opened::Ready(output) => output,
        };
        // Again, now that nobody else works here: models may know more identities than the manifest.
        self.refuse_forgotten(self.models.iter().flat_map(|m| &m.identities).map(String::as_str))?;
        let (plans, selections) = self.select(plans, terminal)?;
        let synthetic: usize = plans.iter().map(Plan::images).sum();
        if synthetic + real == 0 {
            return Err(Error::Usage(
                "no image is left; lower --min-similarity, raise --max-copy-similarity, or train the model longer"
                    .into(),
            ));
        }
        store::write_atomic(&self.out.join(CONFIG), crate::config::to_toml(&self.config)?.as_bytes())?;
        output.arrange(synthetic + real, self.output.shard_rows.get())?;
        let mut sink: Box<dyn Sink> = match self.output.format {
            Format::Parquet => Box::new(ParquetSink::new(output, &names)),
            Format::Imagefolder => Box::new(FolderSink::new(output, &names)),
        };
        let provenance = |set: &str| -> Result<Provenance> {
            Ok(Provenance {
                identity_set: set.to_owned(),
                config_hash: self.config.hash()?,
                manifest_hash: self.manifest_hash.clone(),
                extension: self.extension(),
            })
        };
        if let (true, Some(source)) = (self.output.include_real, self.source) {
            self.write_real(source, real, &self.config.hash()?, sink.as_mut(), terminal)?;
        }
        let mut first_row = real;
        for (m, plan) in self.models.iter().zip(&plans) {
            let model = TrainedModel::load(&m.path, &self.device)?;
            synthesize::run(&model, plan, first_row, &provenance(&m.set)?, sink.as_mut(), terminal)?;
            first_row += plan.images();
        }
        let output = sink.finish()?;
        let new = |t: &&Target| t.mix.len() > 1 && !t.indices.is_empty();
        let new_identities = plans.iter().flat_map(|p| &p.targets).filter(new).count();
        let done = json!({
            "version": 2, "plan": description, "synthetic": synthetic, "real": real, "classes": names.len(),
            "new_identities": new_identities, "selection": selections, "content_hash": content_hash(output.files()),
            "image_size": self.models.first().map(|m| m.image_size),
        });
        store::write_atomic(&self.out.join(card::FILE), card::markdown(&done).as_bytes())?;
        let metadata = FolderSink::metadata();
        let others = match self.output.format {
            Format::Parquet => vec![card::FILE, CONFIG],
            Format::Imagefolder => vec![card::FILE, CONFIG, &metadata],
        };
        let done = output.complete(done, &others)?;
        Ok(self.outcome(&done, false))
    }

    fn outcome(&self, done: &Value, before: bool) -> Outcome {
        let mut text = String::new();
        let state = if before { "already complete" } else { "wrote" };
        let _ =
            writeln!(text, "{state}: {} images of {} classes in {}", done["rows"], done["classes"], self.out.display());
        let _ = writeln!(
            text,
            "  synthetic {}  real {}  new identities {}",
            done["synthetic"], done["real"], done["new_identities"]
        );
        for selection in done["selection"].as_array().into_iter().flatten() {
            let short = selection["short"].as_array().map_or(0, Vec::len);
            let _ = writeln!(
                text,
                "  judged {} candidates, rejected {}, left out {} copies; {short} identities were not satisfied by the judge",
                selection["candidates"], selection["rejected"], selection["copies"]
            );
        }
        for m in &self.models {
            let _ = writeln!(text, "  model of `{}`: {}", super::printable(&m.set), m.path.display());
        }
        let mut json = done.clone();
        json["out"] = json!(self.out);
        json["already_done"] = json!(before);
        Outcome::new(text, json)
    }
}
