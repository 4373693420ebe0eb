//! Replays the committed corpus of the fuzz targets: each file must be handled without a panic, in bounded time.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::path::PathBuf;
use std::time::{Duration, Instant};

fn replay(name: &str, target: fn(&[u8])) {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus")).join(name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "{name}: the corpus is gone");
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        let begin = Instant::now();
        target(&bytes);
        // And what is left of it, and with its middle turned over.
        for cut in [bytes.len() / 3, bytes.len() / 2, bytes.len() * 9 / 10] {
            target(&bytes[..cut]);
        }
        let mut turned = bytes.clone();
        let half = turned.len() / 2;
        turned[half..].iter_mut().take(16).for_each(|b| *b = !*b);
        target(&turned);
        assert!(begin.elapsed() < Duration::from_secs(10), "{} took {:?}", path.display(), begin.elapsed());
    }
}

#[test]
fn manifests() {
    replay("manifest", targets::manifest);
}

#[test]
fn sources() {
    replay("source", targets::source);
}

#[test]
fn pictures() {
    replay("picture", targets::picture);
}

#[test]
fn weights() {
    replay("weights", targets::weights);
}

#[test]
fn metadata() {
    replay("metadata", targets::metadata);
}
