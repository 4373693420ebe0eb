//! All pairs of images that show one person, by their number: they are many, and none is held.

use crate::dataset::IdentityDataset;

/// The pairs of images of one person, by their number.
pub(super) struct Genuine<'a> {
    images: &'a IdentityDataset,
    /// Number of the first pair after those of each label.
    ends: Vec<usize>,
}

impl<'a> Genuine<'a> {
    /// Those of `images`.
    pub fn of(images: &'a IdentityDataset) -> Self {
        let mut end = 0;
        let ends = (0..images.identities().len() as u32).map(|label| {
            let n = images.images_of(label).len();
            end += n * n.saturating_sub(1) / 2;
            end
        });
        Self { images, ends: ends.collect() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Pair `number`: (0, 1), (0, 2), (1, 2), (0, 3) and so on of the images of each label.
    pub fn pair(&self, number: usize) -> (usize, usize) {
        let label = self.ends.partition_point(|end| *end <= number);
        let within = number - label.checked_sub(1).map_or(0, |before| self.ends[before]);
        let right = usize::midpoint(1, (1 + 8 * within).isqrt());
        let own = self.images.images_of(label as u32);
        (own[within - right * (right - 1) / 2], own[right])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_one_person_are_numbered() {
        // Images of three persons by turns; the first has four, the others three.
        let images = IdentityDataset::new(
            2,
            vec![0; 10 * 12],
            (0..10).map(|i| i % 3).collect(),
            (0..3).map(|i| format!("{i}")).collect(),
        )
        .unwrap();
        let genuine = Genuine::of(&images);
        let pairs: Vec<(usize, usize)> = (0..genuine.len()).map(|n| genuine.pair(n)).collect();
        let expected = [(0, 3), (0, 6), (3, 6), (0, 9), (3, 9), (6, 9), (1, 4), (1, 7), (4, 7), (2, 5), (2, 8), (5, 8)];
        assert_eq!(pairs, expected);
    }
}
