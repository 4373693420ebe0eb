//! What a written dataset in Parquet is, as Croissant 1.0 (JSON-LD of MLCommons), which search engines and loaders read.

use super::table::VALUES;
use serde_json::{Map, Value, json};

/// Its name in a repository.
pub const FILE: &str = "croissant.json";

/// Where Croissant's own words are defined.
const WORDS: [&str; 25] = [
    "citeAs",
    "column",
    "dataType",
    "equivalentProperty",
    "examples",
    "extract",
    "field",
    "fileObject",
    "fileProperty",
    "fileSet",
    "format",
    "includes",
    "isLiveDataset",
    "jsonPath",
    "key",
    "md5",
    "parentField",
    "path",
    "recordSet",
    "references",
    "regex",
    "repeated",
    "replace",
    "separator",
    "source",
];

/// The document of the dataset `name` at `url`, a repository of git: `description` says what it is, `files` which of its files hold rows.
pub fn document(name: &str, url: &str, description: &str, files: &str) -> Value {
    let field = |column: &str, kind: &str, source: Value| {
        let mut extracted = json!({ "fileSet": { "@id": "files" }, "extract": { "column": column } });
        if let (Value::Object(source), Some(own)) = (source, extracted.as_object_mut()) {
            own.extend(source);
        }
        json!({ "@type": "cr:Field", "@id": format!("images/{column}"), "name": column, "dataType": kind, "source": extracted })
    };
    let plain = VALUES.map(|(column, _, kind)| {
        let kind = match kind {
            "bool" => "sc:Boolean",
            "string" => "sc:Text",
            "float64" => "sc:Float",
            _ => "sc:Integer",
        };
        field(column, kind, json!({}))
    });
    let image = field("image", "sc:ImageObject", json!({ "transform": { "jsonPath": "bytes" } }));
    let fields: Vec<Value> = std::iter::once(image).chain(plain).collect();
    json!({
        "@context": context(),
        "@type": "sc:Dataset",
        "name": name,
        "description": description,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "url": url,
        "version": "1.0.0",
        "distribution": [
            {
                "@type": "cr:FileObject", "@id": "repository", "name": "repository", "contentUrl": url, "encodingFormat": "git+https",
                // A repository has no hash of its own; its commits have.
                "sha256": "https://github.com/mlcommons/croissant/issues/80",
            },
            {
                "@type": "cr:FileSet", "@id": "files", "name": "files", "containedIn": { "@id": "repository" },
                "encodingFormat": "application/x-parquet", "includes": files,
            },
        ],
        "recordSet": [{ "@type": "cr:RecordSet", "@id": "images", "name": "images", "field": fields }],
    })
}

fn context() -> Value {
    let mut context = Map::new();
    let fixed = [
        ("@language", json!("en")),
        ("@vocab", json!("https://schema.org/")),
        ("conformsTo", json!("dct:conformsTo")),
        ("cr", json!("http://mlcommons.org/croissant/")),
        ("data", json!({ "@id": "cr:data", "@type": "@json" })),
        ("dct", json!("http://purl.org/dc/terms/")),
        ("rai", json!("http://mlcommons.org/croissant/RAI/")),
        ("samplingRate", json!("cr:samplingRate")),
        ("sc", json!("https://schema.org/")),
        ("subField", json!("cr:subField")),
        ("transform", json!("cr:transform")),
    ];
    context.extend(fixed.map(|(key, value)| (key.to_owned(), value)));
    context.extend(WORDS.map(|word| {
        let value = match word {
            "dataType" => json!({ "@id": "cr:dataType", "@type": "@vocab" }),
            "examples" => json!({ "@id": "cr:examples", "@type": "@json" }),
            word => json!(format!("cr:{word}")),
        };
        (word.to_owned(), value)
    }));
    Value::Object(context)
}
