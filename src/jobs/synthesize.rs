//! Images from a trained model alone, without its manifest.

use super::Context;
use super::write::{Assembly, Destination, SetModel, Synthesis, Written};
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::manifest::DEFAULT_SET;
use crate::progress::Progress;
use crate::remote;
use crate::train::{TrainedModel, trained::MODEL_FILE};

/// What to do.
#[derive(Clone)]
pub struct Request {
    /// Folder or file of a trained model, or its address on the hub.
    pub model: String,
    /// Root of the random streams; without one the model's.
    pub seed: Option<u64>,
    /// What to synthesize.
    pub synthesis: Synthesis,
    /// Where to write it.
    pub destination: Destination,
}

/// Writes a dataset of the identities that the model knows.
///
/// # Errors
/// See [`Error`].
pub fn run(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Written> {
    prepare(request, context)?.write(progress)
}

/// Checks what [`run`] checks before it begins, and returns the configuration that it would use.
///
/// # Errors
/// Those of [`run`] that can be known before.
pub fn preview(request: &Request, context: &Context) -> Result<RunConfig> {
    Ok(prepare(request, context)?.config)
}

fn prepare<'a>(request: &'a Request, context: &Context) -> Result<Assembly<'a>> {
    let needs =
        |name: &str, what: &str| Error::Usage(format!("option `{name}` needs {what}: give the manifest and the model"));
    if request.destination.include_real {
        return Err(needs("include_real", "the manifest"));
    }
    if request.synthesis.max_copy_similarity.is_some() {
        return Err(needs("max_copy_similarity", "the training images"));
    }
    let path = remote::localize_model(&request.model, MODEL_FILE, &context.cache, &context.access)?;
    let model = TrainedModel::load(&path, &context.device)?;
    let own = model.header.config.clone();
    let config = request.synthesis.over(RunConfig { seed: request.seed.unwrap_or(own.seed), ..own })?;
    let assembly = Assembly {
        // No manifest takes part: the training images stand for it.
        manifest_hash: model.header.dataset_hash.clone(),
        models: vec![SetModel::new(0, DEFAULT_SET, path, model)],
        config,
        source: None,
        rejected: Vec::new(),
        synthesis: &request.synthesis,
        destination: &request.destination,
        device: context.device.clone(),
        judge: request.synthesis.load_judge(&context.device)?,
    };
    let identities = &assembly.models[0].identities;
    assembly.refuse_forgotten(identities.iter().map(String::as_str))?;
    assembly.check(identities.len())?;
    Ok(assembly)
}
