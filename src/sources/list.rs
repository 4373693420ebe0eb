//! A list of pictures: CSV and TSV with a line of names, JSON lines, and the plain lists of `path label` that training code reads.

use super::{CHUNK, Chunk, Item, Picture, Source, picture_of};
use crate::error::{Error, Result};
use crate::manifest::faces::Faces;
use crate::manifest::schema::{GROUP, IDENTITY_SET, IMAGE_ID, SPLIT, likely_identity};
use crate::manifest::write::is_ours_by_name;
use crate::manifest::{Columns, Face};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use polars::prelude::{CsvParseOptions, CsvReadOptions, DataType as PolarsType, SerReader};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names that a column of paths often has.
const PATHS: [&str; 10] =
    ["path", "file", "file_name", "filename", "filepath", "file_path", "image_path", "image_file", "image", "img"];

/// Keys that the objects of a list may have together.
const MOST_COLUMNS: usize = 1000;

/// A column of texts.
type Values = Vec<Option<String>>;

/// The text of a list, without a byte order mark.
fn utf8<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let line = bytes[..e.valid_up_to()].split(|b| *b == b'\n').count();
        Error::Manifest(format!("{} line {line}: is no UTF-8; write the list as UTF-8, not packed", path.display()))
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The first line of a table that has more columns than the line of names, in words; quotes may hide separators, so it is a guess.
fn ragged(text: &str, separator: u8) -> Option<String> {
    let columns = |line: &str| line.bytes().filter(|b| *b == separator).count() + 1;
    let mut lines = text.lines().enumerate();
    let named = columns(lines.next()?.1);
    let (n, line) = lines.find(|(_, line)| columns(line) > named)?;
    Some(format!(
        "line {} has {} columns, the line of names {named}: put texts that hold `{}` in double quotes",
        n + 1,
        columns(line),
        char::from(separator)
    ))
}

/// A list that was read.
pub(super) struct List {
    path: PathBuf,
    /// Number of each row in the file, from 0.
    numbers: Vec<usize>,
    identity: Values,
    paths: Values,
    image_id: Option<Values>,
    split: Option<Values>,
    identity_set: Option<Values>,
    group: Option<Values>,
    extras: SchemaRef,
    kept: Vec<ArrayRef>,
    faces: Option<Faces>,
}

