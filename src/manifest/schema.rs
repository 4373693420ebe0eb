//! The only home of manifest column names, and of which Arrow types they may have.

use super::faces::Faces;
use super::pictures::Pictures;
use super::values::{self, Purpose};
use crate::error::{Error, Result};
use arrow::datatypes::Schema;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// Names of the manifest's columns; the defaults can be mapped to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    /// Key of a person (or of any category).
    pub identity: String,
    /// Encoded image: binary, or a struct with `bytes` (Hugging Face), or a list of either.
    pub image: String,
    /// Path of an image file relative to the manifest, or a list of them.
    pub image_uri: String,
}

impl Default for Columns {
    fn default() -> Self {
        Self { identity: "identity".into(), image: "image".into(), image_uri: "image_uri".into() }
    }
}

/// Optional column: train, test, ..
pub const SPLIT: &str = "split";
/// Name of the identity set of rows without a value in `identity_set`.
pub const DEFAULT_SET: &str = "default";
/// Optional column: name of the image within its identity, by which lists of pairs name images.
pub const IMAGE_ID: &str = "image_id";
/// Optional column: a group of identities (of age, say), by which an evaluation tabulates its figures.
pub const GROUP: &str = "group";
/// Optional column: one model is trained for each value.
pub const IDENTITY_SET: &str = "identity_set";

/// First words of file names that say a split.
const NAMED_SPLITS: [(&str, &str); 8] = [
    ("train", "train"),
    ("training", "train"),
    ("val", "val"),
    ("valid", "val"),
    ("validation", "val"),
    ("dev", "dev"),
    ("test", "test"),
    ("testing", "test"),
];
/// Names that a column of persons often has.
const LIKELY: [&str; 10] =
    ["label", "person", "person_id", "subject", "subject_id", "name", "class", "identity_id", "id", "celeb_id"];

/// Where a file keeps what we need: positions of root columns.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub identity: Field,
    /// The column of images, and that of paths, which serves where a row says nothing in the first: one of them at least.
    pub pictures: Vec<Pictures>,
    pub split: Option<Field>,
    pub identity_set: Option<Field>,
    pub image_id: Option<Field>,
    pub group: Option<Field>,
    pub faces: Option<Faces>,
    /// Names of `key=value` folders that persons are named by.
    pub folders: Vec<String>,
}

impl Layout {
    /// Positions of the root columns of text that it names.
    pub fn texts(&self) -> impl Iterator<Item = usize> {
        let optional = [&self.split, &self.identity_set, &self.image_id, &self.group].into_iter().flatten();
        std::iter::once(&self.identity).chain(optional).filter_map(Field::column)
    }
}

/// A text value of every row.
#[derive(Clone, Debug)]
pub(crate) enum Field {
    /// A column of the file, and the names of its numbers, if it is a ClassLabel of Hugging Face.
    Column(usize, Option<Arc<Vec<String>>>),
    /// What a `key=value` folder, or the file's name, says of all rows.
    Fixed(Option<String>),
}

impl Field {
    /// Position of the root column, if it is one.
    pub fn column(&self) -> Option<usize> {
        match self {
            Self::Column(i, _) => Some(*i),
            Self::Fixed(_) => None,
        }
    }
}

