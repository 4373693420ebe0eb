//! What a job would do, without doing it: what it reads is tried, how long it takes is measured on a few steps.

use super::input::Source;
use super::{Context, place};
use crate::config::RunConfig;
use crate::dataset::{IdentityDataset, View};
use crate::error::Result;
use crate::progress::Progress;
use crate::train::{State, total_steps};
use std::path::Path;

/// What would be done.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The manifest and its rows.
    pub manifest: String,
    /// Its rows.
    pub rows: usize,
    /// Rows of this split only.
    pub split: Option<String>,
    /// The identity sets.
    pub sets: Vec<SetPreview>,
    /// Rows that are unusable, and the first of them.
    pub rejected: (usize, Option<String>),
    /// What would be written, if something is synthesized.
    pub output: Option<OutputPreview>,
    /// Seconds that training would take, by the time of a few steps; none where nobody has a clock.
    pub training_seconds: Option<f64>,
    /// The resolved configuration.
    pub config: RunConfig,
}

/// What a manifest holds of an identity set.
#[derive(Clone, Debug)]
pub struct SetPreview {
    /// Its name.
    pub set: String,
    /// Labelled images.
    pub images: usize,
    /// Identities.
    pub identities: usize,
}

/// What would be written.
#[derive(Clone, Debug)]
pub struct OutputPreview {
    /// Images of each identity.
    pub per_id: usize,
    /// New identities of each set.
    pub new_identities: usize,
    /// All images, real ones that are merged in left out.
    pub images: u64,
    /// Their size, about.
    pub bytes: u64,
    /// What is free where they go.
    pub free: Option<u64>,
}

/// Steps that are timed, after one that is not.
const TIMED: u64 = 2;

impl Preview {
    /// Tries the images of `source` and times a training with `config`, as many models of which are to be trained as `trained` says.
    pub(super) fn new(
        source: &Source,
        config: &RunConfig,
        trained: bool,
        output: Option<OutputPreview>,
        context: &Context,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let rejected = source.try_all(View::new(config.image_size), None, progress)?;
        let set = |set: String| {
            let (identities, images) = source.count(&set);
            SetPreview { set, images, identities }
        };
        let sets: Vec<SetPreview> = source.sets().into_iter().map(set).collect();
        let training_seconds = if trained { training_seconds(&sets, config, context, progress)? } else { Some(0.0) };
        Ok(Self {
            manifest: source.spec.clone(),
            rows: source.manifest.rows(),
            split: source.split.clone(),
            sets,
            rejected: (rejected.len(), rejected.first().map(ToString::to_string)),
            output,
            training_seconds,
            config: config.clone(),
        })
    }
}

impl OutputPreview {
    pub(super) fn new(per_id: usize, new_identities: usize, images: u64, image_bytes: u64, out: &Path) -> Self {
        Self { per_id, new_identities, images, bytes: images.saturating_mul(image_bytes), free: place::free(out) }
    }
}

/// Time of a few steps on grey images, for the largest set, times all steps of all sets.
fn training_seconds(
    sets: &[SetPreview],
    config: &RunConfig,
    context: &Context,
    progress: &mut dyn Progress,
) -> Result<Option<f64>> {
    let classes = sets.iter().map(|s| s.identities).max().unwrap_or(1);
    let (size, batch) = (config.image_size, config.train.batch_size);
    let labels = (0..batch as u32).map(|i| i % classes as u32).collect();
    let names = (0..classes).map(|i| format!("{i:09}")).collect();
    let images = IdentityDataset::new(size, vec![127; batch * size * size * 3], labels, names)?;
    // Not all of the identities have an image here, so that none can be drawn evenly; time does not depend on it.
    let mut config = config.clone();
    config.train.balanced = false;
    let config = &config;
    let mut state = State::new(config, classes, &context.device)?;
    state.advance(&images, config, &context.device)?;
    let began = progress.elapsed();
    for _ in 0..TIMED {
        state.advance(&images, config, &context.device)?;
    }
    let step = progress.elapsed().saturating_sub(began).as_secs_f64() / TIMED as f64;
    let steps = total_steps(&config.train) as f64 * sets.len() as f64;
    Ok((step > 0.0).then_some(step * steps))
}
