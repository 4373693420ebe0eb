//! The typed configuration of a run: presets, a TOML file laid over them, and its hash.
//!
//! Precedence is flags, then environment (both arrive through `cli`), then the file, then the preset. The resolved
//! configuration is saved with every run; [`RunConfig::hash`] names trained models in the cache.

mod alignment;
mod evaluation;
mod layers;
mod method;
mod presets;
mod settings;
mod validate;

use crate::error::{Error, Result};
use crate::ops::Precision;
pub use alignment::Alignment;
pub use evaluation::{
    AugmentationConfig, ComparisonConfig, EvaluationConfig, Margin, OptimiserKind, RecipeConfig, RecogniserConfig,
    RecogniserPreset,
};
use layers::lay_over;
pub use layers::{hash, to_toml, with};
pub use method::{Method, Variant};
use serde::{Deserialize, Serialize};
pub use settings::{EvaluationSettings, Settings};
use std::path::Path;

/// How much there is to train on.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Training images.
    pub images: usize,
    /// Their identities.
    pub identities: usize,
}

/// Everything that decides what a run makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Name of the preset that the other values started from.
    pub preset: Preset,
    /// Root of the random streams of the training.
    pub seed: u64,
    /// Side of the square images that the networks see, in pixels.
    pub image_size: usize,
    /// What of a picture is shown whose row says where its face is.
    #[serde(default = "Alignment::before")]
    pub alignment: Alignment,
    /// Shapes of the four networks.
    pub model: ModelConfig,
    /// Training of the CVAE-GAN.
    pub train: TrainConfig,
    /// What is synthesized from the trained model.
    pub synthesis: SynthesisConfig,
}

/// Named starting points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
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
    /// Values that stand for a label in E and G, from which dense layers make what each layer needs of it; 0 where every label has rows of
    /// its own in each of these layers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub label_width: usize,
}

/// What is 0 is left out of the text of a configuration, so that one without it keeps its hash.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it a reference")]
fn is_zero(value: &usize) -> bool {
    *value == 0
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
    /// Which of the networks and terms take part: `cvae-gan`, or one of the paper's baselines `cvae`, `cgan`, `fm-cgan`.
    #[serde(default)]
    pub method: Method,
    /// Length, in thousands of real images shown.
    pub duration_kimg: f64,
    /// The training ends earlier where a judge has seen nothing get better for so many thousand images; 0 to train to the end.
    pub patience_kimg: f64,
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
    /// Share in L_G of the maps that D and C make on the way to f_D and f_C; 0 in the paper.
    pub pair_maps: f64,
    /// lambda3, of L_GD.
    pub mean_weight: f64,
    /// lambda4, of L_GC.
    pub class_mean_weight: f64,
    /// Weight of G's cross entropy, -log D(x_f) - log D(x_p), beside the matched means; 0 in the paper.
    pub adversarial_weight: f64,
    /// Weight of G's cross entropy under C, -log P(c_p | x_p), beside the matched means of classes; 0 in the paper.
    #[serde(default)]
    pub class_adversarial_weight: f64,
    /// Decay of C's weights, times the learning rate a step (AdamW); 0 in the paper.
    pub classifier_decay: f64,
    /// Labels beside those of the batch that C tells a step's images from, drawn anew in every step; 0 for all labels.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sampled_classes: usize,
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
    /// blake3 of the weights that the training begins with; none for fresh ones. Set by `--init`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Precision of the products: `bf16` is faster where the processor multiplies it (Intel AMX, AVX512-BF16), and gives other weights.
    pub precision: Precision,
    /// Thousands of images between checkpoints.
    pub checkpoint_kimg: f64,
    /// Thousands of images between sample grids.
    pub grid_kimg: f64,
}

/// Where a synthetic image's z comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum LatentSource {
    /// N(0, I), as in the paper.
    Prior,
    /// Normal distribution fitted to the posteriors of the training images.
    Fitted,
    /// Posterior of a random training image of another identity: its pose, light and expression.
    Posterior,
    /// Between the posteriors of two training images of the identity itself (of its sources, for a new one).
    Morph,
    /// What sets a random training image of another identity apart from that identity's mean, added to the mean of the own one.
    Transfer,
}

impl LatentSource {
    /// Every source.
    pub const ALL: [Self; 5] = [Self::Prior, Self::Fitted, Self::Posterior, Self::Morph, Self::Transfer];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prior => "prior",
            Self::Fitted => "fitted",
            Self::Posterior => "posterior",
            Self::Morph => "morph",
            Self::Transfer => "transfer",
        }
    }
}

/// Synthesis from a trained model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SynthesisConfig {
    /// Root of the random streams.
    pub seed: u64,
    /// Distribution of z.
    pub latent: LatentSource,
    /// Factor on the deviation of z; below 1 more typical, above 1 more varied images.
    pub truncation: f64,
}

