//! Groups of arguments that several subcommands share, and the requests that they ask for.

use ::augment::config::{Alignment, EvaluationSettings, LatentSource, Preset, RecogniserPreset, Settings};
use ::augment::jobs::evaluate::Test;
use ::augment::jobs::wanted::{Chooser, Destination, Encoding, MIX_SUM, Share, Synthesis};
use ::augment::jobs::{Columns, FORMATS, Input, NaiveDate, format_named};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What columns are called.
#[derive(Args)]
#[allow(clippy::struct_field_names, reason = "they are the names of flags")]
pub struct ColumnArgs {
    /// Name of the identity column.
    #[arg(long, value_name = "NAME", default_value = "identity", help_heading = "Input")]
    pub identity_column: String,
    /// Name of the column with encoded images.
    #[arg(long, value_name = "NAME", default_value = "image", help_heading = "Input")]
    pub image_column: String,
    /// Name of the column with image paths, used where there is no image column.
    #[arg(long, value_name = "NAME", default_value = "image_uri", help_heading = "Input")]
    pub uri_column: String,
}

impl ColumnArgs {
    /// The names.
    pub fn columns(&self) -> Columns {
        let [identity, image, image_uri] =
            [&self.identity_column, &self.image_column, &self.uri_column].map(Clone::clone);
        Columns { identity, image, image_uri }
    }
}

/// Which images to read.
#[derive(Args)]
pub struct InputArgs {
    /// Parquet file, folder or quoted glob; `hf://datasets/owner/name@COMMIT/path.parquet` for the hub.
    #[arg(long, env = "AUGMENT_MANIFEST", value_name = "PATH", required = true, help_heading = "Input")]
    pub manifest: Option<String>,
    #[command(flatten)]
    pub rows: RowArgs,
}

impl InputArgs {
    /// What they ask for.
    pub fn request(&self) -> Input {
        self.rows.request(self.spec())
    }

    /// The manifest as typed.
    pub fn spec(&self) -> &str {
        // The parser has seen that it is there.
        self.manifest.as_deref().unwrap_or_default()
    }
}

/// Which rows of a manifest to use.
#[derive(Args)]
pub struct RowArgs {
    /// Rows to use: a value of the column `split`, or `all` [default: `train` if there is one, else all].
    #[arg(long, env = "AUGMENT_SPLIT", value_name = "NAME", help_heading = "Input")]
    pub split: Option<String>,
    /// This identity set alone: a value of the column `identity_set` [default: all].
    #[arg(long, env = "AUGMENT_IDENTITY_SET", value_name = "NAME", help_heading = "Input")]
    pub identity_set: Option<String>,
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Use only rows whose subjects agreed to this purpose: `consent` is true, `purpose` names it (several are separated by `;`),
    /// `expires` has not passed. Rows that lack one of these are left out.
    #[arg(long, env = "AUGMENT_PURPOSE", value_name = "NAME", help_heading = "Input")]
    pub purpose: Option<String>,
    /// The day that `expires` is compared with, YYYY-MM-DD [default: today, UTC].
    #[arg(long, value_name = "DAY", requires = "purpose", value_parser = day, help_heading = "Input")]
    pub as_of: Option<NaiveDate>,
    /// Largest share of rows that may be rejected, in [0, 1].
    #[arg(long, env = "AUGMENT_MAX_BAD", value_name = "SHARE", default_value_t = 0.001, help_heading = "Input")]
    pub max_bad: f64,
}

impl RowArgs {
    /// What they ask for of the manifest `spec`.
    pub fn request(&self, spec: &str) -> Input {
        Input {
            split: self.split.clone(),
            identity_set: self.identity_set.clone(),
            columns: self.columns.columns(),
            purpose: self.purpose.clone(),
            as_of: self.as_of,
            max_bad: self.max_bad,
            ..Input::new(spec)
        }
    }
}

