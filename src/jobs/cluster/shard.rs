//! One shard: its images are read, its model is found or trained, its part of the dataset is written, and a record says so.

use super::{DONE, Done, FAILED, Job, SetRows, Work, dataset, done, folder, open, set_rows};
use crate::config::RunConfig;
use crate::dataset::{IdentityDataset, View};
use crate::error::{Error, Result};
use crate::formats::parquet::Parquet;
use crate::jobs::augment::Trainer;
use crate::jobs::input::Source;
use crate::jobs::makers::Models;
use crate::jobs::set_model::SetModel;
use crate::jobs::wanted::{Chooser, Destination};
use crate::jobs::write::Assembly;
use crate::jobs::{Context, models, verify};
use crate::progress::Progress;
use crate::store;
use serde_json::json;
use std::path::{Path, PathBuf};

/// What to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// Folder of the job.
    pub job: PathBuf,
    /// Number of the shard.
    pub shard: usize,
    /// Make again what was changed or lost since it was written.
    pub repair: bool,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Made {
    /// Images of its part of the dataset.
    pub rows: usize,
    /// All was there already.
    pub before: bool,
}

/// Does one shard.
///
/// # Errors
/// `NotYet`: another shard must be done first. `Busy`: somebody else does it. The manifest is not what it was when the job was planned; and
/// those of training and synthesis.
pub fn run(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Made> {
    let (job, dir, mirror) = open(&request.job, context)?;
    let (dir, number) = (&dir, request.shard);
    let Some(shard) = job.shards.get(number) else {
        return Err(Error::Usage(format!(
            "option `shard` {number}: the job has {}, from 0 to {}",
            job.shards.len(),
            job.shards.len().saturating_sub(1)
        )));
    };
    // Whether a record that is here counts.
    let mut counts = true;
    if let Some(mirror) = &mirror {
        counts = mirror.bring_shard(number, context)?;
        mirror.bring_set(shard.set, context)?;
        if let Some(after) = shard.after
            && mirror.bring_shard(after, context)?
        {
            mirror.bring_model(shard, context)?;
        }
    }
    let before = |done: Done| Made { rows: done.rows, before: true };
    if let Some(done) = done(dir, number)?.filter(|_| counts && !request.repair) {
        return Ok(before(done));
    }
    job.check_kernels(context)?;
    if let Some(after) = shard.after
        && done(dir, after)?.is_none()
    {
        return Err(Error::NotYet(format!("shard {number} comes after shard {after}, which is not done")));
    }
    let place = folder(dir, number);
    store::create_dir(&place)?;
    let _lock = store::lock(&place)?;
    if let Some(done) = done(dir, number)? {
        if counts && (!request.repair || done.rows == 0 || verify::whole(&dataset(dir, number)).is_ok()) {
            return Ok(before(done));
        }
        store::remove(&place.join(DONE))?;
    }
    let failed = place.join(FAILED);
    match make(dir, &job, number, request.repair, context, progress) {
        Ok((done, model)) => {
            if failed.exists() {
                store::remove(&failed)?;
            }
            store::write_sealed(&place.join(DONE), &json!(done))?;
            mirror.map_or(Ok(()), |m| m.send_shard(shard, &model, context, progress))?;
            Ok(Made { rows: done.rows, before: false })
        }
        Err(e) => {
            // What a scheduler tries again is no failure.
            if !e.is_retryable() && !matches!(e, Error::Stopped | Error::Interrupted { .. }) {
                let _ = store::write_sealed(&failed, &json!({ "error": e.to_string(), "code": e.exit_code() }));
            }
            Err(e)
        }
    }
}

fn make(
    dir: &Path,
    job: &Job,
    number: usize,
    repair: bool,
    context: &Context,
    progress: &mut dyn Progress,
) -> Result<(Done, PathBuf)> {
    let (shard, config) = (&job.shards[number], &job.config);
    let (rows, source, images) = read(dir, job, number, context, progress)?;
    let here = Context { cache: dir.join("cache"), ..context.clone() };
    let mut trainer = trainer(job, context)?;
    let mut m = trainer.obtain(0, &rows.set, &images, config, &here, progress)?;
    check_identities(&m, &rows)?;
    let (model, image_size, path) = (m.ordered(), m.image_size, m.path.clone());
    if shard.kind == Work::Train {
        return Ok((Done { model, image_size, rows: 0, new_identities: 0, screenings: Vec::new() }, path));
    }
    m.training = Some(images);
    let destination = Destination {
        out: dataset(dir, number),
        format: &Parquet,
        include_real: false,
        repair: repair || job.destination.repair,
        ..job.destination.clone()
    };
    let (from, to) = shard.targets;
    let assembly = Assembly {
        models: vec![m],
        config: config.clone(),
        manifest_hash: job.manifest_hash.clone(),
        source: Some(&source),
        rejected: Vec::new(),
        synthesis: &job.synthesis,
        destination: &destination,
        device: context.device.clone(),
        judge: job.synthesis.load_judge(&context.device)?,
        part: Some((from..to, json!({ "name": "shard", "shard": number, "targets": shard.targets }))),
    };
    let summary = assembly.write(&mut Models::default(), progress)?.summary;
    let (rows, new_identities, screenings) = (summary.rows, summary.new_identities, summary.screenings);
    Ok((Done { model, image_size, rows, new_identities, screenings }, path))
}

/// The images of the identity set of shard `number` of the job in `dir`, in one pass over the row groups that hold them.
///
/// # Errors
/// They are not those that the job was planned with.
pub fn images(dir: &Path, number: usize, context: &Context, progress: &mut dyn Progress) -> Result<IdentityDataset> {
    read(dir, &Job::open(dir)?, number, context, progress).map(|(_, _, images)| images)
}

fn read(
    dir: &Path,
    job: &Job,
    number: usize,
    context: &Context,
    progress: &mut dyn Progress,
) -> Result<(SetRows, Source, IdentityDataset)> {
    let rows = set_rows(dir, job.shards[number].set)?;
    let source = job.source(std::slice::from_ref(&rows), context)?;
    let view = View::new(job.config.image_size, job.config.alignment);
    let images = source.load_set(&rows.set, view, progress)?;
    if images.hash() == rows.hash {
        return Ok((rows, source, images));
    }
    Err(Error::Manifest(format!(
        "{}: the images of identity set `{}` are not those that the job was planned with; plan another job",
        source.spec, rows.set
    )))
}

/// Where the model comes from, as when the job was planned.
fn trainer(job: &Job, context: &Context) -> Result<Trainer> {
    let mut config: RunConfig = job.config.clone();
    let base = models::base(job.init.as_deref(), &mut config, context)?;
    if config.train.init != job.config.train.init {
        return Err(Error::Model(format!(
            "{}: is not what it was when the job was planned; plan another job",
            job.init.as_deref().unwrap_or_default()
        )));
    }
    Ok(Trainer {
        given: job.model.as_ref().map(|spec| models::load(spec, context)).transpose()?,
        base,
        judged: job.synthesis.chooser == Chooser::Own,
        policy: job.policy.is_some(),
    })
}

/// Refuses a model that knows other identities than those that the shards were cut by.
fn check_identities(m: &SetModel, rows: &SetRows) -> Result<()> {
    if m.identities.iter().eq(rows.identities.iter().map(|(i, _)| i)) {
        return Ok(());
    }
    let message = "knows other identities than when the job was planned; plan another job";
    Err(Error::Model(format!("{}: {message}", m.path.display())))
}
