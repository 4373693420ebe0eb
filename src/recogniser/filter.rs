//! Which candidates of a synthesis are kept: those that are no copies, and that a judge takes for their identity.

use super::copies::Index;
use super::{Embeddings, dot};
use crate::dataset::IdentityDataset;
use crate::error::{Error, Result};
use crate::manifest::keys;
use crate::synthesize::plan::Target;
use crate::synthesize::select::Verdict;

/// What candidates must show.
pub struct Filter<'a> {
    /// Who judges, if anybody does.
    pub judge: Option<Judging<'a>>,
    /// The training images, and the similarity to one of them above which an image is a copy.
    pub copies: Option<(Index<'a>, f64)>,
    /// Side of the images.
    pub size: usize,
}

/// Persons, by the mean embeddings of their real images.
pub struct Known {
    /// Their keys, in order.
    pub identities: Vec<String>,
    /// The mean of each one's embeddings, of length 1.
    pub means: Embeddings,
    /// Cosine similarity from which an image counts as its person.
    pub threshold: f64,
}

impl Known {
    /// Mean embedding of a person, if that is known.
    pub fn mean(&self, identity: &str) -> Option<&[f32]> {
        Some(self.means.row(keys::find(&self.identities, identity)?))
    }

    /// The person whose mean embedding is nearest to an embedding, if anybody is known.
    pub fn nearest(&self, embedding: &[f32]) -> Option<&str> {
        let cosine = |c: &usize| dot(embedding, self.means.row(*c));
        let nearest = (0..self.means.len()).max_by(|a, b| cosine(a).total_cmp(&cosine(b)))?;
        Some(&self.identities[nearest])
    }

    /// For each row, its cosine similarity to a person whose mean embedding is `mean`, and whether no known person is nearer.
    pub fn similarities(&self, embeddings: &Embeddings, mean: &[f32]) -> Vec<(f64, bool)> {
        let judged = |i: usize| {
            let own = dot(embeddings.row(i), mean);
            let nearest = (0..self.means.len()).all(|c| dot(embeddings.row(i), self.means.row(c)) <= own);
            (f64::from(own), nearest)
        };
        (0..embeddings.len()).map(judged).collect()
    }
}

/// Who can tell whether an image shows a person.
pub trait Chooser: Sync {
    /// Embeddings of square images of side `size`, `[size, size, 3]` bytes each; of length 1.
    ///
    /// # Errors
    /// Pixels of another number.
    fn embed(&self, images: &[Vec<u8>], size: usize) -> Result<Embeddings>;
    /// The persons to compare with.
    fn known(&self) -> &Known;
}

/// A judge at work.
pub struct Judging<'a> {
    /// The judge.
    judge: &'a dyn Chooser,
    /// Cosine similarity that counts instead of the judge's threshold.
    least: Option<f64>,
    /// The new identity that was seen last, and the mean embedding of its first candidates.
    new: Option<(String, Vec<f32>)>,
}

impl Filter<'_> {
    /// What is thought of each image of `target`.
    ///
    /// # Errors
    /// The judge does not know the identity.
    pub fn judge(&mut self, target: &Target, pixels: &[Vec<u8>]) -> Result<Vec<Verdict>> {
        let mut verdicts = match &mut self.judge {
            Some(judging) => judging.judge(target, pixels, self.size)?,
            None => vec![Verdict::Accepted; pixels.len()],
        };
        if let Some((index, limit)) = &self.copies {
            let images = IdentityDataset::new(self.size, pixels.concat(), vec![0; pixels.len()], vec![String::new()])?;
            for (verdict, similarity) in verdicts.iter_mut().zip(index.nearest(&images)) {
                if f64::from(similarity) > *limit {
                    *verdict = Verdict::Copy;
                }
            }
        }
        Ok(verdicts)
    }
}

impl<'a> Judging<'a> {
    /// `judge`, who demands a similarity of `least`, or of its threshold and no other identity nearer.
    pub fn new(judge: &'a dyn Chooser, least: Option<f64>) -> Self {
        Self { judge, least, new: None }
    }

    /// Whether each image shows `target`. A new identity is compared with the mean embedding of its first candidates.
    fn judge(&mut self, target: &Target, pixels: &[Vec<u8>], size: usize) -> Result<Vec<Verdict>> {
        let embeddings = self.judge.embed(pixels, size)?;
        let mean = if target.mix.len() > 1 {
            let new = self.new.take().filter(|(identity, _)| *identity == target.identity);
            let first = || (target.identity.clone(), embeddings.mean(0..embeddings.len()));
            &self.new.insert(new.unwrap_or_else(first)).1[..]
        } else {
            let unknown =
                || Error::Usage(format!("the judge does not know identity `{}` of the model", target.identity));
            self.judge.known().mean(&target.identity).ok_or_else(unknown)?
        };
        let verdict = |(similarity, nearest): (f64, bool)| {
            let accepted =
                self.least.map_or(similarity >= self.judge.known().threshold && nearest, |least| similarity >= least);
            if accepted { Verdict::Accepted } else { Verdict::Unlike(similarity) }
        };
        Ok(self.judge.known().similarities(&embeddings, mean).into_iter().map(verdict).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EvaluationConfig, RecogniserPreset};
    use crate::nn::Weights;
    use crate::recogniser::Recogniser;
    use crate::recogniser::judge::Judge;
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
        let mut filter = Filter { judge: Some(Judging::new(&judge, Some(0.999))), copies: None, size };
        let mut accept = |target: &Target, images: &[usize]| {
            let images: Vec<Vec<u8>> = images.iter().map(|p| striped(*p)).collect();
            let verdicts = filter.judge(target, &images)?;
            Ok::<_, Error>(verdicts.into_iter().map(|v| v == Verdict::Accepted).collect::<Vec<_>>())
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
        // A copy is one, whatever a judge thinks of it.
        let copies = Some((Index::new(&known), 0.98));
        let mut filter = Filter { judge: Some(Judging::new(&judge, Some(-1.0))), copies, size };
        let verdicts = filter.judge(&new, &[striped(2), striped(5)]).unwrap();
        assert_eq!(verdicts, [Verdict::Copy, Verdict::Accepted]);
    }
}
