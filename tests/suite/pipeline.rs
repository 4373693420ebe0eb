//! The command from manifest to re-read dataset, on the demonstration manifest with a very short training.

use crate::common::program::{DEMO, augment, base, fails, model_dir, ok, records, run, shared, synthesize, tree};
use augment::config::RunConfig;
use augment::dataset::IdentityDataset;
use augment::dataset::encode::{Origin, encode, is_marked};
use augment::evaluate::synthetic::Synthetic;
use augment::formats::{self, Sample};
use augment::jobs::apply;
use augment::progress::{Progress, Silent};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[test]
fn demo_manifest_is_drawn_by_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("demo.parquet");
    ok(&["demo", "--out", path.to_str().unwrap()]);
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size <= 4_000_000, "{size} bytes");
    assert!(std::fs::read(&path).unwrap() == std::fs::read(DEMO).unwrap(), "manifests/demo.parquet is out of date");
    let summary: serde_json::Value = serde_json::from_str(&ok(&["inspect", "--manifest", DEMO, "--json"])).unwrap();
    let train = summary["sets"].as_array().unwrap().iter().find(|s| s["split"] == "train").unwrap();
    assert!(train["identities"].as_f64() >= Some(48.0) && train["min"].as_f64() >= Some(8.0), "{train}");
}

#[test]
fn main_job_writes_what_was_asked() {
    let (_dir, out, text) = synthesize(&["--per-id", "4", "--new-identities", "3", "--mix", "2", "--shard-rows", "50"]);
    assert!(text.contains("204 images of 51 classes"), "{text}");
    let all = records(&out);
    assert_eq!(all.len(), 51 * 4);
    let ids: BTreeSet<&str> = all.iter().map(|r| r.sample_id.as_str()).collect();
    assert_eq!(ids.len(), all.len(), "sample ids are unique");
    for (n, r) in all.iter().enumerate() {
        assert_eq!((r.label, r.index), (n as i64 / 4, n as i64 % 4));
        assert!(r.synthetic && r.model_hash.len() == 64 && r.config_hash.len() == 64 && r.manifest_hash.len() == 64);
        let image = augment::dataset::decode::decode(&r.image).unwrap();
        assert_eq!(image.dimensions(), (48, 48));
        let mix: Vec<(String, f32)> = serde_json::from_str(&r.label_mix).unwrap();
        if r.label < 48 {
            assert_eq!(mix, [(r.identity.clone(), 1.0)]);
        } else {
            assert!(r.identity.starts_with("new-") && mix.len() == 2);
        }
    }
    let files: Vec<PathBuf> = tree(&out).into_keys().collect();
    let shards =
        ["data/train-00000-of-00005.parquet", "data/train-00001-of-00005.parquet", "data/train-00004-of-00005.parquet"];
    for name in shards.into_iter().chain(["README.md", "config.toml", "_PLAN.json", "_SUCCESS.json"]) {
        assert!(files.contains(&PathBuf::from(name)), "{name} is missing in {files:?}");
    }
    let config = std::fs::read_to_string(out.join("config.toml")).unwrap();
    let config = RunConfig::from_toml(&config, None, augment::config::Preset::Paper, None).unwrap();
    assert_eq!(config.hash().unwrap(), all[0].config_hash);
    // The same command again has nothing to do; another one does not touch what is there.
    let again = base(shared(), &out, &["--per-id", "4", "--new-identities", "3", "--mix", "2", "--shard-rows", "50"]);
    assert!(ok(&again.iter().map(String::as_str).collect::<Vec<_>>()).contains("already complete"));
    let other = base(shared(), &out, &["--per-id", "5"]);
    let message = fails(2, &other.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(message.contains("--per-id (4 there, 5 now)") && message.contains("--out"), "{message}");
}

#[test]
fn equal_seeds_give_equal_bytes_whatever_the_threads() {
    let (_a, a, _) = synthesize(&["--per-id", "3", "--threads", "1"]);
    let (_b, b, _) = synthesize(&["--per-id", "3", "--threads", "2"]);
    assert!(tree(&a) == tree(&b));
    assert!(tree(&a) == tree(&shared().join("first")));
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let model = model_dir();
    ok(&[
        "synthesize",
        "--model",
        &model,
        "--per-id",
        "3",
        "--sampling-seed",
        "8",
        "--out",
        out.to_str().unwrap(),
        "-q",
    ]);
    let (first, other) = (records(&a), records(&out));
    assert!(first.iter().zip(&other).all(|(x, y)| x.image != y.image && x.identity == y.identity));
    // A longer run begins with the same images.
    let (_c, c, _) = synthesize(&["--per-id", "5", "--shard-rows", "7"]);
    let longer: BTreeMap<(String, i64), Vec<u8>> =
        records(&c).into_iter().map(|r| ((r.identity, r.index), r.image)).collect();
    assert!(first.into_iter().all(|r| longer[&(r.identity, r.index)] == r.image));
}

#[test]
fn a_model_does_not_depend_on_what_is_made_of_it() {
    // The first run trains with other synthesis settings in mind; the model and what is made of it later are the same.
    let dir = tempfile::tempdir().unwrap();
    let run = |out: &str, more: &[&str]| {
        let args = base(dir.path(), &dir.path().join(out), &[&["--per-id", "3"], more].concat());
        ok(&args.iter().map(String::as_str).collect::<Vec<_>>());
    };
    run("low", &["--truncation", "0.5", "--set", "train.checkpoint_kimg=0.1"]);
    run("plain", &[]);
    assert!(tree(&dir.path().join("plain")) == tree(&shared().join("first")));
    assert!(records(&dir.path().join("low"))[0].sample_id != records(&dir.path().join("plain"))[0].sample_id);
}

#[test]
fn unfinished_and_damaged_outputs_are_not_taken_for_others() {
    let (_dir, out, _) = synthesize(&["--per-id", "3"]);
    let before = tree(&out);
    let same: Vec<String> = base(shared(), &out, &["--per-id", "3"]);
    let same: Vec<&str> = same.iter().map(String::as_str).collect();
    // A shard that was not committed is made again, to the same bytes.
    let shard = out.join("data/train-00000-of-00001.parquet");
    std::fs::remove_file(out.join("_SUCCESS.json")).unwrap();
    std::fs::remove_file(out.join("_commits/00000.json")).unwrap();
    std::fs::write(&shard, "half").unwrap();
    ok(&same);
    assert!(tree(&out) == before);
    // One that was, and has changed since, only when asked to.
    for lost in [&["_SUCCESS.json"][..], &[]] {
        lost.iter().for_each(|name| std::fs::remove_file(out.join(name)).unwrap());
        std::fs::write(&shard, "half").unwrap();
        assert!(fails(2, &same).contains("--repair"));
        ok(&[&same[..], &["--repair"]].concat());
        assert!(tree(&out) == before);
    }
    for name in ["_PLAN.json", "_SUCCESS.json"] {
        std::fs::write(out.join(name), "{").unwrap();
        assert!(fails(2, &same).contains("--repair"), "{name}");
        ok(&[&same[..], &["--repair"]].concat());
        assert!(tree(&out) == before);
    }
    // Unfinished with another plan, or damaged: left alone.
    std::fs::remove_file(out.join("_SUCCESS.json")).unwrap();
    let other: Vec<String> = base(shared(), &out, &["--per-id", "4"]);
    assert!(fails(2, &other.iter().map(String::as_str).collect::<Vec<_>>()).contains("--per-id (3 there, 4 now)"));
    std::fs::write(out.join("_SUCCESS.json"), "{").unwrap();
    assert!(fails(2, &same).contains("damaged"));
    assert!(out.join("data/train-00000-of-00001.parquet").exists());
}

#[test]
fn a_given_model_is_used_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (model, out) = (model_dir(), dir.path().join("out"));
    let args = ["--manifest", DEMO, "--model", &model, "--per-id", "3", "-q", "--out", out.to_str().unwrap()];
    ok(&args);
    let images = |d: &Path| records(d).into_iter().map(|r| r.image).collect::<Vec<_>>();
    assert!(images(&out) == images(&shared().join("first")));
    assert!(fails(2, &[&args[..], &["--duration-kimg", "3"]].concat()).contains("no effect with --model"));
}

#[test]
fn a_model_without_its_checkpoint_is_not_trained_over() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (PathBuf::from(model_dir()).join("model.safetensors"), dir.path().join("model.safetensors"));
    std::fs::copy(from, &to).unwrap();
    let bytes = std::fs::read(&to).unwrap();
    let train = |kimg| {
        let at = dir.path().to_str().unwrap();
        run(&["train", "--manifest", DEMO, "--duration-kimg", kimg, "--no-judge", "--out", at])
    };
    let (same, other) = (train("0.2"), train("0.3"));
    let told = |out: &Output| String::from_utf8(out.stderr.clone()).unwrap();
    assert!(same.status.success() && told(&same).contains("using the trained model"), "{}", told(&same));
    assert!(other.status.code() == Some(2) && told(&other).contains("no checkpoint: it would be"), "{}", told(&other));
    assert!(std::fs::read(&to).unwrap() == bytes);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_says_so_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let args = |out: &Path| -> Vec<String> {
        let args =
            ["train", "--manifest", DEMO, "--duration-kimg", "0.6", "--no-judge", "-q", "--out", out.to_str().unwrap()];
        let quick = ["--set", "train.batch_size=8", "--set", "train.checkpoint_kimg=0.2"];
        args.iter().chain(&quick).map(|a| (*a).to_owned()).collect()
    };
    let whole = dir.path().join("whole");
    ok(&args(&whole).iter().map(String::as_str).collect::<Vec<_>>());
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let out = dir.path().join(signal);
        let args = args(&out);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let child = augment(&args).stderr(std::process::Stdio::piped()).spawn().unwrap();
        while !out.join("metrics.jsonl").metadata().is_ok_and(|m| m.len() > 0) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let ended = child.wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(code), "{message}");
        assert!(message.contains("run the same command again"), "{message}");
        assert!(!out.join("model.safetensors").exists());
        ok(&args);
        let bytes = |d: &Path| std::fs::read(d.join("model.safetensors")).unwrap();
        assert!(bytes(&out) == bytes(&whole), "resumed after {signal} is not equal to uninterrupted");
        let steps = |d: &Path| std::fs::read_to_string(d.join("metrics.jsonl")).unwrap().lines().count();
        assert_eq!((steps(&out), steps(&whole)), (75, 75));
    }
}

