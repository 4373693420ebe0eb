//! Arguments of the commands that treat images that are there.

use super::groups::{ColumnArgs, formats};
use ::augment::jobs::apply::{Feature, Images, Path, Seam, Whom};
use ::augment::jobs::wanted::{Destination, Encoding};
use ::augment::jobs::{Input, format_named};
use clap::Args;
use std::path::PathBuf;

/// Which images a model treats, whom they show, and where the results go.
#[derive(Args)]
pub struct TreatmentArgs {
    /// Images, and folders of them: squares of the side that is taken, with the face as the training images show it.
    #[arg(value_name = "IMAGE", required_unless_present = "manifest", conflicts_with = "manifest")]
    pub images: Vec<PathBuf>,
    /// Instead, the rows of a manifest: their faces are cut out and scaled as for training.
    #[arg(long, value_name = "PATH", help_heading = "Input")]
    pub manifest: Option<String>,
    /// With --manifest: rows to use, a value of the column `split`, or `all` [default: `train` if there is one, else all].
    #[arg(long, value_name = "NAME", requires = "manifest", help_heading = "Input")]
    pub split: Option<String>,
    /// With --manifest: this identity set alone, where it has several.
    #[arg(long, value_name = "NAME", requires = "manifest", help_heading = "Input")]
    pub identity_set: Option<String>,
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Folder or file of a trained model; `hf://owner/name@COMMIT` for a hub model.
    #[arg(long, value_name = "MODEL", help_heading = "Input")]
    pub model: String,
    /// Whom the images show: an identity of the model, or `auto`, and its classifier chooses [default: whom a manifest's rows name].
    #[arg(long, value_name = "KEY", help_heading = "Input")]
    pub identity: Option<String>,
    /// Root of the random streams.
    #[arg(long, env = "AUGMENT_SAMPLING_SEED", value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64), help_heading = "Synthesis")]
    pub sampling_seed: u64,
    /// Output folder [default: `inpainted`, `upscaled` or `morphed`].
    #[arg(long, env = "AUGMENT_OUT", value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,
    /// Layout of the results.
    #[arg(long, value_name = "FORMAT", default_value = "imagefolder", value_parser = formats(), help_heading = "Output")]
    pub format: String,
    /// Encoding of the results: PNG keeps what was not filled bit for bit.
    #[arg(long, value_enum, default_value = "png", help_heading = "Output")]
    pub encoding: Encoding,
    /// Side of the results, in pixels [default: that of the networks].
    #[arg(long, value_name = "PX", help_heading = "Output")]
    pub output_size: Option<usize>,
    /// Make again what was changed or lost since it was written, instead of refusing to go on.
    #[arg(long, help_heading = "Output")]
    pub repair: bool,
}

impl TreatmentArgs {
    /// The images, and whom they show.
    pub fn images(&self) -> (Images, Whom) {
        let images = match &self.manifest {
            Some(spec) => Images::Manifest(Input {
                split: self.split.clone(),
                identity_set: self.identity_set.clone(),
                columns: self.columns.columns(),
                ..Input::new(spec)
            }),
            None => Images::Files(self.images.clone()),
        };
        let whom = match self.identity.as_deref() {
            None => Whom::Rows,
            Some("auto") => Whom::Auto,
            Some(named) => Whom::Named(named.to_owned()),
        };
        (images, whom)
    }

    /// Where the results go; `default` is the folder if none is named.
    pub fn destination(&self, default: PathBuf) -> Destination {
        let plain = Destination::new(self.out.clone().unwrap_or(default));
        Destination {
            format: format_named(&self.format).unwrap_or(plain.format),
            encoding: self.encoding,
            output_size: self.output_size,
            repair: self.repair,
            ..plain
        }
    }
}

