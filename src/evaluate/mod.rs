//! What synthesized images are worth: recognisers trained with and without them, and the quality of the images as such, under a
//! recogniser of our own and, if one is given, a face network from outside.

pub mod comparison;
mod composite;
pub mod contamination;
pub mod distribution;
pub mod enrolment;
mod figures;
pub mod gain;
pub mod groups;
pub mod judges;
pub mod membership;
mod nearest;
pub mod outside;
pub mod quality;
pub mod statistics;
pub mod verification;

use crate::dataset::{IdentityDataset, View};
use crate::error::{Error, Result};
use crate::formats::Reader;
use crate::manifest::{DEFAULT_SET, keys};
use crate::sink::ledger;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::path::Path;

/// The synthetic images of a written dataset at some image size.
#[derive(Default)]
pub struct Synthetic {
    /// Those of identities of the training images, with their labels.
    pub existing: Option<IdentityDataset>,
    /// Those of new identities.
    pub new: Option<IdentityDataset>,
    /// Identities that the generator knew and the training images do not show; images made of them are left out.
    pub foreign: BTreeSet<String>,
}

impl Synthetic {
    /// Reads the images of `dataset` that belong to identities of `real`, which are of identity set `set`, or to mixes of them, at its image size.
    ///
    /// # Errors
    /// The dataset is damaged, has no such image, or is of another identity set alone.
    pub fn read(dataset: &Path, real: &IdentityDataset, set: &str) -> Result<Self> {
        let models = ledger::order(dataset)?.and_then(|order| order.models).unwrap_or_default();
        let sets = models.len();
        if let [model] = &models[..]
            && model.identity_set != set
            && ![set, &model.identity_set].contains(&DEFAULT_SET)
        {
            return Err(Error::Usage(format!(
                "{}: holds persons of identity set `{}`, not of `{set}`",
                dataset.display(),
                model.identity_set
            )));
        }
        let (mut existing, mut new, mut foreign) = (Vec::new(), Vec::new(), BTreeSet::new());
        Reader::open(dataset)?.read_all(|r| {
            // Keys are unique within a set alone.
            if sets > 1 && r.identity_set != set {
                return Ok(());
            }
            let sources: Vec<(String, f32)> = serde_json::from_str(&r.label_mix).unwrap_or_default();
            let unknown = |name: &String| keys::find(real.identities(), name).is_none();
            foreign.extend(sources.iter().map(|(name, _)| name).filter(|n| unknown(n)).cloned());
            if r.synthetic && !sources.is_empty() && !sources.iter().any(|(name, _)| unknown(name)) {
                let kind = if sources.len() == 1 { &mut existing } else { &mut new };
                kind.push((r.identity, r.image));
            }
            Ok(())
        })?;
        if existing.is_empty() && new.is_empty() {
            return Err(Error::Manifest(format!(
                "{}: holds no synthetic image of the manifest's identities",
                dataset.display()
            )));
        }
        let mut names: Vec<String> = new.iter().map(|(name, _)| name.clone()).collect();
        names.sort_by(|a, b| keys::compare(a, b));
        names.dedup();
        let decoded = |images: Vec<(String, Vec<u8>)>, names: &[String]| {
            (!images.is_empty()).then(|| decoded(&images, names, real.image_size(), dataset)).transpose()
        };
        Ok(Self { existing: decoded(existing, real.identities())?, new: decoded(new, &names)?, foreign })
    }
}

/// Encoded images of `identities` as a dataset.
fn decoded(
    images: &[(String, Vec<u8>)],
    identities: &[String],
    size: usize,
    dataset: &Path,
) -> Result<IdentityDataset> {
    let failed = |e: String| Error::Manifest(format!("{}: {e}", dataset.display()));
    let view = View::square(size);
    let pixels = images
        .par_iter()
        .map(|(_, bytes)| view.encoded(bytes))
        .collect::<std::result::Result<Vec<_>, String>>()
        .map_err(failed)?;
    let label = |(name, _): &(String, Vec<u8>)| {
        let at = keys::find(identities, name);
        at.map(|at| at as u32).ok_or_else(|| failed(format!("`{name}` is not what its label_mix says")))
    };
    let labels = images.iter().map(label).collect::<Result<Vec<_>>>()?;
    IdentityDataset::new(size, pixels.concat(), labels, identities.to_vec())
}
