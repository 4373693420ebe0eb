//! Images that are there, treated by a trained model: holes are filled, small images made large, faces morphed. All are looked at first; then the
//! order is written, images, the card, and the summary last, as in synthesis.

mod attribute;
mod given;
mod job;
mod pictures;
mod treating;
mod unlike;

use super::input::Input;
use super::preview::OutputPreview;
use super::wanted::Destination;
use super::{Context, Rejected, models, place};
pub use crate::apply::inpaint::{Inpaint, Seam};
pub use crate::apply::morph::Path;
pub use crate::apply::upscale::Upscale;
use crate::dataset::View;
pub use crate::dataset::align::Feature;
use crate::error::{Error, Result};
use crate::manifest::{REJECTS_SUFFIX, keys, rejects};
use crate::progress::Progress;
use crate::sink::Sink;
use crate::sink::commit::{Opened, Output, Stored, look};
use crate::sink::ledger::{CONFIG, PICTURES, Summary};
use crate::sink::verify::verify;
use crate::store;
use crate::train::TrainedModel;
pub use attribute::Attribute;
use job::{Job, refuse_forgotten};
use std::path::PathBuf;
use unlike::Unlike;

/// The images to treat.
#[derive(Clone, Debug)]
pub enum Images {
    /// Files, and folders of them.
    Files(Vec<PathBuf>),
    /// Rows of a manifest.
    Manifest(Input),
}

/// Whom an image shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Whom its row names.
    Rows,
    /// This identity of the model.
    Named(String),
    /// Whom the model's classifier takes it for.
    Auto,
    /// Of every two images the first shows the one, the second the other.
    Both(String, String),
}

/// Where the holes are.
#[derive(Clone, Debug)]
pub enum Holes {
    /// Where this picture is white.
    Mask(PathBuf),
    /// Left, top, width and height, in pixels of the model's images.
    Rectangle([usize; 4]),
    /// Around these features of aligned faces.
    Features(Vec<Feature>),
}

/// What to do with each image.
#[derive(Clone, Debug)]
pub enum Task {
    /// Fill the holes, in so many ways.
    Inpaint(Holes, Inpaint, usize),
    /// Make it as large as the model's images.
    Upscale(Upscale),
    /// Go from every first image to every second one, in so many steps.
    Morph(Path, usize),
    /// Go from each image towards an attribute, in so many steps.
    Change(Attribute, usize),
}

/// What to do.
#[derive(Clone)]
pub struct Request {
    /// Folder or file of a trained model, or its address on the hub.
    pub model: String,
    /// The images to treat.
    pub images: Images,
    /// Whom they show.
    pub whom: Whom,
    /// What to do with them.
    pub task: Task,
    /// Root of the random streams.
    pub seed: u64,
    /// Where to write the results.
    pub destination: Destination,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The output folder.
    pub out: PathBuf,
    /// What it holds.
    pub summary: Summary,
    /// All was there already.
    pub before: bool,
    /// Images that were left out.
    pub rejected: Rejected,
    /// Of the images that were treated now those that are unlike the training's, by what the model makes of them; none where nobody
    /// looked: all was there already, or the model's file is of before.
    pub unlike: Option<usize>,
}

impl Task {
    fn name(&self) -> &'static str {
        match self {
            Self::Inpaint(..) => "inpaint",
            Self::Upscale(_) => "upscale",
            Self::Morph(..) | Self::Change(..) => "morph",
        }
    }

    /// Images that it takes together, and results of these.
    fn shape(&self) -> (usize, usize) {
        match self {
            Self::Inpaint(_, _, samples) => (1, (*samples).max(1)),
            Self::Upscale(_) => (1, 1),
            Self::Morph(_, steps) => (2, (*steps).max(2)),
            Self::Change(_, steps) => (1, (*steps).max(2)),
        }
    }
}

/// What would be done.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The output folder.
    pub out: PathBuf,
    /// All is there already.
    pub before: bool,
    /// Results, and the disk that they take.
    pub output: OutputPreview,
    /// Images that are unusable, and the first of them.
    pub rejected: (usize, Option<String>),
}

