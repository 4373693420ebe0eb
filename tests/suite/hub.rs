//! Manifests and models from a hub: a local server that answers as one.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/demo.parquet");

/// A server of `files` by path; keeps the requests it got.
struct Hub {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
    token: Option<&'static str>,
}

impl Hub {
    fn start(files: BTreeMap<String, Vec<u8>>, commit: &'static str) -> Self {
        Self::answering(files, commit, usize::MAX)
    }

    /// The same, that sends at most `whole` bytes of a file.
    fn answering(files: BTreeMap<String, Vec<u8>>, commit: &'static str, whole: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let line = head.lines().next().unwrap_or_default().to_owned();
                let mut words = line.split(' ');
                let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                let answer = match files.get(path) {
                    None => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
                    Some(body) => {
                        let mut answer = format!(
                            "HTTP/1.1 200 OK\r\nETag: \"{}\"\r\nX-Repo-Commit: {commit}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                            sha256(body),
                            body.len().min(whole)
                        )
                        .into_bytes();
                        if method == "GET" {
                            answer.extend(&body[..body.len().min(whole)]);
                        }
                        answer
                    }
                };
                log.lock().unwrap().push(head);
                let _ = stream.write_all(&answer);
            }
        });
        Self { endpoint, requests, token: Some("secret-token") }
    }

    fn command(&self, cache: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_augment"));
        command
            .args(args)
            .args(["--cache", cache.to_str().unwrap()])
            .env("HF_ENDPOINT", &self.endpoint)
            .envs(self.token.map(|t| ("HF_TOKEN", t)))
            .env("NO_PROXY", "127.0.0.1")
            // Where models.lock is written.
            .current_dir(cache);
        command
    }

    fn augment(&self, cache: &Path, args: &[&str]) -> Output {
        self.command(cache, args).output().unwrap()
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().fold(String::new(), |hex, b| format!("{hex}{b:02x}"))
}

fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

#[test]
fn manifests_are_downloaded_once_and_work_offline() {
    let path = format!("/datasets/lab/faces/resolve/{COMMIT}/data/demo.parquet");
    let hub = Hub::start(BTreeMap::from([(path, std::fs::read(DEMO).unwrap())]), COMMIT);
    let cache = tempfile::tempdir().unwrap();
    let uri = format!("hf://datasets/lab/faces@{COMMIT}/data/demo.parquet");
    let first = hub.augment(cache.path(), &["inspect", "--manifest", &uri]);
    assert!(first.status.success(), "{}", text(&first));
    assert!(text(&first).contains("720 rows"), "{}", text(&first));
    let requests = hub.requests.lock().unwrap().clone();
    assert!(
        requests.iter().all(|r| r.contains("Bearer secret-token") || r.contains("bearer secret-token")),
        "{requests:?}"
    );
    let second = hub.augment(cache.path(), &["inspect", "--manifest", &uri]);
    assert!(second.status.success());
    assert_eq!(hub.requests.lock().unwrap().len(), requests.len(), "the second run asked again");
    let offline = |uri: &str| {
        let mut c = Command::new(env!("CARGO_BIN_EXE_augment"));
        c.args(["inspect", "--manifest", uri, "--cache"]).arg(cache.path());
        c.current_dir(cache.path());
        c.env("HF_HUB_OFFLINE", "1").env("HF_ENDPOINT", &hub.endpoint).output().unwrap()
    };
    let cached = offline(&uri);
    assert!(text(&cached).contains("720 rows"), "{}", text(&cached));
    let offline = offline(&format!("hf://datasets/lab/other@{COMMIT}/x.parquet"));
    assert_eq!(offline.status.code(), Some(2));
    assert!(text(&offline).contains("HF_HUB_OFFLINE"), "{}", text(&offline));
    assert_eq!(hub.requests.lock().unwrap().len(), requests.len());
}

