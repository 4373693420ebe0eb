//! Tars: of WebDataset, whose samples are members of one name, with the label in `.cls` or `.json`; or of folders, the first of which names
//! the person.

use super::{Chunk, Gathering, Item, PICTURES, Picture, Source};
use crate::error::{Error, Result};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Bytes of a member, at most.
const MOST: u64 = 64 << 20;
/// Bytes read at a time, of all members, and where most are skipped.
const BUFFER: usize = 1 << 20;
const SMALL_BUFFER: usize = 4096;
/// Kinds of members that may hold a label.
const KINDS: [&str; 2] = ["cls", "json"];
/// Keys of a `.json` member that may hold the label, the first that is there.
const LABELS: [&str; 6] = ["identity", "label", "class", "person", "name", "cls"];

/// Members that are looked at for a folder that holds all others.
const FIRST: usize = 1000;

/// Some tars.
pub(super) struct Tars {
    paths: Vec<PathBuf>,
    /// A folder that holds the folders of all persons.
    top: Option<String>,
    others: Cell<usize>,
}

/// The members of one sample.
#[derive(Default)]
struct Sample {
    key: String,
    members: BTreeMap<String, Vec<u8>>,
}

impl Tars {
    /// Opens `paths`.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn open(paths: Vec<PathBuf>) -> Result<Self> {
        for path in &paths {
            File::open(path).map_err(|e| Error::io(path, e))?;
        }
        let top = paths.first().and_then(|path| top_of(path));
        Ok(Self { paths, top, others: Cell::new(0) })
    }
}

/// The first folder of all members of `tar`, if persons' folders lie in it.
fn top_of(tar: &Path) -> Option<String> {
    let mut archive = tar::Archive::new(BufReader::with_capacity(SMALL_BUFFER, File::open(tar).ok()?));
    let mut top: Option<String> = None;
    for entry in archive.entries_with_seek().ok()?.take(FIRST).flatten().filter(|e| e.header().entry_type().is_file()) {
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut folders = name.trim_start_matches("./").split('/');
        let first = folders.next().filter(|_| folders.count() >= 2)?;
        if top.as_ref().is_some_and(|top| top != first) {
            return None;
        }
        top = Some(first.to_owned());
    }
    top
}

/// Key and kind of a member, as WebDataset has it: the name up to the first point after the last slash, and what follows. In folders a
/// picture may have points in its name.
fn parts(name: &str) -> Option<(&str, &str)> {
    let file = name.rfind('/').map_or(0, |at| at + 1);
    let mut point = name[file..].find('.')? + file;
    let last = name.rfind('.')?;
    if file > 0 && is_picture(&name[last + 1..]) {
        point = last;
    }
    (point > file).then(|| (&name[..point], &name[point + 1..]))
}

impl Sample {
    /// The pictures of the sample: the first, where a member says its label, else all.
    fn items(
        self,
        tar: &Path,
        top: Option<&str>,
        row: usize,
        pictures: bool,
    ) -> std::result::Result<Vec<Item>, String> {
        let label = match (self.members.get("cls"), self.members.get("json")) {
            (Some(cls), _) => Some(String::from_utf8_lossy(cls).trim().to_owned()),
            (None, Some(json)) => {
                let json: serde_json::Value =
                    serde_json::from_slice(json).map_err(|e| format!("member {}.json: {e}", self.key))?;
                LABELS.iter().find_map(|key| match &json[*key] {
                    serde_json::Value::String(name) => Some(name.clone()),
                    serde_json::Value::Number(number) => Some(number.to_string()),
                    _ => None,
                })
            }
            (None, None) => None,
        };
        let most = if label.is_some() { 1 } else { usize::MAX };
        let key = self.key.trim_start_matches("./");
        let inner = top.and_then(|top| key.strip_prefix(top)?.strip_prefix('/')).unwrap_or(key).to_owned();
        let (folder, name) = inner.split_once('/').unwrap_or(("", &inner));
        let identity = label.or_else(|| Some(folder.to_owned())).filter(|name| !name.is_empty());
        let item = |(n, (_, bytes)): (usize, (String, Vec<u8>))| Item {
            place: (tar.display().to_string(), row + n, 0),
            identity: identity.clone(),
            image_id: Some(if folder.is_empty() { inner.clone() } else { name.to_owned() }),
            split: None,
            identity_set: None,
            group: None,
            picture: if pictures { Picture::Bytes(bytes) } else { Picture::Skipped },
        };
        Ok(self.members.into_iter().filter(|(kind, _)| is_picture(kind)).take(most).enumerate().map(item).collect())
    }
}

fn is_picture(kind: &str) -> bool {
    PICTURES.iter().any(|p| kind.eq_ignore_ascii_case(p))
}

