//! MXNet RecordIO as insightface and AdaFace write it: `train.rec`, whose images carry their class number. The index beside it is not needed.

use super::{Chunk, Gathering, Item, Picture, Source};
use crate::error::{Error, Result};
use crate::formats::recordio::problems;
use crate::formats::recordio::records::{HEADER, Header, MAGIC, Reader};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

/// Bytes of a record that tell its class, and that it has a picture: its header, and labels.
const START: usize = 1024;

/// `.rec` files.
pub(super) struct Records {
    paths: Vec<PathBuf>,
}

impl Records {
    /// Opens `paths`, the parts of one set.
    ///
    /// # Errors
    /// One cannot be read, or is no RecordIO.
    pub fn open(paths: Vec<PathBuf>) -> Result<Self> {
        for path in &paths {
            let mut start = Vec::new();
            let read = File::open(path).and_then(|f| f.take(4).read_to_end(&mut start));
            read.map_err(|e| Error::io(path, e))?;
            if start != MAGIC.to_le_bytes() {
                let bytes = std::fs::metadata(path).map_or(0, |m| m.len());
                return Err(Error::Usage(format!(
                    "{}: no RecordIO of MXNet ({bytes} bytes, and not its first four)",
                    path.display()
                )));
            }
        }
        Ok(Self { paths })
    }
}

/// Class and picture of a record of `length` bytes, the first of which are `data`; none for headers of the file and of persons, which have
/// no picture.
fn image(mut data: Vec<u8>, length: usize) -> std::result::Result<Option<(i64, Vec<u8>)>, &'static str> {
    let header = Header::read(&data).ok_or("is too short for an image record")?;
    let labels = (header.flag as usize).checked_mul(4).filter(|n| HEADER + n <= length);
    let labels = labels.ok_or("has more labels than bytes")?;
    let first = data[HEADER..].first_chunk().map_or(f32::NAN, |label| f32::from_le_bytes(*label));
    let label = if header.flag == 0 { header.label } else { first };
    if length == HEADER + labels {
        return Ok(None);
    }
    data.drain(..(HEADER + labels).min(data.len()));
    if label.fract() != 0.0 || !label.is_finite() {
        return Err("has a label that is no class number");
    }
    Ok(Some((label as i64, data)))
}

impl Source for Records {
    fn kind(&self) -> &'static str {
        "RecordIO"
    }

    fn naming(&self) -> &'static str {
        "the label of a record names its person"
    }

    fn problems(&self, labels: &BTreeMap<String, usize>) -> Result<Vec<String>> {
        let (mut found, mut seen, mut again) = (Vec::new(), BTreeSet::new(), 0);
        for path in &self.paths {
            for problem in problems(path)? {
                // The same of another part is told once.
                if seen.insert(problem.replace(&*path.with_extension("").to_string_lossy(), "")) {
                    found.push(problem);
                } else {
                    again += 1;
                }
            }
        }
        if again > 0 {
            found.push(format!("{again} more such problems of other parts"));
        }
        Ok(found.into_iter().chain(super::no_classes(labels)).collect())
    }

    fn read(&self, pictures: bool, f: &mut dyn FnMut(Chunk) -> Result<()>) -> Result<()> {
        let mut gathering = Gathering::new(f);
        let most = if pictures { usize::MAX } else { START };
        for path in &self.paths {
            let mut reader = Reader::open(path)?;
            // Numbers of records are unique within a part.
            let part = path.file_stem().filter(|_| self.paths.len() > 1).map(|stem| stem.to_string_lossy());
            while let Some((data, length)) = reader.next(most)? {
                let row = reader.record();
                let found = image(data, length).map_err(|what| reader.damaged(what))?;
                let Some((label, bytes)) = found else { continue };
                let name = part.as_ref().map_or(String::new(), |part| format!("{part}/"));
                gathering.push(Item {
                    place: (path.display().to_string(), row, 0),
                    identity: Some(label.to_string()),
                    image_id: Some(format!("{name}{row:08}")),
                    split: None,
                    identity_set: None,
                    face: None,
                    group: None,
                    picture: if pictures { Picture::Bytes(bytes) } else { Picture::Skipped },
                })?;
            }
        }
        gathering.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(flag: u32, data: &[u8]) -> Vec<u8> {
        let word = (flag << 29) | data.len() as u32;
        let mut out = [MAGIC.to_le_bytes(), word.to_le_bytes()].concat();
        out.extend(data);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn header(flag: u32, label: f32) -> Vec<u8> {
        [&flag.to_le_bytes()[..], &label.to_le_bytes(), &7u64.to_le_bytes(), &0u64.to_le_bytes()].concat()
    }

    fn read(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("train.rec");
        std::fs::write(&path, bytes).unwrap();
        let mut found = Vec::new();
        Records::open(vec![path])?.read(true, &mut |chunk| {
            found.extend(chunk.items.into_iter().map(|item| match item.picture {
                Picture::Bytes(bytes) => (item.identity.unwrap(), bytes),
                other => panic!("{other:?}"),
            }));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn images_are_joined_and_headers_are_passed_over() {
        let first = [header(2, 0.0), 4f32.to_le_bytes().to_vec(), 6f32.to_le_bytes().to_vec()].concat();
        let plain = [header(0, 3.0), b"abcde".to_vec()].concat();
        let labelled =
            [header(2, 9.0), 5f32.to_le_bytes().to_vec(), 0f32.to_le_bytes().to_vec(), b"xy".to_vec()].concat();
        // A picture with the magic number in it, at a multiple of four.
        let start = [header(0, 1.0), b"1234".to_vec()].concat();
        let parts = [record(1, &start), record(2, b"5678"), record(3, b"90")].concat();
        let bytes = [record(0, &first), record(0, &plain), record(0, &labelled), parts].concat();
        let magic = MAGIC.to_le_bytes();
        let joined = [&b"1234"[..], &magic, b"5678", &magic, b"90"].concat();
        let expected =
            vec![("3".to_owned(), b"abcde".to_vec()), ("5".to_owned(), b"xy".to_vec()), ("1".to_owned(), joined)];
        assert_eq!(read(&bytes).unwrap(), expected);
        for cut in [9, 41, bytes.len() - 3] {
            let e = read(&bytes[..cut]).unwrap_err().to_string();
            assert!(e.contains("train.rec record") && e.contains("cut off"), "{cut}: {e}");
        }
        assert!(read(b"PAR1").unwrap_err().to_string().contains("no RecordIO"));
    }
}
