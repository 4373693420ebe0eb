//! Which candidates of a synthesis are kept: those that a judge takes for their identity, and that are no copies.

use super::copies;
use super::judge::Judge;
use crate::dataset::{IdentityDataset, View};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::synthesize::plan::{Plan, Target};
use crate::synthesize::{Item, Made};
use crate::train::TrainedModel;
use image::RgbImage;

/// Keeps the images that a judge takes for their identity.
pub struct Filter<'a> {
    /// Who judges.
    pub judge: &'a Judge,
    /// Cosine similarity that counts instead of the judge's threshold.
    pub least: Option<f64>,
    /// Side of the images.
    pub size: usize,
    /// The new identity that was seen last, and the mean embedding of its first candidates.
    pub new: Option<(String, Vec<f32>)>,
}

impl Filter<'_> {
    /// Whether each image shows `target`. A new identity is compared with the mean embedding of its first candidates.
    ///
    /// # Errors
    /// The judge does not know the identity.
    pub fn accept(&mut self, target: &Target, pixels: &[Vec<u8>]) -> Result<Vec<bool>> {
        let view = View::new(self.judge.image_size());
        let seen = pixels.iter().map(|p| {
            let image = RgbImage::from_raw(self.size as u32, self.size as u32, p.clone());
            let image = image.ok_or_else(|| Error::Model("the generator's images have another size".into()))?;
            view.square(&image).map_err(Error::Model)
        });
        let embeddings = self.judge.embed(seen.collect::<Result<Vec<_>>>()?.concat(), pixels.len())?;
        let mean = if target.mix.len() > 1 {
            let new = self.new.take().filter(|(identity, _)| *identity == target.identity);
            let first = || (target.identity.clone(), embeddings.mean(0..embeddings.len()));
            &self.new.insert(new.unwrap_or_else(first)).1[..]
        } else {
            let unknown =
                || Error::Usage(format!("the judge does not know identity `{}` of the model", target.identity));
            self.judge.mean(&target.identity).ok_or_else(unknown)?
        };
        let accepted = |(similarity, nearest): (f64, bool)| match self.least {
            Some(least) => similarity >= least,
            None => similarity >= self.judge.threshold && nearest,
        };
        Ok(self.judge.similarities(&embeddings, mean).into_iter().map(accepted).collect())
    }
}

/// Images that are compared with the training images at a time: their pixels are in memory.
const COMPARED: usize = 8192;

/// Takes images out of `plan` whose similarity to one of `training` is above `limit`; returns their number. What it renders is kept in
/// `made`.
///
/// # Errors
/// `Stopped`; those of rendering.
pub fn drop_copies(
    model: &TrainedModel,
    plan: &mut Plan,
    training: &IdentityDataset,
    limit: f64,
    made: &mut Made,
    progress: &mut dyn Progress,
) -> Result<usize> {
    let size = training.image_size();
    let items: Vec<(usize, Item)> = plan
        .targets
        .iter()
        .enumerate()
        .flat_map(|(t, target)| target.indices.iter().map(move |i| (t, target.item(*i))))
        .collect();
    let mut left_out = 0;
    for part in items.chunks(COMPARED) {
        let wanted: Vec<(i64, Item)> = part.iter().map(|(t, item)| (plan.targets[*t].label, item.clone())).collect();
        let pixels = made.pixels(model, &plan.sampling, &wanted)?;
        wanted.iter().zip(&pixels).for_each(|((label, item), p)| made.keep(*label, item.index, p.clone()));
        let images = IdentityDataset::new(size, pixels.concat(), vec![0; part.len()], vec![String::new()])?;
        drop(pixels);
        progress.start("copies", training.len() as u64, "training images");
        let nearest = copies::search(&images, training, progress)?;
        progress.finish();
        for ((target, item), nearest) in part.iter().zip(nearest) {
            if f64::from(nearest.similarity) > limit {
                plan.targets[*target].indices.retain(|i| *i != item.index);
                left_out += 1;
            }
        }
    }
    Ok(left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EvaluationConfig, RecogniserPreset};
    use crate::nn::Weights;
    use crate::recogniser::Recogniser;
    use crate::seeds::Seeds;
    use candle_core::Device;

    #[test]
    fn a_new_identity_is_compared_with_its_first_candidates() {
        let size = 32;
        let striped = |period: usize| -> Vec<u8> {
            let value = |y: usize, x: usize, c: usize| ((y / period * 90 + x * (c + 1) * period) % 251) as u8;
            (0..size * size * 3).map(|i| value(i / (3 * size), i / 3 % size, i % 3)).collect()
        };
        let config = EvaluationConfig::preset(RecogniserPreset::Tiny);
        let recogniser = Recogniser::new(&config, 2, Weights::Fresh(&Seeds::new(3)), &Device::Cpu).unwrap();
        let known = IdentityDataset::new(
            size,
            [striped(2), striped(9)].concat(),
            vec![0, 1],
            ["a", "b"].map(Into::into).into(),
        )
        .unwrap();
        let embedded = recogniser.embed(&known).unwrap();
        let judge = Judge::new(recogniser, &config, &known, &embedded);
        let target = |name: &str, mix: &[(u32, f32)]| Target {
            identity: name.into(),
            label: 2,
            mix: mix.to_vec(),
            indices: vec![],
        };
        let (new, other) = (target("new", &[(0, 0.5), (1, 0.5)]), target("other", &[(0, 0.4), (1, 0.6)]));
        let mut filter = Filter { judge: &judge, least: Some(0.999), size, new: None };
        let mut accept = |target: &Target, images: &[usize]| {
            filter.accept(target, &images.iter().map(|p| striped(*p)).collect::<Vec<_>>())
        };
        // Images of period 5 are the person; one of another period is not, even where all candidates have it.
        let mut first = vec![5; 40];
        first.push(13);
        let judged = accept(&new, &first).unwrap();
        assert!(judged[..40].iter().all(|a| *a) && !judged[40], "{judged:?}");
        assert_eq!(accept(&new, &[13, 13, 5]).unwrap(), [false, false, true]);
        // Another new identity is judged by its own.
        assert_eq!(accept(&other, &[13, 13]).unwrap(), [true, true]);
        // Known ones by their training images, and unknown ones not at all.
        assert_eq!(accept(&target("a", &[(0, 1.0)]), &[2, 9]).unwrap(), [true, false]);
        assert!(accept(&target("c", &[(0, 1.0)]), &[2]).is_err());
    }
}
