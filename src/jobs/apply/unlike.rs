//! Images that are unlike those of the training, by what the model makes of them: whole photographs, say, where it knows faces that are cut
//! out. They are treated, and told.

use crate::train::TrainedModel;

/// A warning is worth its line where more than one of so many images is told: held-out images that are aligned are told now and then, too
/// (docs/experiments.md).
const RARE: usize = 10;

/// Those found so far.
pub(super) struct Unlike {
    /// How far training images are from what the model makes of them, at most.
    largest: f32,
    /// Images that were looked at.
    images: usize,
    /// How many of them are further.
    pub count: usize,
    /// The first of them, and how far it is.
    first: Option<(String, f32)>,
}

impl Unlike {
    /// None yet, if the file of `model` says how far its training images are.
    pub fn to(model: &TrainedModel) -> Option<Self> {
        model.header.reconstruction.map(|largest| Self { largest, images: 0, count: 0, first: None })
    }

    /// Looks at `images`, each with its difference from what the model makes of it.
    pub fn add<'a>(&mut self, images: impl Iterator<Item = (&'a str, f32)>) {
        for (name, difference) in images {
            self.images += 1;
            if difference > self.largest {
                self.count += 1;
                self.first.get_or_insert_with(|| (name.to_owned(), difference));
            }
        }
    }

    /// What to think of them and do, if there are more than a few.
    pub fn advice(&self) -> Option<String> {
        let ((name, difference), largest) = (self.first.as_ref()?, self.largest);
        if self.count * RARE <= self.images {
            return None;
        }
        Some(format!(
            "images unlike those of the training: {} of {}, by what the model makes of them; {name}, the first, is off by {difference:.1} of 255 on \
             average, training images by {largest:.1} at most. Their results may show what it knows in their place. Is the face where the training \
             images have it? `augment manifest` with option `detector`, and option `manifest` here, see to that",
            self.count, self.images
        ))
    }
}