#[test]
fn a_complete_output_is_checked_and_not_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let args = base(shared(), &out, &["--per-id", "2"]);
    ok(&args.iter().map(String::as_str).collect::<Vec<_>>());
    // Without the cached model, too: nothing is trained for a dataset that is there.
    let again = base(dir.path(), &out, &["--per-id", "2"]);
    let again: Vec<&str> = again.iter().map(String::as_str).collect();
    assert!(ok(&again).contains("already complete"));
    assert!(!dir.path().join("cache").exists());
    let shard = out.join("data/train-00000-of-00001.parquet");
    let mut bytes = std::fs::read(&shard).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&shard, &bytes).unwrap();
    assert!(fails(2, &again).contains("other bytes"));
    std::fs::remove_file(&shard).unwrap();
    assert!(fails(2, &again).contains("missing"));
}

#[test]
fn verify_finds_every_changed_lost_or_strange_file() {
    let (_dir, out, _) = synthesize(&["--per-id", "2", "--shard-rows", "40"]);
    let verify = || ok(&["verify", out.to_str().unwrap()]);
    assert!(verify().contains("complete, 10 files read, 0 damaged"), "{}", verify());
    for (path, bytes) in tree(&out) {
        if path == Path::new("_LOCK") {
            continue;
        }
        let full = out.join(&path);
        let mut changed = bytes.clone();
        let middle = bytes.len() / 2;
        changed[middle] ^= 4;
        std::fs::write(&full, &changed).unwrap();
        let check = || augment(&["verify", out.to_str().unwrap()]).output().unwrap();
        let found = check();
        assert_eq!(found.status.code(), Some(2), "{}", path.display());
        let text = String::from_utf8_lossy(&found.stdout).into_owned();
        assert!(text.contains(&path.display().to_string()), "{}: {text}", path.display());
        std::fs::remove_file(&full).unwrap();
        let found = check();
        // Without its summary a dataset is unfinished, which is no damage.
        let text = String::from_utf8_lossy(&found.stdout).into_owned();
        assert!(found.status.code() == Some(2) || text.contains("not complete"), "{}: {text}", path.display());
        std::fs::write(&full, &bytes).unwrap();
    }
    std::fs::write(out.join("data/train-00009-of-00003.parquet"), "x").unwrap();
    assert_eq!(augment(&["verify", out.to_str().unwrap()]).output().unwrap().status.code(), Some(2));
    assert!(ok(&["verify", &model_dir()]).contains("2 files read, 0 damaged"));
    fails(2, &["verify", "src"]);
}

#[test]
fn a_folder_of_somebody_else_is_not_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("runs/log.json");
    std::fs::create_dir(dir.path().join("runs")).unwrap();
    std::fs::write(&log, "{}").unwrap();
    let text = fails(2, &["forget", "--identity", "person-05", dir.path().to_str().unwrap()]);
    assert!(text.contains("no dataset, model, evaluation or comparison") && log.exists(), "{text}");
}

#[test]
fn synthetic_images_carry_the_mark_and_real_ones_do_not() {
    for encoding in ["jpeg", "png"] {
        let (_dir, out, _) = synthesize(&["--balance-to", "10", "--include-real", "--encoding", encoding]);
        for r in records(&out) {
            assert_eq!(is_marked(&r.image), r.synthetic, "{} {}", encoding, r.sample_id);
        }
    }
}

/// A judge that watches a training leaves its figures.
#[test]
fn a_judge_watches_the_training() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    let args =
        ["train", "--manifest", DEMO, "--duration-kimg", "0.4", "--set", "train.patience_kimg=0.3", "-q", "--out"];
    ok(&[&args[..], &[out.to_str().unwrap()]].concat());
    let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let figures: Vec<serde_json::Value> = lines.filter(|line| line["figures"].is_object()).collect();
    assert!((3..=4).contains(&figures.len()), "{figures:?}");
    for line in &figures {
        let figure = |name: &str| line["figures"][name].as_f64().unwrap();
        // A generator of a few steps shows nobody, and is far from photographs.
        assert!(figure("frechet") > 0.3 && figure("top1") < 0.3, "{line}");
    }
    assert!(std::fs::read_to_string(out.join("training.html")).unwrap().contains("<figcaption>frechet</figcaption>"));
}

/// `augment evaluate` on the demonstration set with few steps and one seed.
fn evaluate(out: &Path, more: &[&str]) -> Output {
    let args = ["evaluate", "--manifest", DEMO, "--seeds", "1", "--set", "recipe.steps=40", "--json"];
    let mut command = augment(&args);
    command.args(["--out", out.to_str().unwrap()]).args(more);
    command.output().unwrap()
}

#[test]
fn evaluate_compares_arms_judges_images_and_writes_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("evaluation");
    let synthetic = shared().join("first");
    let synthetic = synthetic.to_str().unwrap();
    let test = ["--pairs-from", "dev", "--held-out", "test", "--synthetic", synthetic];
    let first = evaluate(&out, &[&test[..], &["--arms", "plain,repeats,existing,pretrain"]].concat());
    let stderr = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(first.status.success(), "{stderr}");
    let json: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    assert!(json["verdict"].as_str().unwrap().starts_with("One seed alone cannot show a gain"), "{}", json["verdict"]);
    let arms: Vec<&str> = json["arms"].as_array().unwrap().iter().map(|a| a["arm"].as_str().unwrap()).collect();
    assert_eq!(arms, ["plain", "real", "repeats", "existing", "pretrain"]);
    assert!(json["arms"][1]["accuracy"]["mean"].as_f64().unwrap() > 0.6, "{}", json["arms"][1]);
    let gain = |i: usize| json["arms"][i]["gain"]["accuracy_gain"].as_f64().unwrap();
    let accuracy = |i: usize| json["arms"][i]["accuracy"]["mean"].as_f64().unwrap();
    assert!((gain(3) - (accuracy(3) - accuracy(1))).abs() < 1e-9);
    let quality = &json["quality"];
    assert_eq!((&quality["existing"]["images"], &quality["real"]["images"]), (&144.into(), &48.into()));
    // A generator of a few steps: nobody is recognised in its images.
    let top1 = |kind: &str| quality[kind]["top1"].as_f64().unwrap();
    assert!(top1("real") > 0.2 && top1("existing") < 0.5 * top1("real"), "{quality}");
    // Some drawn test images look like drawn training images: said, and no reason to refuse with so few identities.
    let alike = json["alike"].to_string();
    assert!(alike.contains("look like training") && stderr.contains("look like training"), "{alike} {stderr}");
    let shown = |kind: &str| quality[kind].as_array().unwrap().clone();
    let similar: Vec<f64> = shown("nearest").iter().map(|n| n["similarity"].as_f64().unwrap()).collect();
    assert!(similar.len() == 12 && similar.is_sorted_by(|a, b| a >= b), "{similar:?}");
    assert!(shown("failing").iter().all(|f| f["identity"].as_str().unwrap().starts_with("person-")), "{quality}");
    assert!(shown("failing").iter().any(|f| f["reason"].as_str().unwrap().starts_with("taken for ")), "{quality}");
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("One seed alone") && page.contains("<svg") && page.contains("data:image/png;base64,"));
    // Pictures as text may hold any letters, but no colon.
    let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!elsewhere.contains("://"), "the report names another place");
    let stored: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    assert!(["arms", "runs", "quality", "verdict", "config"].iter().all(|key| stored[*key] == json[*key]));
    synthesis_is_filtered_by(&out, dir.path());
    // Again: nothing is trained, and the outcome is the same.
    let same = [&test[..], &["--arms", "plain,repeats,existing,pretrain"]].concat();
    let measured = |out: &Output| {
        let mut json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let used = json.as_object_mut().unwrap().remove("resources").unwrap();
        assert!(
            used["peak_memory_bytes"].as_u64() > Some(1 << 20) && used["cpu_seconds"].as_f64() > Some(0.0),
            "{used}"
        );
        json
    };
    let again = evaluate(&out, &same);
    assert!(measured(&again) == measured(&first) && !String::from_utf8_lossy(&again.stderr).contains("2560/2560"));
    // What it must show: a gate that holds changes nothing, one that does not has an exit code of its own, and the short report says why.
    let summary = dir.path().join("summary.md");
    let told = ["--summary", summary.to_str().unwrap()];
    let holds = evaluate(&out, &[&same[..], &told, &["--fail-below", "-100", "--fail-above-copies", "1"]].concat());
    assert!(holds.status.success() && measured(&holds) == measured(&first));
    let text = std::fs::read_to_string(&summary).unwrap();
    assert!(
        text.contains("One seed alone") && text.contains("| baseline + repeats") && !text.contains("failed"),
        "{text}"
    );
    let gates = ["--fail-below", "99", "--fail-above-membership", "0"];
    let falls = evaluate(&out, &[&same[..], &told, &gates].concat());
    assert_eq!(falls.status.code(), Some(9));
    assert_eq!(measured(&falls)["fallen"].as_array().unwrap().len(), 2);
    let text = std::fs::read_to_string(&summary).unwrap();
    assert!(text.contains("and +99.00 are demanded") && text.contains("membership inference stands at AUC"), "{text}");
    let refused = evaluate(&out, &["--pairs-from", "dev", "--fail-above-copies", "0.1"]);
    assert_eq!(refused.status.code(), Some(2));
    // A changed report is found, and so is a lost one.
    let text = ok(&["verify", out.to_str().unwrap()]);
    assert!(text.contains("complete, 15 files read, 0 damaged"), "{text}");
    std::fs::write(out.join("report.html"), page.replacen('5', "6", 1)).unwrap();
    let changed = augment(&["verify", out.to_str().unwrap()]).output().unwrap();
    assert!(changed.status.code() == Some(2) && String::from_utf8_lossy(&changed.stdout).contains("report.html"));
    // Nothing of a forgotten person is left, and nothing of somebody else is lost.
    let empty = dir.path().join("empty");
    let forget =
        |name: &str| run(&["forget", "--identity", name, out.to_str().unwrap(), "--cache", empty.to_str().unwrap()]);
    assert!(forget("nobody").status.code() == Some(2) && out.join("judge.safetensors").exists());
    for _ in 0..2 {
        assert!(forget("person-05").status.success());
        let left: Vec<PathBuf> =
            std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()).collect();
        assert!(left.iter().all(|p| p.ends_with("_LOCK") || p.ends_with("_EVALUATION.json")), "{left:?}");
        assert_eq!(std::fs::read_dir(out.join("runs")).unwrap().count(), 0);
    }
}

