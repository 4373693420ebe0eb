//! `augment plan`, `augment run` and `augment commit`: the main job on many machines.

use super::args::{GlobalArgs, RunArgs};
use super::terminal::Terminal;
use super::{Outcome, augment, environment};
use ::augment::error::{Error, Result};
use ::augment::jobs::cluster::plan::SHARD_IMAGES;
use ::augment::jobs::cluster::shard::Request;
use ::augment::jobs::cluster::status::State;
use ::augment::jobs::cluster::{Shard, commit, plan, shard, status};
use ::augment::jobs::length::in_words;
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// `augment plan`
#[derive(Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub run: RunArgs,
    /// Folder of the job, which all machines share, or its address in an object store (`s3://bucket/path`, `gs://`, `az://`).
    #[arg(long, value_name = "JOB", help_heading = "Output")]
    pub job: PathBuf,
    /// Images of a shard, at most: a set of more is cut into several shards, after one that trains its model.
    #[arg(long, value_name = "N", default_value_t = SHARD_IMAGES, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Output")]
    pub shard_images: u64,
}

/// `augment run`
#[derive(Args)]
pub struct ShardArgs {
    /// Folder of the job, or its address in an object store. Models lie in it, not in the cache.
    #[arg(value_name = "JOB")]
    pub job: PathBuf,
    /// Number of the shard, from 0.
    #[arg(long, value_name = "K")]
    pub shard: usize,
    /// Make again what was changed or lost since it was written, instead of refusing to go on.
    #[arg(long)]
    pub repair: bool,
}

/// `augment commit`
#[derive(Args)]
pub struct CommitArgs {
    /// Folder of the job, or its address in an object store.
    #[arg(value_name = "JOB")]
    pub job: PathBuf,
    /// Make again what was changed or lost of the dataset since it was written, instead of refusing to go on.
    #[arg(long)]
    pub repair: bool,
}

/// `augment plan --manifest .. --job JOB`
pub fn plan(args: &PlanArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let context = environment::context(global)?;
    if args.run.output.address().is_some() {
        return Err(Error::Usage(
            "option `out` of a plan is a folder: push the dataset with `augment push` after the commit".into(),
        ));
    }
    let request = augment::request(&args.run, &context);
    let job = plan::run(&request, (&args.job, args.shard_images), !global.dry_run, &context, terminal)?;
    let images: u64 = job.shards.iter().map(|s| s.images).sum();
    let seconds: f64 = job.shards.iter().filter_map(|s| s.seconds).sum();
    let mut text = format!("{} shards in {}: {images} images", job.shards.len(), args.job.display());
    if seconds > 0.0 {
        let _ = write!(text, ", about {} of this machine, judges left out", in_words(seconds));
    }
    let _ = writeln!(
        text,
        "\n  augment run {0} --shard K, K from 0 to {1}; then augment commit {0}",
        args.job.display(),
        job.shards.len().saturating_sub(1)
    );
    let json = json!({
        "version": 1, "job": args.job.display().to_string(), "out": job.destination.out.display().to_string(), "images": images,
        "dry_run": global.dry_run, "shards": job.shards,
    });
    Ok(Outcome::new(text, json).with_rejects(job.rejected, &job.rejects))
}

/// `augment run JOB --shard K`
pub fn run(args: &ShardArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let context = environment::context_at_once(global)?;
    let request = Request { job: args.job.clone(), shard: args.shard, repair: args.repair };
    let made = shard::run(&request, &context, terminal)?;
    let state = if made.before { "already done" } else { "done" };
    let text = format!("shard {}: {state}, {} images\n", args.shard, made.rows);
    let json = json!({ "version": 1, "shard": args.shard, "rows": made.rows, "already_done": made.before });
    Ok(Outcome::new(text, json))
}

/// `augment commit JOB`
pub fn commit(args: &CommitArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let context = environment::context_at_once(global)?;
    let done = commit::run(&args.job, args.repair, &context, terminal)?;
    Ok(augment::done(&done))
}

/// `augment status JOB`
pub fn status(dir: &Path, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let states = status::run(dir, &environment::context(global)?)?;
    let count = |is: fn(&State) -> bool| states.iter().filter(|(_, state)| is(state)).count();
    let done = count(|s| matches!(s, State::Done { .. }));
    let running = count(|s| *s == State::Running);
    let failed = count(|s| matches!(s, State::Failed { .. }));
    let waiting = states.len() - done - running - failed;
    if let Some(metrics) = &mut terminal.metrics {
        for (state, n) in [("done", done), ("running", running), ("waiting", waiting), ("failed", failed)] {
            metrics.set("augment_shards", &[("state", state)], n as f64);
        }
    }
    let seconds = |(shard, state): &(Shard, State)| {
        if matches!(state, State::Done { .. }) { 0.0 } else { shard.seconds.unwrap_or(0.0) }
    };
    let left: f64 = states.iter().map(seconds).sum();
    let mut text = format!(
        "{}: {done} of {} shards done, {running} running, {waiting} waiting, {failed} failed\n",
        dir.display(),
        states.len()
    );
    if left > 0.0 {
        let _ = writeln!(text, "  left: about {} of the machine that planned it, judges left out", in_words(left));
    }
    for (shard, state) in &states {
        if let State::Failed { error } = state {
            let _ = writeln!(
                text,
                "  shard {} (`{}`): {}",
                shard.shard,
                super::printable(&shard.identity_set),
                super::printable(error)
            );
        }
    }
    let object = |(shard, state): &(Shard, State)| -> Value {
        let mut object = json!(shard);
        for (key, value) in json!(state).as_object().into_iter().flatten() {
            object[key] = value.clone();
        }
        object
    };
    let list: Vec<Value> = states.iter().map(object).collect();
    let json = json!({
        "version": 1, "kind": "job", "shards": states.len(), "done": done, "running": running, "waiting": waiting, "failed": failed,
        "seconds_left": left, "states": list,
    });
    Ok(Outcome::new(text, json))
}
