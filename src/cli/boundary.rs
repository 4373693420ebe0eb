//! `augment try-manifest`: what a child process with limits does before its parent reads a manifest.

use super::Outcome;
use super::args::TrialArgs;
use ::augment::error::Result;
use ::augment::jobs::{Columns, boundary};

/// Reads a manifest and says nothing.
pub fn run(args: &TrialArgs) -> Result<Outcome> {
    let columns = Columns { identity: args.identity.clone(), image: args.image.clone(), image_uri: args.uri.clone() };
    boundary::run(&args.manifest, &columns)?;
    Ok(Outcome::new(String::new(), serde_json::Value::Null))
}