/// The judge that an evaluation left keeps all images, some or none, and what it kept is made again from its rows.
fn synthesis_is_filtered_by(evaluation: &Path, dir: &Path) {
    let (judge, model) = (evaluation.to_str().unwrap(), model_dir());
    let filtered = |name: &str, more: &[&str]| {
        let out = dir.join(name);
        let args = ["synthesize", "--model", &model, "--per-id", "3", "--judge", judge, "--json", "-q", "--out"];
        (run(&[&args[..], &[out.to_str().unwrap()], more].concat()), out)
    };
    let (all, out) = filtered("all", &["--min-similarity=-1", "--new-identities", "2"]);
    assert!(all.status.success(), "{}", String::from_utf8_lossy(&all.stderr));
    assert!(records(&out).iter().all(|r| r.index < 3) && records(&out).len() == 150);
    let (some, out) = filtered("some", &["--tries", "2", "--new-identities", "2"]);
    let json: serde_json::Value = serde_json::from_slice(&some.stdout).unwrap();
    let (selection, kept) = (&json["selection"][0], records(&out));
    let number = |v: &serde_json::Value| v.as_u64().unwrap() as usize;
    let short: usize = selection["short"].as_array().unwrap().iter().map(|s| 3 - number(&s["accepted"])).sum();
    assert_eq!(kept.len(), 150 - short);
    assert_eq!(number(&selection["candidates"]), kept.len() + number(&selection["rejected"]));
    assert!(number(&selection["rejected"]) > 0 && kept.iter().all(|r| r.index < 6), "{selection}");
    ok(&["synthesize", "--model", &model, "--regenerate", out.to_str().unwrap(), "-q"]);
    let (none, _) = filtered("none", &["--min-similarity", "0.999"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("no image is left; lower --min-similarity"));
}

#[test]
fn evaluate_finds_copies_however_they_are_changed() {
    let dir = tempfile::tempdir().unwrap();
    let unchanged: fn(&image::RgbImage) -> image::RgbImage = Clone::clone;
    let mirrored: fn(&image::RgbImage) -> image::RgbImage = image::imageops::flip_horizontal;
    let cropped: fn(&image::RgbImage) -> image::RgbImage = |i| {
        let part = image::imageops::crop_imm(i, 2, 3, i.width() - 4, i.height() - 4).to_image();
        image::imageops::resize(&part, i.width(), i.height(), image::imageops::FilterType::Triangle)
    };
    let darker: fn(&image::RgbImage) -> image::RgbImage =
        |i| image::RgbImage::from_fn(i.width(), i.height(), |x, y| i.get_pixel(x, y).0.map(|v| v / 2).into());
    let changes = [
        ("unchanged", unchanged, 0.99, 0.9),
        ("mirrored", mirrored, 0.95, 0.9),
        // The attack does not refine crops, and drawn persons are much alike from image to image.
        ("cropped", cropped, 0.9, 0.6),
        ("darker", darker, 0.95, 0.9),
    ];
    let network = format!("{}/tests/goldens/face.onnx", env!("CARGO_MANIFEST_DIR"));
    for (name, change, found, attacked) in changes {
        let copies = dir.path().join(name);
        plant_copies(&copies, change);
        let more =
            ["--pairs-from", "dev", "--held-out", "test", "--arms", "real", "--synthetic", copies.to_str().unwrap()];
        let outside: &[&str] = if name == "unchanged" { &["--outside-judge", &network] } else { &[] };
        let more = [&more[..], outside].concat();
        // The baseline is trained once.
        let out = evaluate(&dir.path().join("evaluation"), &more);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let share = |kind: &str| json["quality"][kind]["copies"]["share"].as_f64().unwrap();
        assert!(share("existing") >= found, "{name}: {}", json["quality"]);
        if name == "unchanged" {
            // Under the network from outside, copies are as near to the training images as nothing else is.
            let figure = |kind: &str, figure: &str| json["outside"][kind][figure].as_f64().unwrap();
            let (near, known) = (figure("existing", "frechet"), figure("training", "recall") > 0.3);
            assert!(near < 0.2 * figure("held_out", "frechet") && known, "{}", json["outside"]);
            assert!(figure("held_out", "similarity") > 0.4, "{}", json["outside"]);
            // Embeddings see a copy that was not changed, too.
            let embedded = json["quality"]["existing"]["embedded"]["share"].as_f64().unwrap();
            assert!(embedded >= 0.99, "{}", json["quality"]);
        }
        // Drawn persons are much alike from image to image; photographs are less.
        assert!(share("real") < 0.1, "{name}: {}", json["quality"]);
        // Such a generator gives away whom it was trained on.
        assert!(json["quality"]["membership"]["auc"].as_f64().unwrap() >= attacked, "{name}: {}", json["quality"]);
    }
}

#[test]
fn evaluate_measures_nothing_on_a_contaminated_test() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("evaluation");
    let known = evaluate(&out, &["--pairs-from", "test"]);
    let stderr = String::from_utf8_lossy(&known.stderr);
    assert_eq!(known.status.code(), Some(8), "{stderr}");
    assert!(stderr.contains("48 test persons are among the training identities: person-00, "), "{stderr}");
    assert!(known.stdout.is_empty() && !out.join("report.html").exists());
    // A training photograph, mirrored, under another name.
    let copies = dir.path().join("copies");
    plant_copies(&copies, image::imageops::flip_horizontal);
    let images: Vec<Vec<u8>> = records(&copies).into_iter().take(40).map(|r| r.image).collect();
    let bin = dir.path().join("pairs.bin");
    write_bin(&bin, images, (0..20).map(|i| i % 2 == 0));
    let planted = evaluate(&out, &["--pairs", bin.to_str().unwrap()]);
    let stderr = String::from_utf8_lossy(&planted.stderr);
    assert_eq!(planted.status.code(), Some(8), "{stderr}");
    assert!(stderr.contains("40 test images are nearly equal to training images"), "{stderr}");
}

#[test]
fn an_evaluation_knows_what_the_generator_learned_from() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let train = ["--duration-kimg", "0.05", "--no-judge", "-q", "--cache", &at("cache")];
    // Of whom there are enough images none are made, and still the generator knows them.
    let shown = ["a", "a", "b", "b", "c", "c", "c"];
    let rows: Vec<_> = (0..).zip(shown).map(|(i, who)| (Some(who), Some(picture(30 * i)))).collect();
    manifest(Path::new(&at("m.parquet")), &rows);
    ok(&[
        &train[..],
        &["--manifest", &at("m.parquet"), "--balance-to", "3", "--max-copy-similarity", "1", "--out", &at("balanced")],
    ]
    .concat());
    let real = IdentityDataset::new(16, vec![0; 2 * 16 * 16 * 3], vec![0, 1], vec!["a".into(), "b".into()]).unwrap();
    let read = Synthetic::read(Path::new(&at("balanced")), &real, "default", dir.path(), &mut Silent).unwrap();
    assert_eq!(read.foreign, ["c".to_owned()].into());
    // Images that the generator learned from are not held out.
    ok(&[&train[..], &["--manifest", DEMO, "--split", "all", "--per-id", "1", "--out", &at("all")]].concat());
    let measured = |more: &[&str]| {
        let out = evaluate(&dir.path().join("evaluation"), &[&["--synthetic", &at("all")], more].concat());
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    let (code, told) = measured(&["--held-out", "test"]);
    assert!(code == Some(2) && told.contains("--held-out test: the generator"), "{told}");
    let (code, told) = measured(&[]);
    assert!(code == Some(8) && told.contains("the generator was trained on 24 test persons"), "{told}");
    assert!(told.contains("learned from all rows") && told.contains("split test is not taken for held-out"), "{told}");
}

/// insightface's format: two images for each of `same`.
fn write_bin(path: &Path, images: Vec<Vec<u8>>, same: impl Iterator<Item = bool>) {
    use serde_pickle::Value;
    let images = Value::List(images.into_iter().map(Value::Bytes).collect());
    let set = Value::Tuple(vec![images, Value::List(same.map(Value::Bool).collect())]);
    serde_pickle::value_to_writer(&mut std::fs::File::create(path).unwrap(), &set, serde_pickle::SerOptions::new())
        .unwrap();
}

