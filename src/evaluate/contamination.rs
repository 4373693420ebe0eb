//! What must be ruled out before a gain means anything: test persons or test images among the training images.

use super::comparison::Material;
use super::copies;
use crate::dataset::IdentityDataset;
use crate::error::Result;
use crate::progress::Progress;
use std::collections::BTreeSet;

/// Similarity (aligned pixels) of two photographs above which they are taken for the same photograph.
const SAME_PHOTOGRAPH: f32 = 0.985;
/// Findings that a message lists, at most.
const LISTED: usize = 5;

/// Looks for test persons and test images among the training images, by name, by equal pixels, and by pixels that are equal
/// after mirroring, cropping or a change of brightness; and for test persons that the generator knew. Returns what was
/// found, in words.
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
    let kinds =
        [("training", Some(real)), ("synthetic", material.existing.as_ref()), ("synthetic", material.new.as_ref())];
    for (kind, images) in kinds.into_iter().filter_map(|(kind, images)| Some((kind, images?))) {
        let equal = equal_images(test, images);
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
fn equal_images(test: &IdentityDataset, others: &IdentityDataset) -> Vec<usize> {
    let hash = |images: &IdentityDataset, i: usize| *blake3::hash(images.image(i)).as_bytes();
    let known: BTreeSet<[u8; 32]> = (0..others.len()).map(|i| hash(others, i)).collect();
    (0..test.len()).filter(|i| known.contains(&hash(test, *i))).collect()
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
