//! `augment push`: a finished folder to an object store.

use super::args::GlobalArgs;
use super::handoff::PushArgs;
use super::terminal::Terminal;
use super::{Outcome, environment};
use ::augment::error::Result;
use ::augment::jobs::push::{Request, run as run_job};
use serde_json::json;

/// `augment push DIR URL`
pub fn run(args: &PushArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let context = environment::context_at_once(global)?;
    let request = Request { folder: args.dir.clone(), to: args.to.clone(), replace: args.replace };
    let done = run_job(&request, &context, terminal)?;
    let removed = if done.removed > 0 { format!(", {} others removed", done.removed) } else { String::new() };
    let text = format!("{}: {} files sent, {} were there{removed}\n", args.to, done.sent, done.before);
    let json = json!({
        "version": 1, "to": args.to, "sent": done.sent, "before": done.before, "removed": done.removed, "bytes": done.bytes,
    });
    Ok(Outcome::new(text, json))
}
