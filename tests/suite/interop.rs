//! Other people's readers on our output. Needs a Python with tests/interop/requirements.txt, named by AUGMENT_PYTHON,
//! one with pipelines/downstream/requirements.txt, named by AUGMENT_TORCH_PYTHON, one with tests/interop/containers-requirements.txt,
//! named by AUGMENT_CONTAINERS_PYTHON, and one with torchvision, named by AUGMENT_TORCHVISION_PYTHON; skipped with a message where there
//! is none.

#![allow(
    clippy::explicit_write,
    reason = "a skip must be seen, and the test runner swallows what a passing test prints"
)]

use augment::config::Alignment;
use augment::dataset::View;
use augment::dataset::decode::decode_source;
use augment::jobs::{Context, manifest};
use augment::manifest::{Columns, Manifest, Policy, Row};
use augment::progress::Silent;
use augment::recogniser::outside::Outside;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Runs a script with the Python that `variable` names; returns what it prints.
fn python(variable: &str, requirements: &str, script: &str, args: &[&str]) -> Option<String> {
    let Ok(python) = std::env::var(variable) else {
        // Where these tests are what a run is for, none is left out.
        let required = std::env::var("AUGMENT_REQUIRED").unwrap_or_default();
        assert!(!required.split(',').any(|r| r == variable), "{variable} names no Python with {requirements}");
        writeln!(std::io::stderr(), "skipped: {variable} names no Python with {requirements}").unwrap();
        return None;
    };
    let script = Path::new(ROOT).join(script);
    let out = Command::new(python).arg(script).args(args).env("HF_HUB_OFFLINE", "1").output().unwrap();
    let printed = || String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{}{}", printed(), String::from_utf8_lossy(&out.stderr));
    Some(String::from_utf8(out.stdout).unwrap())
}

/// What the arcface-style training needs.
const ARCFACE: &str = "pipelines/downstream/arcface-requirements.txt";

fn check(script: &str, args: &[&str]) {
    python("AUGMENT_PYTHON", "tests/interop/requirements.txt", &format!("tests/interop/{script}"), args);
}

/// Writes the demonstration identities after a few training steps.
fn write(dir: &Path, out: &Path, more: &[&str]) {
    let manifest = format!("{ROOT}/manifests/demo.parquet");
    let status = Command::new(env!("CARGO_BIN_EXE_augment"))
        .args(["--manifest", &manifest, "--duration-kimg", "0.1", "--per-id", "2", "--no-judge", "-q"])
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
    check("load_dataset.py", &[shards.to_str().unwrap(), "49", "98"]);
    // A reader's cache of a folder does not keep whom the folder has forgotten.
    let forget = ["forget", "--identity", "person-05", shards.to_str().unwrap(), "--cache", "none", "-q"];
    assert!(
        Command::new(env!("CARGO_BIN_EXE_augment")).args(forget).current_dir(dir.path()).status().unwrap().success()
    );
    let done = std::fs::read(shards.join("_SUCCESS.json")).unwrap();
    let left = serde_json::from_slice::<serde_json::Value>(&done).unwrap()["rows"].to_string();
    assert!(left == "96" || left == "94", "{left}");
    check("load_dataset.py", &[shards.to_str().unwrap(), "49", &left]);
    let folder = dir.path().join("folder");
    write(dir.path(), &folder, &["--format", "imagefolder"]);
    check("image_folder.py", &[folder.join("imgs").to_str().unwrap(), "96"]);
}

#[test]
fn every_format_is_read_by_its_own_readers() {
    let dir = tempfile::tempdir().unwrap();
    let [parquet, recordio, webdataset, folder] = ["parquet", "recordio", "webdataset", "imagefolder"].map(|format| {
        let out = dir.path().join(format);
        write(dir.path(), &out, &["--format", format, "--shard-rows", "30", "--new-identities", "1"]);
        let path = |inner: &str| out.join(inner).display().to_string();
        match format {
            "parquet" => path(""),
            "imagefolder" => format!("folder={}", path("imgs")),
            _ => format!("{format}={}", path(format)),
        }
    });
    let (script, requirements) = ("tests/interop/formats.py", "tests/interop/containers-requirements.txt");
    python("AUGMENT_CONTAINERS_PYTHON", requirements, script, &[&parquet, &recordio, &webdataset, &folder]);
    let images = folder.trim_start_matches("folder=");
    python("AUGMENT_TORCHVISION_PYTHON", "torchvision", "tests/interop/torchvision_folder.py", &[images, "98"]);
    let hub = webdataset.replace("webdataset=", "hub=");
    check("formats.py", &[&parquet, &hub, "tables=", &folder]);
}

