//! Where z comes from in synthesis, beside N(0, I): what the generator was really trained on, the posteriors of the
//! training images, one by one or as a normal distribution fitted to all.

use crate::config::RunConfig;
use crate::dataset::IdentityDataset;
use crate::error::{Error, Result};
use crate::model::encoder::Encoder;
use crate::progress::Progress;
use candle_core::{DType, Device, Tensor};
use rand::{Rng, RngExt};
use std::collections::BTreeMap;

/// The tensor of persons' means, in models that keep a part of the posteriors.
const PERSONS: &str = "latent.person.mean";
/// Images that are encoded at a time where only sums are kept.
const AT_A_TIME: usize = 1024;

/// The posteriors of training images, and their mixture's mean and Cholesky factor.
#[derive(Clone, Debug)]
pub struct Latents {
    mean: Vec<f32>,
    /// Lower triangular `[Z, Z]`
    factor: Vec<f32>,
    /// Label of the image of each posterior.
    labels: Vec<u32>,
    /// `[N, Z]`
    means: Vec<f32>,
    /// `[N, Z]`
    deviations: Vec<f32>,
    /// Mean of the posteriors of each label that has any, `[Z]`.
    persons: BTreeMap<u32, Vec<f32>>,
    /// Whether these are of more posteriors than are kept.
    of_all: bool,
}

/// Number and sum of the rows `[Z]` of each label.
#[derive(Default)]
struct Sums(BTreeMap<u32, (f32, Vec<f32>)>);

impl Sums {
    /// Adds the rows `[N, Z]` of `labels`.
    fn add(&mut self, labels: &[u32], rows: &[f32]) {
        for (label, row) in labels.iter().zip(rows.chunks_exact(rows.len() / labels.len().max(1))) {
            let (count, sum) = self.0.entry(*label).or_insert_with(|| (0.0, vec![0.0; row.len()]));
            *count += 1.0;
            sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
        }
    }

    /// The mean row of each label.
    fn means(self) -> BTreeMap<u32, Vec<f32>> {
        let mean = |(count, sum): (f32, Vec<f32>)| sum.iter().map(|s| s / count).collect();
        self.0.into_iter().map(|(label, sums)| (label, mean(sums))).collect()
    }
}

/// Mean of the rows `[N, Z]` of each label.
fn means_by_label(labels: &[u32], rows: &[f32]) -> BTreeMap<u32, Vec<f32>> {
    let mut sums = Sums::default();
    sums.add(labels, rows);
    sums.means()
}

impl Latents {
    /// A draw from N(0, I) moved to the fitted normal distribution, `[Z]`.
    pub fn place(&self, noise: &[f32]) -> Vec<f32> {
        let rows = self.factor.chunks_exact(noise.len()).zip(&self.mean);
        rows.map(|(row, mean)| mean + row.iter().zip(noise).map(|(f, n)| f * n).sum::<f32>()).collect()
    }

    /// A draw from N(0, I) moved to the posterior of a random training image that shows none of `identities`, `[Z]`.
    pub fn borrow(&self, noise: &[f32], identities: &[(u32, f32)], rng: &mut impl Rng) -> Vec<f32> {
        self.posterior(self.other(identities, rng), noise)
    }

    /// What sets such a draw apart from the mean of the image's own identity, `spread` times, added to the mean of `identities`, `[Z]`:
    /// another person's pose, light and expression without that person.
    pub fn transfer(&self, noise: &[f32], identities: &[(u32, f32)], spread: f32, rng: &mut impl Rng) -> Vec<f32> {
        self.transferred(self.other(identities, rng), noise, identities, spread)
    }

    /// [`Latents::transfer`] from posterior `at`.
    pub(super) fn transferred(&self, at: usize, noise: &[f32], identities: &[(u32, f32)], spread: f32) -> Vec<f32> {
        let mean = |label: u32| self.persons.get(&label).unwrap_or(&self.mean);
        let apart = self.posterior(at, noise).into_iter().zip(mean(self.labels[at])).map(|(z, m)| spread * (z - m));
        let mut z: Vec<f32> = apart.collect();
        // As with the labels, the weight that is left to 1 is that of everybody's mean.
        let rest = 1.0 - identities.iter().map(|(_, weight)| weight).sum::<f32>();
        let all = identities.iter().map(|(label, weight)| (mean(*label), weight)).chain([(&self.mean, &rest)]);
        for (mean, weight) in all {
            z.iter_mut().zip(mean).for_each(|(z, m)| *z += weight * m);
        }
        z
    }

