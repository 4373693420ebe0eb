//! Other people's readers on our output. Needs a Python with tests/interop/requirements.txt, named by AUGMENT_PYTHON;
//! skipped with a message where there is none.

#![allow(
    clippy::unwrap_used,
    clippy::explicit_write,
    reason = "a failed unwrap is a failed test; a skip must be seen, and the test runner swallows what a passing test prints"
)]

use std::io::Write;
use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn check(script: &str, args: &[&str]) {
    let Ok(python) = std::env::var("AUGMENT_PYTHON") else {
        let message = "skipped: AUGMENT_PYTHON names no Python with tests/interop/requirements.txt";
        writeln!(std::io::stderr(), "{message}").unwrap();
        return;
    };
    let script = Path::new(ROOT).join("tests/interop").join(script);
    let out = Command::new(python).arg(script).args(args).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Writes the demonstration identities after a few training steps.
fn write(dir: &Path, out: &Path, more: &[&str]) {
    let manifest = format!("{ROOT}/manifests/demo.parquet");
    let status = Command::new(env!("CARGO_BIN_EXE_augment"))
        .args(["--manifest", &manifest, "--duration-kimg", "0.1", "--per-id", "2", "-q"])
        .arg("--cache")
        .arg(dir.join("cache"))
        .arg("--out")
        .arg(out)
        .args(more)
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn hugging_face_reads_shards_and_folders() {
    let dir = tempfile::tempdir().unwrap();
    let shards = dir.path().join("shards");
    write(dir.path(), &shards, &["--shard-rows", "30", "--new-identities", "1"]);
    check("load_dataset.py", &[shards.to_str().unwrap(), "33", "66"]);
    let folder = dir.path().join("folder");
    write(dir.path(), &folder, &["--format", "imagefolder"]);
    check("image_folder.py", &[folder.join("imagefolder").to_str().unwrap(), "64"]);
}
