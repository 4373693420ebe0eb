//! Sealed weight files: safetensors with one header entry that holds the hash of the whole file, and the marks of forgotten persons.

use crate::error::{Error, Result};
use crate::store;
use crate::tombstones::Tombstones;
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Key of the one metadata entry (several would come out in random order).
const METADATA: &str = "augment";

/// The one metadata entry: the header as text, and the hash of the file with [`NO_HASH`] in the place of this hash.
#[derive(Serialize, Deserialize)]
struct Sealed {
    blake3: String,
    header: String,
}

const NO_HASH: [u8; 64] = [b'0'; 64];

/// Hash of a file whose own hash stands at `at`.
fn hash_without(bytes: &[u8], at: usize) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [&bytes[..at], &NO_HASH, &bytes[at + NO_HASH.len()..]] {
        hasher.update(part);
    }
    hasher.finalize().to_hex().to_string()
}

/// The metadata entry of a safetensors file and where its hash stands.
fn sealed(bytes: &[u8]) -> std::result::Result<(Sealed, usize), String> {
    let damaged = |e: &dyn std::fmt::Display| format!("damaged or not safetensors: {e}");
    let (_, metadata) = safetensors::SafeTensors::read_metadata(bytes).map_err(|e| damaged(&e))?;
    let json = metadata.metadata().as_ref().and_then(|m| m.get(METADATA));
    let json = json.ok_or("not written by augment: its header entry is missing")?;
    let sealed: Sealed =
        serde_json::from_str(json).map_err(|e| format!("made by another version of augment, or damaged: {e}"))?;
    // The file begins with its header.
    let at = bytes.windows(NO_HASH.len()).position(|w| w == sealed.blake3.as_bytes());
    Ok((sealed, at.ok_or_else(|| damaged(&"it has no hash"))?))
}

/// Puts the right hash into a file of [`write`].
///
/// # Errors
/// It is not one: what is wrong.
pub fn seal(bytes: &mut [u8]) -> std::result::Result<(), String> {
    let (_, at) = sealed(bytes)?;
    let hash = hash_without(bytes, at);
    bytes[at..at + hash.len()].copy_from_slice(hash.as_bytes());
    Ok(())
}

/// The header of a file whose hash is right.
fn sealed_header(bytes: &[u8]) -> std::result::Result<String, String> {
    let (sealed, at) = sealed(bytes)?;
    if hash_without(bytes, at) == sealed.blake3 {
        Ok(sealed.header)
    } else {
        Err("damaged: its content does not fit its hash".into())
    }
}

/// Writes tensors and a header as safetensors. The file holds a hash of its content.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, tensors: &BTreeMap<String, Tensor>, header: &impl Serialize) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| Error::Model(format!("{}: {e}", path.display()));
    let header = serde_json::to_string(header).map_err(|e| failed(&e))?;
    let sealed = Sealed { blake3: String::from_utf8_lossy(&NO_HASH).into_owned(), header };
    let json = serde_json::to_string(&sealed).map_err(|e| failed(&e))?;
    let metadata = HashMap::from([(METADATA.to_owned(), json)]);
    let mut bytes =
        safetensors::serialize(tensors.iter().map(|(k, t)| (k.as_str(), t)), Some(metadata)).map_err(|e| failed(&e))?;
    seal(&mut bytes).map_err(|e| failed(&e))?;
    store::write_atomic(path, &bytes)
}

/// True if the file begins as [`write`] begins one; whether it is whole is not looked at.
pub fn is_ours(path: &Path) -> bool {
    // Eight bytes tell the length of the header.
    let mut start = [0; 4096];
    let read = std::fs::File::open(path).and_then(|mut f| std::io::Read::read(&mut f, &mut start)).unwrap_or_default();
    let mark = format!("\"{METADATA}\":");
    start[..read].windows(mark.len()).any(|w| w == mark.as_bytes())
}

