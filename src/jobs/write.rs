//! Writes a dataset from trained models: the order first, then images, the card, and the summary last.

use super::input::Source;
use super::makers::{Chosen, Maker};
use super::place;
use super::preview::OutputPreview;
use super::real::RealImages;
use super::set_model::SetModel;
use super::wanted::{Chooser, Destination, NamedJudge, Synthesis};
use crate::config::RunConfig;
use crate::dataset::View;
use crate::error::{Error, Result};
use crate::formats::table::class_name;
use crate::manifest::rejects::Reject;
use crate::progress::Progress;
use crate::sink::Sink;
use crate::sink::commit::{Opened, Output, Stored, look};
use crate::sink::erase::tombstones;
use crate::sink::ledger::{CONFIG, Summary, committed_rows};
use crate::sink::order::{Order, OrderedJudge};
use crate::sink::verify::verify;
use crate::store;
use crate::synthesize::Sampling;
use crate::synthesize::plan::{Amount, NewIdentities, Plan};
use candle_core::Device;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

/// A written dataset.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its folder.
    pub out: PathBuf,
    /// What it holds.
    pub summary: Summary,
    /// All was there already.
    pub before: bool,
    /// Identity sets and the folders of their models, as far as they were needed.
    pub models: Vec<(String, PathBuf)>,
}

/// Images of a dataset, at most: their numbers are in memory.
const MOST_IMAGES: u64 = 1 << 32;

fn nothing_to_make() -> Error {
    Error::Usage("nothing to make: every identity has as many labelled images as were asked for, or more".into())
}

/// Everything that decides the bytes of a dataset.
pub(super) struct Assembly<'a> {
    pub models: Vec<SetModel>,
    pub config: RunConfig,
    pub manifest_hash: String,
    /// Where real images come from, to merge them in.
    pub source: Option<&'a Source>,
    /// Rows of it that were rejected.
    pub rejected: Vec<Reject>,
    pub synthesis: &'a Synthesis,
    pub destination: &'a Destination,
    pub device: Device,
    /// Decides which candidates are kept, where one is named.
    pub judge: Option<NamedJudge>,
    /// Only these of the identities of its set, new ones last, and what the order says of that: a part of a dataset, which may stay empty.
    pub part: Option<(Range<usize>, Value)>,
}

