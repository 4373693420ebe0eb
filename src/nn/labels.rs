//! The labels of a batch, and what the layers of a network make of them: rows of tables, one a label, or products with a few values that
//! stand for a label.
//!
//! Shape legend: B batch, K labels, W values that stand for a label, N values that a layer wants of it.

use super::linear::Linear;
use super::params::{Init, Params};
use crate::error::Result;
use crate::ops::{Value, apply};
use candle_core::{Device, Tensor, Var};

/// Class labels of a batch: one label an image, or a weighted mix of several.
#[derive(Clone, Debug)]
pub struct Labels {
    /// u32 `[B * M]`
    ids: Tensor,
    /// `[B, M, 1]`, absent for plain labels (M = 1)
    weights: Option<Tensor>,
    /// What the weights lack to a sum of 1, `[B, 1]`: the weight of the mean of all labels. Absent where nothing is lacking.
    rest: Option<Tensor>,
}

/// Sums of weights that differ by less are equal.
const SAME_SUM: f32 = 1e-6;

impl Labels {
    /// One label an image.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn plain(labels: &[u32], device: &Device) -> Result<Self> {
        Ok(Self { ids: Tensor::from_slice(labels, labels.len(), device)?, weights: None, rest: None })
    }

    /// The same number M of (label, weight) pairs an image. The mean of all labels has the weight that is left to 1: weights of a sum above
    /// 1 lie beyond the labels' own average as seen from it.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn mixed(mixes: &[Vec<(u32, f32)>], device: &Device) -> Result<Self> {
        let m = mixes.first().map_or(0, Vec::len);
        if m == 1 && mixes.iter().all(|mix| mix[0].1 == 1.0) {
            return Self::plain(&mixes.iter().map(|mix| mix[0].0).collect::<Vec<_>>(), device);
        }
        let ids: Vec<u32> = mixes.iter().flatten().map(|(id, _)| *id).collect();
        let weights: Vec<f32> = mixes.iter().flatten().map(|(_, w)| *w).collect();
        let lacking = |mix: &Vec<(u32, f32)>| 1.0 - mix.iter().map(|(_, w)| w).sum::<f32>();
        let rest: Vec<f32> = mixes.iter().map(lacking).map(|r| if r.abs() < SAME_SUM { 0.0 } else { r }).collect();
        let whole = rest.iter().all(|r| *r == 0.0);
        Ok(Self {
            ids: Tensor::from_slice(&ids, ids.len(), device)?,
            weights: Some(Tensor::from_vec(weights, (mixes.len(), m, 1), device)?),
            rest: if whole { None } else { Some(Tensor::from_vec(rest, (mixes.len(), 1), device)?) },
        })
    }

    /// Rows of `table` that belong to the labels: the product of one-hot rows and `table`, without the one-hot.
    ///
    /// # Shapes
    /// - `table`: `[K, N]`; returns `[B, N]`
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn gather(&self, table: &Value) -> Result<Value> {
        let Some(weights) = &self.weights else { return Ok(table.rows(&self.ids)?) };
        let (b, m, _) = weights.dims3()?;
        let rows = table.rows(&self.ids)?;
        Ok(apply(&[&rows, table], |t| {
            let mixed = t[0].reshape((b, m, ()))?.broadcast_mul(weights)?.sum(1)?;
            match &self.rest {
                Some(rest) => mixed + rest.matmul(&t[1].mean_keepdim(0)?)?,
                None => Ok(mixed),
            }
        })?)
    }

    /// [`Labels::gather`] from a table of which only the rows in use are moved: plain labels look theirs up.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn lookup(&self, table: &Value) -> Result<Value> {
        if self.weights.is_none() { Ok(table.lookup(&self.ids)?) } else { self.gather(table) }
    }
}

/// How many labels there are, and how many values stand for one.
#[derive(Clone, Copy, Debug)]
pub struct LabelShape {
    /// K
    pub classes: usize,
    /// W; 0 where every label has rows of its own in each layer.
    pub width: usize,
}

