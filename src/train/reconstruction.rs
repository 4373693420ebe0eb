//! How much of an image a model keeps: what E and G make of it, and how far that is from it. An image that shows something else than
//! those of the training, or a face in another place, comes back as another one.

use crate::dataset::IdentityDataset;
use crate::error::Result;
use crate::model::encoder::Encoder;
use crate::model::generator::Generator;
use crate::nn::{Labels, Mode};
use candle_core::{Device, Tensor};

/// Training images that [`largest`] looks at, evenly chosen, at most.
const IMAGES: usize = 128;
/// Those that pass through the networks at a time.
const BATCH: usize = 32;

/// What G makes of the means of the posteriors of `images`, `[B, S, S, 3]`, row-major.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn reconstruct(encoder: &Encoder, generator: &Generator, images: &Tensor, labels: &Labels) -> Result<Vec<f32>> {
    let (mu, _) = encoder.forward(&images.into(), labels, Mode::Eval)?;
    Ok(generator.forward(&mu.tensor().into(), labels, Mode::Eval)?.flatten_all()?.to_vec1()?)
}

/// Mean absolute difference of pairs of values in [-1, 1], in steps of 8 bits.
pub fn difference<'a>(pairs: impl Iterator<Item = (&'a f32, &'a f32)>) -> f32 {
    let (sum, count) = pairs.fold((0f64, 0u32), |(sum, n), (a, b)| (sum + f64::from((a - b).abs()), n + 1));
    (127.5 * sum / f64::from(count.max(1))) as f32
}

/// The largest [`difference`] between a training image and what the networks make of it.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn largest(encoder: &Encoder, generator: &Generator, dataset: &IdentityDataset, device: &Device) -> Result<f32> {
    let count = dataset.len().min(IMAGES);
    let indices: Vec<usize> = (0..count).map(|i| i * dataset.len() / count).collect();
    let mut largest = 0f32;
    for part in indices.chunks(BATCH) {
        let images = dataset.batch(part, &[], device)?;
        let labels: Vec<u32> = part.iter().map(|i| dataset.labels()[*i]).collect();
        let made = reconstruct(encoder, generator, &images, &Labels::plain(&labels, device)?)?;
        let images = images.flatten_all()?.to_vec1::<f32>()?;
        let values = made.len() / part.len();
        for (image, made) in images.chunks_exact(values).zip(made.chunks_exact(values)) {
            largest = largest.max(difference(image.iter().zip(made)));
        }
    }
    Ok(largest)
}
