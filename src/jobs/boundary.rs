//! Tries untrusted files, manifests and lists of pairs, in a child process with limits before this process parses them: a parser that aborts, hangs or
//! takes all memory ends the child, not the run.

use super::Context;
use crate::error::{Error, Result};
use crate::formats::bin;
use crate::manifest::{Columns, Manifest};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;
use std::process::{Command, Stdio};

/// Name of the subcommand of [`Context::trial`] that the child runs, followed by `--` and the arguments of [`run`].
pub const TRIAL: &str = "try-manifest";

/// Memory that a child may fill, in bytes: row groups are read in batches of bounded size.
const MEMORY: u64 = 2 << 30;
/// Seconds of computing that a child may take, and those for each gigabyte.
const SECONDS: (u64, u64) = (20, 60);

/// Reads the files that `spec` means in a child, where the context has a program for it.
///
/// # Errors
/// The child did not come to its end. What else is wrong with the files is for the reader of this process to say.
pub(super) fn try_manifest(spec: &str, columns: &Columns, context: &Context) -> Result<()> {
    let Some(program) = &context.trial else { return Ok(()) };
    let ended = Command::new(program)
        .args([TRIAL, "--", spec, &columns.identity, &columns.image, &columns.image_uri])
        // What stands there may be what is read: `/dev/stdin`.
        .stdin(Stdio::inherit())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|e| Error::io(program, e))?;
    match ended.code() {
        Some(0) => Ok(()),
        _ => Err(Error::Manifest(format!(
            "{spec}: the file is damaged or hostile: its reader was ended ({ended}), with at most {} MiB and a limit of time; write it \
             again, in smaller row groups if it is whole",
            MEMORY >> 20
        ))),
    }
}

/// What the child does: takes limits upon itself and reads everything. Files that a reader refuses are no concern of it: only how it
/// ends counts.
///
/// # Errors
/// The limits cannot be set.
pub fn run(manifest: &str, columns: &Columns) -> Result<()> {
    let limit = |resource, n: u64| {
        // The hard limit stays: it is not ours to raise.
        let maximum = getrlimit(resource).maximum;
        let limit = Rlimit { current: Some(maximum.map_or(n, |m| m.min(n))), maximum };
        setrlimit(resource, limit).map_err(|e| Error::io("limits of a process", e.into()))
    };
    limit(Resource::Data, MEMORY)?;
    // An abort shall leave no file behind.
    limit(Resource::Core, 0)?;
    let gigabytes = Manifest::size(manifest).unwrap_or(0).div_ceil(1 << 30);
    limit(Resource::Cpu, SECONDS.0 + SECONDS.1 * gigabytes)?;
    let path = Path::new(manifest);
    if path.extension().is_some_and(|e| e == bin::EXTENSION) {
        let _ = bin::read(path);
    } else {
        let _ = Manifest::open(manifest, columns).and_then(|m| m.read(true, |_| Ok(())));
    }
    Ok(())
}
