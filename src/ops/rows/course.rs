//! What a row becomes in the steps that it is not used in: the arithmetic of [`RowMoments`](super::RowMoments).

use crate::ops::adam::{AdamParams, average_values, coast};

/// Share of the first moment below which it moves nothing.
const STILL: f64 = 1.0 / (1u64 << 30) as f64;

/// A factor as single steps have it.
fn single(factor: f64) -> f64 {
    f64::from(factor as f32)
}

/// What a row is moved by, beside its gradient.
pub struct Course<'a> {
    /// Constants of Adam.
    pub adam: AdamParams,
    /// Decays of the moving average in the steps from 1 on: the first of them, and that of all later ones.
    pub average: (&'a [f64], f64),
}

impl Course<'_> {
    /// Steps without a gradient that still move a row.
    fn moving(&self) -> u64 {
        if self.adam.beta1 == 0.0 { 0 } else { (STILL.ln() / self.adam.beta1.ln()).ceil() as u64 }
    }

    /// Decay of the average in step `t`, from 1 on.
    pub(super) fn decay(&self, t: u64) -> f64 {
        self.average.0.get(t as usize - 1).copied().unwrap_or(self.average.1)
    }

    /// What is left of a distance to the average after the steps `from + 1 ..= to`.
    fn left(&self, from: u64, to: u64) -> f64 {
        let (early, later) = self.average;
        let n = early.len() as u64;
        let early: f64 = early[from.min(n) as usize..to.min(n) as usize].iter().map(|d| single(*d)).product();
        early * single(later).powf((to.max(n) - from.max(n)) as f64)
    }

    /// Moves a row over the steps `from + 1 ..= to`, in which it has no gradient.
    pub(super) fn make_up(&self, row: &mut Row, from: u64, to: u64) {
        // An average follows decaying weights, for which there is no single product.
        let follows = row.average.is_some() && self.adam.weight_decay > 0.0;
        let moving = if follows { to - from } else { self.moving().min(to - from) };
        for t in from + 1..=from + moving {
            coast(row.values, row.first, row.second, &self.adam, t);
            if let Some(average) = &mut row.average {
                average_values(average, row.values, self.decay(t));
            }
        }
        let resting = (to - from - moving) as f64;
        if resting == 0.0 {
            return;
        }
        row.first.fill(0.0);
        let shrink = |values: &mut [f32], by: f64| values.iter_mut().for_each(|v| *v = (f64::from(*v) * by) as f32);
        shrink(row.second, single(self.adam.beta2).powf(resting));
        let decay = self.adam.learning_rate * self.adam.weight_decay;
        if decay > 0.0 {
            shrink(row.values, single(1.0 - decay).powf(resting));
        }
        if let Some(average) = &mut row.average {
            let left = self.left(from + moving, to) as f32;
            average.iter_mut().zip(&*row.values).for_each(|(a, v)| *a = v + left * (*a - v));
        }
    }
}

/// A row of a table and all that moves with it.
pub(super) struct Row<'a> {
    pub values: &'a mut [f32],
    pub first: &'a mut [f32],
    pub second: &'a mut [f32],
    pub average: Option<&'a mut [f32]>,
}
