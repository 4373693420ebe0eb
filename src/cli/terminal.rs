//! Progress for people: bars on a terminal, otherwise a line every 10 s or 5 %. For machines each line is an object.

use super::metrics::Metrics;
use ::augment::error::Error;
use ::augment::progress::Progress;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Least time between two lines of a stage, which also are at least 5 % apart.
const BETWEEN: Duration = Duration::from_secs(10);
/// Most time without a line: whoever watches a log takes silence for a hang.
const SILENCE: Duration = Duration::from_mins(5);

/// Time in which two signals are one wish.
const TWICE: Duration = Duration::from_millis(400);

/// True if this process was started with the signal ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask =
        status.lines().find_map(|l| l.strip_prefix("SigIgn:")).and_then(|m| u64::from_str_radix(m.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

struct Stage {
    name: String,
    unit: String,
    /// 0 where nobody knows.
    total: u64,
    /// Item count when the stage began (a resumed training does not begin at 0).
    first: Option<u64>,
    began: Instant,
    reported: (u64, Instant),
    bar: Option<ProgressBar>,
    detail: String,
}

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Prints to stderr what the library reports.
pub struct Terminal {
    quiet: bool,
    format: LogFormat,
    /// Where else it is told.
    pub metrics: Option<Metrics>,
    stop: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
    stage: Option<Stage>,
    began: Instant,
}

impl Terminal {
    /// Also listens for interruption and termination: the first asks for an orderly stop, the second ends the process.
    pub fn new(quiet: bool, format: LogFormat, metrics: Option<Metrics>) -> Self {
        let (stop, signal) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let insisted = Arc::new(AtomicBool::new(false));
        // A terminal that closes sends SIGHUP; `nohup` has it ignored, and it stays so.
        let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
        for number in [SIGINT, SIGTERM].into_iter().chain(hangup) {
            // Without a handler a signal just ends the process, which is safe too.
            let _ = flag::register_conditional_shutdown(number, 128 + number, insisted.clone());
            let _ = flag::register_usize(number, signal.clone(), number as usize);
            let _ = flag::register(number, stop.clone());
        }
        // `timeout` and terminals may send the same wish twice, to the process and to its group: only a later signal insists.
        let (asked, armed) = (stop.clone(), insisted);
        std::thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                std::thread::sleep(TWICE / 4);
            }
            std::thread::sleep(TWICE);
            armed.store(true, Ordering::Relaxed);
        });
        Self { quiet, format, metrics, stop, signal, stage: None, began: Instant::now() }
    }

    /// 128 and the number of the signal that asked to stop: what a shell reports of a process that a signal ended.
    pub fn stop_code(&self) -> u8 {
        match self.signal.load(Ordering::Relaxed) {
            0 => Error::Stopped.exit_code(),
            number => 128 + number as u8,
        }
    }

    /// One line: of a level, with what a machine should know beside its text.
    pub fn line(&self, level: &str, text: &str, more: &Value) {
        if self.quiet && !["warning", "error"].contains(&level) {
            return;
        }
        if self.format == LogFormat::Json {
            let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
            let mut line = json!({ "time": now, "level": level, "message": text });
            for (key, value) in more.as_object().into_iter().flatten() {
                line[key] = value.clone();
            }
            let _ = writeln!(std::io::stderr(), "{line}");
            return;
        }
        let text = if level == "info" { text.to_owned() } else { format!("{level}: {text}") };
        match self.stage.as_ref().and_then(|s| s.bar.as_ref()) {
            Some(bar) => bar.println(&text),
            None => {
                let _ = writeln!(std::io::stderr(), "{text}");
            }
        }
    }
}

