//! The house has floors: a file of src/ names only its own floor and those below it, so that data flows one way.

use std::path::{Path, PathBuf};

/// From the ground up. Rooms of one floor may not name each other, unless they are one room.
const FLOORS: [&[&str]; 19] = [
    &["error"],
    &["progress", "seeds", "store", "tombstones"],
    &["ops"],
    &["config"],
    &["remote", "onnx"],
    &["manifest"],
    &["dataset"],
    &["formats"],
    &["sources"],
    &["sink"],
    &["nn"],
    &["model"],
    &["train"],
    &["synthesize"],
    &["recogniser", "detector"],
    &["evaluate", "apply"],
    &["report", "demo"],
    &["jobs"],
    &["cli"],
];

/// What the command line may know of the library.
const FACE: [&str; 5] = ["config", "error", "jobs", "progress", "seeds"];

fn floor(room: &str) -> usize {
    FLOORS.iter().position(|rooms| rooms.contains(&room)).unwrap_or_else(|| panic!("`{room}` has no floor"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Rooms that `text` names as `root::room`, tests left out.
fn named(text: &str, root: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let lines = code.lines().filter(|l| !l.trim_start().starts_with("//"));
    let code: String = lines.flat_map(|l| [l.trim(), " "]).collect();
    let ident = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut rooms = Vec::new();
    let path = format!("{root}::");
    for (at, _) in code.match_indices(&path) {
        // `super::augment::` is no path from the root.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let part = &code[at + path.len()..];
        match part.strip_prefix('{') {
            // `use crate::{a::b, c}`: what follows a comma at the first depth.
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (i, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && c.is_alphabetic() => {
                            rooms.push(ident(&list[i..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
            None => rooms.push(ident(part)),
        }
    }
    rooms
}

/// What is wrong with a file of the room `room`.
fn wrongs(room: &str, at_root: bool, text: &str) -> Vec<String> {
    let own = floor(room);
    let known = |name: &String| FLOORS.iter().any(|rooms| rooms.contains(&name.as_str()));
    // In cli/ the crate is `::augment`; there is a file of that name.
    let (root, within) = if room == "cli" { ("augment", &FACE[..]) } else { ("crate", &[][..]) };
    // `super` of a room's own file is the crate.
    let above = if at_root { named(text, "super") } else { Vec::new() };
    let wrong = |name: &String| {
        if room == "cli" {
            !within.contains(&name.as_str()) && known(name)
        } else {
            known(name) && name != room && floor(name) >= own
        }
    };
    named(text, root).into_iter().chain(above).filter(wrong).collect()
}

#[test]
fn nothing_is_imported_from_above() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 100);
    let mut found = Vec::new();
    for file in files {
        let inner = file.strip_prefix(&src).unwrap();
        let first = inner.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        let room = first.trim_end_matches(".rs");
        if ["lib", "main"].contains(&room) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        found.extend(
            wrongs(room, inner.components().count() == 1 || inner.ends_with("mod.rs"), &text)
                .into_iter()
                .map(|name| format!("{} names `{name}`", inner.display())),
        );
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_look_upwards_is_found() {
    assert_eq!(wrongs("dataset", false, "use crate::sink::Sink;"), ["sink"]);
    assert_eq!(wrongs("dataset", false, "use crate::{store, train::{State, fit}, error::Error};"), ["train"]);
    assert_eq!(wrongs("dataset", true, "use super::sink;"), ["sink"]);
    assert_eq!(wrongs("seeds", false, "fn f() { crate::store::sync(); }"), ["store"]);
    assert!(
        wrongs("train", false, "use crate::dataset::View;\n#[cfg(test)]\nmod tests { use crate::jobs; }").is_empty()
    );
    assert!(wrongs("cli", false, "use super::augment::written;").is_empty());
    assert_eq!(wrongs("cli", false, "use ::augment::sink::Sink;\nuse ::augment::jobs::Context;"), ["sink"]);
}

#[test]
fn the_library_prints_nothing_and_reads_no_environment() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    for file in files.iter().filter(|f| !f.starts_with(src.join("cli"))) {
        let text = std::fs::read_to_string(file).unwrap();
        for word in ["println!", "env::var", "current_exe", "Instant::now", "SystemTime::now", "Utc::now"] {
            let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
            assert!(!code.clone().any(|l| l.contains(word)), "{} has {word}", file.display());
        }
    }
}
