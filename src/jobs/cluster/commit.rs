//! What all shards made becomes the dataset that the main job would write.

use super::{Done, Job, REJECTS, SetRows, Work, dataset, done, open, rejects, set_rows};
use crate::error::{Error, Result};
use crate::jobs::augment::Augmented;
use crate::jobs::export::each_sample;
use crate::jobs::input::Source;
use crate::jobs::makers::{Chosen, Maker};
use crate::jobs::set_model::SetModel;
use crate::jobs::verify::whole;
use crate::jobs::write::Assembly;
use crate::jobs::{Context, Rejected};
use crate::progress::Progress;
use crate::sink::Sink;
use crate::sink::ledger::Screening;
use crate::synthesize::plan::Plan;
use std::path::{Path, PathBuf};

/// Joins the shards of the job in `dir`; with `repair`, makes again what was changed or lost of the dataset since it was written.
///
/// # Errors
/// `NotYet`: some shards are not done. `Damaged`: one of them has changed since.
pub fn run(dir: &Path, repair: bool, context: &Context, progress: &mut dyn Progress) -> Result<Augmented> {
    let (mut job, dir, mirror) = open(dir, context)?;
    let dir = &dir;
    job.check_kernels(context)?;
    job.destination.repair |= repair;
    let mut records = Vec::with_capacity(job.shards.len());
    let mut missing = Vec::new();
    progress.start("gather", job.shards.len() as u64, "shards");
    for number in 0..job.shards.len() {
        mirror.as_ref().map_or(Ok(true), |m| m.bring_shard(number, context))?;
        progress.at(number as u64 + 1);
        match done(dir, number)? {
            Some(done) => records.push(done),
            None => missing.push(number),
        }
    }
    progress.finish();
    if let Some(first) = missing.first() {
        return Err(Error::NotYet(format!(
            "{} of {} shards are not done, the first is {first}: do them first",
            missing.len(),
            job.shards.len()
        )));
    }
    if let Some(mirror) = mirror {
        mirror.bring_plan(REJECTS, context)?;
        (0..job.sets).try_for_each(|n| mirror.bring_set(n, context))?;
    }
    let sets = (0..job.sets).map(|n| set_rows(dir, n)).collect::<Result<Vec<_>>>()?;
    let source = if job.destination.include_real {
        // Real images are read again, so all of them must be what they were.
        let source = Source::open_begun(&job.input, context, job.policy.clone())?;
        if source.manifest.hash() != job.manifest_hash {
            return Err(Error::Manifest(format!(
                "{}: changed since the job was planned; plan another job",
                source.spec
            )));
        }
        source
    } else {
        job.source(&sets, context)?
    };
    let mut shards = Shards::new(dir, &job, records);
    let models = sets.iter().enumerate().map(|(n, rows)| shards.model(n, rows)).collect::<Result<Vec<_>>>()?;
    let assembly = Assembly {
        models,
        config: job.config.clone(),
        manifest_hash: job.manifest_hash.clone(),
        source: Some(&source),
        rejected: rejects(dir)?,
        synthesis: &job.synthesis,
        destination: &job.destination,
        device: context.device.clone(),
        judge: job.synthesis.load_judge(&context.device)?,
        part: None,
    };
    let written = assembly.write(&mut shards, progress)?;
    Ok(Augmented { written, rejected: Rejected { count: job.rejected, list: job.rejects.clone() } })
}

/// What the shards of an identity set have made.
#[derive(Clone, Default)]
struct OfSet {
    /// The record of the first, which has its model.
    first: Option<Done>,
    /// Numbers and records of those that have images, in order.
    parts: Vec<(usize, Done)>,
}

impl OfSet {
    fn records(&self) -> impl Iterator<Item = &Done> {
        self.parts.iter().map(|(_, done)| done)
    }