/// What [`run`] would do; nothing is written.
///
/// # Errors
/// Those of [`run`] that can be known.
pub fn preview(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Preview> {
    let request = &Request { destination: request.destination.placed()?, ..request.clone() };
    let (d, model) = (&request.destination, models::load(&request.model, context)?.1);
    place::named_list(&d.out, REJECTS_SUFFIX, "rejected rows")?;
    let job = Job::new(request, &model, context, progress)?;
    let complete = matches!(look(&d.out, &job.order, d.repair)?, Stored::Complete(_));
    let bytes = d.image_bytes(job.treating.output_side()).0;
    Ok(Preview {
        out: d.out.clone(),
        // Whether the files are unchanged is seen by reading them.
        before: complete && verify(&d.out)?.damages.is_empty(),
        output: OutputPreview::new(request.task.shape().1, 0, job.rows as u64, bytes, &d.out),
        rejected: (job.rejected.len(), job.rejected.first().map(ToString::to_string)),
    })
}

/// Treats all images and writes what comes out.
///
/// # Errors
/// See [`Error`].
pub fn run(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Applied> {
    let request = &Request { destination: request.destination.placed()?, ..request.clone() };
    let (d, model) = (&request.destination, models::load(&request.model, context)?.1);
    let list = place::named_list(&d.out, REJECTS_SUFFIX, "rejected rows")?;
    let Job { treating, given, order, rows, rejected } = Job::new(request, &model, context, progress)?;
    if list.exists() {
        store::remove(&list)?;
    }
    if !rejected.is_empty() {
        rejects::write(&list, &rejected)?;
    }
    let applied = |summary: Summary, before: bool, unlike: Option<usize>| Applied {
        out: d.out.clone(),
        summary,
        before,
        unlike,
        rejected: Rejected { count: rejected.len(), list: list.clone() },
    };
    let mut output = match Output::open(&d.out, &order, d.repair)? {
        Opened::Complete(done) => return Ok(applied(*done, true, None)),
        Opened::Ready(output) => output,
    };
    if let Some(note) = output.note() {
        progress.note(&note);
    }
    // Again, now that nobody else works here.
    refuse_forgotten(&d.out, &model)?;
    store::write_atomic(&d.out.join(CONFIG), crate::config::to_toml(&model.header.config)?.as_bytes())?;
    output.arrange(rows, d.shard_rows.get())?;
    let mut sink = Sink::new(output, d.format, model.header.identities.clone());
    progress.start(request.task.name(), rows as u64, "images");
    let unlike = treating.write(&given, &order, &mut sink, progress)?;
    progress.finish();
    if let Some(advice) = unlike.as_ref().and_then(Unlike::advice) {
        progress.warn(&advice);
    }
    let (output, rest) = sink.finish()?;
    let mut others = Vec::new();
    if matches!(request.task, Task::Morph(..) | Task::Change(..)) {
        pictures::write(&d.out, treating.output_side(), request.task.shape().1)?;
        others.extend(PICTURES);
    }
    let classes = model.header.identities.len();
    let done = Summary { image_size: Some(treating.output_side()), ..Summary::new(order, rows, 0, classes) };
    Ok(applied(output.complete(done, &others, rest)?, false, unlike.map(|u| u.count)))
}

/// The label of `identity` in `model`.
///
/// # Errors
/// `Usage`: the model does not know it.
fn label_of(model: &TrainedModel, identity: &str) -> Result<u32> {
    let known = &model.header.identities;
    keys::find(known, identity).map(|label| label as u32).ok_or_else(|| {
        Error::Usage(format!(
            "the model does not know identity `{identity}`; it knows {}, such as `{}`; with option `identity` auto its classifier chooses",
            known.len(),
            known.first().map_or("", String::as_str)
        ))
    })
}

/// How pictures of a manifest are seen: at side `side`.
fn view(model: &TrainedModel, side: usize) -> View {
    View::new(side, model.header.config.alignment)
}
