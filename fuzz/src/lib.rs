//! What is fuzzed: each function takes the bytes of one untrusted file and must come back, whatever they are.

use augment::dataset::decode::decode_source;
use augment::formats::{Reader, bin};
use augment::jobs::{Context, manifest as manifest_job};
use augment::manifest::{Columns, ImageSource, Manifest};
use augment::nn::sealed;
use augment::progress::Silent;
use augment::store;
use augment::train::TrainedModel;
use std::path::Path;

/// Calls `f` with the path of a file of these bytes.
fn as_file(bytes: &[u8], name: &str, f: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).expect("room on the disk");
    f(&path);
}

/// A manifest: a Parquet file from anywhere.
pub fn manifest(bytes: &[u8]) {
    as_file(bytes, "x.parquet", |path| {
        let opened = Manifest::open(&path.display().to_string(), &Columns::default());
        let _ = opened.and_then(|m| m.read(true, |_| Ok(())));
    });
}

/// What a manifest is made of: records, a tar or a list, and a pickle of pairs.
pub fn source(bytes: &[u8]) {
    for name in ["x.rec", "x.tar", "x.csv", "x.tsv", "x.lst", "x.jsonl"] {
        as_file(bytes, name, |path| {
            let request = manifest_job::Request::new(path.to_string_lossy(), path.with_file_name("ids.parquet"));
            let _ = manifest_job::run(&request, &Context::new(""), &mut Silent);
        });
    }
    as_file(bytes, "x.bin", |path| _ = bin::read(path));
}

/// The picture of a row.
pub fn picture(bytes: &[u8]) {
    let _ = decode_source(&ImageSource::Bytes(bytes.to_vec()));
}

/// A model or checkpoint.
pub fn weights(bytes: &[u8]) {
    as_file(bytes, "model.safetensors", |path| {
        let _ = sealed::header(path);
        let _ = TrainedModel::load(path, &candle_core::Device::Cpu);
    });
}

/// What a run wrote beside its images: sealed JSON, and the rows of a shard.
pub fn metadata(bytes: &[u8]) {
    as_file(bytes, "x.parquet", |path| {
        let _ = store::read_sealed(path);
        let _ = Reader::open(path).and_then(|w| w.read_all(|_| Ok(())));
    });
}
