//! One walk over the images of a source.

use super::findings::Seen;
use super::input::Source;
use crate::dataset::{self, IdentityDataset, Selection, View};
use crate::error::{Error, Result};
use crate::manifest::rejects::Reject;
use crate::progress::Progress;
use std::path::Path;

/// Bytes of pixels that are held at a time, about: identity sets that fill more are read in several passes.
pub(super) const HELD: usize = 2 << 30;

impl Source {
    /// Decodes the images of the sets and hands each set to `f` in turn. Before that all are tried, as in [`Source::try_all`], whose
    /// rejected rows are returned. One pass over the row groups that the sets need serves as many sets as memory holds.
    ///
    /// # Errors
    /// Those of [`Source::try_all`] and of `f`.
    pub fn for_each_set(
        &self,
        view: View,
        rejects_to: &Path,
        progress: &mut dyn Progress,
        mut f: impl FnMut(&str, IdentityDataset, &mut dyn Progress) -> Result<()>,
    ) -> Result<Vec<Reject>> {
        let sets = self.sets();
        let held = |set: &String| self.count(set).1 * view.size() * view.size() * 3;
        let mut passes: Vec<(usize, Vec<String>)> = Vec::new();
        for set in &sets {
            match passes.last_mut().filter(|(bytes, _)| bytes + held(set) <= self.held) {
                Some((bytes, pass)) => {
                    *bytes += held(set);
                    pass.push(set.clone());
                }
                None => passes.push((held(set), vec![set.clone()])),
            }
        }
        if let [(_, all)] = &passes[..] {
            progress.note(&self.in_words());
            let (datasets, rejected) = self.load(all, true, view, progress)?;
            let sizes: Vec<usize> = datasets.iter().map(IdentityDataset::len).collect();
            self.judge(&rejected, &sets, &sizes, Some(rejects_to), progress)?;
            let mut seen = Seen::default();
            sets.iter().zip(&datasets).for_each(|(set, dataset)| seen.add_all(set, dataset));
            seen.findings().warnings().iter().for_each(|line| progress.warn(line));
            for (set, dataset) in sets.iter().zip(datasets) {
                f(set, dataset, progress)?;
            }
            return Ok(rejected);
        }
        let rejected = self.try_all(view, Some(rejects_to), progress)?;
        for (_, pass) in passes {
            let (datasets, _) = self.load(&pass, false, view, progress)?;
            for (set, dataset) in pass.iter().zip(datasets) {
                f(set, dataset, progress)?;
            }
        }
        Ok(rejected)
    }

    /// The images of the only set, and the rows that were rejected.
    ///
    /// # Errors
    /// Those of [`Source::for_each_set`].
    pub(super) fn only_set(
        &self,
        view: View,
        rejects_to: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(IdentityDataset, Vec<Reject>)> {
        let mut loaded = None;
        let rejected = self.for_each_set(view, rejects_to, progress, |_, dataset, _| {
            loaded = Some(dataset);
            Ok(())
        })?;
        let loaded = loaded.ok_or_else(|| Error::Manifest(format!("{}: no image", self.spec)))?;
        Ok((loaded, rejected))
    }

    /// The usable images of `set`, which was read before.
    ///
    /// # Errors
    /// The manifest cannot be read.
    pub(super) fn load_set(&self, set: &str, view: View, progress: &mut dyn Progress) -> Result<IdentityDataset> {
        let (mut datasets, _) = self.load(&[set.to_owned()], false, view, progress)?;
        datasets.pop().ok_or_else(|| Error::Manifest(format!("{}: no image in identity set `{set}`", self.spec)))
    }

    /// The rows of `sets`, and those without identity if `unlabelled`.
    pub(super) fn selection(&self, sets: &[String], unlabelled: bool) -> Selection {
        let places = Some(self.census.places(sets, unlabelled));
        let (split, alone) = (self.split.clone(), self.identity_set.clone());
        Selection { split, sets: Some(sets.to_vec()), unlabelled, alone, places }
    }

    /// Decodes the images of some sets in one pass.
    fn load(
        &self,
        sets: &[String],
        unlabelled: bool,
        view: View,
        progress: &mut dyn Progress,
    ) -> Result<(Vec<IdentityDataset>, Vec<Reject>)> {
        let rows = if unlabelled { self.to_read(sets) } else { sets.iter().map(|s| self.count(s).1 as u64).sum() };
        progress.start("read", rows, "images");
        let selection = self.selection(sets, unlabelled);
        let expected: Vec<_> = sets.iter().map(|set| (set.as_str(), self.count(set).1)).collect();
        let loaded = dataset::load_sets(&self.manifest, &selection, &expected, view, at(progress))?;
        progress.finish();
        Ok(loaded)
    }

    /// Rows of `sets`, and those without identity.
    pub(super) fn to_read(&self, sets: &[String]) -> u64 {
        let labelled: usize = sets.iter().map(|s| self.count(s).1).sum();
        (labelled + self.unlabelled()) as u64
    }
}

/// Tells `progress` how many images are handled, and ends the reading where a stop is asked for.
pub(super) fn at(progress: &mut dyn Progress) -> impl FnMut(usize) -> Result<()> {
    |n| progress.reached(n as u64)
}
