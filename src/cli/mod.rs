//! The command line: arguments as typed, then a validated plan, then the library. The only code that prints.

mod args;
mod boundary;
mod config;
mod demo;
mod evaluate;
mod folder;
mod forget;
mod inspect;
mod output;
mod plan;
mod run;
mod seen;
mod synthesize;
mod terminal;
mod train;

use crate::error::Error;
use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use terminal::Terminal;

/// Exit code after rejects were listed.
const DONE_WITH_REJECTS: u8 = 1;

/// What a command leaves behind.
pub(crate) struct Outcome {
    /// Human-readable lines for stdout.
    pub text: String,
    /// The same as one versioned object.
    pub json: serde_json::Value,
    /// Exit code.
    pub code: u8,
}

impl Outcome {
    /// All went well.
    pub fn new(text: String, json: serde_json::Value) -> Self {
        Self { text, json, code: 0 }
    }

    /// Adds how many rows were rejected and where they are listed.
    #[must_use]
    pub fn with_rejects(mut self, rejected: usize, list: &Path) -> Self {
        self.json["rejected"] = rejected.into();
        if rejected > 0 {
            self.code = DONE_WITH_REJECTS;
            let _ = writeln!(self.text, "{rejected} manifest rows rejected, listed in {}", list.display());
            self.json["rejects"] = list.display().to_string().into();
        }
        self
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    // Photographs and what is made of them are their owner's alone.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    // A panic is reported as an error below, without the usual trace.
    std::panic::set_hook(Box::new(|_| {}));
    let json = cli.global.json;
    let mut terminal = Terminal::new(cli.global.quiet);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| dispatch(cli, &mut terminal)));
    let outcome = outcome.unwrap_or_else(|cause| {
        let cause = cause.downcast_ref::<String>().map(String::as_str).or(cause.downcast_ref::<&str>().copied());
        Err(Error::Tensor(candle_core::Error::Msg(format!(
            "internal error: {}; please report it with the command you ran",
            cause.unwrap_or("unknown")
        ))))
    });
    match outcome {
        Ok(outcome) => {
            let text = if json { format!("{}\n", outcome.json) } else { outcome.text };
            // A closed pipe (`| head`) is not an error.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            ExitCode::from(outcome.code)
        }
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "error: {}", printable(&e.to_string()));
            ExitCode::from(match e {
                Error::Interrupted { .. } | Error::Stopped => terminal.stop_code(),
                e => e.exit_code(),
            })
        }
    }
}

/// Control characters of untrusted text made visible.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

fn dispatch(cli: Cli, terminal: &mut Terminal) -> crate::error::Result<Outcome> {
    let global = cli.global;
    if let Some(n) = global.threads {
        // Fails only if the pool exists already, and nothing has used it yet.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(n.get()).build_global();
    }
    match cli.command {
        None => run::run(&cli.run, &global, terminal),
        Some(Command::Train(args)) => train::run(&args, &global, terminal),
        Some(Command::Synthesize(args)) => synthesize::run(&args, &global, terminal),
        Some(Command::Evaluate(args)) => evaluate::run(&args, &global, terminal),
        Some(Command::Inspect(args)) => inspect::run(&args, &global, terminal),
        Some(Command::Verify(args)) => folder::verify(&args),
        Some(Command::Status(args)) => folder::status(&args),
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
