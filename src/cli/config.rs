//! `augment config`: the resolved configuration, ready to be edited and given back with --config.

use super::Outcome;
use super::args::ConfigCommandArgs;
use ::augment::config::to_toml;
use ::augment::error::Result;
use serde_json::json;

/// Prints the configuration that the arguments resolve to.
pub fn run(args: &ConfigCommandArgs) -> Result<Outcome> {
    let config = args.config.request().resolve(None, None)?;
    Ok(Outcome::new(to_toml(&config)?, json!({ "version": 1, "config": config })))
}
