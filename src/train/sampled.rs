//! The labels among which C is asked in a step, where there are too many to ask about all.
//!
//! The softmax over all K labels needs the sum of exp(logit) over all of them. The labels of the batch are summed one by one; of the others N
//! are drawn without replacement, each alike, and stand for all: their sum times (K - P) / N, which on average is that of all others. It is
//! done by adding ln((K - P) / N) to the logits of those that were drawn (Jean et al. 2015).

use crate::error::Result;
use crate::seeds::Seeds;
use candle_core::{Device, Tensor};
use rand::seq::index;

/// Labels among which C is asked.
pub struct Candidates {
    /// Each once: those of the batch in their order, then those that were drawn.
    pub labels: Vec<u32>,
    /// The same, u32 `[P + N]`.
    pub ids: Tensor,
    /// What is added to the logits, `[1, P + N]`.
    shift: Tensor,
    /// How many of the labels are the batch's.
    own: usize,
}

impl Candidates {
    /// Those of `batch`, in any order, and `drawn` others (all, if there are no more) of `classes`, by the stream of `step`.
    ///
    /// # Errors
    /// Too little memory.
    pub fn draw(
        batch: impl IntoIterator<Item = u32>,
        drawn: usize,
        classes: usize,
        seeds: &Seeds,
        step: u64,
        device: &Device,
    ) -> Result<Self> {
        let mut own: Vec<u32> = batch.into_iter().collect();
        own.sort_unstable();
        own.dedup();
        let others = classes - own.len();
        let n = drawn.min(others);
        let mut rng = seeds.stream("sampled classes", &[step]);
        let mut places = index::sample(&mut rng, others, n).into_vec();
        places.sort_unstable();
        // The place among the labels that are not the batch's, and how many of the batch's lie before it.
        let mut before = 0;
        let other = |place: usize| {
            while before < own.len() && own[before] as usize <= place + before {
                before += 1;
            }
            (place + before) as u32
        };
        let drawn: Vec<u32> = places.into_iter().map(other).collect();
        let weight = if n > 0 { (others as f64 / n as f64).ln() as f32 } else { 0.0 };
        let shift: Vec<f32> = own.iter().map(|_| 0.0).chain(drawn.iter().map(|_| weight)).collect();
        let own_count = own.len();
        let labels: Vec<u32> = own.into_iter().chain(drawn).collect();
        Ok(Self {
            ids: Tensor::from_slice(&labels, labels.len(), device)?,
            shift: Tensor::from_vec(shift, (1, labels.len()), device)?,
            own: own_count,
            labels,
        })
    }

    /// Places of `labels` of the batch among the candidates.
    ///
    /// # Panics
    /// A label that is not the batch's.
    pub fn places(&self, labels: &[u32]) -> Vec<u32> {
        let place = |label| self.labels[..self.own].binary_search(label).expect("a label of the batch") as u32;
        labels.iter().map(place).collect()
    }

    /// Logits whose softmax stands for that over all labels, from those of the candidates, `[B, P + N]`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn corrected(&self, logits: &Tensor) -> candle_core::Result<Tensor> {
        logits.broadcast_add(&self.shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::loss;

    fn logits(k: usize) -> Tensor {
        let values: Vec<f32> = (0..2 * k).map(|i| (i as f32 * 1.7).sin() * 2.0).collect();
        Tensor::from_vec(values, (2, k), &Device::Cpu).unwrap()
    }

    fn draw(drawn: usize, classes: usize, step: u64) -> Candidates {
        Candidates::draw([7, 3, 7], drawn, classes, &Seeds::new(1), step, &Device::Cpu).unwrap()
    }

    #[test]
    fn all_others_drawn_are_the_whole_softmax() {
        let (k, labels) = (40, [7, 3]);
        let c = draw(1000, k, 0);
        let mut sorted = c.labels.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..k as u32).collect::<Vec<_>>());
        assert_eq!(c.labels[..2], [3, 7]);
        let loss = |logits: &Tensor, labels: &[u32]| {
            let labels = Tensor::from_slice(labels, 2, &Device::Cpu).unwrap();
            loss::classifier(logits, &labels).unwrap().to_scalar::<f32>().unwrap()
        };
        let some = c.corrected(&logits(k).index_select(&c.ids, 1).unwrap()).unwrap();
        assert!((loss(&some, &c.places(&labels)) - loss(&logits(k), &labels)).abs() < 1e-5);
    }

    #[test]
    fn sums_over_labels_are_right_on_average() {
        let (k, steps) = (200, 4000);
        let sum = |logits: &Tensor| logits.exp().unwrap().sum(1).unwrap().to_vec1::<f32>().unwrap()[0];
        let whole = f64::from(sum(&logits(k)));
        let mut seen = vec![0; k];
        let mean = (0..steps).fold(0.0, |mean, step| {
            let c = draw(20, k, step);
            assert_eq!(c.labels.len(), 22);
            c.labels.iter().for_each(|l| seen[*l as usize] += 1);
            let some = c.corrected(&logits(k).index_select(&c.ids, 1).unwrap()).unwrap();
            mean + f64::from(sum(&some)) / steps as f64
        });
        // A single draw is off by 15 % or so.
        assert!((mean / whole - 1.0).abs() < 0.01, "{mean} on average, {whole} in truth");
        let others = seen.iter().enumerate().filter(|(l, _)| ![3, 7].contains(l)).map(|(_, n)| *n);
        assert!(others.clone().min() > Some(300) && others.max() < Some(520), "404 are expected: {seen:?}");
    }
}
