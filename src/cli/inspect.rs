//! `augment inspect`: tables of what a manifest holds.

use super::args::InspectArgs;
use super::plan::Source;
use super::terminal::Terminal;
use super::{Outcome, plan};
use crate::dataset::Census;
use crate::error::{Error, Result};
use polars::prelude::*;
use serde_json::json;

/// Shows counts per set and split of the whole manifest, and the identities with most images.
pub fn run(args: &InspectArgs, global: &super::args::GlobalArgs, _: &mut Terminal) -> Result<Outcome> {
    let source = Source::open(&args.input, &plan::cache_dir(global)?)?;
    let failed = |e: PolarsError| Error::Manifest(format!("table: {e}"));
    let sets = set_table(&source.census).map_err(failed)?;
    let identities = identity_table(&source.census, args.top).map_err(failed)?;
    let text = format!(
        "{}: {} rows, {} without identity\n\n{}\n{}",
        source.spec,
        source.manifest.rows(),
        source.census.unlabelled.values().sum::<usize>(),
        render(&sets).map_err(failed)?,
        render(&identities).map_err(failed)?,
    );
    let json = json!({
        "version": 1, "rows": source.manifest.rows(), "unlabelled": source.census.unlabelled.values().sum::<usize>(),
        "manifest_hash": source.manifest.hash(), "sets": to_json(&sets).map_err(failed)?,
        "identities": to_json(&identities).map_err(failed)?,
    });
    Ok(Outcome::new(text, json))
}

/// One row an identity of a set and split.
fn frame(census: &Census) -> PolarsResult<DataFrame> {
    let column = |name: &str, f: fn(&(String, String, String)) -> &String| {
        Column::new(name.into(), census.images.keys().map(|k| f(k).as_str()).collect::<Vec<_>>())
    };
    let images: Vec<u64> = census.images.values().map(|n| *n as u64).collect();
    DataFrame::new_infer_height(vec![
        column("set", |k| &k.0),
        column("split", |k| &k.1),
        column("identity", |k| &k.2),
        Column::new("images".into(), images),
    ])
}

/// Identities and images of every set and split.
fn set_table(census: &Census) -> PolarsResult<DataFrame> {
    let images = || col("images");
    frame(census)?
        .lazy()
        .group_by([col("set"), col("split")])
        .agg([
            len().cast(DataType::UInt64).alias("identities"),
            images().sum(),
            images().min().alias("min"),
            images().median().alias("median"),
            images().max().alias("max"),
        ])
        .sort(["set", "split"], SortMultipleOptions::default())
        .collect()
}

/// The identities with most images over all splits.
fn identity_table(census: &Census, top: usize) -> PolarsResult<DataFrame> {
    frame(census)?
        .lazy()
        .group_by([col("set"), col("identity")])
        .agg([col("images").sum()])
        .sort(
            ["images", "set", "identity"],
            SortMultipleOptions::default().with_order_descending_multi([true, false, false]),
        )
        .limit(top as u32)
        .collect()
}

/// Cells as text, control characters made visible.
fn cells(df: &DataFrame) -> PolarsResult<Vec<Vec<String>>> {
    (0..df.height())
        .map(|row| {
            df.columns()
                .iter()
                .map(|c| {
                    let value = c.get(row)?;
                    Ok(match value.get_str() {
                        Some(s) => super::printable(s).replace('\n', "\u{fffd}"),
                        None => value.to_string(),
                    })
                })
                .collect()
        })
        .collect()
}

/// A table with aligned columns.
fn render(df: &DataFrame) -> PolarsResult<String> {
    let header: Vec<String> = df.get_column_names().iter().map(ToString::to_string).collect();
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(cells(df)?).collect();
    let width = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let line: Vec<String> = row.iter().zip(&widths).map(|(v, w)| format!("{v:<w$}")).collect();
        text += line.join("  ").trim_end();
        text += "\n";
    }
    Ok(text)
}

fn to_json(df: &DataFrame) -> PolarsResult<serde_json::Value> {
    let names: Vec<String> = df.get_column_names().iter().map(ToString::to_string).collect();
    let rows = (0..df.height()).map(|row| {
        let mut object = serde_json::Map::new();
        for (name, column) in names.iter().zip(df.columns()) {
            let value = column.get(row)?;
            let value = match (value.get_str(), value.extract::<f64>()) {
                (Some(s), _) => json!(s),
                (None, Some(n)) => json!(n),
                _ => serde_json::Value::Null,
            };
            object.insert(name.clone(), value);
        }
        Ok(serde_json::Value::Object(object))
    });
    Ok(serde_json::Value::Array(rows.collect::<PolarsResult<Vec<_>>>()?))
}
