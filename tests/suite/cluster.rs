//! The main job in shards, on drawn identity sets with very short trainings: whatever the order, whoever is killed, the same bytes.

use crate::common::program::{augment, fails, ok, records, tree};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// `sets` identity sets of three drawn persons.
fn manifest(dir: &Path, sets: usize) -> String {
    let path = dir.join(format!("{sets}-sets.parquet")).display().to_string();
    let persons = (3 * sets).to_string();
    ok(&["demo", "--out", &path, "--identities", &persons, "--sets", &sets.to_string(), "--per-id", "6"]);
    path
}

/// Options of the main job and of its plan.
fn options<'a>(manifest: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let plain = ["--manifest", manifest, "--duration-kimg", "0.07", "--per-id", "4", "--new-identities", "1", "-q"];
    [&plain[..], &["--mix", "2", "--shard-rows", "7"], more].concat()
}

fn path(dir: &Path, name: &str) -> (PathBuf, String) {
    let path = dir.join(name);
    (path.clone(), path.display().to_string())
}

/// What `augment status` says of a job: shards that are done, running, waiting and failed.
fn status(job: &str) -> [u64; 4] {
    let json: Value = serde_json::from_str(&ok(&["status", job, "--json"])).unwrap();
    ["done", "running", "waiting", "failed"].map(|name| json[name].as_u64().unwrap())
}

#[test]
fn many_machines_write_what_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let (_, cache) = path(dir.path(), "cache");
    // Identity sets, and what is written: formats, real images, and a judge that nobody could meet.
    let cases: [(usize, &[&str]); 3] = [
        (3, &["--no-judge"]),
        (3, &["--no-judge", "--include-real", "--format", "recordio"]),
        (1, &["--min-similarity", "0.2"]),
    ];
    for (number, (sets, case)) in cases.into_iter().enumerate() {
        let manifest = manifest(dir.path(), sets);
        let (one, out) = path(dir.path(), &format!("one-{number}"));
        ok(&[&options(&manifest, case)[..], &["--out", &out, "--cache", &cache]].concat());
        let (many, out) = path(dir.path(), &format!("many-{number}"));
        let (_, job) = path(dir.path(), &format!("job-{number}"));
        // Sixteen images a set: whole in one shard, or a training and two parts.
        let most = if number == 1 { "100" } else { "9" };
        let planned =
            [&["plan", "--job", &job, "--shard-images", most, "--json"], &["--out", &out, "--cache", &cache][..]];
        let plan = ok(&[planned.concat(), options(&manifest, case)].concat());
        let shards = serde_json::from_str::<Value>(&plan).unwrap()["shards"].as_array().unwrap().clone();
        assert_eq!(shards.len(), if number == 1 { sets } else { 3 * sets }, "{plan}");
        assert_eq!(shards.iter().map(|s| s["images"].as_u64().unwrap()).sum::<u64>(), 16 * sets as u64);
        let todo = fails(75, &["commit", &job]);
        assert!(todo.contains("shards are not done"), "{todo}");
        // From the last to the first, again and again, as a scheduler would: what comes after another one waits for it.
        let mut left: Vec<&Value> = shards.iter().rev().collect();
        while !left.is_empty() {
            let before = left.len();
            left.retain(|shard| {
                let waits = shard["after"].as_u64().is_some_and(|a| left_after(&job, a));
                let args = ["run", &job, "--shard", &shard["shard"].to_string(), "-q"].map(str::to_owned);
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                if waits {
                    assert!(fails(75, &args).contains("comes after shard"));
                } else {
                    assert!(ok(&args).contains(": done"));
                    assert!(ok(&args).contains("already done"));
                }
                waits
            });
            assert!(left.len() < before);
        }
        assert_eq!(status(&job), [shards.len() as u64, 0, 0, 0]);
        let text = ok(&["commit", &job, "-q"]);
        assert!(text.contains("wrote: ") && ok(&["commit", &job, "-q"]).contains("already complete"), "{text}");
        assert!(tree(&one) == tree(&many), "case {number}");
    }
}

/// True if shard `number` is not done.
fn left_after(job: &str, number: u64) -> bool {
    let json: Value = serde_json::from_str(&ok(&["status", job, "--json"])).unwrap();
    let state = &json["states"][number as usize];
    assert!(state["identity_set"].is_string() && state["kind"].is_string() && state["shard"] == number, "{state}");
    state["state"] != "done"
}

