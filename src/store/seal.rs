//! JSON documents whose text holds its own hash.

use super::write_atomic;
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Key of a sealed document that holds the hash of its text.
const SEAL: &str = "blake3";

/// Writes an object with the hash of its own text in it.
///
/// # Errors
/// The file cannot be written.
pub fn write_sealed(path: &Path, object: &Value) -> Result<()> {
    let mut object = object.clone();
    object[SEAL] = json!("");
    let open = format!("{object:#}\n");
    let place = format!("\"{SEAL}\": \"");
    // The last one: hashes of other things stand deeper, in lists that come before or after it.
    let at = open.rfind(&format!("\n  {place}\"")).map_or(0, |at| at + 3 + place.len());
    let hash = blake3::hash(open.as_bytes()).to_hex();
    write_atomic(path, format!("{}{hash}{}", &open[..at], &open[at..]).as_bytes())
}

/// Reads what [`write_sealed`] wrote; `None` where there is no file.
///
/// # Errors
/// `Damaged` if a byte of it is another.
pub fn read_sealed(path: &Path) -> Result<Option<Value>> {
    let text = match fs::read(path) {
        // A file where its folder should be holds none either.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(Error::io(path, e)),
        Ok(bytes) => bytes,
    };
    let damaged = || Error::Damaged { path: path.to_owned(), what: "its content does not fit its hash".into() };
    let text = String::from_utf8(text).map_err(|_| damaged())?;
    let object: Value = serde_json::from_str(&text).map_err(|_| damaged())?;
    let hash = object[SEAL].as_str().filter(|h| h.len() == 64).ok_or_else(damaged)?;
    let open = text.replacen(hash, "", 1);
    if blake3::hash(open.as_bytes()).to_hex().as_str() == hash { Ok(Some(object)) } else { Err(damaged()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_sealed_document_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        let object = json!({ "a": [{ "blake3": "" }, 1.5e-7], "z": { "blake3": "x" }, "text": "a b" });
        write_sealed(&path, &object).unwrap();
        let mut read = read_sealed(&path).unwrap().unwrap();
        read.as_object_mut().unwrap().remove(SEAL);
        assert_eq!(read, object);
        let bytes = fs::read(&path).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &changed).unwrap();
            assert!(matches!(read_sealed(&path), Err(Error::Damaged { .. })), "bit {bit}");
        }
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(read_sealed(&path).is_err());
        assert!(read_sealed(&dir.path().join("y.json")).unwrap().is_none());
        assert!(read_sealed(&path.join("y.json")).unwrap().is_none());
    }
}
