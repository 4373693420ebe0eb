//! Tars: of WebDataset, whose samples are members of one name, with the label in `.cls` or `.json`; or of folders, the first of which names
//! the person, below what all of them lie in and below folders of splits.

mod folders;
mod names;
mod sample;

use super::{Chunk, Gathering, OTHER_PICTURES, PICTURES, Source};
use crate::error::{Error, Result};
use folders::Folders;
use sample::{Member, Sample, label};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes of a member, at most.
const MOST: u64 = 64 << 20;
/// Bytes read at a time, of all members, and where most are skipped.
const BUFFER: usize = 1 << 20;
const SMALL_BUFFER: usize = 4096;
/// Kinds of members that may hold a label.
const KINDS: [&str; 3] = ["cls", "class", "json"];
/// Members of a sample, at most, and bytes of them, where no label holds them together.
const MEMBERS: usize = 1000;
const MEMBER_BYTES: usize = 64 << 20;
/// Bytes of zeros that a tar ends with, at least.
const END: usize = 512;

/// Some tars.
pub(super) struct Tars {
    paths: Vec<PathBuf>,
    folders: Folders,
    others: Cell<usize>,
    lonely: Cell<usize>,
}

impl Tars {
    /// Opens `paths`.
    ///
    /// # Errors
    /// One cannot be read, or is compressed.
    pub fn open(paths: Vec<PathBuf>) -> Result<Self> {
        for path in &paths {
            let mut start = Vec::new();
            let read = File::open(path).and_then(|f| f.take(6).read_to_end(&mut start));
            read.map_err(|e| Error::io(path, e))?;
            if super::is_compressed(&start) {
                return Err(super::unpack(path));
            }
            if !has_end(path) {
                return Err(Error::Manifest(format!(
                    "{}: has no end: it is cut off, or its writer did not close it; make it again",
                    path.display()
                )));
            }
        }
        let folders = Folders::of(&paths).unwrap_or_default();
        Ok(Self { paths, folders, others: Cell::new(0), lonely: Cell::new(0) })
    }
}

/// True for members that no sample is made of: hidden files, and WebDataset's own notes.
fn is_apart(name: &str) -> bool {
    name.trim_start_matches("./").split('/').any(|part| part.starts_with('.') || part == "__meta__")
}

/// Key, stem and kind of a member. As WebDataset has it, members of one key are a sample, and that is the name up to the first point after
/// the last slash; the stem goes up to the last one.
fn parts(name: &str) -> Option<(&str, &str, &str)> {
    let file = name.rfind('/').map_or(0, |at| at + 1);
    let (first, last) = (name[file..].find('.')? + file, name.rfind('.')?);
    (first > file).then(|| (&name[..first], &name[..last], &name[last + 1..]))
}

fn is_link(file: tar::EntryType) -> bool {
    file.is_hard_link() || file.is_symlink()
}

/// True for the kinds of pictures, also of those that must be converted first.
fn is_picture(kind: &str) -> bool {
    PICTURES.iter().chain(&OTHER_PICTURES).any(|p| kind.eq_ignore_ascii_case(p))
}

/// True if the file ends with the zeros that mark the end of a tar.
fn has_end(path: &Path) -> bool {
    let mut end = [1; END];
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::End(-(END as i64)))?;
        file.read_exact(&mut end)
    });
    read.is_ok() && end == [0; END]
}