#[test]
fn killed_and_doubled_shards_leave_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = manifest(dir.path(), 3);
    let (one, out) = path(dir.path(), "one");
    let (_, cache) = path(dir.path(), "cache");
    let more = ["--no-judge", "--set", "train.checkpoint_kimg=0.03"];
    ok(&[&options(&manifest, &more)[..], &["--out", &out, "--cache", &cache]].concat());
    let (many, out) = path(dir.path(), "many");
    let (_, job) = path(dir.path(), "job");
    ok(&[&["plan", "--job", &job, "--out", &out, "--cache", &cache][..], &options(&manifest, &more)].concat());
    for shard in ["0", "1", "2"] {
        let spawn = || {
            let mut command = augment(&["run", &job, "--shard", shard, "-q"]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        for pause in [20, 120, 250] {
            let mut child = spawn();
            std::thread::sleep(Duration::from_millis(pause));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        // Two at once: one does it, and the other is told to come back, or finds it done.
        let codes = [spawn(), spawn()].map(|mut child| child.wait().unwrap().code().unwrap());
        assert!(codes.contains(&0) && codes.iter().all(|code| [0, 75].contains(code)), "{codes:?}");
    }
    ok(&["commit", &job, "-q"]);
    assert!(tree(&one) == tree(&many));
}

#[test]
fn what_cannot_be_joined_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = manifest(dir.path(), 3);
    let (_, out) = path(dir.path(), "out");
    let (job_dir, job) = path(dir.path(), "job");
    let (_, cache) = path(dir.path(), "cache");
    let ends = ["--out", &out, "--cache", &cache, "--no-judge"];
    let plan = |more: &[&'static str]| {
        [&["plan", "--job", &job][..], &ends, &options(&manifest, more)]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect()
    };
    let refused = |args: Vec<String>| fails(2, &args.iter().map(String::as_str).collect::<Vec<_>>());
    let done = |args: Vec<String>| ok(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(fails(2, &["run", &job, "--shard", "0"]).contains("holds no job"));
    // What the main job would refuse is refused before anything is planned.
    assert!(refused(plan(&["--mix-sum", "9"])).contains("--mix-sum"));
    done([plan(&[]), vec!["--dry-run".into()]].concat());
    assert!(!job_dir.exists(), "a dry run plans nothing");
    done(plan(&[]));
    done(plan(&[]));
    assert!(refused(plan(&["--sampling-seed", "4"])).contains("holds another job"));
    assert!(fails(2, &["run", &job, "--shard", "3"]).contains("--shard 3: the job has 3"));
    let stopped = ok(&["run", &job, "--shard", "1", "-q"]);
    assert!(stopped.contains("done, 16 images"), "{stopped}");
    // A shard that changed after it was done.
    let data = job_dir.join("shards/00001/dataset/data");
    let file = std::fs::read_dir(&data).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, [&bytes[..100], &[bytes[100] ^ 1], &bytes[101..]].concat()).unwrap();
    ok(&["run", &job, "--shard", "0", "-q"]);
    ok(&["run", &job, "--shard", "2", "-q"]);
    let damaged = fails(2, &["commit", &job]);
    assert!(damaged.contains("shards/00001") && damaged.contains("has other bytes"), "{damaged}");
    assert!(ok(&["run", &job, "--shard", "1", "--repair", "-q"]).contains("1: done"));
    assert!(std::fs::read(&file).unwrap() == bytes);
    ok(&["commit", &job, "-q"]);
    assert_eq!(records(Path::new(&out)).len(), 48);
    // Images that changed since the job was planned, behind the same paths.
    let (other, other_job) = path(dir.path(), "other");
    let copy = dir.path().join("copy.parquet");
    std::fs::copy(&manifest, &copy).unwrap();
    let copied = copy.display().to_string();
    let ends = ["--out", &out, "--cache", &cache, "--no-judge"];
    ok(&[&["plan", "--job", &other_job][..], &["--out", &format!("{out}-2")], &ends[2..], &options(&copied, &[])]
        .concat());
    ok(&["demo", "--out", &copied, "--identities", "9", "--sets", "3", "--per-id", "6", "--seed", "1"]);
    let changed = fails(2, &["run", &other_job, "--shard", "0"]);
    assert!(changed.contains("`set-000`") && changed.contains("plan another job"), "{changed}");
    assert_eq!(status(&other_job), [0, 0, 2, 1]);
    assert!(ok(&["status", &other_job]).contains("shard 0 (`set-000`)"));
    assert!(other.exists());
}