/// `augment inpaint`
#[derive(Args)]
#[command(group(clap::ArgGroup::new("hole").required(true).args(["mask", "rectangle", "mask_from"])))]
pub struct InpaintArgs {
    #[command(flatten)]
    pub treatment: TreatmentArgs,
    /// Picture of the size of the model's images: what is white is filled.
    #[arg(long, value_name = "FILE", help_heading = "Synthesis")]
    pub mask: Option<PathBuf>,
    /// Rectangle that is filled, in pixels of the model's images.
    #[arg(long = "box", value_name = "X,Y,W,H", value_parser = rectangle, help_heading = "Synthesis")]
    pub rectangle: Option<[usize; 4]>,
    /// Features of aligned faces that are filled.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FEATURE,..", help_heading = "Synthesis")]
    pub mask_from: Vec<Feature>,
    /// Results of each image: the likeliest, then others, drawn from the posterior.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = samples, help_heading = "Synthesis")]
    pub samples: usize,
    /// Rounds of encoding and decoding, at most [default: 10].
    #[arg(long, value_name = "N", help_heading = "Synthesis")]
    pub rounds: Option<usize>,
    /// An image is done when its hole changes by less on average, in [0, 255] steps [default: 0.5].
    #[arg(long, value_name = "STEPS", value_parser = tolerance, help_heading = "Synthesis")]
    pub tolerance: Option<f64>,
    /// Steps by which z then descends on the difference of what is known; 0 for the paper's way [default: 10].
    #[arg(long, value_name = "N", help_heading = "Synthesis")]
    pub refine: Option<usize>,
    /// How the filling meets its surroundings [default: poisson].
    #[arg(long, help_heading = "Synthesis")]
    pub seam: Option<Seam>,
}

/// `augment upscale`
#[derive(Args)]
pub struct UpscaleArgs {
    #[command(flatten)]
    pub treatment: TreatmentArgs,
    /// Side of the results in sides of the images: 2, 4 or 8, say.
    #[arg(long, value_name = "N", help_heading = "Synthesis")]
    pub factor: usize,
    /// Steps by which z descends on the difference of the result, made small again, from the image [default: 10].
    #[arg(long, value_name = "N", help_heading = "Synthesis")]
    pub refine: Option<usize>,
}

/// `augment morph`
#[derive(Args)]
pub struct MorphArgs {
    #[command(flatten)]
    pub treatment: TreatmentArgs,
    /// Whom the second image of two shows, where that is another than --identity: the label moves with the face. With one image, the label alone.
    #[arg(long, value_name = "KEY", requires = "identity", help_heading = "Input")]
    pub to: Option<String>,
    /// Frames from the one to the other, both counted.
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = steps, help_heading = "Synthesis")]
    pub steps: usize,
    /// How z gets from the one to the other.
    #[arg(long, value_enum, default_value_t, help_heading = "Synthesis")]
    pub path: Path,
    /// Instead, change each image towards what sets group A apart from group B.
    #[arg(long, value_name = "A,B", value_parser = groups, conflicts_with_all = ["to", "path"], help_heading = "Synthesis")]
    pub attribute: Option<[String; 2]>,
    /// Manifest whose column `group` says which images show it, of persons that the model knows [default: --manifest].
    #[arg(long, value_name = "PATH", requires = "attribute", help_heading = "Synthesis")]
    pub attribute_manifest: Option<String>,
}

/// Two groups; that they stand in the column `group` may be said.
fn groups(text: &str) -> Result<[String; 2], String> {
    let names = text.strip_prefix("group=").unwrap_or(text).split_once(',');
    let named = names.map(|(a, b)| [a.trim().to_owned(), b.trim().to_owned()]);
    named
        .filter(|n| n[0] != n[1] && n.iter().all(|n| !n.is_empty()))
        .ok_or_else(|| "expected two groups, as in old,young".into())
}

/// A number of frames.
fn steps(text: &str) -> Result<usize, String> {
    up_to_1000(2, text)
}

/// A number of results.
fn samples(text: &str) -> Result<usize, String> {
    up_to_1000(1, text)
}

/// A whole number from `least` to 1000.
fn up_to_1000(least: usize, text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (least..=1000).contains(n));
    number.ok_or_else(|| format!("expected a whole number from {least} to 1000"))
}

/// A number of steps of 255.
fn tolerance(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|n| (0.0..=255.0).contains(n)).ok_or_else(|| "expected a number from 0 to 255".into())
}

/// Four numbers of pixels.
fn rectangle(text: &str) -> Result<[usize; 4], String> {
    let numbers: Option<Vec<usize>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    numbers.and_then(|n| n.try_into().ok()).ok_or_else(|| "expected X,Y,W,H in pixels, as in 20,20,25,25".into())
}
