//! Lists of image pairs for verification: from Parquet, LFW's pairs.txt, insightface's .bin, or drawn from labelled images.

mod genuine;
mod list;

use super::bin;
use crate::dataset::{IdentityDataset, View};
use crate::error::{Error, Result};
use crate::manifest::{Columns, Manifest, Policy};
use crate::seeds::Seeds;
use genuine::Genuine;
use rand::RngExt;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Folds of a list.
pub const FOLDS: usize = 10;

/// Two images and whether they show the same person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Index of an image.
    pub left: usize,
    /// Index of the other.
    pub right: usize,
    /// True for two images of one person.
    pub is_same: bool,
    /// Fold, 0..10.
    pub fold: usize,
}

/// Pairs and their images.
pub struct PairSet {
    /// Where it comes from.
    pub name: String,
    /// The images; labels name persons.
    pub images: IdentityDataset,
    /// The pairs, in the order of their folds.
    pub pairs: Vec<Pair>,
    /// Nothing said where faces are in the images.
    pub shown_whole: bool,
}

impl PairSet {
    /// Refuses a list that cannot be read, before its images are; `images` says whether these are named. What a `.bin` holds is not looked at.
    ///
    /// # Errors
    /// Those of [`PairSet::read`] that need no image.
    pub fn check(pairs: &Path, images: bool) -> Result<()> {
        list::read(pairs, images).map(|_| ())
    }

    /// Reads the list `pairs` of images in `images` (a manifest with the column `image_id`, or LFW's folder), at
    /// `view`. A `.bin` holds its own images.
    ///
    /// # Errors
    /// A list that cannot be read, or an image that is missing or cannot be decoded; the message names it.
    pub fn read(
        pairs: &Path,
        images: Option<&str>,
        columns: &Columns,
        policy: Option<&Policy>,
        view: View,
    ) -> Result<Self> {
        let extension = pairs.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
        let name = pairs.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let named = list::read(pairs, images.is_some())?;
        if extension == bin::EXTENSION {
            return Self::from_bin(pairs, name, view);
        }
        let images = images.unwrap_or_default();
        let mut wanted = BTreeSet::new();
        named.iter().for_each(|p| wanted.extend([p.left.clone(), p.right.clone()]));
        let (found, groups, shown_whole) = if extension == "txt" {
            (read_folder(Path::new(images), &wanted, view)?, BTreeMap::new(), true)
        } else {
            read_manifest(images, &wanted, columns, policy, view)?
        };
        let mut persons: Vec<String> = wanted.iter().map(|(person, _)| person.clone()).collect();
        persons.dedup();
        let (mut pixels, mut labels, mut index) = (Vec::new(), Vec::new(), BTreeMap::new());
        for key in &wanted {
            let image = found.get(key).ok_or_else(|| {
                Error::Manifest(format!("{}: image {} of {} is not in {images}", pairs.display(), key.1, key.0))
            })?;
            index.insert(key, labels.len());
            pixels.extend_from_slice(image);
            labels.push(persons.binary_search(&key.0).unwrap_or_default() as u32);
        }
        let listed = named.iter().map(|p| (index[&p.left], index[&p.right], p.is_same, p.fold)).collect();
        let images = IdentityDataset::new(view.size(), pixels, labels, persons)?.with_groups(groups);
        Ok(Self { shown_whole, ..Self::new(name, images, listed)? })
    }

    /// insightface's verification set: a pickle of encoded images and of whether each two of them show one person.
    fn from_bin(path: &Path, name: String, view: View) -> Result<Self> {
        let (images, same) = bin::read(path)?;
        let failed = |m: String| Error::Manifest(format!("{}: {m}", path.display()));
        let square = |(i, bytes): (usize, &Vec<u8>)| view.encoded(bytes).map_err(|e| format!("image {i}: {e}"));
        let pixels: Vec<Vec<u8>> =
            images.par_iter().enumerate().map(square).collect::<std::result::Result<_, _>>().map_err(failed)?;
        // Persons have no names here: every image stands for itself.
        let persons = (0..images.len()).map(|i| format!("image {i:08} of {name}")).collect();
        let labels = (0..images.len() as u32).collect();
        let listed = same.iter().enumerate().map(|(i, s)| (2 * i, 2 * i + 1, *s, None)).collect();
        let images = IdentityDataset::new(view.size(), pixels.concat(), labels, persons)?;
        Ok(Self { shown_whole: true, ..Self::new(name, images, listed)? })
    }

