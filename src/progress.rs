//! Progress and metrics as events: the library reports, whoever calls it prints.

use crate::train::step::StepLosses;

/// Receives events of a running stage.
pub trait Progress {
    /// A stage begins that will handle `total` items.
    fn start(&mut self, stage: &str, total: u64, unit: &str);
    /// `done` items of the current stage are complete.
    fn at(&mut self, done: u64);
    /// The current stage is complete.
    fn finish(&mut self);
    /// One line worth reading.
    fn note(&mut self, message: &str);
    /// A training goes on after `step`: what was reported of later steps is void.
    fn resume(&mut self, step: u64);
    /// A training step ended.
    fn train_step(&mut self, step: u64, images: u64, losses: &StepLosses);
    /// True if the user asked to stop.
    fn stop_requested(&self) -> bool;
}

/// Reports nothing and never stops.
pub struct Silent;

impl Progress for Silent {
    fn start(&mut self, _: &str, _: u64, _: &str) {}
    fn at(&mut self, _: u64) {}
    fn finish(&mut self) {}
    fn note(&mut self, _: &str) {}
    fn resume(&mut self, _: u64) {}
    fn train_step(&mut self, _: u64, _: u64, _: &StepLosses) {}
    fn stop_requested(&self) -> bool {
        false
    }
}
