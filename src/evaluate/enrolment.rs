//! What synthetic images are worth to a frozen face network: persons are enrolled from a few real images, with and without synthetic ones,
//! and other real images are identified among them.

use super::statistics::{bootstrap_interval, column_means, summary};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::recogniser::{Embeddings, dot};
use crate::seeds::Seeds;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::Serialize;

/// Rate of wrong acceptances at which right ones are counted.
const FAR: f64 = 1e-3;

/// Parts of [-1, 1] that similarities are counted in.
const PARTS: usize = 20_000;
/// Images that are compared between two of a thread's sums.
const PART: usize = 64;

/// The part of [-1, 1] that a similarity lies in.
fn part_of(similarity: f32) -> usize {
    (f64::from(similarity + 1.0) / 2.0 * PARTS as f64).clamp(0.0, PARTS as f64 - 1.0) as usize
}

/// Embeddings of images, of length 1, and the person of each.
pub struct Labelled<'a> {
    /// A row an image.
    pub embeddings: &'a Embeddings,
    /// Their persons.
    pub labels: &'a [u32],
}

impl Labelled<'_> {
    /// Images of each of `persons` persons.
    fn by_person(&self, persons: usize) -> Vec<Vec<usize>> {
        let mut rows = vec![Vec::new(); persons];
        self.labels.iter().enumerate().for_each(|(i, label)| rows[*label as usize].push(i));
        rows
    }
}

/// How an image is compared with an enrolled person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Template {
    /// With the mean of the person's embeddings.
    Mean,
    /// With the nearest of them.
    Nearest,
}

/// A share and its 95 % interval over persons.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Share {
    /// The share.
    pub value: f64,
    /// Its interval.
    pub ci95: (f64, f64),
}

impl Share {
    fn of(persons: &[f64]) -> Self {
        Self { value: summary(persons).mean, ci95: bootstrap_interval(persons) }
    }
}

/// Figures of one way to enrol.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Enrolment {
    /// Real images of each person; all, where it has fewer.
    pub shots: usize,
    /// How images are compared.
    pub template: Template,
    /// Share of images whose own person is the most similar, by real images alone.
    pub rank1_real: Share,
    /// The same with synthetic images added.
    pub rank1_both: Share,
    /// The difference, person by person.
    pub rank1_gain: Share,
    /// Share of images accepted as their person where one of a thousand others is, by real images alone.
    pub tar_real: Share,
    /// The same with synthetic images added.
    pub tar_both: Share,
    /// The difference, person by person.
    pub tar_gain: Share,
}

/// Shares of the probes of each person that has some.
struct Outcome {
    rank1: Vec<f64>,
    tar: Vec<f64>,
}

/// Enrols all persons of `real` from `shots` of their images, `draws` times with other ones, and identifies `probes`.
///
/// # Errors
/// `Stopped`; `Usage`: no probe shows a person of `real`.
pub fn measure(
    real: &Labelled,
    synthetic: &Labelled,
    probes: &Labelled,
    persons: usize,
    shots: &[usize],
    draws: usize,
    progress: &mut dyn Progress,
) -> Result<Vec<Enrolment>> {
    if probes.labels.is_empty() {
        return Err(Error::Usage("no image is left to identify".into()));
    }
    let values = [&real.embeddings.values[..], &synthetic.embeddings.values].concat();
    let all = Embeddings { size: real.embeddings.size, values };
    let (own, made) = (real.by_person(persons), synthetic.by_person(persons));
    // The images of each person, by draw `draw`: `n` real ones, and after them all synthetic ones.
    let enrolled = |n: usize, draw: usize, with_made: bool| -> Vec<Vec<usize>> {
        let of = |person: usize| {
            let mut rows = drawn(&own[person], n, person, draw);
            let more = if with_made { &made[person][..] } else { &[] };
            rows.extend(more.iter().map(|i| real.labels.len() + i));
            rows
        };
        (0..persons).map(of).collect()
    };
    let (mut found, mut done) = (Vec::new(), 0);
    progress.start("enrol", (2 * shots.len() * draws) as u64, "draws");
    for (n, template) in shots.iter().flat_map(|n| [(*n, Template::Mean), (*n, Template::Nearest)]) {
        let mut outcomes = [Vec::new(), Vec::new()];
        for draw in 0..draws {
            for (with_made, outcomes) in [false, true].into_iter().zip(&mut outcomes) {
                outcomes.push(identify(&all, &enrolled(n, draw, with_made), template, probes));
            }
            done += 1;
            progress.reached(done)?;
        }
        let figures = |f: fn(&Outcome) -> &Vec<f64>| {
            let mean = |outcomes: &[Outcome]| column_means(&outcomes.iter().map(|o| f(o).clone()).collect::<Vec<_>>());
            let [alone, both] = outcomes.each_ref().map(|outcomes| mean(outcomes));
            let gain: Vec<f64> = both.iter().zip(&alone).map(|(b, a)| b - a).collect();
            [&alone, &both, &gain].map(|shares| Share::of(shares))
        };
        let [rank1_real, rank1_both, rank1_gain] = figures(|o| &o.rank1);
        let [tar_real, tar_both, tar_gain] = figures(|o| &o.tar);
        found.push(Enrolment { shots: n, template, rank1_real, rank1_both, rank1_gain, tar_real, tar_both, tar_gain });
    }
    progress.finish();
    Ok(found)
}

