//! The report in a browser: nothing is fetched from elsewhere, nothing is written to the console, no figure is wider than
//! the window. Skipped without Chromium.
//!
//! `AUGMENT_SCREENSHOTS=DIR` keeps the pictures.

#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/demo.parquet");

fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).flat_map(|dir| names.map(|n| dir.join(n))).find(|p| p.is_file())
}

fn augment(args: &[&str]) {
    let out = Command::new(env!("CARGO_BIN_EXE_augment")).args(args).arg("-q").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Added to a page, makes it WIDTH wide (windows do not get as narrow as a telephone) and names on the console what reaches
/// over its right edge; tables scroll in a frame of their own.
const WIDE: &str = "<style>html { width: WIDTHpx }</style><script>\
    for (const e of document.querySelectorAll('body, p, figure, svg, img, .scroll, pre')) \
        if (e.getBoundingClientRect().right > WIDTH + 1) console.log('wide', e.outerHTML.slice(0, 80))</script>";

/// Opens `url`; returns the hosts that were asked for and the lines of the console.
fn open(browser: &Path, url: &str, width: u32, folder: &Path) -> (BTreeSet<String>, Vec<String>) {
    let log = folder.join("net.json");
    let picture = std::env::var_os("AUGMENT_SCREENSHOTS").map_or_else(|| folder.to_owned(), PathBuf::from);
    let out = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"])
        .args(["--disable-background-networking", "--disable-component-update", "--no-first-run"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("--log-net-log={}", log.display()))
        .arg(format!("--window-size={width},3000"))
        .arg(format!("--screenshot={}", picture.join(format!("report-{width}.png")).display()))
        .arg(url)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{stderr}");
    let text = std::fs::read_to_string(&log).unwrap();
    let host = |rest: &str| rest.split("://").nth(1).and_then(|r| r.split(['/', '"', '?']).next()).map(str::to_owned);
    let hosts = text.split("\"url\":\"").skip(1).filter(|r| r.starts_with("http")).filter_map(host).collect();
    (hosts, stderr.lines().filter(|l| l.contains(":CONSOLE")).map(str::to_owned).collect())
}

#[test]
fn the_report_needs_nothing_but_itself() {
    let Some(browser) = browser() else {
        eprintln!("skipped: no Chromium");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (faces, out, cache) = (path("faces"), path("evaluation"), path("cache"));
    augment(&[
        "--manifest",
        DEMO,
        "--duration-kimg",
        "0.2",
        "--per-id",
        "3",
        "--no-judge",
        "--cache",
        &cache,
        "--out",
        &faces,
    ]);
    let evaluate = ["evaluate", "--manifest", DEMO, "--synthetic", &faces, "--out", &out, "--held-out", "test"];
    let few = ["--pairs-from", "dev", "--seeds", "1", "--arms", "existing", "--set", "recipe.steps=20"];
    augment(&[&evaluate[..], &few].concat());
    // What a browser asks for by itself is no fault of the page.
    let (own, _) = open(&browser, "about:blank", 1280, dir.path());
    let page = dir.path().join("page-that-asks.html");
    std::fs::write(&page, "<img src='http://elsewhere.invalid/x.png'><script>console.log('seen')</script>").unwrap();
    let (asked, console) = open(&browser, &format!("file://{}", page.display()), 1280, dir.path());
    assert!(
        asked.contains("elsewhere.invalid") && console.len() == 1,
        "this check would see nothing: {asked:?} {console:?}"
    );
    let report = std::fs::read_to_string(format!("{out}/report.html")).unwrap();
    let policy = report.lines().find(|l| l.contains("Content-Security-Policy")).unwrap();
    let measured = report.replace(policy, "") + WIDE;
    for width in [1280, 390] {
        for (text, wide) in
            [(measured.clone(), false), (measured.replace("max-width: 45rem", "min-width: 99rem"), true)]
        {
            std::fs::write(&page, text.replace("WIDTH", &width.to_string())).unwrap();
            let (_, console) = open(&browser, &format!("file://{}", page.display()), width, dir.path());
            assert_eq!(console.iter().any(|l| l.contains("wide")), wide, "{width}: {console:?}");
        }
        let (asked, console) = open(&browser, &format!("file://{out}/report.html"), width, dir.path());
        let foreign: Vec<&String> =
            asked.difference(&own).filter(|h| !h.contains("google") && !h.contains("gvt1")).collect();
        assert!(foreign.is_empty() && console.is_empty(), "{foreign:?} {console:?}");
    }
}
