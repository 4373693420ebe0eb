//! Formats of written datasets: each is written, read back, interrupted, forgotten from, exported and shared.

use crate::common::program::{DEMO, augment, base, fails, model_dir, ok, records, run, shared, synthesize, tree};
use augment::formats::{FORMATS, Sample};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn image_folders_sort_by_label_and_tell_the_same() {
    let (_dir, out, _) = synthesize(&["--per-id", "3", "--format", "imagefolder"]);
    let files = tree(&out.join("imgs"));
    for r in records(&shared().join("first")) {
        let name = PathBuf::from(format!("{:04}/{}.jpg", r.label, r.sample_id));
        assert!(files[&name] == r.image, "{}", name.display());
    }
    assert_eq!(files.len(), 48 * 3 + 2);
    let text = ok(&["synthesize", "--model", &model_dir(), "--regenerate", out.to_str().unwrap(), "-q"]);
    assert!(text.contains("144 images regenerated, all byte-equal"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_killed_run_goes_on_and_ends_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    for format in FORMATS.map(augment::formats::Format::name) {
        let out = dir.path().join(format);
        let args = base(shared(), &out, &["--per-id", "12", "--shard-rows", "64", "--format", format]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut child = augment(&args).spawn().unwrap();
        let first = out.join("_commits/00000.json");
        while !first.exists() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        // It stands still, alive: nobody else may write here. Then SIGKILL.
        let stood = Command::new("kill").args(["-STOP", &child.id().to_string()]).status().unwrap();
        assert!(stood.success());
        assert!(fails(75, &args).contains("another augment works in this folder"));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!out.join("_SUCCESS.json").exists(), "killed too late to show anything");
        let status = ok(&["status", out.to_str().unwrap()]);
        assert!(status.contains("complete false") && status.contains("planned rows 576"), "{status}");
        let written = |p: &Path| p.metadata().unwrap().modified().unwrap();
        let before = written(&first);
        ok(&args);
        assert_eq!(written(&first), before, "what was committed is made once");
        let whole = dir.path().join(format!("whole-{format}"));
        let args = base(shared(), &whole, &["--per-id", "12", "--shard-rows", "64", "--format", format]);
        ok(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(tree(&out) == tree(&whole), "{format}");
        assert!(!out.join("_parts").exists(), "{format}");
    }
}

#[test]
fn a_forgotten_person_is_gone_and_does_not_come_back() {
    for format in FORMATS.map(augment::formats::Format::name) {
        let (dir, out, _) = synthesize(&[
            "--per-id",
            "3",
            "--new-identities",
            "20",
            "--mix",
            "3",
            "--format",
            format,
            "--shard-rows",
            "50",
        ]);
        let knows = |r: &Sample| r.identity == "person-05" || r.label_mix.contains("\"person-05\"");
        let before = records(&out);
        let kept: Vec<Sample> = before.iter().filter(|r| !knows(r)).cloned().collect();
        assert!(before.len() - kept.len() > 3, "no new identity is mixed from the person");
        // A copy: the others use the model too.
        let (model, cache) = (dir.path().join("model"), dir.path().join("empty"));
        std::fs::create_dir(&model).unwrap();
        std::fs::copy(Path::new(&model_dir()).join("model.safetensors"), model.join("model.safetensors")).unwrap();
        let (out, model, cache) = (out.to_str().unwrap(), model.to_str().unwrap(), cache.to_str().unwrap());
        let former = std::fs::read_to_string(Path::new(out).join("README.md")).unwrap();
        let forget = |name: &str| run(&["forget", "--identity", name, out, model, "--cache", cache]);
        // What a training puts beside the images is its own.
        let content = augment::formats::named(format).unwrap().folder();
        let others = Path::new(out).join(content).join("dev.bin");
        std::fs::write(&others, "pairs").unwrap();
        for _ in 0..2 {
            assert_eq!(forget("nobody").status.code(), Some(2));
        }
        assert_eq!(records(Path::new(out)), before);
        for _ in 0..2 {
            let done = forget("person-05");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            assert_eq!(records(Path::new(out)), kept);
            ok(&["verify", out]);
        }
        // No file tells the name, nor the keys of persons who were mixed from it, and readers find no empty folder or tar.
        let gone: BTreeSet<&str> = before.iter().filter(|r| knows(r)).map(|r| r.identity.as_str()).collect();
        for (path, bytes) in tree(Path::new(out)).iter().filter(|(path, _)| !path.starts_with("_LOCK")) {
            let tells = |name: &&&str| bytes.windows(name.len()).any(|w| w == name.as_bytes());
            assert_eq!(gone.iter().find(tells), None, "{format} {}", path.display());
        }
        assert_eq!(std::fs::read(&others).unwrap(), b"pairs");
        for entry in std::fs::read_dir(Path::new(out).join(content)).unwrap() {
            let path = entry.unwrap().path();
            assert!(!path.is_dir() || std::fs::read_dir(&path).unwrap().count() > 0, "{}", path.display());
        }
        let done: serde_json::Value =
            serde_json::from_slice(&std::fs::read(Path::new(out).join("_SUCCESS.json")).unwrap()).unwrap();
        assert_eq!((&done["rows"], &done["synthetic"]), (&kept.len().into(), &kept.len().into()));
        let card = std::fs::read_to_string(Path::new(out).join("README.md")).unwrap();
        assert!(card.contains(&format!("{} synthetic images", kept.len())), "{card}");
        let contents = done["content_hash"].as_str().unwrap();
        assert!(!former.contains(contents), "a reader's cache would still hold the person");
        assert_eq!(
            card.contains(&format!("description: contents {contents}")),
            ["parquet", "webdataset"].contains(&format)
        );
        let text = fails(2, &["synthesize", "--model", model, "--per-id", "1", "--out", &format!("{out}-more")]);
        assert!(text.contains("forgotten"), "{text}");
        let text = fails(2, &["synthesize", "--model", &model_dir(), "--per-id", "3", "--out", out]);
        assert!(text.contains("identity `person-05` was forgotten"), "{text}");
    }
}

#[test]
fn every_format_holds_the_same_rows_and_is_checked() {
    let first = records(&shared().join("first"));
    for format in FORMATS.map(augment::formats::Format::name) {
        let (_dir, out, _) = synthesize(&["--per-id", "3", "--format", format, "--shard-rows", "50"]);
        assert_eq!(records(&out), first, "{format}");
        let text = ok(&["synthesize", "--model", &model_dir(), "--regenerate", out.to_str().unwrap(), "-q"]);
        assert!(text.contains("144 images regenerated, all byte-equal"), "{text}");
        let files = tree(&out);
        for (path, bytes) in files.iter().filter(|(path, _)| !path.starts_with("_LOCK")) {
            let mut changed = bytes.clone();
            changed[bytes.len() / 2] ^= 4;
            std::fs::write(out.join(path), &changed).unwrap();
            let found = run(&["verify", out.to_str().unwrap()]);
            let text = String::from_utf8_lossy(&found.stdout).into_owned();
            assert!(found.status.code() == Some(2) && text.contains(path.to_str().unwrap()), "{format} {text}");
            std::fs::write(out.join(path), bytes).unwrap();
            if format == "imagefolder" && path.extension().is_some_and(|e| e == "jpg") {
                break;
            }
        }
        // What a repair makes again has the bytes of before.
        for path in
            files.keys().filter(|path| path.extension().is_some_and(|e| ["rec", "tar", "idx"].iter().any(|x| *x == e)))
        {
            std::fs::write(out.join(path), "x").unwrap();
        }
        let args = base(shared(), &out, &["--per-id", "3", "--format", format, "--shard-rows", "50", "--repair"]);
        ok(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(tree(&out) == files, "{format}");
    }
}

#[test]
fn an_export_has_the_same_images_and_more_if_asked_for() {
    let (dir, from, _) = synthesize(&["--per-id", "3", "--new-identities", "2", "--shard-rows", "60"]);
    let (before, from) = (records(&from), from.to_str().unwrap());
    let export =
        |out: &Path, more: &[&str]| ok(&[&["export", from, "-q", "--out", out.to_str().unwrap()], more].concat());
    for format in FORMATS.map(augment::formats::Format::name) {
        let out = dir.path().join(format);
        let text = export(&out, &["--to", format]);
        assert!(text.contains("150 images of 50 classes"), "{text}");
        assert_eq!(records(&out), before, "{format}");
        ok(&["verify", out.to_str().unwrap()]);
        assert!(export(&out, &["--to", format]).contains("already complete"));
    }
    // Another size keeps the mark; real images get the labels of their persons, and stand first.
    let out = dir.path().join("all");
    let text = export(&out, &["--to", "recordio", "--size", "112", "--include-real", DEMO]);
    assert!(text.contains("534 images of 50 classes"), "{text}");
    let all = records(&out);
    assert!(all.iter().all(|r| image::load_from_memory(&r.image).unwrap().width() == 112));
    assert!(all.iter().all(|r| augment::dataset::encode::is_marked(&r.image) == r.synthetic));
    let (real, made) = all.split_at(384);
    assert!(real.iter().all(|r| !r.synthetic) && made.iter().all(|r| r.synthetic));
    for r in real {
        let other = made.iter().find(|m| m.identity == r.identity).unwrap();
        assert_eq!(r.label, other.label);
    }
    assert_eq!(std::fs::read_to_string(out.join("recordio/property")).unwrap(), "50,112,112\n");
    let again = ["synthesize", "--model", &model_dir(), "--regenerate", out.to_str().unwrap()];
    assert!(fails(2, &again).contains("its images were scaled by an export"));
    let once_more = dir.path().join("once-more");
    let args = ["export", out.to_str().unwrap(), "--to", "parquet", "-q", "--out", once_more.to_str().unwrap()];
    ok(&args);
    let again = ["synthesize", "--model", &model_dir(), "--regenerate", once_more.to_str().unwrap()];
    assert!(fails(2, &again).contains("its images were scaled by an export"));
    assert!(fails(2, &["export", from, "--to", "recordio", "--size", "7", "--out", "x"]).contains("--size 7 must lie"));
    let again = ["export", out.to_str().unwrap(), "--to", "parquet", "--include-real", DEMO];
    assert!(fails(2, &again).contains("holds real images already"));
    // Of a person that was forgotten no image comes back.
    ok(&["forget", "--identity", "person-05", from, "--cache", "none", "-q"]);
    let again = ["export", from, "--to", "recordio", "--include-real", DEMO, "--out", "x"];
    assert!(fails(2, &again).contains("`person-05` was forgotten"));
    export(&dir.path().join("later"), &["--to", "recordio"]);
    assert!(records(&dir.path().join("later")).iter().all(|r| !r.label_mix.contains("person-05")));
    let later = dir.path().join("later").display().to_string();
    let again = ["export", &later, "--to", "parquet", "--include-real", DEMO, "--out", "x"];
    assert!(fails(2, &again).contains("`person-05` was forgotten"));
    // Not even where it was forgotten only in what was exported, and a repair goes back to the dataset.
    let (_other, full, _) = synthesize(&["--per-id", "2"]);
    let handed = dir.path().join("handed");
    let args = ["export", full.to_str().unwrap(), "--to", "recordio", "-q", "--out", handed.to_str().unwrap()];
    ok(&args);
    ok(&["forget", "--identity", "person-05", handed.to_str().unwrap(), "--cache", "none", "-q"]);
    std::fs::write(handed.join("recordio/train.idx"), "x").unwrap();
    assert!(fails(2, &[&args[..], &["--repair"]].concat()).contains("`person-05` was forgotten"));
    let within = full.join("data/x");
    let within = ["export", full.to_str().unwrap(), "--to", "recordio", "--out", within.to_str().unwrap()];
    assert!(fails(2, &within).contains("lies in the dataset itself"));
    // What is damaged or not complete is not handed on.
    let shard = Path::new(from).join("data/train-00001-of-00003.parquet");
    let bytes = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &bytes[..100]).unwrap();
    assert!(fails(2, &["export", from, "--to", "recordio", "--out", "x"]).contains("has another size"));
    std::fs::remove_file(Path::new(from).join("_SUCCESS.json")).unwrap();
    assert!(fails(2, &["export", from, "--to", "recordio", "--out", "x"]).contains("is not complete"));
}

#[cfg(unix)]
#[test]
fn others_may_read_what_is_shared_and_nothing_else() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for (who, file, folder) in [("nobody", 0o600, 0o700), ("group", 0o640, 0o750), ("all", 0o644, 0o755)] {
        let (_dir, out, _) = synthesize(&["--per-id", "1", "--share", who, "--format", "imagefolder"]);
        let readable: Vec<PathBuf> = tree(&out).into_keys().collect();
        assert!(readable.iter().all(|path| mode(&out.join(path)) == file), "{who}");
        assert!([&out, &out.join("imgs"), &out.join("imgs/0003")].iter().all(|path| mode(path) == folder), "{who}");
        // Who may read it is no part of what was made: the same command without it finds all done.
        let again = base(shared(), &out, &["--per-id", "1", "--format", "imagefolder"]);
        assert!(ok(&again.iter().map(String::as_str).collect::<Vec<_>>()).contains("already complete"), "{who}");
        ok(&["forget", "--identity", "person-05", out.to_str().unwrap(), "--cache", "none", "-q"]);
        for path in tree(&out).into_keys() {
            let secret = path == Path::new("_TOMBSTONES.json");
            assert_eq!(mode(&out.join(&path)), if secret { 0o600 } else { file }, "{who} {}", path.display());
        }
        let plan = std::fs::read_to_string(out.join("_PLAN.json")).unwrap();
        assert_eq!(plan.contains(&format!("\"share\": \"{who}\"")), who != "nobody");
    }
}

#[test]
fn inspect_tells_what_a_training_finds_and_stumbles_over() {
    let dir = tempfile::tempdir().unwrap();
    let inspect = |path: &Path| ok(&["inspect", path.to_str().unwrap(), "-q"]);
    for (format, kind) in
        [("parquet", "Parquet"), ("imagefolder", "folder tree"), ("recordio", "RecordIO"), ("webdataset", "tar")]
    {
        let out = dir.path().join(format);
        let args = base(shared(), &out, &["--per-id", "3", "--format", format]);
        ok(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let text = inspect(&out);
        assert!(text.contains(&format!("{kind}, 144 images of 48 labels, 3 / 3 / 3 a label")), "{text}");
        assert!(text.contains("48x48 (144)") && text.contains("nothing to stumble over"), "{text}");
    }
    let set = dir.path().join("recordio/recordio");
    std::fs::write(set.join("train.idx"), "0\t0\n1\t7\n").unwrap();
    std::fs::write(set.join("property"), "9,48,48").unwrap();
    let text = inspect(&set);
    assert!(text.contains("2 lines for 193 records, 1 of them lead to none"), "{text}");
    assert!(text.contains("property says `9,48,48`, the records have 48 labels"), "{text}");
    let folder = dir.path().join("imagefolder/imgs");
    std::fs::remove_dir_all(folder.join("0007")).unwrap();
    std::fs::rename(folder.join("0009"), folder.join("9")).unwrap();
    let image = std::fs::read_dir(folder.join("0003")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(image, "no picture").unwrap();
    let text = inspect(&folder);
    assert!(text.contains("pad them with zeros") && text.contains("1 labels below 47 have no image"), "{text}");
    assert!(text.contains("1 images cannot be decoded"), "{text}");
    std::fs::create_dir(folder.join("0050")).unwrap();
    let text = inspect(&folder);
    assert!(text.contains("1 folders hold no picture, the first ") && text.contains("imgs/0050"), "{text}");
    let other = dir.path().join("faces.rec");
    std::fs::copy(set.join("train.rec"), &other).unwrap();
    let text = inspect(&other);
    assert!(text.contains("faces.rec is not called train.rec"), "{text}");
    let parts = dir.path().join("parts");
    std::fs::create_dir(&parts).unwrap();
    for name in ["faces-0.rec", "faces-1.rec", "faces-2.rec"] {
        std::fs::copy(&other, parts.join(name)).unwrap();
    }
    let text = inspect(&parts);
    assert!(text.contains("faces-0.rec is not called train.rec") && !text.contains("faces-1.rec is not"), "{text}");
    assert!(text.contains(" more such problems of other parts"), "{text}");
    let sample = records(&shared().join("first")).remove(0);
    // Whole at its head and its end.
    let mut torn = sample.image.clone();
    let half = torn.len() / 2;
    torn[half..half + 40].fill(0xff);
    let tars = dir.path().join("tars");
    std::fs::create_dir(&tars).unwrap();
    let tar = |name: &str, members: &[(&str, &[u8])]| {
        let path = tars.join(name);
        let mut writer = tar::Builder::new(std::fs::File::create(&path).unwrap());
        for (name, bytes) in members {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            writer.append_data(&mut header, name, *bytes).unwrap();
        }
        writer.into_inner().unwrap();
        path
    };
    let text = inspect(&tar("0.tar", &[("a.b.jpg", &sample.image[..]), ("a.b.cls", b"0")]));
    assert!(text.contains("2 names with dots in their keys, the first a.b.jpg"), "{text}");
    tar("0.tar", &[("a.jpg", &sample.image[..]), ("a.cls", b"-1"), ("b.jpg", &sample.image[..])]);
    tar("1.tar", &[]);
    tar("2.tar", &[("c.jpg", &torn[..]), ("c.cls", b"ann")]);
    let text = inspect(&tars);
    for problem in [
        "2 labels are no numbers of classes from 0 on, the first `-1`",
        "1 images have no label",
        "1 tars hold no picture, the first ",
        "2.tar c: ",
    ] {
        assert!(text.contains(problem), "{problem}: {text}");
    }
}

#[test]
fn pairs_become_a_verification_set() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("dev.bin");
    let args = ["pairs", "--manifest", DEMO, "--pairs-from", "dev", "--count", "30", "--size", "48", "-q", "--out"];
    let args = [&args[..], &[out.to_str().unwrap()]].concat();
    assert!(ok(&args).contains("60 pairs, 30 of one person"));
    let first = std::fs::read(&out).unwrap();
    ok(&args);
    assert!(std::fs::read(&out).unwrap() == first);
    let (images, same) = augment::formats::bin::read(&out).unwrap();
    assert!(images.iter().all(|image| image::load_from_memory(image).unwrap().width() == 48));
    // Every fold has pairs of both kinds.
    assert!(same.chunks(6).all(|fold| fold.contains(&true) && fold.contains(&false)), "{same:?}");
    assert!(ok(&["inspect", out.to_str().unwrap()]).contains("60 pairs, 30 of one person"));
    std::fs::write(&out, "precious").unwrap();
    assert!(fails(2, &args).contains("no verification set"));
}
