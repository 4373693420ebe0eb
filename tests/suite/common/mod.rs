//! Small models and data that several tests share.

pub mod program;

use augment::config::{Preset, RunConfig};
use augment::dataset::IdentityDataset;
use augment::seeds::Seeds;
use candle_core::Tensor;
use rand::RngExt;

/// Networks small enough to take a step in milliseconds.
pub fn small_config() -> RunConfig {
    let mut c = RunConfig::preset(Preset::Tiny).with_image_size(16).unwrap();
    for set in [
        "model.latent_dim=4",
        "model.generator.start_channels=8",
        "model.generator.channels=[6, 3]",
        "model.encoder={kind=\"strided\", channels=[4, 6]}",
        "model.discriminator={kind=\"strided\", channels=[4, 6]}",
        "model.classifier={kind=\"strided\", channels=[4, 6]}",
        "model.classifier_hidden=[5]",
        "train.batch_size=6",
        "train.checkpoint_kimg=0.012",
        "train.grid_kimg=0.03",
    ] {
        c = augment::config::with(&c, set).unwrap();
    }
    c.validate().unwrap();
    c
}

/// Noise images whose brightness tells the identity.
pub fn small_dataset(identities: usize, per_id: usize) -> IdentityDataset {
    let mut rng = Seeds::new(99).stream("test images", &[]);
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for label in 0..identities {
        for _ in 0..per_id {
            let level = (label * 200 / identities) as u8;
            pixels.extend((0..16 * 16 * 3).map(|_| level + rng.random_range(0..50u8)));
            labels.push(label as u32);
        }
    }
    let names = (0..identities).map(|i| format!("id{i}")).collect();
    IdentityDataset::new(16, pixels, labels, names).unwrap()
}

/// Bit patterns of a tensor's values.
pub fn bits(t: &Tensor) -> Vec<u32> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect()
}
