//! Hostile input for `benches/reliability/`: mutated manifests and pictures by the million, single files, paths and names.
//!
//! usage: hostile manifests N SEED | hostile pictures N SEED | hostile picture FILE | hostile paths N | hostile names N |
//!        hostile terms N
//!
//! Prints one JSON object. A panic that gets out, an abort or a hang ends the process or shows as a count.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use augment::dataset::decode::{decode, decode_source};
use augment::manifest::{Columns, ImageSource, Manifest};
use augment::seeds::Seeds;
use rand::RngExt;
use std::path::Path;
use std::time::{Duration, Instant};

#[allow(dead_code, reason = "only the allocator counts here")]
#[path = "../src/cli/memory.rs"]
mod memory;

/// What came of many mutated inputs.
#[derive(Default)]
struct Tally {
    accepted: u64,
    refused: u64,
    panics: u64,
    slowest: Duration,
}

impl Tally {
    fn count(&mut self, f: impl FnOnce() -> bool) {
        let begin = Instant::now();
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
            Ok(true) => self.accepted += 1,
            Ok(false) => self.refused += 1,
            Err(_) => self.panics += 1,
        }
        self.slowest = self.slowest.max(begin.elapsed());
    }

    fn print(&self) {
        println!(
            "{{\"accepted\": {}, \"refused\": {}, \"panics\": {}, \"slowest_ms\": {:.1}}}",
            self.accepted,
            self.refused,
            self.panics,
            self.slowest.as_secs_f64() * 1e3
        );
    }
}

/// One to eight changes of bytes, or a cut, or a run of equal bytes.
fn mutate(bytes: &mut Vec<u8>, rng: &mut impl rand::Rng) {
    match rng.random_range(0..10u8) {
        0 => bytes.truncate(rng.random_range(0..bytes.len())),
        1 => {
            let (at, value) = (rng.random_range(0..bytes.len()), rng.random::<u8>());
            let end = (at + rng.random_range(1..16)).min(bytes.len());
            bytes[at..end].fill(value);
        }
        _ => {
            for _ in 0..rng.random_range(1..=8) {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = rng.random();
            }
        }
    }
}

