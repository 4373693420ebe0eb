//! Intervals: over paired seeds by Student's t, over pairs of images by the bootstrap, over both by the analysis of variance of a
//! crossed design.

use crate::seeds::Seeds;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Resamples of a bootstrap.
const RESAMPLES: usize = 5000;

/// Degrees of freedom above which Student's t is the normal distribution for us.
const MOST_FREEDOM: f64 = 1e3;

/// Columns of a table below which it has no interval: the same by chance in all of them would look certain.
const FEWEST_COLUMNS: usize = 30;

/// Mean and deviation of some values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of values.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Their sample deviation; 0 for a single value.
    pub deviation: f64,
}

impl Summary {
    /// As percent: the mean, and the deviation of several values.
    pub fn percent(&self) -> String {
        let mean = format!("{:.2}", 100.0 * self.mean);
        if self.count > 1 { format!("{mean} ± {:.2}", 100.0 * self.deviation) } else { mean }
    }
}

/// Mean and sample deviation of `values`.
pub fn summary(values: &[f64]) -> Summary {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n.max(1.0);
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let deviation = if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 };
    Summary { count: values.len(), mean, deviation }
}

/// 95 % interval of the mean of `values` by Student's t; `None` for fewer than two values.
pub fn t_interval(values: &[f64]) -> Option<(f64, f64)> {
    let s = summary(values);
    let t = StudentsT::new(0.0, 1.0, (s.count as f64) - 1.0).ok().filter(|_| s.count > 1)?;
    let half = t.inverse_cdf(0.975) * s.deviation / (s.count as f64).sqrt();
    Some((s.mean - half, s.mean + half))
}

/// 95 % interval of the mean of `values` by the percentile bootstrap, with a stream of its own.
pub fn bootstrap_interval(values: &[f64]) -> (f64, f64) {
    let mut rng = Seeds::keyed(&[b"bootstrap"]).stream("resamples", &[]);
    let mut mean = || {
        let sum: f64 = (0..values.len()).map(|_| values[rng.random_range(0..values.len())]).sum();
        sum / values.len().max(1) as f64
    };
    let mut means: Vec<f64> = (0..RESAMPLES).map(|_| mean()).collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((RESAMPLES as f64 - 1.0) * share).round() as usize];
    (at(0.025), at(0.975))
}

/// Means of the columns of a table of rows of one length.
pub fn column_means(rows: &[Vec<f64>]) -> Vec<f64> {
    let columns = rows.first().map_or(0, Vec::len);
    (0..columns).map(|i| rows.iter().map(|r| r[i]).sum::<f64>() / rows.len() as f64).collect()
}

/// Half of the 95 % interval of the mean of a table whose rows and columns were both drawn at random: rows are seeds, columns pairs
/// of images. A single row tells of chance in its columns alone; `None` for fewer than [`FEWEST_COLUMNS`].
///
/// The variance of the mean is `(M_rows + M_columns - M_rest) / (rows * columns)`, `M` being mean squares of the two-way analysis of
/// variance; `M_rest`, which both of the others hold, is taken off once, and the degrees of freedom of Student's t are
/// Satterthwaite's for the rows, of which there are few: the analysis of studies in which several readers judge the same cases
/// (Dorfman, Berbaum and Metz 1992; Hillis 2007). That `M_rows`, too, counts as `M_rest` at least is an addition; it makes
/// intervals wider.
pub fn crossed_half_width(rows: &[Vec<f64>]) -> Option<f64> {
    let columns = column_means(rows);
    let (r, c) = (rows.len() as f64, columns.len() as f64);
    if columns.len() < FEWEST_COLUMNS {
        return None;
    }
    let means: Vec<f64> = rows.iter().map(|row| summary(row).mean).collect();
    let squared = |values: &[f64]| summary(values).deviation.powi(2);
    let of_columns = r * squared(&columns);
    let (variance, freedom) = if rows.len() == 1 {
        (of_columns / c, c - 1.0)
    } else {
        let mean = summary(&means).mean;
        let rest = |(row, m): (&Vec<f64>, &f64)| -> f64 {
            row.iter().zip(&columns).map(|(v, column)| (v - m - column + mean).powi(2)).sum()
        };
        let of_rest = rows.iter().zip(&means).map(rest).sum::<f64>() / ((r - 1.0) * (c - 1.0));
        let of_rows = (c * squared(&means)).max(of_rest);
        let sum = of_rows + (of_columns - of_rest).max(0.0);
        (sum / (r * c), (r - 1.0) * (sum / of_rows).powi(2))
    };
    if variance == 0.0 {
        return Some(0.0);
    }
    let t = StudentsT::new(0.0, 1.0, freedom.min(MOST_FREEDOM)).ok()?;
    Some(t.inverse_cdf(0.975) * variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::normal_vec;

    /// The intervals hold the truth about as often as they say, whatever chance comes from.
    #[test]
    fn intervals_over_rows_and_columns_hold_the_mean() {
        for (n, [rows, columns, rest]) in
            [[0.3, 3.0, 1.0], [0.0, 3.0, 6.0], [0.0, 0.0, 1.0], [1.0, 0.5, 2.0]].iter().enumerate()
        {
            let held = (0..1000).filter(|trial| {
                let mut rng = Seeds::new(n as u64).stream("crossed", &[*trial]);
                let (of_rows, of_columns) = (normal_vec(&mut rng, 5), normal_vec(&mut rng, 60));
                let table: Vec<Vec<f64>> = of_rows
                    .iter()
                    .map(|a| {
                        let rest_of_row = normal_vec(&mut rng, 60);
                        let value = |(b, e): (&f32, &f32)| {
                            rows * f64::from(*a) + columns * f64::from(*b) + rest * f64::from(*e)
                        };
                        of_columns.iter().zip(&rest_of_row).map(value).collect()
                    })
                    .collect();
                let mean = summary(&column_means(&table)).mean;
                mean.abs() <= crossed_half_width(&table).unwrap()
            });
            let held = held.count();
            assert!((930..=995).contains(&held), "{n}: {held} of 1000");
        }
    }

    #[test]
    fn a_single_row_has_an_interval_and_a_few_columns_have_none() {
        // t(0.975, 99) = 1.984, deviation of 0, 1, 0, 1 ..
        let half = crossed_half_width(&[(0..100).map(|i| f64::from(i % 2)).collect()]).unwrap();
        assert!((half - 1.984_217 * (25.0f64 / 99.0).sqrt() / 10.0).abs() < 1e-5, "{half}");
        assert_eq!(crossed_half_width(&[vec![1.0; 29], vec![2.0; 29]]), None);
        assert_eq!(crossed_half_width(&[vec![0.0; 30], vec![0.0; 30]]), Some(0.0));
    }

    #[test]
    fn intervals_have_their_known_widths() {
        // t(0.975, 4) = 2.776
        let (low, high) = t_interval(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let half = 2.776_445 * 2.5f64.sqrt() / 5f64.sqrt();
        assert!((low - (3.0 - half)).abs() < 1e-5 && (high - (3.0 + half)).abs() < 1e-5);
        assert_eq!(t_interval(&[1.0]), None);
        // 1.96 standard errors of a share of a half over 1,000 draws.
        let values: Vec<f64> = (0..1000).map(|i| f64::from(i % 2)).collect();
        let (low, high) = bootstrap_interval(&values);
        assert!((low - (0.5 - 0.031)).abs() < 0.003 && (high - (0.5 + 0.031)).abs() < 0.003, "{low} {high}");
    }
}
