//! `augment push`: a finished folder to an object store.

use super::args::GlobalArgs;
use super::handoff::PushArgs;
use super::terminal::Terminal;
use super::{Outcome, environment};
use ::augment::error::Result;
use ::augment::jobs::Context;
use ::augment::jobs::push::{Request, run as run_job};
use serde_json::json;
use std::path::Path;

/// `augment push DIR URL`
pub fn run(args: &PushArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let context = environment::context_at_once(global)?;
    let request = Request { folder: args.dir.clone(), to: args.to.clone(), replace: args.replace };
    pushed(&request, &context, terminal)
}

/// What `outcome` tells of, the dataset in `folder`, once it has been pushed to `address`, if that names a place.
pub fn delivered(
    mut outcome: Outcome,
    folder: &Path,
    address: Option<&str>,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<Outcome> {
    let Some(to) = address else { return Ok(outcome) };
    let request = Request { folder: folder.to_owned(), to: to.to_owned(), replace: false };
    let done = pushed(&request, context, terminal)?;
    outcome.text += &done.text;
    outcome.json["pushed"] = done.json;
    Ok(outcome)
}

fn pushed(request: &Request, context: &Context, terminal: &mut Terminal) -> Result<Outcome> {
    let done = run_job(request, context, terminal)?;
    let removed = if done.removed > 0 { format!(", {} others removed", done.removed) } else { String::new() };
    let text = format!("{}: {} files sent, {} were there{removed}\n", request.to, done.sent, done.before);
    let json = json!({
        "version": 1, "to": request.to, "sent": done.sent, "before": done.before, "removed": done.removed, "bytes": done.bytes,
    });
    Ok(Outcome::new(text, json))
}
