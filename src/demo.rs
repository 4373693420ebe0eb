//! The demonstration set: faces drawn from numbers alone, with identities and nuisances, as a Parquet manifest.
//!
//! An identity fixes face shape, skin, eyes, brows, nose, mouth, hair, beard, glasses and earrings; pose, expression, light, clothes
//! and background change from image to image, glasses come off, hats and scarves hide a part, and the camera is what it is: too dark, without
//! colours, unsharp, noisy. Nothing here is, or is derived from, a photograph.

mod face;

use crate::dataset::encode::{Origin, encode};
use crate::error::{Error, Result};
use crate::formats::table;
use crate::manifest::schema::{IDENTITY_SET, SPLIT};
use crate::manifest::{Columns, Manifest};
use crate::seeds::Seeds;
use crate::store;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use std::path::Path;
use std::sync::Arc;

/// One image in this many of an identity goes to the split `test`.
const TEST_EVERY: usize = 5;
/// Beside every so many identities there is another person, who is in the split `dev` alone.
const OTHERS_EVERY: usize = 2;

/// Numbers of other persons and of all images in a demonstration set of `identities` x `per_id` images.
pub fn size(identities: usize, per_id: usize) -> (usize, usize) {
    let others = identities / OTHERS_EVERY;
    (others, (identities + others) * per_id)
}

/// True if `path` is such a set.
pub fn is_drawn(path: &Path) -> bool {
    let first =
        Manifest::open(&path.to_string_lossy(), &Columns::default()).and_then(|m| Ok((m.first(1)?, m.columns())));
    first.is_ok_and(|(rows, columns)| {
        columns.starts_with(&["identity", "image", SPLIT].map(Into::into))
            && rows.iter().any(|r| r.identity.as_deref() == Some(&name(0)))
    })
}

/// Key of a drawn person.
fn name(number: usize) -> String {
    format!("person-{number:02}")
}

/// Draws `identities` x `per_id` images of side `size` and writes them as a manifest with the splits train
/// and test, and other persons in the split dev; the persons are divided among `sets` identity sets.
///
/// # Errors
/// Numbers that make no set, or a path that cannot be written.
pub fn write(path: &Path, (identities, sets): (usize, usize), per_id: usize, size: usize, seed: u64) -> Result<()> {
    if identities == 0 || per_id == 0 || !(8..=512).contains(&size) {
        return Err(Error::Usage("the demonstration set needs identities, images and a side of 8..=512 px".into()));
    }
    if !(1..=identities).contains(&sets) {
        return Err(Error::Usage(format!("option `sets` {sets} must lie between 1 and the {identities} identities")));
    }
    let seeds = Seeds::new(seed);
    let mut of_sets = Vec::new();
    let (mut names, mut images, mut paths, mut splits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let others = self::size(identities, per_id).0;
    for number in 0..identities + others {
        let other = number >= identities;
        for index in 0..per_id {
            let name = name(number);
            images.push(encode(&face::draw(number, index, size, &seeds)?, size, size, "png", Origin::Real)?);
            paths.push(format!("{name}/{index:03}.png"));
            let tested = index % TEST_EVERY == TEST_EVERY - 1;
            splits.push(if other {
                "dev"
            } else if tested {
                "test"
            } else {
                "train"
            });
            names.push(name);
            let (number, all) = if other { (number - identities, others) } else { (number, identities) };
            of_sets.push(format!("set-{:03}", number * sets / all));
        }
    }
    let names: ArrayRef = Arc::new(StringArray::from(names));
    let splits: ArrayRef = Arc::new(StringArray::from(splits));
    let failed = |e: &dyn std::fmt::Display| Error::Manifest(format!("{}: {e}", path.display()));
    let mut columns = vec![
        ("identity", names),
        ("image", table::image_column(&images, &paths).map_err(|e| failed(&e))?),
        (SPLIT, splits),
    ];
    if sets > 1 {
        columns.push((IDENTITY_SET, Arc::new(StringArray::from(of_sets))));
    }
    let batch = RecordBatch::try_from_iter(columns).map_err(|e| failed(&e))?;
    let mut bytes = Vec::new();
    let properties = table::writer_properties(&batch.schema());
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).map_err(|e| failed(&e))?;
    writer.write(&batch).map_err(|e| failed(&e))?;
    writer.close().map_err(|e| failed(&e))?;
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        store::create_dir(folder)?;
    }
    store::write_atomic(path, &bytes)
}
