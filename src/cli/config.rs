//! `augment config`: the resolved configuration, ready to be edited and given back with --config.

use super::Outcome;
use super::args::ConfigCommandArgs;
use super::plan;
use crate::error::Result;

/// Prints the configuration that the arguments resolve to.
pub fn run(args: &ConfigCommandArgs) -> Result<Outcome> {
    let config = plan::resolve_config(&args.config, None)?;
    Ok(Outcome::new(crate::config::to_toml(&config)?, serde_json::json!({ "version": 1, "config": config })))
}