/// The header of a checkpoint or model, whose file is compared with its hash.
///
/// # Errors
/// `Model` if any byte is another.
pub fn header(path: &Path) -> Result<serde_json::Value> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let header = sealed_header(&bytes).and_then(|h| serde_json::from_str(&h).map_err(|e| e.to_string()));
    header.map_err(|m| Error::Model(format!("{}: {m}", path.display())))
}

/// Key of a header whose weights must not be used any more.
const FORGOTTEN: &str = "forgotten";

/// Key of a header: whom the weights knew that a training began with.
pub const BASE: &str = "base";

/// What weights know of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// They do not name it.
    None,
    /// They were trained with it.
    Trained,
    /// They were, and are marked.
    Forgotten,
}

fn tombstones(header: &serde_json::Value) -> Option<Tombstones> {
    header.get(FORGOTTEN).and_then(|t| serde_json::from_value(t.clone()).ok())
}

/// What the weights in `path` know of `identity`.
///
/// # Errors
/// The file is damaged, or cannot be read.
pub fn knowledge(path: &Path, identity: &str) -> Result<Knowledge> {
    let header = header(path)?;
    let named = ["identities", BASE].into_iter().filter_map(|key| header[key].as_array()).flatten();
    Ok(if named.into_iter().any(|n| n == identity) {
        Knowledge::Trained
    } else if tombstones(&header).is_some_and(|t| t.contains(identity)) {
        Knowledge::Forgotten
    } else {
        Knowledge::None
    })
}

/// True if the weights in `path` knew a person who was forgotten.
///
/// # Errors
/// The file is damaged, or cannot be read.
pub fn is_marked(path: &Path) -> Result<bool> {
    Ok(header(path)?.get(FORGOTTEN).is_some())
}

/// Marks the weights in `path`: nothing reads them from then on, and the name of `identity` is replaced.
///
/// # Errors
/// The file is damaged, or cannot be written.
pub fn mark_forgotten(path: &Path, identity: &str) -> Result<()> {
    let mut header = header(path)?;
    let mut tombstones = tombstones(&header).map_or_else(Tombstones::new, Ok)?;
    tombstones.add(identity);
    for key in ["identities", BASE] {
        let names = header.get_mut(key).and_then(Value::as_array_mut);
        for name in names.into_iter().flatten().filter(|n| *n == identity) {
            *name = tombstones.placeholder(identity).into();
        }
    }
    header[FORGOTTEN] = serde_json::json!(tombstones);
    let tensors = candle_core::safetensors::load(path, &Device::Cpu)?;
    write(path, &tensors.into_iter().collect(), &header)
}

/// Reads what [`write`] wrote: its tensors, its header, and the blake3 (hex) of the bytes that these were taken from.
///
/// # Errors
/// `Model` for a damaged file, or one that knows a forgotten person.
pub fn read<H: DeserializeOwned>(path: &Path, device: &Device) -> Result<(BTreeMap<String, Tensor>, H, String)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let (tensors, header) = parse(&bytes, device).map_err(|m| Error::Model(format!("{}: {m}", path.display())))?;
    Ok((tensors, header, blake3::hash(&bytes).to_hex().to_string()))
}

fn parse<H: DeserializeOwned>(
    bytes: &[u8],
    device: &Device,
) -> std::result::Result<(BTreeMap<String, Tensor>, H), String> {
    let damaged = |e: &dyn std::fmt::Display| format!("damaged or not safetensors: {e}");
    let header = sealed_header(bytes)?;
    let marked = serde_json::from_str::<serde_json::Value>(&header).is_ok_and(|h| h.get(FORGOTTEN).is_some());
    if marked {
        return Err("trained with a person who has been forgotten since; train again without".into());
    }
    let header = serde_json::from_str(&header).map_err(|e| damaged(&e))?;
    let tensors = candle_core::safetensors::load_buffer(bytes, device).map_err(|e| damaged(&e))?;
    Ok((tensors.into_iter().collect(), header))
}
