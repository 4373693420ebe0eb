//! Subcommands and their arguments, as typed.

use super::groups::{
    ColumnArgs, ConfigArgs, EvaluationConfigArgs, InputArgs, OutputArgs, RowArgs, SynthesisArgs, TestArgs, formats,
    similarity,
};
use super::treatment::{InpaintArgs, MorphArgs, UpscaleArgs};
use ::augment::config::{Alignment, Variant};
use ::augment::jobs::Arm;
use ::augment::jobs::evaluate::Placement;
use ::augment::jobs::manifest::{MIN_SCORE, Shares};
use ::augment::jobs::wanted::Share;
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Trains a CVAE-GAN on each identity set of a manifest and writes synthesized, labelled faces.
///
/// Without a subcommand: validates the manifest, trains unless a model for this data and configuration is in the cache,
/// synthesizes, writes a Parquet dataset and prints a summary.
///
/// Exit codes: 0 done; 1 done, some rows were rejected and are listed; 2 usage, configuration or manifest (do not
/// retry); 8 the evaluation's test is contaminated; 70 training diverged or internal error; 75 transient input/output
/// (retry); 130 stopped, run again to resume.
#[derive(Parser)]
#[command(name = "augment", version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub global: GlobalArgs,
}

#[derive(Subcommand)]
pub enum Command {
    /// Train the model of each identity set, without synthesizing.
    Train(TrainArgs),
    /// Synthesize from a trained model, or make stored images again from their rows.
    Synthesize(SynthesizeArgs),
    /// Measure what synthesized images gain: trains recognisers with and without them and compares.
    Evaluate(Box<EvaluateArgs>),
    /// Train the paper's methods, or CVAE-GAN without one of its parts, with equal budgets, and compare what they make.
    CompareMethods(MethodsArgs),
    /// Measure what synthesized images are worth to a face network that stays as it is, where persons are enrolled from a few photographs.
    Enrol(EnrolArgs),
    /// Fill holes in images with what a trained model knows of the person.
    Inpaint(InpaintArgs),
    /// Make small images as large as those of a trained model.
    Upscale(UpscaleArgs),
    /// Go from one face to another in small steps.
    Morph(MorphArgs),
    /// Write a dataset anew in another format, at another size, or with the real images of its persons.
    Export(ExportArgs),
    /// Write a verification set, insightface's `.bin`, on which trainings test themselves.
    Pairs(PairsArgs),
    /// Push a finished dataset or model to a hub or an object store; what is there already is not sent again, and nothing counts before all is there.
    Push(PushArgs),
    /// Make a manifest of a folder of persons, a list, RecordIO, tars or Parquet.
    Manifest(ManifestArgs),
    /// Show what a manifest or a written dataset holds.
    Inspect(InspectArgs),
    /// Read every file of a written dataset, model or evaluation and compare it with its hash; exit code 2 if one is damaged.
    Verify(FolderArgs),
    /// Show how far a run is that writes into a folder, and whether it still runs.
    Status(FolderArgs),
    /// Take a person out of everything that was made: rows and files go, models are marked and refused.
    Forget(ForgetArgs),
    /// Read a manifest and say nothing: what a child process with limits does before its parent reads it.
    #[command(hide = true)]
    TryManifest(TrialArgs),
    /// Draw the demonstration manifest: procedural faces, no photograph.
    Demo(DemoArgs),
    /// Print the resolved configuration as TOML.
    Config(ConfigCommandArgs),
    /// Print shell completions.
    Completions {
        /// Shell to complete for.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

impl Command {
    /// True for commands that change nothing.
    pub fn only_looks(&self) -> bool {
        match self {
            Self::Train(_)
            | Self::Synthesize(_)
            | Self::Evaluate(_)
            | Self::CompareMethods(_)
            | Self::Inpaint(_)
            | Self::Upscale(_)
            | Self::Morph(_)
            | Self::Enrol(_)
            | Self::Export(_)
            | Self::Pairs(_)
            | Self::Push(_)
            | Self::Forget(_)
            | Self::Demo(_)
            | Self::Manifest(_) => false,
            Self::Inspect(_)
            | Self::Verify(_)
            | Self::Status(_)
            | Self::TryManifest(_)
            | Self::Config(_)
            | Self::Completions { .. }
            | Self::Man => true,
        }
    }
}

/// `augment --manifest ...`
#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub input: InputArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Folder or file of a trained model to use instead of training; `hf://owner/name@COMMIT` for a hub model.
    #[arg(long, value_name = "MODEL", help_heading = "Input")]
    pub model: Option<String>,
    /// Model of other persons, or of some of these, whose weights the training begins with: it needs far fewer images then.
    #[arg(long, value_name = "MODEL", conflicts_with = "model", help_heading = "Input")]
    pub init: Option<String>,
    #[command(flatten)]
    pub synthesis: SynthesisArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// How to run.
#[derive(Args, Clone)]
pub struct GlobalArgs {
    /// Worker threads; results do not depend on it [default: all cores].
    #[arg(long, env = "AUGMENT_THREADS", value_name = "N", global = true, value_parser = threads, help_heading = "Running")]
    pub threads: Option<NonZeroUsize>,
    /// `cpu`, or `cuda:N` in a build with the feature `cuda`.
    #[arg(long, env = "AUGMENT_DEVICE", default_value = "cpu", global = true, help_heading = "Running")]
    pub device: String,
    /// Folder of trained models [default: ~/.cache/augment].
    #[arg(long, env = "AUGMENT_CACHE", value_name = "DIR", global = true, help_heading = "Running")]
    pub cache: Option<PathBuf>,
    /// Print one versioned JSON object to stdout instead of text.
    #[arg(long, global = true, help_heading = "Running")]
    pub json: bool,
    /// Validate everything and print the plan, then stop.
    #[arg(long, global = true, help_heading = "Running")]
    pub dry_run: bool,
    /// No progress on stderr.
    #[arg(short, long, global = true, help_heading = "Running")]
    pub quiet: bool,
}

/// Threads that are worth starting: more than a few for each core only wait.
fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let most = 8 * std::thread::available_parallelism().map_or(1, NonZeroUsize::get).max(8);
    let number = text.parse().ok().filter(|n: &NonZeroUsize| n.get() <= most);
    number.ok_or_else(|| format!("expected a whole number from 1 to {most}"))
}

/// `augment train`
#[derive(Args)]
pub struct TrainArgs {
    #[command(flatten)]
    pub input: InputArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Model of other persons, or of some of these, whose weights the training begins with: it needs far fewer images then.
    #[arg(long, value_name = "MODEL", help_heading = "Input")]
    pub init: Option<String>,
    /// Train no judge beside the model.
    #[arg(long, help_heading = "Configuration")]
    pub no_judge: bool,
    /// Folder of the model, its checkpoint, metrics and sample grids [default: in the cache].
    #[arg(long, env = "AUGMENT_OUT", value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,
}

/// `augment synthesize`
#[derive(Args)]
pub struct SynthesizeArgs {
    /// Folder or file of a trained model; `hf://owner/name@COMMIT` for a hub model.
    #[arg(long, value_name = "MODEL", help_heading = "Input")]
    pub model: String,
    /// Make the images of this dataset (file or folder) again from their rows and compare the bytes.
    #[arg(long, value_name = "PATH", help_heading = "Input")]
    pub regenerate: Option<PathBuf>,
    /// With --regenerate: only this image, written to --out.
    #[arg(long, value_name = "ID", requires = "regenerate", help_heading = "Input")]
    pub sample_id: Option<String>,
    #[command(flatten)]
    pub synthesis: SynthesisArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

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
    #[command(flatten)]
    pub config: EvaluationConfigArgs,
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
    /// Images of each identity that are judged.
    #[arg(long, value_name = "N", default_value = "20", help_heading = "Comparison")]
    pub per_id: NonZeroUsize,
    /// Folder of models, figures and page [default: the manifest's name with `-methods`].
    #[arg(long, env = "AUGMENT_OUT", value_name = "DIR", help_heading = "Output")]
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

/// `augment inspect`
#[derive(Args)]
pub struct InspectArgs {
    /// A set as a training reads it, instead of a manifest: a dataset that `augment` wrote, an image folder, RecordIO, tars, or a
    /// verification set (`.bin`).
    #[arg(value_name = "SET", conflicts_with = "manifest")]
    pub set: Option<PathBuf>,
    /// Parquet file, folder or quoted glob; `hf://datasets/owner/name@COMMIT/path.parquet` for the hub.
    #[arg(
        long,
        env = "AUGMENT_MANIFEST",
        value_name = "PATH",
        required_unless_present = "set",
        help_heading = "Input"
    )]
    pub manifest: Option<String>,
    #[command(flatten)]
    pub rows: RowArgs,
    /// What is shown of pictures whose rows say where their faces are.
    #[arg(long, env = "AUGMENT_ALIGNMENT", value_enum, default_value_t, value_name = "FRAME")]
    pub alignment: Alignment,
    /// Identities to list.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
}