impl Assembly<'_> {
    fn sampling(&self) -> Sampling {
        let s = &self.config.synthesis;
        Sampling { seed: s.seed, latent: s.latent, truncation: s.truncation }
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
            sum: self.synthesis.mix_sum as f32,
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
        if let Some((part, _)) = &self.part {
            plans.iter_mut().for_each(|plan| plan.keep(part));
        }
        Ok((plans, names))
    }

    /// Refuses what can be seen to fail before hours of training, by the identities of each set and the number of their real images.
    /// Returns the dataset if all is done already, and what would be written.
    pub fn check(&self, sets: &[BTreeMap<&str, usize>]) -> Result<(Option<Written>, OutputPreview)> {
        let (s, d) = (self.synthesis, self.destination);
        self.refuse_forgotten(sets.iter().flat_map(BTreeMap::keys).copied())?;
        let fewest = sets.iter().map(BTreeMap::len).min().unwrap_or(0);
        if s.new_identities > 0 && !(2..=fewest).contains(&s.mix) {
            return Err(Error::Usage(format!(
                "option `mix` {} must lie between 2 and the {fewest} identities of the smallest set",
                s.mix
            )));
        }
        if !(0.1..=3.0).contains(&s.mix_sum) {
            return Err(Error::Usage(format!("option `mix_sum` {} must lie between 0.1 and 3", s.mix_sum)));
        }
        self.refuse_strangers(sets)?;
        let asked = self.asked(sets)?;
        if asked == 0 && !d.include_real {
            return Err(nothing_to_make());
        }
        let (about, least) = d.image_bytes(d.output_size.unwrap_or(self.config.image_size));
        let per_id = s.balance_to.unwrap_or(s.per_id);
        let output = OutputPreview::new(per_id, s.new_identities, asked, about, &d.out);
        let complete = match look(&d.out, &self.order(None)?, d.repair)? {
            // Whether the files are unchanged is seen by reading them.
            Stored::Complete(done) if verify(&d.out)?.damages.is_empty() => Some(self.written(*done, true)),
            Stored::Complete(_) | Stored::Nothing | Stored::Unfinished => None,
        };
        // What is committed takes no more room.
        let left = asked.saturating_sub(committed_rows(&d.out).unwrap_or(0) as u64);
        if complete.is_none()
            && let Some(free) = output.free.filter(|free| left.saturating_mul(least) > *free)
        {
            return Err(Error::Usage(format!(
                "{left} images take {} MB or more, but {} has {} MB free; ask for fewer, or name another folder with option `out`",
                left.saturating_mul(least) / 1_000_000,
                d.out.display(),
                free / 1_000_000
            )));
        }
        Ok((complete, output))
    }

    /// Images that are asked for.
    fn asked(&self, sets: &[BTreeMap<&str, usize>]) -> Result<u64> {
        let s = self.synthesis;
        let per_id = s.balance_to.unwrap_or(s.per_id) as u64;
        let too_many =
            || Error::Usage(format!("{per_id} images of each identity are more than can be counted; ask for fewer"));
        let mut asked = 0u64;
        for persons in sets {
            let existing = persons.values().map(|real| match s.balance_to {
                Some(_) => per_id.saturating_sub(*real as u64),
                None => per_id,
            });
            let new = per_id.checked_mul(s.new_identities as u64).ok_or_else(too_many)?;
            for n in existing.chain([new]) {
                asked = asked.checked_add(n).filter(|n| *n <= MOST_IMAGES).ok_or_else(too_many)?;
            }
        }
        Ok(asked)
    }

    /// Refuses a judge that does not know the identities.
    fn refuse_strangers(&self, sets: &[BTreeMap<&str, usize>]) -> Result<()> {
        let Some(NamedJudge::Ours(judge)) = &self.judge else { return Ok(()) };
        let identities = || sets.iter().flat_map(BTreeMap::keys);
        let strangers: Vec<&&str> = identities().filter(|i| judge.known.mean(i).is_none()).collect();
        match strangers.first() {
            Some(first) => Err(Error::Usage(format!(
                "the judge does not know {} of {} identities, the first is `{first}`: evaluate on this manifest, and take that judge",
                strangers.len(),
                identities().count()
            ))),
            None => Ok(()),
        }
    }

    /// Refuses identities that were forgotten in the output folder.
    pub fn refuse_forgotten<'b>(&self, identities: impl Iterator<Item = &'b str>) -> Result<()> {
        let out = &self.destination.out;
        let advice = "take it out of the manifest, or choose a model that does not know it";
        place::refuse_forgotten(out, tombstones(out)?.as_ref(), identities, advice)
    }

    /// What is ordered; without `rows` as far as it is known before the models are.
    fn order(&self, rows: Option<usize>) -> Result<Order> {
        let (s, d, synthesis) = (self.sampling(), self.destination, self.synthesis);
        let columns = |c: &crate::manifest::Columns| [c.identity.clone(), c.image.clone(), c.image_uri.clone()];
        let chosen = synthesis.chooser != Chooser::Nobody;
        Ok(Order {
            split: self.source.and_then(|s| s.split.clone()),
            identity_set: self.source.and_then(|s| s.identity_set.clone()),
            policy: self.source.and_then(|s| s.policy.clone()),
            columns: self.source.map(|s| columns(&s.columns)),
            models: rows.map(|_| self.models.iter().map(SetModel::ordered).collect()),
            alignment: self.config.alignment,
            seed: s.seed,
            latent: s.latent,
            truncation: s.truncation,
            per_id: synthesis.per_id,
            balance_to: synthesis.balance_to,
            new_identities: synthesis.new_identities,
            mix: synthesis.mix,
            mix_sum: synthesis.mix_sum,
            judge: chosen.then(|| OrderedJudge {
                hash: self.judge.as_ref().map(|j| j.hash().to_owned()),
                min_similarity: synthesis.min_similarity,
            }),
            tries: synthesis.tries,
            max_copy_similarity: synthesis.max_copy_similarity,
            task: self.part.as_ref().map(|(_, task)| task.clone()),
            rows,
            ..d.order(&self.manifest_hash, &self.config.hash()?, &self.device)
        })
    }

    /// Writes the dataset of what `maker` makes, or finds it complete.
    pub fn write(&self, maker: &mut dyn Maker, progress: &mut dyn Progress) -> Result<Written> {
        let (plans, classes) = self.plans()?;
        let (d, out) = (self.destination, &self.destination.out);
        let asked: usize = plans.iter().map(Plan::images).sum();
        let real = if d.include_real { self.models.iter().flat_map(|m| &m.images).sum() } else { 0 };
        if asked + real == 0 && self.part.is_none() {
            return Err(nothing_to_make());
        }
        let order = self.order(Some(asked + real))?;
        if !matches!(look(out, &order, d.repair)?, Stored::Complete(_)) {
            maker.check(self, progress)?;
        }
        let mut output = match Output::open(out, &order, d.repair)? {
            Opened::Complete(done) => return Ok(self.written(*done, true)),
            Opened::Ready(output) => output,
        };
        if let Some(note) = output.note() {
            progress.note(&note);
        }
        // Again, now that nobody else works here: models may know more identities than the manifest.
        self.refuse_forgotten(self.models.iter().flat_map(|m| &m.identities).map(String::as_str))?;
        let Chosen { images, new_identities, screenings } = maker.choose(self, plans, progress)?;
        let synthetic: usize = images.iter().sum();
        let numbers = classes.len();
        let done = Summary {
            new_identities,
            screenings,
            image_size: d.output_size.or(self.models.first().map(|m| m.image_size)),
            ..Summary::new(order, synthetic, real, numbers)
        };
        if synthetic + real == 0 && self.part.is_some() {
            return Ok(self.written(done, false));
        }
        if synthetic + real == 0 {
            return Err(Error::Usage(
                "no image is left; lower option `min_similarity`, raise option `max_copy_similarity`, or train the model longer"
                    .into(),
            ));
        }
        store::write_atomic(&out.join(CONFIG), crate::config::to_toml(&self.config)?.as_bytes())?;
        output.arrange(synthetic + real, d.shard_rows.get())?;
        let mut sink = Sink::new(output, d.format, classes);
        let config_hash = &done.order.config_hash;
        if let (true, Some(source)) = (d.include_real, self.source) {
            let known = self.models.iter().flat_map(|m| m.identities.iter().map(|i| (m.set.as_str(), i.as_str())));
            let real = RealImages {
                source,
                rejected: &self.rejected,
                total: real,
                labels: known.zip(0..).collect(),
                view: View::new(d.output_size.unwrap_or(self.config.image_size), self.config.alignment),
                sized: d.output_size.is_some(),
                extension: d.extension(),
                config_hash,
            };
            real.write(&mut sink, progress)?;
        }
        let mut first_row = real;
        for (set, images) in images.into_iter().enumerate() {
            maker.write(self, (set, first_row), config_hash, &mut sink, progress)?;
            first_row += images;
        }
        let (output, rest) = sink.finish()?;
        let done = output.complete(done, &[], rest)?;
        Ok(self.written(done, false))
    }

    fn written(&self, summary: Summary, before: bool) -> Written {
        let models = self.models.iter().map(|m| (m.set.clone(), m.path.clone())).collect();
        Written { out: self.destination.out.clone(), summary, before, models }
    }
}
