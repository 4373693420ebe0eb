//! The typed configuration of an evaluation: the recogniser that is trained, its recipe, and what is compared.

use super::{Alignment, lay_over};
use crate::error::{Error, Result};
use crate::ops::Precision;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Times that a recogniser sees every training image: on few images its baseline gains for so long (docs/evaluation.md); of 3,020 photographs
/// the bounds leave 50, the length at which their baseline was best.
const PASSES: usize = 75;

/// Everything that decides the result of `augment evaluate`, beside the images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Name of the preset that the other values started from.
    pub preset: RecogniserPreset,
    /// Seed of the first of the paired trainings; the others follow it.
    pub seed: u64,
    /// Side of the square images that the recogniser sees, in pixels.
    pub image_size: usize,
    /// What of a picture is shown whose row says where its face is.
    #[serde(default = "Alignment::before")]
    pub alignment: Alignment,
    /// The recogniser's network.
    pub recogniser: RecogniserConfig,
    /// How it is trained; the same for every arm.
    pub recipe: RecipeConfig,
    /// The usual augmentation of training images.
    pub augmentation: AugmentationConfig,
    /// The arms of the comparison.
    pub comparison: ComparisonConfig,
}

/// Named starting points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum RecogniserPreset {
    /// 32x32, for tests and the demonstration.
    Tiny,
    /// 64x64.
    Small,
    /// 112x112.
    Base,
}

/// A residual network (He et al. 2016) with PReLU whose last map is reduced by a global depthwise convolution (Chen et
/// al. 2018, MobileFaceNets).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecogniserConfig {
    /// Output channels of the first convolution, which keeps the image's side.
    pub stem_channels: usize,
    /// Output channels of each stage; a stage halves the side.
    pub channels: Vec<usize>,
    /// Residual blocks of each stage.
    pub blocks: Vec<usize>,
    /// Length of an embedding.
    pub embedding_size: usize,
}

/// Margin softmax losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Margin {
    /// cos(theta) - m (Wang et al. 2018).
    Cosface,
    /// cos(theta + m) (Deng et al. 2019).
    Arcface,
}

/// Optimisers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimiserKind {
    /// Stochastic gradient descent with momentum; the decay is added to the gradient.
    Sgd,
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    Adamw,
}

/// Training of a recogniser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeConfig {
    /// Optimiser steps of every arm.
    pub steps: u64,
    /// Images a step, synthetic ones included.
    pub batch_size: usize,
    /// Which optimiser.
    pub optimiser: OptimiserKind,
    /// Largest step size.
    pub learning_rate: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// Decay of weights; scales, shifts and slopes are not decayed.
    pub weight_decay: f64,
    /// Share of the steps in which the step size rises from 0; after it falls to 0 along a cosine.
    pub warmup: f64,
    /// Which loss.
    pub loss: Margin,
    /// Precision of the products.
    pub precision: Precision,
    /// Factor on the cosines.
    pub scale: f64,
    /// Margin: a cosine for CosFace, radians for ArcFace.
    pub margin: f64,
}

/// Random changes of a training image, drawn evenly between none and these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentationConfig {
    /// Mirror half of the images.
    pub flip: bool,
    /// Shift in both directions, as a share of the side.
    pub shift: f64,
    /// Change of size, as a share; crops where it enlarges.
    pub scale: f64,
    /// Change of brightness, contrast and saturation, as a share.
    pub colour: f64,
    /// Share of the images in which a rectangle is erased.
    pub erase: f64,
}

/// The arms of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComparisonConfig {
    /// Share of synthetic images (or repeats) in a batch of the arms that mix.
    pub synthetic_share: f64,
    /// Share of new identities among the synthetic images of the arms that have both kinds.
    pub new_share: f64,
    /// Share of the steps, the last ones, that the arms that mix spend on real images alone.
    pub real_last: f64,
    /// Share of the steps that the arm `pretrain` spends on synthetic images alone.
    pub pretrain_share: f64,
    /// Synthetic images of an existing identity are a class of their own instead of sharing its label.
    pub own_labels: bool,
}

impl EvaluationConfig {
    /// The configuration that `preset` names.
    pub fn preset(preset: RecogniserPreset) -> Self {
        let (image_size, stem_channels, channels, blocks, embedding_size, steps) = match preset {
            RecogniserPreset::Tiny => (32, 16, vec![32, 64, 128], vec![1, 1, 1], 64, 150),
            RecogniserPreset::Small => (64, 16, vec![32, 64, 128, 256], vec![1, 1, 1, 1], 128, 600),
            RecogniserPreset::Base => (112, 32, vec![64, 64, 128, 256], vec![1, 2, 2, 1], 256, 2000),
        };
        Self {
            preset,
            seed: 0,
            image_size,
            alignment: Alignment::default(),
            recogniser: RecogniserConfig { stem_channels, channels, blocks, embedding_size },
            recipe: RecipeConfig {
                steps,
                batch_size: 64,
                optimiser: OptimiserKind::Adamw,
                learning_rate: 3e-3,
                momentum: 0.9,
                weight_decay: 0.05,
                warmup: 0.1,
                loss: Margin::Cosface,
                precision: Precision::F32,
                scale: 16.0,
                margin: 0.2,
            },
            augmentation: AugmentationConfig { flip: true, shift: 0.06, scale: 0.1, colour: 0.2, erase: 0.3 },
            comparison: ComparisonConfig {
                synthetic_share: 0.7,
                new_share: 0.5,
                real_last: 0.4,
                pretrain_share: 0.3,
                own_labels: false,
            },
        }
    }