#[test]
fn what_was_fetched_once_must_not_change() {
    let path = format!("/datasets/lab/faces/resolve/{COMMIT}/data/demo.parquet");
    let good = std::fs::read(DEMO).unwrap();
    let work = tempfile::tempdir().unwrap();
    let uri = format!("hf://datasets/lab/faces@{COMMIT}/data/demo.parquet");
    let ask = |body: &[u8], cache: &str| {
        let hub = Hub::start(BTreeMap::from([(path.clone(), body.to_vec())]), COMMIT);
        let mut command = Command::new(env!("CARGO_BIN_EXE_augment"));
        command.args(["inspect", "--manifest", &uri, "--cache"]).arg(work.path().join(cache)).current_dir(work.path());
        command.env("HF_ENDPOINT", &hub.endpoint).env("NO_PROXY", "127.0.0.1").output().unwrap()
    };
    let first = ask(&good, "cache");
    assert!(first.status.success(), "{}", text(&first));
    let lock = std::fs::read_to_string(work.path().join("models.lock")).unwrap();
    assert!(lock.contains(&format!("\"{uri}\" = \"{}\"", sha256(&good))), "{lock}");
    assert!(ask(&good, "another").status.success());
    // Another machine, another answer for the same commit.
    let mut other = good.clone();
    other.extend(b" ");
    let refused = ask(&other, "third");
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("models.lock says"), "{}", text(&refused));
    assert_eq!(std::fs::read_to_string(work.path().join("models.lock")).unwrap(), lock);
}

