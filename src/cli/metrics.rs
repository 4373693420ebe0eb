//! What a run is doing, as OpenMetrics text in a file that a collector (node_exporter's `textfile`, say) reads: written whole, every few
//! seconds and at the end.

use super::resources::Resources;
use ::augment::error::{Error, Result};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time between two writings.
const BETWEEN: Duration = Duration::from_secs(5);

/// The families: name, unit, what they are.
const FAMILIES: [(&str, &str, &str); 9] = [
    ("augment_stage_items", "gauge", "Items of the current stage that are complete."),
    ("augment_stage_items_total", "gauge", "Items of the current stage."),
    ("augment_items_per_second", "gauge", "Rate of the current stage."),
    ("augment_loss", "gauge", "Losses of the last training step."),
    ("augment_shards", "gauge", "Shards of a job by their state."),
    ("augment_peak_memory_bytes", "gauge", "Largest memory of the process at a time."),
    ("augment_cpu_seconds", "gauge", "Seconds of all processors."),
    ("augment_run_seconds", "gauge", "Seconds since the process began."),
    ("augment_exit_code", "gauge", "Exit code, once the run has ended."),
];

/// A file of metrics.
pub struct Metrics {
    path: PathBuf,
    began: Instant,
    written: Option<Instant>,
    /// Value of every (family, labels).
    values: BTreeMap<(&'static str, String), f64>,
}

impl Metrics {
    /// One that is written to `path`.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), began: Instant::now(), written: None, values: BTreeMap::new() }
    }

    /// Sets the value of `family` with these labels.
    pub fn set(&mut self, family: &'static str, labels: &[(&str, &str)], value: f64) {
        let label = |(name, value): &(&str, &str)| {
            format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
        };
        self.values.insert((family, labels.iter().map(label).collect::<Vec<_>>().join(",")), value);
    }

    /// Forgets all values of `family`.
    pub fn clear(&mut self, family: &str) {
        self.values.retain(|(name, _), _| *name != family);
    }

    /// Writes the file, if it is due.
    pub fn tell(&mut self) {
        if self.written.is_none_or(|then| then.elapsed() >= BETWEEN) {
            // A run does not end for want of its metrics; the end says whether they could be written.
            let _ = self.write();
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self) -> Result<()> {
        let used = Resources::used();
        let own = [
            ("augment_peak_memory_bytes", used.peak_memory.map(|bytes| bytes as f64)),
            ("augment_cpu_seconds", used.cpu_seconds),
            ("augment_run_seconds", Some(self.began.elapsed().as_secs_f64())),
        ];
        own.into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .for_each(|(name, value)| self.set(name, &[], value));
        self.written = Some(Instant::now());
        // Not as outputs are written: a collector is another user, and no crash must be outlived.
        let temporary = self.path.with_added_extension("partial");
        let failed = |e| Error::io(&self.path, e);
        std::fs::write(&temporary, self.text()).map_err(failed)?;
        std::fs::rename(&temporary, &self.path).map_err(failed)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (family, kind, about) in FAMILIES {
            let mut samples = self.values.iter().filter(|((name, _), _)| *name == family).peekable();
            if samples.peek().is_none() {
                continue;
            }
            let _ = writeln!(text, "# TYPE {family} {kind}\n# HELP {family} {about}");
            for ((_, labels), value) in samples {
                let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
                let _ = writeln!(text, "{family}{labels} {value}");
            }
        }
        text + "# EOF\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_open_metrics() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.prom");
        let mut metrics = Metrics::new(&path);
        metrics.set("augment_loss", &[("name", "a\"b")], 0.5);
        metrics.set("augment_loss", &[("name", "a\"b")], 1.5);
        metrics.set("augment_stage_items", &[("stage", "train"), ("unit", "images")], 64.0);
        metrics.write().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(
            "# TYPE augment_stage_items gauge\n# HELP augment_stage_items Items of the current stage that are complete.\n\
             augment_stage_items{stage=\"train\",unit=\"images\"} 64\n# TYPE augment_loss gauge\n"
        ));
        assert!(text.contains("augment_loss{name=\"a\\\"b\"} 1.5\n") && text.contains("\naugment_peak_memory_bytes "));
        assert!(text.ends_with("# EOF\n") && std::fs::read_dir(dir.path()).unwrap().count() == 1);
        assert!(Metrics::new(&dir.path().join("no/m.prom")).write().is_err());
    }
}
