//! Early stopping: figures of what a generator makes, taken while it is trained, and when they have stopped moving.

use super::TrainedModel;
use crate::error::Result;
use serde::{Deserialize, Serialize};

/// Looks that are waited for something to get better.
pub const LOOKS: usize = 3;
/// A distance that is smaller by this share is better.
const NEARER: f64 = 0.02;
/// A share of images that is larger by this much is better.
const MORE: f64 = 0.01;

/// Figures of what a generator makes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Frechet distance of embeddings to those of real images.
    pub frechet: f64,
    /// Share of images whose own identity is the nearest.
    pub top1: f64,
}

/// Takes the figures of a generator.
pub type Watch<'a> = dyn FnMut(&TrainedModel) -> Result<Figures> + 'a;

/// Whether nothing became better in the last [`LOOKS`] looks, by the figures of all so far.
pub fn settled(figures: &[Figures]) -> bool {
    if figures.len() <= LOOKS {
        return false;
    }
    let (before, since) = figures.split_at(figures.len() - LOOKS);
    let nearest = |f: &[Figures]| f.iter().map(|f| f.frechet).fold(f64::INFINITY, f64::min);
    let most = |f: &[Figures]| f.iter().map(|f| f.top1).fold(0.0, f64::max);
    nearest(since) > nearest(before) * (1.0 - NEARER) && most(since) < most(before) + MORE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_has_settled_when_neither_figure_gets_better() {
        let figures = |values: &[(f64, f64)]| -> Vec<Figures> {
            values.iter().map(|(frechet, top1)| Figures { frechet: *frechet, top1: *top1 }).collect()
        };
        let still = figures(&[(0.5, 0.1), (0.2, 0.4), (0.2, 0.4), (0.199, 0.4), (0.3, 0.405)]);
        assert!(settled(&still) && !settled(&still[..4]) && !settled(&still[..3]));
        // Either figure keeps it going.
        assert!(!settled(&figures(&[(0.5, 0.1), (0.2, 0.4), (0.2, 0.4), (0.2, 0.4), (0.19, 0.4)])));
        assert!(!settled(&figures(&[(0.5, 0.1), (0.2, 0.4), (0.2, 0.4), (0.2, 0.42), (0.2, 0.4)])));
    }
}
