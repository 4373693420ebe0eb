//! The page of a training: its figures and losses over time and its sample grids, which stand beside it.

use super::plots::{self, Line};
use crate::error::{Error, Result};
use crate::train::grid::grids;
use crate::train::metrics::{self, Point};
use askama::Template;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Points of a curve, at most.
const POINTS: usize = 150;

#[derive(Template)]
#[template(path = "training.html", config = "src/report/askama.toml")]
struct Page {
    steps: u64,
    kimg: String,
    grids: Vec<Grid>,
    curves: Vec<Curve>,
}

struct Grid {
    file: String,
    kimg: u64,
    /// Twice that of the file, in pixels.
    width: u32,
}

struct Curve {
    name: String,
    plot: String,
}

/// The page of the training in `dir`.
///
/// # Errors
/// The folder cannot be read.
pub fn page(dir: &Path) -> Result<String> {
    let points = metrics::read(dir)?;
    let width = |path: &Path| image::image_dimensions(path).map_or(0, |(width, _)| 2 * width);
    let mut shown: Vec<Grid> = grids(dir)?
        .into_iter()
        .map(|(kimg, path)| Grid {
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            kimg,
            width: width(&path),
        })
        .collect();
    shown.reverse();
    let names = |values: fn(&Point) -> &BTreeMap<String, f64>| -> BTreeSet<&String> {
        points.iter().flat_map(|p| values(p).keys()).collect()
    };
    let names = names(|p| &p.figures).into_iter().chain(names(|p| &p.losses));
    let curve = |name: &String| Curve {
        name: name.clone(),
        plot: plots::lines(&[Line { name: name.clone(), points: means(&points, name) }], ("thousand images", ""), None),
    };
    let last = points.last();
    let page = Page {
        steps: last.map_or(0, |p| p.step),
        kimg: format!("{:.1}", last.map_or(0.0, |p| p.images as f64 / 1000.0)),
        grids: shown,
        curves: names.map(curve).collect(),
    };
    page.render().map_err(|e| Error::Config(format!("page of the training: {e}")))
}

/// Means of loss or figure `name` over parts of the training, by thousand images.
fn means(points: &[Point], name: &str) -> Vec<(f64, f64)> {
    let points = &points[points.len() / 100..];
    let part = |part: &[Point]| {
        let values: Vec<f64> =
            part.iter().filter_map(|p| p.losses.get(name).or(p.figures.get(name)).copied()).collect();
        let last = part.last().map_or(0, |p| p.images) as f64 / 1000.0;
        (!values.is_empty()).then(|| (last, values.iter().sum::<f64>() / values.len() as f64))
    };
    points.chunks(points.len().div_ceil(POINTS).max(1)).filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_means_and_grids_stand_beside_the_page() {
        let dir = tempfile::tempdir().unwrap();
        let line = |step: u64| {
            format!(
                "{{\"step\":{step},\"images\":{},\"seconds\":1.0,\"losses\":{{\"loss_d\":{}}}}}\n",
                step * 16,
                step % 2
            )
        };
        let text: String = (1..=1000).map(line).collect();
        std::fs::write(dir.path().join("metrics.jsonl"), text + "{\"step\":10").unwrap();
        std::fs::write(dir.path().join("grid-000016kimg.png"), "").unwrap();
        let points = metrics::read(dir.path()).unwrap();
        assert_eq!(points.len(), 1000);
        let means = means(&points, "loss_d");
        assert!(means.len() <= POINTS && means.last().unwrap().0 == 16.0, "{means:?}");
        assert!(means.iter().all(|(_, v)| (v - 0.5).abs() < 0.2), "{means:?}");
        let page = page(dir.path()).unwrap();
        assert!(page.contains("src=\"grid-000016kimg.png\"") && page.contains("1000 steps, 16.0 thousand"), "{page}");
        assert!(page.contains("<svg") && page.contains("<figcaption>loss_d</figcaption>"));
    }
}
