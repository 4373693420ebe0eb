//! Inpainting, as in the paper: an image with a hole is encoded and decoded, what comes out is pasted into the hole, and again, until
//! nothing changes any more.

use super::Networks;
use super::mask::Hole;
use crate::error::Result;
use candle_core::Tensor;
use rayon::prelude::*;
use serde::Serialize;

/// How what was made meets what is around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Seam {
    /// As it comes.
    Hard,
    /// Moved smoothly until it meets its surroundings (Poisson's equation).
    #[default]
    Poisson,
}

/// How holes are filled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Inpaint {
    /// Rounds of encoding and decoding, at most.
    pub rounds: usize,
    /// An image is done when its hole changes by less than this on average, in [0, 255] steps.
    pub tolerance: f64,
    /// Steps by which z then descends on the difference of known pixels.
    pub refine: usize,
    /// What is done at the edge.
    pub seam: Seam,
}

impl Default for Inpaint {
    fn default() -> Self {
        Self { rounds: 10, tolerance: 0.5, refine: 10, seam: Seam::Poisson }
    }
}

/// Fills `holes` in `images` (`[S, S, 3]` in [-1, 1] each), whose labels are `labels`. z is drawn from each posterior by `noise`, `[B, Z]`: zeros
/// give the likeliest filling.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn inpaint(
    networks: &Networks,
    images: &[Vec<f32>],
    labels: &[u32],
    holes: &[&Hole],
    noise: &[f32],
    options: &Inpaint,
) -> Result<Vec<Vec<f32>>> {
    let (n, z) = (images.len(), networks.latent_dim());
    let mut filled: Vec<Vec<f32>> = images.to_vec();
    filled.par_iter_mut().zip(holes).for_each(|(image, hole)| hole.span(image));
    let mut made: Vec<Vec<f32>> = vec![Vec::new(); n];
    let mut latents = vec![0f32; n * z];
    // Those whose holes still change.
    let mut open: Vec<usize> = (0..n).collect();
    for _ in 0..options.rounds.max(1) {
        let of = |all: &[f32]| open.iter().flat_map(|i| all[i * z..(i + 1) * z].to_vec()).collect::<Vec<f32>>();
        let some: Vec<Vec<f32>> = open.iter().map(|i| filled[*i].clone()).collect();
        let some_labels: Vec<u32> = open.iter().map(|i| labels[*i]).collect();
        let (mu, deviation) = networks.encode(&some, &some_labels)?;
        let noise = Tensor::from_vec(of(noise), mu.shape(), mu.device())?;
        let drawn = (mu + (deviation * noise)?)?;
        let images = networks.decode(&drawn, &networks.labels(&some_labels)?)?;
        let drawn = drawn.flatten_all()?.to_vec1::<f32>()?;
        let mut still = Vec::new();
        for ((i, image), z_of) in open.iter().zip(images).zip(drawn.chunks_exact(z)) {
            latents[i * z..(i + 1) * z].copy_from_slice(z_of);
            if paste(&mut filled[*i], &image, holes[*i]) * 127.5 >= options.tolerance {
                still.push(*i);
            }
            made[*i] = image;
        }
        open = still;
        if open.is_empty() {
            break;
        }
    }
    if options.refine > 0 {
        let size = networks.image_size();
        let shape = (n, size, size, 3);
        let latents = Tensor::from_vec(latents, (n, z), networks.device)?;
        let known: Vec<f32> = holes.iter().flat_map(|hole| hole.known()).collect();
        let known = Tensor::from_vec(known, shape, networks.device)?;
        let target = networks.tensor(&filled)?;
        let latents = networks
            .refine(&latents, labels, options.refine, |made| (made - &target)?.mul(&known)?.sqr()?.sum_all()? * 0.5)?;
        made = networks.decode(&latents, &networks.labels(labels)?)?;
    }
    filled.par_iter_mut().zip(&mut made).zip(holes).for_each(|((image, made), hole)| {
        if options.seam == Seam::Poisson {
            let mut apart: Vec<f32> = image.iter().zip(made.iter()).map(|(known, made)| known - made).collect();
            hole.span(&mut apart);
            made.iter_mut().zip(&apart).for_each(|(made, apart)| *made = (*made + apart).clamp(-1.0, 1.0));
        }
        paste(image, made, hole);
    });
    Ok(filled)
}

/// Puts `made` into the hole of `image`; the mean change there.
fn paste(image: &mut [f32], made: &[f32], hole: &Hole) -> f64 {
    let (mut change, mut values) = (0.0, 0usize);
    for (i, _) in hole.within().iter().enumerate().filter(|(_, within)| **within) {
        for (old, new) in image[3 * i..3 * i + 3].iter_mut().zip(&made[3 * i..3 * i + 3]) {
            change += f64::from((*new - *old).abs());
            values += 1;
            *old = *new;
        }
    }
    change / values as f64
}
