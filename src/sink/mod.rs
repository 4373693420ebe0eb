//! Writing a dataset: samples go through a format into units, each of which counts once its record exists. Erasure and the search
//! for damage work on what was written, whatever its format.

pub mod card;
pub mod commit;
pub mod erase;
pub mod ledger;
pub mod order;
pub mod verify;

use crate::error::Result;
use crate::formats::{Format, Sample, Site, UnitWriter};
use commit::{Missing, Output};
use ledger::Entry;
use std::sync::Arc;

/// Takes the samples that an output lacks, in order.
pub struct Sink {
    output: Output,
    format: &'static dyn Format,
    site: Arc<Site>,
    /// The unit that is being written.
    unit: usize,
    rows: usize,
    writer: Option<Box<dyn UnitWriter>>,
}

impl Sink {
    /// A sink for samples of the classes `classes` into the units of `output`, which must have been arranged.
    pub fn new(output: Output, format: &'static dyn Format, classes: Vec<String>) -> Self {
        let (out, staging) = (output.folder().to_owned(), output.staging());
        let site = Arc::new(Site { out, staging, classes, units: output.units(), rows: output.rows() });
        Self { unit: output.next_unit(), output, format, site, rows: 0, writer: None }
    }

    /// Which rows of the dataset are to be written: the others are committed already.
    pub fn missing(&self) -> Missing {
        self.output.missing()
    }

    /// Writes the next missing sample, and commits its unit if that is full.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&mut self, sample: Sample) -> Result<()> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.format.unit(&self.site, self.unit)?,
        };
        writer.write(sample)?;
        self.rows += 1;
        if self.rows < self.output.rows_of(self.unit) {
            self.writer = Some(writer);
            return Ok(());
        }
        let files = self.output.publish(&writer.close()?)?;
        self.output.commit(self.unit, self.rows, files)?;
        (self.unit, self.rows) = (self.output.next_unit(), 0);
        Ok(())
    }

    /// Ends the dataset once nothing is missing; returns the output, which is complete when [`Output::complete`] has been called, and
    /// the files beside those of the units.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(self) -> Result<(Output, Vec<Entry>)> {
        let rest = self.output.publish(&self.format.rest(&self.site)?)?;
        Ok((self.output, rest))
    }
}
