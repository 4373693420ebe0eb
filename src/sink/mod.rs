//! Writers of labelled images: Parquet shards for Hugging Face, or folders, with a dataset card.

pub mod card;
pub mod commit;
mod folder;
pub mod forget;
mod parquet;
pub mod read;
pub mod records;
pub mod schema;

use crate::error::Result;
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, UInt64Array};
use commit::{Missing, Output};
pub use folder::FolderSink;
pub use parquet::ParquetSink;
use std::sync::Arc;

/// One labelled image with all that is needed to make it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Encoded image.
    pub image: Vec<u8>,
    /// `jpg` or `png`.
    pub extension: &'static str,
    /// Class number in this dataset.
    pub label: i64,
    /// Identity key.
    pub identity: String,
    /// Identity set; keys are unique within one.
    pub identity_set: String,
    /// Unique name: letters and digits.
    pub sample_id: String,
    /// False for merged real images.
    pub synthetic: bool,
    /// Root of the random streams.
    pub seed: u64,
    /// Number of the image within its identity.
    pub index: i64,
    /// JSON list of [identity, weight] that G was given.
    pub label_mix: String,
    /// Distribution of z.
    pub latent: String,
    /// Factor on z's deviation.
    pub truncation: f64,
    /// blake3 of the model file; empty for real images.
    pub model_hash: String,
    /// blake3 of the resolved configuration.
    pub config_hash: String,
    /// blake3 of the manifest.
    pub manifest_hash: String,
}

/// Takes the records that an output lacks, in order.
pub trait Sink: Send {
    /// Which rows of the dataset are to be written: the others are committed already.
    fn missing(&self) -> Missing;
    /// Writes the next missing record.
    fn write(&mut self, record: Record) -> Result<()>;
    /// Ends the dataset once nothing is missing; it is complete when [`Output::complete`] has been called.
    fn finish(self: Box<Self>) -> Result<Output>;
}

/// All columns of `records` but the image, in the schema's order.
fn value_columns(records: &[Record]) -> Vec<ArrayRef> {
    let text = |f: fn(&Record) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(records.iter().map(f))) };
    vec![
        Arc::new(Int64Array::from_iter_values(records.iter().map(|r| r.label))),
        text(|r| &r.identity),
        text(|r| &r.identity_set),
        text(|r| &r.sample_id),
        Arc::new(BooleanArray::from(records.iter().map(|r| r.synthetic).collect::<Vec<_>>())),
        Arc::new(UInt64Array::from_iter_values(records.iter().map(|r| r.seed))),
        Arc::new(Int64Array::from_iter_values(records.iter().map(|r| r.index))),
        text(|r| &r.label_mix),
        text(|r| &r.latent),
        Arc::new(Float64Array::from_iter_values(records.iter().map(|r| r.truncation))),
        text(|r| &r.model_hash),
        text(|r| &r.config_hash),
        text(|r| &r.manifest_hash),
    ]
}
