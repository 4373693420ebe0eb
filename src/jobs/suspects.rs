//! Images whose label is in doubt: a judge finds them nearer to another person than to their own.

use crate::error::Result;
use crate::manifest::rejects::Reject;
use crate::progress::Progress;
use crate::recogniser::dot;
use crate::sources::Place;
use rayon::prelude::*;

/// Images that are compared between two looks at the progress.
const PART: usize = 4096;

/// What the judge sees in every image.
#[derive(Default)]
pub(super) struct Suspects {
    persons: Vec<u32>,
    places: Vec<Place>,
    embeddings: Vec<Vec<f32>>,
}

impl Suspects {
    /// Adds an image of person `person` and its embedding, of length 1.
    pub fn add(&mut self, person: u32, embedding: Vec<f32>, place: Place) {
        self.persons.push(person);
        self.places.push(place);
        self.embeddings.push(embedding);
    }

    /// The images whose similarity to the mean of another person is larger than to the mean of the other images of their own, the largest
    /// difference first. A person of one image has nothing to be compared with. Persons are called by `names`.
    ///
    /// # Errors
    /// `Stopped`.
    pub fn find(&self, names: &[String], progress: &mut dyn Progress) -> Result<Vec<Reject>> {
        let size = self.embeddings.first().map_or(0, Vec::len);
        let (mut sums, mut counts) = (vec![0f32; names.len() * size], vec![0usize; names.len()]);
        for (i, person) in self.persons.iter().enumerate() {
            let sum = &mut sums[*person as usize * size..][..size];
            sum.iter_mut().zip(&self.embeddings[i]).for_each(|(s, v)| *s += v);
            counts[*person as usize] += 1;
        }
        let lengths: Vec<f32> =
            sums.chunks_exact(size.max(1)).map(|sum| dot(sum, sum).sqrt().max(f32::EPSILON)).collect();
        let sum_of = |person: usize| &sums[person * size..][..size];
        let doubt = |i: usize| {
            let (own, row) = (self.persons[i] as usize, &self.embeddings[i]);
            if counts[own] < 2 {
                return None;
            }
            let rest: Vec<f32> = sum_of(own).iter().zip(row).map(|(s, v)| s - v).collect();
            let to_own = dot(&rest, row) / dot(&rest, &rest).sqrt().max(f32::EPSILON);
            let others = (0..names.len()).filter(|person| *person != own);
            let similar = others.map(|person| (dot(sum_of(person), row) / lengths[person], person));
            let (to_other, other) = similar.max_by(|a, b| a.0.total_cmp(&b.0))?;
            (to_other > to_own).then_some((i, to_own, to_other, other))
        };
        progress.start("labels", self.persons.len() as u64, "images");
        let mut found = Vec::new();
        for start in (0..self.persons.len()).step_by(PART) {
            let end = (start + PART).min(self.persons.len());
            found.extend((start..end).into_par_iter().filter_map(doubt).collect::<Vec<_>>());
            progress.reached(end as u64)?;
        }
        progress.finish();
        found.sort_by(|a, b| (b.2 - b.1).total_cmp(&(a.2 - a.1)).then(a.0.cmp(&b.0)));
        let listed = found.into_iter().map(|(i, to_own, to_other, other)| {
            let (file, row, item) = self.places[i].clone();
            let own = &names[self.persons[i] as usize];
            let reason = format!(
                "labelled `{own}`, like whose other images it is by {to_own:.2}; like those of `{}` by {to_other:.2}",
                names[other]
            );
            Reject { file, row, item, reason, path: None }
        });
        Ok(listed.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn an_image_among_the_wrong_person_s_is_found() {
        let mut suspects = Suspects::default();
        let near = |x: f32, y: f32| [x / (x * x + y * y).sqrt(), y / (x * x + y * y).sqrt()];
        // Persons along the axes; the third image of `a` belongs to `b`, and the only one of `c` cannot be told.
        let images = [
            (0, near(1.0, 0.1)),
            (0, near(1.0, 0.0)),
            (0, near(0.1, 1.0)),
            (1, near(0.0, 1.0)),
            (1, near(0.1, 1.0)),
            (2, near(-1.0, 0.2)),
        ];
        for (i, (person, embedding)) in images.iter().enumerate() {
            suspects.add(*person, embedding.to_vec(), ("list.csv".into(), i, 0));
        }
        let found = suspects.find(&["a", "b", "c"].map(String::from), &mut Silent).unwrap();
        assert_eq!(found.iter().map(|r| r.row).collect::<Vec<_>>(), [2], "{found:?}");
        assert!(found[0].reason.contains("labelled `a`") && found[0].reason.contains("`b`"), "{}", found[0].reason);
        assert!(Suspects::default().find(&[], &mut Silent).unwrap().is_empty());
    }
}
