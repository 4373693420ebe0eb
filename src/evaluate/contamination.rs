//! What must be ruled out before a gain means anything: test persons or test images among the training images.

use super::comparison::Material;
use super::figures::{present, quantile};
use super::measures::NATURAL;
use super::nearest::nearest_of;
use crate::dataset::{IdentityDataset, Images};
use crate::error::Result;
use crate::progress::Progress;
use crate::recogniser::copies;
use crate::recogniser::{Embeddings, class_means};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Similarity (aligned pixels) of two photographs above which they are taken for the same photograph.
const SAME_PHOTOGRAPH: f32 = 0.985;
/// The same of two whose embeddings are nearer to each other than those of different persons.
const ALIKE: f32 = 0.85;
/// Cosine of mean embeddings below which two persons never count as one.
const SAME_PERSON: f64 = 0.9;
/// Images of a test person that its mean embedding takes.
const PERSON_IMAGES: usize = 4;
/// Training identities from which on [`find_by_embedding`] is to be believed: embeddings of strangers fall beside those of known
/// persons where a recogniser knows only a few.
pub const ENOUGH_IDENTITIES: usize = 100;
/// Findings that a message lists, at most.
const LISTED: usize = 5;
/// Images between two looks at whether to stop.
const LOOK: usize = 4096;

/// Looks for test persons and test images among the training images, by name, by equal pixels, and by pixels that are equal
/// after mirroring, cropping or a change of brightness; and for test persons that the generator knew. Returns what was
/// found, in words.
///
/// # Errors
/// `Stopped`.
pub fn find(material: &Material, progress: &mut dyn Progress) -> Result<Vec<String>> {
    let (test, real) = (&material.test.images, &material.real);
    let mut found = Vec::new();
    let shared = shared_names(test.identities(), real.identities().iter());
    if !shared.is_empty() {
        found.push(format!("{} test persons are among the training identities: {}", shared.len(), listed(&shared)));
    }
    let known = shared_names(test.identities(), material.foreign.iter());
    if !known.is_empty() {
        found.push(format!("the generator was trained on {} test persons: {}", known.len(), listed(&known)));
    }
    let made = [&material.existing, &material.new].into_iter().flatten();
    let made = made.map(|made| ("synthetic", &made.all as &dyn Images));
    for (kind, images) in std::iter::once(("training", real as &dyn Images)).chain(made) {
        let equal = equal_images(test, images, progress)?;
        if !equal.is_empty() {
            let persons: Vec<&str> = equal.iter().map(|i| name(test, *i)).collect();
            found.push(format!("{} test images are {kind} images: of {}", equal.len(), listed(&persons)));
        }
    }
    progress.start("contamination", real.len() as u64, "training images");
    let nearest = copies::search(test, real, progress)?;
    progress.finish();
    let near: Vec<&str> = (0..test.len())
        .filter(|i| nearest[*i].similarity > SAME_PHOTOGRAPH && test.image(*i) != real.image(nearest[*i].index))
        .map(|i| name(test, i))
        .collect();
    if !near.is_empty() {
        found.push(format!(
            "{} test images are nearly equal to training images (mirrored, cropped, darker or lighter): of {}",
            near.len(),
            listed(&near)
        ));
    }
    Ok(found)
}

/// Looks for test images that are training photographs, and test persons that are training persons, whatever their names, by what one network
/// makes of both: `tested` and `training`. Returns what was found, in words.
///
/// # Errors
/// `Stopped`; shapes that do not fit together, or too little memory.
pub fn find_by_embedding(
    material: &Material,
    tested: &Embeddings,
    training: &Embeddings,
    progress: &mut dyn Progress,
) -> Result<Vec<String>> {
    let (test, real) = (&material.test.images, &material.real);
    let mut found = Vec::new();
    let copied = copied_images((test, tested), (real, training), progress)?;
    if !copied.is_empty() {
        let persons: Vec<&str> = copied.iter().map(|i| name(test, *i)).collect();
        found.push(format!("{} test images look like training images: of {}", copied.len(), listed(&persons)));
    }
    let renamed = renamed_persons((test, tested), (real, training), progress)?;
    if !renamed.is_empty() {
        let persons =
            renamed.iter().map(|(l, k)| format!("{} (like {})", test.identities()[*l], real.identities()[*k]));
        let persons: Vec<String> = persons.collect();
        let listed = listed(&persons.iter().map(String::as_str).collect::<Vec<_>>());
        found.push(format!("{} test persons look like training persons of another name: {listed}", persons.len()));
    }
    Ok(found)
}

/// Images and their embeddings.
type Embedded<'a> = (&'a IdentityDataset, &'a Embeddings);

