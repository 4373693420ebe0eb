//! The main job, and what is said of every written dataset.

use super::args::{GlobalArgs, RunArgs};
use super::push::delivered;
use super::terminal::Terminal;
use super::{Outcome, environment};
use ::augment::config::to_toml;
use ::augment::error::Result;
use ::augment::jobs::augment::{Augmented, Request, preview, run as run_job};
use ::augment::jobs::length::in_words;
use ::augment::jobs::preview::{OutputPreview, Preview, SetPreview};
use ::augment::jobs::write::Written;
use ::augment::jobs::{Context, folder_name};
use serde_json::{Value, json};
use std::fmt::Write;

/// `augment --manifest ..`
pub fn run(args: &RunArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let context = environment::context(global)?;
    let request = request(args, &context);
    if global.dry_run {
        return would(&preview(&request, &context, terminal)?);
    }
    let made = run_job(&request, &context, terminal)?;
    delivered(done(&made), &made.written.out, args.output.address(), &context, terminal)
}

/// A dataset of the main job.
pub fn done(done: &Augmented) -> Outcome {
    written(&done.written).with_rejects(done.rejected.count, &done.rejected.list)
}

/// What the arguments ask for.
pub fn request(args: &RunArgs, context: &Context) -> Request {
    Request {
        input: args.input.request(),
        settings: args.config.request(),
        model: args.model.clone(),
        init: args.init.clone(),
        synthesis: args.synthesis.request(),
        destination: args.output.request(folder_name(args.input.spec(), "augmented"), &context.cache),
    }
}

/// A written dataset.
pub fn written(done: &Written) -> Outcome {
    let (s, mut text) = (&done.summary, String::new());
    let state = if done.before { "already complete" } else { "wrote" };
    let _ = writeln!(text, "{state}: {} images of {} classes in {}", s.rows, s.classes, done.out.display());
    let _ = writeln!(text, "  synthetic {}  real {}  new identities {}", s.synthetic, s.real, s.new_identities);
    for screening in &s.screenings {
        let _ = writeln!(
            text,
            "  looked at {} candidates, rejected {} and {} copies; {} identities had too few, {} rejected ones filled up",
            screening.candidates,
            screening.rejected,
            screening.copies,
            screening.short.len(),
            screening.filled
        );
    }
    for (set, path) in &done.models {
        let _ = writeln!(text, "  model of `{}`: {}", super::printable(set), path.display());
    }
    let mut json = json!(s);
    json["out"] = json!(done.out.display().to_string());
    json["already_done"] = json!(done.before);
    Outcome::new(text, json)
}

/// What would be done, without doing it.
pub fn would(preview: &Preview) -> Result<Outcome> {
    let mut text = format!("manifest {} ({} rows)\n", preview.manifest, preview.rows);
    if let Some(split) = &preview.split {
        let _ = writeln!(text, "split {split}");
    }
    for s in &preview.sets {
        let _ = writeln!(text, "set {}: {} images of {} identities", super::printable(&s.set), s.images, s.identities);
    }
    let (rejected, first) = &preview.rejected;
    if let Some(first) = first {
        let _ = writeln!(text, "unusable: {rejected} rows; first: {}", super::printable(first));
    }
    if let Some(output) = &preview.output {
        text += &would_write(output);
    }
    if let Some(seconds) = preview.training_seconds {
        let _ = writeln!(
            text,
            "to train: about {}, by the time of a few steps; nothing if the model is in the cache",
            in_words(seconds)
        );
    }
    let set = |s: &SetPreview| json!({ "identity_set": s.set, "images": s.images, "identities": s.identities });
    let sets: Vec<Value> = preview.sets.iter().map(set).collect();
    text.push('\n');
    text += &to_toml(&preview.config)?;
    Ok(Outcome::new(
        text,
        json!({
            "version": 1, "dry_run": true, "sets": sets, "rejected": rejected, "training_seconds": preview.training_seconds,
            "output": preview.output.as_ref().map(output_json), "config": preview.config,
        }),
    ))
}

/// What would be written, a line.
pub fn would_write(output: &OutputPreview) -> String {
    format!(
        "to synthesize: {} per identity, {} new identities a set: {}\n",
        output.per_id,
        output.new_identities,
        room(output)
    )
}

/// How many images, and the room that they take.
pub fn room(output: &OutputPreview) -> String {
    let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
    let free = output.free.map_or(String::new(), |free| format!(" of {} MB free", megabytes(free)));
    format!("{} images, about {} MB{free}", output.images, megabytes(output.bytes))
}

/// The same as an object.
pub fn output_json(output: &OutputPreview) -> Value {
    json!({ "images": output.images, "bytes": output.bytes, "free_bytes": output.free })
}
