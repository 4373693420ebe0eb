//! The nearest of many embeddings, block by block and on all threads.

use crate::error::Result;
use crate::ops::dot_products;
use crate::progress::Progress;
use crate::recogniser::Embeddings;
use rayon::prelude::*;

/// Rows that one thread compares at a time.
const ROWS: usize = 64;
/// Rows that they are compared with at a time: these stay in the cache.
const OTHERS: usize = 1024;
/// Blocks of rows between two looks at whether to stop.
const WAVE: usize = 16;

/// For each of `embeddings`, the nearest of those of `others` (one or more) that `counts` lets pass (by both indices), and its
/// cosine; -1 if none passes. The first of several that are equally near. `stage` names the search in the progress.
///
/// # Errors
/// `Stopped`.
pub(super) fn nearest_of(
    stage: &str,
    embeddings: &Embeddings,
    others: &Embeddings,
    counts: impl Fn(usize, usize) -> bool + Sync,
    progress: &mut dyn Progress,
) -> Result<Vec<(usize, f64)>> {
    let size = embeddings.size;
    let of_rows = |(block, rows): (usize, &[f32])| -> Vec<(usize, f64)> {
        let mut best = vec![(0, -1.0f32); rows.len() / size];
        for (n, part) in others.values.chunks(OTHERS * size).enumerate() {
            let products = dot_products(rows, part, size);
            for ((i, best), row) in best.iter_mut().enumerate().zip(products.chunks_exact(part.len() / size)) {
                for (j, cosine) in row.iter().enumerate() {
                    let j = n * OTHERS + j;
                    if *cosine > best.1 && counts(block * ROWS + i, j) {
                        *best = (j, *cosine);
                    }
                }
            }
        }
        best.into_iter().map(|(j, cosine)| (j, f64::from(cosine))).collect()
    };
    let mut found = Vec::with_capacity(embeddings.len());
    progress.start(stage, embeddings.len() as u64, "embeddings");
    let blocks: Vec<(usize, &[f32])> = embeddings.values.chunks(ROWS * size).enumerate().collect();
    for wave in blocks.chunks(WAVE) {
        let nearest: Vec<Vec<(usize, f64)>> = wave.par_iter().copied().map(of_rows).collect();
        found.extend(nearest.into_iter().flatten());
        progress.reached(found.len() as u64)?;
    }
    progress.finish();
    Ok(found)
}

/// Cosine of each of `embeddings` to the nearest of `others`, as [`nearest_of`].
///
/// # Errors
/// `Stopped`.
pub(super) fn nearest_cosines(
    stage: &str,
    embeddings: &Embeddings,
    others: &Embeddings,
    progress: &mut dyn Progress,
) -> Result<Vec<f64>> {
    let nearest = nearest_of(stage, embeddings, others, |_, _| true, progress)?;
    Ok(nearest.into_iter().map(|(_, cosine)| cosine).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::progress::Silent;
    use crate::seeds::{Seeds, normal_vec};

    /// Whoever asks it to stop.
    struct Stop;

    impl Progress for Stop {
        fn stop_requested(&self) -> bool {
            true
        }
    }

    #[test]
    fn blocks_find_what_one_comparison_after_the_other_finds() {
        let size = 8;
        let draw = |n: usize, key| {
            let mut values = normal_vec(&mut Seeds::new(4).stream("rows", &[key]), n * size);
            // Equal rows, far apart: the first of them counts.
            values.copy_within(0..size, (n - 1) * size);
            Embeddings { size, values }
        };
        let (some, others) = (draw(ROWS * WAVE + 70, 0), draw(2 * OTHERS + 5, 1));
        let odd = |i: usize, j: usize| (i + j) % 3 != 1;
        let all = dot_products(&some.values, &others.values, size);
        let one_by_one = |(i, row): (usize, &[f32])| {
            let nearer = |a: (usize, f32), b: (usize, f32)| if b.1 > a.1 { b } else { a };
            let (j, cosine) = row.iter().copied().enumerate().filter(|(j, _)| odd(i, *j)).fold((0, -1.0), nearer);
            (j, f64::from(cosine))
        };
        let expected: Vec<(usize, f64)> = all.chunks_exact(others.len()).enumerate().map(one_by_one).collect();
        assert_eq!(nearest_of("nearest", &some, &others, odd, &mut Silent).unwrap(), expected);
        assert_eq!(nearest_of("nearest", &some, &others, |_, _| false, &mut Silent).unwrap()[3], (0, -1.0));
        assert!(matches!(nearest_of("nearest", &some, &others, odd, &mut Stop), Err(Error::Stopped)));
    }
}