#[test]
fn without_a_token_none_is_sent() {
    let path = format!("/datasets/lab/faces/resolve/{COMMIT}/demo.parquet");
    let mut hub = Hub::start(BTreeMap::from([(path, std::fs::read(DEMO).unwrap())]), COMMIT);
    hub.token = None;
    let cache = tempfile::tempdir().unwrap();
    let uri = format!("hf://datasets/lab/faces@{COMMIT}/demo.parquet");
    // One that lies where other programs look for it is none of ours.
    let home = cache.path().join("home/.cache/huggingface");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("token"), "planted-token").unwrap();
    let out = hub
        .command(cache.path(), &["inspect", "--manifest", &uri])
        .env("HOME", cache.path().join("home"))
        .env("HF_HOME", &home)
        .env("HF_TOKEN_PATH", home.join("token"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", text(&out));
    let requests = hub.requests.lock().unwrap();
    assert!(
        !requests.is_empty()
            && requests.iter().all(|r| !r.contains("planted-token"))
            && requests.iter().all(|r| !r.to_lowercase().contains("authorization")),
        "{requests:?}"
    );
}

#[test]
fn models_come_from_a_hub() {
    let dir = tempfile::tempdir().unwrap();
    let trained = dir.path().join("model");
    let train = Command::new(env!("CARGO_BIN_EXE_augment"))
        .args(["train", "--manifest", DEMO, "--duration-kimg", "0.1", "--no-judge", "-q", "--out"])
        .arg(&trained)
        .output()
        .unwrap();
    assert!(train.status.success(), "{}", text(&train));
    let weights = std::fs::read(trained.join("model.safetensors")).unwrap();
    let hub = Hub::start(BTreeMap::from([(format!("/lab/gan/resolve/{COMMIT}/model.safetensors"), weights)]), COMMIT);
    let out = dir.path().join("out");
    let uri = format!("hf://lab/gan@{COMMIT}");
    let made = hub
        .augment(dir.path(), &["synthesize", "--model", &uri, "--per-id", "1", "--out", out.to_str().unwrap(), "-q"]);
    assert!(made.status.success(), "{}", text(&made));
    assert!(text(&made).contains("48 images"), "{}", text(&made));
}

#[test]
fn what_a_hub_refuses_is_said_and_not_retried() {
    let hub = Hub::start(BTreeMap::new(), COMMIT);
    let cache = tempfile::tempdir().unwrap();
    let missing =
        hub.augment(cache.path(), &["inspect", "--manifest", &format!("hf://datasets/lab/faces@{COMMIT}/no.parquet")]);
    assert_eq!(missing.status.code(), Some(2), "{}", text(&missing));
    assert!(text(&missing).contains("no such file"), "{}", text(&missing));
    // A server that answers with another commit than the one that was asked for.
    let path = format!("/datasets/lab/faces/resolve/{COMMIT}/demo.parquet");
    let other = "ffffffffffffffffffffffffffffffffffffffff";
    let hub = Hub::start(BTreeMap::from([(path, std::fs::read(DEMO).unwrap())]), other);
    let swapped = hub
        .augment(cache.path(), &["inspect", "--manifest", &format!("hf://datasets/lab/faces@{COMMIT}/demo.parquet")]);
    assert_eq!(swapped.status.code(), Some(2), "{}", text(&swapped));
    assert!(text(&swapped).contains("another commit"), "{}", text(&swapped));
    // Nobody listens: worth a retry.
    let gone = Hub { endpoint: "http://127.0.0.1:9".into(), requests: hub.requests.clone(), token: None };
    let refused = gone
        .augment(cache.path(), &["inspect", "--manifest", &format!("hf://datasets/lab/faces@{COMMIT}/new.parquet")]);
    assert_eq!(refused.status.code(), Some(75), "{}", text(&refused));
}

#[test]
fn damaged_downloads_are_not_kept() {
    let path = format!("/datasets/lab/faces/resolve/{COMMIT}/demo.parquet");
    let files = BTreeMap::from([(path, std::fs::read(DEMO).unwrap())]);
    let cache = tempfile::tempdir().unwrap();
    let uri = format!("hf://datasets/lab/faces@{COMMIT}/demo.parquet");
    let cut = Hub::answering(files.clone(), COMMIT, 1000);
    let failed = cut.augment(cache.path(), &["inspect", "--manifest", &uri]);
    assert_eq!(failed.status.code(), Some(75), "{}", text(&failed));
    assert!(text(&failed).contains("incomplete or damaged"), "{}", text(&failed));
    // The same command succeeds once the hub does.
    let whole = Hub::start(files, COMMIT);
    let read = whole.augment(cache.path(), &["inspect", "--manifest", &uri]);
    assert!(read.status.success(), "{}", text(&read));
}

/// A hub that takes commits: answers `fails` first ones with an error, and keeps the lines of the others.
fn taking(tree: &'static str, fails: usize, status: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let log = Arc::new(Mutex::new(Vec::new()));
    let kept = log.clone();
    std::thread::spawn(move || {
        let mut left = fails;
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let length = head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            stream.read_exact(&mut body).unwrap();
            let path = head.split(' ').nth(1).unwrap_or_default();
            let answer = if path.contains("/tree/") {
                tree.to_owned()
            } else if path.contains("/preupload/") {
                let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let regular = |f: &serde_json::Value| serde_json::json!({ "path": f["path"], "uploadMode": "regular" });
                let files: Vec<_> = asked["files"].as_array().unwrap().iter().map(regular).collect();
                serde_json::json!({ "files": files }).to_string()
            } else if path.contains("/commit/") && left > 0 {
                left -= 1;
                let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                continue;
            } else if path.contains("/commit/") {
                kept.lock().unwrap().extend(String::from_utf8(body).unwrap().lines().map(str::to_owned));
                "{}".to_owned()
            } else {
                kept.lock().unwrap().push(String::from_utf8(body).unwrap());
                "{\"url\": \"x\"}".to_owned()
            };
            let length = answer.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}"
            );
        }
    });
    (endpoint, log)
}

