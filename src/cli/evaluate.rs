//! `augment evaluate`: measures of a synthesized dataset beside held-out real images.

use super::Outcome;
use super::args::{EvaluateArgs, GlobalArgs};
use super::plan::{self, Source};
use super::terminal::Terminal;
use crate::dataset::{IdentityDataset, Selection};
use crate::error::{Error, Result};
use crate::evaluate::{self, Figures};
use crate::progress::Progress;
use serde_json::json;
use std::fmt::Write;
use std::path::Path;

/// Measures the synthetic images of one identity set.
pub fn run(args: &EvaluateArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let cache = plan::cache_dir(global)?;
    let source = Source::open(&args.input, &cache)?;
    let config = plan::resolve_config(&args.config, Some(&source))?;
    let device = plan::device(global)?;
    let sets = source.sets();
    let [set] = sets.as_slice() else {
        return Err(Error::Usage(format!("evaluate serves one identity set, the manifest has {}", sets.len())));
    };
    if global.dry_run {
        return super::run::dry_run(&source, &config, None);
    }
    if !(args.judge_kimg > 0.0 && args.judge_kimg.is_finite()) {
        return Err(Error::Usage(format!("--judge-kimg {} must be positive", args.judge_kimg)));
    }
    let rejects_to = plan::rejects_path(Path::new(&format!("{}-evaluate", plan::default_out(&source.spec).display())))?;
    let mut loaded = None;
    let rejected = source.for_each_set(config.image_size, &rejects_to, terminal, |_, dataset, _| {
        loaded = Some(dataset);
        Ok(())
    })?;
    let Some(real) = loaded else { return Err(Error::Manifest(format!("{}: no image", source.spec))) };
    let held_out = match &args.held_out {
        Some(split) => Some(held_out(&source, set, split, &real)?),
        None => None,
    };
    let synthetic = evaluate::read_synthetic(&args.synthetic, &real)?;
    terminal.note(&format!("judging {} synthetic images of {} identities", synthetic.len(), real.identities().len()));
    let kimg = args.judge_kimg;
    let q = evaluate::quality(&real, &synthetic, held_out.as_ref(), &config, kimg, &device, terminal)?;
    let mut text =
        format!("{:<20} {:>10} {:>8} {:>18} {:>14}\n", "", "images", "top-1", "nearest distance", "same identity");
    let mut line = |name: &str, f: &Figures| {
        let _ = writeln!(
            text,
            "{name:<20} {:>10} {:>8.4} {:>18.4} {:>14.4}",
            f.images, f.top1, f.nearest_distance, f.nearest_same_identity
        );
    };
    line("synthetic", &q.synthetic);
    if let Some(h) = &q.held_out {
        line("held-out real", h);
    }
    let _ = writeln!(text, "\njudge: trained on {} real images for {} kimg", q.training_images, q.judge_kimg);
    Ok(Outcome::new(text, json!(q)).with_rejects(rejected, &rejects_to))
}

/// Images of another split, of the identities that the judge knows.
fn held_out(source: &Source, set: &str, split: &str, real: &IdentityDataset) -> Result<IdentityDataset> {
    if source.split.as_deref().is_none_or(|s| s == split) {
        return Err(Error::Usage(format!(
            "--held-out {split}: the judge would be trained on these rows too; choose others with --split"
        )));
    }
    let selection = Selection { split: Some(split.to_owned()), identity_set: Some(set.to_owned()), unlabelled: false };
    let (images, _) = IdentityDataset::load(&source.manifest, &selection, real.image_size(), |_| Ok(()))?;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for i in 0..images.len() {
        let name = &images.identities()[images.labels()[i] as usize];
        if let Ok(label) = real.identities().binary_search(name) {
            pixels.extend_from_slice(images.image(i));
            labels.push(label as u32);
        }
    }
    if labels.is_empty() {
        return Err(Error::Manifest(format!("no row of split `{split}` shows an identity of the training rows")));
    }
    IdentityDataset::new(real.image_size(), pixels, labels, real.identities().to_vec())
}