/// The same pairs as a Parquet list with a manifest of images, and as a `.bin`.
#[test]
fn lists_of_pairs_in_either_format_give_one_figure() {
    use arrow::array::{ArrayRef, BinaryArray, BooleanArray, RecordBatch, StringArray};
    use std::sync::Arc;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, columns: Vec<(&str, ArrayRef)>| {
        let (path, batch) = (dir.path().join(name), RecordBatch::try_from_iter(columns).unwrap());
        let file = std::fs::File::create(&path).unwrap();
        let mut w = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        w.write(&batch).unwrap();
        w.close().unwrap();
        path.display().to_string()
    };
    let strings = |v: &[String]| Arc::new(StringArray::from_iter_values(v)) as ArrayRef;
    // Twelve persons of the drawn set, three images of each, under other names.
    let images: Vec<(String, Vec<u8>)> = records(&shared().join("first"))
        .into_iter()
        .filter(|r| r.label < 12)
        .map(|r| (format!("other {}", r.identity), r.image))
        .collect();
    let ids: Vec<String> = (0..images.len()).map(|i| format!("image-{i}")).collect();
    let names: Vec<String> = images.iter().map(|(name, _)| name.clone()).collect();
    let bytes = Arc::new(BinaryArray::from_iter_values(images.iter().map(|(_, image)| image))) as ArrayRef;
    let manifest =
        write("images.parquet", vec![("identity", strings(&names)), ("image_id", strings(&ids)), ("image", bytes)]);
    // Each image beside the next of its person, and beside one of the next person.
    let n = images.len();
    let pairs: Vec<(usize, usize)> = (0..n).flat_map(|i| [(i, i / 3 * 3 + (i + 1) % 3), (i, (i + 4) % n)]).collect();
    let same: Vec<bool> = pairs.iter().map(|(a, b)| names[*a] == names[*b]).collect();
    assert_eq!((n, same.iter().filter(|s| **s).count()), (36, 36));
    let side = |of: fn(&(usize, usize)) -> usize, values: &[String]| {
        strings(&pairs.iter().map(|p| values[of(p)].clone()).collect::<Vec<_>>())
    };
    let list = write(
        "pairs.parquet",
        vec![
            ("left_identity", side(|p| p.0, &names)),
            ("left_image_id", side(|p| p.0, &ids)),
            ("right_identity", side(|p| p.1, &names)),
            ("right_image_id", side(|p| p.1, &ids)),
            ("is_same", Arc::new(BooleanArray::from(same.clone()))),
        ],
    );
    let bin = dir.path().join("pairs.bin");
    let both_sides = pairs.iter().flat_map(|(a, b)| [images[*a].1.clone(), images[*b].1.clone()]).collect();
    write_bin(&bin, both_sides, same.into_iter());
    let figures = |more: &[&str]| {
        let out = evaluate(&dir.path().join("evaluation"), &[more, &["--arms", "real"]].concat());
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        (json["arms"][0]["accuracy"].clone(), json["arms"][0]["figures"].clone())
    };
    let of_list = figures(&["--pairs", &list, "--pair-images", &manifest]);
    assert_eq!(of_list, figures(&["--pairs", bin.to_str().unwrap()]));
    assert!(of_list.0["count"] == 1 && of_list.0["mean"].as_f64().unwrap() < 1.0, "{of_list:?}");
}

/// Images that are too like a training image are left out, and nothing else is.
#[test]
fn copies_are_left_out_of_a_dataset() {
    use augment::recogniser::copies::search;
    let made = |more: &[&str]| synthesize(&[&["--per-id", "3", "--encoding", "png"], more].concat());
    let pixels = |records: &[&Sample]| {
        let pixels: Vec<Vec<u8>> =
            records.iter().map(|r| image::load_from_memory(&r.image).unwrap().to_rgb8().into_raw()).collect();
        IdentityDataset::new(48, pixels.concat(), vec![0; records.len()], vec![String::new()]).unwrap()
    };
    let (_dir, out, _) = made(&["--include-real"]);
    let all = records(&out);
    let (synthetic, real): (Vec<&Sample>, Vec<&Sample>) = all.iter().partition(|r| r.synthetic);
    let nearest = search(&pixels(&synthetic), &pixels(&real), &mut augment::progress::Silent).unwrap();
    let mut sorted: Vec<f32> = nearest.iter().map(|n| n.similarity).collect();
    sorted.sort_by(f32::total_cmp);
    let limit = f64::from(sorted[sorted.len() / 2]);
    let kept: BTreeSet<&String> = synthetic
        .iter()
        .zip(&nearest)
        .filter(|(_, n)| f64::from(n.similarity) <= limit)
        .map(|(r, _)| &r.sample_id)
        .collect();
    assert!(kept.len() < synthetic.len());
    let limit = limit.to_string();
    let (_dir, out, text) = made(&["--max-copy-similarity", &limit, "--tries", "1"]);
    // Far below what a copy has, a quick look may find another alignment than the whole search, or miss one.
    let left = records(&out);
    let left: BTreeSet<&String> = left.iter().map(|r| &r.sample_id).collect();
    let (dropped, otherwise) = (synthetic.len() - left.len(), left.symmetric_difference(&kept).count());
    assert!(dropped > 0 && 4 * otherwise <= synthetic.len(), "{otherwise} of {} {dropped}", synthetic.len());
    assert!(text.contains(&format!("rejected 0 and {dropped} copies")), "{text}");
    // Others take their place.
    let (_dir, out, _) = made(&["--max-copy-similarity", &limit, "--tries", "9"]);
    assert!(records(&out).len() > kept.len() + 20, "{} {}", records(&out).len(), kept.len());
    let error = fails(2, &["synthesize", "--model", &model_dir(), "--max-copy-similarity", "0.9"]);
    assert!(error.contains("needs the training images"), "{error}");
}

/// Who names no judge gets one that is trained beside the model, and as many images as were asked for.
#[test]
fn a_judge_of_its_own_chooses_and_everybody_gets_enough() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let run = |out: &str, more: &[&str]| {
        let args = ["--manifest", DEMO, "--duration-kimg", "0.2", "--cache", &at("cache"), "--json", "--per-id", "3"];
        let out = run(&[&args[..], &["--out", &at(out)], more].concat());
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        (json, String::from_utf8(out.stderr).unwrap())
    };
    let (json, said) = run("faces", &["--new-identities", "2", "--mix", "2"]);
    assert!(said.contains("training a judge on 192 of 384 images"), "{said}");
    assert_eq!((&json["synthetic"], &json["plan"]["judge"]["hash"]), (&(50 * 3).into(), &serde_json::Value::Null));
    // A generator of a few steps convinces nobody: most are filled up, by those that come nearest.
    let selection = &json["selection"][0];
    assert!(
        selection["filled"].as_u64().unwrap() > 30 && selection["rejected"].as_u64() > selection["filled"].as_u64()
    );
    assert!(selection["copy_limit"].as_f64().unwrap() <= 0.98);
    let model = std::fs::read_dir(dir.path().join("cache/models")).unwrap().next().unwrap().unwrap().path();
    let judge = model.join("judge.safetensors");
    assert_eq!(json["plan"]["models"][0]["judge"], blake3::hash(&std::fs::read(&judge).unwrap()).to_hex().as_str());
    assert!(model.join("training.html").exists() && !model.join("judge-training.safetensors").exists());
    // Again, the judge is there; lost, it comes back the same. A dataset from the model alone is chosen by it, too.
    let before = std::fs::read(&judge).unwrap();
    std::fs::remove_file(&judge).unwrap();
    let (again, _) = run("again", &["--new-identities", "2", "--mix", "2"]);
    assert!(std::fs::read(&judge).unwrap() == before && again["content_hash"] == json["content_hash"]);
    let alone = at("alone");
    ok(&["synthesize", "--model", model.to_str().unwrap(), "--per-id", "3", "--out", &alone, "-q"]);
    let of_existing: Vec<Sample> = records(Path::new(&at("faces"))).into_iter().filter(|r| r.label < 48).collect();
    let alone = records(Path::new(&alone));
    assert_eq!(
        of_existing.iter().map(|r| (&r.identity, r.index)).collect::<Vec<_>>(),
        alone.iter().map(|r| (&r.identity, r.index)).collect::<Vec<_>>()
    );
    let known = ["forget", "--identity", "person-05", "--dry-run", "--cache", &at("cache"), model.to_str().unwrap()];
    assert!(ok(&known).contains("files would be marked: 3"), "{}", ok(&known));
    let (free, _) = run("free", &["--no-judge"]);
    assert!(free["plan"]["judge"].is_null() && free["selection"][0]["rejected"] == 0);
    let indices = |name: &str| records(Path::new(&at(name))).iter().map(|r| r.index).collect::<BTreeSet<_>>();
    assert!(indices("free").len() == 3 && indices("faces").len() > 3);
}

