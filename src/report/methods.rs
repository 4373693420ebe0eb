//! The page and the table of a comparison of methods.

use super::grid;
use crate::config::{RunConfig, to_toml};
use crate::error::{Error, Result};
use crate::evaluate::statistics::Summary;
use askama::Template;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What the paper reports of FaceScrub (530 persons, 128 px): top-1 and exp(E KL) under a classifier of real images.
const PAPER: [(&str, f64, f64); 4] =
    [("cvae", 0.0809, 10.29), ("cgan", 0.6197, 15.79), ("fm-cgan", 0.7976, 19.40), ("cvae-gan", 0.9778, 19.03)];
/// The same of real images.
const PAPER_REAL: (f64, f64) = (0.9961, 20.85);

/// Figures of the table: their key, what they are called, digits.
const COLUMNS: [(&str, &str, usize); 11] = [
    ("top1", "top-1", 3),
    ("score", "exp(E KL)", 2),
    ("similarity", "similarity", 3),
    ("frechet", "Frechet", 3),
    ("kernel", "kernel x 1000", 2),
    ("precision", "precision", 3),
    ("recall", "recall", 3),
    ("density", "density", 3),
    ("coverage", "coverage", 3),
    ("diversity", "diversity", 3),
    ("copies", "copies", 4),
];

/// A variant, with z drawn in one way: its figures over the seeds.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub variant: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Where z comes from.
    pub latent: String,
    /// Figures by name.
    pub figures: BTreeMap<String, Summary>,
}

/// A comparison of methods.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// Where the real images come from.
    pub manifest: String,
    /// Hash of the training images.
    pub dataset_hash: String,
    /// Training identities.
    pub identities: usize,
    /// Training images.
    pub images: usize,
    /// Held-out images.
    pub held_out: usize,
    /// Side of images, in pixels.
    pub image_size: usize,
    /// Length of each training, in thousands of images.
    pub kimg: f64,
    /// Trainings of each variant.
    pub seeds: u64,
    /// Images of each training that were judged, as many of each identity.
    pub judged: usize,
    /// Figures of held-out real images.
    pub real: Option<BTreeMap<String, f64>>,
    /// Variants, in their order.
    pub rows: Vec<Row>,
    /// What variants are laid over.
    pub config: RunConfig,
}

/// A row as text: its name, what it is, its figures.
type Cells = (String, &'static str, Vec<String>);

/// Images that the page shows of a row.
pub struct Samples {
    /// Of whom.
    pub name: String,
    /// Pixels, `[S, S, 3]` bytes each, row by row.
    pub images: Vec<Vec<u8>>,
    /// Their side, in pixels.
    pub size: usize,
    /// Images of a row.
    pub columns: usize,
}

#[derive(Template)]
#[template(path = "methods.html", config = "src/report/askama.toml")]
struct Page<'a> {
    table: &'a Table,
    columns: Vec<&'static str>,
    rows: Vec<Cells>,
    paper: Vec<(&'static str, String, String)>,
    pictures: Vec<(String, String)>,
    configuration: String,
}

impl Table {
    /// The columns that have values, and rows of text: a name, what it is, cells.
    fn cells(&self) -> (Vec<&'static str>, Vec<Cells>) {
        let real = self.real.iter().flatten();
        let there: Vec<&str> = real
            .map(|(name, _)| name.as_str())
            .chain(self.rows.iter().flat_map(|r| r.figures.keys().map(String::as_str)))
            .collect();
        let columns: Vec<_> = COLUMNS.into_iter().filter(|(key, _, _)| there.contains(key)).collect();
        // A kernel distance has many zeros.
        let scale = |key: &str| if key == "kernel" { 1000.0 } else { 1.0 };
        let none = || "–".to_owned();
        let mut rows = Vec::new();
        if let Some(real) = &self.real {
            let cell = |(key, _, digits): &(&str, &str, usize)| {
                real.get(*key).map_or_else(none, |v| format!("{:.digits$}", v * scale(key)))
            };
            rows.push(("real, held out".to_owned(), "the level to compare with", columns.iter().map(cell).collect()));
        }
        for row in &self.rows {
            let cell = |(key, _, digits): &(&str, &str, usize)| {
                row.figures.get(*key).map_or_else(none, |s| {
                    let (mean, deviation) = (s.mean * scale(key), s.deviation * scale(key));
                    if s.count > 1 {
                        format!("{mean:.digits$} ± {deviation:.digits$}")
                    } else {
                        format!("{mean:.digits$}")
                    }
                })
            };
            rows.push((format!("{}, z of {}", row.variant, row.latent), row.about, columns.iter().map(cell).collect()));
        }
        (columns.into_iter().map(|(_, title, _)| title).collect(), rows)
    }

    /// The table in Markdown, and the paper's beside it.
    pub fn markdown(&self) -> String {
        let (columns, rows) = self.cells();
        let mut text = format!(
            "{} training images of {} identities, {} px, {} thousand images shown, {} seed{}; {} images of each training judged by a classifier of real images.\n\n",
            self.images,
            self.identities,
            self.image_size,
            self.kimg,
            self.seeds,
            if self.seeds == 1 { "" } else { "s" },
            self.judged
        );
        let _ = writeln!(text, "| | {} |\n|---|{}", columns.join(" | "), "---|".repeat(columns.len()));
        for (name, _, cells) in rows {
            let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
        }
        text.push_str("\nThe paper, on FaceScrub (530 persons, 128 px):\n\n| | top-1 | exp(E KL) |\n|---|---|---|\n");
        for (name, top1, score) in of_paper() {
            let _ = writeln!(text, "| {name} | {top1} | {score} |");
        }
        text
    }

    /// The page, with `samples` beside the figures.
    ///
    /// # Errors
    /// A picture cannot be encoded.
    pub fn html(&self, samples: &[Samples]) -> Result<String> {
        let (columns, rows) = self.cells();
        let picture = |s: &Samples| {
            let images: Vec<&[u8]> = s.images.iter().map(Vec::as_slice).collect();
            Ok((s.name.clone(), grid(&images, s.size, s.columns)?))
        };
        let pictures = samples.iter().map(picture).collect::<Result<_>>()?;
        let page =
            Page { table: self, columns, rows, paper: of_paper(), pictures, configuration: to_toml(&self.config)? };
        page.render().map_err(|e| Error::Config(format!("page of the comparison: {e}")))
    }
}

/// What the paper reports: whose figures, top-1 and exp(E KL).
fn of_paper() -> Vec<(&'static str, String, String)> {
    let all = std::iter::once(("real", PAPER_REAL.0, PAPER_REAL.1)).chain(PAPER);
    all.map(|(name, top1, score)| (name, format!("{top1:.4}"), format!("{score:.2}"))).collect()
}
