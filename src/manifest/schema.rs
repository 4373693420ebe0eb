//! The only home of manifest column names, and of which Arrow types they may have.

use crate::error::{Error, Result};
use arrow::datatypes::{DataType, Schema};
use std::path::Path;

/// Names of the manifest's columns; the defaults can be mapped to others.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// How one image of a row is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImageKind {
    /// A binary column.
    Binary,
    /// `struct<bytes: binary, path: string>`
    Struct,
    /// A string column with a path.
    Uri,
}

/// Where a file keeps what we need: positions of root columns.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub identity: Field,
    pub image: usize,
    pub kind: ImageKind,
    /// Several images a row.
    pub list: bool,
    pub split: Option<Field>,
    pub identity_set: Option<Field>,
    pub image_id: Option<Field>,
    pub group: Option<Field>,
}

/// A text value: a column of the file or a `key=value` folder.
#[derive(Clone, Debug)]
pub(crate) enum Field {
    Column(usize),
    Folder(String),
}

impl Layout {
    /// Finds the columns of a file; the error names what is missing and what is there.
    ///
    /// # Errors
    /// A column is missing, or of a type that cannot serve.
    pub fn find(path: &Path, schema: &Schema, columns: &Columns, folders: &[(String, String)]) -> Result<Self> {
        let error = |m: String| Error::Manifest(format!("{}: {m}", path.display()));
        let text = |name: &str| text_field(path, schema, name, folders);
        let have = || schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ");
        let identity = text(&columns.identity)?.ok_or_else(|| {
            error(format!(
                "column `{}` is missing; the file has {}; name yours with option `identity_column`",
                columns.identity,
                have()
            ))
        })?;
        let find_image = |name: &str| schema.index_of(name).ok();
        let Some(image) = find_image(&columns.image).or_else(|| find_image(&columns.image_uri)) else {
            return Err(error(format!(
                "columns `{}` and `{}` are both missing; the file has {}; name yours with option `image_column` or option `uri_column`",
                columns.image,
                columns.image_uri,
                have()
            )));
        };
        let field = schema.field(image);
        let (item, list) = match field.data_type() {
            DataType::List(f) | DataType::LargeList(f) => (f.data_type(), true),
            ty => (ty, false),
        };
        let kind = match item {
            ty if is_binary(ty) => ImageKind::Binary,
            DataType::Struct(fields) if fields.iter().any(|f| f.name() == "bytes" && is_binary(f.data_type())) => {
                ImageKind::Struct
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ImageKind::Uri,
            ty => {
                return Err(error(format!(
                    "column `{}` is {ty}; it must hold image bytes (binary or struct with `bytes`) or paths (string)",
                    field.name()
                )));
            }
        };
        // Of another type it is somebody else's column.
        let (image_id, group) = (text(IMAGE_ID).unwrap_or_default(), text(GROUP).unwrap_or_default());
        let (split, identity_set) = (text(SPLIT)?, text(IDENTITY_SET)?);
        Ok(Self { identity, image, kind, list, split, identity_set, image_id, group })
    }
}

/// Where a file keeps the text `name`, if it does: a column, or one of the `key=value` folders that it lies in.
pub(crate) fn text_field(
    path: &Path,
    schema: &Schema,
    name: &str,
    folders: &[(String, String)],
) -> Result<Option<Field>> {
    if let Ok(i) = schema.index_of(name) {
        let ty = schema.field(i).data_type();
        let term = super::policy::COLUMNS.contains(&name) && is_term(ty);
        if is_text(ty) || term {
            return Ok(Some(Field::Column(i)));
        }
        let message = format!("{}: column `{name}` is {ty}; it must hold text or whole numbers", path.display());
        return Err(Error::Manifest(message));
    }
    Ok(folders.iter().find(|(k, _)| k == name).map(|(_, v)| Field::Folder(v.clone())))
}

fn is_binary(ty: &DataType) -> bool {
    matches!(ty, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

fn is_text(ty: &DataType) -> bool {
    match ty {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        ty => ty.is_integer(),
    }
}

/// Types of the columns of a policy, which may also be truth values, days and times.
fn is_term(ty: &DataType) -> bool {
    is_text(ty) || matches!(ty, DataType::Boolean | DataType::Date32 | DataType::Date64 | DataType::Timestamp(..))
}
