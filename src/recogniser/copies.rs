//! How like its most similar training image an image is, by aligned pixels: the correlation of two grey pictures, the best
//! over mirroring and over crops of the training image, down to four fifths of its side. Brightness and contrast do not change a correlation.

use crate::dataset::IdentityDataset;
use crate::error::Result;
use crate::ops::dot_products;
use crate::progress::Progress;
use rayon::prelude::*;

/// The most similar training image of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nearest {
    /// Its index.
    pub index: usize,
    /// Correlation, in [-1, 1].
    pub similarity: f32,
}

/// Similarity from which on an image counts as a copy of a training image, whatever is natural.
pub const LIMIT: f64 = 0.98;
/// Share of real photographs whose similarity to others is taken for natural: not that of a copy.
const NATURAL: f64 = 0.999;
/// Images that [`natural_level`] looks at, at most.
const LOOKED_AT: usize = 2000;

/// Side of the compared pictures.
const SIDE: usize = 32;
/// Images compared at a time.
const BLOCK: usize = 64;
/// Candidates of an image whose alignment is refined.
const CANDIDATES: usize = 3;

/// A part of an image: its middle and its side, as shares of the image.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Crop {
    x: f32,
    y: f32,
    side: f32,
}

/// The parts of a training image that are looked at first.
fn crops() -> Vec<Crop> {
    let mut crops = vec![Crop { x: 0.5, y: 0.5, side: 1.0 }];
    for side in [0.9, 0.8] {
        let reach = (1.0 - side) / 2.0;
        for (dx, dy) in (-1..=1).flat_map(|dx| (-1..=1).map(move |dy| (dx as f32, dy as f32))) {
            crops.push(Crop { x: 0.5 + dx * reach, y: 0.5 + dy * reach, side });
        }
    }
    crops
}

/// Brightness of `crop` of an image, around its mean and of length 1, `[SIDE, SIDE]`.
fn picture(pixels: &[u8], size: usize, crop: Crop) -> Vec<f32> {
    let last = size as f32 - 1.0;
    let at = |i: usize, middle: f32| {
        let share = middle + ((i as f32 + 0.5) / SIDE as f32 - 0.5) * crop.side;
        (share * size as f32 - 0.5).clamp(0.0, last)
    };
    // Rec. 601
    let grey = |y: usize, x: usize| {
        let p = &pixels[(y * size + x) * 3..][..3];
        0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2])
    };
    let mut out = Vec::with_capacity(SIDE * SIDE);
    for y in (0..SIDE).map(|i| at(i, crop.y)) {
        let (y0, wy) = (y as usize, y.fract());
        let y1 = (y0 + 1).min(size - 1);
        for x in (0..SIDE).map(|i| at(i, crop.x)) {
            let (x0, wx) = (x as usize, x.fract());
            let x1 = (x0 + 1).min(size - 1);
            let top = grey(y0, x0) * (1.0 - wx) + grey(y0, x1) * wx;
            out.push(top * (1.0 - wy) + (grey(y1, x0) * (1.0 - wx) + grey(y1, x1) * wx) * wy);
        }
    }
    let mean = out.iter().map(|v| f64::from(*v)).sum::<f64>() / out.len() as f64;
    out.iter_mut().for_each(|v| *v -= mean as f32);
    // An image of one colour is like no other.
    let norm = out.iter().map(|v| v * v).sum::<f32>().sqrt().max(1.0);
    out.iter_mut().for_each(|v| *v /= norm);
    out
}

/// The similarity that `similarities` of real photographs to others seldom exceed, at most [`LIMIT`]: photographs that are in a set twice
/// must not hide copies.
pub fn natural(similarities: impl IntoIterator<Item = f32>) -> f64 {
    let mut sorted: Vec<f64> = similarities.into_iter().map(f64::from).collect();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * NATURAL).ceil() as usize).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(LIMIT).min(LIMIT)
}

