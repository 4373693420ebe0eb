//! The named starting points, and their adaptation to other image sizes.

use super::{
    Alignment, Extent, GeneratorConfig, LatentSource, Method, ModelConfig, Preset, RunConfig, SynthesisConfig,
    TrainConfig, Trunk, Upsample,
};
use crate::error::{Error, Result};
use crate::ops::Precision;

/// Side of the smallest feature map, at least.
const SMALLEST_SIDE: usize = 4;

/// Times that preset `base` shows a training image: what 3,020 photographs were trained for in docs/evaluation.md.
const PASSES: usize = 33;
/// Length of its shortest training: fewer steps are too few, however few the images are.
const SHORTEST_KIMG: f64 = 60.0;

/// Identities above which a label is [`LABEL_WIDTH`] values: with more, moving every label's rows in every layer slows a step down.
const MANY_IDENTITIES: usize = 2000;
/// Values of a label where there are many.
const LABEL_WIDTH: usize = 128;
/// Identities above which C tells a step's images from [`SAMPLED_CLASSES`] and the batch's, not from all.
const MANY_CLASSES: usize = 10_000;
/// Labels that are drawn for a step where there are very many.
const SAMPLED_CLASSES: usize = 1024;

impl RunConfig {
    /// The configuration that `preset` names.
    pub fn preset(preset: Preset) -> Self {
        let strided = |channels: &[usize]| Trunk::Strided { channels: channels.to_vec() };
        let train = TrainConfig {
            method: Method::CvaeGan,
            duration_kimg: 400.0,
            patience_kimg: 0.0,
            batch_size: 32,
            learning_rate: 2e-4,
            beta1: 0.5,
            beta2: 0.999,
            kl_weight: 3.0,
            pair_weight: 1.0,
            pair_pixel: 1.0,
            pair_d: 1.0,
            pair_c: 1.0,
            pair_maps: 0.0,
            mean_weight: 1e-3,
            class_mean_weight: 1e-3,
            adversarial_weight: 0.0,
            class_adversarial_weight: 0.0,
            classifier_decay: 0.0,
            sampled_classes: 0,
            centre_decay: 0.9,
            cross_fraction: 0.0,
            ema_halflife_kimg: 5.0,
            flip: true,
            balanced: false,
            init: None,
            precision: Precision::F32,
            checkpoint_kimg: 5.0,
            grid_kimg: 10.0,
        };
        let (image_size, model, train) = match preset {
            Preset::Tiny => (
                32,
                ModelConfig {
                    latent_dim: 16,
                    encoder: strided(&[32, 64, 128]),
                    generator: GeneratorConfig {
                        hidden: 0,
                        start_side: 4,
                        start_channels: 128,
                        channels: vec![64, 32, 3],
                        kernels: vec![4; 3],
                        upsample: Upsample::Transposed,
                        conditional_norm: true,
                    },
                    discriminator: strided(&[32, 64, 128]),
                    classifier: strided(&[32, 64, 128]),
                    classifier_hidden: vec![128],
                    label_width: 0,
                },
                TrainConfig {
                    duration_kimg: 40.0,
                    patience_kimg: 30.0,
                    learning_rate: 8e-4,
                    pair_pixel: 3.0,
                    pair_d: 0.05,
                    pair_maps: 1.0,
                    mean_weight: 0.5,
                    class_mean_weight: 0.1,
                    adversarial_weight: 10.0,
                    classifier_decay: 0.1,
                    cross_fraction: 0.5,
                    ema_halflife_kimg: 2.0,
                    ..train
                },
            ),
            Preset::Base => (
                64,
                ModelConfig {
                    latent_dim: 32,
                    encoder: strided(&[64, 128, 256, 512]),
                    generator: GeneratorConfig {
                        hidden: 0,
                        start_side: 4,
                        start_channels: 512,
                        channels: vec![256, 128, 64, 3],
                        kernels: vec![4; 4],
                        upsample: Upsample::Transposed,
                        conditional_norm: true,
                    },
                    discriminator: strided(&[64, 128, 256, 512]),
                    classifier: strided(&[64, 128, 256, 512]),
                    classifier_hidden: vec![512],
                    label_width: 0,
                },
                TrainConfig {
                    patience_kimg: 30.0,
                    batch_size: 16,
                    learning_rate: 4e-4,
                    kl_weight: 6.0,
                    pair_d: 0.1,
                    pair_maps: 1.0,
                    mean_weight: 0.5,
                    class_mean_weight: 0.1,
                    adversarial_weight: 10.0,
                    classifier_decay: 0.1,
                    cross_fraction: 0.5,
                    ..train
                },
            ),
            Preset::Paper => (
                128,
                ModelConfig {
                    latent_dim: 256,
                    encoder: Trunk::Googlenet,
                    generator: GeneratorConfig {
                        hidden: 1024,
                        start_side: 2,
                        start_channels: 256,
                        channels: vec![256, 256, 128, 92, 64, 3],
                        kernels: vec![3, 3, 5, 5, 5, 5],
                        upsample: Upsample::Nearest,
                        conditional_norm: false,
                    },
                    discriminator: strided(&[64, 128, 256, 512, 1024]),
                    classifier: Trunk::Alexnet,
                    classifier_hidden: vec![1024, 1024],
                    label_width: 0,
                },
                TrainConfig { batch_size: 64, duration_kimg: 4000.0, ..train },
            ),
        };
        let synthesis = SynthesisConfig::of(preset, train.method);
        Self { preset, seed: 0, image_size, alignment: Alignment::default(), model, train, synthesis }
    }

