//! A verification set: pairs of images in insightface's `.bin`, which trainings test themselves on.

use super::evaluate::Test;
use super::input::{Input, Source};
use super::material::{listed, of_split};
use super::splits::Splits;
use super::wanted::check_size;
use super::{Context, place};
use crate::config::Alignment;
use crate::dataset::View;
use crate::dataset::encode::{Origin, encode};
use crate::error::{Error, Result};
use crate::formats::bin;
use crate::formats::pairs::PairSet;
use crate::progress::Progress;
use crate::store;
use rayon::prelude::*;
use std::path::PathBuf;

/// What to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// The manifest of the images, or of persons whose columns are those of the images.
    pub input: Input,
    /// Which pairs; without one those of the manifest's split of other persons.
    pub test: Option<Test>,
    /// Pairs of each kind that are drawn from a split, at most.
    pub count: usize,
    /// Side of the images, in pixels.
    pub size: usize,
    /// What is shown of pictures whose rows say where their faces are.
    pub alignment: Alignment,
    /// The file to write.
    pub out: PathBuf,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Paired {
    /// The file.
    pub out: PathBuf,
    /// Pairs in it.
    pub pairs: usize,
    /// Those of one person.
    pub same: usize,
}

/// Writes the pairs in the order of their folds.
///
/// # Errors
/// A list or an image cannot be read, or the file cannot be written.
pub fn run(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Paired> {
    if request.out.extension().is_none_or(|e| e != bin::EXTENSION) {
        return Err(Error::Usage(format!("option `out` {} must name a .bin file", request.out.display())));
    }
    check_size("size", request.size)?;
    if request.out.exists() && bin::read(&request.out).is_err() {
        return Err(Error::Usage(format!(
            "{} is there already, and no verification set; name another file with option `out`",
            request.out.display()
        )));
    }
    store::create_dir(&place::usable(place::folder_of(&request.out))?)?;
    let source = Source::open(&request.input, context)?;
    let view = View::new(request.size, request.alignment);
    let test = match &request.test {
        Some(test) => Some(test.clone()),
        None => Splits::of(&source, &source.set_of("the pairs are of")?).of_others.map(Test::Split),
    };
    let test = test.ok_or_else(|| {
        Error::Usage(format!(
            "{}: no split shows other persons than the training rows alone; name one with option `pairs_from`, or a list with option `pairs`",
            source.spec
        ))
    })?;
    if let Test::Split(name) = &test
        && source.split.as_ref() == Some(name)
    {
        progress.warn(&format!("trainings learn from split `{name}`: pairs of its images tell nothing of strangers"));
    }
    let set = match &test {
        Test::List { pairs, images } => listed(pairs, images.as_deref(), &source, view, context)?,
        Test::Split(name) => {
            let sets = source.sets_in(Some(name));
            let [set] = &sets[..] else {
                let holds = if sets.is_empty() {
                    "no labelled row"
                } else {
                    "several identity sets; choose with option `identity_set`"
                };
                return Err(Error::Usage(format!("{}: split `{name}` holds {holds}", source.named())));
            };
            PairSet::draw(name, of_split(&source, set, name, view, progress)?, request.count)?
        }
    };
    let images: Vec<Vec<u8>> = (0..set.images.len())
        .into_par_iter()
        .map(|i| encode(set.images.image(i), request.size, request.size, "jpg", Origin::Real))
        .collect::<Result<_>>()?;
    bin::write(&request.out, set.pairs.iter().map(|p| (&images[p.left][..], &images[p.right][..], p.is_same)))?;
    let same = set.pairs.iter().filter(|p| p.is_same).count();
    Ok(Paired { out: request.out.clone(), pairs: set.pairs.len(), same })
}