/// A dataset of the real training images, changed and marked as synthetic.
fn plant_copies(out: &Path, change: fn(&image::RgbImage) -> image::RgbImage) {
    use augment::sink::Sink;
    use augment::sink::commit::{Opened, Output};
    use augment::sink::ledger::{CONFIG, Summary};
    use augment::sink::order::Order;
    let merged = out.with_extension("merged");
    let args = base(shared(), &merged, &["--per-id", "1", "--include-real", "--encoding", "png"]);
    ok(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let real: Vec<Sample> = records(&merged).into_iter().filter(|r| !r.synthetic).collect();
    assert_eq!(real.len(), 384);
    let names: Vec<String> = real.iter().map(|r| r.identity.clone()).collect::<BTreeSet<_>>().into_iter().collect();
    let (order, images, classes) = (Order::new("copies", ""), real.len(), names.len());
    let Opened::Ready(mut output) = Output::open(out, &order, false).unwrap() else { panic!() };
    output.arrange(images, 1000).unwrap();
    std::fs::write(out.join(CONFIG), "").unwrap();
    let mut sink = Sink::new(output, &formats::parquet::Parquet, names);
    for record in real {
        let changed = change(&image::load_from_memory(&record.image).unwrap().to_rgb8());
        let (width, height) = (changed.width() as usize, changed.height() as usize);
        let image = encode(&changed, width, height, "jpg", Origin::Synthetic).unwrap();
        let label_mix = serde_json::json!([[record.identity, 1.0]]).to_string();
        sink.write(Sample { synthetic: true, label_mix, image, extension: "jpg", ..record }).unwrap();
    }
    let (output, rest) = sink.finish().unwrap();
    output.complete(Summary::new(order, images, 0, classes), &[], rest).unwrap();
}

#[test]
fn every_image_is_regenerated_from_its_row() {
    let (dir, out, _) =
        synthesize(&["--per-id", "3", "--new-identities", "2", "--encoding", "png", "--latent", "fitted"]);
    let model = model_dir();
    let text = ok(&["synthesize", "--model", &model, "--regenerate", out.to_str().unwrap(), "-q"]);
    assert!(text.contains("150 images regenerated, all byte-equal"), "{text}");
    let wanted = records(&out).remove(17);
    let single = dir.path().join("single");
    let args =
        ["synthesize", "--model", &model, "--regenerate", out.to_str().unwrap(), "--sample-id", &wanted.sample_id];
    ok(&[&args[..], &["--out", single.to_str().unwrap(), "-q"]].concat());
    assert!(std::fs::read(single.join(format!("{}.png", wanted.sample_id))).unwrap() == wanted.image);
    // Another model is noticed.
    let other = tempfile::tempdir().unwrap();
    ok(&[
        "train",
        "--manifest",
        DEMO,
        "--duration-kimg",
        "0.1",
        "--no-judge",
        "--out",
        other.path().to_str().unwrap(),
        "-q",
    ]);
    let message =
        fails(2, &["synthesize", "--model", other.path().to_str().unwrap(), "--regenerate", out.to_str().unwrap()]);
    assert!(message.contains("150 by others"), "{message}");
}

#[test]
fn images_with_borrowed_latents_are_made_again_from_their_rows() {
    for latent in ["posterior", "morph"] {
        let (_dir, out, _) = synthesize(&["--per-id", "2", "--new-identities", "3", "--mix", "2", "--latent", latent]);
        assert!(records(&out).iter().all(|r| r.latent == latent));
        let text = ok(&["synthesize", "--model", &model_dir(), "--regenerate", out.to_str().unwrap(), "-q"]);
        assert!(text.contains("102 images regenerated, all byte-equal"), "{text}");
    }
}

#[test]
fn real_images_are_merged_without_their_metadata() {
    let (_dir, out, text) = synthesize(&["--balance-to", "10", "--include-real"]);
    let all = records(&out);
    let (real, made): (Vec<&Sample>, Vec<&Sample>) = all.iter().partition(|r| !r.synthetic);
    assert_eq!((real.len(), made.len()), (384, 96), "{text}");
    assert!(real.iter().all(|r| r.model_hash.is_empty() && r.label_mix == "[]"));
    let identity = |label: i64| all.iter().find(|r| r.label == label && r.synthetic).unwrap().identity.clone();
    assert!(real.iter().all(|r| identity(r.label) == r.identity), "real and synthetic images share their labels");
}

#[test]
fn images_are_written_at_the_size_that_is_asked_for() {
    let (_dir, out, text) = synthesize(&["--per-id", "2", "--include-real", "--output-size", "40"]);
    let all = records(&out);
    assert_eq!(all.len(), 384 + 96, "{text}");
    assert!(all.iter().all(|r| image::load_from_memory(&r.image).unwrap().to_rgb8().dimensions() == (40, 40)));
    let text = ok(&["synthesize", "--model", &model_dir(), "--regenerate", out.to_str().unwrap(), "-q"]);
    assert!(text.contains("96 images regenerated, all byte-equal"), "{text}");
    let (dir, tiny) = (tempfile::tempdir().unwrap(), ["--per-id", "2", "--output-size", "8"]);
    let args = base(shared(), &dir.path().join("out"), &tiny);
    let message = fails(2, &args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(message.contains("--output-size 8 must lie between 16 and 1024 px"), "{message}");
}

#[test]
fn kernels_train_as_the_reference_operations_do() {
    let losses = |variable: &str, value: &str| -> Vec<f64> {
        let dir = tempfile::tempdir().unwrap();
        let args = [
            "train",
            "--manifest",
            DEMO,
            "--duration-kimg",
            "0.024",
            "--no-judge",
            "-q",
            "--set",
            "train.batch_size=8",
            "--out",
        ];
        // Adam's first steps have the same size for any gradient, so rounding decides those of tiny ones: small steps.
        let rate = ["--set", "train.learning_rate=2e-5"];
        let mut c = augment(&[&args[..], &[dir.path().to_str().unwrap()], &rate[..]].concat());
        assert!(c.env(variable, value).output().unwrap().status.success());
        let metrics = std::fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
        let last: serde_json::Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
        assert_eq!(last["step"], 3);
        ["loss_kl", "loss_pixel", "loss_pair_d", "loss_pair_c", "loss_gd", "loss_gc", "loss_d", "loss_c"]
            .map(|k| last["losses"][k].as_f64().unwrap())
            .to_vec()
    };
    let reference = losses("AUGMENT_OPS", "reference");
    for path in ["avx512", "avx2", "portable"] {
        for (a, b) in losses("AUGMENT_SIMD", path).iter().zip(&reference) {
            // Differences of means (L_GD, L_GC) hold what rounding left of larger numbers.
            assert!((a - b).abs() < 0.005 * b.abs().max(0.1), "{a} with {path} kernels, {b} without");
        }
    }
}

#[test]
fn rows_that_a_policy_does_not_permit_reach_nothing() {
    use arrow::array::{ArrayRef, BinaryArray, BooleanArray, RecordBatch, StringArray};
    use std::sync::Arc;
    let terms = [
        ("agreed-a", Some(true), Some("training"), Some("2030-01-01")),
        ("agreed-b", Some(true), Some("research; training"), Some("2026-06-01")),
        ("refused-denied", Some(false), Some("training"), Some("2030-01-01")),
        ("refused-unknown", None, Some("training"), Some("2030-01-01")),
        ("refused-other", Some(true), Some("research"), Some("2030-01-01")),
        ("refused-unnamed", Some(true), None, Some("2030-01-01")),
        ("refused-expired", Some(true), Some("training"), Some("2026-05-31")),
        ("refused-endless", Some(true), Some("training"), None),
    ];
    let rows = || terms.iter().cycle().take(8 * 8);
    let images: Vec<Vec<u8>> = (0..8 * 8).map(|i| picture(i * 3)).collect();
    let identity: ArrayRef = Arc::new(rows().map(|t| Some(t.0)).collect::<StringArray>());
    let image: ArrayRef = Arc::new(images.iter().map(|i| Some(i.as_slice())).collect::<BinaryArray>());
    let consent: ArrayRef = Arc::new(rows().map(|t| t.1).collect::<BooleanArray>());
    let purpose: ArrayRef = Arc::new(rows().map(|t| t.2).collect::<StringArray>());
    let expires: ArrayRef = Arc::new(rows().map(|t| t.3).collect::<StringArray>());
    let columns = [
        ("identity", identity, true),
        ("image", image, true),
        ("consent", consent, true),
        ("purpose", purpose, true),
        ("expires", expires, true),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (path, cache) = (dir.path().join("ids.parquet"), dir.path().join("cache"));
    let mut w =
        parquet::arrow::ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
    w.write(&batch).unwrap();
    w.close().unwrap();
    let run = |out: &str, more: &[&str]| {
        let args = ["--manifest", path.to_str().unwrap(), "--per-id", "3", "--duration-kimg", "0.05", "--include-real"];
        let out = dir.path().join(out);
        let more = [&["--cache", cache.to_str().unwrap(), "--out", out.to_str().unwrap()], more].concat();
        let output = augment(&[&args[..], &more].concat()).output().unwrap();
        let log = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(0), "{log}");
        (records(&out), log)
    };
    let policy = ["--purpose", "training", "--as-of", "2026-06-01"];
    let (all, log) = run("with", &policy);
    assert_eq!(all.len(), 2 * (8 + 3));
    assert!(all.iter().all(|r| r.identity.starts_with("agreed")), "{log}");
    assert!(!log.contains("refused"), "{log}");
    for (name, bytes) in tree(dir.path()) {
        let known = name == Path::new("ids.parquet");
        let told = bytes.windows(7).any(|w| w == b"refused");
        assert!(known || !told, "{} names a person who did not agree", name.display());
    }
    // Without a policy all rows are used, by another model.
    assert_eq!(run("without", &["--no-judge"]).0.len(), 8 * (8 + 3));
    // A model that saw the others is refused with the policy.
    let mut codes = BTreeSet::new();
    for (n, model) in std::fs::read_dir(cache.join("models")).unwrap().enumerate() {
        let (model, out) = (model.unwrap().path(), dir.path().join(format!("given-{n}")));
        let args = ["--manifest", path.to_str().unwrap(), "--per-id", "1", "--model", model.to_str().unwrap()];
        let out = ["--out", out.to_str().unwrap()];
        codes.insert(augment(&[&args[..], &out, &policy].concat()).output().unwrap().status.code());
    }
    assert_eq!(codes, BTreeSet::from([Some(0), Some(2)]));
    let none = ["--manifest", path.to_str().unwrap(), "--purpose", "sale", "--as-of", "2026-06-01"];
    assert!(fails(2, &none).contains("--purpose permits"));
    assert!(fails(2, &["--manifest", DEMO, "--purpose", "training"]).contains("column `consent` is missing"));
}

/// A manifest of `rows` (identity, encoded image).
fn manifest(path: &Path, rows: &[(Option<&str>, Option<Vec<u8>>)]) {
    use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
    use std::sync::Arc;
    let identity: ArrayRef = Arc::new(rows.iter().map(|r| r.0).collect::<StringArray>());
    let image: ArrayRef = Arc::new(rows.iter().map(|r| r.1.as_deref()).collect::<BinaryArray>());
    let batch =
        RecordBatch::try_from_iter_with_nullable([("identity", identity, true), ("image", image, true)]).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut w = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    w.write(&batch).unwrap();
    w.close().unwrap();
}

fn picture(level: u8) -> Vec<u8> {
    encode(&vec![level; 40 * 30 * 3], 40, 30, "png", Origin::Real).unwrap()
}

#[test]
fn bad_rows_are_listed_and_too_many_stop_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.parquet");
    let mut rows: Vec<(Option<&str>, Option<Vec<u8>>)> =
        (0..12).map(|i| (Some(["a", "b"][i % 2]), Some(picture(i as u8 * 9)))).collect();
    rows.push((None, Some(picture(1))));
    rows.push((Some("a"), None));
    rows.push((Some("b"), Some(b"not an image".to_vec())));
    manifest(&path, &rows);
    let out = dir.path().join("out");
    let args = [
        "--manifest",
        path.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--per-id",
        "2",
        "-q",
        "--duration-kimg",
        "0.07",
    ];
    let cache = dir.path().join("cache").display().to_string();
    let args = [&args[..], &["--cache", &cache]].concat();
    let message = fails(2, &args);
    assert!(message.contains("3 of 15") && message.contains("row 12: identity is null"), "{message}");
    assert!(!out.exists(), "nothing is written when a run is refused");
    let nothing = dir.path().join("nothing.parquet");
    manifest(&nothing, &[(None, Some(picture(1)))]);
    assert!(fails(2, &["train", "--manifest", nothing.to_str().unwrap(), "-q"]).contains("no labelled row"));
    assert!(fails(2, &["--manifest", DEMO, "--per-id", "0"]).contains("above 0"));
    let relaxed = run(&[&args[..], &["--max-bad", "0.5", "--no-judge"]].concat());
    assert_eq!(relaxed.status.code(), Some(1), "done with rejects");
    assert_eq!(records(&out).len(), 4);
    let listed = dir.path().join("out-rejects.parquet");
    let file = std::fs::File::open(listed).unwrap();
    let mut reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    assert_eq!(reader.next().unwrap().unwrap().num_rows(), 3);
}

#[test]
fn every_identity_set_gets_its_own_model() {
    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    use std::sync::Arc;
    // One row an identity with a list of paths, in two Hive folders.
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("m");
    for (set, level) in [("x", 40u8), ("y", 160)] {
        let folder = root.join(format!("identity_set={set}"));
        std::fs::create_dir_all(&folder).unwrap();
        let names: ArrayRef = Arc::new(StringArray::from(vec!["p", "q"]));
        let mut paths = Vec::new();
        for person in 0..2u8 {
            let mut own = Vec::new();
            for i in 0..3u8 {
                let name = format!("{set}-{person}-{i}.png");
                std::fs::write(root.join(&name), picture(level + 30 * person + i)).unwrap();
                own.push(name);
            }
            paths.push(own);
        }
        let mut list = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
        for own in paths {
            own.iter().for_each(|p| list.values().append_value(p));
            list.append(true);
        }
        let batch =
            RecordBatch::try_from_iter([("identity", names), ("image_uri", Arc::new(list.finish()) as ArrayRef)])
                .unwrap();
        let file = std::fs::File::create(folder.join("part.parquet")).unwrap();
        let mut w = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        w.write(&batch).unwrap();
        w.close().unwrap();
    }
    let out = dir.path().join("out");
    let cache = dir.path().join("cache");
    let args = ["--manifest", root.to_str().unwrap(), "--per-id", "2", "--new-identities", "1", "--mix", "2", "-q"];
    let args = [&args[..], &["--no-judge"]].concat();
    ok(&[&args[..], &["--out", out.to_str().unwrap(), "--cache", cache.to_str().unwrap(), "--duration-kimg", "0.07"]]
        .concat());
    let all = records(&out);
    assert_eq!(std::fs::read_dir(cache.join("models")).unwrap().count(), 2);
    let models: BTreeSet<&str> = all.iter().map(|r| r.model_hash.as_str()).collect();
    assert_eq!(models.len(), 2);
    let mut labels: BTreeMap<i64, usize> = BTreeMap::new();
    all.iter().for_each(|r| *labels.entry(r.label).or_default() += 1);
    assert_eq!(labels, (0..6).map(|l| (l, 2)).collect(), "labels of sets and new identities never clash");
    let people: BTreeSet<(&str, &str)> = all.iter().map(|r| (r.identity_set.as_str(), r.identity.as_str())).collect();
    assert_eq!(people.len(), 6, "equal names in two sets are two people");
    let real = dir.path().join("real");
    let paths = ["--out", real.to_str().unwrap(), "--cache", cache.to_str().unwrap(), "--include-real"];
    ok(&[&args[..], &paths, &["--duration-kimg", "0.07"]].concat());
    let merged = records(&real);
    let ids: BTreeSet<&str> = merged.iter().map(|r| r.sample_id.as_str()).collect();
    assert_eq!((merged.len(), ids.len()), (all.len() + 12, all.len() + 12));
    // One set of the two, alone; the other is another order.
    let alone = dir.path().join("alone");
    let paths = ["--out", alone.to_str().unwrap(), "--cache", cache.to_str().unwrap(), "--duration-kimg", "0.07"];
    ok(&[&args[..], &paths, &["--identity-set", "y"]].concat());
    let own = records(&alone);
    assert_eq!((own.len(), own.iter().all(|r| r.identity_set == "y")), (6, true));
    let of_all = |r: &&Sample| all.iter().any(|a| a.sample_id == r.sample_id && a.image == r.image);
    assert_eq!(own.iter().filter(of_all).count(), 6, "a set's images do not depend on the others");
    let other = fails(2, &[&args[..], &paths, &["--identity-set", "x"]].concat());
    assert!(other.contains("other --identity-set (y there, x now)"), "{other}");
    let none = fails(2, &[&args[..], &paths, &["--identity-set", "z"]].concat());
    assert!(none.contains("--identity-set z: no row") && none.contains("there are: x, y"), "{none}");
    // A dataset of two models is checked model by model.
    for model in std::fs::read_dir(cache.join("models")).unwrap() {
        let model = model.unwrap().path();
        let args = ["synthesize", "--model", model.to_str().unwrap(), "--regenerate", out.to_str().unwrap(), "-q"];
        let text = ok(&args);
        assert!(text.contains("6 images regenerated") && text.contains("other models"), "{text}");
    }
}

#[test]
fn one_identity_set_of_several_is_used_alone() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (manifest, cache) = (at("sets.parquet"), at("cache"));
    ok(&["demo", "--out", &manifest, "--identities", "12", "--sets", "3", "--per-id", "6", "--image-size", "32"]);
    let common = ["--manifest", &manifest, "--cache", &cache, "-q"];
    let made = at("made");
    let job = ["--duration-kimg", "0.05", "--no-judge", "--per-id", "2", "--out", &made];
    let only = |set| ["--identity-set", set];
    ok(&[&common[..], &job, &only("set-001")].concat());
    let model = std::fs::read_dir(dir.path().join("cache/models")).unwrap().next().unwrap().unwrap().path();
    // Where a job serves one set, it says which there are.
    let model = model.to_str().unwrap();
    let upscale = ["upscale", "--model", model, "--factor", "2", "--out", &at("large")];
    let evaluate =
        ["evaluate", "--seeds", "1", "--set", "recipe.steps=2", "--out", &at("report"), "--synthetic", &made];
    for command in [&upscale[..], &evaluate, &["pairs", "--out", &at("all.bin")]] {
        let told = fails(2, &[command, &common].concat());
        assert!(told.contains("set-000, set-001, set-002; choose with --identity-set"), "{told}");
    }
    let of_three = ok(&[&upscale[..], &common, &only("set-001")].concat());
    assert_eq!(records(&dir.path().join("large")).len(), 20, "{of_three}");
    let other = fails(2, &[&evaluate[..], &common, &only("set-000")].concat());
    assert!(other.contains("holds persons of identity set `set-001`, not of `set-000`"), "{other}");
    ok(&[&evaluate[..], &common, &only("set-001"), &["--arms", "existing"]].concat());
    let shown = ok(&["inspect", "--manifest", &manifest, "--identity-set", "set-001"]);
    assert!(shown.contains("set-001") && !shown.contains("set-000"), "{shown}");
    // Real images of one set: its classes alone, and another set is another order.
    let all = at("all");
    ok(&[&common[..], &["--duration-kimg", "0.05", "--no-judge", "--per-id", "2", "--out", &all]].concat());
    let export =
        ["export", &all, "--to", "recordio", "--include-real", &manifest, "--cache", &cache, "-q", "--out", &at("rec")];
    ok(&[&export[..], &only("set-000")].concat());
    let merged = records(&dir.path().join("rec"));
    assert_eq!(
        merged.iter().filter(|r| !r.synthetic).map(|r| r.identity_set.as_str()).collect::<BTreeSet<_>>(),
        ["set-000"].into()
    );
    assert!(fails(2, &[&export[..], &only("set-002")].concat()).contains("other command, or options of it"));
}

