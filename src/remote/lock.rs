//! The lock file: the sha256 of every file that was ever fetched from a hub, by its address. The first fetch writes it down, every later
//! one must bring the same bytes; the file belongs beside the job's other files, under version control.

use crate::error::{Error, Result};
use crate::store;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

const HEAD: &str = "# Files from a hub and their sha256. Written by augment; keep it under version control.\n";

/// Compares `file`, fetched from `address`, with its entry in the lock file `path`, or adds one.
///
/// # Errors
/// The bytes are not those that were fetched first.
pub fn check(path: &Path, address: &str, file: &Path) -> Result<()> {
    let here = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let shown = path.display();
    // Jobs that run side by side wait for each other, where the file system has locks.
    let folder = File::open(here).map_err(|e| Error::io(here, e))?;
    let locked = folder.lock();
    let text = match std::fs::read_to_string(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.map_err(|e| Error::io(path, e))?,
    };
    let mut entries: BTreeMap<String, String> =
        toml::from_str(&text).map_err(|e| Error::Config(format!("{shown}: {e}")))?;
    let found = sha256(file)?;
    let checked = match entries.get(address) {
        Some(known) if *known == found => Ok(()),
        Some(known) => Err(Error::HubRefused(format!(
            "{address}: its sha256 is {found}, but {shown} says {known}; delete {} if it was damaged here, or the entry if another file \
             is meant",
            file.display()
        ))),
        None => {
            entries.insert(address.to_owned(), found);
            let text = toml::to_string(&entries).map_err(|e| Error::Config(format!("{shown}: {e}")))?;
            store::write_atomic(path, format!("{HEAD}{text}").as_bytes())
        }
    };
    drop((locked, folder));
    checked
}

/// sha256 (hex) of a file.
///
/// # Errors
/// The file cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut hasher = Sha256::new();
    let mut part = vec![0; 1 << 16];
    loop {
        match file.read(&mut part).map_err(|e| Error::io(path, e))? {
            0 => break,
            n => hasher.update(&part[..n]),
        }
    }
    let digits = hasher.finalize().into_iter().flat_map(|b| [b >> 4, b & 15]);
    Ok(digits.filter_map(|d| char::from_digit(u32::from(d), 16)).collect())
}