impl Layout {
    /// Finds the columns of a file; the error names what is missing and what is there.
    ///
    /// # Errors
    /// A column is missing, or of a type that cannot serve.
    pub fn find(path: &Path, schema: &Schema, columns: &Columns, folders: &[(String, Option<String>)]) -> Result<Self> {
        let error = |m: String| Error::Manifest(format!("{}: {m}", path.display()));
        let text = |name: &str| text_field(path, schema, name, folders);
        let have = || schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ");
        let identity = text(&columns.identity)?.ok_or_else(|| {
            error(format!(
                "column `{}` is missing; the file has {}; name yours with option `identity_column`{}",
                columns.identity,
                have(),
                likely(schema)
            ))
        })?;
        let pictures = [&columns.image, &columns.image_uri].map(|name| {
            let column = schema.index_of(name).ok()?;
            let found = Pictures::of(column, schema.field(column).data_type());
            Some(found.map_err(|e| error(format!("column `{name}` cannot hold images: {e}"))))
        });
        let pictures: Vec<Pictures> = pictures.into_iter().flatten().collect::<Result<_>>()?;
        if pictures.is_empty() {
            return Err(error(format!(
                "columns `{}` and `{}` are both missing; the file has {}; name yours with option `image_column` or option `uri_column`",
                columns.image,
                columns.image_uri,
                have()
            )));
        }
        // Of another type it is somebody else's column.
        let (image_id, group) = (text(IMAGE_ID).unwrap_or_default(), text(GROUP).unwrap_or_default());
        let by_name = || split_of(path).map(|split| Field::Fixed(Some(split)));
        let (split, identity_set) = (text(SPLIT)?.or_else(by_name), text(IDENTITY_SET)?);
        let faces = Faces::of(schema);
        let folders = identity.column().is_none().then(|| columns.identity.clone()).into_iter().collect();
        Ok(Self { identity, pictures, split, identity_set, image_id, group, faces, folders })
    }
}

/// Where a file keeps the text `name`, if it does: a column, or one of the `key=value` folders that it lies in.
pub(crate) fn text_field(
    path: &Path,
    schema: &Schema,
    name: &str,
    folders: &[(String, Option<String>)],
) -> Result<Option<Field>> {
    if let Ok(i) = schema.index_of(name) {
        let purpose = if super::policy::COLUMNS.contains(&name) { Purpose::Term } else { Purpose::Key };
        let failed =
            |e| Error::Manifest(format!("{}: column `{name}` must hold text or whole numbers: {e}", path.display()));
        return values::check(schema.field(i).data_type(), purpose)
            .map(|()| Some(Field::Column(i, class_names(schema, name))))
            .map_err(failed);
    }
    Ok(folders.iter().find(|(k, _)| k == name).map(|(_, v)| Field::Fixed(v.clone())))
}

/// Names of the numbers in column `name`, if the file says that it is a ClassLabel.
fn class_names(schema: &Schema, name: &str) -> Option<Arc<Vec<String>>> {
    let features: serde_json::Value = serde_json::from_str(schema.metadata().get("huggingface")?).ok()?;
    let feature = &features["info"]["features"][name];
    let names = feature["names"].as_array().filter(|_| feature["_type"] == "ClassLabel")?;
    names.iter().map(|n| n.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>().map(Arc::new)
}

/// The split that the name of a file says, as `datasets` understands it: `train-00000-of-00002.parquet`, `test.parquet`; or that of its folder, as the
/// hub converts datasets: `test/0000.parquet`.
fn split_of(path: &Path) -> Option<String> {
    let name = path.file_stem()?.to_string_lossy().to_lowercase();
    let first = name.split(|c: char| !c.is_ascii_alphanumeric()).next()?;
    let folder = || path.parent()?.file_name()?.to_str().map(str::to_lowercase);
    let numbered = first.bytes().all(|b| b.is_ascii_digit());
    let of_folder = || folder().filter(|_| numbered).and_then(|folder| named_split(&folder));
    named_split(first).or_else(of_folder).map(str::to_owned)
}

/// The split that a lower-case word names.
pub(crate) fn named_split(word: &str) -> Option<&'static str> {
    NAMED_SPLITS.iter().find(|(known, _)| *known == word).map(|(_, split)| *split)
}

/// A word about a column that is likely to be meant by `identity`.
fn likely(schema: &Schema) -> String {
    let names = schema.fields().iter().map(|f| f.name().as_str());
    likely_identity(&names).map_or(String::new(), |name| format!(" (perhaps `{name}`)"))
}

/// The one among names of columns that persons are likely to stand in.
pub(crate) fn likely_identity<'a>(names: &(impl Iterator<Item = &'a str> + Clone)) -> Option<&'a str> {
    LIKELY.iter().find_map(|likely| names.clone().find(|name| name.trim().eq_ignore_ascii_case(likely)))
}
