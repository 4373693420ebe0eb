//! The main job on many machines. [`plan`] cuts it into shards, each of which is a task of its own for whatever scheduler there is:
//! [`shard`] does one, in any order, any number at once, again after whatever ended it. [`commit`] joins what they made into the dataset that
//! the main job would write, byte for byte.
//!
//! ```text
//! JOB/_JOB.json               what is ordered, and the shards
//!     rejects.json            rows that were left out
//!     sets/00000.json         an identity set: its persons, the row groups that hold its rows, the hash of its images
//!     cache/                  models, with checkpoints: another machine goes on with the training of one that is gone
//!     shards/00000/           _LOCK while a process works on it, done.json or failed.json, and its dataset
//! ```

pub mod commit;
mod mirror;
pub mod plan;
pub mod shard;
pub mod status;

use super::Context;
use super::input::{Input, Source};
use super::walk::HELD;
use super::wanted::{Destination, Synthesis};
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::manifest::rejects::Reject;
use crate::manifest::{Census, Manifest, Place, Policy};
use crate::ops;
use crate::sink::ledger::Screening;
use crate::sink::order::OrderedModel;
use crate::{remote, store, train};
use mirror::Mirror;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What is ordered, and the shards. Written last.
const JOB_FILE: &str = "_JOB.json";
/// Version of a [`Job`].
const JOB_VERSION: u32 = 1;
/// Rows that were left out.
const REJECTS: &str = "rejects.json";
/// Record of a shard that is done.
const DONE: &str = "done.json";
/// Why a shard failed.
const FAILED: &str = "failed.json";

/// What a shard does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Trains the model of an identity set and synthesizes all of its images.
    Set,
    /// Trains the model alone.
    Train,
    /// Synthesizes the images of some of the identities.
    Part,
}

/// A task of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// Its number.
    pub shard: usize,
    /// What it does.
    pub kind: Work,
    /// The identity set.
    pub identity_set: String,
    /// Number of the set.
    set: usize,
    /// Its identities: places among those of the set, new ones last; from the first to before the second.
    targets: (usize, usize),
    /// Images that are asked for.
    pub images: u64,
    /// The shard that must be done first.
    pub after: Option<usize>,
    /// Seconds that it takes, judges left out, by the time of a few steps and images where it was planned.
    pub seconds: Option<f64>,
}

/// A job that was planned.
#[derive(Clone, Serialize, Deserialize)]
pub struct Job {
    version: u32,
    program: String,
    algorithm: (u32, u32),
    kernels: String,
    input: Input,
    model: Option<String>,
    init: Option<String>,
    synthesis: Synthesis,
    /// Where the dataset goes.
    pub destination: Destination,
    split: Option<String>,
    policy: Option<Policy>,
    manifest_hash: String,
    config: RunConfig,
    sets: usize,
    /// Rows that were left out.
    pub rejected: usize,
    /// Where they are listed.
    pub rejects: PathBuf,
    /// The shards, in order.
    pub shards: Vec<Shard>,
}

/// An identity set as it was when the job was planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SetRows {
    set: String,
    /// Identities in the order of their labels, and their usable images.
    identities: Vec<(String, usize)>,
    /// Of those, the ones that the manifest has rows of, and their rows.
    rows: BTreeMap<String, usize>,
    places: BTreeSet<Place>,
    /// Hash of its images.
    hash: String,
}

/// What a shard that is done has made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Done {
    model: OrderedModel,
    /// Side of the model's images.
    image_size: usize,
    rows: usize,
    new_identities: usize,
    screenings: Vec<Screening>,
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let damaged = |e: serde_json::Error| Error::Damaged { path: path.to_owned(), what: format!("{e}; plan again") };
    store::read_sealed(path)?.map(|value| serde_json::from_value(value).map_err(damaged)).transpose()
}

