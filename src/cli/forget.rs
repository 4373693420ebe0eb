//! `augment forget`

use super::args::{ForgetArgs, GlobalArgs};
use super::{Outcome, environment};
use ::augment::error::Result;
use ::augment::jobs::forget::{Request, preview, run as run_job};
use serde_json::{Value, json};
use std::fmt::Write;

/// Exit code where the person may still be known somewhere.
const FAILED: u8 = 2;

/// Takes a person out of everything that was made.
pub fn run(args: &ForgetArgs, global: &GlobalArgs) -> Result<Outcome> {
    let request = Request { identity: args.identity.clone(), folders: args.dirs.clone() };
    let context = environment::context(global)?;
    let done = if global.dry_run { preview(&request, &context)? } else { run_job(&request, &context)? };
    let mut text = String::new();
    for o in &done.outcomes {
        let _ = writeln!(text, "{}: {}: {}", o.folder.display(), o.what, o.count);
    }
    for (place, why) in &done.failures {
        let _ =
            writeln!(text, "{}: FAILED, the person may still be known there: {}", place.display(), super::flags(why));
    }
    if !global.dry_run {
        text += "Take the identity out of the manifest too, and delete marked models when nothing else needs them.\n";
    }
    let folders: Vec<Value> = done
        .outcomes
        .iter()
        .map(|o| json!({ "folder": o.folder.display().to_string(), "what": o.what, "count": o.count }))
        .collect();
    let failures: Vec<Value> = done
        .failures
        .iter()
        .map(|(place, why)| json!({ "place": place.display().to_string(), "why": super::flags(why) }))
        .collect();
    let code = if failures.is_empty() { 0 } else { FAILED };
    let json = json!({ "version": 1, "dry_run": global.dry_run, "folders": folders, "failures": failures });
    Ok(Outcome { code, ..Outcome::new(text, json) })
}