impl Source for Tars {
    fn kind(&self) -> &'static str {
        "tar"
    }

    fn read(&self, pictures: bool, f: &mut dyn FnMut(Chunk) -> Result<()>) -> Result<()> {
        let mut gathering = Gathering::new(f);
        self.others.set(0);
        for path in &self.paths {
            let damaged = |what: &dyn std::fmt::Display| Error::Manifest(format!("{}: {what}", path.display()));
            let file = File::open(path).map_err(|e| Error::io(path, e))?;
            let mut archive =
                tar::Archive::new(BufReader::with_capacity(if pictures { BUFFER } else { SMALL_BUFFER }, file));
            let (mut sample, mut row) = (Sample::default(), 0);
            let finish = |sample: Sample, row: &mut usize, gathering: &mut Gathering| {
                for item in sample.items(path, self.top.as_deref(), *row, pictures).map_err(|e| damaged(&e))? {
                    *row += 1;
                    gathering.push(item)?;
                }
                Ok::<_, Error>(())
            };
            // Where nothing is skipped, the end of a tar that is cut off is seen.
            let entries = if pictures { archive.entries() } else { archive.entries_with_seek() };
            for entry in entries.map_err(|e| damaged(&format!("no tar: {e}")))? {
                let mut entry = entry.map_err(|e| damaged(&format!("damaged or cut off after {row} pictures: {e}")))?;
                if !entry.header().entry_type().is_file() {
                    continue;
                }
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                let hidden = name.rsplit('/').next().is_some_and(|file| file.starts_with('.'));
                let known = parts(&name)
                    .filter(|(_, kind)| is_picture(kind) || KINDS.iter().any(|k| kind.eq_ignore_ascii_case(k)));
                let Some((key, kind)) = known.filter(|_| !hidden) else {
                    self.others.set(self.others.get() + usize::from(!hidden));
                    continue;
                };
                let kind = kind.to_lowercase();
                if entry.size() > MOST {
                    return Err(damaged(&format!("member {name} has {} bytes, more than {MOST}", entry.size())));
                }
                if key != sample.key {
                    let last = std::mem::replace(&mut sample, Sample { key: key.to_owned(), ..Sample::default() });
                    finish(last, &mut row, &mut gathering)?;
                }
                let mut bytes = Vec::new();
                if pictures || !is_picture(&kind) {
                    entry.read_to_end(&mut bytes).map_err(|e| damaged(&format!("member {name} is cut off: {e}")))?;
                }
                sample.members.insert(kind, bytes);
            }
            finish(sample, &mut row, &mut gathering)?;
        }
        gathering.finish()
    }

    fn passed_over(&self) -> Option<String> {
        (self.others.get() > 0).then(|| format!("{} members that are no pictures and no labels", self.others.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_end_at_the_first_point_of_the_file() {
        assert_eq!(parts("000.seg.png"), Some(("000", "seg.png")));
        assert_eq!(parts("Bob/Bob.Smith_1.jpg"), Some(("Bob/Bob.Smith_1", "jpg")));
        assert_eq!(parts("a.b/000.json"), Some(("a.b/000", "json")));
        assert_eq!(parts("000.jpg"), Some(("000", "jpg")));
        assert_eq!((parts("a.b/README"), parts("a/.hidden")), (None, None));
    }

    #[test]
    fn labels_come_from_members_or_folders() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        let mut builder = tar::Builder::new(File::create(&path).unwrap());
        let members = [
            ("0.jpg", "A"),
            ("0.cls", "7\n"),
            ("1.json", "{\"label\": \"Ann\"}"),
            ("1.png", "B"),
            ("Bob/Bob_1.jpg", "C"),
            ("notes.txt", "no picture"),
            ("2.jpg", "D"),
        ];
        for (name, data) in members {
            let mut header = tar::Header::new_ustar();
            header.set_size(data.len() as u64);
            header.set_cksum();
            builder.append_data(&mut header, name, data.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap();
        let mut found = Vec::new();
        let tars = Tars::open(vec![path.clone()]).unwrap();
        tars.read(true, &mut |chunk| {
            found.extend(chunk.items.into_iter().map(|i| (i.identity, i.image_id.unwrap())));
            Ok(())
        })
        .unwrap();
        let some = |name: &str| Some(name.to_owned());
        let expected = [(some("7"), "0"), (some("Ann"), "1"), (some("Bob"), "Bob_1"), (None, "2")];
        assert_eq!(found, expected.map(|(i, n)| (i, n.to_owned())));
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..700]).unwrap();
        let e = Tars::open(vec![path]).unwrap().read(true, &mut |_| Ok(())).unwrap_err();
        assert!(e.to_string().contains("a.tar"), "{e}");
    }
}