impl LabelShape {
    /// K, where every label has rows of its own.
    pub(super) fn rows(self) -> Option<usize> {
        (self.width == 0).then_some(self.classes)
    }

    /// A layer from the values of a label to `outputs` values, which begin with a deviation of `std`.
    pub(super) fn dense(self, p: &mut Params, name: &str, outputs: usize, std: f64) -> Result<Linear> {
        Linear::drawn(p, name, (self.width, outputs), std / (VALUE_STD * (self.width as f64).sqrt()))
    }
}

/// Deviation of the values that stand for a label: small enough that a few hundred steps move them by as much.
const VALUE_STD: f64 = 0.1;

/// The labels of a batch as layers are told of them.
pub enum Told<'a> {
    /// By their numbers.
    Numbers(&'a Labels),
    /// By the values that stand for them, `[B, W]`.
    Values(Value),
}

/// The values that stand for labels, if any do.
pub struct LabelValues(Option<Var>);

impl LabelValues {
    /// Declares a table `[K, W]`, unless W is 0.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn new(p: &mut Params, name: &str, labels: LabelShape) -> Result<Self> {
        let table = |width| p.table(&format!("{name}.label"), labels.classes, width, VALUE_STD);
        Ok(Self(Some(labels.width).filter(|width| *width > 0).map(table).transpose()?))
    }

    /// What layers beside `x` are told of `labels`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn tell<'a>(&self, x: &Value, labels: &'a Labels) -> Result<Told<'a>> {
        Ok(match &self.0 {
            Some(table) => Told::Values(labels.lookup(&x.leaf(table))?),
            None => Told::Numbers(labels),
        })
    }
}

/// What a fully connected layer adds for the label.
pub enum LabelLayer {
    /// A row of `[K, N]`.
    Rows(Var),
    /// A product with the label's values.
    Dense(Linear),
}

impl LabelLayer {
    /// Declares it for `outputs` values of deviation `std`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn new(p: &mut Params, name: &str, labels: LabelShape, outputs: usize, std: f64) -> Result<Self> {
        Ok(match labels.rows() {
            Some(rows) => Self::Rows(p.weight(&format!("{name}.label"), &[rows, outputs], Init::Normal(0.0, std))?),
            None => Self::Dense(labels.dense(p, &format!("{name}.label_dense"), outputs, std)?),
        })
    }

    /// `[B, N]`, to be added to `x` of that shape.
    ///
    /// # Errors
    /// The layer is told otherwise than it was declared for; too little memory.
    pub fn forward(&self, x: &Value, labels: &Told) -> Result<Value> {
        match (self, labels) {
            (Self::Rows(table), Told::Numbers(labels)) => labels.gather(&x.leaf(table)),
            (Self::Dense(dense), Told::Values(values)) => dense.forward(values),
            _ => Err(crate::error::Error::Model("labels: rows and values do not go together".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_do_not_sum_to_1_leave_the_rest_to_the_mean() {
        let table = Tensor::new(&[[1f32, 10.0], [3.0, 30.0], [8.0, 20.0]], &Device::Cpu).unwrap();
        let mixes = [vec![(0, 0.5), (1, 1.0)], vec![(2, 1.0), (0, 0.0)], vec![(0, 0.25), (1, 0.75)]];
        let rows = |mixes: &[Vec<(u32, f32)>]| {
            let labels = Labels::mixed(mixes, &Device::Cpu).unwrap();
            labels.gather(&(&table).into()).unwrap().to_vec2::<f32>().unwrap()
        };
        // The mean is 4, 20; half of it too much has been taken.
        let expected = [vec![3.5 - 2.0, 35.0 - 10.0], vec![8.0, 20.0], vec![2.5, 25.0]];
        assert_eq!(rows(&mixes), expected);
        // A row does not depend on the others.
        for (mix, row) in mixes.iter().zip(&expected) {
            assert_eq!(rows(std::slice::from_ref(mix))[0], *row);
        }
    }
}
