//! What to synthesize, and where and how to write it: the two halves of every order.

use super::place;
use crate::config::{LatentSource, RunConfig};
use crate::error::{Error, Result};
use crate::formats::{self, Format};
use crate::ops;
use crate::recogniser::judge::Judge;
use crate::recogniser::outside::Outside;
use crate::sink::order::Order;
pub use crate::store::Share;
use crate::train;
use candle_core::Device;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// [`Synthesis::mix_sum`] where nothing else is asked for (docs/experiments.md).
pub const MIX_SUM: f64 = 1.6;

/// Who decides which candidates are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Chooser {
    /// A judge of the identity set's own, which stands beside its model and is trained on half of its images if it is not there yet. Where
    /// it accepts too few, those most like the identity fill up, unless a similarity is demanded.
    #[default]
    Own,
    /// Nobody.
    Nobody,
    /// This judge: the folder of an evaluation, or its judge.safetensors; or a face network in ONNX, or a TOML that says how one is fed.
    /// Only what it accepts is kept.
    Judge(PathBuf),
}

/// A judge that was named.
pub(super) enum NamedJudge {
    /// Of an evaluation.
    Ours(Box<Judge>),
    /// A face network of somebody else's, who is shown the training images.
    Outside(Box<Outside>),
}

impl NamedJudge {
    /// Hash of all that decides what it thinks.
    pub fn hash(&self) -> &str {
        match self {
            Self::Ours(judge) => &judge.hash,
            Self::Outside(outside) => &outside.hash,
        }
    }
}

/// What to synthesize.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Synthesis {
    /// Images of each identity.
    pub per_id: usize,
    /// Instead, fill every identity up to so many images, real ones counted.
    pub balance_to: Option<usize>,
    /// Identities that do not exist to make for each set, from mixed labels.
    pub new_identities: usize,
    /// Identities mixed into each new one.
    pub mix: usize,
    /// Sum of their weights: above 1 new identities lie farther out, where persons differ more.
    pub mix_sum: f64,
    /// Root of the random streams; without one the configuration's.
    pub seed: Option<u64>,
    /// Distribution of z; without one the configuration's.
    pub latent: Option<LatentSource>,
    /// Factor on the deviation of z; without one the configuration's, or 1 with another `latent` than it has.
    pub truncation: Option<f64>,
    /// Who decides which candidates are kept.
    pub chooser: Chooser,
    /// Cosine similarity to the identity that the judge demands; without one the judge's threshold, and no other identity nearer.
    pub min_similarity: Option<f64>,
    /// Candidates that are looked at for an identity, in multiples of the images asked for.
    pub tries: usize,
    /// Leave out images whose similarity to a training image (aligned pixels, in [0, 1]) is larger; without one what training images
    /// seldom exceed among each other, 0.98 at most.
    pub max_copy_similarity: Option<f64>,
}

impl Default for Synthesis {
    fn default() -> Self {
        Self {
            per_id: 50,
            balance_to: None,
            new_identities: 0,
            mix: 2,
            mix_sum: MIX_SUM,
            seed: None,
            latent: None,
            truncation: None,
            chooser: Chooser::Own,
            min_similarity: None,
            tries: 4,
            max_copy_similarity: None,
        }
    }
}

impl Synthesis {
    /// `config` with what is asked for here.
    ///
    /// # Errors
    /// A value out of its range.
    pub fn over(&self, mut config: RunConfig) -> Result<RunConfig> {
        config.synthesis.seed = self.seed.unwrap_or(config.synthesis.seed);
        let s = &mut config.synthesis;
        if let Some(latent) = self.latent.filter(|latent| *latent != s.latent) {
            // A factor belongs to the distribution that it was chosen for.
            (s.latent, s.truncation) = (latent, 1.0);
        }
        s.truncation = self.truncation.unwrap_or(s.truncation);
        config.validate()?;
        Ok(config)
    }

    /// The judge that is named.
    pub(super) fn load_judge(&self, device: &Device) -> Result<Option<NamedJudge>> {
        match &self.chooser {
            Chooser::Judge(path) if path.extension().is_some_and(|e| e == "onnx" || e == "toml") => {
                Outside::load(path, None).map(|judge| Some(NamedJudge::Outside(Box::new(judge))))
            }
            Chooser::Judge(path) => Judge::load(path, device).map(|judge| Some(NamedJudge::Ours(Box::new(judge)))),
            Chooser::Own | Chooser::Nobody => Ok(None),
        }
    }
}