    /// Draws as many pairs of one person as of two, up to `count` of each, from labelled images.
    ///
    /// # Errors
    /// No person has two images, or there is only one person.
    pub fn draw(name: &str, images: IdentityDataset, count: usize) -> Result<Self> {
        let mut rng = Seeds::keyed(&[b"verification pairs"]).stream("pairs", &[]);
        let genuine = Genuine::of(&images);
        if genuine.len() == 0 || images.identities().len() < 2 {
            return Err(Error::Manifest(format!(
                "{name}: pairs need two persons or more, and one of them with two images or more"
            )));
        }
        let n = images.len();
        let of_two: usize = n * (n - 1) / 2 - genuine.len();
        let count = count.min(genuine.len()).min(of_two);
        let mut chosen = BTreeSet::new();
        let mut listed = Vec::new();
        // Fisher and Yates: the numbers that have moved, and where they are.
        let mut moved = BTreeMap::new();
        for i in 0..count {
            let at = rng.random_range(i..genuine.len());
            let number = *moved.get(&at).unwrap_or(&at);
            moved.insert(at, *moved.get(&i).unwrap_or(&i));
            let (left, right) = genuine.pair(number);
            listed.push((left, right, true, None));
            let impostor = loop {
                let (a, b) = (rng.random_range(0..n), rng.random_range(0..n));
                if images.labels()[a] != images.labels()[b] && chosen.insert((a.min(b), a.max(b))) {
                    break (a, b);
                }
            };
            listed.push((impostor.0, impostor.1, false, None));
        }
        Self::new(name.into(), images, listed)
    }

    /// Pairs (left, right, is_same, fold) of `images`.
    ///
    /// # Errors
    /// No threshold could be chosen for some fold: the other folds lack pairs of one kind.
    fn new(name: String, images: IdentityDataset, listed: Vec<Listed>) -> Result<Self> {
        let pairs = in_folds(listed);
        let missing = (0..FOLDS).find(|fold| {
            let others = |is_same: bool| pairs.iter().any(|p| p.fold != *fold && p.is_same == is_same);
            !(others(true) && others(false))
        });
        match missing {
            Some(fold) => Err(Error::Manifest(format!(
                "{name}: outside of fold {fold} there are no pairs of one person, or none of two; a test needs both"
            ))),
            None => Ok(Self { name, images, pairs, shown_whole: false }),
        }
    }

