//! What a job would do, without doing it.

use super::input::Source;
use super::write::Synthesis;
use crate::config::RunConfig;
use crate::error::Result;
use crate::progress::Progress;

/// What would be done.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The manifest and its rows, where one takes part.
    pub manifest: Option<(String, usize)>,
    /// Rows of this split only.
    pub split: Option<String>,
    /// The identity sets.
    pub sets: Vec<SetPreview>,
    /// Images of each identity, and new identities of each set, where something is synthesized.
    pub synthesis: Option<(usize, usize)>,
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

impl Preview {
    pub(super) fn of_manifest(
        source: &Source,
        config: &RunConfig,
        synthesis: Option<&Synthesis>,
        _progress: &mut dyn Progress,
    ) -> Result<Self> {
        let set = |set: String| {
            let (identities, images) = source.count(&set);
            SetPreview { set, images, identities }
        };
        Ok(Self {
            manifest: Some((source.spec.clone(), source.manifest.rows())),
            split: source.split.clone(),
            sets: source.sets().into_iter().map(set).collect(),
            synthesis: synthesis.map(|s| (s.balance_to.unwrap_or(s.per_id), s.new_identities)),
            config: config.clone(),
        })
    }
}
