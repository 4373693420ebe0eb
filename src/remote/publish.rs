//! A finished folder to a repository of the Hugging Face hub, in one commit: all of it is there, or nothing.

use super::hub::safe;
use super::{Access, Outgoing, Pushed};
use crate::error::{Error, Result};
use hf_hub::HFRepositorySync;
use hf_hub::repository::{CommitOperation, RepoTreeEntry, RepoType, RepoTypeDataset, RepoTypeModel};
use hf_hub::{HFClient, HFError};
use std::path::Path;

/// Files that the hub makes itself.
const OF_THE_HUB: [&str; 2] = [".gitattributes", "README.md"];

/// Kind, owner and name of `hf://datasets/owner/name` or `hf://owner/name`.
fn address(url: &str) -> Result<(bool, &str, &str)> {
    let rest = url.strip_prefix("hf://").unwrap_or(url).trim_end_matches('/');
    let (dataset, rest) = rest.strip_prefix("datasets/").map_or((false, rest), |rest| (true, rest));
    match rest.split_once('/') {
        Some((owner, name)) if safe(owner) && safe(name) => Ok((dataset, owner, name)),
        _ => Err(Error::Usage(format!("{url}: expected hf://datasets/owner/name, or hf://owner/name for a model"))),
    }
}

/// Commits `files` of `root`, and `texts` by their paths, to the repository `url`, which is made, for its owner alone, if it is not there.
/// What is there already is replaced if `replace`, else refused.
///
/// # Errors
/// `Usage`: something is there; `Hub`, `HubRefused`.
pub(super) fn push(
    root: &Path,
    files: &[Outgoing],
    texts: &[(String, String)],
    url: &str,
    replace: bool,
    access: &Access,
) -> Result<Pushed> {
    let (dataset, owner, name) = address(url)?;
    let client = HFClient::builder()
        .endpoint(&access.endpoint)
        .retry_max_attempts(4)
        .token(access.hub_token())
        .build_sync()
        .map_err(|e| failed(url, &e))?;
    let id = format!("{owner}/{name}");
    let made = if dataset {
        client.create_repository().repo_id(&id).repo_type(RepoTypeDataset).private(true).exist_ok(true).send()
    } else {
        client.create_repository().repo_id(&id).repo_type(RepoTypeModel).private(true).exist_ok(true).send()
    };
    made.map_err(|e| failed(url, &e))?;
    let content = (root, files, texts);
    if dataset {
        commit(&client.dataset(owner, name), content, url, replace)
    } else {
        commit(&client.model(owner, name), content, url, replace)
    }
}

/// Commits to a repository that is there.
fn commit<T: RepoType>(
    repository: &HFRepositorySync<T>,
    (root, files, texts): (&Path, &[Outgoing], &[(String, String)]),
    url: &str,
    replace: bool,
) -> Result<Pushed> {
    let there = repository.list_tree().recursive(true).send().map_err(|e| failed(url, &e))?;
    let there = there.into_iter().filter_map(|entry| match entry {
        RepoTreeEntry::File { path, .. } => Some(path),
        RepoTreeEntry::Directory { .. } => None,
    });
    let there: Vec<String> = there.filter(|path| !OF_THE_HUB.contains(&path.as_str())).collect();
    if let Some(first) = there.first().filter(|_| !replace) {
        return Err(Error::Usage(format!(
            "{url}: holds files already ({first}); choose another repository, or replace them with option `replace`"
        )));
    }
    let kept = |path: &String| files.iter().any(|f| f.path == *path) || texts.iter().any(|(name, _)| name == path);
    let gone: Vec<&String> = there.iter().filter(|path| !kept(path)).collect();
    let mut operations: Vec<CommitOperation> =
        files.iter().map(|f| CommitOperation::add_file(&f.path, root.join(&f.path))).collect();
    operations.extend(texts.iter().map(|(path, text)| CommitOperation::add_bytes(path, text.clone().into_bytes())));
    operations.extend(gone.iter().map(|path| CommitOperation::delete(path.as_str())));
    let message = format!("augment {}", env!("CARGO_PKG_VERSION"));
    repository.create_commit().operations(operations).commit_message(message).send().map_err(|e| failed(url, &e))?;
    let bytes = files.iter().map(|f| f.bytes).sum();
    Ok(Pushed { sent: files.len() + texts.len(), before: 0, removed: gone.len(), bytes })
}

/// What went wrong with `url`: what may pass is worth a retry.
fn failed(url: &str, e: &HFError) -> Error {
    match e {
        HFError::AuthRequired { .. } | HFError::Forbidden { .. } => {
            Error::HubRefused(format!("{url}: access denied; set HF_TOKEN to one that may write"))
        }
        HFError::RepoNotFound { .. } | HFError::EntryNotFound { .. } => {
            Error::HubRefused(format!("{url}: no such repository"))
        }
        HFError::MalformedResponse { .. } => Error::HubRefused(format!("{url}: not a hub: {e}")),
        e => Error::Hub(format!("{url}: {e}")),
    }
}