#[test]
fn a_recogniser_that_is_not_ours_trains_on_the_output() {
    let dir = tempfile::tempdir().unwrap();
    let faces = dir.path().join("faces");
    write(dir.path(), &faces, &["--new-identities", "1"]);
    let demo = format!("{ROOT}/manifests/demo.parquet");
    let test = ["--real", &demo, "--test", &demo, "--test-split", "dev", "--steps", "3"];
    let args = [&test[..], &["--synthetic", faces.to_str().unwrap()]].concat();
    let requirements = "pipelines/downstream/requirements.txt";
    if let Some(printed) = python("AUGMENT_TORCH_PYTHON", requirements, "pipelines/downstream/recognise.py", &args) {
        let result: serde_json::Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
        assert_eq!((&result["images"], &result["classes"]), (&serde_json::json!([384, 96, 2]), &49.into()));
        assert!(result["loss"].as_f64().unwrap().is_finite() && result["accuracy"].as_f64().unwrap() > 0.4, "{result}");
        assert!((0.3..=1.0).contains(&result["auc"].as_f64().unwrap()), "{result}");
    }
}

#[test]
fn an_arcface_training_reads_records_and_tars() {
    let dir = tempfile::tempdir().unwrap();
    let Some(its_python) = std::env::var_os("AUGMENT_ARCFACE_PYTHON") else {
        writeln!(std::io::stderr(), "skipped: AUGMENT_ARCFACE_PYTHON names no Python with {ARCFACE}").unwrap();
        return;
    };
    let demo = format!("{ROOT}/manifests/demo.parquet");
    let out = Command::new(format!("{ROOT}/pipelines/handoff.sh"))
        .args([&demo, dir.path().to_str().unwrap()])
        .env("AUGMENT", env!("CARGO_BIN_EXE_augment"))
        .env("PYTHON", its_python)
        .env("ARGS", "--per-id 2 --no-judge --duration-kimg 0.1 -q")
        .env("STEPS", "3")
        .env("PAIRS", "20")
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    for name in ["recordio.json", "webdataset.json"] {
        let result = std::fs::read_to_string(dir.path().join(name)).unwrap();
        let result: serde_json::Value = serde_json::from_str(&result).unwrap();
        assert_eq!([&result["images"], &result["classes"], &result["pairs"]], [480, 48, 40], "{result}");
        assert!(result["loss"][1].as_f64().is_some_and(f64::is_finite), "{result}");
    }
    // The network that was trained, as a judge: what it sees here is what onnxruntime sees.
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (network, raw) = (at("network.onnx"), at("pixels"));
    let (records, pairs) = (dir.path().join("recordio/recordio"), dir.path().join("test.bin"));
    let args =
        ["--rec", records.to_str().unwrap(), "--test", pairs.to_str().unwrap(), "--steps", "1", "--onnx", &network];
    python("AUGMENT_ARCFACE_PYTHON", ARCFACE, "pipelines/downstream/arcface.py", &args).unwrap();
    let pixels: Vec<u8> = (0..4 * 112 * 112 * 3u32).map(|i| (i * 7 % 251 + i / 112 % 5) as u8).collect();
    std::fs::write(&raw, &pixels).unwrap();
    let printed =
        python("AUGMENT_ARCFACE_PYTHON", ARCFACE, "tests/interop/embed.py", &[&network, &raw, "112"]).unwrap();
    let theirs: Vec<Vec<f32>> = serde_json::from_str(&printed).unwrap();
    let outside = Outside::load(Path::new(&network), None).unwrap();
    for (image, theirs) in pixels.chunks_exact(112 * 112 * 3).zip(&theirs) {
        let ours = outside.embed_one(image, 112).unwrap();
        let furthest = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(ours.len() == 128 && theirs.len() == 128 && furthest < 1e-4, "{furthest}");
    }
}

