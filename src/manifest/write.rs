//! Writes a manifest: rows of one picture each, embedded as bytes or named by a path, streamed.

use super::faces::{BOX, Faces, LANDMARKS};
use super::schema::{GROUP, IDENTITY_SET, IMAGE_ID, SPLIT};
use crate::error::Result;
use crate::store;
use arrow::array::{ArrayRef, BinaryArray, Float32Array, Int32Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields, Float32Type, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most rows of a row group, and the bytes of pictures after which one ends.
const ROW_GROUP: usize = 1000;
const ROW_GROUP_BYTES: usize = 10 << 20;
/// Key of a file's metadata that says that this program wrote it.
const MARK: &str = "augment.manifest";

/// Columns that a manifest need not have: the last stands for all that a detector finds.
pub const OPTIONAL: [&str; 4] = [SPLIT, IDENTITY_SET, GROUP, LANDMARKS];

/// A row.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Whom it shows.
    pub identity: String,
    /// Its name within its identity.
    pub image_id: Option<String>,
    /// Encoded picture; empty where only its path is kept.
    pub image: Vec<u8>,
    /// Its path: relative to the manifest, or a name.
    pub path: String,
    /// Its split.
    pub split: Option<String>,
    /// Its identity set.
    pub identity_set: Option<String>,
    /// The group of its person.
    pub group: Option<String>,
    /// The face that a detector found in it.
    pub face: Option<FoundFace>,
}

/// A face that a detector found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoundFace {
    /// Five points, x and y of each, in pixels of the upright picture.
    pub landmarks: [f32; 10],
    /// Left, top, width and height.
    pub bbox: [f32; 4],
    /// How sure the detector is.
    pub score: f32,
    /// Faces in the picture.
    pub faces: i32,
}

/// The file that a manifest grows in: it goes if it has not got the manifest's name.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = store::remove(&self.0);
    }
}

/// True for names of columns that a written manifest gives a meaning to.
pub(crate) fn is_ours_by_name(name: &str) -> bool {
    ["identity", "image", "image_uri", IMAGE_ID, SPLIT, IDENTITY_SET, GROUP].contains(&name)
}

/// A manifest on its way.
pub struct Writer {
    path: PathBuf,
    part: Part,
    schema: SchemaRef,
    link: bool,
    columns: BTreeSet<&'static str>,
    table: ArrowWriter<File>,
    rows: usize,
    bytes: usize,
}

