//! insightface's verification set, a `.bin`: a pickle of encoded images and of whether each two of them show one person.

use super::pickle::Pickle;
use crate::error::{Error, Result};
use crate::store;
use serde_pickle::{SerOptions, Value, value_to_vec};
use std::path::Path;

/// End of its name.
pub const EXTENSION: &str = "bin";
/// Bytes of images that a file may name, in multiples of its own.
const REPEATED: usize = 4;

/// Writes pairs of encoded images and whether they show one person.
///
/// # Errors
/// The file cannot be written.
pub fn write<'a>(path: &Path, pairs: impl Iterator<Item = (&'a [u8], &'a [u8], bool)>) -> Result<()> {
    let (mut images, mut same) = (Vec::new(), Vec::new());
    for (left, right, is_same) in pairs {
        images.extend([left, right].map(|image| Value::Bytes(image.to_vec())));
        same.push(Value::Bool(is_same));
    }
    let pickle = Value::Tuple(vec![Value::List(images), Value::List(same)]);
    let bytes = value_to_vec(&pickle, SerOptions::new()).map_err(|e| store::failed(path, &e))?;
    store::write_atomic(path, &bytes)
}

/// Encoded images, and whether each two of them show one person. Nothing is decoded.
///
/// # Errors
/// It is no such pickle: the message says what it holds.
pub fn read(path: &Path) -> Result<(Vec<Vec<u8>>, Vec<bool>)> {
    let failed = |m: String| Error::Manifest(format!("{}: {m}", path.display()));
    let file = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let no_pairs = |what: &str| failed(format!("not a pickle of (images, is_same): {what}"));
    let pickle = Pickle::read(&file).map_err(|e| no_pairs(&e))?;
    let parts = pickle.root().items().unwrap_or_default();
    let [images, same] = parts[..] else { return Err(no_pairs("it is no tuple of two")) };
    let images = images.items().ok_or_else(|| no_pairs("the first part is no list"))?;
    let same = same.truths().ok_or_else(|| no_pairs("the second part is no list of truth values"))?;
    if images.len() != 2 * same.len() || same.is_empty() {
        return Err(failed(format!("{} images do not make {} pairs", images.len(), same.len())));
    }
    let mut bytes = 0;
    let images: Vec<Vec<u8>> = images
        .into_iter()
        .enumerate()
        .map(|(i, value)| {
            let image = value.bytes().map_err(|e| failed(format!("image {i}: {e}")))?;
            bytes += image.len();
            // A pickle may name one image many times.
            if bytes > REPEATED * file.len() {
                return Err(failed("it names the same images over and over".into()));
            }
            Ok(image)
        })
        .collect::<Result<_>>()?;
    Ok((images, same))
}
