//! Which candidates of a synthesis a judge keeps.

use crate::dataset::decode;
use crate::error::{Error, Result};
use crate::evaluate::judge::Judge;
use crate::synthesize::plan::Target;
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
    /// Whether each image shows `target`. A new identity looks like the mean of its first candidates.
    pub fn accept(&mut self, target: &Target, pixels: &[Vec<u8>]) -> Result<Vec<bool>> {
        let seen = pixels.iter().map(|p| {
            let image = RgbImage::from_raw(self.size as u32, self.size as u32, p.clone());
            let image = image.ok_or_else(|| Error::Model("the generator's images have another size".into()))?;
            decode::square(&image, self.judge.image_size()).map_err(Error::Model)
        });
        let embeddings = self.judge.embed(seen.collect::<Result<Vec<_>>>()?.concat(), pixels.len())?;
        let mean = if target.mix.len() > 1 {
            let new = self.new.take().filter(|(identity, _)| *identity == target.identity);
            let first = || (target.identity.clone(), embeddings.mean(0..embeddings.len()));
            &self.new.insert(new.unwrap_or_else(first)).1[..]
        } else {
            let unknown = || Error::Usage(format!("--judge does not know identity `{}` of the model", target.identity));
            self.judge.mean(&target.identity).ok_or_else(unknown)?
        };
        let accepted = |(similarity, nearest): (f64, bool)| match self.least {
            Some(least) => similarity >= least,
            None => similarity >= self.judge.threshold && nearest,
        };
        Ok(self.judge.similarities(&embeddings, mean).into_iter().map(accepted).collect())
    }
}
