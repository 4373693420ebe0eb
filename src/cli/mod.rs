//! The command line: arguments as typed become a request of a job, its events become bars, its result text or JSON, its error advice
//! that names flags. The only code that prints.

mod apply;
mod args;
mod augment;
mod boundary;
mod cluster;
mod config;
mod demo;
mod enrol;
mod environment;
mod evaluate;
mod export;
mod folder;
mod forget;
mod groups;
mod handoff;
mod inspect;
mod manifest;
mod measures;
mod memory;
mod methods;
mod metrics;
mod pairs;
mod push;
mod resources;
mod synthesize;
mod terminal;
mod train;
mod treatment;

use ::augment::error::{Error, Result};
use args::{Cli, Command, GlobalArgs};
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use metrics::Metrics;
use resources::Resources;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;
use terminal::Terminal;

/// Exit code after rejects were listed.
const DONE_WITH_REJECTS: u8 = 1;

/// What a command leaves behind.
struct Outcome {
    /// Human-readable lines for stdout.
    text: String,
    /// The same as one versioned object.
    json: serde_json::Value,
    /// Exit code.
    code: u8,
}

impl Outcome {
    /// All went well.
    fn new(text: String, json: serde_json::Value) -> Self {
        Self { text, json, code: 0 }
    }

    /// Adds what it took.
    fn add_resources(&mut self, used: Resources, seconds: f64) {
        if let (Some(memory), Some(cpu)) = (used.peak_memory, used.cpu_seconds) {
            let megabytes = memory.div_ceil(1_000_000);
            let _ =
                writeln!(self.text, "  {megabytes} MB of memory at most, {cpu:.1} s of processors in {seconds:.1} s");
        }
        self.json["resources"] = used.json(seconds);
    }

    /// Adds how many rows were rejected and where they are listed.
    fn with_rejects(mut self, rejected: usize, list: &Path) -> Self {
        self.json["rejected"] = rejected.into();
        if rejected > 0 {
            self.code = DONE_WITH_REJECTS;
            let _ = writeln!(self.text, "{rejected} images rejected, listed in {}", list.display());
            self.json["rejects"] = list.display().to_string().into();
        }
        self
    }
}

/// Where the last panic happened, for the message that tells of it.
static PANICKED: Mutex<Option<String>> = Mutex::new(None);

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    memory::keep();
    let matches = match environment::without_empty(Cli::command()).try_get_matches() {
        Ok(matches) => matches,
        Err(e) => {
            match std::env::args_os().find(|arg| arg.to_str().is_none()) {
                Some(arg) if e.kind() == ErrorKind::InvalidUtf8 => {
                    let arg = arg.to_string_lossy().into_owned();
                    let _ = writeln!(
                        std::io::stderr(),
                        "error: {}: its name is no UTF-8; rename it, or the folder",
                        printable(&arg)
                    );
                }
                _ => _ = e.print(),
            }
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(e) => e.exit(),
    };
    // A panic is reported as an error below, without the usual trace.
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(|l| format!(" at {}:{}", l.file(), l.line()));
        if let Ok(mut place) = PANICKED.lock() {
            *place = at;
        }
    }));
    let json = cli.global.json;
    let began = Instant::now();
    let GlobalArgs { quiet, log_format, .. } = cli.global;
    let metrics = cli.global.metrics_file.as_deref().map(Metrics::new);
    let works = !cli.command.as_ref().is_some_and(Command::only_looks) && !cli.global.dry_run;
    let mut terminal = Terminal::new(quiet, log_format, metrics);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| dispatch(cli, &mut terminal)));
    let outcome = outcome.unwrap_or_else(|cause| {
        let cause = cause.downcast_ref::<String>().map(String::as_str).or(cause.downcast_ref::<&str>().copied());
        let place = PANICKED.lock().ok().and_then(|place| place.clone()).unwrap_or_default();
        Err(Error::Internal(format!(
            "internal error: {}{place}; please report it with the command you ran",
            cause.unwrap_or("unknown")
        )))
    });
    let outcome = outcome.and_then(|mut outcome| {
        if works {
            outcome.add_resources(Resources::used(), began.elapsed().as_secs_f64());
        }
        print(&outcome, json).map(|()| outcome.code)
    });
    let code = match outcome {
        Ok(code) => code,
        Err(e) => {
            let code = match e {
                Error::Interrupted { .. } | Error::Stopped => terminal.stop_code(),
                _ => e.exit_code(),
            };
            terminal.line("error", &printable(&flags(&e.to_string())), &json!({ "code": code }));
            code
        }
    };
    if let Some(metrics) = &mut terminal.metrics {
        metrics.set("augment_exit_code", &[], f64::from(code));
        if let Err(e) = metrics.write() {
            terminal.line("warning", &e.to_string(), &Value::Null);
        }
    }
    ExitCode::from(code)
}

