//! Images from a trained model alone, without its manifest.

use super::filtering::NEEDS_PHOTOGRAPHS;
use super::makers::Models;
use super::preview::OutputPreview;
use super::set_model::SetModel;
use super::wanted::{Chooser, Destination, NamedJudge, Synthesis};
use super::write::{Assembly, Written};
use super::{Context, judges, models};
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::manifest::DEFAULT_SET;
use crate::progress::Progress;

/// What to do.
#[derive(Clone)]
pub struct Request {
    /// Folder or file of a trained model, or its address on the hub.
    pub model: String,
    /// What to synthesize.
    pub synthesis: Synthesis,
    /// Where to write it.
    pub destination: Destination,
}

impl Request {
    /// The same with an output folder that can be used.
    fn placed(&self) -> Result<Self> {
        Ok(Self { destination: self.destination.placed()?, ..self.clone() })
    }
}

/// Writes a dataset of the identities that the model knows.
///
/// # Errors
/// See [`Error`].
pub fn run(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Written> {
    let request = &request.placed()?;
    prepare(request, context, progress)?.0.write(&mut Models::default(), progress)
}

/// Checks what [`run`] checks before it begins, and returns the configuration that it would use and what it would write.
///
/// # Errors
/// Those of [`run`] that can be known before.
pub fn preview(
    request: &Request,
    context: &Context,
    progress: &mut dyn Progress,
) -> Result<(RunConfig, OutputPreview)> {
    let request = &request.placed()?;
    let (assembly, output) = prepare(request, context, progress)?;
    Ok((assembly.config, output))
}

fn prepare<'a>(
    request: &'a Request,
    context: &Context,
    progress: &mut dyn Progress,
) -> Result<(Assembly<'a>, OutputPreview)> {
    let needs =
        |name: &str, what: &str| Error::Usage(format!("option `{name}` needs {what}: give the manifest and the model"));
    if request.destination.include_real {
        return Err(needs("include_real", "the manifest"));
    }
    if request.synthesis.max_copy_similarity.is_some() {
        return Err(needs("max_copy_similarity", "the training images"));
    }
    let (path, model) = models::load(&request.model, context)?;
    let config = request.synthesis.over(model.header.config.clone())?;
    let hash = model.header.dataset_hash.clone();
    let mut of_set = SetModel::new(0, DEFAULT_SET, path, model);
    if request.synthesis.chooser == Chooser::Own {
        of_set.judge = judges::find(&of_set.path, &of_set.identities, &context.device, progress)?;
    }
    let judge = request.synthesis.load_judge(&context.device)?;
    if matches!(judge, Some(NamedJudge::Outside(_))) {
        return Err(Error::Usage(NEEDS_PHOTOGRAPHS.into()));
    }
    let assembly = Assembly {
        // No manifest takes part: the training images stand for it.
        manifest_hash: hash,
        models: vec![of_set],
        config,
        source: None,
        rejected: Vec::new(),
        synthesis: &request.synthesis,
        destination: &request.destination,
        device: context.device.clone(),
        judge,
        part: None,
    };
    let model = &assembly.models[0];
    let persons = model.identities.iter().map(String::as_str).zip(model.images.iter().copied()).collect();
    let (_, output) = assembly.check(&[persons])?;
    Ok((assembly, output))
}
