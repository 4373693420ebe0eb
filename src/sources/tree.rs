//! A folder tree: the first folder names the person, or the second where the first ones are splits.

use super::{Chunk, Gathering, Item, Picture, Source, picture_of, picture_within, sorted};
use crate::error::{Error, Result};
use crate::manifest::schema::named_split;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A folder of persons.
pub(super) struct Tree {
    root: PathBuf,
    /// Folders of persons lie in folders of splits.
    splits: bool,
    others: Cell<usize>,
    /// Pictures so far.
    found: Cell<usize>,
    /// Folders of persons that hold none.
    empty: RefCell<Vec<PathBuf>>,
}

impl Tree {
    /// Opens `root`.
    ///
    /// # Errors
    /// It has no folder.
    pub fn open(root: &Path) -> Result<Self> {
        let folders: Vec<PathBuf> = sorted(root)?.into_iter().filter(|p| p.is_dir()).collect();
        if folders.is_empty() {
            return Err(Error::Usage(format!(
                "{}: holds no folder; give a folder with a folder of pictures for each person, named as the person",
                root.display()
            )));
        }
        let splits = folders.iter().all(|f| named_split(&name(f).to_lowercase()).is_some());
        let (others, found, empty) = (Cell::new(0), Cell::new(0), RefCell::new(Vec::new()));
        Ok(Self { root: root.to_owned(), splits, others, found, empty })
    }

    /// The pictures below `folder`, which belong to `identity`. `above` are the real folders that lead to it: links back are passed over.
    fn walk(
        &self,
        folder: &Path,
        above: &[PathBuf],
        person: (&Path, &str, Option<&str>),
        gathering: &mut Gathering,
    ) -> Result<()> {
        let real = std::fs::canonicalize(folder).map_err(|e| Error::io(folder, e))?;
        if above.contains(&real) {
            return Ok(());
        }
        let here: Vec<PathBuf> = above.iter().cloned().chain([real]).collect();
        for path in sorted(folder)? {
            if path.is_dir() {
                self.walk(&path, &here, person, gathering)?;
                continue;
            }
            // Whoever opens a pipe waits for its writer.
            let found = if path.is_file() { picture_of(&path).or_else(|| picture_within(&path)) } else { None };
            let picture = match found {
                None => {
                    self.others.set(self.others.get() + 1);
                    continue;
                }
                Some(Err(reason)) => Picture::None(reason, Some(path.display().to_string())),
                Some(Ok(())) => Picture::File(path.clone()),
            };
            let (of, identity, split) = person;
            self.found.set(self.found.get() + 1);
            let inner = path.strip_prefix(of).unwrap_or(&path).with_extension("");
            gathering.push(Item {
                place: (path.display().to_string(), 0, 0),
                identity: Some(identity.to_owned()),
                image_id: Some(inner.to_string_lossy().into_owned()),
                split: split.map(str::to_owned),
                identity_set: None,
                face: None,
                group: None,
                picture,
            })?;
        }
        Ok(())
    }

    /// The persons below `folder`.
    fn persons(&self, folder: &Path, split: Option<&str>, gathering: &mut Gathering) -> Result<()> {
        let above = [std::fs::canonicalize(&self.root).map_err(|e| Error::io(&self.root, e))?];
        for path in sorted(folder)? {
            if path.is_dir() {
                if path.to_str().is_none() {
                    return Err(Error::Usage(format!(
                        "{}: the name of this folder is no UTF-8, and a person's key must be: rename it",
                        path.display()
                    )));
                }
                let before = self.found.get();
                self.walk(&path, &above, (&path, &name(&path), split), gathering)?;
                if self.found.get() == before {
                    self.empty.borrow_mut().push(path);
                }
            } else if picture_of(&path).is_some() {
                gathering.push(Item {
                    place: (path.display().to_string(), 0, 0),
                    identity: None,
                    image_id: None,
                    split: split.map(str::to_owned),
                    identity_set: None,
                    face: None,
                    group: None,
                    picture: Picture::None("it lies in no folder of a person".into(), None),
                })?;
            } else {
                self.others.set(self.others.get() + 1);
            }
        }
        Ok(())
    }
}

/// What is wrong with labels that count.
fn gaps(labels: &BTreeMap<String, usize>) -> Vec<String> {
    let numbers: Option<Vec<usize>> = labels.keys().map(|label| label.parse().ok()).collect();
    let Some(mut numbers) = numbers.filter(|numbers| !numbers.is_empty()) else { return Vec::new() };
    let mut problems = Vec::new();
    let sorted = |numbers: &[usize]| numbers.windows(2).all(|w| w[0] < w[1]);
    if !sorted(&numbers) {
        // Labels come sorted as strings.
        problems.push("labels sort otherwise as strings than as numbers: loaders that number sorted folders give others; pad them with zeros".into());
        numbers.sort_unstable();
    }
    let last = numbers.last().copied().unwrap_or(0);
    if last + 1 > numbers.len() {
        problems.push(format!(
            "{} labels below {last} have no image: loaders that number the folders that are there give others",
            last + 1 - numbers.len()
        ));
    }
    problems
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Source for Tree {
    fn kind(&self) -> &'static str {
        "folder tree"
    }

    fn naming(&self) -> &'static str {
        "the first folder of a picture names its person"
    }

    fn read(&self, _pictures: bool, f: &mut dyn FnMut(Chunk) -> Result<()>) -> Result<()> {
        self.others.set(0);
        self.empty.borrow_mut().clear();
        let mut gathering = Gathering::new(f);
        if self.splits {
            for folder in sorted(&self.root)?.into_iter().filter(|p| p.is_dir()) {
                self.persons(&folder, Some(&name(&folder)), &mut gathering)?;
            }
        } else {
            self.persons(&self.root, None, &mut gathering)?;
        }
        gathering.finish()
    }

    fn problems(&self, labels: &BTreeMap<String, usize>) -> Result<Vec<String>> {
        let empty = self.empty.borrow();
        let hollow = empty.first().map(|first| {
            format!(
                "{} folders hold no picture, the first {}: torchvision's ImageFolder stops at them",
                empty.len(),
                first.display()
            )
        });
        Ok(gaps(labels).into_iter().chain(hollow).collect())
    }

    fn passed_over(&self) -> Option<String> {
        (self.others.get() > 0).then(|| format!("{} files that are no pictures", self.others.get()))
    }
}