/// `n` of a person's images, or all, by draw `draw`.
fn drawn(images: &[usize], n: usize, person: usize, draw: usize) -> Vec<usize> {
    let mut images = images.to_vec();
    images.shuffle(&mut Seeds::keyed(&[b"enrolment"]).stream("draws", &[person as u64, draw as u64]));
    images.truncate(n);
    images
}

/// Similarities of some probes to their own person and to the nearest other one, and how many of all to others lie in each part of [-1, 1].
type Compared = (Vec<(f32, f32)>, Vec<u64>);

/// Compares every probe with every person, who is enrolled from the rows `gallery` of `all`.
fn identify(all: &Embeddings, gallery: &[Vec<usize>], template: Template, probes: &Labelled) -> Outcome {
    let persons = gallery.len();
    let means: Vec<Vec<f32>> = gallery.iter().map(|rows| all.mean(rows.iter().copied())).collect();
    let score = |probe: &[f32], person: usize| match template {
        Template::Mean => dot(probe, &means[person]),
        Template::Nearest => gallery[person].iter().map(|i| dot(probe, all.row(*i))).fold(f32::MIN, f32::max),
    };
    let compare = |part: &[usize]| -> Compared {
        let (mut nearest, mut counts) = (Vec::new(), vec![0; PARTS]);
        for &i in part {
            let (row, label, mut largest) = (probes.embeddings.row(i), probes.labels[i] as usize, f32::MIN);
            for person in (0..persons).filter(|p| *p != label && !gallery[*p].is_empty()) {
                let other = score(row, person);
                largest = largest.max(other);
                counts[part_of(other)] += 1;
            }
            nearest.push((score(row, label), largest));
        }
        (nearest, counts)
    };
    let indices: Vec<usize> = (0..probes.labels.len()).collect();
    let parts: Vec<Compared> = indices.par_chunks(PART).map(compare).collect();
    let in_part = |part: usize| parts.iter().map(|(_, counts)| counts[part]).sum::<u64>();
    let accepted = (FAR * (0..PARTS).map(in_part).sum::<u64>() as f64) as u64;
    // The lowest part above which no more are accepted than may be.
    let (mut limit, mut above) = (PARTS - 1, 0);
    while limit > 0 && above + in_part(limit) <= accepted {
        above += in_part(limit);
        limit -= 1;
    }
    let (mut rank1, mut tar, mut count) = (vec![0.0; persons], vec![0.0; persons], vec![0usize; persons]);
    for ((own, other), label) in parts.iter().flat_map(|(nearest, _)| nearest).zip(probes.labels) {
        let label = *label as usize;
        count[label] += 1;
        rank1[label] += f64::from(u8::from(other < own));
        tar[label] += f64::from(u8::from(part_of(*own) > limit));
    }
    let shares = |sums: Vec<f64>| sums.into_iter().zip(&count).filter(|(_, n)| **n > 0).map(|(s, n)| s / *n as f64);
    Outcome { rank1: shares(rank1).collect(), tar: shares(tar).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn images_of_the_person_help_and_images_of_others_hurt() {
        // Persons lie on a circle; their images by the fourth axis to one side or the other.
        let persons = 12;
        let at = |person: usize, side: f32| {
            let angle = person as f32 * std::f32::consts::TAU / persons as f32;
            let v = [angle.cos(), angle.sin(), 0.0, side];
            let norm = dot(&v, &v).sqrt();
            v.map(|x| x / norm)
        };
        let embedded = |side: &dyn Fn(usize) -> f32, shift: usize| Embeddings {
            size: 4,
            values: (0..persons).flat_map(|p| at((p + shift) % persons, side(p))).collect(),
        };
        let labels: Vec<u32> = (0..persons as u32).collect();
        let with = |embeddings: &Embeddings| {
            // Half of the persons were photographed from one side, all are looked for from the other.
            let real = embedded(&|p| if p % 2 == 0 { 4.0 } else { -4.0 }, 0);
            let probes = embedded(&|_| -4.0, 0);
            let labelled = |embeddings| Labelled { embeddings, labels: &labels };
            let (real, made, probes) = (labelled(&real), labelled(embeddings), labelled(&probes));
            measure(&real, &made, &probes, persons, &[1], 2, &mut Silent).unwrap()
        };
        let figures = with(&embedded(&|_| -4.0, 0))[1];
        assert_eq!(figures.template, Template::Nearest);
        assert_eq!((figures.rank1_real.value, figures.rank1_both.value), (0.5, 1.0));
        assert!(figures.rank1_gain.ci95.0 > 0.0 && figures.tar_both.value >= figures.tar_real.value);
        assert!(with(&embedded(&|_| -4.0, 1))[1].rank1_gain.value < 0.0);
    }
}
