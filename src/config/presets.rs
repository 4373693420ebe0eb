//! The named starting points, and their adaptation to other image sizes.

use super::{
    GeneratorConfig, LatentSource, ModelConfig, Preset, RunConfig, SynthesisConfig, TrainConfig, Trunk, Upsample,
};
use crate::error::{Error, Result};
use crate::ops::Precision;

impl RunConfig {
    /// The configuration that `preset` names.
    pub fn preset(preset: Preset) -> Self {
        let strided = |channels: &[usize]| Trunk::Strided { channels: channels.to_vec() };
        let train = TrainConfig {
            duration_kimg: 400.0,
            batch_size: 32,
            learning_rate: 2e-4,
            beta1: 0.5,
            beta2: 0.999,
            kl_weight: 3.0,
            pair_weight: 1.0,
            pair_pixel: 1.0,
            pair_d: 1.0,
            pair_c: 1.0,
            mean_weight: 1e-3,
            class_mean_weight: 1e-3,
            centre_decay: 0.9,
            cross_fraction: 0.0,
            ema_halflife_kimg: 5.0,
            flip: true,
            balanced: false,
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
                },
                TrainConfig {
                    duration_kimg: 40.0,
                    pair_d: 0.3,
                    mean_weight: 0.5,
                    class_mean_weight: 0.1,
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
                },
                TrainConfig {
                    kl_weight: 6.0,
                    pair_d: 0.1,
                    mean_weight: 0.5,
                    class_mean_weight: 0.1,
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
                },
                TrainConfig { batch_size: 64, duration_kimg: 4000.0, ..train },
            ),
        };
        Self {
            preset,
            seed: 0,
            image_size,
            model,
            train,
            synthesis: SynthesisConfig { seed: 0, latent: LatentSource::Prior, truncation: 1.0 },
        }
    }

    /// Adapts the strided networks to another image side: a power of two times the preset's smallest feature map.
    pub fn with_image_size(mut self, size: usize) -> Result<Self> {
        self.validate()?;
        let old = self.image_size;
        self.image_size = size;
        if size != old {
            let g = &mut self.model.generator;
            let doublings =
                size.checked_div(g.start_side).filter(|d| d.is_power_of_two() && *d > 1 && d * g.start_side == size);
            let Some(doublings) = doublings.map(|d| d.trailing_zeros() as usize) else {
                return Err(Error::Config(format!(
                    "image size {size} is not {} times a power of two; use 32, 64 or 128",
                    g.start_side
                )));
            };
            resize_layers(&mut g.channels, doublings);
            resize_layers(&mut g.kernels, doublings);
            let m = &mut self.model;
            for trunk in [&mut m.encoder, &mut m.discriminator, &mut m.classifier] {
                match trunk {
                    Trunk::Strided { channels } => {
                        // Keep the smallest map at 4x4.
                        let layers = (size / 4).trailing_zeros() as usize;
                        while channels.len() > layers {
                            channels.remove(0);
                        }
                        while channels.len() < layers {
                            channels.insert(0, channels[0]);
                        }
                    }
                    Trunk::Alexnet | Trunk::Googlenet => {
                        return Err(Error::Config(format!(
                            "preset `paper` has networks for 128x128 images, not {size}; use --preset base"
                        )));
                    }
                }
            }
        }
        self.validate()?;
        Ok(self)
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
