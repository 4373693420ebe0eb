//! Object stores: a server that speaks S3, with faults.

use crate::common::program::{DEMO, augment, base, model_dir, ok, shared, synthesize, tree};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// moto's server, until the value is dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts one, if a Python for it is named.
    fn start() -> Option<Self> {
        let Some(python) = std::env::var_os("AUGMENT_S3_PYTHON") else {
            let needed = std::env::var("AUGMENT_REQUIRED").unwrap_or_default();
            assert!(!needed.contains("AUGMENT_S3_PYTHON"), "AUGMENT_S3_PYTHON names no Python");
            let skipped = b"skipped: AUGMENT_S3_PYTHON names no Python with tests/interop/s3-requirements.txt\n";
            std::io::stderr().write_all(skipped).unwrap();
            return None;
        };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/s3_server.py");
        let mut child =
            Command::new(python).args([script, DEMO]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Some(Self { child, port: line.trim().parse().unwrap() })
    }

    /// What the server answers of itself.
    fn ask(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    fn run(&self, cache: &Path, args: &[&str]) -> Output {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        augment(args)
            .args(["-q", "--cache", cache.to_str().unwrap()])
            .envs([("AWS_ENDPOINT", &endpoint[..]), ("AWS_ALLOW_HTTP", "true"), ("AWS_REGION", "us-east-1")])
            .envs([("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x"), ("NO_PROXY", "127.0.0.1")])
            .output()
            .unwrap()
    }

    fn ok(&self, cache: &Path, args: &[&str]) -> String {
        let out = self.run(cache, args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn fails(&self, code: i32, cache: &Path, args: &[&str]) -> String {
        let out = self.run(cache, args);
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(code), "{args:?}: {stderr}");
        stderr
    }
}

#[test]
fn datasets_and_models_go_to_a_store_and_come_back() {
    let Some(server) = Server::start() else { return };
    let (dir, out, _) = synthesize(&["--per-id", "3", "--shard-rows", "50"]);
    let (cache, place, from) = (dir.path().join("cache"), "s3://faces/made/first", out.to_str().unwrap());
    let push = ["push", from, place];
    // Two failures are passed over; the summary comes last, and what is there is not sent again.
    server.ask("/_log");
    server.ask("/_fail/500/2");
    let text = server.ok(&cache, &push);
    assert!(text.contains("10 files sent, 0 were there"), "{text}");
    let puts = server.ask("/_log");
    let puts: Vec<&str> = puts.lines().collect();
    assert!(
        puts.first().unwrap().ends_with("_PLAN.json") && puts.last().unwrap().ends_with("_SUCCESS.json"),
        "{puts:?}"
    );
    assert!(server.ok(&cache, &push).contains("0 files sent, 10 were there"));
    assert_eq!(server.ask("/_log"), "");
    // What came back is what was sent.
    let inspected = server.ok(&cache, &["inspect", "--manifest", &format!("{place}/data/")]);
    assert!(inspected.contains("144 rows"), "{inspected}");
    let found = tree(&cache.join("objects"));
    for (path, bytes) in tree(&out.join("data")) {
        let name = path.file_name().unwrap();
        assert!(found.iter().any(|(p, b)| p.file_name() == Some(name) && *b == bytes), "{}", path.display());
    }
    // The main job makes in the cache what is named by an address, and pushes it.
    let third = "s3://faces/made/at-once";
    let args = [
        "--manifest",
        DEMO,
        "--duration-kimg",
        "0.2",
        "--per-id",
        "3",
        "--shard-rows",
        "50",
        "--no-judge",
        "--out",
        third,
    ];
    let copied = shared().join("cache");
    assert!(server.ok(&copied, &args).contains("10 files sent"));
    assert!(
        server.ok(&copied, &args).contains("already complete") && server.ok(&copied, &args).contains("10 were there")
    );
    let inspected = server.ok(&cache, &["inspect", "--manifest", &format!("{third}/data/")]);
    assert!(inspected.contains("144 rows"), "{inspected}");
    // A push that breaks off is not complete, and goes on.
    let second = "s3://faces/made/second";
    server.ask("/_fail/500/100000");
    let text = server.fails(75, &cache, &["push", from, second]);
    assert!(text.contains(second), "{text}");
    server.ask("/_fail/500/0");
    assert!(!server.ask("/_log").contains("second/_SUCCESS.json"));
    server.ok(&cache, &["push", from, second]);
    // Another dataset takes its place only if asked to; what is damaged or forgotten is not pushed.
    ok(&["forget", "--identity", "person-05", from, "--cache", "none", "-q"]);
    let text = server.fails(2, &cache, &push);
    assert!(text.contains("holds another dataset") && text.contains("--replace"), "{text}");
    let text = server.ok(&cache, &[&push[..], &["--replace"]].concat());
    assert!(text.contains("files sent") && !text.contains(": 0 files sent") && !text.contains("removed"), "{text}");
    let again = server.ok(&cache, &["inspect", "--manifest", &format!("{place}/data/")]);
    assert!(again.contains("141 rows") && !again.contains("person-05"), "{again}");
    server.ask("/_fail/403/100000");
    assert!(server.fails(2, &cache, &["push", from, "s3://faces/third"]).contains("access denied"));
    server.ask("/_fail/403/0");
    let shard = out.join("data/train-00001-of-00003.parquet");
    std::fs::write(&shard, "x").unwrap();
    assert!(server.fails(2, &cache, &["push", from, "s3://faces/third"]).contains("damaged"));
    assert!(server.fails(2, &cache, &["push", from, "/tmp/x"]).contains("expected hf://, s3://"));
    // A model, too.
    let model = model_dir();
    server.ok(&cache, &["push", &model, "s3://faces/model"]);
    let made = dir.path().join("made");
    let args =
        ["synthesize", "--model", "s3://faces/model", "--per-id", "1", "--no-judge", "--out", made.to_str().unwrap()];
    assert!(server.ok(&cache, &args).contains("48 images"));
}

#[test]
fn a_manifest_is_fetched_once_and_never_half() {
    let Some(server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let args = ["inspect", "--manifest", "s3://faces/ids.parquet"];
    // A body that ends too early is no file: it is fetched again, or the command says to try again.
    server.ask("/_fail/cut/100000");
    let out = server.run(&cache, &args);
    assert_eq!(out.status.code(), Some(75), "{}", String::from_utf8_lossy(&out.stderr));
    server.ask("/_fail/cut/0");
    assert!(server.ok(&cache, &args).contains("720 rows"));
    server.ask("/_fail/cut/100000");
    assert!(server.ok(&cache, &args).contains("720 rows"), "it was fetched again");
    server.ask("/_fail/cut/0");
    assert!(server.ok(&cache, &["inspect", "--manifest", "s3://faces/folder"]).contains("1440 rows"));
    let web = format!("http://127.0.0.1:{}/faces/ids.parquet", server.port);
    assert!(server.ok(&cache, &["inspect", "--manifest", &web]).contains("720 rows"));
    for (spec, says) in [
        ("s3://faces/nothing.parquet", "nothing is there"),
        ("s3://faces/*.parquet", "without pattern"),
        ("s3://", "expected SCHEME"),
    ] {
        let text = server.fails(2, &cache, &["inspect", "--manifest", spec]);
        assert!(text.contains(says), "{spec}: {text}");
    }
    // The main job from the store.
    let out = dir.path().join("out");
    let args = base(shared(), &out, &["--per-id", "1"]);
    let args = args.iter().filter(|a| *a != "--quiet");
    let args: Vec<&str> = args.map(|a| if a == DEMO { "s3://faces/ids.parquet" } else { a }).collect();
    let at = args.iter().position(|a| *a == "--cache").unwrap();
    let args = [&args[..at], &args[at + 2..]].concat();
    assert!(server.ok(&shared().join("cache"), &args).contains("48 images"));
}

#[test]
fn machines_that_share_no_folder_share_a_job_in_a_store() {
    let Some(server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (manifest, one, many) = (at("sets.parquet"), at("one"), at("many"));
    ok(&["demo", "--out", &manifest, "--identities", "6", "--sets", "2", "--per-id", "6"]);
    let options = ["--manifest", &manifest, "--per-id", "4", "--duration-kimg", "0.07", "--no-judge", "-q"];
    ok(&[&options[..], &["--out", &one, "--cache", &at("cache")]].concat());
    let job = "s3://faces/jobs/nightly";
    let machine = |n: usize| {
        let cache = dir.path().join(format!("machine-{n}"));
        std::fs::create_dir_all(&cache).unwrap();
        cache
    };
    assert!(server.fails(2, &machine(0), &["run", job, "--shard", "0"]).contains("holds no job"));
    // Twelve images a set: a training, and two parts.
    let plan = ["plan", "--job", job, "--shard-images", "8", "--out", &many];
    assert!(server.ok(&machine(0), &[&plan[..], &options[..7]].concat()).contains("6 shards"));
    server.ok(&machine(0), &[&plan[..], &options[..7]].concat());
    let other = [&plan[..], &options[..7], &["--sampling-seed", "5"]].concat();
    assert!(server.fails(2, &machine(1), &other).contains("s3://faces/jobs/nightly holds another job"));
    assert!(server.fails(75, &machine(1), &["run", job, "--shard", "1"]).contains("comes after shard 0"));
    // What was made and could not be sent is sent by the next try.
    server.ask("/_fail/put/100000");
    server.fails(75, &machine(3), &["run", job, "--shard", "3"]);
    server.ask("/_fail/put/0");
    // Each shard on a machine of its own.
    for shard in [3, 0, 1, 5, 4, 2] {
        let number = shard.to_string();
        assert!(server.ok(&machine(shard), &["run", job, "--shard", &number]).contains(": done"));
        assert!(server.ok(&machine(9), &["run", job, "--shard", &number]).contains("already done"));
        if shard == 0 {
            let status = server.ok(&machine(9), &["status", job, "--json"]);
            assert!(status.contains("\"done\":2") && status.contains("\"waiting\":4"), "{status}");
            assert!(server.fails(75, &machine(9), &["commit", job]).contains("4 of 6 shards are not done"));
        }
    }
    server.ok(&machine(7), &["commit", job]);
    assert!(tree(Path::new(&one)) == tree(Path::new(&many)));
}
