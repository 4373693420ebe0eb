//! Morphing: points between the latent attributes of two images, and between two labels; and directions of attributes.

use super::Networks;
use crate::error::Result;
use crate::nn::Labels;
use candle_core::Tensor;
use serde::Serialize;

/// How one gets from one z to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// In a straight line, as in the paper.
    #[default]
    Straight,
    /// Along a great circle, where points stay as far from 0 as the ends.
    GreatCircle,
}

impl Path {
    /// The point `share` of the way from `a` to `b`.
    pub fn point(self, a: &[f32], b: &[f32], share: f32) -> Vec<f32> {
        let length = |v: &[f32]| v.iter().map(|v| v * v).sum::<f32>().sqrt();
        let (la, lb) = (length(a), length(b));
        let cosine = a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>() / (la * lb).max(f32::EPSILON);
        let angle = cosine.clamp(-1.0, 1.0).acos();
        let (wa, wb) = match self {
            // Where the ends lie in one line with 0, a great circle is no more than that.
            Self::GreatCircle if angle.sin() > 1e-3 => {
                (((1.0 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin())
            }
            Self::Straight | Self::GreatCircle => (1.0 - share, share),
        };
        a.iter().zip(b).map(|(a, b)| wa * a + wb * b).collect()
    }
}

/// `steps` images (two or more) from z `from` with label `labels[0]` to z `to` with label `labels[1]`.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn morph(
    networks: &Networks,
    [from, to]: [&[f32]; 2],
    labels: [u32; 2],
    steps: usize,
    path: Path,
) -> Result<Vec<Vec<f32>>> {
    let steps = steps.max(2);
    let shares: Vec<f32> = (0..steps).map(|step| step as f32 / (steps - 1) as f32).collect();
    let z: Vec<f32> = shares.iter().flat_map(|share| path.point(from, to, *share)).collect();
    let mixes: Vec<Vec<(u32, f32)>> =
        shares.iter().map(|share| vec![(labels[0], 1.0 - share), (labels[1], *share)]).collect();
    let z = Tensor::from_vec(z, (steps, from.len()), networks.device)?;
    networks.decode(&z, &Labels::mixed(&mixes, networks.device)?)
}

/// What sets the mean of `of` apart from the mean of `others`: a direction of an attribute. Rows of `size` values, one or more each.
pub fn direction(of: &[f32], others: &[f32], size: usize) -> Vec<f32> {
    let mean = |rows: &[f32]| {
        let mut mean = vec![0f64; size];
        let count = (rows.len() / size) as f64;
        rows.chunks_exact(size).for_each(|row| mean.iter_mut().zip(row).for_each(|(m, v)| *m += f64::from(*v) / count));
        mean
    };
    mean(of).into_iter().zip(mean(others)).map(|(a, b)| (a - b) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_meet_their_ends_and_a_circle_keeps_its_distance() {
        let (a, b) = ([3.0, 0.0, 4.0], [0.0, 5.0, 0.0]);
        for path in [Path::Straight, Path::GreatCircle] {
            let near =
                |x: Vec<f32>, y: [f32; 3]| assert!(x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-5), "{x:?} {y:?}");
            near(path.point(&a, &b, 0.0), a);
            near(path.point(&a, &b, 1.0), b);
        }
        let length = |v: Vec<f32>| v.iter().map(|v| v * v).sum::<f32>().sqrt();
        assert!((length(Path::GreatCircle.point(&a, &b, 0.3)) - 5.0).abs() < 1e-5);
        assert!(length(Path::Straight.point(&a, &b, 0.5)) < 4.0);
        // There is no circle between a point and itself.
        assert_eq!(Path::GreatCircle.point(&a, &a, 0.4), [3.0, 0.0, 4.0]);
        assert_eq!(direction(&[1.0, 2.0, 3.0, 6.0], &[1.0, 1.0], 2), [1.0, 3.0]);
    }
}
