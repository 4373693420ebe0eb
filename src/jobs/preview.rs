//! What a job would do, without doing it: what it reads is tried, how long it takes is measured on a few steps.

use super::input::Source;
use super::{Context, length, place};
use crate::config::RunConfig;
use crate::dataset::View;
use crate::error::Result;
use crate::progress::Progress;
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
        let rejected = source.try_all(View::new(config.image_size, config.alignment), None, progress)?;
        let set = |set: String| {
            let (identities, images) = source.count(&set);
            SetPreview { set, images, identities }
        };
        let sets: Vec<SetPreview> = source.sets().into_iter().map(set).collect();
        let classes = sets.iter().map(|s| s.identities).max().unwrap_or(1);
        let of_all = |seconds: f64| seconds * sets.len() as f64;
        let training_seconds =
            if trained { length::seconds(config, classes, &context.device, progress)?.map(of_all) } else { Some(0.0) };
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
