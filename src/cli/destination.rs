//! The output folder: whether it can take a plan, and whether what lies there is complete and unchanged.

use crate::error::{Error, Result};
use crate::manifest::{PLAN_FILE, file_hash};
use crate::store;
use serde_json::Value;
use std::path::Path;

/// Summary of a complete dataset, written last.
pub const SUCCESS: &str = "_SUCCESS.json";

/// The JSON object in `path`; `None` only where there is no file.
fn read_json(path: &Path) -> Result<Option<Value>> {
    match std::fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path, e)),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| Error::Usage(format!("{}: damaged ({e}); choose another folder with --out", path.display()))),
    }
}

/// Whether `out` can take `plan`: it is new or empty, or holds the same plan, complete (then its summary) or not. Another
/// plan or files of somebody else are an error. Keys that `plan` lacks are not compared.
pub fn compare(out: &Path, plan: &Value) -> Result<Option<Value>> {
    let advice = "choose another folder with --out, or delete it";
    let done = read_json(&out.join(SUCCESS))?;
    let stored = match &done {
        Some(done) => Some(done["plan"].clone()),
        None => read_json(&out.join(PLAN_FILE))?,
    };
    let Some(stored) = stored else {
        let mut entries = match std::fs::read_dir(out) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(|e| Error::io(out, e))?,
        };
        // Our own file of a run that was stopped at once says nothing.
        let first_write = store::temporary(Path::new(PLAN_FILE));
        if entries.any(|e| e.is_ok_and(|e| e.file_name() != first_write.as_os_str())) {
            return Err(Error::Usage(format!("{} is not empty and was not made by augment; {advice}", out.display())));
        }
        return Ok(None);
    };
    let plan = plan.as_object().into_iter().flatten();
    let differs: Vec<&str> = plan.filter(|(k, v)| stored[k.as_str()] != **v).map(|(k, _)| k.as_str()).collect();
    if differs.is_empty() {
        if let Some(done) = &done {
            check_files(out, done)?;
        }
        return Ok(done);
    }
    Err(Error::Usage(format!("{} holds a dataset made with other {}; {advice}", out.display(), differs.join(", "))))
}

/// Reads the files of a complete dataset and compares their hashes; of an image folder, number and size of the images.
fn check_files(out: &Path, done: &Value) -> Result<()> {
    if done["plan"]["format"] == "imagefolder" {
        let (mut files, mut bytes) = (0u64, 0u64);
        for path in glob::glob(&format!("{}/imagefolder/*/*", glob::Pattern::escape(&out.display().to_string())))
            .into_iter()
            .flatten()
            .flatten()
        {
            files += 1;
            bytes += std::fs::metadata(&path).map_err(|e| Error::io(&path, e))?.len();
        }
        if done["rows"] != files || done["bytes"] != bytes {
            return Err(Error::Usage(format!(
                "{0}: images are missing or changed since it was written; delete it and run again",
                out.display()
            )));
        }
    }
    for file in done["files"].as_array().into_iter().flatten() {
        let path = out.join(file["path"].as_str().unwrap_or_default());
        let same = path.is_file() && file["blake3"] == file_hash(&path)?.to_hex().as_str();
        if !same {
            return Err(Error::Usage(format!(
                "{}: missing or changed since it was written; delete {} and run again",
                path.display(),
                out.display()
            )));
        }
    }
    Ok(())
}

/// Makes `out` ready for `plan`. Returns the summary if the plan is complete there.
pub fn prepare(out: &Path, plan: &Value) -> Result<Option<Value>> {
    if let Some(done) = compare(out, plan)? {
        return Ok(Some(done));
    }
    // What an unfinished run of the same plan left is made again.
    for name in ["data", "imagefolder"] {
        let old = out.join(name);
        if old.exists() {
            std::fs::remove_dir_all(&old).map_err(|e| Error::io(&old, e))?;
        }
    }
    store::create_dir(out)?;
    store::write_atomic(&out.join(PLAN_FILE), format!("{plan:#}\n").as_bytes())?;
    Ok(None)
}
