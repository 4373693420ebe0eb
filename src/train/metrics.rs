//! `metrics.jsonl`: the losses of every step of a training and the figures of every look at it, one JSON object a line.

use super::step::StepLosses;
use super::watch::Figures;
use crate::error::{Error, Result};
use crate::store;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Its name in the folder of a model.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// Steps that a rate is taken from, at most.
const RECENT: usize = 200;

/// A line of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Point {
    /// Steps taken.
    pub step: u64,
    /// Images shown.
    pub images: u64,
    /// Time since that run of the training began.
    #[serde(default)]
    pub seconds: f64,
    /// The losses of the step, by name.
    #[serde(default)]
    pub losses: BTreeMap<String, f64>,
    /// The figures of what the generator then made, by name.
    #[serde(default)]
    pub figures: BTreeMap<String, f64>,
}

/// The metrics of the training in `dir`; lines that are not whole are left out.
///
/// # Errors
/// The file cannot be read.
pub fn read(dir: &Path) -> Result<Vec<Point>> {
    let path = dir.join(METRICS_FILE);
    let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Images a second over the last steps of the run that wrote the last of `points`.
pub fn rate(points: &[Point]) -> Option<f64> {
    let steps: Vec<&Point> = points.iter().filter(|p| !p.losses.is_empty()).collect();
    let recent = &steps[steps.len().saturating_sub(RECENT)..];
    // The clock of a run that went on began anew.
    let from = recent.windows(2).rposition(|w| w[1].seconds < w[0].seconds).map_or(0, |at| at + 1);
    let (first, last) = (recent.get(from)?, recent.last()?);
    let seconds = last.seconds - first.seconds;
    (seconds > 0.0).then(|| (last.images - first.images) as f64 / seconds)
}

/// The file, open at its end.
pub struct Metrics(File);

impl Metrics {
    /// Opens the metrics of `dir`, whose training goes on after `step`: lines of later steps are void and go.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn open(dir: &Path, step: u64) -> Result<Self> {
        let path = dir.join(METRICS_FILE);
        let kept = |line: &&str| {
            let parsed: Option<Value> = serde_json::from_str(line).ok();
            parsed.is_some_and(|v| v["step"].as_u64().is_some_and(|s| s <= step))
        };
        if path.exists() {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let text: String = text.lines().filter(kept).flat_map(|l| [l, "\n"]).collect();
            store::write_atomic(&path, text.as_bytes())?;
        }
        let file = File::options().create(true).append(true).mode(0o600).open(&path);
        Ok(Self(file.map_err(|e| Error::io(&path, e))?))
    }

    /// Adds a step. `seconds` is the time since this run of the training began.
    pub fn add(&mut self, step: u64, images: u64, seconds: f64, losses: &StepLosses) {
        self.write(&json!({ "step": step, "images": images, "seconds": seconds, "losses": losses }));
    }

    /// Adds a look after a step.
    pub fn add_figures(&mut self, step: u64, images: u64, figures: &Figures) {
        self.write(&json!({ "step": step, "images": images, "figures": figures }));
    }

    fn write(&mut self, line: &Value) {
        // Metrics are a convenience: a full disk shows itself at the next checkpoint.
        let _ = writeln!(self.0, "{line}");
    }
}
