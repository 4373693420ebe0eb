//! The typed configuration of a run: presets, a TOML file laid over them, and its hash.
//!
//! Precedence is flags, then environment (both arrive through `cli`), then the file, then the preset. The resolved
//! configuration is saved with every run; [`RunConfig::hash`] names trained models in the cache.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Everything that decides what a run makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Name of the preset that the other values started from.
    pub preset: Preset,
    /// Root of all random streams.
    pub seed: u64,
    /// Side of the square images that the networks see, in pixels.
    pub image_size: usize,
    /// Shapes of the four networks.
    pub model: ModelConfig,
    /// Training of the CVAE-GAN.
    pub train: TrainConfig,
    /// What is synthesized from the trained model.
    pub synthesis: SynthesisConfig,
}

/// Named starting points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// 32x32, for tests and the demonstration.
    Tiny,
    /// 64x64, about half of DCGAN's widths, for CPU training.
    Base,
    /// 128x128, the networks of the paper.
    Paper,
}

/// Networks of the CVAE-GAN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Dimensions of z.
    pub latent_dim: usize,
    /// Convolutional part of E.
    pub encoder: Trunk,
    /// G.
    pub generator: GeneratorConfig,
    /// Convolutional part of D.
    pub discriminator: Trunk,
    /// Convolutional part of C.
    pub classifier: Trunk,
    /// Widths of C's fully connected layers before the last; the last of these is f_C.
    pub classifier_hidden: Vec<usize>,
}

/// A stack of convolutions that reduces an image to a feature vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Trunk {
    /// DCGAN's: 4x4 convolutions of stride 2 with these output channels.
    Strided {
        /// Output channels, one entry a layer.
        channels: Vec<usize>,
    },
    /// AlexNet's five convolutions and three poolings, for 128x128 images.
    Alexnet,
    /// GoogLeNet's nine inception modules with batch normalisation, for 128x128 images.
    Googlenet,
}

/// How a generator block doubles the image's side.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Upsample {
    /// Transposed convolution of stride 2 (kernel 4).
    Transposed,
    /// Repeat pixels, then convolve.
    Nearest,
}

/// Shape of G.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratorConfig {
    /// Width of the first of two fully connected layers; 0 for a single one.
    pub hidden: usize,
    /// Side of the first feature map, in pixels.
    pub start_side: usize,
    /// Channels of the first feature map.
    pub start_channels: usize,
    /// Output channels of each doubling block; the last is 3.
    pub channels: Vec<usize>,
    /// Kernel sizes, one a block.
    pub kernels: Vec<usize>,
    /// Kind of the doubling blocks.
    pub upsample: Upsample,
    /// Scale and shift of each normalisation depend on the label.
    pub conditional_norm: bool,
}

/// Training of the CVAE-GAN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Length, in thousands of real images shown.
    pub duration_kimg: f64,
    /// Real images a step.
    pub batch_size: usize,
    /// Adam's step size, all networks.
    pub learning_rate: f64,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
    /// lambda1, of L_KL.
    pub kl_weight: f64,
    /// lambda2, of L_G.
    pub pair_weight: f64,
    /// Share of the pixel term in L_G; 1 in the paper, 0 to switch it off.
    pub pair_pixel: f64,
    /// Share of the f_D term in L_G; 1 in the paper, 0 to switch it off.
    pub pair_d: f64,
    /// Share of the f_C term in L_G; 1 in the paper, 0 to switch it off.
    pub pair_c: f64,
    /// lambda3, of L_GD.
    pub mean_weight: f64,
    /// lambda4, of L_GC.
    pub class_mean_weight: f64,
    /// Decay of the moving averages of feature means, a step (overall) or a visit (of a class).
    pub centre_decay: f64,
    /// Share of the label-only fakes whose z comes from the posterior of another image instead of N(0, I); 0 in the paper.
    pub cross_fraction: f64,
    /// Half-life of the averaged generator, in thousands of images.
    pub ema_halflife_kimg: f64,
    /// Mirror images at random.
    pub flip: bool,
    /// Draw identities evenly instead of images evenly.
    pub balanced: bool,
    /// Thousands of images between checkpoints.
    pub checkpoint_kimg: f64,
    /// Thousands of images between sample grids.
    pub grid_kimg: f64,
}

/// Where a synthetic image's z comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LatentSource {
    /// N(0, I), as in the paper.
    Prior,
    /// Normal distribution fitted to the posteriors of the training images.
    Fitted,
}

