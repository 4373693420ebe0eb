//! Arguments of the commands that hand datasets and models on: `export`, `pairs`, `push`.

use super::groups::{InputArgs, RowArgs, TestArgs, formats};
use ::augment::config::Alignment;
use ::augment::jobs::wanted::Share;
use clap::Args;
use std::num::NonZeroUsize;
use std::path::PathBuf;

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
    #[arg(long, visible_alias = "output-size", value_name = "PX")]
    pub size: Option<usize>,
    /// Also write the real images of this manifest, encoded again without metadata: those of a person of the dataset get its label.
    #[arg(long, value_name = "MANIFEST")]
    pub include_real: Option<String>,
    #[command(flatten)]
    pub rows: RowArgs,
    /// Output folder [default: the dataset's name with the format's behind it], or an address that it is pushed to, as with the main job.
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
