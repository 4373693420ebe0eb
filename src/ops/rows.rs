//! Tables of which a step uses some rows: their gradients, and Adam and a moving average that move only those.
//!
//! Adam moves every value in every step, also of rows that got no gradient: their moments shrink, and what is left of the first moment
//! still moves them. [`RowMoments`] leaves such rows as they were and makes up for the missed steps when they are used next:
//!
//! - step by step, with the arithmetic of [`Moments`](super::adam::Moments), as long as the first moment moves anything: until it has shrunk
//!   to 2^-30 of itself. So far the result has the bits of the dense one;
//! - all further steps at once: the second moment, the weights' decay and the distance of the average to the weights each shrink by a power.
//!   Here the dense result differs by the rounding of its many products, a few parts in a million.
//!   (A table that has an average and decays is moved step by step throughout.)
//!
//! What is made up for depends on the numbers of the steps alone. Reading ([`RowMoments::whole`]) changes nothing, so that a training does not
//! depend on how often it has been looked at.

mod course;
mod moments;

use candle_core::{Result, Tensor};
pub use course::Course;
pub use moments::RowMoments;
use std::collections::BTreeMap;

/// The rows `ids` of `table` (`[K, N]`), one after the other.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn read(table: &Tensor, ids: &[u32]) -> Result<Vec<f32>> {
    let ids = Tensor::from_slice(ids, ids.len(), table.device())?;
    table.index_select(&ids, 0)?.flatten_all()?.to_vec1()
}

/// Puts `rows` (`[P, N]`) in the place of the rows `ids` of `table` (`[K, N]`), which is changed where it lies.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn write(table: &Tensor, ids: &[u32], rows: &Tensor) -> Result<()> {
    ids.iter().enumerate().try_for_each(|(i, id)| table.slice_set(&rows.narrow(0, i, 1)?, 0, *id as usize))
}

/// The gradient of a table: that of some rows, the others have none.
#[derive(Clone, Debug, PartialEq)]
pub struct RowGradient {
    /// Rows, each once, in their order.
    pub ids: Vec<u32>,
    /// `[P, N]`
    pub values: Vec<f32>,
}

impl RowGradient {
    /// The sum of the gradients of looked-up rows: u32 `[B]` and `[B, N]` each, in this order.
    ///
    /// # Errors
    /// Too little memory.
    pub fn sum(parts: &[(Tensor, Tensor)]) -> Result<Self> {
        let mut rows: BTreeMap<u32, Vec<f32>> = BTreeMap::new();
        for (ids, gradients) in parts {
            for (id, gradient) in ids.to_vec1::<u32>()?.into_iter().zip(gradients.to_vec2::<f32>()?) {
                match rows.get_mut(&id) {
                    Some(sum) => sum.iter_mut().zip(gradient).for_each(|(s, g)| *s += g),
                    None => {
                        rows.insert(id, gradient);
                    }
                }
            }
        }
        Ok(Self { ids: rows.keys().copied().collect(), values: rows.into_values().flatten().collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Tape, Value, apply};
    use crate::seeds::{Seeds, normal_vec};
    use candle_core::Device;

    pub(super) const CPU: Device = Device::Cpu;
    pub(super) const SHAPE: (usize, usize) = (9, 5);

    pub(super) fn draw(shape: (usize, usize), key: u64) -> Tensor {
        let values = normal_vec(&mut Seeds::new(2).stream("rows", &[key]), shape.0 * shape.1);
        (Tensor::from_vec(values, shape, &CPU).unwrap() * 0.1).unwrap()
    }

    pub(super) fn values(t: &Tensor) -> Vec<f32> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn gradients_of_rows_are_those_of_the_table() {
        let table = draw(SHAPE, 1);
        let ids = [[3u32, 1, 3, 8], [1, 1, 0, 8]].map(|ids| Tensor::new(&ids, &CPU).unwrap());
        let gradients = |look: fn(&Value, &Tensor) -> Result<Value>| {
            let tape = Tape::default();
            let leaf = tape.leaf(&table);
            let [a, b] = ids.each_ref().map(|ids| look(&leaf, ids).unwrap());
            let product = apply(&[&a, &b], |t| t[0].sqr()?.mul(&t[1])).unwrap();
            let weight = draw((4, SHAPE.1), 3);
            tape.gradients(&[(&product, &weight)], [&table]).unwrap()
        };
        let dense = gradients(Value::rows);
        let dense = values(dense.get(&table).unwrap());
        let found = gradients(Value::lookup);
        assert!(found.get(&table).is_none());
        let rows = found.rows(&table).unwrap().unwrap();
        assert_eq!(rows.ids, [0, 1, 3, 8]);
        let mut whole = vec![0.0; dense.len()];
        for (id, row) in rows.ids.iter().zip(rows.values.chunks_exact(SHAPE.1)) {
            whole[*id as usize * SHAPE.1..][..SHAPE.1].copy_from_slice(row);
        }
        for (a, b) in whole.iter().zip(&dense) {
            assert!((a - b).abs() < 1e-6 && (*a != 0.0) == (*b != 0.0), "{a}, dense {b}");
        }
        let (own, others) = found.split([&table].into_iter());
        assert!(own.rows(&table).unwrap().is_some() && others.rows(&table).unwrap().is_none());
    }
}