#[test]
fn datasets_and_models_are_pushed_in_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (out, cache) = (dir.path().join("out"), dir.path().join("cache"));
    std::fs::create_dir(&cache).unwrap();
    let (out, cached) = (out.to_str().unwrap(), cache.to_str().unwrap());
    let run = |endpoint: &str, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_augment"));
        command.args(args).args(["-q", "--cache", cached]).env("HF_ENDPOINT", endpoint).env("HF_TOKEN", "t");
        let done = command.env("NO_PROXY", "127.0.0.1").current_dir(dir.path()).output().unwrap();
        (done.status.code(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
    };
    let made = run("", &["--manifest", DEMO, "--per-id", "1", "--duration-kimg", "0.1", "--no-judge", "--out", out]);
    assert_eq!(made.0, Some(0), "{made:?}");
    let model = std::fs::read_dir(cache.join("models")).unwrap().next().unwrap().unwrap().path();
    let place = "hf://datasets/o/n";
    // One failure is passed over. A repository is its owner's alone; the names of persons are in no card.
    let (endpoint, log) = taking("[]", 1, "503 Service Unavailable");
    let (code, text) = run(&endpoint, &["push", out, place]);
    assert!(code == Some(0) && text.contains("7 files sent"), "{code:?} {text}");
    let lines = log.lock().unwrap().clone();
    assert!(lines[0].contains("\"private\":true") && lines[0].contains("\"type\":\"dataset\""), "{}", lines[0]);
    let lines: Vec<serde_json::Value> = lines[1..].iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    let sent: BTreeMap<&str, &str> = lines[1..]
        .iter()
        .map(|l| (l["value"]["path"].as_str().unwrap(), l["value"]["content"].as_str().unwrap()))
        .collect();
    for name in ["_PLAN.json", "_SUCCESS.json", "README.md", "config.toml", "data/train-00000-of-00001.parquet"] {
        use base64::Engine;
        let bytes = base64::engine::general_purpose::STANDARD.decode(sent[name]).unwrap();
        assert!(bytes == std::fs::read(Path::new(out).join(name)).unwrap(), "{name}");
    }
    // Croissant, as its own reader takes it.
    let croissant = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.decode(sent["croissant.json"]).unwrap()
    };
    let document: serde_json::Value = serde_json::from_slice(&croissant).unwrap();
    assert_eq!(document["recordSet"][0]["field"].as_array().unwrap().len(), 14);
    assert_eq!(document["url"], format!("{endpoint}/datasets/o/n"));
    if let Ok(python) = std::env::var("AUGMENT_PYTHON") {
        let path = dir.path().join("croissant.json");
        std::fs::write(&path, &croissant).unwrap();
        let read = "import sys, mlcroissant; d = mlcroissant.Dataset(jsonld=sys.argv[1]); print(d.metadata.record_sets[0].fields[0].id)";
        let read = Command::new(python).args(["-c", read, path.to_str().unwrap()]).output().unwrap();
        let said = self::text(&read);
        assert!(read.status.success() && said.contains("images/image"), "{said}");
    }
    // What is there is replaced only if asked to, and what is no part of it goes.
    let tree = r#"[{"type":"file","oid":"0","size":1,"path":"data/old.parquet"},{"type":"file","oid":"0","size":1,"path":".gitattributes"}]"#;
    let (endpoint, log) = taking(tree, 0, "");
    let (code, text) = run(&endpoint, &["push", out, place]);
    assert!(code == Some(2) && text.contains("holds files already (data/old.parquet)"), "{code:?} {text}");
    let (code, text) = run(&endpoint, &["push", out, place, "--replace"]);
    assert!(code == Some(0) && text.contains("1 others removed"), "{code:?} {text}");
    assert!(log.lock().unwrap().iter().any(|l| l.contains("deletedFile") && l.contains("data/old.parquet")));
    let (endpoint, log) = taking("[]", 0, "");
    let (code, text) = run(&endpoint, &["push", model.to_str().unwrap(), "hf://o/m"]);
    assert_eq!(code, Some(0), "{text}");
    let lines = log.lock().unwrap().clone();
    assert!(["README.md", "model.safetensors", "config.toml"].iter().all(|n| lines.iter().any(|l| l.contains(n))));
    assert!(!lines.iter().any(|l| l.contains("grid-")), "a grid shows photographs");
    // Refused for good, for now, and for what is no address.
    let (endpoint, _) = taking("[]", usize::MAX, "403 Forbidden");
    let (code, text) = run(&endpoint, &["push", out, place]);
    assert!(code == Some(2) && text.contains("access denied"), "{code:?} {text}");
    let (endpoint, _) = taking("[]", usize::MAX, "500 Internal Server Error");
    let (code, text) = run(&endpoint, &["push", out, place]);
    assert!(code == Some(75) && text.contains(place), "{code:?} {text}");
    assert_eq!(run(&endpoint, &["push", out, "hf://datasets/o/n/more"]).0, Some(2));
    std::fs::remove_file(Path::new(out).join("README.md")).unwrap();
    assert_eq!(run(&endpoint, &["push", out, place]).0, Some(2));
}
