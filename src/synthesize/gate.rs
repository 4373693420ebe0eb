//! What a generator must show before anything is made of it: that it has not collapsed to one image, or to one image of each
//! identity, and that its identities are not each other's.

use super::{Item, Sampling, render};
use crate::config::LatentSource;
use crate::dataset::to_signed;
use crate::error::{Error, Result};
use crate::nn::Mode;
use crate::train::TrainedModel;
use candle_core::Tensor;
use std::collections::BTreeSet;

/// Identities that are looked at.
const IDENTITIES: usize = 16;
/// Images of each.
const IMAGES: usize = 8;
/// Root mean square deviation of pixels, in levels of 255, below which images are one image. That of photographs of one person is
/// 20 times as large and more.
const SAME: f64 = 1.0;
/// A training of fewer steps is a trial of the machinery: its averaged generator has hardly left its start.
const TRIAL_STEPS: u64 = 100;

/// Looks at some images of `model`.
///
/// # Errors
/// The generator has collapsed, or, by the model's classifier, shows other identities than it is asked for.
pub fn check(model: &TrainedModel, seed: u64) -> Result<()> {
    let header = &model.header;
    if header.step < TRIAL_STEPS {
        return Ok(());
    }
    // Not as images are asked for: posteriors of few photographs, or truncation, make images that are alike of a sound generator.
    let sampling = Sampling { seed, latent: LatentSource::Prior, truncation: 1.0 };
    let known = header.identities.len();
    let count = known.min(IDENTITIES);
    let labels: Vec<u32> = (0..count).map(|i| (i * known / count) as u32).collect();
    let item = |label: u32, index: u64| Item {
        identity: header.identities[label as usize].clone(),
        index,
        mix: vec![(label, 1.0)],
    };
    let items: Vec<Item> = labels.iter().flat_map(|l| (0..IMAGES as u64).map(|i| item(*l, i))).collect();
    let images = render(model, &sampling, &items)?;
    let taken_for = classify(model, &images)?;
    match failure(&images, &labels, &taken_for) {
        Some(what) => Err(Error::Model(format!("{what}; train the model longer, or with another seed"))),
        None => Ok(()),
    }
}

/// What is wrong with `images`, [`IMAGES`] of each of `labels` in turn, if the classifier says what they are taken for.
fn failure(images: &[Vec<u8>], labels: &[u32], taken_for: &[u32]) -> Option<String> {
    if deviation(images) < SAME {
        return Some("the generator has collapsed: it makes one image, whatever it is asked for".into());
    }
    let within: Vec<f64> = images.chunks(IMAGES).map(deviation).collect();
    let alike = within.iter().filter(|d| **d < SAME).count();
    if 2 * alike > labels.len() {
        return Some(format!(
            "the generator has collapsed: {alike} of {} identities that were looked at have a single image each",
            labels.len()
        ));
    }
    // A weak generator shows one face for many identities; only many distinct wrong ones are a mistake of labels.
    let mistaken: Vec<u32> = labels
        .iter()
        .zip(taken_for.chunks(IMAGES))
        // Two persons who look alike are often taken for each other, but not in every image.
        .filter_map(|(label, taken)| majority(taken).filter(|_| !taken.contains(label)))
        .collect();
    let distinct = mistaken.iter().collect::<BTreeSet<_>>().len();
    (2 * distinct > labels.len()).then(|| {
        format!(
            "the generator shows other identities than it is asked for: by the model's classifier, {} of {} that were looked at are \
             somebody else",
            mistaken.len(),
            labels.len()
        )
    })
}

/// Root mean square deviation of pixels from their mean over `images`.
fn deviation(images: &[Vec<u8>]) -> f64 {
    let (n, pixels) = (images.len() as f64, images.first().map_or(0, Vec::len));
    let variance = |p: usize| {
        let values = images.iter().map(|i| f64::from(i[p]));
        let mean = values.clone().sum::<f64>() / n;
        values.map(|v| (v - mean).powi(2)).sum::<f64>() / n
    };
    ((0..pixels).map(variance).sum::<f64>() / pixels.max(1) as f64).sqrt()
}

/// The value of more than half of `values`.
fn majority(values: &[u32]) -> Option<u32> {
    values.iter().find(|v| 2 * values.iter().filter(|w| w == v).count() > values.len()).copied()
}

/// The labels that the model's classifier gives to `images`.
fn classify(model: &TrainedModel, images: &[Vec<u8>]) -> Result<Vec<u32>> {
    let size = model.header.config.image_size;
    let values: Vec<f32> = images.iter().flatten().map(|b| to_signed(*b)).collect();
    let x = Tensor::from_vec(values, (images.len(), size, size, 3), &model.device)?;
    let seen = model.classifier.net.forward(&(&x).into(), Mode::Eval)?;
    Ok(seen.output.argmax(1)?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of `n` identities: a shade of their own and noise.
    fn images(n: usize) -> (Vec<Vec<u8>>, Vec<u32>) {
        let image = |i: usize, k: usize| (0..48).map(|p| (i * 20 + (p * 7 + k * 13) % 17) as u8).collect();
        ((0..n).flat_map(|i| (0..IMAGES).map(move |k| image(i, k))).collect(), (0..n as u32).collect())
    }

    fn each(labels: &[u32]) -> Vec<u32> {
        labels.iter().flat_map(|l| [*l; IMAGES]).collect()
    }

    #[test]
    fn collapses_and_exchanged_identities_are_told_apart() {
        let (good, labels) = images(6);
        let found = |images: &[Vec<u8>], taken: &[u32]| failure(images, &labels, taken).unwrap_or_default();
        assert_eq!(found(&good, &each(&labels)), "");
        // A weak generator that shows one face, or a classifier that does not know, is no exchange.
        assert_eq!(found(&good, &[3; 6 * IMAGES]), "");
        assert_eq!(found(&good, &(0..6 * IMAGES as u32).map(|i| i % 6).collect::<Vec<_>>()), "");
        // Each is taken for its twin in all images but one.
        let twins = labels.iter().flat_map(|l| (0..IMAGES).map(move |k| if k == 0 { *l } else { l ^ 1 }));
        assert_eq!(found(&good, &twins.collect::<Vec<_>>()), "");
        let one = vec![good[0].clone(); good.len()];
        assert!(found(&one, &each(&labels)).contains("whatever it is asked for"));
        let single: Vec<Vec<u8>> = good.chunks(IMAGES).flat_map(|c| vec![c[0].clone(); IMAGES]).collect();
        assert!(
            found(&single, &each(&labels)).contains("6 of 6 identities that were looked at have a single image each")
        );
        let shifted: Vec<u32> = labels.iter().map(|l| (l + 1) % 6).collect();
        assert!(found(&good, &each(&shifted)).contains("6 of 6 that were looked at are somebody else"));
    }
}
