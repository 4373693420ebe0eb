//! Subcommands and their arguments, as typed.

use super::cluster::{CommitArgs, PlanArgs, ShardArgs};
use super::groups::{ColumnArgs, ConfigArgs, InputArgs, OutputArgs, RowArgs, SynthesisArgs, similarity};
use super::handoff::{ExportArgs, PairsArgs, PushArgs};
use super::measures::{EnrolArgs, EvaluateArgs, MethodsArgs};
use super::terminal::LogFormat;
use super::treatment::{InpaintArgs, MorphArgs, UpscaleArgs};
use ::augment::config::Alignment;
use ::augment::jobs::manifest::{MIN_SCORE, Shares};
use clap::{Args, Parser, Subcommand};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Trains a CVAE-GAN on each identity set of a manifest and writes synthesized, labelled faces.
///
/// Without a subcommand: validates the manifest, trains unless a model for this data and configuration is in the cache,
/// synthesizes, writes a Parquet dataset and prints a summary.
///
/// Exit codes: 0 done; 1 done, some rows were rejected and are listed; 2 usage, configuration or manifest (do not
/// retry); 8 the evaluation's test is contaminated; 9 it falls short of a gate; 70 training diverged or internal error; 75 transient input/output
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
    /// Cut the main job into shards for many machines, each of which `augment run` does; options are those of the main job.
    Plan(Box<PlanArgs>),
    /// Do one shard of a job that was planned; may be run in any order, any number at once, and again.
    Run(ShardArgs),
    /// Join the shards of a job into the dataset that the main job would write.
    Commit(CommitArgs),
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
            Self::Plan(_)
            | Self::Run(_)
            | Self::Commit(_)
            | Self::Train(_)
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
    /// Lines on stderr for people, or an object each.
    #[arg(
        long,
        env = "AUGMENT_LOG_FORMAT",
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        global = true,
        help_heading = "Running"
    )]
    pub log_format: LogFormat,
    /// File of rates, losses and memory in OpenMetrics text, written every few seconds.
    #[arg(long, env = "AUGMENT_METRICS_FILE", value_name = "FILE", global = true, help_heading = "Running")]
    pub metrics_file: Option<PathBuf>,
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
    /// Folder of a dataset, a model or an evaluation; for `status` also of a job.
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
    /// Identity sets that they are divided among.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub sets: usize,
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
