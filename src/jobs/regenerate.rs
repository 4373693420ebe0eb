//! Stored images made again from their rows, and compared.

use super::export::is_scaled;
use super::{Context, models};
use crate::dataset::decode;
use crate::error::{Error, Result};
use crate::formats::{Reader, Sample};
use crate::progress::Progress;
use crate::sink::ledger;
use crate::store;
use crate::synthesize::{BATCH, Item, Sampling, item_of, picture, render};
use crate::train::TrainedModel;
use std::path::PathBuf;

/// What to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// Folder or file of a trained model, or its address on the hub.
    pub model: String,
    /// The dataset: a folder, or one of its files.
    pub dataset: PathBuf,
    /// Only this image.
    pub sample_id: Option<String>,
    /// Folder that this image is written to.
    pub out: Option<PathBuf>,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Regenerated {
    /// Images that were made again, all byte-equal.
    pub equal: usize,
    /// Rows of other models, which were left alone.
    pub other_models: usize,
}

/// Makes images again from their rows and compares the bytes.
///
/// # Errors
/// `Model` if one differs; `Usage` if none was made by this model.
pub fn run(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Regenerated> {
    let order = ledger::order(&request.dataset).ok().flatten();
    if order.is_some_and(|order| is_scaled(&order)) {
        return Err(Error::Usage(format!(
            "{}: its images were scaled by an export; regenerate the dataset that it was made of, and check the files of this one with `verify`",
            request.dataset.display()
        )));
    }
    let model = &models::load(&request.model, context)?.1;
    let mut check = Check { model, request, equal: 0, different: Vec::new(), waiting: Vec::new() };
    let mut others = 0usize;
    let written = Reader::open(&request.dataset)?;
    progress.start("regenerate", written.parts.len() as u64, "shards");
    for (done, part) in written.parts.iter().enumerate() {
        written.read(part, |sample| {
            let wanted = request.sample_id.as_ref().is_none_or(|id| *id == sample.sample_id);
            if !sample.synthetic || !wanted {
                return Ok(());
            }
            if sample.model_hash != model.hash {
                others += 1;
                return Ok(());
            }
            check.add(sample)
        })?;
        progress.reached(done as u64 + 1)?;
    }
    check.flush()?;
    progress.finish();
    let (equal, different) = (check.equal, check.different);
    if equal + different.len() == 0 {
        return Err(Error::Usage(format!(
            "{}: no image that was asked for was made by this model ({others} by others)",
            request.dataset.display()
        )));
    }
    if let Some(first) = different.first() {
        return Err(Error::Model(format!(
            "{} of {} images came out with other bytes, the first is {first}; the dataset was changed, or made by \
             another build or on another instruction set",
            different.len(),
            equal + different.len()
        )));
    }
    Ok(Regenerated { equal, other_models: others })
}

/// Compares stored images with new ones, a batch at a time.
struct Check<'a> {
    model: &'a TrainedModel,
    request: &'a Request,
    equal: usize,
    different: Vec<String>,
    /// Rows of one sampling.
    waiting: Vec<(Sample, Item, Sampling)>,
}

impl Check<'_> {
    fn add(&mut self, sample: Sample) -> Result<()> {
        let (item, sampling) = item_of(self.model, &sample)?;
        let another = self.waiting.last().is_some_and(|(_, _, s)| *s != sampling);
        if another || self.waiting.len() == BATCH {
            self.flush()?;
        }
        self.waiting.push((sample, item, sampling));
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let Some((_, _, sampling)) = waiting.first() else { return Ok(()) };
        let items: Vec<Item> = waiting.iter().map(|(_, item, _)| item.clone()).collect();
        let size = self.model.header.config.image_size;
        for (pixels, (sample, _, _)) in render(self.model, sampling, &items)?.into_iter().zip(&waiting) {
            // Of what size it was written, its file says.
            let side = decode::look(&sample.image).map_or(size, |(side, _)| side as usize);
            let image = picture(pixels, size, side, sample.extension)?;
            if let (Some(_), Some(out)) = (&self.request.sample_id, &self.request.out) {
                store::create_dir(out)?;
                store::write_atomic(&out.join(format!("{}.{}", sample.sample_id, sample.extension)), &image)?;
            }
            if image == sample.image {
                self.equal += 1;
            } else {
                self.different.push(sample.sample_id.clone());
            }
        }
        Ok(())
    }
}