/// [`natural`] among `images`: one half of each identity's against the other.
///
/// # Errors
/// `Stopped`.
pub fn natural_level(images: &IdentityDataset, progress: &mut dyn Progress) -> Result<f64> {
    let [first, second] = images.halves();
    let step = first.len().div_ceil(LOOKED_AT).max(1);
    let first = images.subset(&first.into_iter().step_by(step).collect::<Vec<_>>())?;
    let second = images.subset(&second)?;
    progress.start("copies (natural level)", second.len() as u64, "training images");
    let nearest = search(&first, &second, progress)?;
    progress.finish();
    // The only image of a person is in both halves.
    let others = nearest.iter().enumerate().filter(|(i, n)| first.image(*i) != second.image(n.index));
    Ok(natural(others.map(|(_, n)| n.similarity)))
}

/// Training images in a form in which the most similar ones of an image are found quickly: by whole, coarse pictures.
pub struct Index<'a> {
    training: &'a IdentityDataset,
    /// `[N, COARSE * COARSE]`
    pictures: Vec<f32>,
}

/// Side of coarse pictures.
const COARSE: usize = SIDE / 2;

/// A picture at half its side, around its mean and of length 1.
fn coarse(picture: &[f32]) -> Vec<f32> {
    let at = |y: usize, x: usize| picture[y * SIDE + x];
    let cell = |i: usize| {
        let (y, x) = (i / COARSE * 2, i % COARSE * 2);
        at(y, x) + at(y, x + 1) + at(y + 1, x) + at(y + 1, x + 1)
    };
    // The mean is 0 already.
    let cells: Vec<f32> = (0..COARSE * COARSE).map(cell).collect();
    let norm = cells.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-6);
    cells.into_iter().map(|v| v / norm).collect()
}

impl<'a> Index<'a> {
    /// An index of `training`.
    pub fn new(training: &'a IdentityDataset) -> Self {
        let pictures = (0..training.len()).into_par_iter().flat_map_iter(|i| coarse(&whole(training, i))).collect();
        Self { training, pictures }
    }

    /// For each of `images`, the similarity of the most similar training image: of those that are nearest as they are or mirrored, the
    /// best over crops. A crop that leaves a fifth of the side out or more may be missed, unlike by [`search`].
    pub fn nearest(&self, images: &IdentityDataset) -> Vec<f32> {
        let of_one = |i: usize| {
            let plain = whole(images, i);
            let both = [coarse(&plain), coarse(&mirrored(&plain))].concat();
            let products = dot_products(&both, &self.pictures, COARSE * COARSE);
            let (plain, flipped) = products.split_at(self.training.len());
            let mut best = Vec::new();
            for (j, (a, b)) in plain.iter().zip(flipped).enumerate() {
                keep(&mut best, (a.max(*b), j, WHOLE, false));
            }
            best.iter().map(|c| similarity(images, i, self.training, c.1)).fold(-1.0, f32::max)
        };
        (0..images.len()).into_par_iter().map(of_one).collect()
    }
}

/// [`picture`] of a whole image.
pub fn whole(images: &IdentityDataset, i: usize) -> Vec<f32> {
    picture(images.image(i), images.image_size(), WHOLE)
}

/// A mirrored picture.
fn mirrored(picture: &[f32]) -> Vec<f32> {
    picture.chunks_exact(SIDE).flat_map(|row| row.iter().rev().copied()).collect()
}

const WHOLE: Crop = Crop { x: 0.5, y: 0.5, side: 1.0 };

/// A candidate: similarity, training image, crop of it, whether the image was mirrored.
type Candidate = (f32, usize, Crop, bool);

/// For each of `images`, the most similar of `training`; `progress` is told the number of training images done.
///
/// # Errors
/// `Stopped`.
pub fn search(
    images: &IdentityDataset,
    training: &IdentityDataset,
    progress: &mut dyn Progress,
) -> Result<Vec<Nearest>> {
    let size = training.image_size();
    let compared = compare(images, training, progress)?;
    let refined = compared.best.par_iter().enumerate().map(|(i, candidates)| {
        let plain = whole(images, i);
        let flipped = mirrored(&plain);
        let refine = |c: &Candidate| {
            let own = if c.3 { &flipped } else { &plain };
            Nearest { index: c.1, similarity: refine(own, training.image(c.1), size, *c) }
        };
        let best = candidates.iter().map(refine).max_by(|a, b| a.similarity.total_cmp(&b.similarity));
        best.unwrap_or(Nearest { index: 0, similarity: -1.0 })
    });
    Ok(refined.collect())
}