    /// [`Self::preset`] for `images` training images, if their number is known: they are seen [`PASSES`] times, as far as that is one to four
    /// times the preset's length.
    pub fn fitted(preset: RecogniserPreset, images: Option<usize>) -> Self {
        let mut config = Self::preset(preset);
        if let Some(images) = images {
            let recipe = &mut config.recipe;
            recipe.steps = ((PASSES * images).div_ceil(recipe.batch_size) as u64).clamp(recipe.steps, 4 * recipe.steps);
        }
        config
    }

    /// Lays the TOML file at `path` over the preset it names (or `preset`, or `fallback`); unknown keys are errors.
    ///
    /// # Errors
    /// The file cannot be read; an unknown key, or a value of another type.
    pub fn from_file(
        path: &Path,
        preset: Option<RecogniserPreset>,
        fallback: RecogniserPreset,
        images: Option<usize>,
    ) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        lay_over(&text, preset, fallback, |preset, _| Ok(Self::fitted(preset, images)))
            .map_err(|e| Error::Config(format!("{}: {e}", path.display())))
    }

    /// Checks values that types cannot; names the key and the accepted range.
    ///
    /// # Errors
    /// `Config`: the first value out of its range.
    pub fn validate(&self) -> Result<()> {
        let (n, r, a, c) = (&self.recogniser, &self.recipe, &self.augmentation, &self.comparison);
        let share = |v: f64| (0.0..=1.0).contains(&v);
        let positive = |v: f64| v > 0.0 && v.is_finite();
        let divides = self.image_size.checked_rem(1 << n.channels.len().min(16)) == Some(0);
        let checks: [(bool, &str); 13] = [
            ((16..=512).contains(&self.image_size), "image_size must lie in 16..=512"),
            (
                !n.channels.is_empty() && n.channels.len() <= 8 && divides,
                "image_size must be divisible by 2 once per entry of recogniser.channels (1 to 8 of them)",
            ),
            (n.channels.len() == n.blocks.len(), "recogniser: channels and blocks must have equal lengths"),
            (
                n.stem_channels > 0 && !n.channels.contains(&0) && !n.blocks.contains(&0),
                "recogniser: channels and blocks must be positive",
            ),
            ((2..=4096).contains(&n.embedding_size), "recogniser.embedding_size must lie in 2..=4096"),
            (
                r.steps > 0 && (2..=4096).contains(&r.batch_size),
                "recipe: steps must be positive, batch_size in 2..=4096",
            ),
            (
                positive(r.learning_rate) && positive(r.scale) && r.margin >= 0.0 && r.margin < 1.5,
                "recipe: learning_rate and scale must be positive, margin in [0, 1.5)",
            ),
            ((0.0..1.0).contains(&r.momentum), "recipe.momentum must lie in [0, 1)"),
            (r.weight_decay >= 0.0 && r.weight_decay.is_finite(), "recipe.weight_decay must not be negative"),
            ((0.0..1.0).contains(&r.warmup), "recipe.warmup must lie in [0, 1)"),
            (
                share(a.erase) && [a.shift, a.scale, a.colour].iter().all(|v| (0.0..0.9).contains(v)),
                "augmentation: erase must lie in [0, 1], shift, scale and colour in [0, 0.9)",
            ),
            (
                [c.synthetic_share, c.new_share, c.pretrain_share].iter().all(|v| *v > 0.0 && *v < 1.0),
                "comparison: synthetic_share, new_share and pretrain_share must lie between 0 and 1",
            ),
            ((0.0..1.0).contains(&c.real_last), "comparison.real_last must lie in [0, 1)"),
        ];
        match checks.iter().find(|(ok, _)| !ok) {
            Some((_, message)) => Err(Error::Config((*message).to_owned())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid_and_keys_are_checked() {
        for preset in [RecogniserPreset::Tiny, RecogniserPreset::Small, RecogniserPreset::Base] {
            let config = EvaluationConfig::preset(preset);
            config.validate().unwrap();
            assert_eq!(super::super::with(&config, "recipe.steps=7").unwrap().recipe.steps, 7);
            let e = super::super::with(&config, "recipe.step=7").unwrap_err().to_string();
            assert!(e.contains("unknown key `recipe.step`; did you mean `recipe.steps`?"), "{e}");
            assert!(EvaluationConfig { image_size: 50, ..config }.validate().is_err());
        }
    }
}
