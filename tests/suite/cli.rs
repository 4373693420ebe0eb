//! Snapshots of every help text and of the errors that users meet.

use std::fmt::Write;
use std::process::Command;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/demo.parquet");

/// Exit code, stdout and stderr, with this machine's paths replaced.
fn run(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_augment"))
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let text = format!(
        "exit {}\n{}{}",
        out.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    text.replace(env!("CARGO_MANIFEST_DIR"), "[repo]")
}

/// What stands between two texts.
fn between(text: &str, before: &str, after: &str) -> String {
    let rest = text.split(before).nth(1).unwrap_or_else(|| panic!("`{before}` in {text}"));
    rest.split(after).next().unwrap().to_owned()
}

/// Names of the commands in a help text.
fn commands(help: &str) -> Vec<&str> {
    let list = help.split("\nCommands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let named = list.lines().filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    named.map(|line| line.split(' ').next().unwrap()).filter(|name| *name != "help").collect()
}

#[test]
fn the_reference_is_the_help_of_every_command() {
    let help = |args: &[&str]| run(args).strip_prefix("exit 0\n").unwrap().trim_end().replace(" \n", "\n");
    let whole = help(&["--help"]);
    let mut text = String::from("# Commands\n\nWhat `augment --help` and `augment COMMAND --help` say.\n");
    let _ = write!(text, "\n## augment\n\n```text\n{whole}\n```\n");
    for command in commands(&whole) {
        let _ = write!(text, "\n## augment {command}\n\n```text\n{}\n```\n", help(&[command, "--help"]));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
    if std::env::var_os("INSTA_UPDATE").is_some_and(|value| value == "always") {
        std::fs::write(path, &text).unwrap();
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(there == text, "docs/cli.md is out of date: INSTA_UPDATE=always cargo test --release --test suite cli::");
}

#[test]
fn every_error_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let typo = file("typo.toml", "[train]\nlearning_rat = 0.1\n");
    let kind = file("kind.toml", "[train]\nbatch_size = \"many\"\n");
    let damaged = file("damaged.parquet", "PAR1 not really");
    let full = tempfile::tempdir().unwrap();
    std::fs::write(full.path().join("mine.txt"), "precious").unwrap();
    let cases: Vec<(&str, Vec<&str>)> = vec![
        ("no-manifest", vec!["--per-id", "5"]),
        ("missing-manifest", vec!["--manifest", "nowhere.parquet"]),
        ("damaged-manifest", vec!["--manifest", &damaged]),
        ("missing-identity-column", vec!["inspect", "--manifest", DEMO, "--identity-column", "person"]),
        ("missing-image-column", vec!["inspect", "--manifest", DEMO, "--image-column", "photo"]),
        (
            "wrong-image-column",
            vec![
                "inspect",
                "--manifest",
                DEMO,
                "--uri-column",
                "image",
                "--image-column",
                "x",
                "--identity-column",
                "image",
            ],
        ),
        ("unknown-split", vec!["inspect", "--manifest", DEMO, "--split", "trian"]),
        ("unknown-key", vec!["config", "--config", &typo]),
        ("wrong-type", vec!["config", "--config", &kind]),
        ("unknown-set", vec!["config", "--set", "train.kl_wieght=1"]),
        ("bad-value", vec!["config", "--set", "train.batch_size=1"]),
        ("image-size", vec!["config", "--image-size", "50"]),
        ("paper-size", vec!["config", "--preset", "paper", "--image-size", "64"]),
        ("unknown-flag", vec!["--manifest", DEMO, "--per-idd", "5"]),
        ("device", vec!["--manifest", DEMO, "--device", "cuda:0"]),
        ("hub-branch", vec!["inspect", "--manifest", "hf://datasets/a/b@main/c.parquet"]),
        ("missing-model", vec!["synthesize", "--model", "nowhere"]),
        ("mix-too-many", vec!["--manifest", DEMO, "--new-identities", "1", "--mix", "99", "--dry-run"]),
    ];
    for (name, args) in cases {
        let text = run(&args).replace(&dir.path().display().to_string(), "[dir]");
        insta::assert_snapshot!(format!("error-{name}"), text);
    }
    let out = full.path().display().to_string();
    let cache = dir.path().display().to_string();
    let text = run(&["--manifest", DEMO, "--out", &out, "--cache", &cache, "--duration-kimg", "0.03", "-q"]);
    insta::assert_snapshot!("error-foreign-folder", text.replace(&out, "[out]"));
    assert_eq!(std::fs::read_to_string(full.path().join("mine.txt")).unwrap(), "precious");
}

#[test]
fn plans_and_configurations_are_printed() {
    let plan = run(&["--manifest", DEMO, "--per-id", "7", "--dry-run", "-q"]);
    // What depends on the machine and its load.
    let (time, free) = (between(&plan, "to train: about ", ", by"), between(&plan, "MB of ", " MB free"));
    insta::assert_snapshot!("dry-run", plan.replace(&time, "[time]").replace(&free, "[n]"));
    insta::assert_snapshot!("config-paper", run(&["config", "--preset", "paper", "--seed", "3"]));
    insta::assert_snapshot!("inspect", run(&["inspect", "--manifest", DEMO, "--top", "2", "-q"]));
}

#[test]
fn environment_stands_between_flags_and_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.toml");
    std::fs::write(&file, "seed = 1\n[train]\nduration_kimg = 1\n").unwrap();
    let config = |args: &[&str], env: &[(&str, &str)]| {
        let mut c = Command::new(env!("CARGO_BIN_EXE_augment"));
        c.args(["config", "--config", file.to_str().unwrap()]).args(args).envs(env.iter().copied());
        let text = String::from_utf8(c.output().unwrap().stdout).unwrap();
        let t: toml::Table = text.parse().unwrap();
        (t["seed"].as_integer().unwrap(), t["train"]["duration_kimg"].as_float().unwrap())
    };
    assert_eq!(config(&[], &[]), (1, 1.0));
    assert_eq!(config(&[], &[("AUGMENT_SEED", "2"), ("AUGMENT_DURATION_KIMG", "2")]), (2, 2.0));
    assert_eq!(config(&["--seed", "3"], &[("AUGMENT_SEED", "2")]), (3, 1.0));
}

#[test]
fn identities_cannot_write_to_the_terminal() {
    use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
    use std::sync::Arc;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.parquet");
    let names: ArrayRef = Arc::new(StringArray::from(vec!["\u{1b}[2Jevil\n=cmd"]));
    let image: ArrayRef = Arc::new(BinaryArray::from_iter_values([b"x"]));
    let batch = RecordBatch::try_from_iter([("identity", names), ("image", image)]).unwrap();
    let file = std::fs::File::create(&path).unwrap();
    let mut w = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    w.write(&batch).unwrap();
    w.close().unwrap();
    let text = run(&["inspect", "--manifest", path.to_str().unwrap()]);
    assert!(!text.contains('\u{1b}') && text.contains("evil"), "{text:?}");
}
