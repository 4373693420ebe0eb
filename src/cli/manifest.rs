//! `augment manifest`

use super::Outcome;
use super::args::{GlobalArgs, ManifestArgs};
use super::terminal::Terminal;
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
        dry_run: global.dry_run,
        ..Request::new(&args.source, &args.out)
    };
    let made = run_job(&request, terminal)?;
    let json = json!({
        "version": 1, "out": args.out, "source": made.kind, "images": made.rows, "identities": made.identities,
        "splits": made.splits, "findings": made.findings,
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
    let f = &made.findings;
    if let Some([least, middle, most]) = f.sides {
        line(format!("shorter sides {least} to {most} px, median {middle}"));
    }
    let notes = [
        (
            f.single,
            "persons have one image: nothing tells their pose from their face, and no judge can be tested on them",
        ),
        (f.few - f.single, "persons have two to four images"),
        (f.repeated, "images are repeats of another one of the same person"),
        (f.small, "images are smaller than 64 px"),
    ];
    for (n, what) in notes.iter().filter(|(n, _)| *n > 0) {
        line(format!("{n} {what}"));
    }
    if f.shared > 0 {
        line(format!(
            "{} images are shared by several persons, such as {}: one label of each is wrong",
            f.shared,
            f.shared_by.join("; ")
        ));
    }
    if let Some(others) = &made.passed_over {
        line(format!("passed over {others}"));
    }
    text
}
