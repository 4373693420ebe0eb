//! Real images in a dataset: decoded and encoded again, so that no metadata of a photograph gets out.

use super::input::Source;
use crate::dataset::View;
use crate::dataset::decode::decode_source;
use crate::dataset::encode::{Origin, encode};
use crate::error::{Error, Result};
use crate::formats::Sample;
use crate::manifest::Row;
use crate::manifest::rejects::Reject;
use crate::progress::Progress;
use crate::sink::Sink;
use crate::synthesize;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A row of the manifest with its picture encoded again.
type EncodedRow = Result<(Row, Vec<u8>)>;

/// The real images of a dataset, which stand before all others.
pub(super) struct RealImages<'a> {
    pub source: &'a Source,
    /// Rows of it that were rejected.
    pub rejected: &'a [Reject],
    /// How many the others are.
    pub total: usize,
    /// Label of every identity of a set.
    pub labels: BTreeMap<(&'a str, &'a str), i64>,
    /// What is shown of pictures whose rows say where their faces are.
    pub view: View,
    /// Whether all are as large as the view; else those that are not aligned keep their own size.
    pub sized: bool,
    /// `jpg` or `png`.
    pub extension: &'static str,
    pub config_hash: &'a str,
}

impl RealImages<'_> {
    /// Writes what `sink` lacks of them.
    ///
    /// # Errors
    /// The manifest changed since it was looked at; a file cannot be written.
    pub fn write(&self, sink: &mut Sink, progress: &mut dyn Progress) -> Result<()> {
        let Self { source, total, view, extension, config_hash, .. } = *self;
        let manifest_hash = source.manifest.hash();
        let rejected: BTreeSet<(&String, usize, usize)> =
            self.rejected.iter().map(|r| (&r.file, r.row, r.item)).collect();
        let changed = |what: &str| Error::Manifest(format!("{what}: changed while it was read; run again"));
        let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
        let mut done = 0;
        let missing = sink.missing();
        progress.start("copy real", total as u64, "images");
        let wanted = source.selection(&source.sets(), false);
        source.manifest.read_places(true, wanted.places.as_ref(), |rows| {
            let encoded: Vec<EncodedRow> = rows
                .into_par_iter()
                .filter(|row| wanted.contains(row))
                .filter_map(|row| {
                    if rejected.contains(&(&row.file, row.row, row.item)) {
                        return None;
                    }
                    let shown = if self.sized || view.aligns(&row) {
                        view.row(&row).map(|pixels| (pixels, view.size(), view.size()))
                    } else {
                        let whole = decode_source(&row.image);
                        whole.map(|image| {
                            let (w, h) = (image.width() as usize, image.height() as usize);
                            (image.into_raw(), w, h)
                        })
                    };
                    Some(match shown {
                        // A row that was fine must be fine, or all that follow it would get other places.
                        Err(e) => Err(changed(&format!("{} row {}: {e}", row.file, row.row))),
                        Ok((pixels, w, h)) => encode(&pixels, w, h, extension, Origin::Real).map(|bytes| (row, bytes)),
                    })
                })
                .collect();
            for row in encoded {
                let (row, image) = row?;
                let identity = row.identity.clone().unwrap_or_default();
                let Some(&label) = self.labels.get(&(row.set(), identity.as_str())) else { continue };
                let number = counts.entry(label).or_default();
                let (index, at) = (*number, done);
                *number += 1;
                done += 1;
                if !missing.contains(at) {
                    continue;
                }
                let parts = ["real", manifest_hash, row.set(), &identity, &index.to_string()];
                sink.write(Sample {
                    image,
                    extension,
                    label,
                    identity_set: row.set().to_owned(),
                    sample_id: synthesize::sample_id(&parts),
                    identity,
                    synthetic: false,
                    seed: 0,
                    index,
                    label_mix: "[]".into(),
                    latent: String::new(),
                    truncation: 0.0,
                    model_hash: String::new(),
                    config_hash: config_hash.to_owned(),
                    manifest_hash: manifest_hash.to_owned(),
                })?;
            }
            progress.reached(done as u64)
        })?;
        progress.finish();
        if done != total {
            return Err(changed(&source.spec));
        }
        Ok(())
    }
}