impl List {
    /// Reads CSV (`,` or `;`), TSV, or lines of `path label`.
    ///
    /// # Errors
    /// It is damaged, or lacks a column.
    pub fn of_table(path: &Path, columns: &Columns) -> Result<Self> {
        let failed = |e: &dyn std::fmt::Display| Error::Manifest(format!("{}: {e}", path.display()));
        let text = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let text = utf8(path, &text)?;
        let first = text.lines().next().unwrap_or_default();
        let plain = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("txt") || e.eq_ignore_ascii_case("lst"));
        if plain && !first.contains([',', ';']) {
            return Self::of_lines(path, text);
        }
        let separator = [b'\t', b';', b','].into_iter().max_by_key(|s| first.bytes().filter(|b| b == s).count());
        let options = CsvReadOptions::default()
            .with_infer_schema_length(Some(0))
            .with_parse_options(CsvParseOptions::default().with_separator(separator.unwrap_or(b',')));
        let table = options
            .into_reader_with_file_handle(std::io::Cursor::new(text.as_bytes().to_vec()))
            .finish()
            .map_err(|e| failed(&ragged(text, separator.unwrap_or(b',')).unwrap_or_else(|| e.to_string())))?;
        let mut named = BTreeMap::new();
        let mut order = Vec::new();
        for column in table.columns() {
            let values = column.cast(&PolarsType::String).map_err(|e| failed(&e))?;
            let values = values.str().map_err(|e| failed(&e))?;
            let text = |v: Option<&str>| v.filter(|v| !v.is_empty()).map(str::to_owned);
            order.push(column.name().to_string());
            named.insert(column.name().to_string(), values.iter().map(text).collect::<Values>());
        }
        // The first line has the names.
        Self::of_columns(path, columns, &order, named, (1..=table.height()).collect())
    }

    /// Reads JSON lines.
    ///
    /// # Errors
    /// As [`List::of_table`].
    pub fn of_json(path: &Path, columns: &Columns) -> Result<Self> {
        let text = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let text = utf8(path, &text)?;
        let mut named: BTreeMap<String, Values> = BTreeMap::new();
        let (mut order, mut numbers) = (Vec::new(), Vec::new());
        for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line)
                .map_err(|e| Error::Manifest(format!("{} line {}: expected an object: {e}", path.display(), n + 1)))?;
            let rows = numbers.len();
            for (key, value) in object {
                if order.len() > MOST_COLUMNS {
                    return Err(Error::Manifest(format!("{}: more than {MOST_COLUMNS} columns", path.display())));
                }
                let values = named.entry(key.clone()).or_insert_with(|| {
                    order.push(key);
                    Vec::new()
                });
                values.resize(rows, None);
                values.push(match value {
                    serde_json::Value::Null => None,
                    serde_json::Value::String(text) => Some(text).filter(|t| !t.is_empty()),
                    other => Some(other.to_string()),
                });
            }
            numbers.push(n);
        }
        named.values_mut().for_each(|values| values.resize(numbers.len(), None));
        Self::of_columns(path, columns, &order, named, numbers)
    }

    /// Lines of a path and a label in either order, or of a number, and these.
    fn of_lines(path: &Path, text: &str) -> Result<Self> {
        let (mut identity, mut paths, mut numbers) = (Values::new(), Values::new(), Vec::new());
        for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let words: Vec<&str> = if line.contains('\t') {
                line.split('\t').map(str::trim).collect()
            } else {
                line.split_whitespace().collect()
            };
            let words = match words[..] {
                [number, a, b] if number.parse::<u64>().is_ok() => [a, b],
                [a, b] => [a, b],
                _ => ["", ""],
            };
            let at = words.iter().position(|word| picture_of(Path::new(word)).is_some());
            let Some(at) = at else {
                return Err(Error::Manifest(format!(
                    "{} line {}: expected the path of a picture and a label, with a tab between them if the path has blanks; or a line of names \
                     and `,` between columns",
                    path.display(),
                    n + 1
                )));
            };
            let label = words[1 - at];
            numbers.push(n);
            identity.push(Some(label.to_owned()));
            paths.push(Some(words[at].to_owned()));
        }
        let (extras, kept) = (Arc::new(Schema::empty()), Vec::new());
        Ok(Self {
            path: path.to_owned(),
            numbers,
            identity: whole(identity),
            paths,
            image_id: None,
            split: None,
            identity_set: None,
            group: None,
            extras,
            kept,
            faces: None,
        })
    }

    fn of_columns(
        path: &Path,
        columns: &Columns,
        order: &[String],
        mut named: BTreeMap<String, Values>,
        numbers: Vec<usize>,
    ) -> Result<Self> {
        let like = |wanted: &str| order.iter().find(|name| name.trim().eq_ignore_ascii_case(wanted)).cloned();
        let have = order.join(", ");
        let lacks = |what: &str, option: &str| {
            Error::Manifest(format!(
                "{}: no column of {what}; the list has {have}; name yours with option `{option}`",
                path.display()
            ))
        };
        let identity =
            like(&columns.identity).or_else(|| likely_identity(&order.iter().map(String::as_str)).map(str::to_owned));
        let identity = identity.ok_or_else(|| lacks("persons", "identity_column"))?;
        let paths = like(&columns.image_uri).or_else(|| PATHS.iter().find_map(|name| like(name)));
        let paths = paths.filter(|name| *name != identity).ok_or_else(|| lacks("paths", "uri_column"))?;
        let optional = [IMAGE_ID, SPLIT, IDENTITY_SET, GROUP].map(like);
        let mut take = |name: &str| named.remove(name);
        let (identity, paths) = (whole(take(&identity).unwrap_or_default()), take(&paths).unwrap_or_default());
        let [image_id, split, identity_set, group] = optional.map(|name| name.and_then(|name| take(&name)));
        let kept = |name: &&String| named.contains_key(*name) && !is_ours_by_name(name);
        let rest: Vec<&String> = order.iter().filter(kept).collect();
        let extras = Schema::new(rest.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect::<Vec<_>>());
        let kept = rest.iter().map(|name| Arc::new(named[*name].iter().cloned().collect::<StringArray>()) as ArrayRef);
        let kept = kept.collect();
        let faces = Faces::of(&extras);
        let (path, extras) = (path.to_owned(), Arc::new(extras));
        Ok(Self { path, numbers, identity, paths, image_id, split, identity_set, group, extras, kept, faces })
    }

    fn item(&self, row: usize, folder: &Path) -> Item {
        let of = |values: &Option<Values>| values.as_ref().and_then(|v| v[row].clone());
        let picture = match &self.paths[row] {
            None => Picture::None("it names no file".into(), None),
            Some(path) => Picture::File(folder.join(path.strip_prefix("file://").unwrap_or(path))),
        };
        let stem = || self.paths[row].as_ref().map(|p| Path::new(p).with_extension("").to_string_lossy().into_owned());
        Item {
            place: (self.path.display().to_string(), self.numbers[row], 0),
            identity: self.identity[row].clone(),
            image_id: of(&self.image_id).or_else(stem),
            split: of(&self.split),
            identity_set: of(&self.identity_set),
            group: of(&self.group),
            picture,
            face: self.face(row),
        }
    }

    /// Where the face of a row is, as its columns say.
    fn face(&self, row: usize) -> Option<std::result::Result<Face, String>> {
        let faces = self.faces.as_ref()?;
        faces.row(&|at| self.kept.get(at).cloned(), row, 1, false).pop()
    }
}

