//! Whoever chooses images must not measure them: two recognisers, each trained on its own half of every identity's training images, with
//! its own seed. The half that a judge did not see tells from which similarity on it counts an image as its identity. Where nobody chooses,
//! one that learned from all images labels what was made.

use super::figures::present;
use crate::config::EvaluationConfig;
use crate::dataset::IdentityDataset;
use crate::error::Result;
use crate::progress::Progress;
use crate::recogniser::judge::Judge;
use crate::recogniser::{Curriculum, Ingredient, Phase, Training, train};
use candle_core::Device;
use std::path::Path;

/// What a judge is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It decides which images are kept.
    Chooses,
    /// It tells how good they are.
    Measures,
    /// It tells how good images are of which nobody chose, and learns from all real ones.
    Labels,
}

impl Role {
    /// Seed of its training: no arm of a comparison has it, unless somebody asks for that many.
    pub fn seed(self) -> u64 {
        (1 << 40) + self as u64
    }

    /// Those of `images` that it learns from.
    ///
    /// # Errors
    /// Too little memory.
    pub fn images(self, images: &IdentityDataset) -> Result<IdentityDataset> {
        Ok(self.split(images)?.0)
    }

    /// The images that it learns from, and those that it does not see.
    fn split(self, images: &IdentityDataset) -> Result<(IdentityDataset, IdentityDataset)> {
        if self == Self::Labels {
            let all: Vec<usize> = (0..images.len()).collect();
            return Ok((images.subset(&all)?, images.subset(&[])?));
        }
        let [first, second] = images.halves().map(|half| images.subset(&half));
        let (first, second) = (first?, second?);
        Ok(if self == Self::Chooses { (first, second) } else { (second, first) })
    }
}

/// Whether a judge of `images` can be trained: two identities or more, one of which has two images.
pub fn possible(images: &IdentityDataset) -> bool {
    let persons: Vec<usize> = present(images).map(|l| images.images_of(l).len()).collect();
    persons.len() >= 2 && persons.iter().any(|n| *n >= 2)
}

/// Trains the judge of `role` on its half of `images`, going on from `path` as [`train`] does.
///
/// # Errors
/// Those of [`train`].
pub fn train_judge(
    role: Role,
    images: &IdentityDataset,
    config: &EvaluationConfig,
    path: &Path,
    device: &Device,
    progress: &mut dyn Progress,
) -> Result<Judge> {
    let (own, other) = role.split(images)?;
    let classes = (0..images.identities().len() as u32).collect();
    let sources = vec![Ingredient { images: &own, classes, share: 1.0 }];
    let phases = vec![Phase { steps: config.recipe.steps, sources }];
    let curriculum = Curriculum { classes: images.identities().len(), phases, augmented: true };
    let name = match role {
        Role::Chooses => "judge",
        Role::Measures | Role::Labels => "measuring judge",
    };
    progress.start(name, config.recipe.steps * config.recipe.batch_size as u64, "images");
    let training = Training { curriculum: &curriculum, config, seed: role.seed(), path };
    let recogniser = train(&training, device, progress)?.recogniser;
    progress.finish();
    let embedded = recogniser.embed(&own)?;
    let mut judge = Judge::new(recogniser, config, &own, &embedded);
    // The only image of a person is in both halves.
    let unseen = |i: &usize| images.images_of(other.labels()[*i]).len() > 1;
    judge.calibrate(&other.subset(&(0..other.len()).filter(unseen).collect::<Vec<_>>())?)?;
    Ok(judge)
}
