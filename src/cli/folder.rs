//! `augment verify` and `augment status`.

use super::args::{FolderArgs, GlobalArgs};
use super::terminal::Terminal;
use super::{Outcome, cluster};
use ::augment::error::Result;
use ::augment::jobs::cluster::is_job;
use ::augment::jobs::verify;
use serde_json::json;
use std::fmt::Write;

/// Exit code of damage.
const DAMAGED: u8 = 2;

/// `augment verify DIR`: reads every file of a dataset, a model, an evaluation or a comparison of methods.
pub fn verify(args: &FolderArgs) -> Result<Outcome> {
    let found = verify::run(&args.dir)?;
    let mut text = String::new();
    for d in &found.damages {
        let _ = writeln!(text, "{}: {}", super::printable(&d.path), d.what);
    }
    let (state, bad) = (if found.complete { "complete" } else { "not complete" }, found.damages.len());
    let _ = writeln!(text, "{}: {state}, {} files read, {bad} damaged", args.dir.display(), found.files);
    let json = json!({
        "version": 1, "kind": found.kind, "complete": found.complete, "files": found.files, "damages": found.damages,
    });
    Ok(Outcome { code: if bad == 0 { 0 } else { DAMAGED }, ..Outcome::new(text, json) })
}

/// `augment status DIR`: how far a run is, and whether it still runs.
pub fn status(args: &FolderArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    if is_job(&args.dir) {
        return cluster::status(&args.dir, global, terminal);
    }
    let found = verify::status(&args.dir)?;
    let working = if found.running { ", a process works here" } else { "" };
    let mut text = format!("{}: {}{working}\n", args.dir.display(), found.kind.name());
    let progress = json!(found.stage);
    for (key, value) in progress.as_object().into_iter().flatten() {
        let _ = writeln!(text, "  {} {value}", key.replace('_', " "));
    }
    let json = json!({ "version": 1, "kind": found.kind, "running": found.running, "progress": progress });
    Ok(Outcome::new(text, json))
}
