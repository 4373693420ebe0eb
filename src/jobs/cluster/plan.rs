//! Planning: everything is looked at once, and cut into shards.

use super::mirror::Mirror;
use super::{JOB_FILE, JOB_VERSION, Job, SetRows, Shard, Work, algorithm, set_file, write_rejects};
use crate::dataset::View;
use crate::error::{Error, Result};
use crate::jobs::augment::{self, Prepared, Request};
use crate::jobs::wanted::{Chooser, Synthesis};
use crate::jobs::{Context, length, place};
use crate::manifest::rejects::Reject;
use crate::ops;
use crate::progress::Progress;
use crate::train::TrainedModel;
use crate::{remote, store};
use serde_json::json;
use std::path::Path;

/// Images of a shard, at most, where nothing else is asked for: more are cut into several, after one that trains.
pub const SHARD_IMAGES: u64 = 100_000;

/// Plans `request` in the folder `dir`, in shards of `shard_images` images at most. With `keep` false nothing is written.
///
/// # Errors
/// What the main job would refuse before its first training; `dir` holds another job.
pub fn run(
    request: &Request,
    (dir, shard_images): (&Path, u64),
    keep: bool,
    context: &Context,
    progress: &mut dyn Progress,
) -> Result<Job> {
    let request = &absolute(&request.placed()?)?;
    let (mirror, name) = (Mirror::of(dir, context)?, dir);
    let dir = &place::usable_as("job", mirror.as_ref().map_or(dir, |m| &m.dir))?;
    place::refuse_foreign(dir, ("job", "job"), |path| path.ends_with(JOB_FILE) || path.ends_with("sets"))?;
    let source = augment::open(request, context)?;
    let Prepared { assembly, trainer, .. } = augment::prepare(request, &source, keep, context, progress)?;
    let config = assembly.config.clone();
    let list = place::rejects_path(&request.destination.out)?;
    let view = View::new(config.image_size, config.alignment);
    let (rejected, contents) = source.survey(view, keep.then_some(list.as_path()), progress)?;
    let sets: Vec<SetRows> = source
        .sets()
        .into_iter()
        .zip(contents)
        .map(|(set, contents)| {
            let (hash, known) = contents.finish();
            SetRows {
                identities: trainer.given.as_ref().map_or(known.clone(), |(_, model)| of_model(model, &known)),
                rows: source.persons(&set).into_iter().map(|(i, n)| (i.to_owned(), n)).collect(),
                places: source.census.places(std::slice::from_ref(&set), false),
                hash,
                set,
            }
        })
        .collect();
    let classes = sets.iter().map(|s| s.identities.len()).max().unwrap_or(1);
    let costs = Costs {
        training: match &trainer.given {
            Some(_) => None,
            None => length::seconds(&config, classes, &context.device, progress)?,
        },
        image: length::seconds_an_image(&config, classes, &context.device, progress)?,
    };
    let mut shards = Vec::new();
    for (number, rows) in sets.iter().enumerate() {
        cut((number, rows), &request.synthesis, trainer.given.is_some(), shard_images, costs, &mut shards);
    }
    let job = Job {
        version: JOB_VERSION,
        program: env!("CARGO_PKG_VERSION").into(),
        algorithm: algorithm(),
        kernels: ops::kernels(&context.device).into(),
        input: request.input.clone(),
        model: request.model.clone(),
        init: request.init.clone(),
        synthesis: request.synthesis.clone(),
        destination: request.destination.clone(),
        split: source.split.clone(),
        policy: source.policy.clone(),
        manifest_hash: source.manifest.hash().to_owned(),
        config,
        sets: sets.len(),
        rejected: rejected.len(),
        rejects: list,
        shards,
    };
    if keep {
        let planned = mirror.as_ref().map_or(Ok(false), |m| m.is_planned(context))?;
        write((dir, name), &job, &sets, &rejected)?;
        if let Some(mirror) = mirror.filter(|_| !planned) {
            mirror.send_plan(job.sets, context, progress)?;
        }
    }
    Ok(job)
}