/// Images of `test` that show a photograph of `real`, also shifted, turned, blurred or in other light: the embedding is nearer to
/// a training image than nearly all images of different persons are to each other, and the aligned pixels are alike.
fn copied_images(
    (test, tested): Embedded,
    (real, training): Embedded,
    progress: &mut dyn Progress,
) -> Result<Vec<usize>> {
    let mut strangers = |stage, (images, e): Embedded| -> Result<f64> {
        let nearest = nearest_of(stage, e, e, |i, j| images.labels()[i] != images.labels()[j], progress)?;
        Ok(quantile(nearest.into_iter().map(|(_, cosine)| cosine).collect(), NATURAL).unwrap_or(1.0))
    };
    let of_training = strangers("strangers (training)", (real, training))?;
    let limit = of_training.max(strangers("strangers (test)", (test, tested))?);
    let nearest = nearest_of("contamination (images)", tested, training, |_, _| true, progress)?;
    let is_copy = |i: &usize| {
        let (j, cosine) = nearest[*i];
        cosine > limit && copies::similarity(test, *i, real, j) > ALIKE
    };
    Ok((0..test.len()).into_par_iter().filter(is_copy).collect())
}

/// Labels of persons of `test` with several images, each with that of the person of `real` it seems to be: the mean embedding has
/// come at least half of the way from the two most similar persons of different names to one and the same.
fn renamed_persons(
    (test, tested): Embedded,
    (real, training): Embedded,
    progress: &mut dyn Progress,
) -> Result<Vec<(usize, usize)>> {
    let persons = |(images, e): Embedded, least: usize| -> (Vec<usize>, Embeddings) {
        let labels = present(images).map(|l| l as usize).filter(|l| images.images_of(*l as u32).len() >= least);
        let labels: Vec<usize> = labels.collect();
        let means = class_means(e, images);
        let values = labels.iter().flat_map(|l| means.row(*l)).copied().collect();
        (labels, Embeddings { size: means.size, values })
    };
    let mut strangers = |stage, e: &Embeddings| -> Result<f64> {
        let nearest = nearest_of(stage, e, e, |i, j| i != j, progress)?;
        Ok(nearest.into_iter().map(|(_, cosine)| cosine).fold(-1.0, f64::max))
    };
    let (known, known_means) = persons((real, training), 1);
    let (several, means) = persons((test, tested), PERSON_IMAGES);
    let nearest_strangers = strangers("persons (training)", &known_means)?.max(strangers("persons (test)", &means)?);
    let limit = SAME_PERSON.max(f64::midpoint(1.0, nearest_strangers));
    let nearest = nearest_of("contamination (persons)", &means, &known_means, |_, _| true, progress)?;
    let same = several.into_iter().zip(nearest).filter(|(_, (_, cosine))| *cosine > limit);
    Ok(same.map(|(label, (k, _))| (label, known[k])).collect())
}

/// Those of `names` that are among `others`, whatever their case, spaces and punctuation.
fn shared_names<'a>(names: &'a [String], others: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let others: BTreeSet<String> = others.map(|n| plain(n)).collect();
    names.iter().filter(|n| others.contains(&plain(n))).map(String::as_str).collect()
}

/// A name in lower case without spaces and punctuation, unless these part two numbers, or are all there is.
fn plain(name: &str) -> String {
    let (mut plain, mut parted) = (String::new(), false);
    for c in name.chars() {
        if !c.is_alphanumeric() {
            parted = true;
            continue;
        }
        if parted && c.is_numeric() && plain.ends_with(char::is_numeric) {
            plain.push('-');
        }
        plain.extend(c.to_lowercase());
        parted = false;
    }
    if plain.is_empty() { name.to_owned() } else { plain }
}

fn name(images: &IdentityDataset, i: usize) -> &str {
    &images.identities()[images.labels()[i] as usize]
}

/// The first names, and how many more there are.
fn listed(names: &[&str]) -> String {
    let unique: Vec<&str> = names.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let first = unique.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
    if unique.len() > LISTED { format!("{first} and {} more", unique.len() - LISTED) } else { first }
}

/// Indices of the images of `test` whose pixels are those of one of `others`.
fn equal_images(test: &IdentityDataset, others: &dyn Images, progress: &mut dyn Progress) -> Result<Vec<usize>> {
    let mut tested: BTreeMap<[u8; 32], Vec<usize>> = BTreeMap::new();
    for i in 0..test.len() {
        tested.entry(*blake3::hash(test.image(i)).as_bytes()).or_default().push(i);
    }
    let mut equal = BTreeSet::new();
    progress.start("equal images", others.catalogue().len() as u64, "images");
    for i in 0..others.catalogue().len() {
        if i % LOOK == 0 {
            progress.reached(i as u64)?;
        }
        equal.extend(tested.get(blake3::hash(&others.read(i)?).as_bytes()).into_iter().flatten().copied());
    }
    progress.finish();
    Ok(equal.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_and_punctuation() {
        let shared = |a: &str, b: &str| !shared_names(&[a.to_owned()], [b.to_owned()].iter()).is_empty();
        assert!(shared("Ada_Lovelace", "ada lovelace") && shared("No. 7", "no-7") && shared("p1_12", "P1 12"));
        assert!(!shared("p1_12", "p11_2") && !shared("--", "..") && shared("--", "--"));
    }
}