#[test]
fn paths_and_urls_outside_the_manifest_are_not_followed() {
    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    use std::sync::Arc;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("inside");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(dir.path().join("secret.png"), picture(3)).unwrap();
    std::fs::write(root.join("good.png"), picture(3)).unwrap();
    std::os::unix::fs::symlink(dir.path().join("secret.png"), root.join("link.png")).unwrap();
    let secret = dir.path().join("secret.png").display().to_string();
    let uris = vec!["good.png", "../secret.png", &secret, "link.png", "http://127.0.0.1:9/x.png", "missing.png"];
    let names: ArrayRef = Arc::new(StringArray::from(vec!["a"; uris.len()]));
    let uris: ArrayRef = Arc::new(StringArray::from(uris));
    let batch = RecordBatch::try_from_iter([("identity", names), ("image_uri", uris)]).unwrap();
    let path = root.join("m.parquet");
    let mut w =
        parquet::arrow::ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
    w.write(&batch).unwrap();
    w.close().unwrap();
    let message =
        fails(2, &["train", "--manifest", path.to_str().unwrap(), "--out", root.join("o").to_str().unwrap(), "-q"]);
    assert!(message.contains("5 of 6") && message.contains("leads out of the manifest's folder"), "{message}");
    let listed = std::fs::File::open(dir.path().join("inside/o-rejects.parquet")).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(listed).unwrap();
    let batch = reader.build().unwrap().next().unwrap().unwrap();
    assert_eq!((batch.num_rows(), batch.column_by_name("path").unwrap().null_count()), (5, 0));
}

