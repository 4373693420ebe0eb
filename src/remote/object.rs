//! Object stores (`s3://`, `gs://`, `az://`) and files behind `https://`: what an address names is brought into the cache, and a finished
//! folder is pushed, its last file last.

use super::{Access, Outgoing, Pushed};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::store;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, Error as StoreError, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, RetryConfig,
};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Files that are larger are sent in parts of so many bytes.
const PART: usize = 8 << 20;
/// What is tried again and again, at most so often and so long.
const TRIES: usize = 4;
const TRIED: Duration = Duration::from_mins(1);
/// Name of the attribute that holds the hash of an object's bytes.
const HASH: &str = "blake3";

/// An address, and the store that it lies in.
struct Place {
    url: String,
    store: Box<dyn ObjectStore>,
    key: Key,
    /// Only single files can be fetched.
    web: bool,
}

impl Place {
    fn open(url: &str, access: &Access) -> Result<Self> {
        let wrong = |what: &str| Error::Usage(format!("{url}: {what}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("no address"))?;
        let (root, key) = rest.split_once('/').unwrap_or((rest, ""));
        if root.is_empty() || key.contains(['?', '#', '*', '[']) {
            return Err(wrong("expected SCHEME://BUCKET/PATH of a file or folder, without pattern or query"));
        }
        let key = Key::parse(key.trim_end_matches('/')).map_err(|e| wrong(&e.to_string()))?;
        let base = format!("{scheme}://{root}");
        let retry = RetryConfig { max_retries: TRIES, retry_timeout: TRIED, ..RetryConfig::default() };
        let options = || access.options.iter().map(|(name, value)| (name.to_lowercase(), value.clone()));
        let store: Box<dyn ObjectStore> = match scheme {
            "s3" => {
                let builder = AmazonS3Builder::new().with_url(&base).with_retry(retry);
                let known = options().filter_map(|(name, value)| Some((name.parse().ok()?, value)));
                Box::new(
                    known.fold(builder, |b, (k, v)| b.with_config(k, v)).build().map_err(|e| self::wrong(url, &e))?,
                )
            }
            "gs" => {
                let builder = GoogleCloudStorageBuilder::new().with_url(&base).with_retry(retry);
                let known = options().filter_map(|(name, value)| Some((name.parse().ok()?, value)));
                Box::new(
                    known.fold(builder, |b, (k, v)| b.with_config(k, v)).build().map_err(|e| self::wrong(url, &e))?,
                )
            }
            "az" => {
                let builder = MicrosoftAzureBuilder::new().with_url(&base).with_retry(retry);
                let known = options().filter_map(|(name, value)| Some((name.parse().ok()?, value)));
                Box::new(
                    known.fold(builder, |b, (k, v)| b.with_config(k, v)).build().map_err(|e| self::wrong(url, &e))?,
                )
            }
            _ => {
                let client = object_store::ClientOptions::new().with_allow_http(true);
                let builder = HttpBuilder::new().with_url(&base).with_retry(retry).with_client_options(client);
                Box::new(builder.build().map_err(|e| self::wrong(url, &e))?)
            }
        };
        Ok(Self { url: url.trim_end_matches('/').to_owned(), store, key, web: scheme.starts_with("http") })
    }

    /// What went wrong, as far as its user must know it.
    #[allow(clippy::needless_pass_by_value, reason = "it stands where a closure would")]
    fn failed(&self, e: StoreError) -> Error {
        wrong(&self.url, &e)
    }

    /// What `name` below it is called in the store.
    fn below(&self, name: &str) -> Result<Key> {
        let key = if self.key.as_ref().is_empty() { name.to_owned() } else { format!("{}/{name}", self.key) };
        Key::parse(key).map_err(|e| Error::Usage(format!("{}: {e}", self.url)))
    }
}

/// What went wrong with `url`: what may pass is worth a retry.
fn wrong(url: &str, e: &StoreError) -> Error {
    let denied = || {
        Error::HubRefused(format!(
            "{url}: access denied; set the variables of the store (AWS_ACCESS_KEY_ID, GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_ACCOUNT_NAME, ..)"
        ))
    };
    match e {
        StoreError::NotFound { .. } => Error::HubRefused(format!("{url}: nothing is there")),
        StoreError::Unauthenticated { .. } | StoreError::PermissionDenied { .. } => denied(),
        // Of lists the client does not tell them apart.
        StoreError::Generic { .. }
            if ["401 Unauthorized", "403 Forbidden"].iter().any(|s| e.to_string().contains(s)) =>
        {
            denied()
        }
        StoreError::Generic { .. } => Error::Hub(format!("{url}: {e}")),
        e => Error::HubRefused(format!("{url}: {e}")),
    }
}

/// Runs `f` to its end.
fn block_on<T>(f: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| Error::io("the network", e))?.block_on(f)
}

/// The local copy of the file or folder at `url`; below `folder` of the cache. What was fetched and has not changed is not fetched again.
///
/// # Errors
/// `Usage`, `Hub`, `HubRefused`; the copy cannot be written.
pub(super) fn fetch(url: &str, folder: &Path, access: &Access) -> Result<PathBuf> {
    let place = Place::open(url, access)?;
    let name = blake3::hash(place.url.as_bytes()).to_hex();
    let folder = folder.join(&name[..32]);
    if access.offline {
        let kept = [folder.join(place.key.filename().unwrap_or("file")), folder.join("folder")];
        let kept = kept.into_iter().find(|path| path.exists());
        return kept.ok_or_else(|| Error::HubRefused(format!("{url} is not in the cache and HF_HUB_OFFLINE is set")));
    }
    block_on(async {
        let one = match place.store.head(&place.key).await {
            Ok(meta) => Some(meta),
            Err(StoreError::NotFound { .. }) if !place.web => None,
            Err(e) => return Err(place.failed(e)),
        };
        if let Some(meta) = one {
            let file = folder.join(place.key.filename().unwrap_or("file"));
            bring(&place, &meta, &file).await?;
            return Ok(file);
        }
        let listed: Vec<ObjectMeta> =
            place.store.list(Some(&place.key)).try_collect().await.map_err(|e| place.failed(e))?;
        let (root, mut wanted) = (folder.join("folder"), BTreeSet::new());
        for meta in &listed {
            let Some(parts) = meta.location.prefix_match(&place.key) else { continue };
            let file = parts.fold(root.clone(), |path, part| path.join(part.as_ref()));
            if meta.size > 0 {
                bring(&place, meta, &file).await?;
                wanted.insert(file);
            }
        }
        if wanted.is_empty() {
            return Err(Error::HubRefused(format!("{}: nothing is there", place.url)));
        }
        forget_others(&root, &wanted)?;
        Ok(root)
    })
}

/// Removes copies of what is not there any more.
fn forget_others(folder: &Path, wanted: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if path.is_dir() {
            forget_others(&path, wanted)?;
        } else if !wanted.contains(&path) && !wanted.contains(&path.with_extension("")) {
            store::remove(&path)?;
        }
    }
    Ok(())
}