/// A manifest of four rows in the columns that ours has, with a dictionary and several pages.
fn small_manifest() -> Vec<u8> {
    use arrow::array::{ArrayRef, BinaryArray, Int32Array, RecordBatch, StringArray};
    use std::sync::Arc;
    let columns: [(&str, ArrayRef); 4] = [
        ("identity", Arc::new(StringArray::from(vec!["a", "a", "b", "c"]))),
        ("image", Arc::new(BinaryArray::from_vec(vec![b"\x89PNG", b"\xff\xd8\xff", b"", b"x"]))),
        ("split", Arc::new(StringArray::from(vec![Some("train"), None, Some("val"), Some("train")]))),
        ("image_id", Arc::new(Int32Array::from(vec![1, 2, 3, 4]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("a known schema");
    writer.write(&batch).expect("memory");
    writer.close().expect("memory");
    bytes
}

fn manifests(n: u64, seed: u64) -> Tally {
    let good = small_manifest();
    // In memory where the system has such a place: only the reader is to be measured.
    let folder = if Path::new("/dev/shm").is_dir() { "/dev/shm".into() } else { std::env::temp_dir() };
    let path = folder.join(format!("augment-hostile-{}.parquet", std::process::id()));
    let spec = path.display().to_string();
    let mut rng = Seeds::new(seed).stream("mutations", &[]);
    let mut tally = Tally::default();
    for _ in 0..n {
        let mut bytes = good.clone();
        mutate(&mut bytes, &mut rng);
        std::fs::write(&path, &bytes).expect("a writable temporary folder");
        tally.count(|| Manifest::open(&spec, &Columns::default()).and_then(|m| m.read(true, |_| Ok(()))).is_ok());
    }
    std::fs::remove_file(&path).expect("the file just written");
    tally
}

fn pictures(n: u64, seed: u64) -> Tally {
    use augment::dataset::encode::{Origin, encode};
    let pixels: Vec<u8> = (0..16 * 16 * 3).map(|i| (i * 37 % 251) as u8).collect();
    let good = ["jpg", "png"].map(|e| encode(&pixels, 16, 16, e, Origin::Synthetic).expect("a small picture"));
    let mut rng = Seeds::new(seed).stream("mutations", &[]);
    let mut tally = Tally::default();
    for i in 0..n {
        let mut bytes = good[(i % 2) as usize].clone();
        mutate(&mut bytes, &mut rng);
        tally.count(|| decode_source(&ImageSource::Bytes(bytes)).is_ok());
    }
    tally
}

/// Reads paths that try to leave a folder: listed ones, links, and random sequences of their parts.
fn paths(n: u64) -> std::io::Result<()> {
    use augment::manifest::Root;
    use std::os::unix::fs::symlink;
    let top = std::env::temp_dir().join(format!("augment-paths-{}", std::process::id()));
    let (root, secret) = (top.join("root"), top.join("secret"));
    std::fs::create_dir_all(root.join("a/b"))?;
    std::fs::write(&secret, "secret")?;
    std::fs::write(root.join("a/fine"), "fine")?;
    for (name, to) in
        [("up", ".."), ("out", "../secret"), ("etc", "/etc"), ("a/deep", "../../secret"), ("loop", "loop")]
    {
        symlink(to, root.join(name))?;
    }
    symlink(&secret, root.join("absolute"))?;
    symlink("fine", root.join("a/inside"))?;
    let open = Root::open(&root).map_err(std::io::Error::other)?;
    let mut parts: Vec<String> =
        ["..", ".", "", "a", "b", "fine", "up", "out", "etc", "secret", "passwd", "deep", "absolute", "loop"]
            .map(str::to_owned)
            .to_vec();
    parts.extend(
        ["a\0b", "%2e%2e", "..\\", "\u{2025}", "~", "$HOME", "file:", "C:", "\u{202e}", "proc", "self", "root"]
            .map(str::to_owned),
    );
    let mut hostile: Vec<String> = Vec::new();
    for file in
        ["secret", "out", "etc/passwd", "up/secret", "absolute", "a/deep", "loop", "../secret", "/etc/passwd", "\0"]
    {
        for prefix in ["", "./", "a/../", "up/", "a/./", "file://"] {
            hostile.push(format!("{prefix}{file}"));
        }
    }
    hostile.push(secret.display().to_string());
    let (listed, mut rng) = (hostile.len(), Seeds::new(0).stream("paths", &[]));
    hostile.extend((0..n).map(|_| {
        let length = rng.random_range(1..6);
        (0..length).map(|_| parts[rng.random_range(0..parts.len())].as_str()).collect::<Vec<_>>().join("/")
    }));
    let (mut outside, mut inside) = (0, 0);
    for path in &hostile {
        match open.image(path).and_then(|image| image.read(1 << 20)) {
            Ok(bytes) if bytes == b"fine" => inside += 1,
            Ok(_) => outside += 1,
            Err(_) => {}
        }
    }
    std::fs::remove_dir_all(&top)?;
    println!("{{\"listed\": {listed}, \"random\": {n}, \"outside\": {outside}, \"inside\": {inside}}}");
    Ok(())
}

/// File names of `n` identities of any characters.
fn names(n: u64) {
    let mut rng = Seeds::new(0).stream("names", &[]);
    let mut keys = std::collections::BTreeSet::new();
    while (keys.len() as u64) < n {
        let length = rng.random_range(1..12);
        let key: String =
            (0..length).map(|_| char::from_u32(rng.random_range(1..0x3000)).unwrap_or('\u{e9}')).collect();
        // The same key in other cases and in pieces: other identities, whatever a file system makes of them.
        keys.extend([
            key.to_uppercase(),
            key.to_lowercase(),
            key.replace('\u{e9}', "e\u{301}"),
            format!("{key}."),
            key,
        ]);
    }
    let made: Vec<String> =
        keys.iter().map(|k| augment::synthesize::sample_id(&["default", "model", k, "0"])).collect();
    let folded: std::collections::BTreeSet<String> = made.iter().map(|m| m.to_lowercase()).collect();
    let plain = made.iter().filter(|m| m.is_ascii() && m.len() <= 64).count();
    println!("{{\"identities\": {}, \"distinct\": {}, \"plain\": {plain}}}", keys.len(), folded.len());
}

/// Reads a manifest of `n` rows, of which the persons named `good` agreed to everything and the others lack something.
fn terms(n: u64) {
    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    use augment::manifest::Policy;
    use std::sync::Arc;
    let mut rng = Seeds::new(0).stream("terms", &[]);
    let right = [
        &["true", "yes", "1", "TRUE"][..],
        &["training", "a; training", "training;b"],
        &["2026-11-24", "2027-01-01", "9999-12-31"],
    ];
    let wrong = [
        &["false", "no", "", "0", "t"][..],
        &["", "train", "trainings", "a;b", "TRAINING"],
        &["", "2026-11-23", "2025-12-31", "never", "2027", "24.11.2027"],
    ];
    let mut columns: [Vec<Option<String>>; 4] = Default::default();
    for i in 0..n {
        // Which of the three is wrong; every second row none.
        let broken = if i % 2 == 0 { 0 } else { rng.random_range(1..8u8) };
        columns[0].push(Some(if broken == 0 { "good" } else { "bad" }.to_owned()));
        for (k, column) in columns[1..].iter_mut().enumerate() {
            let fails = broken >> k & 1 == 1;
            let values = if fails { wrong[k] } else { right[k] };
            let at = rng.random_range(0..values.len() + usize::from(fails));
            column.push(values.get(at).map(|v| (*v).to_owned()));
        }
    }
    let [identity, consent, purpose, expires] = columns.map(|c| Arc::new(StringArray::from(c)) as ArrayRef);
    let image: ArrayRef = Arc::new(StringArray::from(vec!["x.png"; n as usize]));
    let named = [
        ("identity", identity),
        ("image_uri", image),
        ("consent", consent),
        ("purpose", purpose),
        ("expires", expires),
    ];
    let batch =
        RecordBatch::try_from_iter_with_nullable(named.map(|(name, a)| (name, a, true))).expect("equal lengths");
    let path = std::env::temp_dir().join(format!("augment-terms-{}.parquet", std::process::id()));
    let file = std::fs::File::create(&path).expect("a temporary folder");
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).expect("a known schema");
    writer.write(&batch).expect("room on the disk");
    writer.close().expect("room on the disk");
    let policy = Policy::new("training", "2026-11-24".parse().expect("a day")).expect("a valid policy");
    let manifest = Manifest::open(&path.display().to_string(), &Columns::default()).expect("the file just written");
    let (mut good, mut bad) = (0, 0);
    let read = manifest.restrict(&policy, None).expect("all columns are there").read(true, |rows| {
        let agreed = rows.iter().filter(|r| r.identity.as_deref() == Some("good")).count();
        (good, bad) = (good + agreed, bad + rows.len() - agreed);
        Ok(())
    });
    read.expect("the file just written");
    std::fs::remove_file(&path).expect("the file just written");
    println!("{{\"rows\": {n}, \"permitted\": {good}, \"forbidden_seen\": {bad}}}");
}

/// Largest resident memory of this process so far.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().expect("a number");
    match args[..] {
        ["manifests", n, seed] => manifests(number(n), number(seed)).print(),
        ["pictures", n, seed] => pictures(number(n), number(seed)).print(),
        ["picture", file] => {
            let bytes = std::fs::read(file).expect("a file");
            let mut tally = Tally::default();
            let before = peak_kib();
            tally.count(|| decode(&bytes).is_ok());
            println!("{{\"peak_kib\": {}}}", peak_kib() - before);
            tally.print();
        }
        ["paths", n] => paths(number(n)).expect("a temporary folder"),
        ["names", n] => names(number(n)),
        ["terms", n] => terms(number(n)),
        _ => println!("usage: see the first lines of the source"),
    }
}
