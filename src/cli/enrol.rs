//! `augment enrol`: what synthetic images are worth to a frozen face network.

use super::args::GlobalArgs;
use super::measures::EnrolArgs;
use super::terminal::Terminal;
use super::{Outcome, environment};
use ::augment::error::Result;
use ::augment::jobs::enrol::{Request, Share, Template, run as run_job};
use ::augment::jobs::folder_name;
use serde_json::json;
use std::fmt::Write;

/// `augment enrol`
pub fn run(args: &EnrolArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let context = environment::context_at_once(global)?;
    let request = Request {
        input: args.input.request(),
        synthetic: args.synthetic.clone(),
        judge: args.judge.clone(),
        held_out: args.held_out.clone(),
        shots: args.shots.clone(),
        draws: args.draws.get(),
        out: args.out.clone().unwrap_or_else(|| folder_name(args.input.spec(), "enrolment.json")),
    };
    let done = run_job(&request, &context, terminal)?;
    let mut text = format!(
        "{} persons, {} images to identify, {} synthetic images; in percent, with 95 % intervals over persons\n",
        done.persons, done.probes, done.synthetic
    );
    let percent = |s: Share| format!("{:.1}", 100.0 * s.value);
    let gain = |s: Share| format!("{:+.1} ({:+.1} .. {:+.1})", 100.0 * s.value, 100.0 * s.ci95.0, 100.0 * s.ci95.1);
    let _ = writeln!(
        text,
        "{:>6}  {:8}{:>8}{:>8}  {:22}{:>8}{:>8}  gain at FAR 0.1 %",
        "images", "by", "rank-1", "+ synth", "gain", "TAR", "+ synth"
    );
    for f in &done.figures {
        let template = if f.template == Template::Mean { "mean" } else { "nearest" };
        let _ = writeln!(
            text,
            "{:>6}  {template:8}{:>8}{:>8}  {:22}{:>8}{:>8}  {}",
            f.shots,
            percent(f.rank1_real),
            percent(f.rank1_both),
            gain(f.rank1_gain),
            percent(f.tar_real),
            percent(f.tar_both),
            gain(f.tar_gain)
        );
    }
    let _ = writeln!(text, "figures: {}", done.out.display());
    let json = json!({
        "version": 1, "persons": done.persons, "probes": done.probes, "synthetic": done.synthetic, "figures": done.figures,
        "out": done.out.display().to_string(),
    });
    Ok(Outcome::new(text, json).with_rejects(done.rejected.count, &done.rejected.list))
}