/// `augment try-manifest`
#[derive(Args)]
pub struct TrialArgs {
    pub manifest: String,
    pub identity: String,
    pub image: String,
    pub uri: String,
}

/// `augment verify`, `augment status`
#[derive(Args)]
pub struct FolderArgs {
    /// Folder of a dataset, a model or an evaluation.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// `augment forget`
#[derive(Args)]
pub struct ForgetArgs {
    /// Key of the person.
    #[arg(long, value_name = "KEY")]
    pub identity: String,
    /// Folders of datasets, models and evaluations; models of the cache are always searched.
    #[arg(value_name = "DIR")]
    pub dirs: Vec<PathBuf>,
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

/// `augment export`
#[derive(Args)]
pub struct ExportArgs {
    /// Folder of a complete dataset.
    #[arg(value_name = "DIR")]
    pub dataset: PathBuf,
    /// Layout to write.
    #[arg(long, value_name = "FORMAT", value_parser = formats())]
    pub to: String,
    /// Side of all images, in pixels, such as the 112 of a recogniser [default: images stay as they are, byte for byte].
    #[arg(long, value_name = "PX")]
    pub size: Option<usize>,
    /// Also write the real images of this manifest, encoded again without metadata: those of a person of the dataset get its label.
    #[arg(long, value_name = "MANIFEST")]
    pub include_real: Option<String>,
    #[command(flatten)]
    pub rows: RowArgs,
    /// Output folder [default: the dataset's name with the format's behind it].
    #[arg(long, env = "AUGMENT_OUT", value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Who else may read the output: a training job often runs as another user.
    #[arg(long, value_enum, default_value_t, value_name = "WHO")]
    pub share: Share,
    /// Make again what was changed or lost since it was written, instead of refusing to go on.
    #[arg(long)]
    pub repair: bool,
    /// Rows of a shard, or images of a folder that are committed together.
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::new(10_000).unwrap_or(NonZeroUsize::MIN))]
    pub shard_rows: NonZeroUsize,
}

