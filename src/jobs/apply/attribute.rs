//! The direction of an attribute: what sets the posteriors of images of one group apart from those of another.

use super::{label_of, view};
use crate::apply::{BATCH, Networks, morph::direction, values};
use crate::dataset::for_each_image;
use crate::error::{Error, Result};
use crate::jobs::Context;
use crate::jobs::input::{Input, Source};
use crate::jobs::walk::at;
use crate::progress::Progress;
use crate::train::TrainedModel;

/// Images of a group, fewer of which tell nothing of it.
const FEWEST: usize = 5;

/// Two groups of a manifest's column `group`.
#[derive(Clone, Debug)]
pub struct Attribute {
    /// The images that show it, of persons that the model knows.
    pub input: Input,
    /// The group that one goes towards, and the one that one comes from.
    pub groups: [String; 2],
}

impl Attribute {
    /// The direction from the second group to the first, `[Z]`.
    ///
    /// # Errors
    /// A group has too few images of persons that the model knows; `Stopped`.
    pub(super) fn direction(
        &self,
        model: &TrainedModel,
        networks: &Networks,
        context: &Context,
        progress: &mut dyn Progress,
    ) -> Result<Vec<f32>> {
        let source = Source::open(&self.input, context)?;
        let set = source.set_of("a model serves")?;
        let (mut waiting, mut rows, mut failed) = (Vec::new(), [Vec::new(), Vec::new()], Ok(()));
        let mut grouped = false;
        progress.start("attribute", source.count(&set).1 as u64, "images");
        let mut flush = |waiting: &mut Vec<(usize, u32, Vec<f32>)>| -> Result<()> {
            if waiting.is_empty() {
                return Ok(());
            }
            let images: Vec<Vec<f32>> = waiting.iter().map(|(_, _, image)| image.clone()).collect();
            let labels: Vec<u32> = waiting.iter().map(|(_, label, _)| *label).collect();
            let (mu, _) = networks.encode(&images, &labels)?;
            for (row, (group, _, _)) in mu.to_vec2::<f32>()?.into_iter().zip(waiting.drain(..)) {
                rows[group].extend(row);
            }
            Ok(())
        };
        let selection = source.selection(&[set], false);
        for_each_image(
            &source.manifest,
            &selection,
            view(model, networks.image_size()),
            at(progress),
            |row, pixels| {
                grouped |= row.group.is_some();
                let group = self.groups.iter().position(|g| row.group.as_deref() == Some(g));
                let label = row.identity.as_deref().and_then(|identity| label_of(model, identity).ok());
                if let (Some(group), Some(label), true) = (group, label, failed.is_ok()) {
                    waiting.push((group, label, values(pixels)));
                    if waiting.len() == BATCH {
                        failed = flush(&mut waiting);
                    }
                }
            },
        )?;
        failed.and_then(|()| flush(&mut waiting))?;
        progress.finish();
        if !grouped {
            return Err(Error::Usage(format!(
                "option `attribute`: no row of {} has a value in the column `group`, which says what an image shows",
                source.spec
            )));
        }
        let z = networks.latent_dim();
        for (group, rows) in self.groups.iter().zip(&rows) {
            let images = rows.len() / z;
            if images < FEWEST {
                return Err(Error::Usage(format!(
                    "option `attribute`: {images} images of persons that the model knows have `{group}` in the column `group` of {}; {FEWEST} are \
                     the fewest",
                    source.spec
                )));
            }
        }
        Ok(direction(&rows[0], &rows[1], z))
    }
}
