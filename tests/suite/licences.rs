//! What is compiled into the program: licences, sources and names of all crates, as `deny.toml` permits them. `cargo deny check licenses bans
//! sources` reads the same file; compiling that tool takes longer than all of this.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// A list of texts in a table of `deny.toml`.
fn texts(list: &toml::Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

/// Whether a licence `expression` can be met by `allowed` terms.
fn is_met(expression: &str, allowed: &[&str]) -> bool {
    let parsed = spdx::Expression::parse_mode(expression, spdx::ParseMode::LAX);
    let parsed = parsed.unwrap_or_else(|e| panic!("`{expression}` names no licence: {e}"));
    parsed.evaluate(|term| allowed.contains(&term.to_string().as_str()))
}

#[test]
fn a_licence_is_met_by_what_it_offers() {
    let allowed = ["MIT", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"];
    for (expression, met) in [
        ("MIT OR GPL-3.0-only", true),
        ("MIT/Apache-2.0", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
        ("MIT AND GPL-3.0-or-later", false),
    ] {
        assert_eq!(is_met(expression, &allowed), met, "{expression}");
    }
}

fn read(file: &str) -> toml::Value {
    toml::from_str(&std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()).unwrap()
}

/// Names of all crates that are compiled for this processor's target of `rules` (others are not downloaded), for tests and build scripts
/// too, each with its terms.
fn crates(rules: &toml::Value) -> BTreeSet<(String, String)> {
    let target = texts(&rules["graph"]["targets"]).into_iter().find(|t| t.starts_with(std::env::consts::ARCH)).unwrap();
    let told = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--target", target, "--prefix", "none", "--format", "{p};{l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let lines = String::from_utf8(told.stdout).unwrap();
    let parts = lines.lines().filter_map(|line| line.split_once(';'));
    parts.map(|(package, terms)| (package.split(' ').next().unwrap().into(), terms.replace(" (*)", ""))).collect()
}

#[test]
fn only_permitted_crates_are_compiled_in() {
    let rules = read("deny.toml");
    let crates = crates(&rules);
    assert!(crates.len() > 400 && crates.contains(&("augment".into(), "MIT OR Apache-2.0".into())), "{crates:?}");
    let allowed = texts(&rules["licenses"]["allow"]);
    let exceptions = rules["licenses"]["exceptions"].as_array().unwrap();
    for (name, terms) in &crates {
        let exception = exceptions.iter().find(|e| e["crate"].as_str() == Some(name));
        let more = exception.map_or(vec![], |e| texts(&e["allow"]));
        assert!(is_met(terms, &[&allowed[..], &more].concat()), "{name}: {terms}");
        assert!(exception.is_none() || !is_met(terms, &allowed), "{name} needs no exception");
    }
    let mut named = exceptions.iter().map(|e| e["crate"].as_str().unwrap());
    assert_eq!(named.find(|named| !crates.iter().any(|(name, _)| name == named)), None, "an exception for nothing");
    let banned = rules["bans"]["deny"].as_array().unwrap().iter().map(|ban| ban["name"].as_str().unwrap());
    assert_eq!(
        banned.filter(|banned| crates.iter().any(|(name, _)| name == banned)).collect::<Vec<_>>(),
        Vec::<&str>::new()
    );
}

#[test]
fn crates_come_from_the_registry_and_in_a_version_that_is_named() {
    for package in read("Cargo.lock")["package"].as_array().unwrap() {
        let source = package.get("source").and_then(toml::Value::as_str);
        let ours = package["name"].as_str() == Some("augment");
        assert_eq!(source, (!ours).then_some("registry+https://github.com/rust-lang/crates.io-index"), "{package}");
    }
    let manifest = read("Cargo.toml");
    for kind in ["dependencies", "dev-dependencies"] {
        for (name, wanted) in manifest[kind].as_table().unwrap() {
            let version = wanted.as_str().or_else(|| wanted["version"].as_str()).unwrap();
            assert!(version != "*", "{name} is asked for in any version");
        }
    }
}