/// `augment push`
#[derive(Args)]
pub struct PushArgs {
    /// Folder of a complete dataset or model.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Where to: `hf://datasets/owner/name` (a model: `hf://owner/name`), in one commit; `s3://bucket/path`, `gs://bucket/path`, `az://container/path`. Keys and endpoints are the store's usual variables
    /// (AWS_ACCESS_KEY_ID, AWS_ENDPOINT, GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_ACCOUNT_NAME, ..).
    #[arg(value_name = "URL")]
    pub to: String,
    /// Take the place of what is there, and remove what is no part of this: after `augment forget`, say.
    #[arg(long)]
    pub replace: bool,
}

/// `augment pairs`
#[derive(Args)]
pub struct PairsArgs {
    #[command(flatten)]
    pub input: InputArgs,
    #[command(flatten)]
    pub test: TestArgs,
    /// With --pairs-from: pairs of one person, and as many of two, at most.
    #[arg(long, value_name = "N", default_value_t = 3000)]
    pub count: usize,
    /// Side of the images, in pixels.
    #[arg(long, value_name = "PX", default_value_t = 112)]
    pub size: usize,
    /// What is shown of pictures whose rows say where their faces are.
    #[arg(long, env = "AUGMENT_ALIGNMENT", value_enum, default_value_t, value_name = "FRAME")]
    pub alignment: Alignment,
    /// File to write.
    #[arg(long, value_name = "FILE.bin")]
    pub out: PathBuf,
}

/// `augment manifest`
#[derive(Args)]
pub struct ManifestArgs {
    /// Folder with a folder of pictures for each person, list (.csv, .tsv, .jsonl), RecordIO (.rec), .tar, Parquet, or a quoted glob.
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Manifest to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Name the pictures by their paths instead of embedding them: they must lie below the manifest's folder, and stay there.
    #[arg(long)]
    pub link: bool,
    /// Divide the images: `train=0.8,val=0.1,dev=0.1@persons` gives `val` other images of the training persons, and `dev` other persons.
    #[arg(long, value_name = "SHARES")]
    pub split: Option<Shares>,
    /// Root of the random stream that divides them.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Decode every image: finds what is damaged inside, and equal pixels in different files.
    #[arg(long)]
    pub check: bool,
    /// What is to be shown of pictures whose faces are known: `none` where they are cut out already.
    #[arg(long, env = "AUGMENT_ALIGNMENT", value_enum, default_value_t, value_name = "FRAME")]
    pub alignment: Alignment,
    /// Find the face in each photograph with this network in ONNX (YuNet's or SCRFD's form; a file, or `hf://owner/name@COMMIT/file`), and keep where
    /// it is, by which it is aligned later.
    #[arg(long, value_name = "MODEL")]
    pub detector: Option<String>,
    /// With --detector: score below which nothing is taken for a face, in [0, 1].
    #[arg(long, value_name = "S", requires = "detector", default_value_t = MIN_SCORE, value_parser = similarity)]
    pub min_score: f64,
    /// Find images whose label is in doubt with this face network in ONNX (input 3xHxW, RGB, (value - 127.5) / 128; a file, a TOML that says
    /// how one is fed, or `hf://owner/name@COMMIT/file`): those more like another person than like the rest of their own are listed in OUT-suspects.parquet.
    #[arg(long, value_name = "MODEL")]
    pub judge: Option<String>,
    #[command(flatten)]
    pub columns: ColumnArgs,
}

/// `augment demo`
#[derive(Args, Clone)]
pub struct DemoArgs {
    /// File to write.
    #[arg(long, value_name = "FILE", default_value = "manifests/demo.parquet")]
    pub out: PathBuf,
    /// Number of identities.
    #[arg(long, value_name = "N", default_value_t = 48)]
    pub identities: usize,
    /// Images of each identity.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub per_id: usize,
    /// Side of the images, in pixels.
    #[arg(long, value_name = "PX", default_value_t = 48)]
    pub image_size: usize,
    /// Root of the random streams.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// `augment config`
#[derive(Args)]
pub struct ConfigCommandArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
}
