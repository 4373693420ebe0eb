//! MXNet RecordIO as insightface and AdaFace write it: `train.rec`, whose images carry their class number. The index beside it is not needed.

use super::{Chunk, Gathering, Item, Picture, Source};
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::PathBuf;

const MAGIC: u32 = 0xced7_230a;
/// Bytes of a record, at most.
const MOST: usize = 256 << 20;
/// Bytes of the header of an image record.
const HEADER: usize = 24;
/// Bytes of a record that tell its class, and that it has a picture: its header, and labels.
const START: usize = 1024;
/// Bytes read at a time.
const BUFFER: usize = 1 << 20;

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

/// Reads records one by one.
struct Reader {
    file: BufReader<File>,
    record: usize,
    path: PathBuf,
}

impl Reader {
    fn damaged(&self, what: &str) -> Error {
        Error::Manifest(format!("{} record {}: {what}; make the file again", self.path.display(), self.record))
    }

    /// A part of a record, at most `most` bytes of it, and its place in it: 0 whole, 1 first, 2 in between, 3 last. Its length is added to
    /// `all`. None at the end of the file.
    fn part(&mut self, most: usize, out: &mut Vec<u8>, all: &mut usize) -> Result<Option<u32>> {
        let mut head = [0; 8];
        match self.file.read(&mut head[..1]).map_err(|e| Error::io(&self.path, e))? {
            0 => return Ok(None),
            _ => self.exact(&mut head[1..])?,
        }
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if word(0) != MAGIC {
            return Err(self.damaged("does not begin as a record"));
        }
        let (flag, length) = (word(4) >> 29, (word(4) & ((1 << 29) - 1)) as usize);
        *all += length;
        if *all > MOST {
            return Err(self.damaged("is larger than any picture"));
        }
        let (from, kept) = (out.len(), length.min(most));
        out.resize(from + kept, 0);
        self.exact(&mut out[from..])?;
        let rest = length.next_multiple_of(4) - kept;
        if most < usize::MAX {
            self.file.seek_relative(rest as i64).map_err(|e| Error::io(&self.path, e))?;
        } else {
            self.exact(&mut [0; 4][..rest])?;
        }
        Ok(Some(flag))
    }

    fn exact(&mut self, out: &mut [u8]) -> Result<()> {
        self.file.read_exact(out).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => self.damaged("is cut off"),
            _ => Error::io(&self.path, e),
        })
    }

    /// The next record, at most `most` bytes of each of its parts, and its length. One that held the magic number was split there, and the
    /// number left out.
    fn next(&mut self, most: usize) -> Result<Option<(Vec<u8>, usize)>> {
        let (mut data, mut all) = (Vec::new(), 0);
        let Some(mut flag) = self.part(most, &mut data, &mut all)? else { return Ok(None) };
        if flag == 1 {
            while flag != 3 {
                data.extend(MAGIC.to_le_bytes());
                all += 4;
                flag = match self.part(most, &mut data, &mut all)? {
                    Some(flag @ (2 | 3)) => flag,
                    _ => return Err(self.damaged("lacks its last part")),
                };
            }
        } else if flag != 0 {
            return Err(self.damaged("lacks its first part"));
        }
        Ok(Some((data, all)))
    }
}

/// Class and picture of a record of `length` bytes, the first of which are `data`; none for headers of the file and of persons, which have
/// no picture.
fn image(mut data: Vec<u8>, length: usize) -> std::result::Result<Option<(i64, Vec<u8>)>, &'static str> {
    if data.len() < HEADER {
        return Err("is too short for an image record");
    }
    let flag = u32::from_le_bytes([data[0], data[1], data[2], data[3]]) as usize;
    let labels = flag.checked_mul(4).filter(|n| HEADER + n <= length).ok_or("has more labels than bytes")?;
    let at = if flag == 0 { 4 } else { HEADER };
    let label = f32::from_le_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
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

    fn read(&self, pictures: bool, f: &mut dyn FnMut(Chunk) -> Result<()>) -> Result<()> {
        let mut gathering = Gathering::new(f);
        let most = if pictures { usize::MAX } else { START };
        for path in &self.paths {
            let file = File::open(path).map_err(|e| Error::io(path, e))?;
            let file = BufReader::with_capacity(BUFFER, file);
            let mut reader = Reader { file, record: 0, path: path.clone() };
            // Numbers of records are unique within a part.
            let part = path.file_stem().filter(|_| self.paths.len() > 1).map(|stem| stem.to_string_lossy());
            while let Some((data, length)) = reader.next(most)? {
                let row = reader.record;
                let found = image(data, length).map_err(|what| reader.damaged(what))?;
                reader.record += 1;
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