#[test]
fn methods_are_compared_with_equal_budgets_and_the_comparison_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let compare = |more: &[&str]| {
        let args =
            ["compare-methods", "--manifest", DEMO, "--preset", "tiny", "--seeds", "2", "--per-id", "2", "--json"];
        // Another side than the judge's.
        let size = ["--image-size", "48"];
        let length = ["--duration-kimg", "0.05", "--cache", &at("cache"), "--out", &at("methods")];
        run(&[&args[..], &size, &length, more].concat())
    };
    let named = ["--variants", "cvae,cgan,no-averages"];
    let planned = compare(&[&named[..], &["--dry-run"]].concat());
    let planned: serde_json::Value = serde_json::from_slice(&planned.stdout).unwrap();
    assert_eq!((&planned["trainings"], dir.path().join("methods").exists()), (&6.into(), false));
    let first = compare(&named);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let table: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    let rows: Vec<(&str, &str)> = table["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["variant"].as_str().unwrap(), r["latent"].as_str().unwrap()))
        .collect();
    // What has no encoder draws from N(0, I) alone.
    assert_eq!(
        rows,
        [
            ("cvae", "prior"),
            ("cvae", "transfer"),
            ("cgan", "prior"),
            ("no-averages", "prior"),
            ("no-averages", "transfer")
        ]
    );
    // 0.05 thousand images can teach nobody 48 persons; held-out photographs are known.
    let top1 = |figures: &serde_json::Value| figures["top1"]["mean"].as_f64().or(figures["top1"].as_f64()).unwrap();
    assert!(top1(&table["real"]) > 0.5 && top1(&table["rows"][0]["figures"]) < 0.2, "{table}");
    assert!(table["rows"][2]["figures"]["frechet"]["count"] == 2, "{table}");
    let file = |name: &str| std::fs::read_to_string(dir.path().join("methods").join(name)).unwrap();
    let page = file("methods.html");
    assert!(page.contains("cgan, z of prior") && page.contains("data:image/png") && page.contains("0.9778"), "{page}");
    // Again: everything is there, and says the same.
    let pages = page.clone() + &file("methods.md");
    let again = compare(&named);
    let told = |out: &[u8]| {
        let mut json: serde_json::Value = serde_json::from_slice(out).unwrap();
        json.as_object_mut().unwrap().remove("resources").unwrap();
        json
    };
    assert_eq!((told(&again.stdout), file("methods.html") + &file("methods.md")), (told(&first.stdout), pages));
    assert!(!String::from_utf8(again.stderr).unwrap().contains("training on"), "a model was trained again");
    let model = dir.path().join("methods/models/cgan-1");
    assert!(model.join("figures-prior.json").exists() && !model.join("figures-transfer.json").exists());
    let refused = fails(
        2,
        &[
            "synthesize",
            "--model",
            &model.display().to_string(),
            "--per-id",
            "1",
            "--latent",
            "transfer",
            "--out",
            &at("x"),
        ],
    );
    assert!(refused.contains("cgan and fm-cgan have no encoder"), "{refused}");
    let told = |args: &[&str]| ok(&[&args[..1], &[&at("methods")], &args[1..]].concat());
    assert!(told(&["verify"]).contains("complete") && told(&["status"]).contains("finished trainings 6"));
    let refuses = |more: &[&str], why: &str| {
        let out = compare(more);
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.code() == Some(2) && said.contains(why), "{more:?}: {said}");
    };
    refuses(&["--balanced"], "holds a comparison under other settings");
    refuses(&["--dry-run", "--held-out", "train"], "models and their judge would be trained on these rows too");
    refuses(&["--dry-run", "--held-out", "nosuch"], "no row of");
    // Its page shows photographs.
    let forget = ["forget", "--identity", "person-05", "--cache", "none", &at("methods")];
    assert!(ok(&[&forget[..], &["--dry-run"]].concat()).contains("files would be deleted: 3"));
    assert!(ok(&forget).contains("files deleted: 3") && !dir.path().join("methods/methods.html").exists());
}

/// Files of the first images of split `test`, at the side of the shared model's images.
fn faces(dir: &Path, side: u32) -> Vec<String> {
    let manifest = augment::manifest::Manifest::open(DEMO, &augment::manifest::Columns::default()).unwrap();
    let mut files = Vec::new();
    manifest
        .read(true, |rows| {
            for row in rows.into_iter().filter(|r| r.split.as_deref() == Some("test")).take(4 - files.len().min(4)) {
                let image = augment::dataset::decode::decode_source(&row.image).unwrap();
                let path = dir.join(format!("face-{}.png", files.len()));
                image::imageops::resize(&image, side, side, image::imageops::FilterType::Triangle).save(&path).unwrap();
                files.push(path.display().to_string());
            }
            Ok(())
        })
        .unwrap();
    files
}

