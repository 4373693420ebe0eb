//! The main job, and what is said of every written dataset.

use super::args::{GlobalArgs, RunArgs};
use super::terminal::Terminal;
use super::{Outcome, environment};
use ::augment::config::to_toml;
use ::augment::error::Result;
use ::augment::jobs::augment::{Request, preview, run as run_job};
use ::augment::jobs::folder_name;
use ::augment::jobs::preview::Preview;
use ::augment::jobs::write::Written;
use serde_json::{Value, json};
use std::fmt::Write;

/// `augment --manifest ..`
pub fn run(args: &RunArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let context = environment::context(global)?;
    let request = Request {
        input: args.input.request(),
        settings: args.config.request(),
        model: args.model.clone(),
        synthesis: args.synthesis.request(),
        destination: args.output.request(folder_name(args.input.spec(), "augmented")),
    };
    if global.dry_run {
        return would(&preview(&request, &context, terminal)?);
    }
    let done = run_job(&request, &context, terminal)?;
    Ok(written(&done.written).with_rejects(done.rejected.count, &done.rejected.list))
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
            "  judged {} candidates, rejected {}, left out {} copies; {} identities were not satisfied by the judge",
            screening.candidates,
            screening.rejected,
            screening.copies,
            screening.short.len()
        );
    }
    for (set, path) in &done.models {
        let _ = writeln!(text, "  model of `{}`: {}", super::printable(set), path.display());
    }
    let mut json = json!(s);
    json["out"] = json!(done.out);
    json["already_done"] = json!(done.before);
    Outcome::new(text, json)
}

/// What would be done, without doing it.
pub fn would(preview: &Preview) -> Result<Outcome> {
    let mut text = String::new();
    if let Some((manifest, rows)) = &preview.manifest {
        let _ = writeln!(text, "manifest {manifest} ({rows} rows)");
    }
    if let Some(split) = &preview.split {
        let _ = writeln!(text, "split {split}");
    }
    for s in &preview.sets {
        let _ = writeln!(text, "set {}: {} images of {} identities", super::printable(&s.set), s.images, s.identities);
    }
    if let Some((n, new)) = preview.synthesis {
        let _ = writeln!(text, "to synthesize: {n} per identity, {new} new identities a set");
    }
    let set = |s: &augment::jobs::preview::SetPreview| json!({ "identity_set": s.set, "images": s.images, "identities": s.identities });
    let sets: Vec<Value> = preview.sets.iter().map(set).collect();
    text.push('\n');
    text += &to_toml(&preview.config)?;
    Ok(Outcome::new(text, json!({ "version": 1, "dry_run": true, "sets": sets, "config": preview.config })))
}
