//! Sample grids: one row an identity, with real images, their reconstructions, samples of z from N(0, I), and samples of z
//! transferred from training images of all persons.

use super::latent::{self, Latents};
use crate::config::RunConfig;
use crate::dataset::encode::{Origin, encode};
use crate::dataset::{IdentityDataset, to_byte};
use crate::error::{Error, Result};
use crate::model::encoder::Encoder;
use crate::model::generator::Generator;
use crate::nn::{Labels, Mode};
use crate::seeds::{Seeds, normal_vec};
use candle_core::{Device, Tensor};
use std::path::{Path, PathBuf};

const ROWS: usize = 8;
/// Images of each kind in a row.
const COLUMNS: usize = 3;
/// Pixels between the groups of columns.
const GAP: usize = 4;

/// Name of the grid after `kimg` thousand images.
pub fn grid_file(kimg: u64) -> String {
    format!("grid-{kimg:06}kimg.png")
}

/// The grids in `dir`, each after how many thousand images, in their order.
///
/// # Errors
/// The folder cannot be read.
pub fn grids(dir: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))?;
    let kimg = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix("grid-")?.strip_suffix("kimg.png")?.parse().ok()
    };
    let paths = entries.map(|e| e.map(|e| e.path()).map_err(|e| Error::io(dir, e))).collect::<Result<Vec<_>>>()?;
    let mut grids: Vec<(u64, PathBuf)> = paths.into_iter().filter_map(|p| Some((kimg(&p)?, p))).collect();
    grids.sort();
    Ok(grids)
}

/// True for the file of a grid, or one that was not completed.
pub fn is_grid(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("grid-") && name.trim_end_matches(".partial").ends_with("kimg.png")
}

/// A PNG with the columns: three real images, the same reconstructed, three samples of each kind. A column of samples
/// shares one z, or one image that it is transferred from, so that what changes down the column is the identity's work. Without an
/// encoder there are no reconstructions, and nothing is transferred.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn render(
    encoder: Option<&Encoder>,
    generator: &Generator,
    dataset: &IdentityDataset,
    config: &RunConfig,
    device: &Device,
) -> Result<Vec<u8>> {
    let (s, z) = (config.image_size, config.model.latent_dim);
    let classes = dataset.identities().len();
    let rows = ROWS.min(classes);
    let kinds = if encoder.is_some() { 4 } else { 2 };
    let at = |column: usize| column * s + column / COLUMNS * GAP;
    let width = at(kinds * COLUMNS) - GAP;
    let mut canvas = vec![255u8; rows * s * width * 3];
    let mut paste = |row: usize, x: usize, image: &[u8]| {
        for (y, line) in image.chunks_exact(3 * s).enumerate() {
            let start = ((row * s + y) * width + x) * 3;
            canvas[start..start + 3 * s].copy_from_slice(line);
        }
    };
    let noise = normal_vec(&mut Seeds::new(config.seed).stream("grid", &[]), COLUMNS * z);
    // Early in a training the posteriors may have no distribution to speak of.
    let fitted = encoder.and_then(|e| latent::fit_latents(e, dataset, config, super::LATENT_IMAGES, device).ok());
    for row in 0..rows {
        let label = (row * classes / rows) as u32;
        let real: Vec<usize> = dataset.images_of(label).iter().copied().take(COLUMNS).collect();
        let (mu, _) = encoder.map(|e| super::encode(e, dataset, &real, device)).transpose()?.unwrap_or_default();
        let reconstructed = mu.len() / z;
        let mut latents: Vec<f32> = mu.into_iter().chain(noise.iter().copied()).collect();
        for (i, z) in noise.chunks_exact(z).enumerate() {
            let from = |f: &Latents| f.transferred((2 * i + 1) * f.len() / (2 * COLUMNS), z, &[(label, 1.0)], 1.0);
            if encoder.is_some() {
                latents.extend(fitted.as_ref().map_or_else(|| z.to_vec(), from));
            }
        }
        let n = latents.len() / z;
        let latents = Tensor::from_vec(latents, (n, z), device)?;
        let images = generator.forward(&(&latents).into(), &Labels::plain(&vec![label; n], device)?, Mode::Eval)?;
        let images: Vec<u8> = images.flatten_all()?.to_vec1::<f32>()?.into_iter().map(to_byte).collect();
        for (i, index) in real.iter().enumerate() {
            paste(row, at(i), dataset.image(*index));
        }
        for (i, image) in images.chunks_exact(3 * s * s).enumerate() {
            // Where an identity has few real images, the rest of their columns and of those of reconstructions stays empty.
            let column = match i.checked_sub(reconstructed) {
                None => COLUMNS + i,
                Some(sample) => kinds.div_ceil(2) * COLUMNS + sample,
            };
            paste(row, at(column), image);
        }
    }
    encode(&canvas, width, rows * s, "png", Origin::Real)
}
