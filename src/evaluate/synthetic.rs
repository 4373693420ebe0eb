//! The images of a synthesized dataset as an evaluation needs them: all of them on the disk, for trainings to draw from, and some in
//! memory, to be looked at.

use super::figures::sample;
use crate::dataset::{IdentityDataset, Images, Stock, StockWriter, View};
use crate::error::{Error, Result};
use crate::formats::{Reader, table};
use crate::manifest::{DEFAULT_SET, keys};
use crate::progress::Progress;
use crate::sink::ledger;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Images that are decoded at a time.
const PART: usize = 256;

/// Synthetic images of one kind.
pub struct Made {
    /// All of them.
    pub all: Stock,
    /// Those that are looked at: about 4,000, the first of each identity, or of identities evenly spread over all.
    pub sample: IdentityDataset,
}

impl Made {
    /// The images `all`, of which some are looked at.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn new(all: Stock) -> Result<Self> {
        let sample = IdentityDataset::of(&all, &sample(all.catalogue()))?;
        Ok(Self { all, sample })
    }
}

/// The synthetic images of a written dataset at some image size.
#[derive(Default)]
pub struct Synthetic {
    /// Those of identities of the training images, with their labels.
    pub existing: Option<Stock>,
    /// Those of new identities.
    pub new: Option<Stock>,
    /// Identities that the generator knew and the training images do not show, with or without images here; images made of them are left out.
    pub foreign: BTreeSet<String>,
}

impl Synthetic {
    /// Reads the images of `dataset` that belong to identities of `real`, which are of identity set `set`, or to mixes of them, at its image
    /// size, onto the disk of the folder `scratch`.
    ///
    /// # Errors
    /// The dataset is damaged, has no such image, or is of another identity set alone; `Stopped`; the disk is full.
    pub fn read(
        dataset: &Path,
        real: &IdentityDataset,
        set: &str,
        scratch: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
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
        let kind = || Kind::new(dataset, scratch, real.image_size());
        let (mut existing, mut new) = (kind()?, kind()?);
        let (mut foreign, mut mixed) = (BTreeSet::new(), BTreeSet::new());
        progress.start("synthetic", ledger::rows(dataset) as u64, "images");
        let mut read = 0;
        Reader::open(dataset)?.read_all(|r| {
            read += 1;
            if read % PART as u64 == 0 {
                progress.reached(read)?;
            }
            // Keys are unique within a set alone.
            if sets > 1 && r.identity_set != set {
                return Ok(());
            }
            let sources: Vec<(String, f32)> = serde_json::from_str(&r.label_mix).unwrap_or_default();
            if sources.len() > 1 && !mixed.contains(&r.identity) {
                mixed.insert(r.identity.clone());
            }
            let unknown = |name: &String| keys::find(real.identities(), name).is_none();
            foreign.extend(sources.iter().map(|(name, _)| name).filter(|n| unknown(n)).cloned());
            if r.synthetic && !sources.is_empty() && !sources.iter().any(|(name, _)| unknown(name)) {
                let kind = if sources.len() == 1 { &mut existing } else { &mut new };
                kind.add(&r.identity, r.image)?;
            }
            Ok(())
        })?;
        progress.finish();
        if existing.is_empty() && new.is_empty() {
            return Err(Error::Manifest(format!(
                "{}: holds no synthetic image of the manifest's identities",
                dataset.display()
            )));
        }
        let names = new.names();
        if let Some(table) = ledger::tables(dataset)?.first() {
            let known = classes_of(table::classes(table)?, sets, set);
            foreign.extend(
                known.into_iter().filter(|name| !mixed.contains(name) && keys::find(real.identities(), name).is_none()),
            );
        }
        Ok(Self { existing: existing.finish(real.identities())?, new: new.finish(&names)?, foreign })
    }
}

/// The persons of identity set `set` among the `classes` of a dataset of so many sets.
fn classes_of(classes: Vec<String>, sets: usize, set: &str) -> Vec<String> {
    if sets <= 1 {
        return classes;
    }
    let before = table::class_name(sets, set, "");
    classes.iter().filter_map(|class| Some(class.strip_prefix(&before)?.to_owned())).collect()
}

/// Images of one kind on their way to the disk.
struct Kind<'a> {
    dataset: &'a Path,
    view: View,
    writer: StockWriter,
    /// Images that are not decoded yet.
    encoded: Vec<Vec<u8>>,
    /// Number of each identity by the first sight of it.
    numbers: BTreeMap<String, u32>,
    shown: Vec<u32>,
}

impl<'a> Kind<'a> {
    fn new(dataset: &'a Path, scratch: &Path, size: usize) -> Result<Self> {
        let (view, writer) = (View::square(size), StockWriter::new(scratch, size)?);
        Ok(Self { dataset, view, writer, encoded: Vec::new(), numbers: BTreeMap::new(), shown: Vec::new() })
    }

    fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    fn failed(&self, what: &str) -> Error {
        Error::Manifest(format!("{}: {what}", self.dataset.display()))
    }

    fn add(&mut self, identity: &str, image: Vec<u8>) -> Result<()> {
        let next = self.numbers.len() as u32;
        let number = match self.numbers.get(identity) {
            Some(known) => *known,
            None => *self.numbers.entry(identity.to_owned()).or_insert(next),
        };
        self.shown.push(number);
        self.encoded.push(image);
        if self.encoded.len() == PART { self.write() } else { Ok(()) }
    }

    /// Decodes what is waiting.
    fn write(&mut self) -> Result<()> {
        let decoded: std::result::Result<Vec<_>, String> =
            self.encoded.par_iter().map(|bytes| self.view.encoded(bytes)).collect();
        self.encoded.clear();
        decoded.map_err(|e| self.failed(&e))?.iter().try_for_each(|image| self.writer.add(image))
    }

    /// Identities in the order of their keys.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.numbers.keys().cloned().collect();
        names.sort_by(|a, b| keys::compare(a, b));
        names
    }

    /// The images as those of `identities`.
    fn finish(mut self, identities: &[String]) -> Result<Option<Stock>> {
        if self.is_empty() {
            return Ok(None);
        }
        self.write()?;
        let mut labels = vec![0; self.numbers.len()];
        for (name, number) in &self.numbers {
            let at = keys::find(identities, name);
            let unknown = || self.failed(&format!("`{name}` is not what its label_mix says"));
            labels[*number as usize] = at.ok_or_else(unknown)? as u32;
        }
        let labels = self.shown.iter().map(|number| labels[*number as usize]).collect();
        self.writer.finish(labels, identities.to_vec()).map(Some)
    }
}
