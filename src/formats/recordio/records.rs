//! Records of MXNet's RecordIO, and the header of those that hold images.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// What every part of a record begins with.
pub const MAGIC: u32 = 0xced7_230a;
/// Bytes of the header of an image record.
pub const HEADER: usize = 24;
/// Bytes of a record, at most.
const MOST: usize = 256 << 20;
/// Bytes read at a time.
const BUFFER: usize = 1 << 20;

/// Header of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Header {
    /// Labels that follow it; none for one alone, which it holds itself.
    pub flag: u32,
    /// Class of the image.
    pub label: f32,
    /// Number of the image.
    pub id: u64,
}

impl Header {
    /// The first [`HEADER`] bytes of a record; none if it has fewer.
    pub fn read(data: &[u8]) -> Option<Self> {
        let word = |at: usize| Some([data[at], *data.get(at + 1)?, *data.get(at + 2)?, *data.get(at + 3)?]);
        if data.len() < HEADER {
            return None;
        }
        let low = u64::from(u32::from_le_bytes(word(8)?));
        let high = u64::from(u32::from_le_bytes(word(12)?));
        let (flag, label) = (u32::from_le_bytes(word(0)?), f32::from_le_bytes(word(4)?));
        Some(Self { flag, label, id: high << 32 | low })
    }

    /// Its bytes.
    pub fn bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&self.flag.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.label.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.id.to_le_bytes());
        bytes
    }
}

/// Writes a record. Where the magic number stands in its data at a multiple of four bytes, it is split there, and the number left out.
///
/// # Errors
/// The file cannot be written; the data are larger than a record can be.
pub fn write(out: &mut impl Write, data: &[u8]) -> std::io::Result<()> {
    if data.len() > MOST {
        return Err(std::io::Error::other("an image is larger than a record can be"));
    }
    let mut part = |flag: usize, data: &[u8]| {
        out.write_all(&MAGIC.to_le_bytes())?;
        out.write_all(&((flag << 29 | data.len()) as u32).to_le_bytes())?;
        out.write_all(data)
    };
    let mut from = 0;
    for (i, word) in data.as_chunks().0.iter().enumerate() {
        if *word == MAGIC.to_le_bytes() {
            part(if from == 0 { 1 } else { 2 }, &data[from..4 * i])?;
            from = 4 * i + 4;
        }
    }
    part(if from == 0 { 0 } else { 3 }, &data[from..])?;
    out.write_all(&[0; 3][..data.len().next_multiple_of(4) - data.len()])
}

/// Reads records one by one.
pub struct Reader {
    file: BufReader<File>,
    path: PathBuf,
    /// Records that were begun.
    begun: usize,
    /// Bytes of the file.
    length: u64,
    /// Where the next record begins, in bytes.
    pub offset: u64,
}

impl Reader {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let length = file.metadata().map_err(|e| Error::io(path, e))?.len();
        Ok(Self { length, file: BufReader::with_capacity(BUFFER, file), path: path.to_owned(), begun: 0, offset: 0 })
    }

    /// Number of the last record that was read.
    pub fn record(&self) -> usize {
        self.begun.saturating_sub(1)
    }

    /// What is wrong with that record.
    pub fn damaged(&self, what: &str) -> Error {
        Error::Manifest(format!("{} record {}: {what}; make the file again", self.path.display(), self.record()))
    }

    /// A part of a record, at most `most` bytes of it, and its place in it: 0 whole, 1 first, 2 in between, 3 last. Its length is added to
    /// `all`. None at the end of the file.
    fn part(&mut self, most: usize, out: &mut Vec<u8>, all: &mut usize) -> Result<Option<u32>> {
        let mut head = [0; 8];
        match self.file.read(&mut head[..1]).map_err(|e| Error::io(&self.path, e))? {
            // What was passed over may not be there.
            0 if self.offset > self.length => {
                self.begun -= 1;
                return Err(self.damaged("is cut off"));
            }
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
        self.offset += (8 + length.next_multiple_of(4)) as u64;
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
    ///
    /// # Errors
    /// It is damaged.
    pub fn next(&mut self, most: usize) -> Result<Option<(Vec<u8>, usize)>> {
        self.begun += 1;
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
