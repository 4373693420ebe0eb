//! Progress and metrics as events: the library reports, whoever calls it prints.

use crate::train::step::StepLosses;

/// Receives events of a running stage; what an implementation leaves out is not reported.
pub trait Progress {
    /// A stage begins that will handle `total` items.
    fn start(&mut self, _stage: &str, _total: u64, _unit: &str) {}
    /// `done` items of the current stage are complete.
    fn at(&mut self, _done: u64) {}
    /// The current stage is complete.
    fn finish(&mut self) {}
    /// One line worth reading.
    fn note(&mut self, _message: &str) {}
    /// A training goes on after `step`: what was reported of later steps is void.
    fn resume(&mut self, _step: u64) {}
    /// A training step ended.
    fn train_step(&mut self, _step: u64, _images: u64, _losses: &StepLosses) {}
    /// True if the user asked to stop.
    fn stop_requested(&self) -> bool {
        false
    }
}

/// Reports nothing and never stops.
pub struct Silent;

impl Progress for Silent {}