impl Job {
    /// The job in `dir`.
    ///
    /// # Errors
    /// There is none; it is damaged, or was planned by another version of the program.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(JOB_FILE);
        let Some(value) = store::read_sealed(&path)? else {
            return Err(Error::Usage(format!("{}: holds no job; plan one with `augment plan`", dir.display())));
        };
        if value["version"] != JOB_VERSION || value["program"] != env!("CARGO_PKG_VERSION") {
            let message = format!("{}: planned by another version of augment; plan it again", path.display());
            return Err(Error::Usage(message));
        }
        read(&path)?.ok_or_else(|| Error::Damaged { path, what: "gone while it was read".into() })
    }

    /// Refuses to compute with other kernels than those that the job was planned for: images would have other bytes.
    fn check_kernels(&self, context: &Context) -> Result<()> {
        let here = ops::kernels(&context.device);
        if self.kernels != here || self.algorithm != algorithm() {
            return Err(Error::Usage(format!(
                "the job was planned for the kernels {}, and here are {here}: bytes would differ; use machines of one kind, or plan it with \
                 `AUGMENT_SIMD` set to what all of them have",
                self.kernels
            )));
        }
        Ok(())
    }

    /// Its manifest, of which only the rows of `sets` are looked at.
    fn source(&self, sets: &[SetRows], context: &Context) -> Result<Source> {
        let spec = &self.input.manifest;
        let local = remote::localize_manifest(spec, &context.cache, &context.access)?;
        let files = sets.iter().flat_map(|s| &s.places).map(|(file, _)| *file).collect();
        let mut manifest = Manifest::open_known(&local, &self.input.columns, &self.manifest_hash, &files)?;
        let today = context.today.filter(|_| self.input.as_of.is_none());
        let later = self.policy.as_ref().zip(today).filter(|(begun, today)| begun.as_of < *today);
        let later = later.map(|(begun, today)| Policy { as_of: today, ..begun.clone() });
        if let Some(policy) = &self.policy {
            manifest = manifest.restrict(policy, later.as_ref())?;
        }
        let split = self.split.clone().unwrap_or_default();
        let rows = |s: &SetRows| s.rows.iter().map(|(i, n)| (i.clone(), *n)).collect::<Vec<_>>();
        let images = sets.iter().flat_map(|s| rows(s).into_iter().map(|(i, n)| ((s.set.clone(), split.clone(), i), n)));
        let census = Census::known(images.collect(), sets.iter().map(|s| (s.set.clone(), s.places.clone())));
        let source = Source {
            spec: spec.clone(),
            manifest,
            census,
            split: self.split.clone(),
            identity_set: self.input.identity_set.clone(),
            policy: self.policy.clone(),
            max_bad: self.input.max_bad,
            columns: self.input.columns.clone(),
            held: HELD,
        };
        if later.is_some() {
            source.refuse_lapsed()?;
        }
        Ok(source)
    }
}

/// True if `dir` holds a job, or may do so in an object store.
pub fn is_job(dir: &Path) -> bool {
    dir.join(JOB_FILE).exists() || dir.to_str().is_some_and(remote::is_object)
}

/// The job that `spec` names, the folder where it is or its copy, and the store that it lies in, if it lies in one.
fn open(spec: &Path, context: &Context) -> Result<(Job, PathBuf, Option<Mirror>)> {
    let mirror = Mirror::of(spec, context)?;
    let dir = match &mirror {
        Some(mirror) => mirror.dir.clone(),
        None => std::path::absolute(spec).map_err(|e| Error::io(spec, e))?,
    };
    mirror.as_ref().map_or(Ok(()), |m| m.bring_plan(JOB_FILE, context))?;
    Ok((Job::open(&dir)?, dir, mirror))
}

/// Versions of training and kernels.
fn algorithm() -> (u32, u32) {
    (train::VERSION, ops::VERSION)
}

/// The folder of shard `number` of the job in `dir`.
fn folder(dir: &Path, number: usize) -> PathBuf {
    dir.join("shards").join(format!("{number:05}"))
}

/// The folder of its dataset.
fn dataset(dir: &Path, number: usize) -> PathBuf {
    folder(dir, number).join("dataset")
}

fn set_file(dir: &Path, number: usize) -> PathBuf {
    dir.join("sets").join(format!("{number:05}.json"))
}

/// Identity set number `number` of the job in `dir`.
fn set_rows(dir: &Path, number: usize) -> Result<SetRows> {
    let path = set_file(dir, number);
    read(&path)?.ok_or_else(|| Error::Damaged { path, what: "missing; plan the job again".into() })
}

/// The record of shard `number`, if it is done.
fn done(dir: &Path, number: usize) -> Result<Option<Done>> {
    read(&folder(dir, number).join(DONE))
}

/// Rows that were left out.
fn rejects(dir: &Path) -> Result<Vec<Reject>> {
    let path = dir.join(REJECTS);
    let list = store::read_sealed(&path)?.map(|mut value| value["rejects"].take()).unwrap_or_default();
    serde_json::from_value(list).map_err(|e| Error::Damaged { path, what: format!("{e}; plan again") })
}

fn write_rejects(dir: &Path, rejects: &[Reject]) -> Result<()> {
    store::write_sealed(&dir.join(REJECTS), &json!({ "rejects": rejects }))
}
