//! `augment manifest`

use super::args::{GlobalArgs, ManifestArgs};
use super::terminal::Terminal;
use super::{Outcome, environment};
use ::augment::error::Result;
use ::augment::jobs::manifest::{Made, Request, run as run_job};
use serde_json::json;
use std::fmt::Write as _;

/// Makes the manifest that the arguments describe, and says what is in it.
pub fn run(args: &ManifestArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let request = Request {
        columns: args.columns.columns(),
        link: args.link,
        shares: args.split.clone(),
        seed: args.seed,
        check: args.check,
        alignment: args.alignment,
        detector: args.detector.clone(),
        min_score: args.min_score,
        judge: args.judge.clone(),
        dry_run: global.dry_run,
        ..Request::new(&args.source, &args.out)
    };
    let made = run_job(&request, &environment::context(global)?, terminal)?;
    let json = json!({
        "version": 1, "out": args.out.display().to_string(), "source": made.kind, "images": made.rows, "identities": made.identities,
        "splits": made.splits, "findings": made.findings, "suspects": made.suspects.as_ref().map(|s| s.count),
    });
    let text = in_words(&made, args, global.dry_run);
    Ok(Outcome::new(text, json).with_rejects(made.rejected.count, &made.rejected.list))
}

fn in_words(made: &Made, args: &ManifestArgs, dry_run: bool) -> String {
    let verb = if dry_run { "would write" } else { "wrote" };
    let mut text =
        format!("{verb} {}: {} images of {} persons ({})\n", args.out.display(), made.rows, made.identities, made.kind);
    let mut line = |line: String| _ = writeln!(text, "  {line}");
    for (name, split) in made.splits.iter().filter(|(name, _)| !name.is_empty()) {
        line(format!("split {name}: {} images of {} persons", split.images, split.identities));
    }
    made.findings.in_words().into_iter().for_each(&mut line);
    match &made.suspects {
        Some(suspects) if suspects.count > 0 => line(format!(
            "{} images look more like another person than like the rest of their own, listed in {}: look at them, the largest doubt first",
            suspects.count,
            suspects.list.display()
        )),
        Some(_) => line("no label is in doubt".into()),
        None => {}
    }
    if let Some(others) = &made.passed_over {
        line(format!("passed over {others}"));
    }
    text
}
