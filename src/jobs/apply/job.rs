//! What a treatment needs to know before anything is written: how many images there are, what they hold, and what is ordered.

use super::Request;
use super::given::Given;
use super::treating::Treating;
use crate::error::{Error, Result};
use crate::jobs::{Context, place};
use crate::manifest::DEFAULT_SET;
use crate::manifest::rejects::Reject;
use crate::progress::Progress;
use crate::sink::erase::tombstones;
use crate::sink::order::{Order, OrderedModel};
use crate::train::TrainedModel;
use std::path::Path;

/// What is known before anything is written.
pub(super) struct Job<'a> {
    /// The model at its task.
    pub treating: Treating<'a>,
    /// The images.
    pub given: Given<'a>,
    /// What is ordered.
    pub order: Order,
    /// Results.
    pub rows: usize,
    /// Images that cannot be used.
    pub rejected: Vec<Reject>,
}

impl<'a> Job<'a> {
    /// Looks at all images: how many there are, and what they hold.
    ///
    /// # Errors
    /// An image, identity or hole that does not fit the model; no image can be used; the model knows somebody who was forgotten in the output.
    pub fn new(
        request: &'a Request,
        model: &'a TrainedModel,
        context: &Context,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let d = &request.destination;
        if d.include_real {
            return Err(Error::Usage("option `include_real` does not apply here".into()));
        }
        let treating = Treating::new(request, model, context, progress)?;
        let given = Given::open(request, model, treating.side(), context)?;
        let (mut count, mut hasher, mut rejected) = (0usize, blake3::Hasher::new(), Vec::new());
        progress.start("read", given.about(), "images");
        given.read(progress, &mut |picture| {
            match picture {
                Ok(picture) => {
                    count += 1;
                    let label = picture.label.unwrap_or(u32::MAX).to_le_bytes();
                    for part in [picture.name.as_bytes(), &picture.pixels, &label] {
                        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
                    }
                }
                Err(reject) => rejected.push(reject),
            }
            Ok(())
        })?;
        progress.finish();
        if count == 0 {
            let first = rejected.first().map(ToString::to_string).unwrap_or_default();
            return Err(Error::Usage(format!("no image can be treated; the first: {first}")));
        }
        let (together, results) = request.task.shape();
        if let Some(first) = rejected.first().filter(|_| together > 1) {
            return Err(Error::Usage(format!(
                "{} takes images two by two, and {} cannot be used, after which others would be taken together; the first: {first}",
                request.task.name(),
                rejected.len()
            )));
        }
        if !count.is_multiple_of(together) {
            return Err(Error::Usage(format!(
                "{} takes images two by two, and there are {count}",
                request.task.name()
            )));
        }
        refuse_forgotten(&d.out, model)?;
        let rows = count / together * results;
        let order = Order {
            models: Some(vec![OrderedModel {
                identity_set: DEFAULT_SET.into(),
                hash: model.hash.clone(),
                images: model.header.dataset_hash.clone(),
                judge: None,
            }]),
            alignment: model.header.config.alignment,
            seed: request.seed,
            rows: Some(rows),
            task: Some(treating.parameters.clone()),
            ..d.order(&hasher.finalize().to_hex(), &model.header.config.hash()?, &context.device)
        };
        Ok(Self { treating, given, order, rows, rejected })
    }
}

/// Refuses a model that knows somebody who was forgotten in `out`.
///
/// # Errors
/// `Usage`: it does.
pub(super) fn refuse_forgotten(out: &Path, model: &TrainedModel) -> Result<()> {
    let known = model.header.identities.iter().map(String::as_str);
    place::refuse_forgotten(out, tombstones(out)?.as_ref(), known, "choose a model that does not know it")
}
