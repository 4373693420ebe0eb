//! Margin softmax: cross entropy of scaled cosines in which the right class must win by a margin.

use crate::config::Margin;
use candle_core::{DType, Result, Tensor};

/// Mean over the batch of the cross entropy of `scale * cosines`, the cosine of the right class lowered by `margin`.
///
/// - CosFace (Wang et al. 2018): `cos(theta) - margin`
/// - ArcFace (Deng et al. 2019): `cos(theta + margin)`; beyond pi - margin, where that would rise again,
///   `cos(theta) - margin sin(margin)`
///
/// Unit: nats.
///
/// # Shapes
/// - `cosines`: `[B, K]`; `labels`: u32 `[B]`; returns a scalar
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn margin_softmax(cosines: &Tensor, labels: &Tensor, kind: Margin, scale: f64, margin: f64) -> Result<Tensor> {
    let right = cosines.gather(&labels.unsqueeze(1)?, 1)?;
    let lowered = match kind {
        Margin::Cosface => (&right - margin)?,
        Margin::Arcface => {
            // The square root has no slope at 0.
            let sine = ((1.0 - right.sqr()?)?.clamp(1e-6, 1.0)?).sqrt()?;
            let turned = ((&right * margin.cos())? - (sine * margin.sin())?)?;
            let beyond = right.le(-margin.cos())?;
            beyond.where_cond(&(&right - margin * margin.sin())?, &turned)?
        }
    };
    let (_, k) = cosines.dims2()?;
    let classes = Tensor::arange(0u32, k as u32, cosines.device())?.unsqueeze(0)?;
    let is_right = classes.broadcast_eq(&labels.unsqueeze(1)?)?.to_dtype(DType::F32)?;
    let change = is_right.broadcast_mul(&(lowered - right)?)?;
    candle_nn::loss::cross_entropy(&((cosines + change)? * scale)?, labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    /// The definition, value by value.
    fn expected(rows: &[[f64; 3]], labels: &[u32], kind: Margin, scale: f64, m: f64) -> f64 {
        let row = |(cos, label): (&[f64; 3], &u32)| {
            let mut logits = *cos;
            let right = &mut logits[*label as usize];
            *right = match kind {
                Margin::Cosface => *right - m,
                Margin::Arcface if right.acos() + m <= std::f64::consts::PI => (right.acos() + m).cos(),
                Margin::Arcface => *right - m * m.sin(),
            };
            let right = scale * logits[*label as usize];
            logits.iter().map(|l| (scale * l).exp()).sum::<f64>().ln() - right
        };
        rows.iter().zip(labels).map(row).sum::<f64>() / rows.len() as f64
    }

    #[test]
    fn follows_the_definitions() {
        let rows = [[0.3, -0.2, 0.9], [-0.99, 0.1, 0.5], [0.0, 0.7, -0.4]];
        let labels = [2u32, 0, 1];
        let device = Device::Cpu;
        let cosines = Tensor::new(&rows.map(|r| r.map(|v| v as f32)), &device).unwrap();
        let at = Tensor::new(&labels, &device).unwrap();
        for kind in [Margin::Cosface, Margin::Arcface] {
            let cosines = Var::from_tensor(&cosines).unwrap();
            let loss = margin_softmax(&cosines, &at, kind, 8.0, 0.4).unwrap();
            let want = expected(&rows, &labels, kind, 8.0, 0.4);
            assert!((f64::from(loss.to_scalar::<f32>().unwrap()) - want).abs() < 1e-4, "{kind:?}");
            let grad = loss.backward().unwrap().get(&cosines).unwrap().to_vec2::<f32>().unwrap();
            for (r, c) in (0..3).flat_map(|r| (0..3).map(move |c| (r, c))) {
                let at = |d: f64| {
                    let mut moved = rows;
                    moved[r][c] += d;
                    expected(&moved, &labels, kind, 8.0, 0.4)
                };
                let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((f64::from(grad[r][c]) - slope).abs() < 2e-3, "{kind:?} {r} {c}: {} {slope}", grad[r][c]);
            }
        }
    }
}
