//! What keeps a run from doing harm, or from working for hours in vain.

use ::augment::error::Error;
use ::augment::jobs::wanted::Chooser;
use ::augment::jobs::{Context, NaiveDate, augment, forget, verify};
use ::augment::progress::Silent;
use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field};
use parquet::arrow::ArrowWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use tempfile::TempDir;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/demo.parquet");

/// A folder with a cache, whose runs train a few steps.
struct Room(TempDir);

impl Room {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, args: &[&str]) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_augment"));
        c.args(args).current_dir(self.0.path()).env("XDG_CACHE_HOME", self.at("xdg"));
        c
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        told(&self.program(args).output().unwrap())
    }

    /// The main job on `manifest`.
    fn augment(&self, manifest: &str, more: &[&str]) -> (i32, String) {
        let args = ["--manifest", manifest, "--preset", "tiny", "--duration-kimg", "0.1", "--per-id", "2", "-q"];
        let nobody: &[&str] = if more.contains(&"--judge") { &[] } else { &["--no-judge"] };
        self.run(&[&args[..], nobody, more].concat())
    }
}

/// Exit code and both streams.
fn told(out: &Output) -> (i32, String) {
    let text = [&out.stdout[..], &out.stderr[..]].concat();
    (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

fn picture(level: u8) -> Vec<u8> {
    let image = image::RgbImage::from_fn(40, 40, |x, y| [level, (x * 6) as u8, (y * 6) as u8].into());
    let mut bytes = Vec::new();
    image.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
    bytes
}

fn write_table(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let mut w = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    w.write(&batch).unwrap();
    w.close().unwrap();
}

fn names(n: usize) -> ArrayRef {
    Arc::new((0..n).map(|i| Some(["a", "b"][i % 2])).collect::<StringArray>())
}

fn pictures(n: usize) -> ArrayRef {
    Arc::new((0..n).map(|i| Some(picture(i as u8 * 9))).collect::<BinaryArray>())
}

#[test]
fn a_dry_run_changes_nothing_whatever_the_command() {
    let room = Room::new();
    assert_eq!(room.augment(DEMO, &["--out", "faces"]).0, 0);
    let before = tree(&room.at("faces"));
    let (code, text) = room.run(&["forget", "--identity", "person-05", "faces", "--dry-run"]);
    assert!(
        code == 0 && text.contains("rows would be erased: 2") && text.contains("files would be marked: 2"),
        "{text}"
    );
    assert!(tree(&room.at("faces")) == before);
    let (code, text) = room.run(&["forget", "--identity", "person-05", "faces"]);
    assert!(code == 0 && text.contains("rows erased: 2") && text.contains("files marked: 2"), "{text}");
    for command in ["inspect --manifest", "verify", "status"] {
        let args: Vec<&str> = command.split(' ').chain(["faces", "--dry-run"]).collect();
        let (code, text) = room.run(&args);
        assert!(code == 2 && text.contains("--dry-run has no effect here"), "{text}");
    }
    // Nothing is made, and what would fail fails.
    let (code, text) = room.augment(DEMO, &["--out", "more", "--dry-run"]);
    assert!(code == 0 && text.contains("96 images, about ") && text.contains("to train: about "), "{text}");
    assert!(!room.at("more").exists() && !room.at("more-rejects.parquet").exists());
    let test = ["evaluate", "--manifest", DEMO, "--dry-run"];
    for (more, why) in [
        (&["--pairs-from", "nowhere"][..], "no row of "),
        (&["--pairs-from", "train"], "trained on these rows too"),
        (&["--pairs", "none.txt"], "none.txt: no such file"),
        (&["--pairs-from", "dev", "--held-out", "val"], "no row of "),
        (&["--pairs-from", "dev", "--synthetic", "none"], "none: no such folder"),
    ] {
        let (code, text) = room.run(&[&test[..], more].concat());
        assert!(code == 2 && text.contains(why), "{text}");
    }
    let broken = room.at("broken.parquet");
    let nothing: ArrayRef = Arc::new((0..6).map(|_| Some(b"no picture".as_slice())).collect::<BinaryArray>());
    write_table(&broken, vec![("identity", names(6)), ("image", nothing)]);
    let (code, text) = room.augment("broken.parquet", &["--dry-run"]);
    assert!(code == 2 && text.contains("6 of 6 manifest rows were rejected"), "{text}");
}

#[test]
fn what_can_be_known_is_known_before_training() {
    let room = Room::new();
    std::fs::write(room.at("file"), "x").unwrap();
    let (huge, largest) = ("100000000000000", "18446744073709551615");
    for (more, why) in [
        (&["--out", "file"][..], "file is a file"),
        (&["--out", "/proc/x/y"], "cannot be written"),
        (&["--per-id", huge], "more than can be counted"),
        (&["--per-id", largest], "more than can be counted"),
        (&["--new-identities", largest], "more than can be counted"),
        (&["--per-id", "89000000", "--encoding", "png"], "MB free; ask for fewer"),
        (&["--balance-to", "3"], "nothing to make"),
    ] {
        for dry in [&[][..], &["--dry-run"]] {
            let args = ["--manifest", DEMO, "--preset", "tiny", "--duration-kimg", "0.1", "-q"];
            let (code, text) = room.run(&[&args[..], more, dry].concat());
            assert!(code == 2 && text.contains(why), "{more:?}: {text}");
            assert!(!room.at("xdg/augment/models").exists(), "{more:?}: a model was trained");
        }
    }
    // `.` is a folder like any other.
    std::fs::create_dir(room.at("here")).unwrap();
    let args = ["--manifest", DEMO, "--preset", "tiny", "--duration-kimg", "0.1", "--per-id", "1", "-q", "--no-judge"];
    let out = room.program(&[&args[..], &["--out", "."]].concat()).current_dir(room.at("here")).output().unwrap();
    assert!(out.status.success() && room.at("here/_SUCCESS.json").exists(), "{}", told(&out).1);
}

#[test]
fn changed_inputs_are_never_complete() {
    let room = Room::new();
    // Images beside the manifest, named by a struct whose bytes are null, as `datasets` writes it.
    let set = |shade: u8| {
        for i in 0..6u8 {
            std::fs::write(room.at(&format!("{i}.png")), picture(i * 9 + shade)).unwrap();
        }
    };
    set(0);
    let bytes: ArrayRef = Arc::new((0..6).map(|_| None::<&[u8]>).collect::<BinaryArray>());
    let paths: ArrayRef = Arc::new((0..6).map(|i| Some(format!("{i}.png"))).collect::<StringArray>());
    let field = |name: &str, ty| Arc::new(Field::new(name, ty, true));
    let image =
        StructArray::from(vec![(field("bytes", DataType::Binary), bytes), (field("path", DataType::Utf8), paths)]);
    write_table(&room.at("ids.parquet"), vec![("identity", names(6)), ("image", Arc::new(image))]);
    assert_eq!(room.augment("ids.parquet", &[]).0, 0);
    let (code, text) = room.augment("ids.parquet", &[]);
    assert!(code == 0 && text.contains("already complete"), "{text}");
    set(40);
    let (code, text) = room.augment("ids.parquet", &[]);
    assert!(code == 2 && text.contains("training images"), "{text}");
    // Values that come from the names of folders.
    let hive = |identity: &str| room.at(&format!("hive/identity={identity}"));
    for identity in ["a", "b"] {
        std::fs::create_dir_all(hive(identity)).unwrap();
        write_table(&hive(identity).join("x.parquet"), vec![("image", pictures(3))]);
    }
    assert_eq!(room.augment("hive", &[]).0, 0);
    assert!(room.augment("hive", &[]).1.contains("already complete"));
    std::fs::rename(hive("b"), hive("c")).unwrap();
    let (code, text) = room.augment("hive", &[]);
    assert!(code == 2 && text.contains("content of the manifest"), "{text}");
    // Another mapping of columns to the same values, and a split.
    write_table(&room.at("two.parquet"), vec![("identity", names(6)), ("other", names(6)), ("image", pictures(6))]);
    assert_eq!(room.augment("two.parquet", &[]).0, 0);
    assert_eq!(room.augment("two.parquet", &["--identity-column", "other"]).0, 2);
    assert_eq!(room.augment(DEMO, &["--out", "demo"]).0, 0);
    let (code, text) = room.augment(DEMO, &["--out", "demo", "--split", "test"]);
    assert!(code == 2 && text.contains("--split (train there, test now)"), "{text}");
}

#[test]
fn models_of_another_version_are_trained_again() {
    let room = Room::new();
    assert_eq!(room.augment(DEMO, &["--out", "one"]).0, 0);
    let model = std::fs::read_dir(room.at("xdg/augment/models")).unwrap().next().unwrap().unwrap().path();
    let file = model.join("model.safetensors");
    let whole = std::fs::read(&file).unwrap();
    let (tensors, mut header, _): (_, serde_json::Value, _) =
        ::augment::nn::sealed::read(&file, &::augment::jobs::Device::Cpu).unwrap();
    header["format"] = 1.into();
    ::augment::nn::sealed::write(&file, &tensors, &header).unwrap();
    let args =
        ["--manifest", DEMO, "--preset", "tiny", "--duration-kimg", "0.1", "--per-id", "2", "--no-judge", "--out"];
    let (code, text) = room.run(&[&args[..], &["two"]].concat());
    assert!(code == 0 && text.contains("another version of augment: training it again"), "{text}");
    assert!(std::fs::read(&file).unwrap() == whole);
    // Other samples of the same model need no training.
    let (code, text) = room.run(&[&args[..], &["three", "--sampling-seed", "5"]].concat());
    assert!(code == 0 && text.contains("using the trained model"), "{text}");
    assert_eq!(std::fs::read_dir(room.at("xdg/augment/models")).unwrap().count(), 1);
}

#[test]
fn a_run_goes_on_after_midnight_unless_rows_have_expired() {
    let room = Room::new();
    let text = |values: &[&str]| -> ArrayRef { Arc::new(StringArray::from(values.repeat(6)[..6].to_vec())) };
    let last: ArrayRef = Arc::new(StringArray::from(vec![
        "2030-01-01",
        "2030-01-01",
        "2030-01-01",
        "2030-01-01",
        "2026-06-02",
        "2030-01-01",
    ]));
    let columns = vec![
        ("identity", names(6)),
        ("image", pictures(6)),
        ("consent", text(&["yes"])),
        ("purpose", text(&["training"])),
        ("expires", last),
    ];
    write_table(&room.at("ids.parquet"), columns);
    let mut request = augment::Request::new(room.at("ids.parquet").display().to_string(), room.at("out"));
    request.input.purpose = Some("training".into());
    request.settings.duration_kimg = Some(0.1);
    request.synthesis.per_id = 2;
    request.synthesis.chooser = Chooser::Nobody;
    let on = |day: &str| Context { today: day.parse::<NaiveDate>().ok(), ..Context::new(room.at("cache")) };
    let run = |day: &str| augment::run(&request, &on(day), &mut Silent);
    assert!(!run("2026-06-01").unwrap().written.before);
    // The next day nothing has expired, and nothing is to be made.
    let again = run("2026-06-02").unwrap().written;
    assert!(again.before && again.summary.order.policy.unwrap().as_of.to_string() == "2026-06-01");
    std::fs::remove_file(room.at("out/_SUCCESS.json")).unwrap();
    assert!(!run("2026-06-02").unwrap().written.before);
    let message = run("2026-06-03").unwrap_err().to_string();
    assert!(message.contains("ids.parquet: row 4 and 0 others have expired since 2026-06-01"), "{message}");
}

#[test]
fn an_order_of_which_nothing_was_made_binds_nobody() {
    let room = Room::new();
    let args =
        ["--manifest", DEMO, "--per-id", "2", "--preset", "tiny", "--duration-kimg", "0.1", "-q", "--out", "faces"];
    let test = [
        "evaluate",
        "--manifest",
        DEMO,
        "--pairs-from",
        "dev",
        "--arms",
        "real",
        "--seeds",
        "1",
        "-q",
        "--out",
        "judge",
    ];
    assert_eq!(room.run(&[&test[..], &["--set", "recipe.steps=5"]].concat()).0, 0);
    let (code, text) = room.run(&[&args[..], &["--judge", "judge", "--min-similarity", "1"]].concat());
    assert!(code == 2 && text.contains("no image is left; lower --min-similarity"), "{text}");
    let (code, text) = room.run(&[&args[..], &["--judge", "judge", "--min-similarity=-1"]].concat());
    assert!(code == 0, "{text}");
    // From now on it does.
    let (code, text) = room.run(&[&args[..], &["--no-judge"]].concat());
    assert!(code == 2 && text.contains("other judge"), "{text}");
    // A judge of other persons is found before anything is trained.
    write_table(&room.at("ids.parquet"), vec![("identity", names(6)), ("image", pictures(6))]);
    let (code, text) = room.augment("ids.parquet", &["--judge", "judge"]);
    assert!(code == 2 && text.contains("does not know 2 of 2 identities"), "{text}");
}

#[test]
fn forgetting_goes_on_past_damage_and_finds_copies() {
    let room = Room::new();
    assert_eq!(room.augment(DEMO, &["--out", "run/faces"]).0, 0);
    let model = std::fs::read_dir(room.at("xdg/augment/models")).unwrap().next().unwrap().unwrap().path();
    let weights = std::fs::read(model.join("model.safetensors")).unwrap();
    // A copy that a pipeline made, one that is damaged, and somebody else's file.
    std::fs::write(room.at("run/judge.safetensors"), &weights).unwrap();
    std::fs::create_dir(room.at("run/bad")).unwrap();
    let mut bad = weights.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(room.at("run/bad/model.safetensors"), &bad).unwrap();
    std::fs::write(room.at("run/other.safetensors"), b"\x08\0\0\0\0\0\0\0{}      ").unwrap();
    let request = forget::Request { identity: "person-05".into(), folders: vec![room.at("run")] };
    let context = Context::new(room.at("xdg/augment"));
    let done = forget::run(&request, &context).unwrap();
    let what = |end: &str| done.outcomes.iter().find(|o| o.folder.ends_with(end)).map(|o| o.what);
    assert_eq!((what("faces"), what("judge.safetensors")), (Some("rows erased"), Some("files marked")));
    assert!(done.outcomes.iter().any(|o| o.folder == model) && done.failures.len() == 1, "{done:?}");
    assert!(done.failures[0].0.ends_with("bad") && done.failures[0].1.contains("damaged"), "{done:?}");
    let (code, text) = room.run(&["forget", "--identity", "person-05", "run"]);
    assert!(
        code == 2 && text.contains("bad: FAILED") && text.contains("judge.safetensors: forgotten before"),
        "{text}"
    );
    assert!(matches!(verify::run(&room.at("run")), Err(Error::Usage(_))));
    // What lies below a place of ours, or beside it, is found, and what is not ours is left alone.
    let others = room.at("others");
    std::fs::create_dir_all(others.join("faces")).unwrap();
    std::fs::write(others.join("model.safetensors"), &weights).unwrap();
    std::fs::write(others.join("figure.png"), picture(3)).unwrap();
    std::fs::write(others.join("grid-000010kimg.png"), picture(4)).unwrap();
    let args = ["synthesize", "--model", others.to_str().unwrap(), "--per-id", "1", "-q", "--out", "others/faces/one"];
    assert_eq!(room.run(&args).0, 0);
    std::os::unix::fs::symlink(others.join("model.safetensors"), room.at("link.safetensors")).unwrap();
    let (code, text) = room.run(&["forget", "--identity", "person-06", "others", "link.safetensors"]);
    assert!(
        code == 0 && text.contains("faces/one: rows erased: 1") && text.contains("others: files marked: 1"),
        "{text}"
    );
    assert!(others.join("figure.png").exists() && !others.join("grid-000010kimg.png").exists());
    assert!(room.at("link.safetensors").is_symlink());
}

#[test]
fn results_that_cannot_be_written_are_an_error() {
    let room = Room::new();
    let to = |path: &str| {
        let out = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        told(&room.program(&["config", "--json"]).stdout(out).output().unwrap())
    };
    let (code, text) = to("/dev/full");
    assert!(code == 75 && text.contains("stdout"), "{text}");
    assert_eq!(to("/dev/null").0, 0);
}

#[test]
fn kernels_that_are_not_there_are_refused_and_empty_variables_unset() {
    let room = Room::new();
    let with = |name: &str, value: &str| told(&room.program(&["config"]).env(name, value).output().unwrap());
    for (name, value, why) in
        [("AUGMENT_SIMD", "avx1024", "no such name"), ("AUGMENT_OPS", "fast", "expected kernels or reference")]
    {
        let (code, text) = with(name, value);
        assert!(code == 2 && text.contains(why), "{text}");
    }
    for name in ["AUGMENT_SIMD", "AUGMENT_OPS", "AUGMENT_SEED", "AUGMENT_PRESET", "AUGMENT_THREADS"] {
        assert_eq!(with(name, "").0, 0, "{name}");
    }
    // An empty XDG_CACHE_HOME is none: the cache lies below the home folder.
    let args = ["--manifest", DEMO, "--preset", "tiny", "--duration-kimg", "0.05", "--per-id", "1", "--no-judge", "-q"];
    let out = room.program(&args).env("XDG_CACHE_HOME", "").env("HOME", room.at("home")).output().unwrap();
    assert!(out.status.success() && room.at("home/.cache/augment/models").exists(), "{}", told(&out).1);
    assert!(!room.at("augment").exists());
    // A home folder that cannot be written: what to do is said, and a retry is not asked for.
    let out =
        room.program(&[&args[..], &["--out", "x"]].concat()).env("XDG_CACHE_HOME", "/proc/none").output().unwrap();
    let (code, text) = told(&out);
    assert!(code == 2 && text.contains("--cache"), "{text}");
}

/// Whether a closed terminal stops a run in order, and `nohup` keeps it from that.
#[test]
fn a_hangup_stops_in_order_unless_it_is_ignored() {
    let room = Room::new();
    let train = |out: &str| {
        let args = [
            "train",
            "--manifest",
            DEMO,
            "--preset",
            "tiny",
            "--duration-kimg",
            "40",
            "--no-judge",
            "--out",
            out,
            "--quiet",
        ];
        [env!("CARGO_BIN_EXE_augment")].iter().chain(&args).map(|a| (*a).to_owned()).collect::<Vec<_>>().join(" ")
    };
    let started = |command: String, out: &str| {
        let child = Command::new("sh").args(["-c", &command]).current_dir(room.0.path()).spawn().unwrap();
        let mut child = child;
        for _ in 0..3000 {
            if room.at(out).join("metrics.jsonl").metadata().is_ok_and(|m| m.len() > 0) {
                return child;
            }
            assert!(child.try_wait().unwrap().is_none(), "ended early");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("no step in 30 s")
    };
    let signal =
        |name: &str, id: u32| assert!(Command::new("kill").args([name, &id.to_string()]).status().unwrap().success());
    // Under `nohup` these tests themselves have it ignored.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|l| l.strip_prefix("SigIgn:")).unwrap().trim().to_owned();
    if u64::from_str_radix(&ignored, 16).unwrap() & 1 == 0 {
        let mut child = started(format!("exec {}", train("plain")), "plain");
        signal("-HUP", child.id());
        assert_eq!(child.wait().unwrap().code(), Some(129));
        assert!(room.at("plain/checkpoint.safetensors").exists());
    }
    // Who sends a signal to a process and to its group, as `timeout` does, sends it twice, and means it once.
    let mut child = started(format!("exec {}", train("twice")), "twice");
    signal("-TERM", child.id());
    signal("-TERM", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(room.at("twice/checkpoint.safetensors").exists());
    let mut child = started(format!("trap '' HUP; exec {}", train("nohup")), "nohup");
    signal("-HUP", child.id());
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none());
    signal("-TERM", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

/// Relative paths and bytes of all files under `dir`.
fn tree(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(tree(&path));
        } else {
            files.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}
