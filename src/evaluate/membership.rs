//! Membership inference: can it be told from the synthetic images alone which real images the generator was trained on?
//!
//! The attack scores a real image by its most similar synthetic one (aligned pixels, cropped and mirrored as for copies); training images
//! are its members, held-out images of the same identities are not.

use super::verification::judge;
use crate::dataset::IdentityDataset;
use crate::error::Result;
use crate::formats::pairs::{FOLDS, Pair};
use crate::progress::Progress;
use crate::recogniser::copies;
use serde::Serialize;

/// How well the attack does.
#[derive(Clone, Debug, Serialize)]
pub struct Membership {
    /// Training images that it was tried on.
    pub members: usize,
    /// Held-out images that it was tried on.
    pub others: usize,
    /// Area under its ROC curve; 0.5 is chance.
    pub auc: f64,
    /// Share of members found where at most 1 % of the others are taken for members.
    pub tpr_at_fpr_1e2: f64,
}

/// Attacks `synthetic`, with as many training images of each person as there are held-out ones, where there are so many.
///
/// # Errors
/// `Stopped`.
pub fn attack(
    synthetic: &IdentityDataset,
    training: &IdentityDataset,
    held_out: &IdentityDataset,
    progress: &mut dyn Progress,
) -> Result<Membership> {
    let mut wanted = vec![0; training.identities().len()];
    held_out.labels().iter().for_each(|label| wanted[*label as usize] += 1);
    let mut members = Vec::new();
    for (i, label) in training.labels().iter().enumerate() {
        let left = &mut wanted[*label as usize];
        if *left > 0 {
            *left -= 1;
            members.push(i);
        }
    }
    let members = training.subset(&members)?;
    let (mut distances, mut pairs) = (Vec::new(), Vec::new());
    for (images, is_same) in [(&members, true), (held_out, false)] {
        progress.start("membership", images.len() as u64, "real images");
        let peaks = copies::peaks(synthetic, images, progress)?;
        progress.finish();
        distances.extend(peaks.iter().map(|peak| 1.0 - f64::from(*peak)));
        pairs.extend((0..images.len()).map(|i| Pair { left: i, right: i, is_same, fold: i % FOLDS }));
    }
    let outcome = judge(&distances, &pairs);
    let (auc, tpr_at_fpr_1e2) = (outcome.auc, outcome.tar_at_far_1e2);
    Ok(Membership { members: members.len(), others: held_out.len(), auc, tpr_at_fpr_1e2 })
}