/// How to train.
#[derive(Args)]
pub struct ConfigArgs {
    /// TOML file laid over the preset (see `augment config`).
    #[arg(long, env = "AUGMENT_CONFIG", value_name = "FILE", help_heading = "Configuration")]
    pub config: Option<PathBuf>,
    /// Starting point of the configuration [default: tiny for images under 64 px, else base].
    #[arg(long, env = "AUGMENT_PRESET", help_heading = "Configuration")]
    pub preset: Option<Preset>,
    /// Side of the images that the networks see, in pixels: a multiple of 16 [default: that of the images, if they are small, else
    /// the preset's].
    #[arg(long, env = "AUGMENT_IMAGE_SIZE", value_name = "PX", help_heading = "Configuration")]
    pub image_size: Option<usize>,
    /// What is shown of pictures whose rows say where their faces are (`landmarks`, `bbox`) [default: arcface].
    #[arg(long, env = "AUGMENT_ALIGNMENT", value_name = "FRAME", help_heading = "Configuration")]
    pub alignment: Option<Alignment>,
    /// Length of the training, in thousands of images shown [default: the preset's; `base`
    /// shows every image of the largest identity set 33 times, within 60 and 400].
    #[arg(long, env = "AUGMENT_DURATION_KIMG", value_name = "KIMG", help_heading = "Configuration")]
    pub duration_kimg: Option<f64>,
    /// Time that the generator's training may take (a judge's and the synthesis come on top), as in `2h`, `90m` or `1h30m`: its length is
    /// cut down to what is likely to fit.
    #[arg(long, env = "AUGMENT_BUDGET", value_name = "TIME", value_parser = time, conflicts_with = "duration_kimg", help_heading = "Configuration")]
    pub budget: Option<Duration>,
    /// Root of the training's random streams; another one trains another model [default: 0].
    #[arg(long, env = "AUGMENT_SEED", value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64), help_heading = "Configuration")]
    pub seed: Option<u64>,
    /// Draw identities evenly while training, for long tails.
    #[arg(long, help_heading = "Configuration")]
    pub balanced: bool,
    /// Any other key of the configuration, e.g. `train.kl_weight=1`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Configuration")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// What they ask for.
    pub fn request(&self) -> Settings {
        Settings {
            file: self.config.clone(),
            preset: self.preset,
            image_size: self.image_size,
            alignment: self.alignment,
            duration_kimg: self.duration_kimg,
            budget: self.budget,
            seed: self.seed,
            balanced: self.balanced,
            set: self.set.clone(),
        }
    }
}

/// A day.
fn day(text: &str) -> std::result::Result<NaiveDate, String> {
    text.parse().map_err(|_| "expected YYYY-MM-DD".to_owned())
}

/// A time above zero.
fn time(text: &str) -> std::result::Result<Duration, String> {
    let time = humantime::parse_duration(text).ok().filter(|time| !time.is_zero());
    time.ok_or_else(|| "expected hours, minutes or seconds, as in 2h, 90m or 1h30m".to_owned())
}

/// A whole number above zero.
fn positive(text: &str) -> std::result::Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "expected a whole number above 0".to_owned())
}

/// A similarity.
pub fn similarity(text: &str) -> std::result::Result<f64, String> {
    text.parse().ok().filter(|s| (0.0..=1.0).contains(s)).ok_or_else(|| "expected a number in [0, 1]".to_owned())
}

