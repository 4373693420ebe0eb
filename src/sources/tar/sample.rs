//! The members of one sample, and the labelled pictures that they make.

use super::super::{Item, Picture, picture_of};
use super::folders::Folders;
use super::is_picture;
use std::path::Path;

/// Keys of a `.json` member that may hold the label, the first that is there.
const LABELS: [&str; 6] = ["identity", "label", "class", "person", "name", "cls"];

/// The members of one sample.
#[derive(Default)]
pub(super) struct Sample {
    /// What the names of its members begin with.
    pub key: String,
    /// In the order in which they stand there.
    pub members: Vec<Member>,
    /// Of all members.
    pub bytes: usize,
    /// A label has its own name.
    pub whole: bool,
}

/// A picture or a label.
pub(super) struct Member {
    /// Its name without its kind.
    pub stem: String,
    /// The end of its name, in small letters.
    pub kind: String,
    /// What it holds; nothing of pictures that were not asked for.
    pub bytes: Vec<u8>,
    /// It stands for another member.
    pub link: bool,
}

impl Sample {
    /// The pictures of the sample, or why one is none, and the number of its members that are neither pictures nor the label of one. Where
    /// a label has the sample's own name, the picture of that name is the sample; else each picture has the label of its own name, or its folder's.
    pub fn items(
        self,
        tar: &Path,
        folders: &Folders,
        row: usize,
        pictures: bool,
    ) -> std::result::Result<(Vec<Item>, usize), String> {
        let mut labels: Vec<(&str, std::result::Result<Option<String>, String>)> = Vec::new();
        for member in self.members.iter().filter(|m| !is_picture(&m.kind)) {
            labels.push((&member.stem, label(member)));
        }
        let shown = self.members.iter().filter(|m| is_picture(&m.kind) && (!self.whole || m.stem == self.key));
        let shown: Vec<&Member> = shown.take(if self.whole { 1 } else { usize::MAX }).collect();
        let used = labels.iter().filter(|(stem, _)| shown.iter().any(|m| m.stem == *stem)).count();
        let lonely = self
            .members
            .iter()
            .find(|m| m.kind != "json" && !is_picture(&m.kind) && !shown.iter().any(|picture| picture.stem == m.stem));
        if let Some(member) = lonely {
            return Err(format!(
                "member {}.{} is the label of no picture beside it; the members of a sample must have one name and follow each other",
                member.stem, member.kind
            ));
        }
        let item = |(n, member): (usize, &&Member)| {
            let (split, person, name) = folders.place(member.stem.trim_start_matches("./"));
            let label = labels.iter().find(|(stem, _)| *stem == member.stem).map(|(_, label)| label);
            let other = picture_of(Path::new(&format!("x.{}", member.kind))).and_then(std::result::Result::err);
            let none = |reason: String| Picture::None(reason, Some(format!("{}.{}", member.stem, member.kind)));
            let bytes = match (other, member.link, pictures) {
                (Some(reason), ..) => none(reason),
                (None, true, _) => none("it is a link to another member: write the picture itself".into()),
                (None, false, true) => Picture::Bytes(member.bytes.clone()),
                (None, false, false) => Picture::Skipped,
            };
            let (identity, image_id, picture) = match label {
                Some(Err(reason)) => (None, member.stem.clone(), Picture::None(reason.clone(), None)),
                Some(Ok(Some(label))) => (Some(label.clone()), member.stem.trim_start_matches("./").to_owned(), bytes),
                Some(Ok(None)) | None => (person, name, bytes),
            };
            Item {
                place: (tar.display().to_string(), row + n, 0),
                identity,
                image_id: Some(image_id),
                split,
                identity_set: None,
                face: None,
                group: None,
                picture,
            }
        };
        let items: Vec<Item> = shown.iter().enumerate().map(item).collect();
        let rest = self.members.len() - items.len() - used;
        Ok((items, rest))
    }
}

/// What a member says of whom its sample shows.
pub(super) fn label(member: &Member) -> std::result::Result<Option<String>, String> {
    let text = String::from_utf8_lossy(&member.bytes);
    let text = text.trim_start_matches('\u{feff}').trim();
    if member.kind != "json" {
        return Ok(Some(text.to_owned()).filter(|t| !t.is_empty()));
    }
    let json: serde_json::Value =
        serde_json::from_str(text).map_err(|e| format!("its label {}.json is no JSON: {e}", member.stem))?;
    Ok(LABELS.iter().find_map(|key| match &json[*key] {
        serde_json::Value::String(name) => Some(name.clone()).filter(|n| !n.is_empty()),
        serde_json::Value::Number(number) => Some(match number.as_f64() {
            Some(n) if number.is_f64() && n.fract() == 0.0 => format!("{n:.0}"),
            _ => number.to_string(),
        }),
        _ => None,
    }))
}
