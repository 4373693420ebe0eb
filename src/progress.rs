//! Progress and metrics as events: the library reports, whoever calls it prints.

use crate::error::{Error, Result};
use std::time::Duration;

/// Receives events of a running stage; what an implementation leaves out is not reported.
pub trait Progress {
    /// A stage begins that will handle `total` items; 0 where nobody knows.
    fn start(&mut self, _stage: &str, _total: u64, _unit: &str) {}
    /// `done` items of the current stage are complete.
    fn at(&mut self, _done: u64) {}
    /// The current stage is complete.
    fn finish(&mut self) {}
    /// One line worth reading.
    fn note(&mut self, _message: &str) {}
    /// One line that whoever starts a job must read.
    fn warn(&mut self, message: &str) {
        self.note(message);
    }
    /// A training step ended with these losses, by name.
    fn train_step(&mut self, _step: u64, _losses: &[(&'static str, f32)]) {}
    /// True if the user asked to stop.
    fn stop_requested(&self) -> bool {
        false
    }
    /// Whether to go on.
    ///
    /// # Errors
    /// `Stopped`: the user asked to stop.
    fn go_on(&self) -> Result<()> {
        if self.stop_requested() { Err(Error::Stopped) } else { Ok(()) }
    }
    /// `done` items of the current stage are complete ([`Progress::at`]); whether to go on.
    ///
    /// # Errors
    /// `Stopped`: the user asked to stop.
    fn reached(&mut self, done: u64) -> Result<()> {
        self.at(done);
        self.go_on()
    }
    /// Time since some moment, for figures of speed: the library reads no clock.
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

/// Reports nothing and never stops.
pub struct Silent;

impl Progress for Silent {}