/// The identities of a model that is given, and what is `known` of their images.
fn of_model(model: &TrainedModel, known: &[(String, usize)]) -> Vec<(String, usize)> {
    let images = |i: &String| known.iter().find(|(name, _)| name == i).map_or(0, |(_, n)| *n);
    model.header.identities.iter().map(|i| (i.clone(), images(i))).collect()
}

/// Seconds that something takes here, where there is a clock.
#[derive(Clone, Copy)]
struct Costs {
    /// A training.
    training: Option<f64>,
    /// An image.
    image: Option<f64>,
}

/// Adds the shards of a set.
fn cut(
    (number, rows): (usize, &SetRows),
    synthesis: &Synthesis,
    given: bool,
    most: u64,
    costs: Costs,
    shards: &mut Vec<Shard>,
) {
    let images = |real: usize| match synthesis.balance_to {
        Some(n) => n.saturating_sub(real) as u64,
        None => synthesis.per_id as u64,
    };
    let new = synthesis.balance_to.unwrap_or(synthesis.per_id) as u64;
    let existing = rows.identities.iter().map(|(_, real)| images(*real));
    let targets: Vec<u64> = existing.chain(std::iter::repeat_n(new, synthesis.new_identities)).collect();
    let all: u64 = targets.iter().sum();
    let mut add = |kind: Work, targets: (usize, usize), images: u64, after: Option<usize>| {
        let (shard, identity_set) = (shards.len(), rows.set.clone());
        let training = costs.training.filter(|_| kind != Work::Part);
        let seconds = costs.image.map(|each| training.unwrap_or(0.0) + each * images as f64);
        shards.push(Shard { shard, kind, identity_set, set: number, targets, images, after, seconds });
        shard
    };
    if all <= most && !given {
        add(Work::Set, (0, targets.len()), all, None);
        return;
    }
    let trained = (!given).then(|| add(Work::Train, (0, 0), 0, None));
    let (mut from, mut images) = (0, 0);
    for (at, n) in targets.iter().enumerate() {
        if images > 0 && images + n > most {
            add(Work::Part, (from, at), images, trained);
            (from, images) = (at, 0);
        }
        images += n;
    }
    add(Work::Part, (from, targets.len()), images, trained);
}

/// Writes the job, which its user calls `name`; the same one may be there.
fn write((dir, name): (&Path, &Path), job: &Job, sets: &[SetRows], rejected: &[Reject]) -> Result<()> {
    store::create_dir(&dir.join("sets"))?;
    let _lock = store::lock(dir)?;
    let path = dir.join(JOB_FILE);
    if let Some(mut there) = store::read_sealed(&path)? {
        // What a clock said makes no other job.
        let mut now = json!(job);
        for value in [&mut there, &mut now] {
            value.as_object_mut().map(|o| o.remove("blake3"));
            let shards = value["shards"].as_array_mut().into_iter().flatten();
            shards.for_each(|shard| shard["seconds"] = json!(null));
        }
        if there != now {
            return Err(Error::Usage(format!(
                "{} holds another job; choose another folder with option `job`, or delete it",
                name.display()
            )));
        }
        return Ok(());
    }
    write_rejects(dir, rejected)?;
    for (number, rows) in sets.iter().enumerate() {
        store::write_sealed(&set_file(dir, number), &json!(rows))?;
    }
    store::write_sealed(&path, &json!(job))
}

/// `request` with paths that mean the same from whatever folder a shard is done in.
fn absolute(request: &Request) -> Result<Request> {
    let full = |path: &Path| std::path::absolute(path).map_err(|e| Error::io(path, e));
    let local = |spec: &String| -> Result<String> {
        if remote::takes(spec) {
            Ok(spec.clone())
        } else {
            full(Path::new(spec)).map(|path| path.to_string_lossy().into_owned())
        }
    };
    let mut r = request.clone();
    r.input.manifest = local(&r.input.manifest)?;
    r.model = r.model.as_ref().map(local).transpose()?;
    r.init = r.init.as_ref().map(local).transpose()?;
    r.destination.out = full(&r.destination.out)?;
    if let Chooser::Judge(path) = &r.synthesis.chooser {
        r.synthesis.chooser = Chooser::Judge(full(path)?);
    }
    Ok(r)
}
