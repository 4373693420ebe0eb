//! Real images in a dataset: decoded and encoded again, so that no metadata of a photograph gets out.

use super::input::Source;
use super::write::Assembly;
use crate::dataset::decode::decode_source;
use crate::dataset::encode::{Origin, encode};
use crate::dataset::{Selection, View};
use crate::error::{Error, Result};
use crate::formats::Sample;
use crate::manifest::Row;
use crate::progress::Progress;
use crate::sink::Sink;
use crate::synthesize;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A row of the manifest with its picture encoded again.
type EncodedRow = Result<(Row, Vec<u8>)>;

/// Merges the `total` real images in.
pub(super) fn write(
    assembly: &Assembly,
    source: &Source,
    total: usize,
    config_hash: &str,
    sink: &mut Sink,
    progress: &mut dyn Progress,
) -> Result<()> {
    let (d, config, manifest_hash) = (assembly.destination, &assembly.config, &assembly.manifest_hash);
    let extension = d.extension();
    let view = View::new(d.output_size.unwrap_or(config.image_size), config.alignment);
    let mut labels: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for m in &assembly.models {
        for identity in &m.identities {
            labels.insert((&m.set, identity), labels.len() as i64);
        }
    }
    let rejected: BTreeSet<(&String, usize, usize)> =
        assembly.rejected.iter().map(|r| (&r.file, r.row, r.item)).collect();
    let changed = |what: &str| Error::Manifest(format!("{what}: changed while it was read; run again"));
    let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
    let mut done = 0;
    let missing = sink.missing();
    progress.start("copy real", total as u64, "images");
    let wanted = Selection { split: source.split.clone(), ..Selection::default() };
    let places = source.census.places(&source.sets(), false);
    source.manifest.read_places(true, Some(&places), |rows| {
        let encoded: Vec<EncodedRow> = rows
            .into_par_iter()
            .filter(|row| wanted.contains(row))
            .filter_map(|row| {
                if rejected.contains(&(&row.file, row.row, row.item)) {
                    return None;
                }
                let shown = if d.output_size.is_some() || view.aligns(&row) {
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
            let Some(&label) = labels.get(&(row.set(), identity.as_str())) else { continue };
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
                manifest_hash: manifest_hash.clone(),
            })?;
        }
        progress.at(done as u64);
        if progress.stop_requested() { Err(Error::Stopped) } else { Ok(()) }
    })?;
    progress.finish();
    if done != total {
        return Err(changed(&source.spec));
    }
    Ok(())
}
