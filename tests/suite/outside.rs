//! Face networks of somebody else's: they choose among candidates, and tell what synthetic images are worth to them.

use crate::common::program::{DEMO, base, fails, model_dir, ok, records, shared};
use std::collections::BTreeSet;
use std::path::Path;

const NETWORK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/face.onnx");

/// Images that the main job keeps, and the judge that its plan names.
fn kept(out: &Path, judge: &str) -> (BTreeSet<String>, String) {
    let more = ["--per-id", "4", "--judge", judge, "--tries", "3"];
    let more = if judge == "none" { &["--per-id", "4"][..] } else { &more[..] };
    ok(&base(shared(), out, more).iter().map(String::as_str).collect::<Vec<_>>());
    let plan: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("_PLAN.json")).unwrap()).unwrap();
    let ids = records(out).into_iter().map(|r| r.sample_id).collect();
    (ids, plan["judge"]["hash"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_network_in_onnx_chooses_and_how_it_is_fed_counts() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(NETWORK, dir.path().join("face.onnx")).unwrap();
    let toml = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("model = \"face.onnx\"\n{text}")).unwrap();
        path.display().to_string()
    };
    let plain = toml("plain.toml", "");
    let other = toml("bgr.toml", "channels = \"bgr\"\nmirrored = true\nplacement = { x = 0, y = 2, side = 12 }\n");
    let [nobody, onnx, same, fed] = [("a", "none"), ("b", NETWORK), ("c", &plain[..]), ("d", &other[..])]
        .map(|(name, judge)| kept(&dir.path().join(name), judge));
    assert!(!onnx.0.is_empty() && onnx.0 != nobody.0, "the judge changed nothing");
    assert_eq!(onnx, same);
    assert!(fed.0 != onnx.0 && fed.1 != onnx.1, "another input is another judge");
    let text = fails(2, &["synthesize", "--model", &model_dir(), "--judge", NETWORK, "--out", "x"]);
    assert!(text.contains("knows persons by their photographs"), "{text}");
    let wrong = toml("wrong.toml", "channel = \"bgr\"");
    let text = fails(2, &["--manifest", DEMO, "--judge", &wrong, "--out", "x"]);
    assert!(text.contains("wrong.toml") && text.contains("unknown field `channel`"), "{text}");
    let far = toml("far.toml", "placement = { x = 9, y = 2, side = 12 }");
    assert!(fails(2, &["--manifest", DEMO, "--judge", &far, "--out", "x"]).contains("reaches over the input"));
}

#[test]
fn persons_are_enrolled_with_and_without_synthetic_images() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("figures.json");
    let (made, out) = (shared().join("first").display().to_string(), out.display().to_string());
    let args = [
        "enrol",
        "--manifest",
        DEMO,
        "--synthetic",
        &made,
        "--judge",
        NETWORK,
        "--shots",
        "1,8",
        "--draws",
        "2",
        "--held-out",
        "train",
    ];
    let text = ok(&[&args[..], &["--out", &out, "-q"]].concat());
    assert!(text.contains("48 persons") && text.contains("144 synthetic images"), "{text}");
    let figures: serde_json::Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    let rows = figures["figures"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    let value = |row: usize, key: &str| rows[row][key]["value"].as_f64().unwrap();
    // The images to identify are those that persons are enrolled from: who has all of them finds nearly each (the network sees some as equal).
    assert!(value(0, "rank1_real") < 0.5 && value(1, "rank1_real") < 0.5, "{figures}");
    assert!(value(3, "rank1_real") > 0.9, "{figures}");
    for row in 0..4 {
        let gain = value(row, "rank1_both") - value(row, "rank1_real");
        assert!((gain - value(row, "rank1_gain")).abs() < 1e-9, "{figures}");
    }
}
