//! `augment evaluate`

use super::args::GlobalArgs;
use super::measures::EvaluateArgs;
use super::terminal::Terminal;
use super::{Outcome, environment};
use ::augment::config::to_toml;
use ::augment::error::Result;
use ::augment::jobs::evaluate::{Evaluated, Request, preview, run as run_job};
use ::augment::jobs::folder_name;
use ::augment::jobs::gates::Gates;
use serde_json::json;
use std::fmt::Write;

/// Exit code where the figures fall short of what was demanded.
const FALLEN: u8 = 9;

/// Compares recognisers on one identity set.
pub fn run(args: &EvaluateArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let context = environment::context(global)?;
    let out = args.out.clone().unwrap_or_else(|| folder_name(args.input.spec(), "evaluation"));
    let request = Request {
        input: args.input.request(),
        settings: args.config.request(),
        synthetic: args.synthetic.clone(),
        model: args.model.clone(),
        held_out: args.held_out.clone(),
        test: args.test.request(),
        arms: args.arms.clone(),
        seeds: args.seeds,
        max_copy_similarity: args.max_copy_similarity,
        outside_judge: args.outside_judge.clone().map(|path| (path, args.outside_placement)),
        gates: Gates { gain: args.fail_below, copies: args.fail_above_copies, membership: args.fail_above_membership },
        summary: args.summary.clone(),
        out,
    };
    if global.dry_run {
        let config = preview(&request, &context, terminal)?;
        return Ok(Outcome::new(to_toml(&config)?, json!({ "version": 1, "dry_run": true, "config": config })));
    }
    let done = run_job(&request, &context, terminal)?;
    let mut text = format!("{}\n{}\nreport: {}\n", table(&done), done.verdict, done.page.display());
    for line in &done.fallen {
        let _ = writeln!(text, "failed: {line}");
    }
    let outcome = Outcome::new(text, done.json).with_rejects(done.rejected.count, &done.rejected.list);
    Ok(if done.fallen.is_empty() { outcome } else { Outcome { code: FALLEN, ..outcome } })
}

/// The arms, one a line.
fn table(done: &Evaluated) -> String {
    let mut text = format!(
        "{:<10} {:>18} {:>10} {:>8} {:>26}  {}\n",
        "arm", "accuracy %", "TAR@1e-3", "rank-1", "gain, points (95 %)", "seconds"
    );
    for r in &done.arms {
        let accuracy = r.accuracy.percent();
        let gain = r.gain.as_ref().map_or(String::new(), |g| {
            let interval = |(low, high): (f64, f64)| format!(" ({:+.2} .. {:+.2})", 100.0 * low, 100.0 * high);
            format!("{:+.2}{}", 100.0 * g.accuracy_gain, g.ci95.map_or(String::new(), interval))
        });
        let rank = r.figures.get("rank1").map_or("-".into(), |s| format!("{:.3}", s.mean));
        let tar = r.figures["tar_at_far_1e3"].mean;
        let _ =
            writeln!(text, "{:<10} {accuracy:>18} {tar:>10.3} {rank:>8} {gain:>26}  {:.0}", r.arm.name(), r.seconds);
    }
    let seeds = done.arms.first().map_or(0, |r| r.accuracy.count);
    let _ = writeln!(text, "\n{seeds} seeds, {} pairs ({})", done.pairs, super::printable(&done.test));
    text
}
