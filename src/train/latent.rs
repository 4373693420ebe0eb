//! The normal distribution fitted to the posteriors of the training images: what the generator was really trained on.

use crate::config::RunConfig;
use crate::dataset::IdentityDataset;
use crate::error::{Error, Result};
use crate::model::encoder::Encoder;
use candle_core::{Device, Tensor};

/// Mean and Cholesky factor of the covariance of z over all posteriors.
#[derive(Clone, Debug)]
pub struct FittedLatent {
    /// `[Z]`
    pub mean: Tensor,
    /// Lower triangular `[Z, Z]`
    pub factor: Tensor,
}

impl FittedLatent {
    /// A draw from N(0, I) moved to this distribution, `[Z]`.
    pub fn place(&self, noise: &[f32]) -> Result<Vec<f32>> {
        let z = Tensor::from_slice(noise, (noise.len(), 1), self.mean.device())?;
        Ok((self.factor.matmul(&z)?.squeeze(1)? + &self.mean)?.to_vec1()?)
    }
}

/// Fits the first two moments of the mixture of posteriors of at most `images` images, evenly chosen: the covariance of
/// means plus the mean of variances.
pub fn fit(
    encoder: &Encoder,
    dataset: &IdentityDataset,
    config: &RunConfig,
    images: usize,
    device: &Device,
) -> Result<FittedLatent> {
    let z = config.model.latent_dim;
    let step = dataset.len().div_ceil(images);
    let indices: Vec<usize> = (0..dataset.len()).step_by(step).collect();
    let (means, logvars) = super::encode(encoder, dataset, &indices, device)?;
    let n = indices.len() as f64;
    let mut mean = vec![0f64; z];
    for row in means.chunks_exact(z) {
        mean.iter_mut().zip(row).for_each(|(m, v)| *m += f64::from(*v) / n);
    }
    let mut covariance = nalgebra::DMatrix::<f64>::zeros(z, z);
    for (mu, logvar) in means.chunks_exact(z).zip(logvars.chunks_exact(z)) {
        for i in 0..z {
            for j in 0..=i {
                covariance[(i, j)] += (f64::from(mu[i]) - mean[i]) * (f64::from(mu[j]) - mean[j]) / n;
            }
            covariance[(i, i)] += f64::from(logvar[i]).exp() / n;
        }
    }
    covariance.fill_upper_triangle_with_lower_triangle();
    let factor = covariance
        .cholesky()
        .ok_or_else(|| Error::Model("the posteriors' covariance is not positive definite: E has collapsed".into()))?
        .l();
    let rows: Vec<f32> = (0..z).flat_map(|i| (0..z).map(move |j| (i, j))).map(|ij| factor[ij] as f32).collect();
    Ok(FittedLatent {
        mean: Tensor::from_vec(mean.iter().map(|m| *m as f32).collect::<Vec<_>>(), z, device)?,
        factor: Tensor::from_vec(rows, (z, z), device)?,
    })
}