/// Sides that images are written at, in pixels.
const OUTPUT_SIZES: RangeInclusive<usize> = 16..=1024;

/// Refuses a side of images that option `name` asks for, in pixels.
pub(super) fn check_size(name: &str, size: usize) -> Result<()> {
    let (least, most) = OUTPUT_SIZES.into_inner();
    if OUTPUT_SIZES.contains(&size) {
        return Ok(());
    }
    Err(Error::Usage(format!("option `{name}` {size} must lie between {least} and {most} px")))
}

/// Encoding of synthesized images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Encoding {
    /// JPEG of quality 95.
    #[default]
    Jpeg,
    /// PNG.
    Png,
}

/// Where and how to write.
#[derive(Clone, Serialize, Deserialize)]
pub struct Destination {
    /// Output folder.
    pub out: PathBuf,
    /// Layout of the dataset.
    #[serde(serialize_with = "format_name", deserialize_with = "named_format")]
    pub format: &'static dyn Format,
    /// Encoding of synthesized images.
    pub encoding: Encoding,
    /// Side of all images, in pixels; without it that of the networks, and real images that are not aligned keep their own.
    pub output_size: Option<usize>,
    /// Also write the real images, encoded again without metadata.
    pub include_real: bool,
    /// Make again what was changed or lost since it was written, instead of refusing to go on.
    pub repair: bool,
    /// Who else may read it.
    pub share: Share,
    /// Rows that are committed together.
    pub shard_rows: NonZeroUsize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn format_name<S: Serializer>(format: &&'static dyn Format, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.serialize_str(format.name())
}

fn named_format<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<&'static dyn Format, D::Error> {
    let name = String::deserialize(from)?;
    formats::named(&name).ok_or_else(|| serde::de::Error::custom(format!("no format {name}")))
}

impl Destination {
    /// Parquet shards of JPEG images in `out`.
    pub fn new(out: impl Into<PathBuf>) -> Self {
        Self {
            out: out.into(),
            format: &formats::parquet::Parquet,
            encoding: Encoding::Jpeg,
            output_size: None,
            include_real: false,
            repair: false,
            share: Share::Nobody,
            shard_rows: NonZeroUsize::new(10_000).unwrap_or(NonZeroUsize::MIN),
        }
    }

    /// The same with an output folder that can be used, if the size of its images can be.
    pub(super) fn placed(&self) -> Result<Self> {
        self.output_size.map_or(Ok(()), |size| check_size("output_size", size))?;
        Ok(Self { out: place::usable(&self.out)?, ..self.clone() })
    }

    /// Bytes of an image of side `size`, as faces come out: about, and at least.
    pub(super) fn image_bytes(&self, size: usize) -> (u64, u64) {
        let pixels = (size * size) as u64;
        match self.encoding {
            Encoding::Jpeg => (pixels * 7 / 10 + 1000, pixels / 8 + 600),
            Encoding::Png => (pixels * 5 / 2 + 1000, pixels / 4 + 600),
        }
    }

    /// An order of what this program makes on `device` of the images of a manifest and a configuration with these hashes, written here.
    pub(super) fn order(&self, manifest_hash: &str, config_hash: &str, device: &Device) -> Order {
        Order {
            algorithm: (train::VERSION, ops::VERSION),
            kernels: ops::kernels(device).into(),
            include_real: self.include_real,
            format: self.format.name().into(),
            encoding: self.extension().into(),
            output_size: self.output_size,
            shard_rows: self.shard_rows.get(),
            share: self.share,
            ..Order::new(manifest_hash, config_hash)
        }
    }

    /// Extension of its image files.
    pub(super) fn extension(&self) -> &'static str {
        match self.encoding {
            Encoding::Jpeg => "jpg",
            Encoding::Png => "png",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Preset;

    #[test]
    fn a_factor_belongs_to_the_latent_source_that_it_was_chosen_for() {
        let of = |latent, truncation| {
            let wanted = Synthesis { latent, truncation, ..Synthesis::default() };
            wanted.over(RunConfig::preset(Preset::Base)).map(|c| (c.synthesis.latent, c.synthesis.truncation)).ok()
        };
        let (transfer, prior) = (LatentSource::Transfer, LatentSource::Prior);
        assert_eq!(of(None, None), Some((transfer, 0.85)));
        assert_eq!(of(Some(transfer), None), Some((transfer, 0.85)));
        assert_eq!(of(Some(prior), None), Some((prior, 1.0)));
        assert_eq!(of(Some(prior), Some(0.7)), Some((prior, 0.7)));
    }
}
