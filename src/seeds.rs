//! Named, keyed random streams: the only place that makes a random generator.
//!
//! A stream is named by (run seed, purpose, keys), so that any draw can be made again alone and no result depends on
//! threads, shards or the order of work.

use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// The root of all streams of a run.
///
/// ```
/// use augment::seeds::{Seeds, normal_vec};
/// let noise = |index| normal_vec(&mut Seeds::new(7).stream("noise", &[index]), 4);
/// assert_eq!(noise(3), noise(3)); // the same name, the same draws
/// assert_ne!(noise(3), noise(4));
/// ```
#[derive(Clone, Debug)]
pub struct Seeds {
    root: [u8; 32],
}

impl Seeds {
    /// The streams of run seed `seed`.
    pub fn new(seed: u64) -> Self {
        Self::keyed(&[&seed.to_le_bytes()])
    }

    /// Streams that depend on every byte of `parts` (a model hash, an identity, ..).
    pub fn keyed(parts: &[&[u8]]) -> Self {
        let mut h = blake3::Hasher::new_derive_key("augment random streams v1");
        for p in parts {
            h.update(&(p.len() as u64).to_le_bytes());
            h.update(p);
        }
        Self { root: *h.finalize().as_bytes() }
    }

    /// The generator for `purpose` and `keys` (a step, an index, ..).
    pub fn stream(&self, purpose: &str, keys: &[u64]) -> ChaCha8Rng {
        let mut h = blake3::Hasher::new_keyed(&self.root);
        h.update(purpose.as_bytes());
        h.update(&[0]);
        for k in keys {
            h.update(&k.to_le_bytes());
        }
        ChaCha8Rng::from_seed(*h.finalize().as_bytes())
    }
}

/// Fills a vector with draws from N(0, 1).
pub fn normal_vec(rng: &mut ChaCha8Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| StandardNormal.sample(rng)).collect()
}

/// A tensor of draws from N(0, 1).
///
/// # Errors
/// Too little memory.
pub fn normal(rng: &mut ChaCha8Rng, shape: &[usize], device: &Device) -> candle_core::Result<Tensor> {
    Tensor::from_vec(normal_vec(rng, shape.iter().product()), shape, device)
}

/// Indices in shuffled orders, epoch by epoch; the order of an epoch is made once.
#[derive(Default)]
pub struct Shuffled {
    /// Number of indices and epoch of `order`.
    of: Option<(usize, u64)>,
    order: Vec<u32>,
}

impl Shuffled {
    /// Indices below `n` of `step`, `count` a step. What is drawn depends on the arguments alone; `seeds` and `purpose` must be the same in every call.
    pub fn draw(&mut self, n: usize, count: usize, seeds: &Seeds, purpose: &str, step: u64) -> Vec<usize> {
        let positions = step * count as u64..(step + 1) * count as u64;
        let of_position = |position: u64| {
            let epoch = position / n as u64;
            if self.of != Some((n, epoch)) {
                self.order = (0..n as u32).collect();
                self.order.shuffle(&mut seeds.stream(purpose, &[epoch]));
                self.of = Some((n, epoch));
            }
            self.order[(position % n as u64) as usize] as usize
        };
        positions.map(of_position).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn streams_are_named() {
        let s = Seeds::new(1);
        let draw = |s: &Seeds, p: &str, k: &[u64]| s.stream(p, k).next_u64();
        assert_eq!(draw(&s, "noise", &[3]), draw(&Seeds::new(1), "noise", &[3]));
        let all = [
            draw(&s, "noise", &[3]),
            draw(&s, "noise", &[4]),
            draw(&s, "order", &[3]),
            draw(&Seeds::new(2), "noise", &[3]),
            draw(&Seeds::keyed(&[b"ab", b"c"]), "noise", &[3]),
            draw(&Seeds::keyed(&[b"a", b"bc"]), "noise", &[3]),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(!all[..i].contains(a));
        }
    }

    #[test]
    fn an_order_is_the_same_whoever_made_it_before() {
        let (seeds, mut kept) = (Seeds::new(3), Shuffled::default());
        let mut seen = Vec::new();
        for step in [0, 1, 2, 3, 4, 9, 2] {
            let drawn = kept.draw(10, 4, &seeds, "order", step);
            assert_eq!(drawn, Shuffled::default().draw(10, 4, &seeds, "order", step));
            seen.extend(drawn);
        }
        let mut epoch = seen[..10].to_vec();
        epoch.sort_unstable();
        assert_eq!(epoch, (0..10).collect::<Vec<_>>());
        assert_eq!(seen[8..12], seen[24..28]);
        assert_eq!(kept.draw(3, 3, &seeds, "order", 0).iter().max(), Some(&2));
    }

    #[test]
    fn normal_draws_have_unit_variance() {
        let v = normal_vec(&mut Seeds::new(5).stream("test", &[]), 20_000);
        let mean = v.iter().sum::<f32>() / 20_000.0;
        let var = v.iter().map(|x| x * x).sum::<f32>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (var - 1.0).abs() < 0.05, "mean {mean} var {var}");
    }
}
