//! Distances between two sets of feature vectors: Frechet and kernel distance, precision, recall, density, coverage.
//!
//! Features here are a recogniser's embeddings, not Inception's, so figures compare with each other only within one
//! evaluation. The formulas are those of the papers and agree with the reference implementations (tests/goldens).

use crate::ops::dot_products;
use crate::recogniser::Embeddings;
use nalgebra::{DMatrix, DVector};
use serde::Serialize;

/// Neighbours that make a ball around a feature vector.
pub const NEIGHBOURS: usize = 5;

/// How near one set of images is to another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Distances {
    /// Frechet distance of normal distributions with the sets' means and covariances (Heusel et al. 2017).
    pub frechet: f64,
    /// Unbiased squared maximum mean discrepancy with the kernel (x y / d + 1)^3 (Binkowski et al. 2018).
    pub kernel: f64,
    /// Share of the examined vectors in a ball of some reference vector (Kynkaanniemi et al. 2019).
    pub precision: f64,
    /// Share of the reference vectors in a ball of some examined vector.
    pub recall: f64,
    /// Mean number of reference balls around an examined vector, over [`NEIGHBOURS`] (Naeem et al. 2020).
    pub density: f64,
    /// Share of reference balls that hold an examined vector.
    pub coverage: f64,
}

/// Compares `examined` with `reference`. Balls are open: a vector on the edge is outside.
pub fn distances(reference: &Embeddings, examined: &Embeddings) -> Distances {
    let between = squared_distances(reference, examined);
    let (own, theirs) = (radii(reference), radii(examined));
    let (n, m) = (reference.len(), examined.len());
    let (mut balls, mut covered) = (vec![0usize; m], 0);
    let mut reached = 0;
    for i in 0..n {
        let row = &between[i * m..(i + 1) * m];
        row.iter().zip(&mut balls).filter(|(d, _)| **d < own[i]).for_each(|(_, b)| *b += 1);
        covered += usize::from(row.iter().any(|d| *d < own[i]));
        reached += usize::from(row.iter().zip(&theirs).any(|(d, r)| d < r));
    }
    Distances {
        frechet: frechet(reference, examined),
        kernel: kernel(reference, examined),
        precision: balls.iter().filter(|b| **b > 0).count() as f64 / m as f64,
        recall: reached as f64 / n as f64,
        density: balls.iter().sum::<usize>() as f64 / (NEIGHBOURS * m) as f64,
        coverage: covered as f64 / n as f64,
    }
}

/// Squared distances of every row of `a` to every row of `b`.
fn squared_distances(a: &Embeddings, b: &Embeddings) -> Vec<f32> {
    let length = |e: &Embeddings| -> Vec<f32> { (0..e.len()).map(|i| e.row(i).iter().map(|v| v * v).sum()).collect() };
    let (la, lb) = (length(a), length(b));
    let mut products = dot_products(&a.values, &b.values, a.size);
    for (row, x) in products.chunks_exact_mut(b.len()).zip(&la) {
        row.iter_mut().zip(&lb).for_each(|(p, y)| *p = (x + y - 2.0 * *p).max(0.0));
    }
    products
}

/// Squared distance of each row to its [`NEIGHBOURS`]-th nearest other row.
fn radii(e: &Embeddings) -> Vec<f32> {
    let mut all = squared_distances(e, e);
    let k = NEIGHBOURS.min(e.len() - 1);
    // The row itself is the nearest.
    all.chunks_exact_mut(e.len()).map(|row| *row.select_nth_unstable_by(k, f32::total_cmp).1).collect()
}

/// Mean and covariance (over n - 1) of the rows.
fn moments(e: &Embeddings) -> (DVector<f64>, DMatrix<f64>) {
    let x = DMatrix::from_row_iterator(e.len(), e.size, e.values.iter().map(|v| f64::from(*v)));
    let mean = x.row_mean().transpose();
    let mut centred = x;
    centred.row_iter_mut().for_each(|mut row| row -= mean.transpose());
    let covariance = centred.transpose() * &centred / (e.len() as f64 - 1.0).max(1.0);
    (mean, covariance)
}

/// `|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))`.
pub fn frechet(a: &Embeddings, b: &Embeddings) -> f64 {
    let ((m1, s1), (m2, s2)) = (moments(a), moments(b));
    // tr (S1 S2)^(1/2) = tr (R S2 R)^(1/2) with R = S1^(1/2), which is symmetric.
    let eigen = s1.clone().symmetric_eigen();
    let roots = DMatrix::from_diagonal(&eigen.eigenvalues.map(|v| v.max(0.0).sqrt()));
    let root = &eigen.eigenvectors * roots * eigen.eigenvectors.transpose();
    let product = &root * &s2 * &root;
    let trace: f64 = product.symmetric_eigen().eigenvalues.iter().map(|v| v.max(0.0).sqrt()).sum();
    (m1 - m2).norm_squared() + s1.trace() + s2.trace() - 2.0 * trace
}

/// See [`Distances::kernel`].
fn kernel(a: &Embeddings, b: &Embeddings) -> f64 {
    let sum = |x: &Embeddings, y: &Embeddings, skip_own: bool| -> f64 {
        let products = dot_products(&x.values, &y.values, x.size);
        let rows = products.chunks_exact(y.len()).enumerate();
        rows.map(|(i, row)| {
            let term = |p: &f32| (f64::from(*p) / x.size as f64 + 1.0).powi(3);
            let own = if skip_own { term(&row[i]) } else { 0.0 };
            row.iter().map(term).sum::<f64>() - own
        })
        .sum()
    };
    let (n, m) = (a.len() as f64, b.len() as f64);
    sum(a, a, true) / (n * (n - 1.0)) + sum(b, b, true) / (m * (m - 1.0)) - 2.0 * sum(a, b, false) / (n * m)
}
