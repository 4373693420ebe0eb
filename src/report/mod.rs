//! The evaluation report: plain data in, one self-contained HTML page and one versioned JSON object out.

mod plots;

use crate::config::{EvaluationConfig, to_toml};
use crate::dataset::IdentityDataset;
use crate::error::{Error, Result};
use crate::evaluate::comparison::{Arm, ArmResult, Gain, Material, Run};
use crate::evaluate::quality::{Figures, NearPair, Quality};
use crate::evaluate::verification::PROTOCOL;
use crate::train::grid::encode_png;
use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plots::{Interval, Line};
use serde_json::json;

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
}

/// One sentence: the gain of the arm with synthetic images that stands best, and whether its interval allows to believe in it.
/// Arms compare by the lower ends of their intervals.
pub fn verdict(arms: &[ArmResult], pairs: usize) -> String {
    let synthetic = |a: &&ArmResult| matches!(a.arm, Arm::Existing | Arm::New | Arm::Both | Arm::Pretrain);
    let gained: Vec<(&ArmResult, &Gain)> =
        arms.iter().filter(synthetic).filter_map(|a| Some((a, a.gain.as_ref()?))).collect();
    let best = gained.iter().max_by(|a, b| a.1.ci95().0.total_cmp(&b.1.ci95().0));
    let Some((best, gain)) = best else {
        return "No arm with synthetic images was trained, so no gain was measured.".into();
    };
    let (low, high) = gain.ci95();
    let seeds = gain.by_seed.len();
    let basis = format!(
        "95 % interval {:+.2} to {:+.2}, {seeds} paired seed{}, {pairs} pairs, best of {} arm{}",
        100.0 * low,
        100.0 * high,
        if seeds == 1 { "" } else { "s" },
        gained.len(),
        if gained.len() == 1 { "" } else { "s" }
    );
    let points = 100.0 * gain.accuracy_gain;
    let what = best.description.trim_start_matches("baseline + ");
    if seeds == 1 {
        format!("One seed alone cannot show a gain: the best arm ({what}) stands at {points:+.2} points ({basis}).")
    } else if low > 0.0 {
        format!(
            "Yes: {what} gain {points:+.2} points of accuracy over real images with the usual augmentation ({basis})."
        )
    } else if high < 0.0 {
        format!("No: even the best arm ({what}) loses accuracy, {points:+.2} points ({basis}).")
    } else {
        format!(
            "Not shown: the best arm ({what}) stands at {points:+.2} points, and the interval holds zero ({basis})."
        )
    }
}

struct ArmRow {
    name: &'static str,
    description: String,
    accuracy: String,
    gain: String,
    tar2: String,
    tar3: String,
    eer: String,
    auc: String,
    rank1: String,
    seconds: String,
}

struct Picture {
    name: String,
    image: String,
}