/// Labels that are whole numbers as floats, `0.000000` of im2rec's lists say, as whole numbers.
fn whole(labels: Values) -> Values {
    let number = |label: &str| label.trim().parse::<f64>().ok().filter(|n| label.contains('.') && n.fract() == 0.0);
    if labels.iter().flatten().all(|label| number(label).is_some()) {
        let plain = |label: String| number(&label).map_or(label.clone(), |n| format!("{n:.0}"));
        return labels.into_iter().map(|label| label.map(plain)).collect();
    }
    labels
}

impl Source for List {
    fn kind(&self) -> &'static str {
        "list"
    }

    fn naming(&self) -> &'static str {
        "a column names persons: option `identity_column` says which"
    }

    fn extras(&self) -> SchemaRef {
        self.extras.clone()
    }

    fn read(&self, _pictures: bool, f: &mut dyn FnMut(Chunk) -> Result<()>) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        for from in (0..self.numbers.len()).step_by(CHUNK) {
            let length = CHUNK.min(self.numbers.len() - from);
            let items = (from..from + length).map(|row| self.item(row, folder)).collect();
            let extras = if self.kept.is_empty() {
                None
            } else {
                let columns = self.kept.iter().map(|c| c.slice(from, length)).collect();
                let failed = |e| Error::Manifest(format!("{}: {e}", self.path.display()));
                Some(RecordBatch::try_new(self.extras.clone(), columns).map_err(failed)?)
            };
            f(Chunk { items, extras })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Identity, path and split.
    type Line = [Option<String>; 3];

    fn read(name: &str, text: &str) -> std::result::Result<Vec<Line>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let columns = Columns::default();
        let list =
            if name.ends_with("jsonl") { List::of_json(&path, &columns) } else { List::of_table(&path, &columns) };
        let mut found = Vec::new();
        let list = list.map_err(|e| e.to_string())?;
        list.read(true, &mut |chunk| {
            for item in chunk.items {
                let Picture::File(file) = item.picture else { panic!("{item:?}") };
                let file = file.strip_prefix(dir.path()).unwrap().display().to_string();
                found.push([item.identity, Some(file), item.split]);
            }
            Ok(())
        })
        .map_err(|e| e.to_string())?;
        Ok(found)
    }

    #[test]
    fn lists_of_every_kind_say_the_same() {
        let row = |identity: &str, path: &str, split: Option<&str>| {
            [Some(identity.to_owned()), Some(path.to_owned()), split.map(str::to_owned)]
        };
        let expected = vec![row("Ann", "a/1.jpg", Some("train")), row("7", "b 2.png", Some("test"))];
        assert_eq!(
            read("l.csv", "identity,image_uri,split\nAnn,a/1.jpg,train\n7,b 2.png,test\n"),
            Ok(expected.clone())
        );
        assert_eq!(
            read("l.csv", "\u{feff}split;Label;Path\r\ntrain;Ann;a/1.jpg\r\ntest;7;b 2.png\r\n"),
            Ok(expected.clone())
        );
        assert_eq!(read("l.tsv", "person\tfile\tsplit\nAnn\ta/1.jpg\ttrain\n7\tb 2.png\ttest\n"), Ok(expected.clone()));
        let json = "{\"identity\":\"Ann\",\"path\":\"a/1.jpg\",\"split\":\"train\"}\n\n{\"path\":\"b 2.png\",\"split\":\"test\",\"identity\":7}\n";
        assert_eq!(read("l.jsonl", json), Ok(expected));
        let plain = vec![row("0", "a/1.jpg", None), row("1", "b 2.png", None)];
        assert_eq!(read("l.lst", "5\ta/1.jpg\t0\n6\tb 2.png\t1\n"), Ok(plain.clone()));
        assert_eq!(read("l.lst", "5\t0\ta/1.jpg\n6\t1\tb 2.png\n"), Ok(plain));
        assert_eq!(read("l.lst", "5\t7.000000\ta/1.jpg\n"), Ok(vec![row("7", "a/1.jpg", None)]));
        assert_eq!(read("l.txt", "a/1.jpg 0\n"), Ok(vec![row("0", "a/1.jpg", None)]));
    }

    #[test]
    fn what_is_missing_is_named() {
        let refused = |name: &str, text: &str| read(name, text).unwrap_err();
        assert!(refused("l.csv", "who,path\nAnn,1.jpg\n").contains("no column of persons; the list has who, path"));
        assert!(refused("l.csv", "identity,where\nAnn,1.jpg\n").contains("option `uri_column`"));
        assert!(refused("l.txt", "a/1.jpg 0\nb\n").contains("l.txt line 2"));
        assert!(refused("l.lst", "1 a/1.jpg 0 12.5 13.5\n").contains("l.lst line 1"));
        assert!(refused("l.csv", "name,who\nAnn,1.jpg\n").contains("no column of paths"));
        assert!(refused("l.jsonl", "{\"identity\":\"Ann\",\"path\":\"1.jpg\"}\n[1]\n").contains("l.jsonl line 2"));
    }
}
