//! What a judge sees of a generator while that is trained: the figures that tell when a training has come to its end.

use crate::config::{RunConfig, SynthesisConfig};
use crate::dataset::{IdentityDataset, View};
use crate::error::Result;
use crate::evaluate::distribution::frechet;
use crate::evaluate::judges::Role;
use crate::recogniser::Embeddings;
use crate::recogniser::filter::Chooser;
use crate::recogniser::judge::Judge;
use crate::synthesize::{Item, Sampling, render};
use crate::train::TrainedModel;
use crate::train::watch::Figures;

/// Images that are looked at, evenly over the identities.
const IMAGES: usize = 1024;

/// A judge that watches.
pub(super) struct Watching {
    judge: Judge,
    /// Of real images that it has not learned from.
    real: Embeddings,
    sampling: Sampling,
}

impl Watching {
    /// `judge` watches a training with `config` on `dataset`.
    ///
    /// # Errors
    /// The images cannot be seen at the judge's size.
    pub fn new(judge: Judge, dataset: &IdentityDataset, config: &RunConfig) -> Result<Self> {
        let images = dataset.seen_as(View::square(judge.image_size()))?;
        let unseen = Role::Measures.images(&images)?;
        let real = judge.recogniser().embed(&unseen)?;
        // What is synthesized later is no part of a training.
        let s = SynthesisConfig::of(config.preset, config.train.method);
        let sampling = Sampling { seed: config.seed, latent: s.latent, truncation: s.truncation };
        Ok(Self { judge, real, sampling })
    }

    /// Figures of what `model` makes.
    ///
    /// # Errors
    /// It makes values that are not finite.
    pub fn look(&self, model: &TrainedModel) -> Result<Figures> {
        let identities = &model.header.identities;
        let items: Vec<Item> = (0..IMAGES)
            .map(|i| {
                // Evenly over the identities, however many they are.
                let label = i * identities.len() / IMAGES;
                let index = i as u64;
                Item { identity: identities[label].clone(), index, mix: vec![(label as u32, 1.0)] }
            })
            .collect();
        let images = render(model, &self.sampling, &items)?;
        let embeddings = self.judge.embed(&images, model.header.config.image_size)?;
        let right = (0..items.len())
            .filter(|i| self.judge.known.nearest(embeddings.row(*i)) == Some(items[*i].identity.as_str()));
        Ok(Figures { frechet: frechet(&self.real, &embeddings), top1: right.count() as f64 / items.len() as f64 })
    }
}