    /// [`Self::preset`] for so much `material`, if that is known: preset `base` shows each image [`PASSES`] times, within bounds; for many
    /// identities a label is a few values, and C tells images from some of them at a time.
    pub fn fitted(preset: Preset, material: Option<Extent>) -> Self {
        let mut config = Self::preset(preset);
        let Some(Extent { images, identities }) = material else { return config };
        if preset == Preset::Base {
            let kimg = (PASSES * images).div_ceil(1000) as f64;
            config.train.duration_kimg = kimg.clamp(SHORTEST_KIMG, config.train.duration_kimg);
        }
        if identities > MANY_IDENTITIES {
            config.model.label_width = LABEL_WIDTH;
        }
        if identities > MANY_CLASSES {
            config.train.sampled_classes = SAMPLED_CLASSES;
        }
        config
    }

    /// Adapts the strided networks to another image side: they halve it as long as a whole number of 4 or more is left.
    ///
    /// # Errors
    /// A side that is no multiple of 16, or networks that have a side of their own.
    pub fn with_image_size(mut self, size: usize) -> Result<Self> {
        self.validate()?;
        let old = self.image_size;
        self.image_size = size;
        if size != old {
            let (mut start, mut doublings) = (size, 0);
            while start.is_multiple_of(2) && start / 2 >= SMALLEST_SIDE {
                (start, doublings) = (start / 2, doublings + 1);
            }
            if !size.is_multiple_of(16) || size == 0 {
                return Err(Error::Config(format!(
                    "image size {size} is no multiple of 16; use 64, 96, 112 or 128, say"
                )));
            }
            let g = &mut self.model.generator;
            g.start_side = start;
            resize_layers(&mut g.channels, doublings);
            resize_layers(&mut g.kernels, doublings);
            let m = &mut self.model;
            for trunk in [&mut m.encoder, &mut m.discriminator, &mut m.classifier] {
                match trunk {
                    Trunk::Strided { channels } => {
                        resize_layers(channels, doublings);
                    }
                    Trunk::Alexnet | Trunk::Googlenet => {
                        return Err(Error::Config(format!(
                            "preset `paper` has networks for 128x128 images, not {size}; use preset `base`"
                        )));
                    }
                }
            }
        }
        self.validate()?;
        Ok(self)
    }
}

impl SynthesisConfig {
    /// How a model of `preset` and `method` is drawn from where nobody says how.
    pub fn of(preset: Preset, method: Method) -> Self {
        let (latent, truncation) = match preset {
            Preset::Tiny | Preset::Base if method.encodes() => (LatentSource::Transfer, 0.85),
            Preset::Tiny | Preset::Base | Preset::Paper => (LatentSource::Prior, 1.0),
        };
        Self { seed: 0, latent, truncation }
    }
}

/// Repeats or drops the first entries so that `layers` has `n`.
fn resize_layers(layers: &mut Vec<usize>, n: usize) {
    while layers.len() > n {
        layers.remove(0);
    }
    while layers.len() < n {
        layers.insert(0, layers[0]);
    }
}