#[test]
fn what_other_writers_contain_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let args = [env!("CARGO_BIN_EXE_augment"), dir.path().to_str().unwrap()];
    let requirements = "tests/interop/containers-requirements.txt";
    python("AUGMENT_CONTAINERS_PYTHON", requirements, "tests/interop/containers.py", &args);
}

/// Pixels of every image of a manifest by (identity, split), sorted, and the terms of its rows kept where it has such.
fn census(spec: &Path) -> Result<BTreeMap<(String, String), Vec<blake3::Hash>>, String> {
    let columns = Columns::default();
    let mut manifest = Manifest::open(spec.to_str().unwrap(), &columns).map_err(|e| e.to_string())?;
    if spec.file_name().unwrap().to_str().unwrap().starts_with("terms-") {
        let policy = Policy::new("training", "2099-12-31".parse().unwrap()).unwrap();
        manifest = manifest.restrict(&policy, None).map_err(|e| e.to_string())?;
    }
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let read = manifest.read(true, |rows| {
        for row in rows {
            let pixels = decode_source(&row.image).unwrap_or_else(|e| panic!("{}: row {}: {e}", row.file, row.row));
            let key = (row.identity.unwrap_or_default(), row.split.unwrap_or_default());
            found.entry(key).or_default().push(blake3::hash(pixels.as_raw()));
        }
        Ok(())
    });
    read.map_err(|e| e.to_string())?;
    found.values_mut().for_each(|hashes| hashes.sort_by_key(|h| *h.as_bytes()));
    Ok(found)
}

#[test]
fn a_manifest_is_the_same_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let demo = format!("{ROOT}/manifests/demo.parquet");
    let (script, folder) = ("tests/interop/forms.py", dir.path().to_str().unwrap());
    let Some(forms) = python("AUGMENT_PYTHON", "tests/interop/requirements.txt", script, &[&demo, folder]) else {
        return;
    };
    let expected = census(&dir.path().join("identity-int64.parquet")).unwrap();
    assert!(expected.len() > 4 && expected.values().map(Vec::len).sum::<usize>() == 24, "{expected:?}");
    let forms: Vec<&str> = forms.lines().collect();
    assert!(forms.len() > 95, "{forms:?}");
    let wrong: Vec<String> = forms
        .iter()
        .filter_map(|form| match census(&dir.path().join(form)) {
            Err(e) => Some(format!("{form}: {e}")),
            Ok(found) if found == expected => None,
            Ok(found) => Some(format!("{form}: {:?}", found.keys().collect::<Vec<_>>())),
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let refused = census(&dir.path().join("encrypted")).unwrap_err();
    assert!(refused.contains("columns `image`: damaged Parquet data, or encrypted"), "{refused}");
    for kind in ["faces", "boxes"] {
        let expected = shown(&dir.path().join(format!("{kind}-list.parquet")), Alignment::Arcface);
        assert_ne!(expected, shown(&dir.path().join(format!("{kind}-list.parquet")), Alignment::None));
        let forms: Vec<&&str> = forms.iter().filter(|form| form.starts_with(kind)).collect();
        for form in &forms {
            let made = dir.path().join(format!("made-{form}"));
            let request = manifest::Request::new(dir.path().join(form).to_string_lossy(), &made);
            manifest::run(&request, &Context::new(""), &mut Silent).unwrap();
            assert_eq!(shown(&made, Alignment::Arcface), expected, "{form}");
        }
        let wrong: Vec<&&str> =
            forms.into_iter().filter(|form| shown(&dir.path().join(form), Alignment::Arcface) != expected).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

/// What is shown of every image of a manifest by (identity, split), sorted.
fn shown(spec: &Path, alignment: Alignment) -> Vec<(String, String, blake3::Hash)> {
    let manifest = Manifest::open(spec.to_str().unwrap(), &Columns::default()).unwrap();
    let (view, mut found) = (View::new(32, alignment), Vec::new());
    let add = |rows: Vec<Row>| {
        for row in rows {
            let pixels = view.row(&row).unwrap_or_else(|e| panic!("{}: row {}: {e}", row.file, row.row));
            found.push((row.identity.unwrap(), row.split.unwrap(), blake3::hash(&pixels)));
        }
        Ok(())
    };
    manifest.read(true, add).unwrap();
    found.sort_by_key(|(identity, split, hash)| (identity.clone(), split.clone(), *hash.as_bytes()));
    found
}