    /// A point between draws from the posteriors of two random training images of `identities`, `[Z]`; where none of these is kept, as
    /// [`Latents::transfer`] draws it.
    pub fn morph(&self, noise: &[f32], identities: &[(u32, f32)], rng: &mut impl Rng) -> Vec<f32> {
        let own = |at: &usize| identities.iter().any(|(label, _)| *label == self.labels[*at]);
        let own: Vec<usize> = (0..self.labels.len()).filter(own).collect();
        if own.is_empty() {
            return self.transfer(noise, identities, 1.0, rng);
        }
        let [from, to] = [(); 2].map(|()| self.posterior(self.any(&own, rng), noise));
        let share: f32 = rng.random();
        from.iter().zip(to).map(|(a, b)| a + share * (b - a)).collect()
    }

    /// The means of all posteriors, each with the label of its image, `[Z]`.
    pub fn reconstructions(&self) -> impl Iterator<Item = (u32, &[f32])> {
        self.labels.iter().copied().zip(self.means.chunks_exact(self.mean.len()))
    }

    /// Number of posteriors.
    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    /// A random training image that shows none of `identities`.
    fn other(&self, identities: &[(u32, f32)], rng: &mut impl Rng) -> usize {
        let other = |at: &usize| identities.iter().all(|(label, _)| *label != self.labels[*at]);
        let others: Vec<usize> = (0..self.labels.len()).filter(other).collect();
        self.any(&others, rng)
    }

    /// One of `candidates`, or of all posteriors if there is none.
    fn any(&self, candidates: &[usize], rng: &mut impl Rng) -> usize {
        if candidates.is_empty() {
            return rng.random_range(0..self.labels.len());
        }
        candidates[rng.random_range(0..candidates.len())]
    }

    /// A draw from N(0, I) moved to posterior `at`.
    fn posterior(&self, at: usize, noise: &[f32]) -> Vec<f32> {
        let row = at * noise.len()..(at + 1) * noise.len();
        let moved = self.means[row.clone()].iter().zip(&self.deviations[row]).zip(noise);
        moved.map(|((mean, deviation), n)| mean + deviation * n).collect()
    }