impl Progress for Terminal {
    fn start(&mut self, name: &str, total: u64, unit: &str) {
        let bar = (!self.quiet && self.format == LogFormat::Text && std::io::stderr().is_terminal()).then(|| {
            let template = if total == 0 {
                format!("{{prefix:>10}} {{pos}} {unit} {{rate}} {{wide_msg}}")
            } else {
                format!("{{prefix:>10}} {{bar:30}} {{pos}}/{{len}} {unit} {{rate}} eta {{eta}} {{wide_msg}}")
            };
            let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let style = style.with_key("rate", |state: &ProgressState, w: &mut dyn std::fmt::Write| {
                let _ = write!(w, "{:.1}/s", state.per_sec());
            });
            ProgressBar::new(total).with_style(style).with_prefix(name.to_owned())
        });
        let now = Instant::now();
        if let Some(metrics) = &mut self.metrics {
            ["augment_stage_items", "augment_stage_items_total", "augment_items_per_second"]
                .iter()
                .for_each(|family| metrics.clear(family));
            metrics.set("augment_stage_items_total", &[("stage", name), ("unit", unit)], total as f64);
            metrics.tell();
        }
        self.stage = Some(Stage {
            name: name.into(),
            unit: unit.into(),
            total,
            first: None,
            began: now,
            reported: (0, now),
            bar,
            detail: String::new(),
        });
    }

    fn at(&mut self, done: u64) {
        let Some(stage) = &mut self.stage else { return };
        let first = *stage.first.get_or_insert(if done < stage.total { done } else { 0 });
        let rate = (done - first.min(done)) as f64 / stage.began.elapsed().as_secs_f64().max(1e-3);
        if let Some(metrics) = &mut self.metrics {
            let labels = [("stage", stage.name.as_str()), ("unit", stage.unit.as_str())];
            metrics.set("augment_stage_items", &labels, done as f64);
            metrics.set("augment_items_per_second", &labels, (rate * 100.0).round() / 100.0);
            metrics.tell();
        }
        if let Some(bar) = &stage.bar {
            bar.set_position(done);
            if done == first && done > 0 {
                // What an earlier run did says nothing of this one's speed.
                bar.tick();
                bar.reset_eta();
            }
            bar.set_message(stage.detail.clone());
            return;
        }
        let (last, when) = stage.reported;
        let (waited, more) = (when.elapsed(), (done - last.min(done)) * 20 >= stage.total.max(1));
        let due = (waited >= BETWEEN && more) || waited >= SILENCE;
        let complete = stage.total > 0 && done >= stage.total;
        if done == first || done == last || !(due || complete) {
            return;
        }
        stage.reported = (done, Instant::now());
        let left = (stage.total > 0).then(|| stage.total.saturating_sub(done) as f64 / rate.max(1e-9));
        let Stage { name, total, unit, detail, .. } = &*stage;
        let text = match left {
            Some(left) => format!("{name}: {done}/{total} {unit} {rate:.1}/s eta {left:.0} s {detail}"),
            None => format!("{name}: {done} {unit} {rate:.1}/s {detail}"),
        };
        let more = json!({
            "stage": name, "done": done, "total": (*total > 0).then_some(total), "unit": unit, "per_second": rate, "seconds_left": left,
        });
        self.line("info", text.trim_end(), &more);
    }

    fn finish(&mut self) {
        if let Some(Stage { bar: Some(bar), .. }) = self.stage.take() {
            bar.finish();
        }
    }

    fn warn(&mut self, message: &str) {
        self.line("warning", &told(message), &Value::Null);
    }

    fn note(&mut self, message: &str) {
        self.line("info", &told(message), &Value::Null);
    }

    fn train_step(&mut self, _: u64, losses: &[(&'static str, f32)]) {
        if let Some(stage) = &mut self.stage {
            stage.detail = detail(losses);
        }
        if let Some(metrics) = &mut self.metrics {
            losses.iter().for_each(|(name, value)| metrics.set("augment_loss", &[("name", name)], f64::from(*value)));
        }
    }

    fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// What the library tells, in a line, with its options as flags.
fn told(message: &str) -> String {
    super::flags(&super::printable(message).replace('\n', "\u{fffd}"))
}

/// The losses of a step in a few words: `loss_` and `_pair` are left out of their names.
fn detail(losses: &[(&'static str, f32)]) -> String {
    let part = |(name, value): &(&str, f32)| {
        let digits = usize::from(value.abs() < 100.0) + usize::from(value.abs() < 10.0);
        format!("{} {value:.digits$}", name.trim_start_matches("loss_").replace("pair_", ""))
    };
    losses.iter().map(part).collect::<Vec<_>>().join(" ")
}
