//! The templates for other people's schedulers (`pipelines/`): their form, and what comes out where their own steps are done in their order. Needs
//! a Python with tests/clusters/requirements.txt, named by AUGMENT_CLUSTERS_PYTHON; skipped with a message where there is none.

#![allow(
    clippy::explicit_write,
    reason = "a skip must be seen, and the test runner swallows what a passing test prints"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PYTHON: &str = "AUGMENT_CLUSTERS_PYTHON";

fn python() -> Option<PathBuf> {
    let Ok(python) = std::env::var(PYTHON) else {
        // Where these tests are what a run is for, none is left out.
        let required = std::env::var("AUGMENT_REQUIRED").unwrap_or_default();
        assert!(
            !required.split(',').any(|r| r == PYTHON),
            "{PYTHON} names no Python with tests/clusters/requirements.txt"
        );
        writeln!(std::io::stderr(), "skipped: {PYTHON} names no Python with tests/clusters/requirements.txt").unwrap();
        return None;
    };
    Some(python.into())
}

fn prints(command: &mut Command, end: &str) {
    let out = command.output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.trim_end().ends_with(end), "{text}{}", String::from_utf8_lossy(&out.stderr));
}

fn rehearse(what: &str) {
    let Some(python) = python() else { return };
    let script = Path::new(ROOT).join("tests/clusters/rehearse.py");
    let program = env!("CARGO_BIN_EXE_augment");
    prints(Command::new(python).arg(script).args([what, program]), &format!("{what}: as the main job"));
}

#[test]
fn templates_have_the_form_that_their_services_ask_for() {
    let Some(python) = python() else { return };
    let script = Path::new(ROOT).join("tests/clusters/schemas.sh");
    prints(Command::new(script).arg(python.parent().unwrap()), "all templates have their services' form");
}

#[test]
fn the_github_workflow_writes_what_the_main_job_does() {
    rehearse("github");
}

#[test]
fn the_gitlab_pipeline_writes_what_the_main_job_does() {
    rehearse("gitlab");
}

#[test]
fn the_kubernetes_job_writes_what_the_main_job_does() {
    rehearse("kubernetes");
}
