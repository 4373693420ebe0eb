//! All images of a job are tried: which rows are unusable, and what the others hold.

use super::findings::{Looked, Seen};
use super::input::Source;
use super::walk::at;
use crate::dataset::{self, Contents, View};
use crate::error::{Error, Result};
use crate::manifest::rejects::{self, Reject};
use crate::progress::Progress;
use crate::store;
use std::path::Path;

impl Source {
    /// Tries all images: the rows that are unusable. They are written to `rejects_to`, if that is given.
    ///
    /// # Errors
    /// They are more than `max_bad` of all rows, or a set has no usable image.
    pub fn try_all(&self, view: View, rejects_to: Option<&Path>, progress: &mut dyn Progress) -> Result<Vec<Reject>> {
        self.survey(view, rejects_to, progress).map(|(rejected, _)| rejected)
    }

    /// [`Source::try_all`], and what the usable rows of each set hold.
    ///
    /// # Errors
    /// Those of [`Source::try_all`].
    pub(super) fn survey(
        &self,
        view: View,
        rejects_to: Option<&Path>,
        progress: &mut dyn Progress,
    ) -> Result<(Vec<Reject>, Vec<Contents>)> {
        let sets = self.sets();
        progress.note(&self.in_words());
        let mut contents: Vec<Contents> = sets.iter().map(|_| Contents::default()).collect();
        let mut seen = Seen::default();
        progress.start("try", self.to_read(&sets), "images");
        let selection = self.selection(&sets, true);
        let rejected = dataset::for_each_image(&self.manifest, &selection, view, at(progress), |row, pixels| {
            if let Ok(n) = sets.binary_search_by(|s| s.as_str().cmp(row.set())) {
                let identity = row.identity.as_deref().unwrap_or_default();
                contents[n].add(identity, pixels);
                seen.add(identity, Some(row.set()), None, &Looked::at(pixels, None, 1));
            }
        })?;
        progress.finish();
        let sizes: Vec<usize> = contents.iter().map(Contents::len).collect();
        self.judge(&rejected, &sets, &sizes, rejects_to, progress)?;
        seen.findings().warnings().iter().for_each(|line| progress.warn(line));
        Ok((rejected, contents))
    }

    /// Lists rejected rows, and refuses if they are too many or leave a set without an image.
    pub(super) fn judge(
        &self,
        rejected: &[Reject],
        sets: &[String],
        sizes: &[usize],
        rejects_to: Option<&Path>,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let rows = self.to_read(sets) as usize;
        if let Some(old) = rejects_to.filter(|path| path.exists()) {
            // The list of an earlier run says nothing of this one.
            store::remove(old)?;
        }
        if let Some(first) = rejected.first() {
            let list = match rejects_to {
                Some(path) => {
                    rejects::write(path, rejected)?;
                    path.display().to_string()
                }
                None => "a file beside the output by the run itself".into(),
            };
            if rejected.len() as f64 > self.max_bad * rows as f64 {
                let (rejected, first) = (rejected.len(), first.to_string());
                return Err(Error::TooManyRejects { rejected, rows, max_bad: self.max_bad, first, list });
            }
            progress.note(&format!("{} rows rejected, listed in {list}", rejected.len()));
        }
        match sizes.iter().position(|n| *n == 0) {
            Some(n) => Err(Error::Manifest(format!("{}: no usable image in identity set `{}`", self.spec, sets[n]))),
            None => Ok(()),
        }
    }
}
