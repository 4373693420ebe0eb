//! Data augmentation for face recognition: trains a CVAE-GAN per identity set and synthesizes labelled faces.
//!
//! [`jobs`] is what the program does, one file a job. Below it data flows one way; a stage knows earlier stages only:
//!
//! ```text
//! manifest -> dataset -> model/train -> synthesize -> sink -> evaluate -> report
//! (Parquet)   (pixels)   (CVAE-GAN)     (images)      (files) (gain)      (HTML, JSON)
//! ```
//!
//! A manifest of labelled faces in, a dataset out, and what it gains:
//!
//! ```
//! use augment::formats::Reader;
//! use augment::jobs::{self, Context, demo, evaluate};
//! use augment::progress::Silent;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! let manifest = dir.path().join("faces.parquet");
//! demo::run(&demo::Request { out: manifest.clone(), identities: 6, per_id: 10, image_size: 32, seed: 0, sets: 1 })?;
//! let context = Context::new(dir.path().join("cache"));
//! let manifest = manifest.display().to_string();
//!
//! let mut request = jobs::augment::Request::new(&manifest, dir.path().join("more-faces"));
//! request.settings.duration_kimg = Some(0.2);
//! request.synthesis.per_id = 4;
//! let made = jobs::augment::run(&request, &context, &mut Silent)?.written;
//!
//! let mut samples = Vec::new();
//! Reader::open(&made.out)?.read_all(|sample| Ok(samples.push(sample)))?;
//! assert_eq!((samples.len(), made.summary.classes), (6 * 4, 6));
//!
//! let mut test = evaluate::Request::new(&manifest, dir.path().join("report"));
//! (test.synthetic, test.seeds) = (Some(made.out), 1);
//! test.settings.set = vec!["recipe.steps=5".into()];
//! let gain = evaluate::run(&test, &context, &mut Silent)?;
//! println!("{}", gain.verdict);
//! # Ok(())
//! # }
//! ```
//!
//! The library prints nothing and reads no environment and no clock: progress and metrics are events ([`progress::Progress`]).

pub mod apply;
pub mod config;
pub mod dataset;
pub mod demo;
pub mod detector;
pub mod error;
pub mod evaluate;
pub mod formats;
pub mod jobs;
pub mod manifest;
pub mod model;
pub mod nn;
mod onnx;
pub mod ops;
pub mod progress;
pub mod recogniser;
pub mod remote;
pub mod report;
pub mod seeds;
pub mod sink;
pub mod sources;
pub mod store;
pub mod synthesize;
pub mod tombstones;
pub mod train;
