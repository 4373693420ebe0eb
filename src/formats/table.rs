//! The table that every format keeps: its columns, Hugging Face features, and how its Parquet files are written and read.

use super::{Sample, folder};
use crate::error::{Error, Result};
use crate::manifest::guarded;
use crate::store;
use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray,
    UInt64Array,
};
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Int64Type, Schema, SchemaRef, UInt64Type};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Version of the output's columns.
pub const FORMAT_VERSION: u32 = 1;
/// Most rows of a row group.
pub const ROW_GROUP: usize = 1000;
/// A row group ends where its images are larger, in bytes.
pub const ROW_GROUP_BYTES: usize = 10 << 20;

/// Names and value types of all columns after `image`, in order; `label` is a class label.
pub(super) const VALUES: [(&str, DataType, &str); 13] = [
    ("label", DataType::Int64, "class"),
    ("identity", DataType::Utf8, "string"),
    ("identity_set", DataType::Utf8, "string"),
    ("sample_id", DataType::Utf8, "string"),
    ("synthetic", DataType::Boolean, "bool"),
    ("seed", DataType::UInt64, "uint64"),
    ("index", DataType::Int64, "int64"),
    ("label_mix", DataType::Utf8, "string"),
    ("latent", DataType::Utf8, "string"),
    ("truncation", DataType::Float64, "float64"),
    ("model_hash", DataType::Utf8, "string"),
    ("config_hash", DataType::Utf8, "string"),
    ("manifest_hash", DataType::Utf8, "string"),
];

/// Fields of Hugging Face's image storage.
fn image_fields() -> Fields {
    Fields::from(vec![Field::new("bytes", DataType::Binary, true), Field::new("path", DataType::Utf8, true)])
}

/// A Hugging Face image column from encoded images and their file names.
///
/// # Errors
/// Another number of images than of paths.
pub fn image_column(images: &[Vec<u8>], paths: &[String]) -> std::result::Result<ArrayRef, ArrowError> {
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values(images));
    let paths: ArrayRef = Arc::new(StringArray::from_iter_values(paths));
    Ok(Arc::new(StructArray::try_new(image_fields(), vec![bytes, paths], None)?))
}

/// The schema of a synthesized dataset whose classes are `names`, with the features that Hugging Face reads.
/// `file_names` replaces the image column by the path of an image file, for image folders.
pub fn output_schema(names: &[String], file_names: bool) -> Schema {
    let first = if file_names {
        Field::new("file_name", DataType::Utf8, false)
    } else {
        Field::new("image", DataType::Struct(image_fields()), true)
    };
    let mut fields = vec![first];
    let mut features = serde_json::Map::new();
    if !file_names {
        features.insert("image".into(), json!({ "_type": "Image" }));
    }
    for (name, ty, kind) in VALUES {
        // Nullable, though never null: `datasets` ignores the declared feature of any other field.
        fields.push(Field::new(name, ty, true));
        let feature = match kind {
            "class" => json!({ "names": names, "_type": "ClassLabel" }),
            dtype => json!({ "dtype": dtype, "_type": "Value" }),
        };
        features.insert(name.into(), feature);
    }
    let mut metadata = HashMap::from([
        ("augment_format".to_owned(), FORMAT_VERSION.to_string()),
        ("augment_synthetic".to_owned(), "true".to_owned()),
    ]);
    let (key, value) =
        if file_names { (CLASSES, json!(names)) } else { (FEATURES, json!({ "info": { "features": features } })) };
    metadata.insert(key.into(), value.to_string());
    Schema::new(fields).with_metadata(metadata)
}

/// The class of an identity: its key, after the identity set's name where there are several sets.
pub fn class_name(sets: usize, set: &str, identity: &str) -> String {
    if sets == 1 {
        return identity.to_owned();
    }
    // Only the first slash parts the two.
    format!("{}/{identity}", set.replace('%', "%25").replace('/', "%2F"))
}

/// Key of the features that Hugging Face reads, in a file's metadata.
const FEATURES: &str = "huggingface";

/// Key of the list of classes in a file whose images lie elsewhere: `datasets` wants no features of it.
const CLASSES: &str = "augment_classes";

/// The document that lists the classes of a written file, its key, and where the list stands in it.
fn listed(schema: &Schema) -> Option<(&'static str, serde_json::Value, &'static str)> {
    let places = [(FEATURES, "/info/features/label/names"), (CLASSES, "")];
    places.into_iter().find_map(|(key, place)| {
        let document = schema.metadata().get(key)?;
        Some((key, serde_json::from_str(document).ok()?, place))
    })
}

/// The class names of a written file, in the order of their labels.
///
/// # Errors
/// It cannot be read, or lists none.
pub fn classes(path: &Path) -> Result<Vec<String>> {
    let listed = listed(open(path)?.schema());
    let names = listed.and_then(|(_, document, place)| serde_json::from_value(document.pointer(place)?.clone()).ok());
    names.ok_or_else(|| Error::Manifest(format!("{}: lists no classes: not written by augment", path.display())))
}

/// True if the class list of a written file has one of `classes`.
pub fn has_class(schema: &Schema, classes: &BTreeMap<String, String>) -> bool {
    let Some((_, document, place)) = listed(schema) else { return false };
    let names = document.pointer(place).and_then(|names| names.as_array());
    names.into_iter().flatten().any(|class| class.as_str().is_some_and(|c| classes.contains_key(c)))
}