    /// blake3 (hex) of images and pairs.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.images.hash().as_bytes());
        for p in &self.pairs {
            hasher.update(format!("{} {} {} {};", p.left, p.right, p.is_same, p.fold).as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// Left and right image, whether they show one person, and a fold if the list names it.
type Listed = (usize, usize, bool, Option<usize>);

/// Gives pairs that name no fold one by their order, as `KFold(10)` cuts them.
fn in_folds(listed: Vec<Listed>) -> Vec<Pair> {
    let (size, larger) = (listed.len() / FOLDS, listed.len() % FOLDS);
    let by_order = |i: usize| {
        let first = larger * (size + 1);
        if i < first { i / (size + 1) } else { larger + (i - first) / size.max(1) }
    };
    let pair = |(i, (left, right, is_same, fold)): (usize, Listed)| Pair {
        left,
        right,
        is_same,
        fold: fold.unwrap_or_else(|| by_order(i)),
    };
    let mut pairs: Vec<Pair> = listed.into_iter().enumerate().map(pair).collect();
    pairs.sort_by_key(|p| p.fold);
    pairs
}

type Found = BTreeMap<(String, String), Vec<u8>>;

/// The images of LFW's folder, `name/name_0001.jpg`.
fn read_folder(root: &Path, wanted: &BTreeSet<(String, String)>, view: View) -> Result<Found> {
    let read = |key: &(String, String)| {
        let plain = Path::new(&key.0).components().all(|c| matches!(c, std::path::Component::Normal(_)));
        let path = root.join(&key.0).join(format!("{}_{}.jpg", key.0, key.1));
        if !plain {
            return Err(Error::Manifest(format!("`{}` is no name of a person", key.0)));
        }
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        Ok((key.clone(), view.encoded(&bytes).map_err(|e| Error::Manifest(format!("{}: {e}", path.display())))?))
    };
    wanted.par_iter().map(read).collect()
}

/// The wanted images of a manifest, by identity and image_id, the groups of identities, and whether nothing says where faces are.
fn read_manifest(
    spec: &str,
    wanted: &BTreeSet<(String, String)>,
    columns: &Columns,
    policy: Option<&Policy>,
    view: View,
) -> Result<(Found, BTreeMap<String, String>, bool)> {
    let mut manifest = Manifest::open(spec, columns)?;
    if let Some(policy) = policy {
        manifest = manifest.restrict(policy, None)?;
    }
    let (mut found, mut groups) = (Found::new(), BTreeMap::new());
    manifest.read(true, |rows| {
        let decoded: Vec<_> = rows
            .par_iter()
            .filter_map(|row| {
                let key = (row.identity.clone()?, row.image_id.clone()?);
                wanted.contains(&key).then(|| (key, view.row(row), row))
            })
            .collect();
        for (key, pixels, row) in decoded {
            let failed = |e: &str| Error::Manifest(format!("{}: row {}: {e}", row.file, row.row));
            let pixels = pixels.map_err(|e| failed(&e))?;
            if let Some(group) = &row.group {
                groups.entry(key.0.clone()).or_insert(group.clone());
            }
            if found.insert(key, pixels).is_some() {
                return Err(failed("a second image of this identity has the same image_id"));
            }
        }
        Ok(())
    })?;
    Ok((found, groups, !manifest.says_faces()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_cut_as_kfold_cuts_them() {
        let listed = (0..23).map(|i| (i, i, true, None)).collect();
        let sizes: Vec<usize> =
            (0..FOLDS).map(|f| in_folds(Vec::clone(&listed)).iter().filter(|p| p.fold == f).count()).collect();
        assert_eq!(sizes, [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]);
    }

    #[test]
    fn lists_of_lfw_are_read_and_useless_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = Seeds::new(4).stream("pictures", &[]);
        for name in ["Ann_A", "Bob_B"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            for n in 1..=3 {
                let shade = rng.random_range(0..200u8);
                let path = dir.path().join(name).join(format!("{name}_{n:04}.jpg"));
                image::RgbImage::from_pixel(20, 20, [shade, shade, 40].into()).save(path).unwrap();
            }
        }
        let list = dir.path().join("pairs.txt");
        let read = |text: &str| {
            std::fs::write(&list, text).unwrap();
            PairSet::read(&list, Some(dir.path().to_str().unwrap()), &Columns::default(), None, View::square(16))
        };
        let lines = "Ann_A\t1\t2\nAnn_A\t1\tBob_B\t3\nBob_B\t2\t3\nBob_B\t1\tAnn_A\t3\n";
        for first in ["10\t300\n", "500\n"] {
            let set = read(&format!("{first}{lines}{lines}")).unwrap();
            assert_eq!(set.pairs.iter().map(|p| p.is_same).collect::<Vec<_>>(), [true, false].repeat(4));
            let person = |i: usize| set.images.identities()[set.images.labels()[i] as usize].as_str();
            assert_eq!((person(set.pairs[1].left), person(set.pairs[1].right)), ("Ann_A", "Bob_B"));
        }
        let fails = |text: &str, why: &str| {
            let e = read(text).err().unwrap().to_string();
            assert!(e.contains(why), "{e}");
        };
        fails("10 300\nAnn_A 1 x\n", "line 2: expected `name i j`");
        fails("10 300\nAnn_A 1 9\n", "Ann_A_0009.jpg");
        fails("10 300\n../Ann_A 1 2\n", "no name of a person");
        fails("10 300\nAnn_A 1 2\nBob_B 1 2\n", "a test needs both");
    }

    #[test]
    fn drawn_pairs_are_balanced_and_distinct() {
        let labels: Vec<u32> = (0..40).map(|i| i / 4).collect();
        let names = (0..10).map(|i| format!("{i}")).collect();
        let images = IdentityDataset::new(2, vec![0; 40 * 12], labels.clone(), names).unwrap();
        let set = PairSet::draw("test", images, 1000).unwrap();
        // 10 persons with 6 pairs each.
        assert_eq!(set.pairs.len(), 120);
        assert_eq!(set.pairs.iter().filter(|p| p.is_same).count(), 60);
        assert!(set.pairs.iter().all(|p| p.is_same == (labels[p.left] == labels[p.right])));
        let distinct: BTreeSet<_> = set.pairs.iter().map(|p| (p.left.min(p.right), p.left.max(p.right))).collect();
        assert_eq!(distinct.len(), 120);
    }
}