/// Writes a result to stdout.
fn print(outcome: &Outcome, json: bool) -> Result<()> {
    let text = if json { format!("{}\n", outcome.json) } else { outcome.text.clone() };
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // `| head` has read enough.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|e| Error::io("stdout", e)),
    }
}

/// Control characters of untrusted text made visible.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// The library's `option` names as flags.
fn flags(text: &str) -> String {
    let mut parts = text.split("option `");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('`') {
            Some((name, rest)) => out.extend(["--", &name.replace('_', "-"), rest]),
            None => out += part,
        }
    }
    out
}

fn dispatch(cli: Cli, terminal: &mut Terminal) -> Result<Outcome> {
    let global = cli.global;
    environment::apply(&global)?;
    if global.dry_run && cli.command.as_ref().is_some_and(Command::only_looks) {
        return Err(Error::Usage("option `dry_run` has no effect here: this command changes nothing".into()));
    }
    match cli.command {
        None => augment::run(&cli.run, &global, terminal),
        Some(Command::Plan(args)) => cluster::plan(&args, &global, terminal),
        Some(Command::Run(args)) => cluster::run(&args, &global, terminal),
        Some(Command::Commit(args)) => cluster::commit(&args, &global, terminal),
        Some(Command::Train(args)) => train::run(&args, &global, terminal),
        Some(Command::Synthesize(args)) => synthesize::run(&args, &global, terminal),
        Some(Command::Evaluate(args)) => evaluate::run(&args, &global, terminal),
        Some(Command::CompareMethods(args)) => methods::run(&args, &global, terminal),
        Some(Command::Inpaint(args)) => apply::inpaint(&args, &global, terminal),
        Some(Command::Upscale(args)) => apply::upscale(&args, &global, terminal),
        Some(Command::Morph(args)) => apply::morph(&args, &global, terminal),
        Some(Command::Enrol(args)) => enrol::run(&args, &global, terminal),
        Some(Command::Export(args)) => export::run(&args, &global, terminal),
        Some(Command::Push(args)) => push::run(&args, &global, terminal),
        Some(Command::Pairs(args)) => pairs::run(&args, &global, terminal),
        Some(Command::Manifest(args)) => manifest::run(&args, &global, terminal),
        Some(Command::Inspect(args)) => inspect::run(&args, &global, terminal),
        Some(Command::Verify(args)) => folder::verify(&args),
        Some(Command::Status(args)) => folder::status(&args, &global, terminal),
        Some(Command::Forget(args)) => forget::run(&args, &global),
        Some(Command::TryManifest(args)) => boundary::run(&args),
        Some(Command::Demo(args)) => demo::run(&args, &global),
        Some(Command::Config(args)) => config::run(&args),
        Some(Command::Completions { shell }) => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "augment", &mut out);
            let text = String::from_utf8_lossy(&out).into_owned();
            Ok(Outcome::new(text.clone(), serde_json::json!({ "version": 1, "completions": text })))
        }
        Some(Command::Man) => {
            let mut out = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut out).map_err(|e| Error::io("stdout", e))?;
            let text = String::from_utf8_lossy(&out).into_owned();
            Ok(Outcome::new(text.clone(), serde_json::json!({ "version": 1, "man": text })))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_library_become_flags() {
        let text = "option `max_bad` 3 is no share; column `identity` is missing; see option `out`, or `x`";
        let shown = "--max-bad 3 is no share; column `identity` is missing; see --out, or `x`";
        assert_eq!((flags(text).as_str(), flags("none").as_str()), (shown, "none"));
    }
}
