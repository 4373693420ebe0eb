//! The pictures of a row, in whatever form a writer has put them: bytes, paths, structs of both, lists of any of these.

use super::read::ImageSource;
use super::root::Root;
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use std::sync::Arc;

/// Column of a file that holds pictures, and how.
#[derive(Clone, Debug)]
pub(crate) struct Pictures {
    /// Position of the root column.
    pub column: usize,
    /// Several pictures a row.
    pub list: bool,
    /// Where a picture's bytes may be.
    pub kind: Kind,
}

/// How one picture is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Encoded bytes.
    Bytes,
    /// Path of a file.
    Path,
    /// A struct of `bytes` and `path`, one of which may be missing.
    Struct,
    /// No value is one.
    Nothing,
}

/// A picture, or why there is none.
type Found = Result<ImageSource, &'static str>;

impl Pictures {
    /// How the root column `column` of type `ty` holds pictures.
    ///
    /// # Errors
    /// Text that says what would help.
    pub fn of(column: usize, ty: &DataType) -> Result<Self, String> {
        let (item, list) = match item(ty) {
            Some(field) => (field.data_type(), true),
            None => (ty, false),
        };
        let kind = match item {
            DataType::Null => Kind::Nothing,
            ty if is_bytes(ty) => Kind::Bytes,
            ty if is_text(ty) => Kind::Path,
            DataType::Struct(fields) => {
                let serves = |name: &str, serves: fn(&DataType) -> bool| {
                    fields.iter().any(|f| f.name() == name && (serves(f.data_type()) || f.data_type().is_null()))
                };
                if !serves("bytes", is_bytes) && !serves("path", is_text) {
                    return Err(format!("it is {ty}; a struct needs the fields `bytes` (binary) or `path` (text)"));
                }
                Kind::Struct
            }
            ty if list && ty.is_integer() => {
                return Err(format!(
                    "it holds lists of {ty}: the bytes of files as numbers, or pixels; write the encoded files as binary, \
                     `bytes(row)` in Python"
                ));
            }
            ty if item_of_numbers(ty) => {
                return Err(format!(
                    "it holds pixels as lists of numbers ({ty}); write encoded files, JPEG or PNG, as binary"
                ));
            }
            ty => {
                return Err(format!(
                    "it is {ty}; it must hold image bytes (binary, or a struct with `bytes`) or paths (text)"
                ));
            }
        };
        Ok(Self { column, list, kind })
    }

    /// Number of pictures in row `r`; none where the row says nothing.
    pub fn count(&self, array: &ArrayRef, r: usize) -> Result<Option<usize>, ArrowError> {
        if array.is_null(r) || self.kind == Kind::Nothing {
            return Ok(None);
        }
        if self.list { Ok(Some(items(array, r)?.len()).filter(|n| *n > 0)) } else { Ok(Some(1)) }
    }

    /// The pictures of row `r`, one at least.
    ///
    /// # Errors
    /// The data are damaged.
    pub fn row(&self, array: &ArrayRef, r: usize, root: &Root) -> Result<Vec<Found>, ArrowError> {
        if array.is_null(r) || self.kind == Kind::Nothing {
            return Ok(vec![Err("image is null")]);
        }
        let items = if self.list { items(array, r)? } else { array.slice(r, 1) };
        if items.is_empty() {
            return Ok(vec![Err("the list of images is empty")]);
        }
        let (bytes, paths) = match self.kind {
            Kind::Bytes => (Some(items.clone()), None),
            Kind::Path => (None, Some(items.clone())),
            Kind::Struct | Kind::Nothing => {
                let s = items.as_struct();
                (s.column_by_name("bytes").cloned(), s.column_by_name("path").cloned())
            }
        };
        let bytes = bytes.map(|b| to_bytes(&b)).transpose()?;
        let paths = paths.map(|p| to_text(&p)).transpose()?;
        let one = |i: usize| -> Found {
            if items.is_null(i) {
                return Err("image is null");
            }
            let bytes = bytes.as_ref().filter(|b| !b.is_null(i)).map(|b| b.value(i));
            let path = paths.as_ref().filter(|p| !p.is_null(i)).map(|p| p.value(i));
            match (bytes, path) {
                (Some(bytes), _) if !bytes.is_empty() => Ok(ImageSource::Bytes(bytes.to_vec())),
                (_, Some(path)) if !path.is_empty() => Ok(ImageSource::at(path, root)),
                (Some(_), _) => Err("image bytes are empty"),
                (None, Some(_)) => Err("image path is empty"),
                (None, None) => Err("image has neither bytes nor path"),
            }
        };
        Ok((0..items.len()).map(one).collect())
    }
}

/// The type of a list's items, if `ty` is one.
pub(super) fn item(ty: &DataType) -> Option<&Arc<Field>> {
    match ty {
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item) => {
            Some(item)
        }
        DataType::FixedSizeList(item, _) => Some(item),
        _ => None,
    }
}

/// True for lists of numbers in lists: rows of pixels.
fn item_of_numbers(ty: &DataType) -> bool {
    item(ty).is_some_and(|field| field.data_type().is_numeric() || item_of_numbers(field.data_type()))
}

/// The items of row `r` of an array of lists.
pub(super) fn items(array: &ArrayRef, r: usize) -> Result<ArrayRef, ArrowError> {
    let row = array.slice(r, 1);
    let Some(field) = item(array.data_type()) else { return Ok(row) };
    let list = cast(&row, &DataType::LargeList(field.clone()))?;
    Ok(list.as_list::<i64>().value(0))
}

fn is_bytes(ty: &DataType) -> bool {
    match ty {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => true,
        DataType::Dictionary(_, value) => is_bytes(value),
        _ => false,
    }
}

fn is_text(ty: &DataType) -> bool {
    match ty {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

fn to_bytes(array: &ArrayRef) -> Result<BinaryArray, ArrowError> {
    Ok(cast(array, &DataType::Binary)?.as_binary::<i32>().clone())
}

fn to_text(array: &ArrayRef) -> Result<StringArray, ArrowError> {
    Ok(cast(array, &DataType::Utf8)?.as_string::<i32>().clone())
}
