//! What values a configuration may have, beyond their types.

use super::{LatentSource, RunConfig, Trunk, Upsample};
use crate::error::{Error, Result};

impl RunConfig {
    /// Checks values that types cannot; names the key and the accepted range.
    ///
    /// # Errors
    /// `Config`: the first value out of its range.
    pub fn validate(&self) -> Result<()> {
        let (t, g, m) = (&self.train, &self.model.generator, &self.model);
        let side = g.start_side << g.channels.len().min(16);
        let share = |v: f64| (0.0..=1.0).contains(&v);
        let positive = |v: f64| v > 0.0 && v.is_finite();
        let weight = |v: f64| v >= 0.0 && v.is_finite();
        let strided_fits = |t: &Trunk| match t {
            Trunk::Strided { channels } => {
                !channels.is_empty() && !channels.contains(&0) && self.image_size >> channels.len().min(60) >= 1
            }
            Trunk::Alexnet | Trunk::Googlenet => self.image_size == 128,
        };
        let checks: [(bool, &str); 24] = [
            ((8..=512).contains(&self.image_size), "image_size must lie in 8..=512"),
            (
                side == self.image_size,
                "model.generator: start_side doubled once per entry of channels must give image_size",
            ),
            (g.channels.len() == g.kernels.len(), "model.generator: channels and kernels must have equal lengths"),
            (g.channels.last() == Some(&3), "model.generator.channels must end with 3 (RGB)"),
            (!g.channels.contains(&0) && g.start_channels > 0, "model.generator: channels must be positive"),
            (
                g.upsample == Upsample::Nearest || g.kernels.iter().all(|k| *k == 4),
                "model.generator.kernels must all be 4 with upsample = \"transposed\"",
            ),
            (
                g.upsample == Upsample::Transposed || g.kernels.iter().all(|k| k % 2 == 1),
                "model.generator.kernels must be odd with upsample = \"nearest\"",
            ),
            ((1..=4096).contains(&m.latent_dim), "model.latent_dim must lie in 1..=4096"),
            (
                !m.classifier_hidden.is_empty() && !m.classifier_hidden.contains(&0),
                "model.classifier_hidden needs positive widths",
            ),
            (m.label_width <= 4096, "model.label_width must lie in 0..=4096"),
            (strided_fits(&m.encoder), "model.encoder does not fit image_size"),
            (strided_fits(&m.discriminator), "model.discriminator does not fit image_size"),
            (strided_fits(&m.classifier), "model.classifier does not fit image_size"),
            (positive(t.duration_kimg), "train.duration_kimg must be positive"),
            (weight(t.patience_kimg), "train.patience_kimg must not be negative"),
            (
                (2..=4096).contains(&t.batch_size),
                "train.batch_size must lie in 2..=4096 (batch normalisation needs two)",
            ),
            (positive(t.learning_rate), "train.learning_rate must be positive"),
            (
                [t.beta1, t.beta2, t.centre_decay].iter().all(|b| (0.0..1.0).contains(b)),
                "train.beta1, beta2 and centre_decay must lie in [0, 1)",
            ),
            (
                [t.kl_weight, t.pair_weight, t.pair_pixel, t.pair_d, t.pair_c, t.pair_maps]
                    .iter()
                    .chain(&[t.mean_weight, t.class_mean_weight, t.adversarial_weight, t.class_adversarial_weight])
                    .all(|w| weight(*w)),
                "train: loss weights must not be negative",
            ),
            (share(t.classifier_decay), "train.classifier_decay must lie in [0, 1]"),
            (share(t.cross_fraction), "train.cross_fraction must lie in [0, 1]"),
            (
                positive(t.ema_halflife_kimg) && positive(t.checkpoint_kimg) && positive(t.grid_kimg),
                "train: ema_halflife_kimg, checkpoint_kimg and grid_kimg must be positive",
            ),
            (
                t.method.encodes() || self.synthesis.latent == LatentSource::Prior,
                "synthesis.latent must be `prior`: train.method cgan and fm-cgan have no encoder, and so no posteriors to draw from",
            ),
            (weight(self.synthesis.truncation), "synthesis.truncation must not be negative"),
        ];
        match checks.iter().find(|(ok, _)| !ok) {
            Some((_, message)) => Err(Error::Config((*message).to_owned())),
            None => Ok(()),
        }
    }
}