impl RunConfig {
    /// Lays the TOML file at `path` over the preset it names (or `preset`), as it is for so much `material`; unknown keys are errors.
    ///
    /// # Errors
    /// The file cannot be read; an unknown key, or a value of another type.
    pub fn from_file(path: &Path, preset: Option<Preset>, fallback: Preset, material: Option<Extent>) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        Self::from_toml(&text, preset, fallback, material)
            .map_err(|e| Error::Config(format!("{}: {e}", path.display())))
    }

    /// [`RunConfig::from_file`] on a string. A `preset` given by flag wins over the file's, `fallback` serves if neither
    /// names one.
    ///
    /// # Errors
    /// Text that says which key is unknown, or has a value of another type.
    pub fn from_toml(
        text: &str,
        preset: Option<Preset>,
        fallback: Preset,
        material: Option<Extent>,
    ) -> std::result::Result<Self, String> {
        lay_over(text, preset, fallback, |preset, file| {
            let defaults = Self::fitted(preset, material);
            // Another image size changes the number of layers, unless the file says that too.
            let Some(size) = file.get("image_size") else { return Ok(defaults) };
            let size = size.as_integer().and_then(|s| usize::try_from(s).ok());
            let size = size.ok_or("key `image_size`: expected a whole number of pixels")?;
            Ok(defaults.clone().with_image_size(size).unwrap_or(defaults))
        })
    }

    /// The part that decides a trained model: synthesis settings and output intervals are the preset's.
    #[must_use]
    pub fn training_only(&self) -> Self {
        let preset = Self::preset(self.preset);
        let mut c = self.clone();
        c.synthesis = SynthesisConfig::of(self.preset, self.train.method);
        (c.train.checkpoint_kimg, c.train.grid_kimg) = (preset.train.checkpoint_kimg, preset.train.grid_kimg);
        c
    }

    /// blake3 (hex) of the resolved configuration.
    ///
    /// # Errors
    /// The configuration has no text.
    pub fn hash(&self) -> Result<String> {
        hash(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid_and_survive_toml() {
        for p in [Preset::Tiny, Preset::Base, Preset::Paper] {
            let c = RunConfig::preset(p);
            c.validate().unwrap();
            assert_eq!(RunConfig::from_toml(&to_toml(&c).unwrap(), None, Preset::Tiny, None).unwrap(), c);
        }
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let e = RunConfig::from_toml("[train]\nlearning_rat = 1", None, Preset::Tiny, None).unwrap_err();
        assert_eq!(e, "unknown key `train.learning_rat`; did you mean `train.learning_rate`?");
        let of =
            |key: &str| RunConfig::from_toml(&format!("[train]\n{key} = 1"), None, Preset::Tiny, None).unwrap_err();
        assert!(of("lr").ends_with("did you mean `train.learning_rate`?"), "{}", of("lr"));
        assert!(of("xyz").contains("; there are: adversarial_weight, balanced, batch_size, "), "{}", of("xyz"));
    }

    #[test]
    fn files_override_presets_and_flags_the_file() {
        let text = "preset = \"base\"\nseed = 7\n[train]\nduration_kimg = 3";
        let c = RunConfig::from_toml(text, None, Preset::Tiny, None).unwrap();
        assert_eq!((c.preset, c.seed, c.train.duration_kimg), (Preset::Base, 7, 3.0));
        assert_eq!(RunConfig::from_toml(text, Some(Preset::Tiny), Preset::Base, None).unwrap().preset, Preset::Tiny);
    }

    #[test]
    fn other_image_sizes_change_the_number_of_layers() {
        for size in (16..=256).step_by(16) {
            for preset in [Preset::Tiny, Preset::Base] {
                let c = RunConfig::preset(preset).with_image_size(size).unwrap();
                assert_eq!(c.model.generator.start_side << c.model.generator.channels.len(), size);
            }
        }
        assert_eq!(RunConfig::preset(Preset::Base).with_image_size(112).unwrap().model.generator.start_side, 7);
        assert!(RunConfig::preset(Preset::Base).with_image_size(50).is_err());
        assert!(RunConfig::preset(Preset::Paper).with_image_size(64).is_err());
    }

    #[test]
    fn many_identities_are_a_few_values_each_unless_told_otherwise() {
        let of = |identities: usize, text: &str| {
            let material = Some(Extent { images: 10 * identities, identities });
            let c = RunConfig::from_toml(text, None, Preset::Base, material).unwrap();
            (c.model.label_width, c.train.sampled_classes)
        };
        assert_eq!((of(2000, ""), of(2001, "").1), ((0, 0), 0));
        assert!(of(2001, "").0 > 0 && of(100_000, "").1 > 0);
        assert_eq!(of(100_000, "[model]\nlabel_width = 0\n[train]\nsampled_classes = 7"), (0, 7));
        assert_eq!(of(100, "[model]\nlabel_width = 32"), (32, 0));
        // What is not used is not written, and so changes no hash.
        let text = to_toml(&RunConfig::preset(Preset::Base)).unwrap();
        assert!(!text.contains("label_width") && !text.contains("sampled_classes"));
        let set = with(&RunConfig::preset(Preset::Base), "model.label_width=32").unwrap();
        assert_eq!(with(&set, "model.label_width=0").unwrap(), RunConfig::preset(Preset::Base));
    }
}