    /// The same, with the means of persons of all images of `dataset`, whose posteriors it keeps in part.
    ///
    /// # Errors
    /// `Stopped`; shapes that do not fit together, or too little memory.
    pub fn of_all(
        mut self,
        encoder: &Encoder,
        dataset: &IdentityDataset,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Self> {
        if self.labels.len() == dataset.len() {
            return Ok(self);
        }
        let (mut sums, all) = (Sums::default(), (0..dataset.len()).collect::<Vec<_>>());
        for part in all.chunks(AT_A_TIME) {
            progress.go_on()?;
            let labels: Vec<u32> = part.iter().map(|i| dataset.labels()[*i]).collect();
            sums.add(&labels, &super::encode(encoder, dataset, part, device)?.0);
        }
        let mut means = sums.means();
        let person = |label| (label, means.remove(&label).unwrap_or_else(|| self.mean.clone()));
        self.persons = (0..dataset.identities().len() as u32).map(person).collect();
        self.of_all = true;
        Ok(self)
    }

    /// Adds all values to `out`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn export(&self, out: &mut BTreeMap<String, Tensor>) -> Result<()> {
        let (z, n) = (self.mean.len(), self.labels.len());
        let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu);
        out.insert("latent.mean".into(), tensor(&self.mean, &[z])?);
        out.insert("latent.factor".into(), tensor(&self.factor, &[z, z])?);
        out.insert("latent.posterior.mean".into(), tensor(&self.means, &[n, z])?);
        out.insert("latent.posterior.deviation".into(), tensor(&self.deviations, &[n, z])?);
        out.insert("latent.posterior.label".into(), Tensor::from_slice(&self.labels, n, &Device::Cpu)?);
        if self.of_all {
            let means: Vec<f32> = self.persons.values().flatten().copied().collect();
            out.insert(PERSONS.into(), tensor(&means, &[self.persons.len(), z])?);
        }
        Ok(())
    }

    /// Takes out of `tensors` what [`Latents::export`] put there; shapes and types must fit `z` and `classes`.
    ///
    /// # Errors
    /// `Model`: a tensor that is missing, of another shape or type, or not finite.
    pub fn import(tensors: &mut BTreeMap<String, Tensor>, z: usize, classes: usize) -> Result<Self> {
        let of_all = tensors.contains_key(PERSONS);
        let mut take = |name: &str, dtype: DType| -> Result<Tensor> {
            let t = tensors.remove(name).ok_or_else(|| Error::Model(format!("tensor `{name}` is missing")))?;
            if t.dtype() != dtype {
                return Err(Error::Model(format!("tensor `{name}` is {:?}, expected {dtype:?}", t.dtype())));
            }
            Ok(t)
        };
        let label = take("latent.posterior.label", DType::U32)?;
        let n = label.elem_count();
        let mut values = |name: &str, shape: &[usize]| -> Result<Vec<f32>> {
            let t = take(name, DType::F32)?;
            let wrong = || Error::Model(format!("tensor `{name}` is not a finite F32 tensor of shape {shape:?}"));
            let values = if t.dims() == shape { t.flatten_all()?.to_vec1::<f32>()? } else { return Err(wrong()) };
            if values.iter().all(|v| v.is_finite()) { Ok(values) } else { Err(wrong()) }
        };
        let labels: Vec<u32> = label.flatten_all()?.to_vec1()?;
        let means = values("latent.posterior.mean", &[n, z])?;
        let persons = if of_all {
            let rows = values(PERSONS, &[classes, z])?;
            (0..).zip(rows.chunks_exact(z).map(<[f32]>::to_vec)).collect()
        } else {
            means_by_label(&labels, &means)
        };
        let latents = Self {
            mean: values("latent.mean", &[z])?,
            factor: values("latent.factor", &[z, z])?,
            persons,
            of_all,
            means,
            deviations: values("latent.posterior.deviation", &[n, z])?,
            labels,
        };
        if n == 0 || latents.labels.iter().any(|l| *l as usize >= classes) {
            return Err(Error::Model("tensor `latent.posterior.label` names labels that the model lacks".into()));
        }
        Ok(latents)
    }
}

