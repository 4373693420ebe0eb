//! Object stores (`s3://`, `gs://`, `az://`) and files behind `https://`: what an address names is brought into the cache, and a finished
//! folder is pushed (`push`).

mod push;

use super::{Access, FETCHED};
use crate::error::{Error, Result};
use crate::store;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path as Key;
use object_store::{ClientOptions, Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig};
pub(super) use push::push;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is tried again and again, at most so often and so long.
const TRIES: usize = 4;
const TRIED: Duration = Duration::from_mins(1);

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
        let bare = |(name, value): &&(String, String)| name.contains("ENDPOINT") && !value.contains("://");
        if let Some((name, value)) = access.options.iter().find(bare) {
            return Err(wrong(&format!("{name}={value}: expected an address with its scheme, as in http://{value}")));
        }
        let base = format!("{scheme}://{root}");
        let retry = RetryConfig { max_retries: TRIES, retry_timeout: TRIED, ..RetryConfig::default() };
        let options = || access.options.iter().map(|(name, value)| (name.to_lowercase(), value.clone()));
        // The builders of all stores have the same methods, and no trait in common.
        macro_rules! built {
            ($builder:ty) => {{
                let known = options().filter_map(|(name, value)| Some((name.parse().ok()?, value)));
                let builder = <$builder>::new().with_url(&base).with_retry(retry);
                let builder = known.fold(builder, |builder, (name, value)| builder.with_config(name, value));
                Box::new(builder.build().map_err(|e| self::wrong(url, &e))?)
            }};
        }
        let store: Box<dyn ObjectStore> = match scheme {
            "s3" => built!(AmazonS3Builder),
            "gs" => built!(GoogleCloudStorageBuilder),
            "az" => built!(MicrosoftAzureBuilder),
            _ => {
                let client = ClientOptions::new().with_allow_http(true);
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

    /// What lies in and below it.
    async fn list(&self) -> Result<Vec<ObjectMeta>> {
        self.store.list(Some(&self.key)).try_collect().await.map_err(|e| self.failed(e))
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
        // Without keys the client asks the machine that it would run on in the store's own cloud.
        StoreError::Generic { .. } if ["169.254.", "metadata.google"].iter().any(|s| e.to_string().contains(s)) => {
            denied()
        }
        StoreError::Generic { .. } if e.to_string().contains("redirect without LOCATION") => {
            Error::HubRefused(format!("{url}: lies in another region; name it with the variable AWS_REGION"))
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
        let (root, mut wanted) = (folder.join("folder"), BTreeSet::new());
        for meta in &place.list().await? {
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

/// True if an object lies at `url`.
///
/// # Errors
/// `Usage`, `Hub`, `HubRefused`.
pub(super) fn is_there(url: &str, access: &Access) -> Result<bool> {
    let place = Place::open(url, access)?;
    block_on(async {
        match place.store.head(&place.key).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(e) => Err(place.failed(e)),
        }
    })
}

/// What lies below `url`, by its path from there.
///
/// # Errors
/// `Usage`, `Hub`, `HubRefused`.
pub(super) fn list(url: &str, access: &Access) -> Result<BTreeSet<String>> {
    let place = Place::open(url, access)?;
    let listed = block_on(place.list())?;
    let below = |meta: &ObjectMeta| {
        let parts = meta.location.prefix_match(&place.key)?;
        Some(parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"))
    };
    Ok(listed.iter().filter_map(below).collect())
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
    let mark = file.with_added_extension(FETCHED);
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
