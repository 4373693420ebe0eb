//! `augment train`

use super::args::{GlobalArgs, TrainArgs};
use super::augment::would;
use super::terminal::Terminal;
use super::{Outcome, environment};
use ::augment::error::Result;
use ::augment::jobs::train::{Request, preview, run as run_job};
use serde_json::{Value, json};
use std::fmt::Write;

/// Trains every identity set that the arguments select.
pub fn run(args: &TrainArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let context = environment::context(global)?;
    let request = Request {
        input: args.input.request(),
        settings: args.config.request(),
        init: args.init.clone(),
        out: args.out.clone(),
        judge: !args.no_judge,
    };
    if global.dry_run {
        return would(&preview(&request, &context, terminal)?);
    }
    let done = run_job(&request, &context, terminal)?;
    let mut text = String::new();
    for m in &done.models {
        let _ = writeln!(text, "model of `{}` in {}", super::printable(&m.identity_set), m.folder.display());
    }
    let models: Vec<Value> = done
        .models
        .iter()
        .map(|m| {
            json!({
                "identity_set": m.identity_set, "folder": m.folder.display().to_string(), "model_hash": m.model_hash, "identities": m.identities,
                "images": m.images, "steps": m.steps,
            })
        })
        .collect();
    let outcome = Outcome::new(text, json!({ "version": 1, "models": models }));
    Ok(outcome.with_rejects(done.rejected.count, &done.rejected.list))
}
