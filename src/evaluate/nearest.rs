//! The nearest training image of each image, by pixels.

use crate::dataset::IdentityDataset;
use crate::ops::dot_products;
use rayon::prelude::*;

/// A nearest neighbour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nearest {
    /// Index in the reference set.
    pub index: usize,
    /// Root mean square difference of pixel values in [0, 1].
    pub distance: f32,
}

/// Images compared at a time.
const BLOCK: usize = 128;

/// Pixels of images `range` around zero, so that products keep their precision.
fn centred(images: &IdentityDataset, range: std::ops::Range<usize>) -> Vec<f32> {
    range.flat_map(|i| images.image(i).iter().map(|b| f32::from(*b) / 255.0 - 0.5)).collect()
}

/// Squared length of each row of `width` values.
fn lengths(rows: &[f32], width: usize) -> Vec<f32> {
    rows.chunks_exact(width).map(|r| r.iter().map(|v| v * v).sum()).collect()
}

/// For each of `images`, the nearest of `reference`, mirrored or not. Both have the same image size.
pub fn search(images: &IdentityDataset, reference: &IdentityDataset, mut progress: impl FnMut(usize)) -> Vec<Nearest> {
    let width = images.image_size() * images.image_size() * 3;
    let blocks = |n: usize| (0..n).step_by(BLOCK).map(move |s| s..(s + BLOCK).min(n)).collect::<Vec<_>>();
    let mut out = Vec::with_capacity(images.len());
    for block in blocks(images.len()) {
        let plain = centred(images, block.clone());
        let mirrored = mirror(&plain, images.image_size());
        let own = lengths(&plain, width);
        let best = blocks(reference.len())
            .into_par_iter()
            .map(|part| {
                let theirs = centred(reference, part.clone());
                let norms = lengths(&theirs, width);
                let mut best = vec![(f32::INFINITY, 0usize); own.len()];
                for side in [&plain, &mirrored] {
                    let products = dot_products(side, &theirs, width);
                    for (i, row) in products.chunks_exact(norms.len()).enumerate() {
                        for (j, p) in row.iter().enumerate() {
                            let squared = own[i] + norms[j] - 2.0 * p;
                            if squared < best[i].0 {
                                best[i] = (squared, part.start + j);
                            }
                        }
                    }
                }
                best
            })
            .reduce_with(|a, b| a.into_iter().zip(b).map(|(x, y)| if y < x { y } else { x }).collect())
            .unwrap_or_default();
        out.extend(
            best.iter()
                .map(|(squared, index)| Nearest { index: *index, distance: (squared.max(0.0) / width as f32).sqrt() }),
        );
        progress(out.len());
    }
    out
}

/// Mirrored rows of `[n, S, S, 3]` values.
fn mirror(rows: &[f32], size: usize) -> Vec<f32> {
    rows.chunks_exact(3 * size).flat_map(|line| line.chunks_exact(3).rev().flatten().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::Seeds;
    use rand::RngExt;

    #[test]
    fn copies_and_mirrored_copies_are_found_at_distance_zero() {
        let mut rng = Seeds::new(1).stream("nearest", &[]);
        let pixels: Vec<u8> = (0..300 * 8 * 8 * 3).map(|_| rng.random()).collect();
        let real = IdentityDataset::new(8, pixels, vec![0; 300], vec!["a".into()]).unwrap();
        let mut copies = real.image(7).to_vec();
        for line in real.image(250).chunks_exact(24) {
            copies.extend(line.chunks_exact(3).rev().flatten());
        }
        copies.extend(real.image(130).iter().map(|b| b.saturating_add(3)));
        let copies = IdentityDataset::new(8, copies, vec![0; 3], vec!["a".into()]).unwrap();
        let found = search(&copies, &real, |_| {});
        assert_eq!(found.iter().map(|n| n.index).collect::<Vec<_>>(), [7, 250, 130]);
        assert!(found[0].distance < 1e-3 && found[1].distance < 1e-3, "{found:?}");
        assert!((found[2].distance - 3.0 / 255.0).abs() < 1e-3, "{found:?}");
    }
}