/// `schema` of a written file with other names for `classes`; numbers of classes stay.
pub fn rename_class(schema: &Schema, classes: &BTreeMap<String, String>) -> Schema {
    let mut metadata = schema.metadata().clone();
    if let Some((key, mut document, place)) = listed(schema) {
        let names = document.pointer_mut(place).and_then(|names| names.as_array_mut());
        for class in names.into_iter().flatten() {
            if let Some(to) = class.as_str().and_then(|c| classes.get(c)) {
                *class = json!(to);
            }
        }
        metadata.insert(key.to_owned(), document.to_string());
    }
    Schema::new(schema.fields().clone()).with_metadata(metadata)
}

/// Images uncompressed and without statistics, everything else zstd. The schema's metadata goes into the footer, where
/// Arrow's own reader looks for it.
pub fn writer_properties(schema: &Schema) -> WriterProperties {
    let mut entries: Vec<KeyValue> =
        schema.metadata().iter().map(|(k, v)| KeyValue::new(k.clone(), v.clone())).collect();
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    let mut builder = WriterProperties::builder()
        .set_created_by(format!("augment {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_key_value_metadata(Some(entries));
    for path in [vec!["image".to_owned(), "bytes".to_owned()], vec!["image".to_owned(), "path".to_owned()]] {
        let column = ColumnPath::from(path);
        builder = builder
            .set_column_compression(column.clone(), Compression::UNCOMPRESSED)
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_statistics_enabled(column, EnabledStatistics::None);
    }
    builder.build()
}

/// All columns of `samples` but the image, in the schema's order.
pub(super) fn value_columns(samples: &[Sample]) -> Vec<ArrayRef> {
    let text = |f: fn(&Sample) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(samples.iter().map(f))) };
    vec![
        Arc::new(Int64Array::from_iter_values(samples.iter().map(|s| s.label))),
        text(|s| &s.identity),
        text(|s| &s.identity_set),
        text(|s| &s.sample_id),
        Arc::new(BooleanArray::from(samples.iter().map(|s| s.synthetic).collect::<Vec<_>>())),
        Arc::new(UInt64Array::from_iter_values(samples.iter().map(|s| s.seed))),
        Arc::new(Int64Array::from_iter_values(samples.iter().map(|s| s.index))),
        text(|s| &s.label_mix),
        text(|s| &s.latent),
        Arc::new(Float64Array::from_iter_values(samples.iter().map(|s| s.truncation))),
        text(|s| &s.model_hash),
        text(|s| &s.config_hash),
        text(|s| &s.manifest_hash),
    ]
}

/// True for the file of a table.
pub fn is_table(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "parquet")
}

/// A writer of tables of `schema`.
pub(super) fn writer(path: &Path, schema: &SchemaRef) -> Result<ArrowWriter<File>> {
    ArrowWriter::try_new(store::create(path)?, schema.clone(), Some(writer_properties(schema)))
        .map_err(|e| store::failed(path, &e))
}

/// A reader of our own tables.
pub(super) fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| store::failed(path, &e))
}

/// Calls `f` with the samples of a table that anybody may have written.
pub(super) fn read(path: &Path, f: &mut dyn FnMut(Sample) -> Result<()>) -> Result<()> {
    read_rows(path, &mut |mut sample, name| {
        if sample.image.is_empty() {
            sample.image = folder::named_image(path, &name)?;
        }
        f(sample)
    })
}

/// Calls `f` with the rows of a table that anybody may have written, and the names of their images; images that lie elsewhere are empty.
pub(super) fn read_rows(path: &Path, f: &mut dyn FnMut(Sample, String) -> Result<()>) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| Error::Manifest(format!("{}: {e}", path.display()));
    let mut reader = guarded(path, || {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| failed(&e))?;
        builder.with_batch_size(256).build().map_err(|e| failed(&e))
    })?;
    while let Some(batch) = guarded(path, || reader.next().transpose().map_err(|e| failed(&e)))? {
        for row in 0..batch.num_rows() {
            let (sample, name) =
                guarded(path, || sample(&batch, row).ok_or_else(|| failed(&"not written by augment")))?;
            f(sample, name)?;
        }
    }
    Ok(())
}

/// Row `row` and the path of its image, whose bytes a folder's metadata do not hold; `None` if a column is missing or has
/// another type.
fn sample(batch: &RecordBatch, row: usize) -> Option<(Sample, String)> {
    let text = |name: &str| batch.column_by_name(name)?.as_string_opt::<i32>().map(|a| a.value(row).to_owned());
    let (path, image) = match text("file_name") {
        Some(name) => (name, Vec::new()),
        None => {
            let image = batch.column_by_name("image")?.as_struct_opt()?;
            (
                image.column_by_name("path")?.as_string_opt::<i32>()?.value(row).to_owned(),
                image.column_by_name("bytes")?.as_binary_opt::<i32>()?.value(row).to_vec(),
            )
        }
    };
    let sample = Sample {
        image,
        extension: if path.rsplit('.').next() == Some("png") { "png" } else { "jpg" },
        label: batch.column_by_name("label")?.as_primitive_opt::<Int64Type>()?.value(row),
        identity: text("identity")?,
        identity_set: text("identity_set")?,
        sample_id: text("sample_id")?,
        synthetic: batch.column_by_name("synthetic")?.as_boolean_opt()?.value(row),
        seed: batch.column_by_name("seed")?.as_primitive_opt::<UInt64Type>()?.value(row),
        index: batch.column_by_name("index")?.as_primitive_opt::<Int64Type>()?.value(row),
        label_mix: text("label_mix")?,
        latent: text("latent")?,
        truncation: batch.column_by_name("truncation")?.as_primitive_opt::<Float64Type>()?.value(row),
        model_hash: text("model_hash")?,
        config_hash: text("config_hash")?,
        manifest_hash: text("manifest_hash")?,
    };
    Some((sample, path))
}
