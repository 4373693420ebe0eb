//! `augment forget`

use super::args::{ForgetArgs, GlobalArgs};
use super::{Outcome, environment};
use ::augment::error::Result;
use ::augment::jobs::forget::{Request, run as run_job};
use serde_json::{Value, json};
use std::fmt::Write;

/// Takes a person out of everything that was made.
pub fn run(args: &ForgetArgs, global: &GlobalArgs) -> Result<Outcome> {
    let request = Request { identity: args.identity.clone(), folders: args.dirs.clone() };
    let done = run_job(&request, &environment::context(global)?)?;
    let mut text = String::new();
    for o in &done.outcomes {
        let _ = writeln!(text, "{}: {}: {}", o.folder.display(), o.what, o.count);
    }
    text += "Take the identity out of the manifest too, and delete marked models when nothing else needs them.\n";
    let folders: Vec<Value> =
        done.outcomes.iter().map(|o| json!({ "folder": o.folder, "what": o.what, "count": o.count })).collect();
    Ok(Outcome::new(text, json!({ "version": 1, "folders": folders })))
}
