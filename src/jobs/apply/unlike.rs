//! Images that are unlike those of the training, by what the model makes of them: whole photographs, say, where it knows faces that are cut
//! out. They are treated, and told.

use crate::train::TrainedModel;
use crate::train::reconstruction::IMAGES;

/// Those found so far.
pub(super) struct Unlike {
    /// How far training images are from what the model makes of them, at most; none where nobody looked.
    largest: Option<f32>,
    /// How many images are further.
    pub count: usize,
    /// The first of them, and how far it is.
    first: Option<(String, f32)>,
}

impl Unlike {
    /// None yet, for `model`.
    pub fn to(model: &TrainedModel) -> Self {
        Self { largest: model.header.reconstruction, count: 0, first: None }
    }

    /// True if the model's file says how far its training images are.
    pub fn can_be_told(&self) -> bool {
        self.largest.is_some()
    }

    /// Adds those of `images`, each with its difference from what the model makes of it, that are further than training images.
    pub fn add<'a>(&mut self, images: impl Iterator<Item = (&'a str, f32)>) {
        let Some(largest) = self.largest else { return };
        for (name, difference) in images.filter(|(_, difference)| *difference > largest) {
            self.count += 1;
            self.first.get_or_insert_with(|| (name.to_owned(), difference));
        }
    }

    /// What to think of them and do, if there are any.
    pub fn advice(&self) -> Option<String> {
        let ((name, difference), largest) = (self.first.as_ref()?, self.largest?);
        Some(format!(
            "images unlike those of the training: {}, by what the model makes of them; {name}, the first, is off by {difference:.0} of 255 on \
             average, none of {IMAGES} training images by more than {largest:.0}. Their results are not to be trusted. Is the face where the \
             training images have it? `augment manifest` with option `detector`, and option `manifest` here, see to that",
            self.count
        ))
    }
}