/// The posteriors of at most `images` images, evenly chosen, and the first two moments of their mixture: the covariance
/// of means plus the mean of variances.
///
/// # Errors
/// `Model`: E has collapsed, so that the posteriors have no spread.
pub fn fit_latents(
    encoder: &Encoder,
    dataset: &IdentityDataset,
    config: &RunConfig,
    images: usize,
    device: &Device,
) -> Result<Latents> {
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
    let labels: Vec<u32> = indices.iter().map(|i| dataset.labels()[*i]).collect();
    Ok(Latents {
        mean: mean.iter().map(|m| *m as f32).collect(),
        factor: (0..z).flat_map(|i| (0..z).map(move |j| (i, j))).map(|ij| factor[ij] as f32).collect(),
        persons: means_by_label(&labels, &means),
        of_all: false,
        labels,
        means,
        deviations: logvars.iter().map(|v| (v / 2.0).exp()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::Seeds;
    use std::collections::BTreeSet;

    /// Two posteriors of each of three labels, without spread: a draw is a mean.
    fn latents() -> Latents {
        let means: Vec<f32> = (0..6).flat_map(|i| [i as f32, 10.0 * i as f32]).collect();
        let (mean, factor, labels) = (vec![2.5, 25.0], vec![1.0, 0.0, 0.0, 1.0], vec![0, 0, 1, 1, 2, 2]);
        let persons = means_by_label(&labels, &means);
        Latents { mean, factor, labels, means, deviations: vec![0.0; 12], persons, of_all: false }
    }

    #[test]
    fn what_is_transferred_leaves_the_person_behind() {
        // Persons 0, 1, 2 have the means 0.5, 2.5, 4.5 (and ten times that); every image lies 0.5 below or above.
        let mut rng = Seeds::new(3).stream("transfer", &[]);
        // Weights of a sum of 1.5 lie half as far again from everybody's mean, 2.5.
        let mixes =
            [(vec![(1, 1.0)], 2.5), (vec![(0, 0.5), (2, 0.5)], 2.5), (vec![(2, 1.0)], 4.5), (vec![(2, 1.5)], 5.5)];
        for (mix, mean) in mixes {
            let drawn: BTreeSet<i32> = (0..100)
                .map(|_| {
                    let z = latents().transfer(&[0.3, -0.7], &mix, 0.5, &mut rng);
                    assert!((z[1] - 10.0 * z[0]).abs() < 1e-4, "{z:?}");
                    (100.0 * (z[0] - mean)).round() as i32
                })
                .collect();
            assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [-25, 25], "{mix:?}");
        }
    }

    #[test]
    fn what_is_borrowed_is_never_the_identity_s_own() {
        let mut rng = Seeds::new(1).stream("borrow", &[]);
        for (mix, others) in [(vec![(1, 1.0)], vec![0, 1, 4, 5]), (vec![(0, 0.5), (2, 0.5)], vec![2, 3])] {
            let drawn: BTreeSet<usize> =
                (0..200).map(|_| latents().borrow(&[0.3, -0.7], &mix, &mut rng)[0] as usize).collect();
            assert_eq!(drawn.into_iter().collect::<Vec<_>>(), others, "{mix:?}");
        }
        // Where there is nobody else, somebody must do.
        let all = [(0, 0.4), (1, 0.3), (2, 0.3)];
        assert!(latents().borrow(&[0.0, 0.0], &all, &mut rng)[0] < 6.0);
    }

    #[test]
    fn a_morph_lies_between_the_identity_s_own() {
        let mut rng = Seeds::new(2).stream("morph", &[]);
        let drawn: Vec<Vec<f32>> = (0..200).map(|_| latents().morph(&[0.3, -0.7], &[(1, 1.0)], &mut rng)).collect();
        assert!(drawn.iter().all(|z| (2.0..=3.0).contains(&z[0]) && (z[1] - 10.0 * z[0]).abs() < 1e-4), "{drawn:?}");
        assert!(drawn.iter().any(|z| (2.2..2.8).contains(&z[0])));
        // A person none of whose posteriors is kept is no other person.
        let mut thinned = latents();
        thinned.persons.insert(3, vec![9.0, 90.0]);
        let drawn = thinned.morph(&[0.3, -0.7], &[(3, 1.0)], &mut rng);
        assert!(((drawn[0] - 9.0).abs() - 0.5).abs() < 1e-4 && (drawn[1] - 10.0 * drawn[0]).abs() < 1e-4, "{drawn:?}");
    }

    #[test]
    fn everybody_has_a_mean_where_few_posteriors_are_kept() {
        let config = RunConfig::preset(crate::config::Preset::Tiny);
        let (size, classes) = (config.image_size, 5);
        // Two images of each of five persons, of which one in four is kept: none of persons 1 and 3.
        let pixels = (0..10 * size * size * 3).map(|i| (i * 7919 % 251) as u8).collect();
        let names = (0..classes).map(|i| format!("{i}")).collect();
        let dataset = IdentityDataset::new(size, pixels, (0..10).map(|i| i / 2).collect(), names).unwrap();
        let state = super::super::State::new(&config, classes, &Device::Cpu).unwrap();
        let encoder = &state.model.encoder.as_ref().unwrap().net;
        let all: Vec<usize> = (0..10).collect();
        let (means, _) = super::super::encode(encoder, &dataset, &all, &Device::Cpu).unwrap();
        let z = config.model.latent_dim;
        let person = |l: usize| {
            (0..z).map(|i| f32::midpoint(means[2 * l * z + i], means[(2 * l + 1) * z + i])).collect::<Vec<_>>()
        };
        let kept = Latents {
            mean: vec![0.0; z],
            factor: vec![0.0; z * z],
            labels: vec![0, 2, 4],
            means: [0, 4, 8].iter().flat_map(|i| means[i * z..(i + 1) * z].to_vec()).collect(),
            deviations: vec![1.0; 3 * z],
            persons: BTreeMap::new(),
            of_all: false,
        };
        let latents = kept.of_all(encoder, &dataset, &Device::Cpu, &crate::progress::Silent).unwrap();
        let mut tensors = BTreeMap::new();
        latents.export(&mut tensors).unwrap();
        let latents = Latents::import(&mut tensors, z, classes).unwrap();
        assert!(tensors.is_empty());
        for (label, mean) in &latents.persons {
            let near = mean.iter().zip(person(*label as usize)).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(near, "person {label}");
        }
        assert_eq!(latents.persons.len(), classes);
    }
}
