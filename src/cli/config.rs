//! `augment config`: the resolved configuration, ready to be edited and given back with --config.

use super::Outcome;
use super::args::ConfigCommandArgs;
use ::augment::config::{Extent, to_toml};
use ::augment::error::Result;
use serde_json::json;

/// Prints the configuration that the arguments resolve to.
pub fn run(args: &ConfigCommandArgs) -> Result<Outcome> {
    let request = args.config.request();
    let config = request.resolve(None, None)?;
    let mut text = to_toml(&config)?;
    // A number here would stand, however many images there are.
    if request.resolve(None, Some(Extent { images: 1, identities: 1 }))?.train.duration_kimg
        != config.train.duration_kimg
    {
        text = text.replace("\nduration_kimg = ", "\n# By the number of images, at most:\n# duration_kimg = ");
    }
    Ok(Outcome::new(text, json!({ "version": 1, "config": config })))
}