#[test]
fn images_are_inpainted_upscaled_and_morphed_with_provenance() {
    let (dir, model) = (tempfile::tempdir().unwrap(), model_dir());
    let at = |name: &str| dir.path().join(name).display().to_string();
    let header = augment::train::TrainedModel::load(Path::new(&model), &candle_core::Device::Cpu).unwrap().header;
    let (side, person) = (header.config.image_size, header.identities[3].clone());
    // A whole split of a manifest.
    let whole = [
        "inpaint",
        "--manifest",
        DEMO,
        "--split",
        "test",
        "--model",
        &model,
        "--box",
        "8,8,12,12",
        "--out",
        &at("val"),
        "--format",
        "parquet",
        "--samples",
        "2",
        "--json",
    ];
    let json: serde_json::Value = serde_json::from_str(&ok(&whole)).unwrap();
    let rows = records(Path::new(&at("val")));
    assert_eq!((rows.len(), json["synthetic"].as_u64()), (96 * 2, Some(96 * 2)));
    assert!(
        rows.iter().all(|r| r.synthetic && r.latent == "inpaint" && r.model_hash == json["plan"]["models"][0]["hash"])
    );
    assert!(rows[0].image != rows[1].image && rows[0].identity == rows[1].identity);
    ok(&["verify", &at("val")]);
    // In another folder and interrupted or not: the same bytes.
    let again: Vec<&str> = whole.iter().map(|a| if *a == at("val") { "" } else { *a }).collect();
    let other = at("other");
    let again: Vec<&str> = again.into_iter().map(|a| if a.is_empty() { other.as_str() } else { a }).collect();
    ok(&again);
    assert!(tree(&dir.path().join("val/data")) == tree(&dir.path().join("other/data")));
    assert!(ok(&whole).contains("\"rows\":192"), "nothing is made twice");
    let error = fails(2, &["synthesize", "--model", &model, "--regenerate", &at("val")]);
    assert!(error.contains("made of images that were there, by `inpaint`"), "{error}");
    // Whoever is forgotten goes.
    ok(&["forget", "--identity", &rows[0].identity, &at("val")]);
    assert!(records(Path::new(&at("val"))).iter().all(|r| r.identity != rows[0].identity));

    let files = faces(dir.path(), side as u32);
    let filled = |more: &[&str]| run(&[&["inpaint", &files[0], "--model", &model, "--out", &at("one")], more].concat());
    let refused = |more: &[&str], why: &str| {
        let out = filled(more);
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.code() == Some(2) && said.contains(why), "{more:?}: {said}");
    };
    refused(&["--identity", "auto"], "--mask");
    refused(&["--box", "8,8,12,12"], "whom the images show is not said");
    refused(&["--box", "8,8,12,12", "--identity", "nobody"], "does not know identity `nobody`");
    refused(&["--box", &format!("8,8,{side},2"), "--identity", "auto"], "reaches over the images");
    let mask = image::GrayImage::new(side as u32 + 1, side as u32);
    mask.save(at("mask.png")).unwrap();
    refused(&["--mask", &at("mask.png"), "--identity", "auto"], "scale it to that");
    image::GrayImage::new(side as u32, side as u32).save(at("mask.png")).unwrap();
    refused(&["--mask", &at("mask.png"), "--identity", "auto"], "white is filled, black stays");
    assert!(!dir.path().join("one").exists(), "a folder was taken before all was known");
    let done = filled(&["--mask-from", "mouth,eyes", "--identity", "auto"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let one = records(Path::new(&at("one"))).remove(0);
    assert!(one.sample_id.starts_with("face-0x") && one.extension == "png", "{}", one.sample_id);
    let (before, after) =
        (image::open(&files[0]).unwrap().into_rgb8(), image::load_from_memory(&one.image).unwrap().into_rgb8());
    let changed = before.pixels().zip(after.pixels()).filter(|(a, b)| a != b).count();
    assert!(changed > 100 && before.get_pixel(0, 0) == after.get_pixel(0, 0), "{changed}");
    let told = |image: &str| {
        let args =
            ["inpaint", image, "--model", &model, "--out", &format!("{image}-out"), "--identity", "auto", "--json"];
        let out = run(&[&args[..], &["--box", "8,8,12,12"]].concat());
        let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        (json["unlike_training"].as_u64().unwrap(), String::from_utf8(out.stderr).unwrap())
    };
    // A chequered picture is no face; within the hole it is not seen, and counts for nothing.
    let face = image::open(&files[1]).unwrap().into_rgb8();
    for (name, squares_without, squares_within) in
        [("face", false, false), ("within", false, true), ("without", true, false)]
    {
        let within = |x: u32, y: u32| (8..20).contains(&x) && (8..20).contains(&y);
        let squares = |x: u32, y: u32| image::Rgb([255 * ((x ^ y) as u8 & 1); 3]);
        image::RgbImage::from_fn(side as u32, side as u32, |x, y| {
            let chequered = if within(x, y) { squares_within } else { squares_without };
            if chequered { squares(x, y) } else { *face.get_pixel(x, y) }
        })
        .save(at(&format!("{name}.png")))
        .unwrap();
        let (count, said) = told(&at(&format!("{name}.png")));
        assert_eq!(count, u64::from(squares_without), "{name}: {said}");
        assert_eq!(said.contains("without.png, the first, is off by"), squares_without, "{said}");
    }

    let small = tempfile::tempdir().unwrap();
    faces(small.path(), side as u32 / 4);
    std::fs::write(small.path().join("broken.png"), "no picture").unwrap();
    let upscale = [
        "upscale",
        &small.path().display().to_string(),
        "--model",
        &model,
        "--factor",
        "4",
        "--identity",
        &person,
        "--out",
        &at("new/large"),
    ];
    let planned = || String::from_utf8(run(&[&upscale[..], &["--dry-run"]].concat()).stdout).unwrap();
    let would = planned();
    assert!(
        would.contains("would write ")
            && would.contains("new/large, 4 images, about 1 MB")
            && would.contains("unusable: 1 images; first: "),
        "{would}"
    );
    assert!(!dir.path().join("new").exists());
    let error =
        fails(2, &[&upscale[..upscale.len() - 1], &[&small.path().display().to_string(), "--dry-run"]].concat());
    assert!(error.contains("was not made by augment"), "{error}");
    let out = run(&upscale);
    assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(planned().contains("already there: "), "{}", planned());
    let large = records(Path::new(&at("new/large")));
    assert!(large.len() == 4 && large.iter().all(|r| r.identity == person && r.latent == "upscale"));
    let error = fails(
        2,
        &["upscale", &files[0], "--model", &model, "--factor", "4", "--identity", &person, "--out", &at("l2")],
    );
    assert!(error.contains(&format!("{side} x {side} px, where {0} x {0} px are taken", side / 4)), "{error}");
    let error = fails(
        2,
        &["upscale", &files[0], "--model", &model, "--factor", "7", "--identity", &person, "--out", &at("l2")],
    );
    assert!(error.contains("use 2, 4 or 8"), "{error}");

    let to = header.identities[5].clone();
    // Who becomes another person is taken for whom the face shows.
    let become_other =
        ["morph", &files[0], "--model", &model, "--identity", &person, "--to", &to, "--steps", "2", "--json"];
    let json: serde_json::Value =
        serde_json::from_str(&ok(&[&become_other[..], &["--out", &at("other-person")]].concat())).unwrap();
    assert_eq!((&json["unlike_training"], &json["synthetic"]), (&0.into(), &2.into()), "{json}");
    ok(&[
        "morph",
        &files[0],
        &files[1],
        "--model",
        &model,
        "--identity",
        &person,
        "--to",
        &to,
        "--steps",
        "5",
        "--out",
        &at("morph"),
    ]);
    let frames = records(Path::new(&at("morph")));
    let of: Vec<&str> = frames.iter().map(|f| f.identity.as_str()).collect();
    assert_eq!(of, [&person, &person, &person, &to, &to].map(String::as_str));
    assert_eq!(frames[1].label_mix, serde_json::json!([(&person, 0.75), (&to, 0.25)]).to_string());
    let strip = image::open(dir.path().join("morph/morph.png")).unwrap();
    assert_eq!((strip.width() as usize, strip.height() as usize), (5 * side, side));
    assert!(std::fs::read(dir.path().join("morph/morph.gif")).unwrap().starts_with(b"GIF89a"));
    ok(&["verify", &at("morph")]);
    let error = fails(2, &["morph", &files[0], "--model", &model, "--identity", &person, "--out", &at("m2")]);
    assert!(error.contains("two by two"), "{error}");
    // What cannot be used would make others a pair.
    let broken = small.path().join("broken.png").display().to_string();
    let named = ["--model", &model, "--identity", &person, "--to", &to, "--out", &at("m2")];
    let error = fails(2, &[&["morph", &files[0], &broken, &files[1]][..], &named].concat());
    assert!(error.contains("1 cannot be used") && error.contains("broken.png"), "{error}");
    assert!(!Path::new(&at("m2")).exists());
    // Pictures of many rows show a person who goes.
    ok(&["forget", "--identity", &to, &at("morph"), "--cache", "none"]);
    assert!(!Path::new(&at("morph/morph.png")).exists() && !Path::new(&at("morph/morph.gif")).exists());
    ok(&["verify", &at("morph")]);
}

/// Asks to stop after 40 items.
struct Impatient(u64);
impl Progress for Impatient {
    fn at(&mut self, done: u64) {
        self.0 = done;
    }
    fn stop_requested(&self) -> bool {
        self.0 >= 40
    }
}

#[test]
fn what_is_treated_has_one_name_and_stops_when_asked() {
    let (dir, model) = (tempfile::tempdir().unwrap(), model_dir());
    let at = |name: &str| dir.path().join(name).display().to_string();
    let header = augment::train::TrainedModel::load(Path::new(&model), &candle_core::Device::Cpu).unwrap().header;
    let files = faces(dir.path(), header.config.image_size as u32);
    let fill = ["--model", &model, "--box", "8,8,12,12", "--rounds", "1", "--refine", "0", "-q"];
    // The same file twice, and rows at the same place of two files.
    ok(&[&["inpaint", &files[0], &files[0], "--identity", "auto", "--out", &at("twice")], &fill[..]].concat());
    std::fs::create_dir(dir.path().join("two")).unwrap();
    for name in ["a", "b"] {
        std::fs::copy(DEMO, dir.path().join(format!("two/{name}.parquet"))).unwrap();
    }
    let rows = ["--manifest", &at("two/*.parquet"), "--split", "test", "--format", "parquet", "--out", &at("both")];
    ok(&[&["inpaint"], &rows[..], &fill].concat());
    for (name, count) in [("twice", 2), ("both", 2 * 96)] {
        let rows = records(Path::new(&at(name)));
        let names: BTreeSet<&str> = rows.iter().map(|r| r.sample_id.as_str()).collect();
        assert_eq!((rows.len(), names.len()), (count, count), "{name}: {:?}", rows[0].sample_id);
        ok(&["verify", &at(name)]);
    }
    // A folder that leads into itself.
    std::fs::create_dir(dir.path().join("loop")).unwrap();
    std::os::unix::fs::symlink(".", dir.path().join("loop/self")).unwrap();
    std::fs::copy(&files[1], dir.path().join("loop/face.png")).unwrap();
    ok(&[&["inpaint", &at("loop"), "--identity", "auto", "--out", &at("looped")], &fill[..]].concat());
    assert_eq!(records(Path::new(&at("looped"))).len(), 1);
    let address = fails(2, &[&["inpaint", &files[0], "--identity", "auto", "--out", "s3://b/x"], &fill[..]].concat());
    assert!(address.contains("--out s3://b/x is an address") && !Path::new("s3:").exists(), "{address}");
    // Many results of one image end soon after somebody asks for it.
    let request = apply::Request {
        model: model.clone(),
        images: apply::Images::Files(vec![files[0].clone().into()]),
        whom: apply::Whom::Auto,
        task: apply::Task::Inpaint(
            apply::Holes::Rectangle([8, 8, 12, 12]),
            apply::Inpaint { rounds: 1, refine: 0, ..apply::Inpaint::default() },
            500,
        ),
        seed: 0,
        destination: augment::jobs::wanted::Destination::new(dir.path().join("many")),
    };
    let mut progress = Impatient(0);
    let stopped = apply::run(&request, &augment::jobs::Context::new(dir.path().join("cache")), &mut progress);
    assert!(matches!(stopped, Err(augment::error::Error::Stopped)) && progress.0 == 40, "{}", progress.0);
}

/// A manifest of the rows of split `train`, whose column `group` says whether a picture is brighter than most.
fn grouped(dir: &Path) -> String {
    use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
    let manifest = augment::manifest::Manifest::open(DEMO, &augment::manifest::Columns::default()).unwrap();
    let (mut names, mut images, mut levels) = (Vec::new(), Vec::new(), Vec::new());
    manifest
        .read(true, |rows| {
            for row in rows.into_iter().filter(|r| r.split.as_deref() == Some("train")) {
                let bytes = augment::dataset::decode::read_source(&row.image).unwrap().to_vec();
                let pixels = augment::dataset::decode::decode_source(&row.image).unwrap().into_raw();
                levels.push(pixels.iter().map(|p| u64::from(*p)).sum::<u64>());
                names.push(row.identity.unwrap());
                images.push(bytes);
            }
            Ok(())
        })
        .unwrap();
    let mut sorted = levels.clone();
    sorted.sort_unstable();
    let groups = levels.iter().map(|l| Some(if *l > sorted[sorted.len() / 2] { "bright" } else { "dark" }));
    let columns: [(&str, ArrayRef); 3] = [
        ("identity", std::sync::Arc::new(StringArray::from(names))),
        ("image", std::sync::Arc::new(BinaryArray::from_iter_values(&images))),
        ("group", std::sync::Arc::new(groups.collect::<StringArray>())),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let path = dir.join("grouped.parquet");
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path.display().to_string()
}

#[test]
fn faces_are_changed_towards_an_attribute() {
    let (dir, model) = (tempfile::tempdir().unwrap(), model_dir());
    let (manifest, out) = (grouped(dir.path()), dir.path().join("brighter"));
    let change = |groups: &str, out: &Path| {
        let args = ["morph", "--manifest", &manifest, "--model", &model, "--attribute", groups, "--steps", "3"];
        run(&[&args[..], &["--out", &out.display().to_string()]].concat())
    };
    let done = change("group=bright,dark", &out);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let level = |sample: &Sample| {
        let pixels = image::load_from_memory(&sample.image).unwrap().into_rgb8().into_raw();
        pixels.iter().map(|p| f64::from(*p)).sum::<f64>() / pixels.len() as f64
    };
    let frames = records(&out);
    assert_eq!(frames.len(), 384 * 3);
    // Few steps teach little, but on the whole what is bright becomes brighter.
    let gained: f64 = frames.chunks(3).map(|f| level(&f[2]) - level(&f[0])).sum::<f64>() / 384.0;
    assert!(gained > 0.0, "{gained}");
    let refused = change("bright,old", &dir.path().join("x"));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        refused.status.code() == Some(2) && said.contains("0 images of persons that the model knows have `old`"),
        "{said}"
    );
}