impl Writer {
    /// Begins `path` with the columns `extras` beside ours, of which `columns` ([`OPTIONAL`]) are there.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path, link: bool, columns: BTreeSet<&'static str>, extras: &Schema) -> Result<Self> {
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        let mut fields = vec![text("identity")];
        fields.push(if link { text("image_uri") } else { Field::new("image", DataType::Struct(image_fields()), true) });
        fields.push(text(IMAGE_ID));
        fields
            .extend([SPLIT, IDENTITY_SET, GROUP].iter().filter(|name| columns.contains(*name)).map(|name| text(name)));
        if columns.contains(LANDMARKS) {
            fields.extend(face_fields());
        }
        fields.extend(extras.fields().iter().map(|f| f.as_ref().clone()));
        let features = serde_json::json!({ "image": { "_type": "Image" } });
        let features = serde_json::json!({ "info": { "features": features } }).to_string();
        let metadata = if link { Vec::new() } else { vec![("huggingface".to_owned(), features)] };
        let schema = Arc::new(Schema::new_with_metadata(
            fields,
            metadata.into_iter().collect::<std::collections::HashMap<_, _>>(),
        ));
        let bytes = ColumnPath::new(vec!["image".into(), "bytes".into()]);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_column_compression(bytes.clone(), Compression::UNCOMPRESSED)
            .set_column_dictionary_enabled(bytes.clone(), false)
            .set_column_statistics_enabled(bytes, EnabledStatistics::None)
            .set_max_row_group_row_count(Some(ROW_GROUP))
            .set_key_value_metadata(Some(vec![KeyValue::new(MARK.to_owned(), Some("1".to_owned()))]));
        let part = Part(store::temporary(path));
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            store::create_dir(folder)?;
        }
        let table = ArrowWriter::try_new(store::create(&part.0)?, schema.clone(), Some(properties.build()));
        let table = table.map_err(|e| store::failed(&part.0, &e))?;
        Ok(Self { path: path.to_owned(), part, schema, link, columns, table, rows: 0, bytes: 0 })
    }

    /// Adds `entries` with their rows of kept columns.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, entries: &[Entry], extras: Option<&RecordBatch>) -> Result<()> {
        let text = |f: &dyn Fn(&Entry) -> Option<&str>| -> ArrayRef {
            Arc::new(entries.iter().map(f).collect::<StringArray>())
        };
        let paths = || text(&|e| Some(&e.path));
        let mut columns = vec![text(&|e| Some(&e.identity))];
        columns.push(if self.link {
            paths()
        } else {
            let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values(entries.iter().map(|e| &e.image)));
            let image = StructArray::try_new(image_fields(), vec![bytes, paths()], None);
            Arc::new(image.map_err(|e| store::failed(&self.part.0, &e))?)
        });
        columns.push(text(&|e| e.image_id.as_deref()));
        let texts = [
            (SPLIT, text(&|e| e.split.as_deref())),
            (IDENTITY_SET, text(&|e| e.identity_set.as_deref())),
            (GROUP, text(&|e| e.group.as_deref())),
        ];
        columns.extend(texts.into_iter().filter(|(name, _)| self.columns.contains(name)).map(|(_, column)| column));
        if self.columns.contains(LANDMARKS) {
            columns.extend(faces(entries));
        }
        columns.extend(extras.iter().flat_map(|batch| batch.columns()).cloned());
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(|e| store::failed(&self.part.0, &e))?;
        self.table.write(&batch).map_err(|e| store::failed(&self.part.0, &e))?;
        self.rows += entries.len();
        self.bytes += entries.iter().map(|e| e.image.len()).sum::<usize>();
        if self.bytes >= ROW_GROUP_BYTES {
            self.table.flush().map_err(|e| store::failed(&self.part.0, &e))?;
            self.bytes = 0;
        }
        Ok(())
    }

    /// Ends the file and puts it in its place.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self) -> Result<usize> {
        self.table.close().map_err(|e| store::failed(&self.part.0, &e))?;
        store::publish(&self.part.0, &self.path)?;
        Ok(self.rows)
    }
}

/// Columns of what a detector found.
fn face_fields() -> [Field; 4] {
    let numbers = || DataType::new_list(DataType::Float32, true);
    [
        Field::new(LANDMARKS, numbers(), true),
        Field::new(BOX, numbers(), true),
        Field::new("face_score", DataType::Float32, true),
        Field::new("faces", DataType::Int32, true),
    ]
}

/// Their values.
fn faces(entries: &[Entry]) -> [ArrayRef; 4] {
    let found = || entries.iter().map(|e| e.face);
    let numbers = |f: &dyn Fn(&FoundFace) -> Vec<f32>| -> ArrayRef {
        let rows = found().map(|face| face.map(|face| f(&face).into_iter().map(Some).collect::<Vec<_>>()));
        Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows))
    };
    [
        numbers(&|f| f.landmarks.to_vec()),
        numbers(&|f| f.bbox.to_vec()),
        Arc::new(found().map(|f| f.map(|f| f.score)).collect::<Float32Array>()),
        Arc::new(found().map(|f| f.map(|f| f.faces)).collect::<Int32Array>()),
    ]
}

/// The columns of `schema` that say nothing of where faces are.
pub(crate) fn without_faces(schema: &Schema) -> Vec<usize> {
    let known: Vec<usize> = Faces::of(schema).iter().flat_map(Faces::columns).collect();
    let ours = face_fields().map(|f| f.name().clone());
    (0..schema.fields().len()).filter(|i| !known.contains(i) && !ours.contains(schema.field(*i).name())).collect()
}

fn image_fields() -> Fields {
    Fields::from(vec![Field::new("bytes", DataType::Binary, true), Field::new("path", DataType::Utf8, true)])
}

/// True if this program wrote the manifest `path`.
pub fn is_ours(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let Ok(metadata) = parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(&file) else {
        return false;
    };
    metadata.file_metadata().key_value_metadata().is_some_and(|kv| kv.iter().any(|kv| kv.key == MARK))
}
