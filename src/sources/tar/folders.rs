//! How the folders in tars lie: which of them name persons, and which splits.

use super::{SMALL_BUFFER, is_apart, is_picture};
use crate::manifest::schema::named_split;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

/// Members that are looked at before all are looked at, to see how folders lie.
pub(super) const FIRST: usize = 1000;
/// Names of folders at a depth that are remembered: more are no splits.
const NAMES: usize = 16;

/// How the folders of members lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Folders {
    /// Folders that all members lie in, and that name nobody.
    above: usize,
    /// The split that the last of them says.
    split: Option<String>,
    /// Folders of splits lie in them, and those of persons in these.
    splits: bool,
}

impl Folders {
    /// Looks at the names of the members of `tars`.
    pub fn of(tars: &[PathBuf]) -> Option<Self> {
        // What the first members show holds if all show it, and they show something.
        match Self::see(&tars[..1.min(tars.len())], FIRST)? {
            (seen, pictures) if pictures > 0 && seen == Self::default() => Some(seen),
            _ => Self::see(tars, usize::MAX).map(|(seen, _)| seen),
        }
    }

    /// What the first members of each of `tars` show, `most` of them, and the number of pictures in folders among them.
    fn see(tars: &[PathBuf], most: usize) -> Option<(Self, usize)> {
        // Folders that all share, the fewest that a member lies in, and the first names at each depth.
        let (mut shared, mut fewest, mut pictures) = (None::<Vec<String>>, usize::MAX, 0);
        let mut names: Vec<BTreeSet<String>> = Vec::new();
        for tar in tars {
            let mut archive = tar::Archive::new(BufReader::with_capacity(SMALL_BUFFER, File::open(tar).ok()?));
            archive.set_ignore_zeros(true);
            let members = archive.entries_with_seek().ok()?.take(most).flatten();
            for member in members.filter(|m| m.header().entry_type().is_file()) {
                let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
                if !is_picture(name.rsplit('.').next().unwrap_or_default()) || is_apart(&name) {
                    continue;
                }
                let mut folders: Vec<String> = name.trim_start_matches("./").split('/').map(str::to_owned).collect();
                folders.pop();
                // A picture beside the folders says nothing of them.
                if folders.is_empty() {
                    continue;
                }
                pictures += 1;
                fewest = fewest.min(folders.len());
                names.resize_with(names.len().max(folders.len()), BTreeSet::new);
                for (seen, name) in names.iter_mut().zip(&folders) {
                    if seen.len() <= NAMES {
                        seen.insert(name.clone());
                    }
                }
                let kept = match &shared {
                    None => folders.len(),
                    Some(shared) => shared.iter().zip(&folders).take_while(|(a, b)| a == b).count(),
                };
                folders.truncate(kept);
                shared = Some(folders);
            }
        }
        let shared = shared.unwrap_or_default();
        let above = shared.len().min(fewest.saturating_sub(1));
        let split =
            shared.get(above.wrapping_sub(1)).and_then(|name| named_split(&name.to_lowercase())).map(str::to_owned);
        let splits = fewest >= above + 2
            && names.get(above).is_some_and(|names| names.iter().all(|n| named_split(&n.to_lowercase()).is_some()));
        Some((Self { above, split, splits }, pictures))
    }

    /// Split, person and name of what lies at `key`.
    pub fn place(&self, key: &str) -> (Option<String>, Option<String>, String) {
        let parts: Vec<&str> = key.split('/').collect();
        let mut folders = parts[..parts.len() - 1].iter().skip(self.above);
        let named = |name: &&str| named_split(&name.to_lowercase()).map(str::to_owned);
        let split = if self.splits { folders.next().and_then(named) } else { self.split.clone() };
        let person = folders.next().map(|s| (*s).to_owned());
        let inner = self.above + usize::from(self.splits) + usize::from(person.is_some());
        (split, person, parts[inner.min(parts.len() - 1)..].join("/"))
    }
}
