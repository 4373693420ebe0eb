//! Data augmentation for face recognition: trains a CVAE-GAN per identity set and synthesizes labelled faces.
//!
//! Data flows one way; a stage knows the types of earlier stages only:
//!
//! ```text
//! manifest -> dataset -> model/train -> synthesize -> sink -> evaluate -> report
//! (Parquet)   (pixels)   (CVAE-GAN)     (images)      (files) (gain)      (HTML, JSON)
//! ```
//!
//! Progress and metrics are events ([`progress::Progress`]); only `cli` prints.

pub mod cli;
pub mod config;
pub mod dataset;
pub mod demo;
pub mod error;
pub mod evaluate;
pub mod hub;
pub mod manifest;
pub mod model;
pub mod ops;
pub mod progress;
pub mod report;
pub mod seeds;
pub mod sink;
pub mod store;
pub mod synthesize;
pub mod tombstones;
pub mod train;
