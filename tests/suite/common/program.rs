//! The program and what it writes, on the demonstration manifest with a very short training.

use augment::formats::{Reader, Sample};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

pub const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/demo.parquet");

pub fn augment(args: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_augment"));
    c.args(args).env_remove("AUGMENT_OPS");
    c
}

pub fn run(args: &[&str]) -> Output {
    augment(args).output().unwrap()
}

pub fn ok(args: &[&str]) -> String {
    let out = run(args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

pub fn fails(code: i32, args: &[&str]) -> String {
    let out = run(args);
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(code), "{args:?}: {stderr}");
    stderr
}

/// Folder whose `cache` holds a model of the demonstration set after a few steps; shared by all tests.
pub fn shared() -> &'static Path {
    static DIR: OnceLock<TempDir> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("first");
        ok(&base(dir.path(), &out, &["--per-id", "3"]).iter().map(String::as_str).collect::<Vec<_>>());
        dir
    })
    .path()
}

/// Arguments of the main job. A judge has tests of its own: training one takes longer than all the rest.
pub fn base(dir: &Path, out: &Path, more: &[&str]) -> Vec<String> {
    let cache = dir.join("cache");
    let mut args = vec!["--manifest", DEMO, "--duration-kimg", "0.2", "--quiet"];
    if !more.contains(&"--judge") {
        args.push("--no-judge");
    }
    let (cache, out) = (cache.display().to_string(), out.display().to_string());
    args.extend(["--cache", &cache, "--out", &out]);
    args.extend(more);
    args.into_iter().map(str::to_owned).collect()
}

/// Synthesizes with the shared model into a fresh folder.
pub fn synthesize(more: &[&str]) -> (TempDir, PathBuf, String) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let args = base(shared(), &out, more);
    let text = ok(&args.iter().map(String::as_str).collect::<Vec<_>>());
    (dir, out, text)
}

pub fn records(out: &Path) -> Vec<Sample> {
    let mut all = Vec::new();
    let written = Reader::open(out).unwrap();
    written
        .read_all(|r| {
            all.push(r);
            Ok(())
        })
        .unwrap();
    all
}

/// Relative paths and bytes of all files under `dir`.
pub fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(dir).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

pub fn model_dir() -> String {
    let models = shared().join("cache/models");
    let dir = std::fs::read_dir(models).unwrap().next().unwrap().unwrap().path();
    dir.display().to_string()
}
