//! A control that needs no generator: new identities pasted together from the photographs of two persons, whose bands of eyes, nose and
//! mouth they exchange (after Hu et al. 2017, "Frankenstein"). What a generator makes must be worth more than this.

use crate::config::Alignment;
use crate::dataset::{IdentityDataset, Stock, StockWriter};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::seeds::Seeds;
use rand::RngExt;
use rand::seq::SliceRandom;
use std::path::Path;

/// Upper and lower end of the bands of eyes, nose and mouth, as shares of the side of a face that fills the image.
const TIGHT: [(f32, f32); 3] = [(0.22, 0.48), (0.48, 0.68), (0.68, 0.92)];
/// The same in the usual frame of ArcFace, which shows more about a face.
const USUAL: [(f32, f32); 3] = [(0.36, 0.56), (0.56, 0.71), (0.71, 0.89)];
/// Height over which one photograph passes into the other, as a share of the side.
const SEAM: f32 = 0.06;

/// `identities` identities of `per_identity` images each, from pairs of persons of `real`, whose faces lie in `frame`. A band of the second
/// photograph gets the mean colour of the first one's. The images lie on the disk of `scratch`.
///
/// # Errors
/// Fewer than two persons; the disk is full; `Stopped`.
pub fn composites(
    real: &IdentityDataset,
    frame: Alignment,
    identities: usize,
    per_identity: usize,
    scratch: &Path,
    progress: &mut dyn Progress,
) -> Result<Stock> {
    let bands = if frame == Alignment::Arcface { USUAL } else { TIGHT };
    let persons: Vec<u32> = super::figures::present(real).collect();
    if persons.len() < 2 {
        return Err(Error::Manifest("composites need two persons or more".into()));
    }
    let seeds = Seeds::keyed(&[b"composite"]);
    let mut writer = StockWriter::new(scratch, real.image_size())?;
    let (mut labels, mut names) = (Vec::new(), Vec::new());
    progress.start("composites", identities as u64, "identities");
    for n in 0..identities {
        progress.reached(n as u64)?;
        let mut rng = seeds.stream("identity", &[n as u64]);
        let mut order = persons.clone();
        let (two, _) = order.partial_shuffle(&mut rng, 2);
        // One or two of the three bands are the second person's.
        let pattern: u8 = rng.random_range(1..7);
        let taken = [1, 2, 4].map(|bit| pattern & bit != 0);
        let own = [two[0], two[1]].map(|label| real.images_of(label));
        for _ in 0..per_identity {
            let [a, b] = own.map(|own| real.image(own[rng.random_range(0..own.len())]));
            writer.add(&paste(a, b, real.image_size(), bands, taken))?;
            labels.push(n as u32);
        }
        names.push(format!("composite-{n:06}"));
    }
    progress.finish();
    writer.finish(labels, names)
}

/// `a` with the bands `taken` of `b`.
fn paste(a: &[u8], b: &[u8], size: usize, bands: [(f32, f32); 3], taken: [bool; 3]) -> Vec<u8> {
    let mut out = a.to_vec();
    for ((from, to), _) in bands.into_iter().zip(taken).filter(|(_, taken)| *taken) {
        let weight = |y: usize| {
            let y = (y as f32 + 0.5) / size as f32;
            ((y - from).min(to - y) / SEAM + 0.5).clamp(0.0, 1.0)
        };
        let rows: Vec<(usize, f32)> = (0..size).map(|y| (y, weight(y))).filter(|(_, w)| *w > 0.0).collect();
        let width = 3 * size;
        let mean = |image: &[u8], c: usize| {
            let sum: f32 = rows
                .iter()
                .flat_map(|(y, _)| image[y * width..][..width].iter().skip(c).step_by(3))
                .map(|v| f32::from(*v))
                .sum();
            sum / (rows.len() * size) as f32
        };
        let shift: [f32; 3] = [0, 1, 2].map(|c| mean(a, c) - mean(b, c));
        for (y, w) in &rows {
            for i in y * width..(y + 1) * width {
                let other = f32::from(b[i]) + shift[i % 3];
                out[i] = (f32::from(out[i]) * (1.0 - w) + other * w).round().clamp(0.0, 255.0) as u8;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Images;
    use crate::progress::Silent;

    #[test]
    fn composites_take_bands_of_two_persons() {
        // Rows of each person's image alternate by two levels about the person's mean.
        let size = 50;
        let image = |mean: u8, step: u8| {
            (0..size * size * 3)
                .map(|i| if (i / (3 * size)) % 2 == 0 { mean - step } else { mean + step })
                .collect::<Vec<u8>>()
        };
        let (a, b) = (image(100, 4), image(180, 20));
        let eyes = paste(&a, &b, size, TIGHT, [true, false, false]);
        let row = |y: usize| i32::from(eyes[y * 3 * size]);
        // Inside the band the second person's contrast, about the first one's mean; outside the first person.
        assert!([17, 18].iter().all(|y| ((row(*y) - 100).abs() - 20).abs() <= 1), "{} {}", row(17), row(18));
        assert_eq!((row(2), row(3), row(30), row(31)), (96, 104, 96, 104));
        let real = IdentityDataset::new(size, [a, b].concat(), vec![0, 1], ["a", "b"].map(Into::into).into()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let of = |real: &IdentityDataset| composites(real, Alignment::None, 4, 3, dir.path(), &mut Silent);
        let stock = of(&real).unwrap();
        let made = stock.catalogue();
        assert_eq!((made.len(), made.identities().len(), made.images_of(3).len()), (12, 4, 3));
        assert!((0..12).all(|i| (0..2).all(|r| *stock.read(i).unwrap() != *real.image(r))));
        assert_eq!(made.hash(), of(&real).unwrap().catalogue().hash());
        assert!(of(&real.subset(&[0]).unwrap()).is_err());
    }
}
