//! What a manifest holds, in tables.

#![allow(deprecated, reason = "eager aggregations: the lazy engine takes minutes to compile")]

use super::Context;
use super::findings::{Findings, Looked, Seen};
use super::input::{Input, Source};
use crate::config::Alignment;
use crate::dataset::View;
use crate::dataset::decode::read_source;
use crate::error::{Error, Result};
use crate::manifest::Row;
use crate::manifest::rejects::Reject;
use crate::progress::Progress;
use polars::prelude::*;
use rayon::prelude::*;
use serde::Serialize;

/// What to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// The manifest; all its splits are shown.
    pub input: Input,
    /// What of a picture is shown whose row says where its face is.
    pub alignment: Alignment,
    /// Identities to list.
    pub top: usize,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The manifest.
    pub manifest: String,
    /// blake3 (hex) of it.
    pub manifest_hash: String,
    /// Its rows.
    pub rows: usize,
    /// Rows without identity.
    pub unlabelled: usize,
    /// Every set and split.
    pub sets: Vec<SetRow>,
    /// The identities with most images over all splits.
    pub identities: Vec<IdentityRow>,
    /// What should be known of the images.
    pub findings: Findings,
    /// Rows that cannot be used, and the first of them.
    pub unusable: (usize, Option<Reject>),
}

/// Identities and images of a set and split.
#[derive(Clone, Debug, Serialize)]
pub struct SetRow {
    /// Identity set.
    pub set: String,
    /// Split; empty without one.
    pub split: String,
    /// Number of identities.
    pub identities: u64,
    /// Number of images.
    pub images: u64,
    /// Fewest images of an identity.
    pub min: u64,
    /// Median of them.
    pub median: f64,
    /// Most images of an identity.
    pub max: u64,
}

/// An identity.
#[derive(Clone, Debug, Serialize)]
pub struct IdentityRow {
    /// Identity set.
    pub set: String,
    /// Its key.
    pub identity: String,
    /// Its images.
    pub images: u64,
}

/// Counts what the manifest holds, and looks at the head of every image.
///
/// # Errors
/// The manifest cannot be read.
pub fn run(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Inspected> {
    let source = Source::open(&request.input, context)?;
    let (findings, unusable) = look_at_all(&source, request.alignment, progress)?;
    let failed = |e: PolarsError| Error::Manifest(format!("{}: table: {e}", source.spec));
    let table = frame(&source).map_err(failed)?;
    Ok(Inspected {
        sets: set_rows(&table).map_err(failed)?,
        identities: identity_rows(&table, request.top).map_err(failed)?,
        manifest: source.spec.clone(),
        manifest_hash: source.manifest.hash().to_owned(),
        rows: source.manifest.rows(),
        unlabelled: source.census.unlabelled.values().sum(),
        findings,
        unusable,
    })
}

/// What should be known of the images of `source`, the number of rows that cannot be used, and the first of them.
fn look_at_all(
    source: &Source,
    alignment: Alignment,
    progress: &mut dyn Progress,
) -> Result<(Findings, (usize, Option<Reject>))> {
    let (mut seen, mut unusable, mut first, mut done) = (Seen::default(), 0, None, 0);
    progress.start(
        "look",
        source.census.images.values().chain(source.census.unlabelled.values()).sum::<usize>() as u64,
        "images",
    );
    let view = View::new(0, alignment);
    let look = |row: &Row| {
        let bytes = read_source(&row.image).map_err(|e| format!("column `{}`: {e}", row.column))?;
        Ok(Looked::at(&bytes, Some(view.side(row.face.as_ref(), &row.column, &bytes)?), 1))
    };
    source.manifest.read(true, |rows| {
        let rows: Vec<Row> = rows.into_iter().filter(|row| source.serves(row.set())).collect();
        let looked: Vec<std::result::Result<Looked, String>> = rows.par_iter().map(look).collect();
        done += rows.len();
        for (row, looked) in rows.into_iter().zip(looked) {
            match (looked, &row.identity) {
                (Ok(looked), Some(identity)) => {
                    seen.add(identity, row.identity_set.as_deref(), row.split.as_deref(), &looked);
                }
                (looked, _) => {
                    unusable += 1;
                    first.get_or_insert_with(|| Reject {
                        reason: looked.err().unwrap_or_else(|| "identity is null or empty".into()),
                        path: row.image.path(),
                        file: row.file,
                        row: row.row,
                        item: row.item,
                    });
                }
            }
        }
        progress.reached(done as u64)
    })?;
    progress.finish();
    Ok((seen.findings(), (unusable, first)))
}

/// One row an identity of a set and split.
fn frame(source: &Source) -> PolarsResult<DataFrame> {
    let rows: Vec<_> = source.census.images.iter().filter(|((set, ..), _)| source.serves(set)).collect();
    let column = |name: &str, f: fn(&(String, String, String)) -> &String| {
        Column::new(name.into(), rows.iter().map(|(k, _)| f(k).as_str()).collect::<Vec<_>>())
    };
    let images: Vec<u64> = rows.iter().map(|(_, n)| **n as u64).collect();
    DataFrame::new_infer_height(vec![
        column("set", |k| &k.0),
        column("split", |k| &k.1),
        column("identity", |k| &k.2),
        Column::new("images".into(), images),
    ])
}

fn set_rows(table: &DataFrame) -> PolarsResult<Vec<SetRow>> {
    // Groups keep one order through all aggregations.
    let groups = table.group_by_stable(["set", "split"])?;
    let images = || groups.clone().select(["images"]);
    let (sums, least, most) = (images().sum()?, images().min()?, images().max()?);
    let (medians, counts) = (images().median()?, images().count()?);
    let row = |i: usize| {
        Ok(SetRow {
            set: text(&sums, "set", i)?,
            split: text(&sums, "split", i)?,
            identities: counts.column("images_count")?.cast(&DataType::UInt64)?.u64()?.get(i).unwrap_or_default(),
            images: number(&sums, "images_sum", i)?,
            min: number(&least, "images_min", i)?,
            median: medians.column("images_median")?.f64()?.get(i).unwrap_or_default(),
            max: number(&most, "images_max", i)?,
        })
    };
    let mut rows = (0..sums.height()).map(row).collect::<PolarsResult<Vec<SetRow>>>()?;
    rows.sort_by(|a, b| (&a.set, &a.split).cmp(&(&b.set, &b.split)));
    Ok(rows)
}

fn identity_rows(table: &DataFrame, top: usize) -> PolarsResult<Vec<IdentityRow>> {
    let order = SortMultipleOptions::default().with_order_descending_multi([true, false, false]);
    let sums = table.group_by_stable(["set", "identity"])?.select(["images"]).sum()?;
    let found = sums.sort(["images_sum", "set", "identity"], order)?.head(Some(top));
    let row = |i: usize| {
        let (set, identity) = (text(&found, "set", i)?, text(&found, "identity", i)?);
        Ok(IdentityRow { set, identity, images: number(&found, "images_sum", i)? })
    };
    (0..found.height()).map(row).collect()
}

fn text(table: &DataFrame, column: &str, row: usize) -> PolarsResult<String> {
    Ok(table.column(column)?.str()?.get(row).unwrap_or_default().to_owned())
}

fn number(table: &DataFrame, column: &str, row: usize) -> PolarsResult<u64> {
    Ok(table.column(column)?.u64()?.get(row).unwrap_or_default())
}
