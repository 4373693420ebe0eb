//! `augment synthesize`: images from a trained model alone, or stored images made again.

use super::args::{GlobalArgs, SynthesizeArgs};
use super::augment::{output_json, would_write, written};
use super::push::delivered;
use super::terminal::Terminal;
use super::{Outcome, environment};
use ::augment::config::to_toml;
use ::augment::error::{Error, Result};
use ::augment::jobs::{regenerate, synthesize};
use serde_json::json;
use std::path::PathBuf;

/// `augment synthesize`
pub fn run(args: &SynthesizeArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let context = environment::context(global)?;
    if let Some(dataset) = &args.regenerate {
        if global.dry_run {
            return Err(Error::Usage("option `dry_run` does not apply to option `regenerate`".into()));
        }
        let (model, dataset) = (args.model.clone(), dataset.clone());
        let (sample_id, out) = (args.sample_id.clone(), args.output.out.clone());
        let done = regenerate::run(&regenerate::Request { model, dataset, sample_id, out }, &context, terminal)?;
        let mut text = format!("{} images regenerated, all byte-equal\n", done.equal);
        if done.other_models > 0 {
            text += "images of other models were left out\n";
        }
        let (equal, others) = (done.equal, done.other_models);
        let json = json!({ "version": 1, "regenerated": equal, "equal": equal, "other_models": others });
        return Ok(Outcome::new(text, json));
    }
    let request = synthesize::Request {
        model: args.model.clone(),
        synthesis: args.synthesis.request(),
        destination: args.output.request(PathBuf::from("synthesized"), &context.cache),
    };
    if global.dry_run {
        let (config, output) = synthesize::preview(&request, &context, terminal)?;
        let json = json!({ "version": 1, "dry_run": true, "output": output_json(&output), "config": config });
        return Ok(Outcome::new(format!("{}\n{}", would_write(&output), to_toml(&config)?), json));
    }
    let made = synthesize::run(&request, &context, terminal)?;
    delivered(written(&made), &made.out, args.output.address(), &context, terminal)
}
