//! `augment inspect`

use super::args::{GlobalArgs, InspectArgs};
use super::terminal::Terminal;
use super::{Outcome, environment};
use ::augment::error::Result;
use ::augment::jobs::inspect::{Request, run as run_job};
use ::augment::jobs::set;
use serde_json::json;
use std::fmt::Write;
use std::path::Path;

/// Shows counts per set and split of the whole manifest, and the identities with most images.
pub fn run(args: &InspectArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    if let Some(set) = &args.set {
        return of_set(set, terminal);
    }
    let input = args.rows.request(args.manifest.as_deref().unwrap_or_default());
    let request = Request { input, alignment: args.alignment, top: args.top };
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

/// What a training will find in a set.
fn of_set(path: &Path, terminal: &mut Terminal) -> Result<Outcome> {
    let found = set::run(path, terminal)?;
    let [least, median, most] = found.per_class;
    let mut text = format!("{}: {}, {} images", path.display(), found.kind, found.images);
    let _ = match found.pairs {
        Some((pairs, same)) => writeln!(text, ", {pairs} pairs, {same} of one person"),
        None => writeln!(text, " of {} labels, {least} / {median} / {most} a label", found.classes),
    };
    let sizes: Vec<String> = found.sizes.iter().map(|((w, h), n)| format!("{w}x{h} ({n})")).collect();
    let _ = writeln!(text, "sizes: {}\n", sizes.join(", "));
    let mut rows = vec![["label", "size", "bytes", "image"].map(str::to_owned).to_vec()];
    rows.extend(found.first.iter().map(|one| {
        let size = one.size.map_or("-".into(), |(w, h)| format!("{w}x{h}"));
        let [label, place] = [&one.label, &one.place].map(|text| super::printable(text).replace('\n', "\u{fffd}"));
        vec![label, size, one.bytes.to_string(), place]
    }));
    let problems = if found.problems.is_empty() { "nothing to stumble over".into() } else { found.problems.join("\n") };
    let _ = writeln!(text, "{}\n{}", render(&rows), super::printable(&problems));
    Ok(Outcome::new(text, json!({ "version": 1, "set": found })))
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