/// Brings an object into `file`, unless it is there. What it was, its neighbour says.
async fn bring(place: &Place, meta: &ObjectMeta, file: &Path) -> Result<()> {
    let mut mark = file.as_os_str().to_owned();
    mark.push(".fetched");
    let mark = PathBuf::from(mark);
    let state = format!("{} {} {}\n", meta.size, meta.last_modified.timestamp(), meta.e_tag.as_deref().unwrap_or("-"));
    let whole = std::fs::metadata(file).is_ok_and(|m| m.len() == meta.size);
    if whole && std::fs::read_to_string(&mark).is_ok_and(|text| text == state) {
        return Ok(());
    }
    store::create_dir(file.parent().unwrap_or(Path::new(".")))?;
    let staged = store::temporary(file);
    let (mut out, mut size) = (store::create(&staged)?, 0);
    let mut stream = place.store.get(&meta.location).await.map_err(|e| place.failed(e))?.into_stream();
    while let Some(part) = stream.next().await {
        let part = part.map_err(|e| place.failed(e))?;
        size += part.len() as u64;
        out.write_all(&part).map_err(|e| Error::io(&staged, e))?;
    }
    if size != meta.size {
        return Err(Error::Hub(format!("{}: {} of {} bytes of {} came", place.url, size, meta.size, meta.location)));
    }
    store::publish(&staged, file)?;
    store::write_atomic(&mark, state.as_bytes())
}

/// Pushes `files` of `root` to `url`: those that are there already are not sent again, and the last one, which tells that all are there, is
/// created only where there is none. With `replace` one that is there goes first, and what is no part of these files last.
///
/// # Errors
/// `Usage`: something else is there; `Hub`, `HubRefused`; a file cannot be read.
pub(super) fn push(
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
            progress.at(pushed.bytes);
            if progress.stop_requested() {
                return Err(Error::Stopped);
            }
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
    let listed: Vec<ObjectMeta> =
        place.store.list(Some(&place.key)).try_collect().await.map_err(|e| place.failed(e))?;
    let listed: Vec<Key> = listed.into_iter().map(|meta| meta.location).collect();
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
