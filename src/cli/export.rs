//! `augment export`: a dataset in another format.

use super::args::GlobalArgs;
use super::augment::written;
use super::groups::{address, made_for};
use super::handoff::ExportArgs;
use super::push::delivered;
use super::terminal::Terminal;
use super::{Outcome, environment};
use ::augment::error::Result;
use ::augment::jobs::export::{Request, run as run_job};
use ::augment::jobs::wanted::Destination;
use ::augment::jobs::{folder_name, format_named};

/// `augment export`
pub fn run(args: &ExportArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let context = environment::context_at_once(global)?;
    let to = address(args.out.as_deref());
    let made = to.map(|to| made_for(to, &context.cache)).or_else(|| args.out.clone());
    let plain = Destination::new(made.unwrap_or_else(|| folder_name(&args.dataset.display().to_string(), &args.to)));
    let request = Request {
        dataset: args.dataset.clone(),
        real: args.include_real.as_ref().map(|manifest| args.rows.request(manifest)),
        destination: Destination {
            format: format_named(&args.to).unwrap_or(plain.format),
            output_size: args.size,
            repair: args.repair,
            share: args.share,
            shard_rows: args.shard_rows,
            ..plain
        },
    };
    let done = run_job(&request, &context, terminal)?;
    let outcome = delivered(written(&done.written), &done.written.out, to, &context, terminal)?;
    Ok(match done.rejected {
        Some(rejected) => outcome.with_rejects(rejected.count, &rejected.list),
        None => outcome,
    })
}