/// What to synthesize.
#[derive(Args, Clone)]
pub struct SynthesisArgs {
    /// Images per identity.
    #[arg(long, env = "AUGMENT_PER_ID", value_name = "N", default_value_t = 50, value_parser = positive, help_heading = "Synthesis")]
    pub per_id: usize,
    /// Instead, fill every identity up to N images, real ones counted.
    #[arg(long, value_name = "N", conflicts_with = "per_id", value_parser = positive, help_heading = "Synthesis")]
    pub balance_to: Option<usize>,
    /// Also make M identities that do not exist, from mixed labels.
    #[arg(long, value_name = "M", default_value_t = 0, help_heading = "Synthesis")]
    pub new_identities: usize,
    /// Identities mixed into each new one.
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Synthesis")]
    pub mix: usize,
    /// Sum of their weights: above 1 new identities lie farther out, where persons differ more.
    #[arg(long, value_name = "W", default_value_t = MIX_SUM, help_heading = "Synthesis")]
    pub mix_sum: f64,
    /// Root of the synthesis' random streams; another one makes other images from the same model [default: the configuration's, 0].
    #[arg(long, env = "AUGMENT_SAMPLING_SEED", value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64), help_heading = "Synthesis")]
    pub sampling_seed: Option<u64>,
    /// Distribution of z [default: the configuration's].
    #[arg(long, help_heading = "Synthesis")]
    pub latent: Option<LatentSource>,
    /// Factor on the deviation of z [default: the configuration's; 1 with another `--latent` than it has].
    #[arg(long, value_name = "FACTOR", help_heading = "Synthesis")]
    pub truncation: Option<f64>,
    /// Keep only images that this judge (folder of an evaluation, or its judge.safetensors; a face network in ONNX, or a TOML that says how
    /// one is fed) takes for their identity. A new
    /// identity is compared with the mean embedding of its first candidates [default: the judge beside the model, trained on half of the
    /// images; where it takes too few, the most similar ones fill up].
    #[arg(long, value_name = "PATH", help_heading = "Synthesis")]
    pub judge: Option<PathBuf>,
    /// Let nobody judge the images.
    #[arg(long, conflicts_with = "judge", help_heading = "Synthesis")]
    pub no_judge: bool,
    /// Cosine similarity to the identity that the judge demands; nothing below it fills up [default: the judge's threshold, and no other
    /// identity nearer].
    #[arg(long, value_name = "S", conflicts_with = "no_judge", help_heading = "Synthesis")]
    pub min_similarity: Option<f64>,
    /// Candidates that are looked at for an identity, in multiples of the images asked for.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = positive, help_heading = "Synthesis")]
    pub tries: usize,
    /// Leave out images whose similarity to a training image (aligned pixels, in [0, 1]) is larger; needs the manifest [default: what
    /// 99.9 % of the training images do not exceed among each other, 0.98 at most].
    #[arg(long, value_name = "S", value_parser = similarity, help_heading = "Synthesis")]
    pub max_copy_similarity: Option<f64>,
}

impl SynthesisArgs {
    /// What they ask for.
    pub fn request(&self) -> Synthesis {
        Synthesis {
            per_id: self.per_id,
            balance_to: self.balance_to,
            new_identities: self.new_identities,
            mix: self.mix,
            mix_sum: self.mix_sum,
            seed: self.sampling_seed,
            latent: self.latent,
            truncation: self.truncation,
            chooser: match &self.judge {
                Some(path) => Chooser::Judge(path.clone()),
                None if self.no_judge => Chooser::Nobody,
                None => Chooser::Own,
            },
            min_similarity: self.min_similarity,
            tries: self.tries,
            max_copy_similarity: self.max_copy_similarity,
        }
    }
}

/// The formats by name, as they are registered.
pub fn formats() -> PossibleValuesParser {
    FORMATS.map(|f| PossibleValue::new(f.name()).help(f.about())).into()
}

/// Where and how to write.
#[derive(Args, Clone)]
pub struct OutputArgs {
    /// Output folder [default: the manifest's name with `-augmented`, in the current folder], or an address (`s3://bucket/path`, `gs://`, `az://`,
    /// `hf://datasets/owner/name`) that it is pushed to once it is complete: it is made in the cache then.
    #[arg(long, env = "AUGMENT_OUT", value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,
    /// Layout of the dataset.
    #[arg(long, value_name = "FORMAT", default_value = "parquet", value_parser = formats(), help_heading = "Output")]
    pub format: String,
    /// Encoding of synthesized images.
    #[arg(long, value_enum, default_value_t, help_heading = "Output")]
    pub encoding: Encoding,
    /// Side of all images, in pixels, such as the 112 of a recogniser [default: that of the networks; real images that are not aligned
    /// keep their own].
    #[arg(long, value_name = "PX", help_heading = "Output")]
    pub output_size: Option<usize>,
    /// Also write the real images (synthetic = false), encoded again without metadata.
    #[arg(long, help_heading = "Output")]
    pub include_real: bool,
    /// Make again what was changed or lost since it was written, instead of refusing to go on.
    #[arg(long, help_heading = "Output")]
    pub repair: bool,
    /// Who else may read the output: a training job often runs as another user.
    #[arg(long, value_enum, default_value_t, value_name = "WHO", help_heading = "Output")]
    pub share: Share,
    /// Rows of a shard, or images of a folder that are committed together.
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::new(10_000).unwrap_or(NonZeroUsize::MIN), help_heading = "Output")]
    pub shard_rows: NonZeroUsize,
}

