//! `augment inpaint`, `augment upscale` and `augment morph`

use super::args::GlobalArgs;
use super::augment::{output_json, room};
use super::terminal::Terminal;
use super::treatment::{InpaintArgs, MorphArgs, TreatmentArgs, UpscaleArgs};
use super::{Outcome, environment};
use ::augment::error::{Error, Result};
use ::augment::jobs::Input;
use ::augment::jobs::apply::{
    Applied, Attribute, Holes, Images, Inpaint, Preview, Request, Task, Upscale, Whom, preview, run as run_job,
};
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;

/// Fills holes in images.
pub fn inpaint(args: &InpaintArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let holes = match (&args.mask, &args.rectangle) {
        (Some(path), _) => Holes::Mask(path.clone()),
        (None, Some(of)) => Holes::Rectangle(*of),
        (None, None) => Holes::Features(args.mask_from.clone()),
    };
    let plain = Inpaint::default();
    let options = Inpaint {
        rounds: args.rounds.unwrap_or(plain.rounds),
        tolerance: args.tolerance.unwrap_or(plain.tolerance),
        refine: args.refine.unwrap_or(plain.refine),
        seam: args.seam.unwrap_or(plain.seam),
    };
    let given = args.treatment.images();
    treat(&args.treatment, given, Task::Inpaint(holes, options, args.samples), "inpainted", global, terminal)
}

/// Makes small images large.
pub fn upscale(args: &UpscaleArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let plain = Upscale::new(args.factor);
    let options = Upscale { refine: args.refine.unwrap_or(plain.refine), ..plain };
    treat(&args.treatment, args.treatment.images(), Task::Upscale(options), "upscaled", global, terminal)
}

/// Goes from face to face.
pub fn morph(args: &MorphArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let (images, whom) = args.treatment.images();
    let (images, whom) = match (images, whom, &args.to) {
        // One image under two labels: the face stays, the person changes.
        (Images::Files(paths), Whom::Named(from), Some(to)) if paths.len() == 1 && paths[0].is_file() => {
            (Images::Files(vec![paths[0].clone(), paths[0].clone()]), Whom::Both(from, to.clone()))
        }
        (images, Whom::Named(from), Some(to)) => (images, Whom::Both(from, to.clone())),
        (_, _, Some(_)) => {
            return Err(Error::Usage(
                "option `to` names whom the second image shows: name whom the first shows with option `identity`"
                    .into(),
            ));
        }
        (images, whom, None) => (images, whom),
    };
    let task = match &args.attribute {
        Some(groups) => {
            let spec = args.attribute_manifest.as_ref().or(args.treatment.manifest.as_ref());
            let spec = spec.ok_or_else(|| {
                Error::Usage("option `attribute` needs images that show it: a manifest with the column `group`, by option `attribute_manifest`".into())
            })?;
            let columns = args.treatment.columns.columns();
            Task::Change(Attribute { input: Input { columns, ..Input::new(spec) }, groups: groups.clone() }, args.steps)
        }
        None => Task::Morph(args.path, args.steps),
    };
    treat(&args.treatment, (images, whom), task, "morphed", global, terminal)
}

fn treat(
    args: &TreatmentArgs,
    (images, whom): (Images, Whom),
    task: Task,
    out: &str,
    global: &GlobalArgs,
    terminal: &mut Terminal,
) -> Result<Outcome> {
    let request = Request {
        model: args.model.clone(),
        images,
        whom,
        task,
        seed: args.sampling_seed,
        destination: args.destination(PathBuf::from(out)),
    };
    let context = environment::context(global)?;
    if global.dry_run {
        return Ok(would(&preview(&request, &context, terminal)?));
    }
    let done = run_job(&request, &context, terminal)?;
    Ok(in_words(&done).with_rejects(done.rejected.count, &done.rejected.list))
}

fn in_words(done: &Applied) -> Outcome {
    let verb = if done.before { "already there:" } else { "wrote" };
    let text = format!("{verb} {} images in {}\n", done.summary.synthetic, done.out.display());
    let mut json = json!(done.summary);
    json["out"] = done.out.display().to_string().into();
    json["unlike_training"] = done.unlike.into();
    Outcome::new(text, json)
}

/// What would be done, without doing it.
fn would(preview: &Preview) -> Outcome {
    let verb = if preview.before { "already there:" } else { "would write" };
    let output = output_json(&preview.output);
    let mut text = format!("{verb} {}, {}\n", preview.out.display(), room(&preview.output));
    let (rejected, first) = &preview.rejected;
    if let Some(first) = first {
        let _ = writeln!(text, "unusable: {rejected} images; first: {}", super::printable(first));
    }
    Outcome::new(text, json!({ "version": 1, "dry_run": true, "output": output, "rejected": rejected }))
}
