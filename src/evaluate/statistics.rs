//! Intervals: over paired seeds by Student's t, over pairs of images by the bootstrap.

use crate::seeds::Seeds;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Resamples of a bootstrap.
const RESAMPLES: usize = 5000;

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

#[cfg(test)]
mod tests {
    use super::*;

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