/// Synthesis from a trained model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SynthesisConfig {
    /// Distribution of z.
    pub latent: LatentSource,
    /// Factor on the deviation of z; below 1 more typical, above 1 more varied images.
    pub truncation: f64,
}

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
            synthesis: SynthesisConfig { latent: LatentSource::Prior, truncation: 1.0 },
        }
    }

    /// Lays the TOML file at `path` over the preset it names (or `preset`); unknown keys are errors.
    pub fn from_file(path: &Path, preset: Option<Preset>, fallback: Preset) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        Self::from_toml(&text, preset, fallback).map_err(|e| Error::Config(format!("{}: {e}", path.display())))
    }

    /// [`RunConfig::from_file`] on a string. A `preset` given by flag wins over the file's, `fallback` serves if neither
    /// names one.
    pub fn from_toml(text: &str, preset: Option<Preset>, fallback: Preset) -> std::result::Result<Self, String> {
        let mut file: toml::Table = text.parse().map_err(|e: toml::de::Error| e.to_string())?;
        let named = match file.remove("preset") {
            Some(v) => Some(v.try_into::<Preset>().map_err(|e| format!("key `preset`: {e}"))?),
            None => None,
        };
        let defaults = Self::preset(preset.or(named).unwrap_or(fallback));
        let mut table = toml::Table::try_from(&defaults).map_err(|e| e.to_string())?;
        overlay(&mut table, file, "")?;
        toml::Value::Table(table).try_into().map_err(|e: toml::de::Error| e.to_string())
    }

    /// Canonical TOML text.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).map_err(|e| Error::Config(e.to_string()))
    }

    /// The part that decides a trained model: synthesis settings and output intervals are the preset's.
    #[must_use]
    pub fn training_only(&self) -> Self {
        let preset = Self::preset(self.preset);
        let mut c = self.clone();
        c.synthesis = preset.synthesis;
        (c.train.checkpoint_kimg, c.train.grid_kimg) = (preset.train.checkpoint_kimg, preset.train.grid_kimg);
        c
    }

    /// blake3 (hex) of the resolved configuration.
    pub fn hash(&self) -> Result<String> {
        let json = serde_json::to_string(self).map_err(|e| Error::Config(e.to_string()))?;
        Ok(blake3::hash(json.as_bytes()).to_hex().to_string())
    }

    /// One more value, as `key.in.dots=value` in TOML; a bare word counts as a string.
    pub fn with(&self, assignment: &str) -> Result<Self> {
        let error = |m: String| Error::Config(format!("--set {assignment}: {m}"));
        let (key, value) = assignment.split_once('=').ok_or_else(|| error("expected KEY=VALUE".into()))?;
        let parsed = format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("v"));
        let mut value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
        for part in key.trim().rsplit('.') {
            value = toml::Value::Table(toml::Table::from_iter([(part.to_owned(), value)]));
        }
        let toml::Value::Table(file) = value else { return Err(error("empty key".into())) };
        let mut table = toml::Table::try_from(self).map_err(|e| error(e.to_string()))?;
        overlay(&mut table, file, "").map_err(error)?;
        toml::Value::Table(table).try_into().map_err(|e: toml::de::Error| error(e.to_string()))
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

    /// Checks values that types cannot; names the key and the accepted range.
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
        let checks: [(bool, &str); 20] = [
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
            (strided_fits(&m.encoder), "model.encoder does not fit image_size"),
            (strided_fits(&m.discriminator), "model.discriminator does not fit image_size"),
            (strided_fits(&m.classifier), "model.classifier does not fit image_size"),
            (positive(t.duration_kimg), "train.duration_kimg must be positive"),
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
                [t.kl_weight, t.pair_weight, t.pair_pixel, t.pair_d, t.pair_c, t.mean_weight, t.class_mean_weight]
                    .iter()
                    .all(|w| weight(*w)),
                "train: loss weights must not be negative",
            ),
            (share(t.cross_fraction), "train.cross_fraction must lie in [0, 1]"),
            (
                positive(t.ema_halflife_kimg) && positive(t.checkpoint_kimg) && positive(t.grid_kimg),
                "train: ema_halflife_kimg, checkpoint_kimg and grid_kimg must be positive",
            ),
            (weight(self.synthesis.truncation), "synthesis.truncation must not be negative"),
        ];
        match checks.iter().find(|(ok, _)| !ok) {
            Some((_, message)) => Err(Error::Config((*message).to_owned())),
            None => Ok(()),
        }
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

/// Replaces values of `base` by those of `file`; a key that `base` lacks is an error that names the nearest one.
fn overlay(base: &mut toml::Table, file: toml::Table, path: &str) -> std::result::Result<(), String> {
    for (key, value) in file {
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        // The keys of a trunk depend on its kind: replace it whole and let its type check it.
        let whole = value.get("kind").is_some();
        match (base.get_mut(&key), value) {
            (None, _) => {
                let near = base.keys().min_by_key(|k| strsim::damerau_levenshtein(k, &key));
                let near = near.map(|k| format!("; did you mean `{k}`?")).unwrap_or_default();
                return Err(format!("unknown key `{full}`{near}"));
            }
            (Some(toml::Value::Table(inner)), toml::Value::Table(value)) if !whole => overlay(inner, value, &full)?,
            // Whole numbers are welcome where a fraction is expected.
            (Some(slot @ toml::Value::Float(_)), toml::Value::Integer(i)) => *slot = toml::Value::Float(i as f64),
            (Some(slot), value) => *slot = value,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid_and_survive_toml() {
        for p in [Preset::Tiny, Preset::Base, Preset::Paper] {
            let c = RunConfig::preset(p);
            c.validate().unwrap();
            assert_eq!(RunConfig::from_toml(&c.to_toml().unwrap(), None, Preset::Tiny).unwrap(), c);
        }
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let e = RunConfig::from_toml("[train]\nlearning_rat = 1", None, Preset::Tiny).unwrap_err();
        assert_eq!(e, "unknown key `train.learning_rat`; did you mean `learning_rate`?");
    }

    #[test]
    fn files_override_presets_and_flags_the_file() {
        let text = "preset = \"base\"\nseed = 7\n[train]\nduration_kimg = 3";
        let c = RunConfig::from_toml(text, None, Preset::Tiny).unwrap();
        assert_eq!((c.preset, c.seed, c.train.duration_kimg), (Preset::Base, 7, 3.0));
        assert_eq!(RunConfig::from_toml(text, Some(Preset::Tiny), Preset::Base).unwrap().preset, Preset::Tiny);
    }

    #[test]
    fn other_image_sizes_change_the_number_of_layers() {
        for size in [16, 32, 64, 128] {
            let c = RunConfig::preset(Preset::Base).with_image_size(size).unwrap();
            assert_eq!(c.model.generator.start_side << c.model.generator.channels.len(), size);
        }
        assert!(RunConfig::preset(Preset::Base).with_image_size(48).is_err());
        assert!(RunConfig::preset(Preset::Paper).with_image_size(64).is_err());
    }
}
