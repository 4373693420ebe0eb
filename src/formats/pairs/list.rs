//! Pairs as lists name them: Parquet, and LFW's pairs.txt.

use super::super::bin;
use super::FOLDS;
use crate::error::{Error, Result};
use crate::manifest::guarded;
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A pair as a list names it.
pub(super) struct Named {
    /// Identity and image_id.
    pub left: (String, String),
    /// Those of the other.
    pub right: (String, String),
    /// True for two images of one person.
    pub is_same: bool,
    /// Fold, if the list says it.
    pub fold: Option<usize>,
}

/// The pairs of a list, none of a `.bin`, which is not looked at; `images` says whether its images are named.
///
/// # Errors
/// It cannot be read, lists nothing, or its images are not named.
pub(super) fn read(pairs: &Path, images: bool) -> Result<Vec<Named>> {
    if !pairs.exists() {
        return Err(Error::Usage(format!("{}: no such file", pairs.display())));
    }
    if !pairs.is_file() {
        let message = "is no regular file; a list of pairs is Parquet, LFW's pairs.txt or insightface's .bin";
        return Err(Error::Usage(format!("{} {message}", pairs.display())));
    }
    let begins = |magic: &[u8]| {
        let mut start = Vec::new();
        let read = File::open(pairs).and_then(|f| f.take(magic.len() as u64).read_to_end(&mut start));
        read.is_ok() && start == magic
    };
    let named = match pairs.extension().and_then(|e| e.to_str()) {
        Some(bin::EXTENSION) => return Ok(Vec::new()),
        Some("txt") => read_text(pairs)?,
        _ if !begins(b"PAR1") => {
            return Err(Error::Usage(format!(
                "{}: is no list of pairs: those are Parquet with the columns left_identity, left_image_id, right_identity, right_image_id and \
                 is_same, LFW's pairs.txt, or insightface's .bin",
                pairs.display()
            )));
        }
        _ => read_parquet(pairs)?,
    };
    if named.is_empty() {
        return Err(Error::Manifest(format!("{}: lists no pair", pairs.display())));
    }
    if !images {
        return Err(Error::Usage(format!(
            "{}: its images are missing: name a manifest with the column `image_id`, or LFW's folder, with option `pair_images`",
            pairs.display()
        )));
    }
    Ok(named)
}

/// Columns `left_identity`, `left_image_id`, `right_identity`, `right_image_id`, `is_same`, and `fold` if there is one.
fn read_parquet(path: &Path) -> Result<Vec<Named>> {
    let failed = |m: String| Error::Manifest(format!("{}: {m}", path.display()));
    guarded(path, || {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| failed(e.to_string()))?;
        let mut out = Vec::new();
        for batch in builder.build().map_err(|e| failed(e.to_string()))? {
            let batch = batch.map_err(|e| failed(e.to_string()))?;
            append(&batch, &mut out).map_err(|column| {
                failed(format!("column `{column}` is missing, of another type, or null in some row"))
            })?;
        }
        if out.iter().any(|p| p.fold.is_some_and(|f| f >= FOLDS)) {
            return Err(failed(format!("column `fold` must hold 0..{}", FOLDS - 1)));
        }
        Ok(out)
    })
}

/// Adds the pairs of `batch`; the error names a column.
fn append(batch: &RecordBatch, out: &mut Vec<Named>) -> std::result::Result<(), &'static str> {
    let column = |name: &'static str, to: &DataType| {
        let array = batch.column_by_name(name).and_then(|a| cast(a, to).ok());
        array.filter(|a| a.null_count() == 0).ok_or(name)
    };
    let text = |name| column(name, &DataType::Utf8);
    let (li, ln) = (text("left_identity")?, text("left_image_id")?);
    let (ri, rn) = (text("right_identity")?, text("right_image_id")?);
    let same = column("is_same", &DataType::Boolean)?;
    let fold = if batch.column_by_name("fold").is_some() { Some(column("fold", &DataType::Int64)?) } else { None };
    let key = |identity: &StringArray, name: &StringArray, i| (identity.value(i).to_owned(), name.value(i).to_owned());
    for i in 0..batch.num_rows() {
        out.push(Named {
            left: key(li.as_string(), ln.as_string(), i),
            right: key(ri.as_string(), rn.as_string(), i),
            is_same: same.as_boolean().value(i),
            fold: fold.as_ref().map(|f| usize::try_from(f.as_primitive::<Int64Type>().value(i)).unwrap_or(FOLDS)),
        });
    }
    Ok(())
}

/// LFW's list: a line `name i j` for two images of one person, `name i name j` for two persons.
fn read_text(path: &Path) -> Result<Vec<Named>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let mut out = Vec::new();
    for (n, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let image = |number: &str| number.parse::<u32>().ok().map(|i| format!("{i:04}"));
        let pair = match words[..] {
            [name, i, j] => image(i).zip(image(j)).map(|(i, j)| (name, i, name, j)),
            [a, i, b, j] => image(i).zip(image(j)).map(|(i, j)| (a, i, b, j)),
            // The first line counts folds and pairs.
            [] | [_] | [_, _] if n == 0 || words.is_empty() => continue,
            _ => None,
        };
        let (a, i, b, j) = pair.ok_or_else(|| {
            Error::Manifest(format!("{}: line {}: expected `name i j` or `name i name j`", path.display(), n + 1))
        })?;
        out.push(Named { left: (a.into(), i), right: (b.into(), j), is_same: words.len() == 3, fold: None });
    }
    Ok(out)
}