impl OutputArgs {
    /// What they ask for; `default` is the folder if none is named, `cache` where what is pushed is made.
    pub fn request(&self, default: PathBuf, cache: &Path) -> Destination {
        let made = self.address().map(|address| made_for(address, cache)).or_else(|| self.out.clone());
        let plain = Destination::new(made.unwrap_or(default));
        Destination {
            format: format_named(&self.format).unwrap_or(plain.format),
            encoding: self.encoding,
            output_size: self.output_size,
            include_real: self.include_real,
            repair: self.repair,
            share: self.share,
            shard_rows: self.shard_rows,
            ..plain
        }
    }
}

impl OutputArgs {
    /// Where the output is pushed to.
    pub fn address(&self) -> Option<&str> {
        address(self.out.as_deref())
    }
}

/// `out`, if it is an address.
pub fn address(out: Option<&Path>) -> Option<&str> {
    out.and_then(Path::to_str).filter(|out| out.contains("://"))
}

/// The folder of `cache` where what is pushed to `address` is made.
pub fn made_for(address: &str, cache: &Path) -> PathBuf {
    let plain: String = address.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let hash = blake3::hash(address.as_bytes()).to_hex();
    cache.join("outputs").join(format!("{plain}-{}", &hash[..8]))
}

/// What recognisers are tested on.
#[derive(Args)]
pub struct TestArgs {
    /// Split with other persons, from which verification pairs are drawn [default: one that shows no training person].
    #[arg(long, value_name = "NAME", conflicts_with = "pairs", help_heading = "Test")]
    pub pairs_from: Option<String>,
    /// List of verification pairs: Parquet, LFW's pairs.txt, or insightface's .bin.
    #[arg(long, value_name = "FILE", help_heading = "Test")]
    pub pairs: Option<PathBuf>,
    /// Images of --pairs: a manifest with the column `image_id`, or LFW's folder for pairs.txt.
    #[arg(long, value_name = "PATH", requires = "pairs", help_heading = "Test")]
    pub pair_images: Option<String>,
}

impl TestArgs {
    /// What they ask for.
    pub fn request(&self) -> Option<Test> {
        match (&self.pairs, &self.pairs_from) {
            (Some(pairs), _) => Some(Test::List { pairs: pairs.clone(), images: self.pair_images.clone() }),
            (None, split) => split.clone().map(Test::Split),
        }
    }
}

/// The recogniser and its recipe.
#[derive(Args)]
pub struct EvaluationConfigArgs {
    /// TOML file laid over the preset.
    #[arg(long, env = "AUGMENT_EVALUATION_CONFIG", value_name = "FILE", help_heading = "Configuration")]
    pub config: Option<PathBuf>,
    /// Starting point of the configuration [default: tiny for images under 64 px, else small].
    #[arg(long, help_heading = "Configuration")]
    pub preset: Option<RecogniserPreset>,
    /// Side of the images that the recogniser sees, in pixels [default: the preset's].
    #[arg(long, value_name = "PX", help_heading = "Configuration")]
    pub image_size: Option<usize>,
    /// What is shown of pictures whose rows say where their faces are (`landmarks`, `bbox`) [default: as the synthetic images were made, else arcface].
    #[arg(long, env = "AUGMENT_ALIGNMENT", value_name = "FRAME", help_heading = "Configuration")]
    pub alignment: Option<Alignment>,
    /// Seed of the first training; the others follow it [default: 0].
    #[arg(long, env = "AUGMENT_SEED", value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64), help_heading = "Configuration")]
    pub seed: Option<u64>,
    /// Any other key of the configuration, e.g. `recipe.steps=300`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Configuration")]
    pub set: Vec<String>,
}

impl EvaluationConfigArgs {
    /// What they ask for.
    pub fn request(&self) -> EvaluationSettings {
        EvaluationSettings {
            file: self.config.clone(),
            preset: self.preset,
            image_size: self.image_size,
            alignment: self.alignment,
            seed: self.seed,
            set: self.set.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_hours_minutes_and_seconds() {
        let seconds = |text: &str| time(text).map(|t| t.as_secs()).ok();
        assert_eq!(["2h", "90m", "1h30m", "45s"].map(seconds), [Some(7200), Some(5400), Some(5400), Some(45)]);
        assert_eq!(["", "90", "0s", "-1h", "soon"].map(seconds), [None; 5]);
    }
}
