//! A finished folder on its way to an object store: what is there already is not sent again, and its last file, which tells that all is there, comes last.

use super::super::{Access, Outgoing, Pushed};
use super::{Place, block_on};
use crate::error::{Error, Result};
use crate::progress::Progress;
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, Error as StoreError, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions,
    PutOptions,
};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

/// Files that are larger are sent in parts of so many bytes.
const PART: usize = 8 << 20;
/// Name of the attribute that holds the hash of an object's bytes.
const HASH: &str = "blake3";

/// Pushes `files` of `root` to `url`: those that are there already are not sent again, and the last one, which tells that all are there, is
/// created only where there is none. With `replace` one that is there goes first, and what is no part of these files last.
///
/// # Errors
/// `Usage`: something else is there; `Hub`, `HubRefused`; a file cannot be read.
pub fn push(
    root: &Path,
    files: &[Outgoing],
    url: &str,
    replace: bool,
    access: &Access,
    progress: &mut dyn Progress,
) -> Result<Pushed> {
    let place = Place::open(url, access)?;
    if place.web {
        return Err(Error::Usage(format!("{url}: outputs go to s3://, gs:// or az://")));
    }
    let (Some(first), Some(last)) = (files.first(), files.last()) else {
        return Err(Error::Internal("nothing to push".into()));
    };
    if place.key.as_ref().is_empty() {
        return Err(Error::Usage(format!("{url}: name a place in the bucket, which belongs to what is pushed alone")));
    }
    let mut pushed = Pushed::default();
    progress.start("push", files.iter().map(|f| f.bytes).sum(), "bytes");
    block_on(async {
        let strange = strangers(&place, files, (first, last), replace).await?;
        for (name, what) in [(last, "another dataset or model"), (first, "a part of another dataset or model")] {
            let key = place.below(&name.path)?;
            match hash_of(&place, &key).await? {
                Some(hash) if hash != name.hash && !replace => {
                    return Err(Error::Usage(format!(
                        "{url}: holds {what}; choose another place, or replace it with option `replace`"
                    )));
                }
                Some(hash) if hash != name.hash && name.path == last.path => {
                    place.store.delete(&key).await.map_err(|e| place.failed(e))?;
                }
                _ => {}
            }
        }
        for file in files {
            let key = place.below(&file.path)?;
            if hash_of(&place, &key).await?.as_ref() == Some(&file.hash) {
                pushed.before += 1;
            } else {
                send(&place, &key, root, file, file.path == last.path).await?;
                pushed.sent += 1;
            }
            pushed.bytes += file.bytes;
            progress.reached(pushed.bytes)?;
        }
        for key in &strange {
            place.store.delete(key).await.map_err(|e| place.failed(e))?;
            pushed.removed += 1;
        }
        Ok(())
    })?;
    progress.finish();
    Ok(pushed)
}

/// Objects at `place` that are no part of `files`. They are refused, unless they are to be replaced and belong to what was pushed there
/// before: one of the files `ends` tells that.
async fn strangers(place: &Place, files: &[Outgoing], ends: (&Outgoing, &Outgoing), replace: bool) -> Result<Vec<Key>> {
    let kept: BTreeSet<Key> = files.iter().map(|f| place.below(&f.path)).collect::<Result<_>>()?;
    let listed: Vec<Key> = place.list().await?.into_iter().map(|meta| meta.location).collect();
    let strange: Vec<Key> = listed.iter().filter(|key| !kept.contains(key)).cloned().collect();
    let Some(first) = strange.first() else { return Ok(strange) };
    let refused = |why: &str| Error::Usage(format!("{}: holds {first}, {why}", place.url));
    if !replace {
        return Err(refused(
            "which is no part of this; choose another place, or replace what is there with option `replace`",
        ));
    }
    let ends = [place.below(&ends.0.path)?, place.below(&ends.1.path)?];
    let nested = |key: &&Key| ends.iter().any(|end| key.filename() == end.filename() && *key != end);
    if !listed.iter().any(|key| ends.contains(key)) || strange.iter().any(|key| nested(&key)) {
        return Err(refused("and more than one dataset or model: nothing of it is removed; choose another place"));
    }
    Ok(strange)
}

/// The hash that an object says it has; empty where it says none.
async fn hash_of(place: &Place, key: &Key) -> Result<Option<String>> {
    match place.store.get_opts(key, GetOptions { head: true, ..GetOptions::default() }).await {
        Ok(found) => {
            let hash = found.attributes.get(&Attribute::Metadata(HASH.into()));
            Ok(Some(hash.map_or(String::new(), |h| h.to_string())))
        }
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(e) => Err(place.failed(e)),
    }
}

/// Sends a file, whole or in parts; `once` only if nothing is there.
async fn send(place: &Place, key: &Key, root: &Path, file: &Outgoing, once: bool) -> Result<()> {
    let path = root.join(&file.path);
    let failed = |e| Error::io(&path, e);
    let attributes = Attributes::from_iter([(Attribute::Metadata(HASH.into()), file.hash.clone())]);
    if once || file.bytes <= PART as u64 {
        let bytes = std::fs::read(&path).map_err(failed)?;
        let mode = if once { PutMode::Create } else { PutMode::Overwrite };
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        return match place.store.put_opts(key, bytes.into(), options).await {
            Err(StoreError::AlreadyExists { .. }) if hash_of(place, key).await?.as_ref() == Some(&file.hash) => Ok(()),
            Err(StoreError::AlreadyExists { .. }) => {
                Err(Error::Usage(format!("{}: somebody else has pushed there meanwhile", place.url)))
            }
            sent => sent.map(|_| ()).map_err(|e| place.failed(e)),
        };
    }
    let mut from = std::fs::File::open(&path).map_err(failed)?;
    let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
    let mut upload = place.store.put_multipart_opts(key, options).await.map_err(|e| place.failed(e))?;
    let sent = async {
        loop {
            let mut part = Vec::with_capacity(PART);
            (&mut from).take(PART as u64).read_to_end(&mut part).map_err(failed)?;
            if part.is_empty() {
                return upload.complete().await.map(|_| ()).map_err(|e| place.failed(e));
            }
            upload.put_part(part.into()).await.map_err(|e| place.failed(e))?;
        }
    };
    let sent = sent.await;
    if sent.is_err() {
        // Parts that stay cost their owner money.
        let _ = upload.abort().await;
    }
    sent
}
