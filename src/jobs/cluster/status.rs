//! How far a job is.

use super::{Done, FAILED, Shard, done, folder, open};
use crate::error::Result;
use crate::jobs::Context;
use crate::store;
use serde::Serialize;
use std::path::Path;

/// How far a shard is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum State {
    /// It is done.
    Done {
        /// Its images, where they are known here.
        rows: Option<usize>,
    },
    /// A process works on it.
    Running,
    /// It was begun; nobody works on it now.
    Begun,
    /// It was refused, and will be again.
    Failed {
        /// Why.
        error: String,
    },
    /// Nobody has begun it.
    Waiting,
}

/// How far the job in `dir` is: each shard and its state.
///
/// # Errors
/// There is none, or a record is damaged.
pub fn run(dir: &Path, context: &Context) -> Result<Vec<(Shard, State)>> {
    let (job, dir, mirror) = open(dir, context)?;
    if let Some(mirror) = mirror {
        let done = mirror.done(&job, context)?;
        // Who works on the others, a store does not know.
        let state = |done: bool| if done { State::Done { rows: None } } else { State::Waiting };
        return Ok(job.shards.into_iter().zip(done).map(|(shard, done)| (shard, state(done))).collect());
    }
    job.shards
        .into_iter()
        .map(|shard| {
            let state = state(&dir, shard.shard)?;
            Ok((shard, state))
        })
        .collect()
}

fn state(dir: &Path, number: usize) -> Result<State> {
    let place = folder(dir, number);
    if let Some(Done { rows, .. }) = done(dir, number)? {
        return Ok(State::Done { rows: Some(rows) });
    }
    if !place.exists() {
        return Ok(State::Waiting);
    }
    if store::is_locked(&place) {
        return Ok(State::Running);
    }
    Ok(match store::read_sealed(&place.join(FAILED))? {
        Some(failed) => State::Failed { error: failed["error"].as_str().unwrap_or_default().to_owned() },
        None => State::Begun,
    })
}