/// The similarity of image `i` of `images` to image `j` of `training`, the best alignment of both directions refined.
pub fn similarity(images: &IdentityDataset, i: usize, training: &IdentityDataset, j: usize) -> f32 {
    let (theirs, size) = (training.image(j), training.image_size());
    let plain = whole(images, i);
    let flipped = mirrored(&plain);
    let crops = crops();
    let cuts: Vec<Vec<f32>> = crops.iter().map(|c| picture(theirs, size, *c)).collect();
    let aligned = |(own, flip): (&[f32], bool)| {
        let first = crops.iter().zip(&cuts).map(|(crop, cut)| (super::dot(own, cut), j, *crop, flip));
        first.max_by(|a, b| a.0.total_cmp(&b.0)).map_or(-1.0, |best| refine(own, theirs, size, best))
    };
    aligned((&plain, false)).max(aligned((&flipped, true)))
}

/// For each of `training`, the similarity of the most similar of `images`.
///
/// # Errors
/// `Stopped`.
pub fn peaks(images: &IdentityDataset, training: &IdentityDataset, progress: &mut dyn Progress) -> Result<Vec<f32>> {
    Ok(compare(images, training, progress)?.peaks)
}

/// Every image against every training image.
struct Compared {
    /// The most similar training images of each image.
    best: Vec<Vec<Candidate>>,
    /// The largest similarity of each training image.
    peaks: Vec<f32>,
}

fn compare(images: &IdentityDataset, training: &IdentityDataset, progress: &mut dyn Progress) -> Result<Compared> {
    let size = training.image_size();
    let crops = crops();
    let plain: Vec<Vec<f32>> = (0..images.len()).into_par_iter().map(|i| whole(images, i)).collect();
    let mut best: Vec<Vec<Candidate>> = vec![Vec::new(); images.len()];
    let mut peaks = Vec::with_capacity(training.len());
    for start in (0..training.len()).step_by(BLOCK) {
        let block = start..(start + BLOCK).min(training.len());
        let none = || vec![-1.0f32; block.len()];
        // All crops of a training image, one after the other.
        let rows: Vec<Vec<f32>> = block
            .clone()
            .into_par_iter()
            .map(|i| crops.iter().flat_map(|c| picture(training.image(i), size, *c)).collect())
            .collect();
        let rows = rows.concat();
        let part = |(best, plain): (&mut [Vec<Candidate>], &[Vec<f32>])| {
            let flipped: Vec<f32> = plain.iter().flat_map(|p| mirrored(p)).collect();
            let mut peaks = none();
            for (pictures, flip) in [(plain.concat(), false), (flipped, true)] {
                let products = dot_products(&pictures, &rows, SIDE * SIDE);
                let width = products.len() / plain.len();
                for (best, row) in best.iter_mut().zip(products.chunks_exact(width)) {
                    for (n, of_one) in row.chunks_exact(crops.len()).enumerate() {
                        let top = (0..crops.len()).max_by(|a, b| of_one[*a].total_cmp(&of_one[*b]));
                        let top = top.unwrap_or_default();
                        keep(best, (of_one[top], start + n, crops[top], flip));
                        peaks[n] = peaks[n].max(of_one[top]);
                    }
                }
            }
            peaks
        };
        let larger = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(&b).map(|(a, b)| a.max(*b)).collect();
        peaks.extend(best.par_chunks_mut(BLOCK).zip(plain.par_chunks(BLOCK)).map(part).reduce(none, larger));
        progress.reached((start + BLOCK).min(training.len()) as u64)?;
    }
    Ok(Compared { best, peaks })
}

/// Adds a candidate to the [`CANDIDATES`] most similar ones, best first; of equal ones the first image wins.
fn keep(best: &mut Vec<Candidate>, candidate: Candidate) {
    if best.len() == CANDIDATES && candidate.0 <= best[CANDIDATES - 1].0 {
        return;
    }
    let at = best.iter().position(|b| (candidate.0, b.1) > (b.0, candidate.1)).unwrap_or(best.len());
    best.insert(at, candidate);
    best.truncate(CANDIDATES);
}

