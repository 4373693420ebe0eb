//! The evaluation report: plain data in, one self-contained HTML page and one versioned JSON object out. And the page of a training.

pub mod methods;
mod plots;
mod summary;
mod tables;
pub mod training;
mod verdict;

pub use verdict::verdict;

use crate::config::{EvaluationConfig, to_toml};
use crate::dataset::encode::{Origin, encode};
use crate::dataset::{IdentityDataset, Images};
use crate::error::{Error, Result};
use crate::evaluate::comparison::{Material, Run};
use crate::evaluate::gain::ArmResult;
use crate::evaluate::groups::by_group;
use crate::evaluate::outside::OutsideQuality;
use crate::evaluate::quality::{Failing, NearPair, Quality};
use crate::evaluate::synthetic::Made;
use crate::evaluate::verification::PROTOCOL;
use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plots::{Interval, Line};
use serde_json::json;
use tables::{
    ArmRow, GainRow, Group, OutsideRow, Person, arm_row, columns, gain_row, group_rows, outside_rows, person_rows,
    quality_rows,
};

/// Version of `report.json`.
pub const VERSION: u32 = 1;
/// Identities shown with their images.
const SHOWN: usize = 8;
/// Real and synthetic images of each.
const SHOWN_REAL: usize = 4;
const SHOWN_SYNTHETIC: usize = 8;
/// Pixels between images.
const GAP: usize = 2;
/// False acceptance rate where the ROC plot begins.
const LOWEST_FAR: f64 = 1e-3;

/// What a report is made of.
pub struct Report<'a> {
    /// Where the real images come from.
    pub manifest: &'a str,
    /// Hash of the manifest.
    pub manifest_hash: &'a str,
    /// Recipe and comparison.
    pub config: &'a EvaluationConfig,
    /// The images.
    pub material: &'a Material,
    /// Every training.
    pub runs: &'a [Run],
    /// The arms.
    pub arms: &'a [ArmResult],
    /// The quality of the images.
    pub quality: &'a Quality,
    /// The same under a network from outside.
    pub outside: Option<&'a OutsideQuality>,
    /// What of the test looks like training images or persons without being proof of it, in words.
    pub alike: &'a [String],
}

struct Picture {
    name: String,
    image: String,
}

