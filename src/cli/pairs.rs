//! `augment pairs`: a verification set.

use super::args::GlobalArgs;
use super::handoff::PairsArgs;
use super::terminal::Terminal;
use super::{Outcome, environment};
use ::augment::error::Result;
use ::augment::jobs::pairs::{Request, run as run_job};
use serde_json::json;

/// `augment pairs`
pub fn run(args: &PairsArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let context = environment::context_at_once(global)?;
    let request = Request {
        input: args.input.request(),
        test: args.test.request(),
        count: args.count,
        size: args.size,
        alignment: args.alignment,
        out: args.out.clone(),
    };
    let done = run_job(&request, &context, terminal)?;
    let text = format!("wrote {}: {} pairs, {} of one person\n", done.out.display(), done.pairs, done.same);
    let json = json!({ "version": 1, "out": done.out.display().to_string(), "pairs": done.pairs, "same": done.same });
    Ok(Outcome::new(text, json))
}