impl Source for Tars {
    fn kind(&self) -> &'static str {
        "tar"
    }

    fn naming(&self) -> &'static str {
        "persons are named by the member .cls or .json of a picture's own name, or by its folder"
    }

    fn problems(&self, labels: &BTreeMap<String, usize>) -> Result<Vec<String>> {
        names::problems(&self.paths, labels)
    }

    fn read(&self, pictures: bool, f: &mut dyn FnMut(Chunk) -> Result<()>) -> Result<()> {
        let mut gathering = Gathering::new(f);
        self.others.set(0);
        self.lonely.set(0);
        for path in &self.paths {
            let damaged = |what: &dyn std::fmt::Display| Error::Manifest(format!("{}: {what}", path.display()));
            let file = File::open(path).map_err(|e| Error::io(path, e))?;
            let mut archive =
                tar::Archive::new(BufReader::with_capacity(if pictures { BUFFER } else { SMALL_BUFFER }, file));
            // Tars that were put one after the other each have an end.
            archive.set_ignore_zeros(true);
            let (mut sample, mut row) = (Sample::default(), 0);
            let finish = |sample: Sample, row: &mut usize, gathering: &mut Gathering| {
                let (items, rest) = sample.items(path, &self.folders, *row, pictures).map_err(|e| damaged(&e))?;
                self.lonely.set(self.lonely.get() + rest);
                for item in items {
                    *row += 1;
                    gathering.push(item)?;
                }
                Ok::<_, Error>(())
            };
            // Where nothing is skipped, the end of a tar that is cut off is seen.
            let entries = if pictures { archive.entries() } else { archive.entries_with_seek() };
            for entry in entries.map_err(|e| damaged(&format!("no tar: {e}")))? {
                let mut entry = entry.map_err(|e| damaged(&format!("damaged or cut off after {row} pictures: {e}")))?;
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                let file = entry.header().entry_type();
                let known = parts(&name)
                    .filter(|(_, _, kind)| is_picture(kind) || KINDS.iter().any(|k| kind.eq_ignore_ascii_case(k)));
                let Some((key, stem, kind)) = known
                    .filter(|(_, _, kind)| (file.is_file() || is_link(file) && is_picture(kind)) && !is_apart(&name))
                else {
                    self.others.set(self.others.get() + usize::from(!file.is_dir() && !is_apart(&name)));
                    continue;
                };
                let kind = kind.to_lowercase();
                if entry.size() > MOST {
                    return Err(damaged(&format!("member {name} has {} bytes, more than {MOST}", entry.size())));
                }
                let full = sample.members.len() >= MEMBERS || sample.bytes >= MEMBER_BYTES;
                if full && sample.whole && key == sample.key {
                    return Err(damaged(&format!(
                        "sample {key} has more than {MEMBERS} members, or {} MiB of them, under one label",
                        MEMBER_BYTES >> 20
                    )));
                }
                // A sample of one label holds together; of many names that begin alike, it need not.
                if key != sample.key || full && sample.members.last().is_some_and(|m| m.stem != stem) {
                    let last = std::mem::replace(&mut sample, Sample { key: key.to_owned(), ..Sample::default() });
                    finish(last, &mut row, &mut gathering)?;
                }
                if sample.members.iter().any(|m| m.stem == stem && m.kind == kind) {
                    return Err(damaged(&format!(
                        "member {name} stands there twice; every sample needs a key of its own, also up to capital letters"
                    )));
                }
                let mut bytes = Vec::new();
                if pictures || !is_picture(&kind) {
                    entry.read_to_end(&mut bytes).map_err(|e| damaged(&format!("member {name} is cut off: {e}")))?;
                }
                sample.bytes += bytes.len();
                let member = Member { stem: stem.to_owned(), kind, bytes, link: is_link(file) };
                sample.whole |=
                    member.stem == sample.key && !is_picture(&member.kind) && !matches!(label(&member), Ok(None));
                sample.members.push(member);
            }
            finish(sample, &mut row, &mut gathering)?;
        }
        gathering.finish()
    }

    fn passed_over(&self) -> Option<String> {
        let notes = [
            (self.others.get() > 0)
                .then(|| format!("{} members that are no pictures and no labels", self.others.get())),
            (self.lonely.get() > 0)
                .then(|| format!("{} pictures or labels beside the picture of a sample", self.lonely.get())),
        ];
        let notes: Vec<String> = notes.into_iter().flatten().collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Picture;
    use super::folders::FIRST;
    use super::*;

    #[test]
    fn keys_end_at_the_first_point_of_the_file() {
        assert_eq!(parts("000.seg.png"), Some(("000", "000.seg", "png")));
        assert_eq!(parts("Bob/Bob.Smith_1.jpg"), Some(("Bob/Bob", "Bob/Bob.Smith_1", "jpg")));
        assert_eq!(parts("a.b/000.json"), Some(("a.b/000", "a.b/000", "json")));
        assert_eq!((parts("a.b/README"), parts("a/.hidden")), (None, None));
    }

    type Shown = (Option<String>, String, Option<String>);

    /// Persons, names and splits of the pictures in a tar of `members`.
    fn read(members: &[(&str, &str)]) -> Result<Vec<Shown>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        let mut builder = tar::Builder::new(File::create(&path).unwrap());
        for (name, data) in members {
            let mut header = tar::Header::new_ustar();
            header.set_size(data.len() as u64);
            header.set_cksum();
            builder.append_data(&mut header, name, data.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap();
        let mut found = Vec::new();
        Tars::open(vec![path])?.read(true, &mut |chunk| {
            let items = chunk.items.into_iter().filter(|i| !matches!(i.picture, Picture::None(..)));
            found.extend(items.map(|i| (i.identity, i.image_id.unwrap(), i.split)));
            Ok(())
        })?;
        Ok(found)
    }

    fn row(person: &str, name: &str, split: &str) -> Shown {
        let some = |text: &str| Some(text.to_owned()).filter(|t| !t.is_empty());
        (some(person), name.to_owned(), some(split))
    }

    #[test]
    fn labels_come_from_members_or_folders() {
        let members = [
            ("0.jpg", "A"),
            ("0.cls", "7\n"),
            ("1.json", "{\"label\": \"Ann\"}"),
            ("1.png", "B"),
            ("Bob/Bob_1.jpg", "C"),
            ("notes.txt", "no picture"),
            ("2.jpg", "D"),
            ("3.jpg", "E"),
            ("3.json", "{\"label\": NaN}"),
            ("4.jpg", "F"),
            ("4.json", "\u{feff}{\"label\": 3.0}"),
        ];
        let expected =
            [row("7", "0", ""), row("Ann", "1", ""), row("Bob", "Bob_1", ""), row("", "2", ""), row("3", "4", "")];
        assert_eq!(read(&members).unwrap(), expected);
    }

    #[test]
    fn a_sample_is_the_picture_of_its_label_and_other_names_stand_alone() {
        // A mask beside the picture; points within names, with a label of their own and without.
        let members = [
            ("x/a.cls", "1"),
            ("x/a.mask.png", "M"),
            ("x/a.png", "A"),
            ("x/b.c.jpg", "B"),
            ("x/b.c.cls", "2"),
            ("x/d.e.jpg", "C"),
        ];
        assert_eq!(read(&members).unwrap(), [row("1", "x/a", ""), row("2", "x/b.c", ""), row("x", "d.e", "")]);
        // What must be converted, and its label; a label that says nothing of the pictures beside it.
        let gif = [("x/1.gif", "G"), ("x/1.cls", "1"), ("x/2.jpg", "A"), ("x/2.cls", "2")];
        assert_eq!(read(&gif).unwrap(), [row("2", "x/2", "")]);
        let frames = [("x/a.json", "{}"), ("x/a.1.jpg", "A"), ("x/a.2.jpg", "B")];
        assert_eq!(read(&frames).unwrap(), [row("x", "a.1", ""), row("x", "a.2", "")]);
        let apart = [("x/a.jpg", "A"), ("x/b.jpg", "B"), ("x/a.cls", "1"), ("x/b.cls", "2")];
        assert!(read(&apart).unwrap_err().to_string().contains("x/a.cls is the label of no picture beside it"));
        let twice = [("0.jpg", "A"), ("0.cls", "1"), ("0.JPG", "B")];
        assert!(read(&twice).unwrap_err().to_string().contains("member 0.JPG stands there twice"));
    }

    #[test]
    fn folders_above_persons_are_seen_in_all_members() {
        let many: Vec<(String, &str)> = (0..2 * FIRST).map(|i| (format!("faces/train/Ann/{i}.jpg"), "A")).collect();
        let mut members: Vec<(&str, &str)> = many.iter().map(|(name, data)| (name.as_str(), *data)).collect();
        assert_eq!(read(&members).unwrap()[3], row("Ann", "3", "train"));
        members.push(("faces/val/Bob/1.jpg", "B"));
        assert_eq!(read(&members).unwrap()[2 * FIRST], row("Bob", "1", "val"));
        members.insert(0, ("cover.jpg", "0"));
        let notes: Vec<String> = (0..2 * FIRST).map(|i| format!("notes/{i}.txt")).collect();
        let led: Vec<(&str, &str)> = notes.iter().map(|name| (name.as_str(), "x")).chain(members.clone()).collect();
        assert!(read(&led).unwrap().contains(&row("Bob", "1", "val")));
        members.remove(0);
        members.push(("faces/Cem/x/1.jpg", "C"));
        assert_eq!(read(&members).unwrap()[0], row("train", "Ann/0", ""));
        assert_eq!(read(&[("Ann/1.jpg", "A"), ("Ann/2.jpg", "B")]).unwrap()[1], row("Ann", "2", ""));
    }

    #[test]
    fn tars_that_are_cut_off_or_packed_say_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        let mut builder = tar::Builder::new(Vec::new());
        for name in ["Ann/1.jpg", "Ann/2.jpg"] {
            let mut header = tar::Header::new_ustar();
            header.set_size(3);
            header.set_cksum();
            builder.append_data(&mut header, name, &b"abc"[..]).unwrap();
        }
        let whole = builder.into_inner().unwrap();
        // One after the other, each with its end.
        std::fs::write(&path, [&whole[..], &whole[..]].concat()).unwrap();
        let mut found = 0;
        let count = |chunk: Chunk| {
            found += chunk.items.len();
            Ok(())
        };
        Tars::open(vec![path.clone()]).unwrap().read(true, &mut { count }).unwrap();
        assert_eq!(found, 4);
        std::fs::write(&path, &whole[..700]).unwrap();
        let e = Tars::open(vec![path.clone()]).err().unwrap();
        assert!(e.to_string().contains("a.tar"), "{e}");
        // Where a member would begin, nothing but the end is missing.
        std::fs::write(&path, &whole[..1024]).unwrap();
        assert!(Tars::open(vec![path.clone()]).err().unwrap().to_string().contains("is cut off"));
        std::fs::write(&path, b"\x1f\x8b\x08 and more").unwrap();
        assert!(Tars::open(vec![path]).err().unwrap().to_string().contains("unpack it first"));
    }
}