struct Person {
    identity: String,
    real: usize,
    synthetic: usize,
    consistent: String,
    nearest: String,
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
    roc: String,
    curves: String,
    rows: Vec<Picture>,
    row_real: usize,
    quality_columns: Vec<&'static str>,
    quality: Vec<(&'static str, Vec<String>)>,
    copy_limit: String,
    calibrated: bool,
    nearest: Vec<Picture>,
    persons: Vec<Person>,
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
            "runs": self.runs,
            "quality": self.quality,
        })
    }

    /// The page.
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
            roc: plots::lines(
                &first.iter().map(roc).collect::<Vec<_>>(),
                ("false acceptance rate", "true acceptance rate"),
                Some(LOWEST_FAR),
            ),
            curves: plots::lines(&first.iter().map(curve).collect::<Vec<_>>(), ("step", "loss, nats"), None),
            rows: self.rows()?,
            row_real: SHOWN_REAL,
            quality_columns: columns(self.quality).iter().map(|c| c.0).collect(),
            quality: quality_rows(self.quality),
            copy_limit: format!("{:.3}", self.quality.copy_limit),
            calibrated: self.quality.calibrated,
            nearest: self.nearest()?,
            persons: self.persons(),
            configuration: format!(
                "manifest {}\ntraining images {}\nsynthetic images {} and {}\ntest {}\naugment {}\n\n{}",
                self.manifest_hash,
                m.real.hash(),
                m.existing.as_ref().map_or("none", |d| d.hash()),
                m.new.as_ref().map_or("none", |d| d.hash()),
                m.test.hash(),
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
                let (low, high) = g.ci95();
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
        let Some(synthetic) = &m.existing else { return Ok(Vec::new()) };
        let n = m.real.identities().len();
        let size = m.real.image_size();
        let blank = vec![255; size * size * 3];
        let picture = |row: usize| {
            let label = (row * n / SHOWN.min(n)) as u32;
            let real = m.real.images_of(label).iter().map(|i| m.real.image(*i));
            let real = real.chain(std::iter::repeat(&blank[..])).take(SHOWN_REAL);
            let made = synthetic.images_of(label).iter().take(SHOWN_SYNTHETIC).map(|i| synthetic.image(*i));
            let image = strip(&real.chain(made).collect::<Vec<_>>(), size)?;
            Ok(Picture { name: m.real.identities()[label as usize].clone(), image })
        };
        (0..SHOWN.min(n)).map(picture).collect()
    }

    fn nearest(&self) -> Result<Vec<Picture>> {
        let real = &self.material.real;
        let picture = |n: &NearPair| {
            let image = strip(&[real.image(n.training), &n.synthetic], real.image_size())?;
            let name = &real.identities()[real.labels()[n.training] as usize];
            Ok(Picture { name: format!("{name}, {:.3}", n.similarity), image })
        };
        self.quality.nearest.iter().map(picture).collect()
    }

    fn persons(&self) -> Vec<Person> {
        let m = self.material;
        let figures = &self.quality.identities;
        let mut order: Vec<usize> = (0..figures.len()).collect();
        order.sort_by(|a, b| figures[*a].consistency.total_cmp(&figures[*b].consistency));
        order
            .into_iter()
            .map(|i| Person {
                identity: figures[i].identity.clone(),
                real: m
                    .real
                    .identities()
                    .binary_search(&figures[i].identity)
                    .map_or(0, |l| m.real.images_of(l as u32).len()),
                synthetic: figures[i].images,
                consistent: format!("{:.2}", figures[i].consistency),
                nearest: format!("{:.3}", figures[i].nearest),
            })
            .collect()
    }
}

/// Number of images and identities, and their hash.
fn images(d: &IdentityDataset) -> serde_json::Value {
    json!({ "images": d.len(), "identities": d.identities().len(), "hash": d.hash() })
}

fn arm_row(a: &ArmResult) -> ArmRow {
    let figure = |name: &str| a.figures.get(name).map_or("–".to_owned(), |s| format!("{:.3}", s.mean));
    ArmRow {
        name: a.arm.name(),
        description: a.description.clone(),
        accuracy: a.accuracy.percent(),
        gain: a.gain.as_ref().map_or("–".into(), |g| {
            let (low, high) = g.ci95();
            format!("{:+.2} ({:+.2} to {:+.2})", 100.0 * g.accuracy_gain, 100.0 * low, 100.0 * high)
        }),
        tar2: figure("tar_at_far_1e2"),
        tar3: figure("tar_at_far_1e3"),
        eer: figure("eer"),
        auc: figure("auc"),
        rank1: figure("rank1"),
        seconds: format!("{:.0}", a.seconds),
    }
}

/// The kinds of images that have figures.
fn columns(q: &Quality) -> Vec<(&'static str, &Figures)> {
    let all = [("held-out real", &q.real), ("synthetic", &q.existing), ("new identities", &q.new)];
    all.into_iter().filter_map(|(name, f)| Some((name, f.as_ref()?))).collect()
}

