//! Measures of synthesized images that need no outside model.

pub mod judge;
pub mod nearest;

use crate::config::RunConfig;
use crate::dataset::{IdentityDataset, decode};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::sink::read;
use candle_core::Device;
use judge::Judge;
use rayon::prelude::*;
use serde::Serialize;
use std::path::Path;

/// What [`quality`] measures; each figure of synthetic images stands beside that of held-out real ones.
#[derive(Clone, Debug, Serialize)]
pub struct Quality {
    /// Version of this object.
    pub version: u32,
    /// Images and identities the judge was trained on.
    pub training_images: usize,
    /// Number of classes.
    pub identities: usize,
    /// Length of the judge's training, in thousands of images.
    pub judge_kimg: f64,
    /// Figures of synthetic images.
    pub synthetic: Figures,
    /// Figures of held-out real images, the level to compare with.
    pub held_out: Option<Figures>,
}

/// Figures of one kind of images.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Number of images.
    pub images: usize,
    /// Share that a classifier trained on real images only labels as asked.
    pub top1: f64,
    /// Mean over images of the root mean square difference to the nearest training image, pixels in [0, 1].
    pub nearest_distance: f64,
    /// Share of images whose nearest training image has the same identity.
    pub nearest_same_identity: f64,
}

/// Reads the synthetic images of a written dataset that belong to identities of `real`, at its image size.
///
/// # Errors
/// The dataset is damaged, or has no image of these identities.
pub fn read_synthetic(dataset: &Path, real: &IdentityDataset) -> Result<IdentityDataset> {
    let size = real.image_size();
    let (mut encoded, mut labels) = (Vec::new(), Vec::new());
    for shard in read::shards(dataset)? {
        read::records(&shard, |r| {
            if let (true, Ok(label)) = (r.synthetic, real.identities().binary_search(&r.identity)) {
                encoded.push(r.image);
                labels.push(label as u32);
            }
            Ok(())
        })?;
    }
    let pixels = encoded
        .par_iter()
        .map(|bytes| decode::square(&decode::decode(bytes)?, size))
        .collect::<std::result::Result<Vec<_>, String>>()
        .map_err(|e| Error::Manifest(format!("{}: {e}", dataset.display())))?;
    if labels.is_empty() {
        return Err(Error::Manifest(format!(
            "{}: holds no synthetic image of the manifest's identities",
            dataset.display()
        )));
    }
    IdentityDataset::new(size, pixels.concat(), labels, real.identities().to_vec())
}

/// Trains a judge on `real` and measures `synthetic` and `held_out` with it.
pub fn quality(
    real: &IdentityDataset,
    synthetic: &IdentityDataset,
    held_out: Option<&IdentityDataset>,
    config: &RunConfig,
    judge_kimg: f64,
    device: &Device,
    progress: &mut dyn Progress,
) -> Result<Quality> {
    let judge = Judge::train(real, config, judge_kimg, device, progress)?;
    let mut figures = |name: &str, images: &IdentityDataset| -> Result<Figures> {
        progress.start(name, images.len() as u64, "images");
        let nearest = nearest::search(images, real, |done| progress.at(done as u64));
        progress.finish();
        let same = nearest.iter().enumerate().filter(|(i, n)| images.labels()[*i] == real.labels()[n.index]).count();
        Ok(Figures {
            images: images.len(),
            top1: judge.top1(images)?,
            nearest_distance: nearest.iter().map(|n| f64::from(n.distance)).sum::<f64>() / nearest.len() as f64,
            nearest_same_identity: same as f64 / nearest.len() as f64,
        })
    };
    Ok(Quality {
        version: 1,
        training_images: real.len(),
        identities: real.identities().len(),
        judge_kimg,
        synthetic: figures("synthetic", synthetic)?,
        held_out: held_out.map(|h| figures("held out", h)).transpose()?,
    })
}
