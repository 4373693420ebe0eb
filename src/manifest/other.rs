//! What somebody gave in place of a manifest, and the way from there.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Ends of the names of what `augment manifest` reads.
const SOURCES: [&str; 10] = ["csv", "tsv", "txt", "lst", "jsonl", "ndjson", "json", "rec", "idx", "tar"];
/// First bytes of a pointer of Git LFS.
const LFS: &[u8] = b"version https://git-lfs";
/// Both ends of a Parquet file, and of one whose footer is encrypted.
const PARQUET: [&[u8]; 2] = [b"PAR1", b"PARE"];

/// Why `spec`, a folder without Parquet files, is no manifest.
pub(super) fn of_folder(spec: &str) -> String {
    let path = Path::new(spec);
    let mut inside = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let source = inside.any(|p| p.is_dir() || p.extension().is_some_and(|e| e == "rec" || e == "tar"));
    if source {
        format!("{spec}: the folder holds no .parquet file; {}", way(spec))
    } else {
        format!("{spec}: the folder holds no .parquet file")
    }
}

/// Why the file `path` is no Parquet, if a look at it tells.
pub(super) fn of_file(path: &Path) -> Option<String> {
    let shown = path.display();
    let Ok(kind) = std::fs::metadata(path) else { return None };
    if kind.file_type().is_fifo() || kind.file_type().is_char_device() || kind.file_type().is_socket() {
        return Some(format!("{shown}: is a pipe, which can be read only once; save it as a file first"));
    }
    let mut start = Vec::new();
    File::open(path).and_then(|f| f.take(64).read_to_end(&mut start)).ok()?;
    if start.is_empty() {
        return Some(format!("{shown}: the file is empty"));
    }
    if start.starts_with(LFS) {
        return Some(format!("{shown}: is a pointer of Git LFS, not the file; fetch it with `git lfs pull`"));
    }
    if start.starts_with(PARQUET[1]) {
        return Some(format!("{shown}: is an encrypted Parquet file; write it without encryption"));
    }
    if start.starts_with(PARQUET[0]) {
        return None;
    }
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    if SOURCES.contains(&extension.as_str()) {
        return Some(format!("{shown}: is no Parquet file; {}", way(&shown.to_string())));
    }
    let picture = image::guess_format(&start).is_ok();
    if picture {
        let folder =
            path.parent().and_then(Path::parent).filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return Some(format!("{shown}: is a picture; {}", way(&folder.display().to_string())));
    }
    Some(format!("{shown}: is no Parquet file: it does not begin with PAR1"))
}

/// The command that makes a manifest of `source`.
fn way(source: &str) -> String {
    let name = std::path::absolute(source).ok();
    let name = name.as_deref().and_then(Path::file_stem).map_or("faces".into(), |n| n.to_string_lossy().into_owned());
    let quoted = |text: &str| {
        let plain = text.chars().all(|c| c.is_alphanumeric() || "/._-+=:,@".contains(c));
        if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
    };
    let out = quoted(&format!("{name}.parquet"));
    format!("make a manifest of it: augment manifest {} --out {out}", quoted(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_thing_has_its_way() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            std::fs::write(dir.path().join(name), bytes).unwrap();
            of_file(&dir.path().join(name)).unwrap_or_default()
        };
        assert!(file("a b.csv", b"identity,path\n").ends_with("/a b.csv' --out 'a b.parquet'"));
        assert!(file("x.parquet", b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"));
        assert!(file("x.parquet", b"").contains("is empty"));
        assert!(file("x.parquet", b"PAREabc").contains("encrypted"));
        assert!(file("x.parquet", b"hello").contains("no Parquet file"));
        assert_eq!(file("x.parquet", b"PAR1..."), "");
        assert!(
            file("0.jpg", b"\xff\xd8\xff\xe0abcdefgh")
                .contains("is a picture; make a manifest of it: augment manifest")
        );
        std::fs::create_dir(dir.path().join("Ann")).unwrap();
        let folder = of_folder(dir.path().to_str().unwrap());
        assert!(folder.contains("augment manifest /") && folder.ends_with(".parquet"), "{folder}");
        assert!(of_file(Path::new("/dev/null")).unwrap().contains("pipe"));
    }
}