fn quality_rows(q: &Quality) -> Vec<(&'static str, Vec<String>)> {
    type Cell = fn(&Figures) -> Option<f64>;
    let rows: [(&'static str, Cell); 18] = [
        ("images looked at", |f| Some(f.images as f64)),
        ("top-1 as its identity", |f| f.top1),
        ("exp(E KL) over identities", |f| Some(f.score)),
        ("mean similarity to its identity", |f| Some(f.similarity)),
        ("consistency", |f| Some(f.consistency)),
        ("uniqueness of identities", |f| Some(f.uniqueness)),
        ("diversity within an identity", |f| f.diversity),
        ("EER against identity means", |f| f.eer),
        ("images that the next six compare", |f| Some(f.distances?.0 as f64)),
        ("Frechet distance of embeddings", |f| Some(f.distances?.1.frechet)),
        ("kernel distance of embeddings, x 1000", |f| Some(f.distances?.1.kernel * 1000.0)),
        ("precision (5 neighbours)", |f| Some(f.distances?.1.precision)),
        ("recall (5 neighbours)", |f| Some(f.distances?.1.recall)),
        ("density (5 neighbours)", |f| Some(f.distances?.1.density)),
        ("coverage (5 neighbours)", |f| Some(f.distances?.1.coverage)),
        ("mean similarity to nearest training image", |f| Some(f.copies.mean)),
        ("99 % are below", |f| Some(f.copies.high)),
        ("share of copies", |f| Some(f.copies.share)),
    ];
    let columns = columns(q);
    let shown = |v: f64| if v.fract() == 0.0 && v >= 10.0 { format!("{v:.0}") } else { format!("{v:.3}") };
    let cells = |cell: &Cell| columns.iter().map(|(_, f)| cell(f).map_or("–".into(), shown)).collect();
    rows.iter().map(|(name, cell)| (*name, cells(cell))).collect()
}

/// Images side by side, as a data URI of a PNG.
fn strip(images: &[&[u8]], size: usize) -> Result<String> {
    let width = images.len() * (size + GAP);
    let mut canvas = vec![255u8; width * size * 3];
    for (n, image) in images.iter().enumerate() {
        for (y, line) in image.chunks_exact(3 * size).enumerate() {
            let at = (y * width + n * (size + GAP)) * 3;
            canvas[at..at + line.len()].copy_from_slice(line);
        }
    }
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(encode_png(&canvas, width, size)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::comparison::Gain;
    use crate::evaluate::statistics::summary;

    fn arm(arm: Arm, gains: &[f64]) -> ArmResult {
        let gain = (!gains.is_empty()).then(|| Gain {
            accuracy_gain: summary(gains).mean,
            by_seed: gains.to_vec(),
            ci95_seeds: crate::evaluate::statistics::t_interval(gains),
            ci95_pairs: (summary(gains).mean - 0.005, summary(gains).mean + 0.005),
        });
        ArmResult {
            arm,
            description: arm.description().into(),
            accuracy: summary(&[0.8, 0.81]),
            figures: std::collections::BTreeMap::new(),
            gain,
            seconds: 1.0,
        }
    }

    #[test]
    fn the_verdict_believes_only_intervals_above_zero() {
        let of =
            |gains: &[f64]| verdict(&[arm(Arm::Real, &[]), arm(Arm::Repeats, &[0.5, 0.5]), arm(Arm::New, gains)], 100);
        assert!(of(&[0.02, 0.021, 0.022]).starts_with("Yes: new identities gain +2.10 points"));
        assert!(of(&[0.03, -0.02, 0.02]).starts_with("Not shown"));
        assert!(of(&[-0.03, -0.031, -0.032]).starts_with("No:"));
        assert!(of(&[0.05]).starts_with("One seed alone"));
        assert!(verdict(&[arm(Arm::Real, &[])], 100).starts_with("No arm with synthetic"));
    }
}