    /// What was rejected, all together.
    fn screening(&self) -> Option<Screening> {
        let mut all = self.records().flat_map(|done| done.screenings.iter().cloned());
        let first = all.next()?;
        Some(all.fold(first, |mut sum, next| {
            sum.candidates += next.candidates;
            sum.rejected += next.rejected;
            sum.copies += next.copies;
            sum.filled += next.filled;
            sum.short.extend(next.short);
            sum
        }))
    }
}

/// The images are there already, in the datasets of shards.
struct Shards {
    sets: Vec<OfSet>,
    /// Of each set, the first labels of its existing identities and of its new ones, and how many the former are.
    labels: Vec<(i64, i64, i64)>,
    dir: PathBuf,
}

impl Shards {
    fn new(dir: &Path, job: &Job, records: Vec<Done>) -> Self {
        let mut sets = vec![OfSet::default(); job.sets];
        for (shard, done) in job.shards.iter().zip(records) {
            let of_set = &mut sets[shard.set];
            of_set.first.get_or_insert_with(|| done.clone());
            if shard.kind != Work::Train {
                of_set.parts.push((shard.shard, done));
            }
        }
        Self { sets, labels: Vec::new(), dir: dir.to_owned() }
    }

    /// The model of set number `set`, which nobody needs any more.
    fn model(&self, set: usize, rows: &SetRows) -> Result<SetModel> {
        let OfSet { first, parts } = &self.sets[set];
        let Some(first) = first else {
            return Err(Error::Internal(format!("identity set `{}` has no shard", rows.set)));
        };
        if let Some((number, _)) = parts.iter().find(|(_, done)| done.model != first.model) {
            return Err(Error::Usage(format!(
                "shard {number} was made by another model than the rest of identity set `{}`: delete its folder, and do it again",
                rows.set
            )));
        }
        Ok(SetModel::recorded(&first.model, &rows.identities, first.image_size))
    }
}

impl Maker for Shards {
    fn check(&self, _: &Assembly, progress: &mut dyn Progress) -> Result<()> {
        // Nothing counts that has changed since it was written.
        let parts: Vec<usize> =
            self.sets.iter().flat_map(|set| &set.parts).filter(|(_, d)| d.rows > 0).map(|(n, _)| *n).collect();
        progress.start("check", parts.len() as u64, "shards");
        for (at, number) in parts.into_iter().enumerate() {
            progress.go_on()?;
            whole(&dataset(&self.dir, number))?;
            progress.at(at as u64 + 1);
        }
        progress.finish();
        Ok(())
    }

    fn choose(&mut self, assembly: &Assembly, _: Vec<Plan>, _: &mut dyn Progress) -> Result<Chosen> {
        let mut next = 0;
        let new = assembly.synthesis.new_identities as i64;
        let all: i64 = assembly.models.iter().map(|m| m.identities.len() as i64).sum();
        for (number, m) in (0..).zip(&assembly.models) {
            let existing = m.identities.len() as i64;
            self.labels.push((next, all + number * new, existing));
            next += existing;
        }
        Ok(Chosen {
            images: self.sets.iter().map(|set| set.records().map(|done| done.rows).sum()).collect(),
            new_identities: self.sets.iter().flat_map(OfSet::records).map(|done| done.new_identities).sum(),
            screenings: self.sets.iter().filter_map(OfSet::screening).collect(),
        })
    }

    fn write(
        &self,
        _: &Assembly,
        (set, first_row): (usize, usize),
        _: &str,
        sink: &mut Sink,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let (parts, (first, first_new, existing)) = (&self.sets[set].parts, self.labels[set]);
        let rows: usize = parts.iter().map(|(_, done)| done.rows).sum();
        let (missing, mut at) = (sink.missing(), 0);
        progress.start("join", rows as u64, "images");
        for (number, _) in parts.iter().filter(|(_, done)| done.rows > 0) {
            each_sample(&dataset(&self.dir, *number), &mut at, progress, |at, mut sample| {
                if missing.contains(first_row + at) {
                    let own = sample.label;
                    sample.label = if own < existing { first + own } else { first_new + own - existing };
                    sink.write(sample)?;
                }
                Ok(())
            })?;
        }
        progress.finish();
        Ok(())
    }
}
