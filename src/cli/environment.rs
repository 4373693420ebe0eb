//! What the environment and the global flags say of this process, and of the context of its jobs.

use super::args::GlobalArgs;
use ::augment::error::{Error, Result};
use ::augment::jobs::{Access, Context, NaiveDate, device, engine};
use clap::Command;
use std::path::PathBuf;

/// The value of a variable; an empty one is not set.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// `command` without the variables of its options that are set to nothing.
pub fn without_empty(command: Command) -> Command {
    let empty = |name: &std::ffi::OsStr| std::env::var_os(name).is_some_and(|v| v.is_empty());
    let command = command.mut_args(|arg| match arg.get_env() {
        // An option cannot lose its variable; this one is never set.
        Some(name) if empty(name) => arg.env(" ").hide_env(true),
        _ => arg,
    });
    command.mut_subcommands(without_empty)
}

/// Threads and kernels of this process.
pub fn apply(global: &GlobalArgs) -> Result<()> {
    if let Some(n) = global.threads {
        engine::set_threads(n);
    }
    engine::choose(variable("AUGMENT_SIMD").as_deref(), variable("AUGMENT_OPS").as_deref())
}

/// Variables of object stores.
fn stores() -> Vec<(String, String)> {
    let known = |name: &String| ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|prefix| name.starts_with(prefix));
    let named =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    named.filter(|(name, value)| known(name) && !value.is_empty()).collect()
}

/// Where jobs of this process run.
pub fn context(global: &GlobalArgs) -> Result<Context> {
    let program = std::env::current_exe().map_err(|e| Error::io("this program", e))?;
    let access = Access {
        token: variable("HF_TOKEN"),
        offline: variable("HF_HUB_OFFLINE").is_some_and(|v| v != "0"),
        lock_file: Some(PathBuf::from("models.lock")),
        options: stores(),
        ..Access::default()
    };
    Ok(Context {
        device: device(&global.device)?,
        access: Access { endpoint: variable("HF_ENDPOINT").unwrap_or(access.endpoint.clone()), ..access },
        today: Some(today()),
        trial: Some(program),
        ..Context::new(cache(global))
    })
}

/// The same for a command that has no preview.
pub fn context_at_once(global: &GlobalArgs) -> Result<Context> {
    if global.dry_run {
        return Err(Error::Usage("option `dry_run` does not apply here".into()));
    }
    context(global)
}

/// Today, UTC.
fn today() -> NaiveDate {
    chrono::Utc::now().date_naive()
}

/// Folder of cached models and downloads; empty where nobody has a home.
fn cache(global: &GlobalArgs) -> PathBuf {
    if let Some(dir) = &global.cache {
        return dir.clone();
    }
    let base = std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = base.or_else(|| std::env::home_dir().map(|h| h.join(".cache")));
    base.map(|b| b.join("augment")).unwrap_or_default()
}
