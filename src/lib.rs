//! Data augmentation for face recognition: trains a CVAE-GAN per identity set and synthesizes labelled faces.
//!
//! [`jobs`] is what the program does, one file a job. Below it data flows one way; a stage knows earlier stages only:
//!
//! ```text
//! manifest -> dataset -> model/train -> synthesize -> sink -> evaluate -> report
//! (Parquet)   (pixels)   (CVAE-GAN)     (images)      (files) (gain)      (HTML, JSON)
//! ```
//!
//! The library prints nothing and reads no environment and no clock: progress and metrics are events ([`progress::Progress`]).

pub mod config;
pub mod dataset;
pub mod demo;
pub mod error;
pub mod evaluate;
pub mod formats;
pub mod jobs;
pub mod manifest;
pub mod model;
pub mod nn;
pub mod ops;
pub mod progress;
pub mod recogniser;
pub mod remote;
pub mod report;
pub mod seeds;
pub mod sink;
pub mod store;
pub mod synthesize;
pub mod tombstones;
pub mod train;