/// The largest correlation of `own` with a crop near the candidate's: steps along each axis that halve.
fn refine(own: &[f32], theirs: &[u8], size: usize, (similarity, _, start, _): Candidate) -> f32 {
    let (mut best, mut crop) = (similarity, start);
    for step in [0.05f32, 0.025, 0.0125] {
        for _ in 0..2 {
            let moves = [(step, 0.0, 0.0), (0.0, step, 0.0), (0.0, 0.0, step)];
            for (dx, dy, ds) in moves.into_iter().flat_map(|(x, y, s)| [(x, y, s), (-x, -y, -s)]) {
                let side = (crop.side + ds).clamp(0.6, 1.0);
                let inside = |v: f32| v.clamp(side / 2.0, 1.0 - side / 2.0);
                let tried = Crop { x: inside(crop.x + dx), y: inside(crop.y + dy), side };
                let similarity = super::dot(own, &picture(theirs, size, tried));
                if similarity > best {
                    (best, crop) = (similarity, tried);
                }
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::seeds::Seeds;
    use rand::RngExt;

    /// Soft random pictures, as different as photographs are.
    fn pictures(n: usize, size: usize) -> IdentityDataset {
        let mut rng = Seeds::new(1).stream("copies", &[]);
        let mut pixels = Vec::new();
        for _ in 0..n {
            let waves: Vec<[f32; 4]> = (0..12).map(|_| [0; 4].map(|_| rng.random::<f32>())).collect();
            for (y, x) in (0..size).flat_map(|y| (0..size).map(move |x| (y as f32, x as f32))) {
                let wave = |w: &[f32; 4]| {
                    (w[0] + 0.2)
                        * (6.0 * w[1] + 25.0 * (w[2] - 0.5) * x / size as f32 + 25.0 * (w[3] - 0.5) * y / size as f32)
                            .sin()
                };
                let v = 127.0 + 25.0 * waves.iter().map(wave).sum::<f32>();
                pixels.extend([v.clamp(0.0, 255.0) as u8; 3]);
            }
        }
        IdentityDataset::new(size, pixels, vec![0; n], vec!["a".into()]).unwrap()
    }

    #[test]
    fn mirrored_cropped_and_darkened_copies_are_found() {
        let size = 64;
        let real = pictures(150, size);
        let crop = |i: usize, side: f32, (mx, my): (f32, f32), flip: bool, gain: f32| -> Vec<u8> {
            let at = |v: usize, middle: f32| {
                let share = middle + ((v as f32 + 0.5) / size as f32 - 0.5) * side;
                (share * size as f32).clamp(0.0, size as f32 - 1.0) as usize
            };
            let places = (0..size).flat_map(|y| (0..size).map(move |x| (y, if flip { size - 1 - x } else { x })));
            let value = |(y, x)| f32::from(real.image(i)[(at(y, my) * size + at(x, mx)) * 3]) * gain;
            places.flat_map(|place| [value(place) as u8; 3]).collect()
        };
        let copies = [
            crop(7, 1.0, (0.5, 0.5), false, 1.0),
            crop(120, 1.0, (0.5, 0.5), true, 1.0),
            crop(33, 0.87, (0.46, 0.53), false, 1.0),
            crop(90, 0.82, (0.55, 0.42), true, 0.7),
        ];
        let copies = IdentityDataset::new(size, copies.concat(), vec![0; 4], vec!["a".into()]).unwrap();
        let found = search(&copies, &real, &mut Silent).unwrap();
        assert_eq!(found.iter().map(|n| n.index).collect::<Vec<_>>(), [7, 120, 33, 90], "{found:?}");
        assert!(found.iter().all(|n| n.similarity > 0.97), "{found:?}");
        for (i, near) in found.iter().enumerate() {
            assert!((similarity(&copies, i, &real, near.index) - near.similarity).abs() < 1e-5, "{i}: {near:?}");
        }
        // Quick looks find the same, but for crops.
        let quick = Index::new(&real).nearest(&copies);
        for i in [0, 1] {
            assert!((quick[i] - found[i].similarity).abs() < 1e-4, "{quick:?} {found:?}");
        }
        assert!(quick.iter().zip(&found).all(|(q, n)| *q <= n.similarity + 1e-4), "{quick:?} {found:?}");
        let others = search(&pictures(160, size), &real, &mut Silent).unwrap();
        assert!(others[150..].iter().all(|n| n.similarity < 0.9), "{:?}", &others[150..]);
    }
}
