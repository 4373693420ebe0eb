//! What the program does, one file a job: a plain request goes in, a typed result comes out, events go to a
//! [`Progress`]. What makes a job safe is in here: locks, the model cache, the gate, policies, contamination, order and resume.
//!
//! A job reads no flags, no environment and no clock, prints nothing, and writes nothing but what its request and its [`Context`]
//! name.

pub mod apply;
pub mod augment;
pub mod boundary;
pub mod cluster;
pub mod demo;
pub mod enrol;
pub mod evaluate;
pub mod export;
mod filtering;
mod findings;
pub mod forget;
pub mod gates;
pub mod input;
pub mod inspect;
mod judges;
pub mod length;
mod makers;
pub mod manifest;
mod material;
pub mod methods;
pub mod models;
pub mod pairs;
mod place;
pub mod preview;
pub mod push;
mod real;
pub mod regenerate;
mod seen;
pub mod set;
mod set_model;
mod shares;
mod sorting;
mod splits;
mod survey;
mod suspects;
pub mod synthesize;
pub mod train;
pub mod verify;
mod walk;
pub mod wanted;
mod watch;
pub mod write;

pub use crate::dataset::View;
pub use crate::evaluate::comparison::Arm;
pub use crate::evaluate::gain::ArmResult;
pub use crate::formats::{FORMATS, named as format_named};
pub use crate::manifest::Columns;
pub use crate::ops::engine;
pub use crate::progress::Progress;
pub use crate::remote::Access;
pub use crate::sink::ledger::Summary;
pub use candle_core::Device;
pub use chrono::NaiveDate;
pub use input::Input;

use crate::error::{Error, Result};
use crate::remote;
use std::path::{Path, PathBuf};

/// Where a job runs: what it may use beside its request.
#[derive(Clone, Debug)]
pub struct Context {
    /// Folder of cached models and downloads; empty where there is none.
    pub cache: PathBuf,
    /// Where to compute.
    pub device: Device,
    /// How other machines are spoken to.
    pub access: Access,
    /// The day that permissions are compared with, where a request names none.
    pub today: Option<NaiveDate>,
    /// A program with our command line, which tries untrusted Parquet files in a process of its own before this one reads them. A parser
    /// that aborts, hangs or takes all memory ends that process. Without one files are read here at once.
    pub trial: Option<PathBuf>,
}

impl Context {
    /// A context on the CPU with models and downloads in `cache`.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        let access = Access::default();
        Self { cache: cache.into(), device: Device::Cpu, access, today: None, trial: None }
    }

    /// The folder of cached models and downloads.
    ///
    /// # Errors
    /// `Usage`: there is none.
    pub fn cache(&self) -> Result<&Path> {
        remote::there(&self.cache)
    }

    /// Refuses a cache that cannot be written.
    fn check_cache(&self) -> Result<()> {
        place::usable_as("cache", self.cache()?).map(|_| ())
    }

    /// An error that says what to do where the cache cannot be written.
    fn of_cache(&self, e: Error) -> Error {
        match e {
            Error::Io { path, source }
                if !self.cache.as_os_str().is_empty()
                    && (path.starts_with(&self.cache) || self.cache.starts_with(&path))
                    && !Error::may_pass(&source) =>
            {
                Error::Usage(format!(
                    "{}: {source}; name another folder for trained models with option `cache`",
                    path.display()
                ))
            }
            e => e,
        }
    }
}

/// Rows of a manifest that were left out, and where they are listed.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Number of rows.
    pub count: usize,
    /// The list, a Parquet file; it is there if there are any.
    pub list: PathBuf,
}

/// The device that `name` means: `cpu`, or `cuda:N` in a build for GPUs.
///
/// # Errors
/// `Usage` for another name, and where the build or the machine lacks the device.
pub fn device(name: &str) -> Result<Device> {
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let number = match name {
        "cuda" => Some(0),
        _ => name.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
    };
    match number {
        None => Err(Error::Usage(format!("option `device` {name}: expected cpu or cuda:N"))),
        Some(_) if !cfg!(feature = "cuda") => Err(Error::Usage(format!(
            "option `device` {name}: this build has no GPU support; build it with the feature cuda"
        ))),
        Some(n) => Device::new_cuda(n).map_err(|e| {
            let reason = e.to_string();
            Error::Usage(format!("option `device` {name}: {}", reason.lines().next().unwrap_or("no such device")))
        }),
    }
}

/// The name of a folder for what is made of the manifest `spec`: its own name without folders and extension, and `suffix`.
pub fn folder_name(spec: &str, suffix: &str) -> PathBuf {
    let path = Path::new(spec);
    // A folder's name has no extension, and what stands in a name that is there is no pattern.
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    let plain =
        |s: std::borrow::Cow<str>| if path.exists() { s.into_owned() } else { s.replace(['*', '?', '[', ']'], "") };
    let stem = name.map(|s| plain(s.to_string_lossy()));
    let stem = stem.filter(|s| !s.is_empty()).unwrap_or_else(|| "manifest".into());
    PathBuf::from(format!("{stem}-{suffix}"))
}
