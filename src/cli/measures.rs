//! Arguments of the commands that measure: `evaluate`, `compare-methods`, `enrol`.

use super::groups::{ConfigArgs, EvaluationConfigArgs, InputArgs, TestArgs, similarity};
use ::augment::config::Variant;
use ::augment::jobs::Arm;
use ::augment::jobs::evaluate::Placement;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// `augment evaluate`
#[derive(Args)]
pub struct EvaluateArgs {
    #[command(flatten)]
    pub input: InputArgs,
    /// Dataset that `augment` wrote (Parquet file or folder); without one only the baselines are trained.
    #[arg(long, value_name = "PATH", help_heading = "Input")]
    pub synthetic: Option<PathBuf>,
    /// The model that made it, to show what its reconstructions are worth.
    #[arg(long, value_name = "MODEL", help_heading = "Input")]
    pub model: Option<String>,
    /// Split with other real images of the same persons, for identification and as the level of real images [default: one that shows
    /// training persons only].
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    pub held_out: Option<String>,
    #[command(flatten)]
    pub test: TestArgs,
    /// What to train recognisers on [default: all that the images allow].
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ARM,..", help_heading = "Comparison")]
    pub arms: Vec<Arm>,
    /// Number of paired seeds.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000), help_heading = "Comparison")]
    pub seeds: u64,
    /// Similarity to a training image above which a synthetic image counts as a copy, in [0, 1] [default: above 99.9 % of
    /// the held-out real images].
    #[arg(long, value_name = "S", value_parser = similarity, help_heading = "Comparison")]
    pub max_copy_similarity: Option<f64>,
    /// A face network in ONNX that had no part in the images, to measure them with: input `[1, 3, height, width]`, RGB, (value - 127.5) /
    /// 128; or a TOML that says how it is fed.
    #[arg(long, value_name = "FILE", help_heading = "Comparison")]
    pub outside_judge: Option<PathBuf>,
    /// Where an image lies in that network's input, in its pixels; edges are repeated [default: the whole input].
    #[arg(long, value_name = "X,Y,SIDE", value_parser = placement, requires = "outside_judge", help_heading = "Comparison")]
    pub outside_placement: Option<Placement>,
    /// Folder of outcomes and report [default: the manifest's name with `-evaluation`].
    #[arg(long, env = "AUGMENT_OUT", value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,
    /// File of a short report in Markdown, for the page of a scheduled job.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub summary: Option<PathBuf>,
    /// Exit code 9 if the best arm with synthetic images gains fewer points of accuracy than this.
    #[arg(long, value_name = "POINTS", allow_negative_numbers = true, value_parser = points, help_heading = "Gates")]
    pub fail_below: Option<f64>,
    /// Exit code 9 if a larger share of the synthetic images, in [0, 1], are copies of training images.
    #[arg(long, value_name = "SHARE", value_parser = similarity, help_heading = "Gates")]
    pub fail_above_copies: Option<f64>,
    /// Exit code 9 if membership inference from the synthetic images has a larger AUC, in [0, 1]; 0.5 is chance.
    #[arg(long, value_name = "AUC", value_parser = similarity, help_heading = "Gates")]
    pub fail_above_membership: Option<f64>,
    #[command(flatten)]
    pub config: EvaluationConfigArgs,
}

/// A number of points.
fn points(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|p: &f64| p.is_finite()).ok_or_else(|| "expected a number of points, as in 0.5".to_owned())
}

/// `augment compare-methods`
#[derive(Args)]
pub struct MethodsArgs {
    #[command(flatten)]
    pub input: InputArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Split with other real images of the same persons, the level to compare with [default: one that shows training persons only].
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    pub held_out: Option<String>,
    /// What to compare [default: the methods of the paper, cvae,cgan,fm-cgan,cvae-gan].
    #[arg(long, value_delimiter = ',', value_name = "NAME,..", value_parser = PossibleValuesParser::new(Variant::ALL.map(|v| PossibleValue::new(v.name).help(v.about))), help_heading = "Comparison")]
    pub variants: Vec<String>,
    /// Trainings of each.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100), help_heading = "Comparison")]
    pub seeds: u64,
    /// Images of each identity that are judged, at most: about 4,000 in all.
    #[arg(long, value_name = "N", default_value = "20", help_heading = "Comparison")]
    pub per_id: NonZeroUsize,
    /// Folder of models, figures and page [default: the manifest's name with `-methods`].
    #[arg(long, env = "AUGMENT_OUT", value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,
}

/// `augment enrol`
#[derive(Args)]
pub struct EnrolArgs {
    #[command(flatten)]
    pub input: InputArgs,
    /// Dataset that `augment` wrote.
    #[arg(long, value_name = "PATH")]
    pub synthetic: PathBuf,
    /// The face network in ONNX (input `[1, 3, height, width]`, RGB, (value - 127.5) / 128), or a TOML that says how it is fed.
    #[arg(long, value_name = "FILE")]
    pub judge: PathBuf,
    /// Split with other real images of the same persons, which are identified [default: one that shows training persons only].
    #[arg(long, value_name = "NAME")]
    pub held_out: Option<String>,
    /// Real images that each person is enrolled from.
    #[arg(long, value_delimiter = ',', value_name = "N,..", default_value = "1,2,5")]
    pub shots: Vec<usize>,
    /// Times that they are drawn.
    #[arg(long, value_name = "N", default_value = "5")]
    pub draws: NonZeroUsize,
    /// File of the figures [default: the manifest's name with `-enrolment.json`].
    #[arg(long, env = "AUGMENT_OUT", value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Three numbers of pixels.
fn placement(text: &str) -> Result<Placement, String> {
    let numbers: Option<Vec<usize>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[x, y, side]) => Ok(Placement { x, y, side }),
        _ => Err("expected X,Y,SIDE in pixels, as in 14,22,84".into()),
    }
}
