//! All tests but two as one program: one is compiled and linked instead of twenty, and while one test waits, others work.
//!
//! Each module is about one thing: `cargo test --release --test suite pipeline::` runs those of the pipeline. Programs of their own are
//! `reading`, which counts what its process reads, and `cuda`, which is carried to a machine with a GPU.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod applications;
mod browser;
mod cli;
mod cluster;
mod common;
mod corpus;
mod decode;
mod evaluation;
mod floors;
mod formats;
mod guards;
#[cfg(feature = "hub")]
mod hub;
mod interop;
mod licences;
mod losses;
mod manifests;
#[cfg(feature = "cloud")]
mod objects;
mod ops;
mod outside;
mod pipeline;
mod templates;
mod toy;
mod training;
