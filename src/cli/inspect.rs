//! `augment inspect`

use super::args::{GlobalArgs, InspectArgs};
use super::terminal::Terminal;
use super::{Outcome, environment};
use ::augment::error::Result;
use ::augment::jobs::inspect::{Request, run as run_job};
use serde_json::json;

/// Shows counts per set and split of the whole manifest, and the identities with most images.
pub fn run(args: &InspectArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let request = Request { input: args.input.request(), alignment: args.alignment, top: args.top };
    let found = run_job(&request, &environment::context(global)?, terminal)?;
    let shown = |text: &str| super::printable(text).replace('\n', "\u{fffd}");
    let mut sets = vec![["set", "split", "identities", "images", "min", "median", "max"].map(str::to_owned).to_vec()];
    sets.extend(found.sets.iter().map(|s| {
        let counts = [s.identities, s.images, s.min].map(|n| n.to_string());
        let names = [shown(&s.set), shown(&s.split)];
        names.into_iter().chain(counts).chain([format!("{:?}", s.median), s.max.to_string()]).collect()
    }));
    let mut identities = vec![["set", "identity", "images"].map(str::to_owned).to_vec()];
    identities.extend(found.identities.iter().map(|i| vec![shown(&i.set), shown(&i.identity), i.images.to_string()]));
    let (unusable, first) = &found.unusable;
    let first = first.as_ref().map(|first| format!("{unusable} rows cannot be used; the first: {first}"));
    let findings: Vec<String> = found.findings.in_words().iter().chain(&first).map(|line| shown(line)).collect();
    let text = format!(
        "{}: {} rows, {} without identity\n\n{}\n{}\n{}\n",
        found.manifest,
        found.rows,
        found.unlabelled,
        render(&sets),
        render(&identities),
        findings.join("\n"),
    );
    let json = json!({
        "version": 1, "rows": found.rows, "unlabelled": found.unlabelled, "manifest_hash": found.manifest_hash,
        "sets": found.sets, "identities": found.identities, "findings": found.findings, "unusable": unusable, "first_unusable": first,
    });
    Ok(Outcome::new(text, json))
}

/// A table with aligned columns.
fn render(rows: &[Vec<String>]) -> String {
    let width = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let line: Vec<String> = row.iter().zip(&widths).map(|(v, w)| format!("{v:<w$}")).collect();
        text += line.join("  ").trim_end();
        text += "\n";
    }
    text
}