#[derive(Template)]
#[template(path = "report.html", config = "src/report/askama.toml")]
struct Page {
    manifest: String,
    verdict: String,
    protocol: &'static str,
    test: String,
    pairs: usize,
    seeds: usize,
    real_images: usize,
    identities: usize,
    steps: u64,
    batch_size: usize,
    arms: Vec<ArmRow>,
    gains: Option<String>,
    gain_rows: Vec<GainRow>,
    groups: Vec<Group>,
    roc: String,
    curves: String,
    rows: Vec<Picture>,
    row_real: usize,
    chosen_by: String,
    quality_columns: Vec<&'static str>,
    quality: Vec<(&'static str, Vec<String>)>,
    outside: Vec<OutsideRow>,
    copy_limit: String,
    calibrated: bool,
    membership: Option<String>,
    nearest: Vec<Picture>,
    failing: Vec<Picture>,
    persons: Vec<Person>,
    of_persons: usize,
    alike: String,
    configuration: String,
}

impl Report<'_> {
    /// The versioned object.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "version": VERSION,
            "program": env!("CARGO_PKG_VERSION"),
            "verdict": verdict(self.arms, self.material.test.pairs.len()),
            "protocol": PROTOCOL,
            "test": { "name": self.material.test.name, "pairs": self.material.test.pairs.len(), "hash": self.material.test.hash() },
            "manifest_hash": self.manifest_hash,
            "dataset_hash": self.material.real.hash(),
            "held_out_hash": self.material.held_out.as_ref().map(IdentityDataset::hash),
            "synthetic": {
                "existing": self.material.existing.as_ref().map(images),
                "new": self.material.new.as_ref().map(images),
                "left_out_identities": self.material.foreign.len(),
            },
            "real_images": self.material.real.len(),
            "identities": self.material.real.identities().len(),
            "config": self.config,
            "arms": self.arms,
            "groups": by_group(self.runs, &self.material.test),
            "runs": self.runs,
            "chosen_by": self.material.chosen_by,
            "quality": self.quality,
            "outside": self.outside,
            "alike": self.alike,
        })
    }

    /// The page.
    ///
    /// # Errors
    /// A picture cannot be encoded.
    pub fn html(&self) -> Result<String> {
        let m = self.material;
        let first: Vec<&Run> = self.runs.iter().filter(|r| r.seed == self.config.seed).collect();
        let roc = |r: &&Run| Line { name: r.arm.name().into(), points: r.verification.roc.clone() };
        let curve = |r: &&Run| Line {
            name: r.arm.name().into(),
            points: r.curve.iter().map(|p| (p.step as f64, p.loss)).collect(),
        };
        let page = Page {
            manifest: self.manifest.to_owned(),
            verdict: verdict(self.arms, m.test.pairs.len()),
            protocol: PROTOCOL,
            test: m.test.name.clone(),
            pairs: m.test.pairs.len(),
            seeds: self.arms.first().map_or(0, |a| a.accuracy.count),
            real_images: m.real.len(),
            identities: m.real.identities().len(),
            steps: self.config.recipe.steps,
            batch_size: self.config.recipe.batch_size,
            arms: self.arms.iter().map(arm_row).collect(),
            gains: self.gain_plot(),
            gain_rows: self.arms.iter().filter_map(|a| Some(gain_row(a.arm.name(), a.gain.as_ref()?))).collect(),
            groups: group_rows(self.arms, by_group(self.runs, &m.test)),
            roc: plots::lines(
                &first.iter().map(roc).collect::<Vec<_>>(),
                ("false acceptance rate", "true acceptance rate"),
                Some(LOWEST_FAR),
            ),
            curves: plots::lines(&first.iter().map(curve).collect::<Vec<_>>(), ("step", "loss, nats"), None),
            rows: self.rows()?,
            row_real: SHOWN_REAL,
            chosen_by: m.chosen_by.clone(),
            quality_columns: columns(self.quality).iter().map(|c| c.0).collect(),
            quality: quality_rows(self.quality),
            outside: self.outside.map(outside_rows).unwrap_or_default(),
            copy_limit: format!("{:.3}", self.quality.copy_limit),
            calibrated: self.quality.calibrated,
            membership: self.quality.membership.as_ref().map(|m| {
                format!("AUC {:.3}, true positives at 1 % false positives {:.1} %", m.auc, 100.0 * m.tpr_at_fpr_1e2)
            }),
            nearest: self.nearest()?,
            failing: self.failing()?,
            persons: person_rows(&m.real, &self.quality.identities),
            of_persons: m.existing.as_ref().map_or(0, |made| made.all.catalogue().present().count()),
            alike: self.alike.join("; "),
            configuration: format!(
                "manifest {}\ntraining images {}\nsynthetic images {} and {}\ntest {}\noutside judge {}\naugment {}\n\n{}",
                self.manifest_hash,
                m.real.hash(),
                hash(m.existing.as_ref()),
                hash(m.new.as_ref()),
                m.test.hash(),
                self.outside.map_or("none", |o| &o.network),
                env!("CARGO_PKG_VERSION"),
                to_toml(self.config)?
            ),
        };
        page.render().map_err(|e| Error::Config(format!("report: {e}")))
    }

    fn gain_plot(&self) -> Option<String> {
        let rows: Vec<Interval> = self
            .arms
            .iter()
            .filter_map(|a| {
                let g = a.gain.as_ref()?;
                let (low, high) = g.ci95?;
                let points = |v: f64| 100.0 * v;
                Some(Interval {
                    name: a.arm.name().into(),
                    value: points(g.accuracy_gain),
                    range: (points(low), points(high)),
                    values: g.by_seed.iter().map(|v| points(*v)).collect(),
                })
            })
            .collect();
        (!rows.is_empty()).then(|| plots::intervals(&rows, "gain over the baseline, points"))
    }

    /// Real and synthetic images of some identities, spread over all.
    fn rows(&self) -> Result<Vec<Picture>> {
        let m = self.material;
        let Some(Made { all: synthetic, .. }) = &m.existing else { return Ok(Vec::new()) };
        let labels: Vec<u32> = synthetic.catalogue().present().collect();
        let n = labels.len();
        let size = m.real.image_size();
        let blank = vec![255; size * size * 3];
        let picture = |row: usize| {
            let label = labels[row * n / SHOWN.min(n)];
            let real = m.real.images_of(label).iter().map(|i| m.real.image(*i));
            let real = real.chain(std::iter::repeat(&blank[..])).take(SHOWN_REAL);
            let made = synthetic.catalogue().images_of(label).iter().take(SHOWN_SYNTHETIC);
            let made = made.map(|i| synthetic.read(*i)).collect::<Result<Vec<_>>>()?;
            let image = strip(&real.chain(made.iter().map(|image| &image[..])).collect::<Vec<_>>(), size)?;
            Ok(Picture { name: m.real.identities()[label as usize].clone(), image })
        };
        (0..SHOWN.min(n)).map(picture).collect()
    }

    fn nearest(&self) -> Result<Vec<Picture>> {
        let real = &self.material.real;
        let picture = |n: &NearPair| {
            let image = strip(&[real.image(n.training), &n.synthetic], real.image_size())?;
            Ok(Picture { name: format!("{}, {:.3}", n.identity, n.similarity), image })
        };
        self.quality.nearest.iter().map(picture).collect()
    }

    fn failing(&self) -> Result<Vec<Picture>> {
        let real = &self.material.real;
        let picture = |f: &Failing| {
            let own = real.image(real.images_of(f.label)[0]);
            let image = strip(&[own, &f.synthetic], real.image_size())?;
            Ok(Picture { name: format!("{}: {}", f.identity, f.reason), image })
        };
        self.quality.failing.iter().map(picture).collect()
    }
}

/// The hash of synthetic images.
fn hash(made: Option<&Made>) -> &str {
    made.map_or("none", |made| made.all.catalogue().hash())
}

/// Number of images and identities, and their hash.
fn images(made: &Made) -> serde_json::Value {
    let all = made.all.catalogue();
    json!({ "images": all.len(), "identities": all.identities().len(), "hash": all.hash() })
}

/// Images side by side, as a data URI of a PNG.
fn strip(images: &[&[u8]], size: usize) -> Result<String> {
    grid(images, size, images.len())
}

/// Images in rows of `columns`, as a data URI of a PNG.
fn grid(images: &[&[u8]], size: usize, columns: usize) -> Result<String> {
    let (width, rows) = (columns * (size + GAP), images.len().div_ceil(columns.max(1)));
    let height = (rows * (size + GAP)).saturating_sub(GAP);
    let mut canvas = vec![255u8; width * height * 3];
    for (n, image) in images.iter().enumerate() {
        let (left, top) = (n % columns * (size + GAP), n / columns * (size + GAP));
        for (y, line) in image.chunks_exact(3 * size).enumerate() {
            let at = ((top + y) * width + left) * 3;
            canvas[at..at + line.len()].copy_from_slice(line);
        }
    }
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(encode(&canvas, width, height, "png", Origin::Real)?)))
}
