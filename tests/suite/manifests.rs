//! From what people have to a manifest, and what is said on the way.

use ::augment::config::Alignment;
use ::augment::dataset::View;
use ::augment::dataset::decode::decode_source;
use ::augment::jobs::Context;
use ::augment::jobs::manifest::{Made, Request, run};
use ::augment::manifest::{Columns, Manifest, Row};
use ::augment::progress::Silent;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

fn picture(level: u8, format: image::ImageFormat) -> Vec<u8> {
    let image = image::RgbImage::from_fn(80, 64, |x, y| [level, (x * 3) as u8, (y * 3) as u8].into());
    let mut bytes = Vec::new();
    image.write_to(&mut std::io::Cursor::new(&mut bytes), format).unwrap();
    bytes
}

fn jpeg(level: u8) -> Vec<u8> {
    picture(level, image::ImageFormat::Jpeg)
}

fn put(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Three persons of four images each, and what lies about beside them.
fn photos(dir: &Path) {
    for (p, person) in ["Ann Lee", "Bob", "Cem"].iter().enumerate() {
        for i in 0..4 {
            put(&dir.join(person).join(format!("{i}.jpg")), &jpeg((40 * p + 10 * i) as u8));
        }
    }
    put(&dir.join("Bob/deep/9.png"), &picture(200, image::ImageFormat::Png));
    put(&dir.join("Bob/copy.jpg"), &jpeg(40));
    put(&dir.join("Cem/other.jpg"), &jpeg(0));
    put(&dir.join("Cem/cut.jpg"), &jpeg(99)[..500]);
    put(&dir.join("Cem/page.jpg"), b"<html>404</html>");
    put(&dir.join("Cem/anim.gif"), b"GIF89a");
    put(&dir.join("nobody.jpg"), &jpeg(1));
    put(&dir.join("notes.txt"), b"no picture");
    put(&dir.join(".DS_Store"), b"hidden");
    put(&dir.join("Only/1.webp"), &picture(7, image::ImageFormat::WebP));
    std::os::unix::fs::symlink("..", dir.join("Bob/loop")).unwrap();
}

fn rows(manifest: &Path) -> Vec<Row> {
    let mut all = Vec::new();
    let manifest = Manifest::open(manifest.to_str().unwrap(), &Columns::default()).unwrap();
    let mut add = |rows: Vec<Row>| {
        all.extend(rows);
        Ok(())
    };
    manifest.read(true, &mut add).unwrap();
    all
}

fn make(source: &Path, out: &Path, change: impl FnOnce(&mut Request)) -> Result<Made, String> {
    let mut request = Request::new(source.to_str().unwrap(), out);
    change(&mut request);
    run(&request, &Context::new(""), &mut Silent).map_err(|e| e.to_string())
}

#[test]
fn a_folder_of_persons_becomes_a_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("photos"), dir.path().join("new/ids.parquet"));
    photos(&source);
    let planned = make(&source, &out, |r| r.dry_run = true).unwrap();
    assert!(planned.identities == 4 && !dir.path().join("new").exists(), "a dry run makes nothing");
    let made = make(&source, &out, |_| {}).unwrap();
    assert_eq!((made.rows, made.identities, made.rejected.count), (16, 4, 4));
    let all = rows(&out);
    let of = |person: &str| all.iter().filter(|r| r.identity.as_deref() == Some(person)).collect::<Vec<_>>();
    assert_eq!((of("Ann Lee").len(), of("Bob").len(), of("Cem").len(), of("Only").len()), (4, 6, 5, 1));
    assert_eq!(
        of("Bob").iter().filter_map(|r| r.image_id.clone()).collect::<Vec<_>>(),
        ["0", "1", "2", "3", "copy", "deep/9"]
    );
    assert!(all.iter().all(|r| decode_source(&r.image).is_ok() && r.split.is_none()));
    let found = made.findings;
    assert_eq!((found.single, found.few, found.repeated, found.small, found.sides), (1, 2, 1, 0, Some([64; 3])));
    assert_eq!((found.shared, found.shared_by), (2, vec!["Ann Lee and Cem".to_owned()]));
    assert_eq!(made.passed_over.as_deref(), Some("1 files that are no pictures"));
    // What was left out is listed with its reason.
    let list = std::fs::File::open(dir.path().join("new/ids-rejects.parquet")).unwrap();
    let list = ParquetRecordBatchReaderBuilder::try_new(list).unwrap().build().unwrap().next().unwrap().unwrap();
    let reasons: Vec<&str> = list.column_by_name("reason").unwrap().as_string::<i32>().iter().flatten().collect();
    for (reason, what) in reasons.iter().zip([".gif", "end before", "web page", "no folder of a person"]) {
        assert!(reason.contains(what), "{reasons:?}");
    }
    // The same file is made anew; somebody else's is not touched, nor is a folder.
    assert!(make(&source, &out, |r| r.check = true).is_ok_and(|made| made.findings.repeated == 1));
    put(&dir.path().join("other.parquet"), b"PAR1");
    assert!(make(&source, &dir.path().join("other.parquet"), |_| {}).unwrap_err().contains("is there already"));
    assert!(make(&source, dir.path(), |_| {}).unwrap_err().contains("must name a .parquet file"));
}

#[test]
fn images_are_divided_or_only_named() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("photos"), dir.path().join("ids.parquet"));
    for p in 0..10 {
        for i in 0..10 {
            put(&source.join(format!("p{p}/{i}.jpg")), &jpeg(20 * p + i));
        }
    }
    let shares = "train=0.6,val=0.2,dev=0.2@persons".parse().unwrap();
    let made = make(&source, &out, |r| (r.shares, r.link) = (Some(shares), true)).unwrap();
    let counts: BTreeMap<&str, (usize, usize)> =
        made.splits.iter().map(|(name, s)| (name.as_str(), (s.identities, s.images))).collect();
    let val = counts["val"].1;
    assert!((16..=24).contains(&val), "{counts:?}");
    assert_eq!(counts, BTreeMap::from([("dev", (2, 20)), ("train", (8, 80 - val)), ("val", (8, val))]));
    let all = rows(&out);
    assert!(all.len() == 100 && all.iter().all(|r| decode_source(&r.image).is_ok() && r.image.path().is_some()));
    assert!(std::fs::metadata(&out).unwrap().len() < 20_000);
    // From elsewhere they cannot be named.
    let far = dir.path().join("far");
    std::fs::create_dir(&far).unwrap();
    let e = make(&source, &far.join("ids.parquet"), |r| r.link = true).unwrap_err();
    assert!(e.contains("leave out option `link`") && !far.join("ids.parquet.partial").exists(), "{e}");
}

#[test]
fn lists_and_tables_keep_their_columns() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for i in 0..3 {
        put(&at(&format!("a/{i}.jpg")), &jpeg(i));
    }
    put(
        &at("list.csv"),
        b"person,file,consent,split\nAnn,a/0.jpg,yes,train\n7,a/1.jpg,no,Test\nAnn,a/none.jpg,yes,train\n",
    );
    let made = make(&at("list.csv"), &at("list.parquet"), |_| {}).unwrap();
    assert_eq!((made.rows, made.kind, made.rejected.count), (2, "list", 1));
    let read = |name: &str| -> RecordBatch {
        let file = std::fs::File::open(at(name)).unwrap();
        ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap()
    };
    let text = |batch: &RecordBatch, name: &str| -> Vec<String> {
        batch.column_by_name(name).unwrap().as_string::<i32>().iter().map(|v| v.unwrap().to_owned()).collect()
    };
    let list = read("list.parquet");
    assert_eq!(
        (text(&list, "identity"), text(&list, "consent")),
        (vec!["Ann".into(), "7".into()], vec!["yes".into(), "no".into()])
    );
    assert_eq!(text(&list, "split"), ["train", "Test"]);
    // A table, with columns of its own types, a folder that says a split, and class names.
    let bytes: ArrayRef = Arc::new(arrow::array::BinaryArray::from_iter_values((0..3).map(jpeg)));
    let labels: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(0), Some(-1)]));
    let years: ArrayRef = Arc::new(Int64Array::from(vec![1990, 1991, 1992]));
    let notes: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, None]));
    let batch = RecordBatch::try_from_iter_with_nullable(
        [("image", bytes), ("label", labels), ("year", years), ("note", notes)].map(|(n, c)| (n, c, true)),
    )
    .unwrap();
    let features = r#"{"info":{"features":{"label":{"_type":"ClassLabel","names":["Ann","Bob"]}}}}"#;
    let schema = batch.schema().as_ref().clone().with_metadata(
        [("huggingface".to_owned(), features.to_owned())].into_iter().collect::<std::collections::HashMap<_, _>>(),
    );
    std::fs::create_dir_all(at("hub/data")).unwrap();
    let file = std::fs::File::create(at("hub/data/train-00000-of-00001.parquet")).unwrap();
    let batch = batch.with_schema(Arc::new(schema)).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    assert!(make(&at("hub"), &at("hub.parquet"), |_| {}).unwrap_err().contains("(perhaps `label`)"));
    let made = make(&at("hub"), &at("hub.parquet"), |r| r.columns.identity = "label".into()).unwrap();
    assert_eq!((made.rows, made.rejected.count), (2, 1));
    let table = read("hub.parquet");
    assert_eq!(
        (text(&table, "identity"), text(&table, "split")),
        (vec!["Bob".into(), "Ann".into()], vec!["train".into(), "train".into()])
    );
    let years = table.column_by_name("year").unwrap().as_primitive::<arrow::datatypes::Int64Type>().clone();
    assert_eq!(years.values().to_vec(), [1990, 1991]);
}

#[test]
fn what_folders_say_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("hive");
    for (person, consent) in [("Ann", "true"), ("Bob", "__HIVE_DEFAULT_PARTITION__")] {
        let folder = source.join(format!("consent={consent}/identity={person}"));
        std::fs::create_dir_all(&folder).unwrap();
        let images: ArrayRef = Arc::new(arrow::array::BinaryArray::from_vec(vec![&jpeg(7), &jpeg(9)]));
        let batch = RecordBatch::try_from_iter([("image", images)]).unwrap();
        let file = std::fs::File::create(folder.join("x.parquet")).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
    let out = dir.path().join("ids.parquet");
    assert_eq!(make(&source, &out, |_| {}).unwrap().rows, 4);
    let file = std::fs::File::open(&out).unwrap();
    let table = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap();
    let consent = table.column_by_name("consent").unwrap().as_string::<i32>().iter().collect::<Vec<_>>();
    let people = table.column_by_name("identity").unwrap().as_string::<i32>().iter().flatten().collect::<Vec<_>>();
    assert!(people.contains(&"Ann") && people.contains(&"Bob"));
    for (person, consent) in people.iter().zip(consent) {
        assert_eq!(consent, (*person == "Ann").then_some("true"));
    }
    assert!(!table.schema().fields().iter().any(|f| f.name() == "split"));
}

#[test]
fn pictures_that_cannot_be_used_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("photos"), dir.path().join("ids.parquet"));
    put(&source.join("Ann/0.gif"), b"GIF89a");
    let said = make(&source, &out, |_| {}).unwrap_err();
    assert!(
        said.contains("holds no image that can be used; the first: ") && said.contains("Ann/0.gif: it is a .gif file"),
        "{said}"
    );
    assert!(said.contains("convert it to JPEG or PNG"), "{said}");
    put(&source.join("Ann/1.jpg"), &jpeg(9));
    assert_eq!(make(&source, &out, |_| {}).unwrap().rejected.count, 1);
    let list = dir.path().join("list.csv");
    put(&list, b"file,person\nphotos/Ann/1.jpg,\n");
    let said = make(&list, &dir.path().join("none.parquet"), |_| {}).unwrap_err();
    assert!(said.contains("holds no image with a person's name"), "{said}");
}

#[test]
fn what_was_written_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("photos");
    photos(&source);
    // A manifest among the persons' folders is passed over; among tables it would be doubled.
    let inside = source.join("ids.parquet");
    for link in [false, true, false] {
        let made = make(&source, &inside, |r| r.link = link).unwrap();
        assert_eq!((made.rows, made.kind), (16, "folder tree"));
    }
    let tables = dir.path().join("tables");
    std::fs::create_dir(&tables).unwrap();
    std::fs::rename(&inside, tables.join("a.parquet")).unwrap();
    assert!(make(&tables, &tables.join("b.parquet"), |_| {}).unwrap_err().contains("lies among the files"));
    assert_eq!(make(&tables, &dir.path().join("b.parquet"), |_| {}).unwrap().rows, 16);
    // Links of a table that lies elsewhere, and out of the folder.
    let linked = source.join("linked.parquet");
    make(&source, &linked, |r| r.link = true).unwrap();
    let again = dir.path().join("again.parquet");
    let made = make(&linked, &again, |r| r.link = true).unwrap();
    assert_eq!((made.rows, made.rejected.count), (16, 0));
    assert!(rows(&again).iter().all(|r| decode_source(&r.image).is_ok()));
    put(&source.join("Bob/stray.tar"), b"");
    put(&source.join("stray.parquet"), b"PAR1");
    assert!(
        make(&source, &dir.path().join("c.parquet"), |_| {}).unwrap_err().contains("holds both folders of pictures")
    );
}

#[test]
fn what_is_no_manifest_names_the_line_to_type() {
    let dir = tempfile::tempdir().unwrap();
    photos(&dir.path().join("my photos"));
    let program = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_augment")).args(args).current_dir(dir.path()).output().unwrap();
        (out.status.code().unwrap(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
    };
    let (code, said) = program(&["--manifest", "my photos", "--dry-run"]);
    assert!(code == 2 && said.contains("augment manifest 'my photos' --out 'my photos.parquet'"), "{said}");
    let (code, said) = program(&["manifest", "my photos", "--out", "my photos.parquet"]);
    assert!(code == 1 && said.contains("wrote my photos.parquet: 16 images of 4 persons"), "{said}");
    assert!(said.contains("Ann Lee and Cem: one label of each is wrong"), "{said}");
    let (code, said) = program(&["--manifest", "my photos.parquet", "--dry-run", "--no-judge"]);
    assert!(code == 0 && said.contains("using all 16 images: they have no splits"), "{said}");
}

/// A photograph in which the network of tests/goldens/detector.py sees faces about these cells of 8 px.
fn photograph(width: u32, height: u32, cells: &[(u32, u32)]) -> Vec<u8> {
    let white = |x: u32, y: u32| cells.contains(&(x / 8, y / 8));
    let image = image::RgbImage::from_fn(width, height, |x, y| if white(x, y) { [255; 3] } else { [60, 0, 90] }.into());
    let mut bytes = Vec::new();
    image.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
    bytes
}

#[test]
fn faces_are_found_and_aligned() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("photos"), dir.path().join("ids.parquet"));
    // One face; two cells of one face; a small side face and one in the middle; none; a photograph of four times the largest input.
    put(&source.join("Ann/1.png"), &photograph(160, 160, &[(9, 10)]));
    put(&source.join("Ann/2.png"), &photograph(320, 240, &[(20, 15), (21, 15)]));
    put(&source.join("Bob/1.png"), &photograph(320, 320, &[(3, 3), (20, 20)]));
    put(&source.join("Bob/2.png"), &photograph(160, 160, &[]));
    let large = image::load_from_memory(&photograph(640, 640, &[(40, 30)])).unwrap();
    large.resize(1280, 1280, image::imageops::FilterType::Nearest).save(source.join("Bob/3.png")).unwrap();
    let detector = format!("{}/tests/goldens/detector.onnx", env!("CARGO_MANIFEST_DIR"));
    // In SCRFD's form it sees the same.
    let scrfd = dir.path().join("scrfd.parquet");
    make(&source, &scrfd, |r| r.detector = Some(detector.replace("detector.onnx", "detector-scrfd.onnx"))).unwrap();
    let made = make(&source, &out, |r| r.detector = Some(detector.clone())).unwrap();
    let found = (made.rows, made.findings.faceless, made.findings.several, made.rejected.count);
    assert_eq!(found, (4, 1, 1, 1));
    assert!(made.findings.in_words().contains(&"1 photograph shows no face: left out".to_owned()));
    let faces = |manifest: &Path| -> Vec<[i32; 10]> {
        let rounded = |row: Row| match row.face {
            Some(Ok(::augment::manifest::Face::Landmarks(points))) => points.map(|p| p.round() as i32),
            other => panic!("{other:?}"),
        };
        rows(manifest).into_iter().map(rounded).collect()
    };
    assert_eq!(faces(&scrfd), faces(&out));
    // The nose is 7 px below the middle of a cell, in pixels of the photograph.
    let noses: Vec<(i32, i32)> = faces(&out).iter().map(|points| (points[4], points[5])).collect();
    assert_eq!(noses, [(76, 91), (164, 131), (164, 171), (648, 502)]);
    // What is shown is the frame about the face: a white cell a little above its middle.
    let shown = View::new(48, Alignment::Arcface).row(&rows(&out)[0]).unwrap();
    let at = |x: usize, y: usize| shown[(y * 48 + x) * 3];
    assert!(at(24, 24) > 200 && at(24, 36) < 80 && at(12, 24) < 80, "{} {}", at(24, 24), at(24, 36));
    // The main job cuts the same square out of the real images that it merges in.
    let at = |name: &str| dir.path().join(name).display().to_string();
    let program = |args: &[&str]| {
        let out =
            Command::new(env!("CARGO_BIN_EXE_augment")).args(args).args(["-q", "--cache", &at("c")]).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let short =
        ["--duration-kimg", "0.02", "--per-id", "1", "--no-judge", "--max-copy-similarity", "1", "--preset", "tiny"];
    let real = ["--include-real", "--encoding", "png", "--output-size", "48", "--alignment", "tight"];
    let manifest = out.display().to_string();
    program(&[&["--manifest", &manifest, "--out", &at("made")], &short[..], &real[..]].concat());
    let mut merged = Vec::new();
    let add = |sample: ::augment::formats::Sample| {
        merged.extend((!sample.synthetic).then_some(sample.image));
        Ok(())
    };
    ::augment::formats::Reader::open(&dir.path().join("made")).unwrap().read_all(add).unwrap();
    for (row, image) in rows(&out).iter().zip(&merged) {
        let pixels = image::load_from_memory(image).unwrap().to_rgb8().into_raw();
        assert!(pixels == View::new(48, Alignment::Tight).row(row).unwrap());
    }
    assert_eq!(merged.len(), 4);
    // Found again, what was found before makes room.
    let again = dir.path().join("again.parquet");
    make(&out, &again, |r| r.detector = Some(detector)).unwrap();
    assert_eq!(faces(&again), faces(&out));
    let face = format!("{}/tests/goldens/face.onnx", env!("CARGO_MANIFEST_DIR"));
    let refused = make(&source, &out, |r| r.detector = Some(face)).unwrap_err();
    assert!(refused.contains("face.onnx") && refused.contains("no detector of YuNet's or SCRFD's form"), "{refused}");
}

#[test]
fn a_judge_finds_images_among_the_wrong_person_s() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("photos");
    for (person, level) in [("dark", 20), ("bright", 220)] {
        (0..4).for_each(|i| put(&source.join(person).join(format!("{i}.jpg")), &jpeg(level + 4 * i)));
    }
    put(&source.join("dark/wrong.jpg"), &jpeg(224));
    let (out, list) = (dir.path().join("out/ids.parquet"), dir.path().join("out/ids-suspects.parquet"));
    let judge = format!("{}/tests/goldens/face.onnx", env!("CARGO_MANIFEST_DIR"));
    let made = make(&source, &out, |r| r.judge = Some(judge.clone())).unwrap();
    let suspects = made.suspects.unwrap();
    // Nothing is left out.
    assert_eq!((made.rows, suspects.count, &suspects.list), (9, 1, &list));
    let table = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&list).unwrap()).unwrap().build().unwrap();
    let batch = table.collect::<Result<Vec<_>, _>>().unwrap().remove(0);
    let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
    assert!(text("file").ends_with("dark/wrong.jpg"), "{}", text("file"));
    assert!(text("reason").contains("labelled `dark`") && text("reason").contains("`bright`"), "{}", text("reason"));
    // The list is no part of a manifest, and goes with the last doubt.
    assert_eq!(rows(out.parent().unwrap()).len(), 9);
    std::fs::remove_file(source.join("dark/wrong.jpg")).unwrap();
    let made = make(&source, &out, |r| r.judge = Some(judge)).unwrap();
    assert_eq!(made.suspects.map(|s| s.count), Some(0));
    assert!(!list.exists());
}

#[test]
fn faces_of_lists_are_kept_and_aligned() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("a/1.png"), &photograph(160, 160, &[(9, 10)]));
    let header = "path,identity,group,left_eye_x,left_eye_y,right_eye_x,right_eye_y,nose_x,nose_y,left_mouth_x,left_mouth_y,right_mouth_x,right_mouth_y";
    let list = format!(
        "{header}\na/1.png,Ann,old,68.1,81.9,83.2,81.8,75.7,90.5,69.5,99.3,82.0,99.2\na/1.png,Bob,,10,10,150,20,30,140,140,150,80,15\n"
    );
    std::fs::write(dir.path().join("faces.csv"), list).unwrap();
    let out = dir.path().join("ids.parquet");
    let made = make(&dir.path().join("faces.csv"), &out, |_| {}).unwrap();
    assert_eq!((made.rows, made.rejected.count, made.findings.sides), (1, 1, Some([48; 3])));
    let lines =
        "{\"path\": \"a/1.png\", \"identity\": 1, \"bbox\": {\"x1\": 59, \"y1\": 64, \"x2\": 93, \"y2\": 111}}\n";
    std::fs::write(dir.path().join("faces.jsonl"), lines).unwrap();
    let made = make(&dir.path().join("faces.jsonl"), &dir.path().join("b.parquet"), |_| {}).unwrap();
    assert_eq!((made.rows, made.findings.sides), (1, Some([48; 3])));
    let whole = make(&dir.path().join("faces.csv"), &out, |r| r.alignment = Alignment::None).unwrap();
    assert_eq!((whole.rows, whole.findings.sides), (2, Some([160; 3])));
    let all = rows(&out);
    assert_eq!(all[0].group.as_deref(), Some("old"));
    let shown = View::new(48, Alignment::Arcface).row(&all[0]).unwrap();
    assert!(shown[(24 * 48 + 24) * 3] > 150);
    let refused = View::new(48, Alignment::Arcface).row(&all[1]).unwrap_err();
    assert!(refused.contains("not those of a face"), "{refused}");
    // Whoever has cut the faces out already shows the pictures as they are.
    assert_eq!(View::new(160, Alignment::None).row(&all[1]).unwrap(), decode_source(&all[1].image).unwrap().into_raw());
}

#[test]
fn lists_with_marks_quotes_and_strange_paths_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("a/1.jpg"), &jpeg(40));
    // Bytes of a picture under a name that does not say so.
    put(&dir.path().join("tree/Ann/1.jfif"), &jpeg(40));
    put(&dir.path().join("tree/Ann/2"), &jpeg(60));
    put(&dir.path().join("tree/Bob/notes"), b"no picture");
    put(&dir.path().join("tree/Bob/1.JPG"), &jpeg(80));
    let out = dir.path().join("ids.parquet");
    assert_eq!(make(&dir.path().join("tree"), &out, |_| {}).unwrap().rows, 3);
    let list = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        make(&dir.path().join(name), &out, |_| {}).map(|made| made.rows)
    };
    assert_eq!(list("bom.jsonl", "\u{feff}{\"path\": \"a/1.jpg\", \"identity\": \"Ann\"}\n"), Ok(1));
    let refused = |name: &str, text: &str, why: &str| {
        let e = list(name, text).unwrap_err();
        assert!(e.contains(why), "{e}");
    };
    refused(
        "ragged.csv",
        "path,identity\na/1.jpg,Ann\na/1.jpg,Ann, of Cleves\n",
        "line 3 has 3 columns, the line of names 2",
    );
    refused("windows.csv", "path,identity\na\\1.jpg,Ann\n", "write its path with /");
    refused("web.csv", "path,identity\nhttps://x.org/1.jpg,Ann\n", "no URL is followed");
    std::fs::write(dir.path().join("latin.csv"), b"path,identity\na/1.jpg,Ann\na/1.jpg,Ren\xe9\n").unwrap();
    let e = make(&dir.path().join("latin.csv"), &out, |_| {}).unwrap_err();
    assert!(e.contains("line 3: is no UTF-8"), "{e}");
}

#[test]
fn one_file_under_several_names_is_read_once_and_folders_say_splits() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("photos");
    photos(&source);
    let folder = dir.path().join("hub");
    for split in ["train", "test"] {
        std::fs::create_dir_all(folder.join(split)).unwrap();
        make(&source, &folder.join(split).join("0000.parquet"), |_| {}).unwrap();
    }
    let all = rows(&folder);
    let of = |name: &str| all.iter().filter(|r| r.split.as_deref() == Some(name)).count();
    assert!(of("train") > 0 && of("train") == of("test") && of("train") + of("test") == all.len());
    std::fs::hard_link(folder.join("train/0000.parquet"), folder.join("train/0001.parquet")).unwrap();
    assert_eq!(rows(&folder).len(), all.len());
}

#[test]
fn rows_without_a_split_are_counted_in_what_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (out, list) = (dir.path().join("ids.parquet"), dir.path().join("list.csv"));
    let names: Vec<String> = ["a", "b", "c"].map(|n| format!("{n}.jpg")).into();
    names.iter().enumerate().for_each(|(i, n)| put(&dir.path().join(n), &jpeg(40 * i as u8)));
    let said = |splits: [&str; 3]| {
        let rows = names.iter().zip(splits).map(|(n, split)| format!("{n},Ann,{split}\n"));
        std::fs::write(&list, format!("path,identity,split\n{}", rows.collect::<String>())).unwrap();
        make(&list, &out, |_| {}).unwrap();
        let input = ::augment::jobs::Input::new(out.display().to_string());
        ::augment::jobs::input::Source::open(&input, &Context::new(dir.path())).unwrap().in_words()
    };
    assert_eq!(said(["train", "train", "train"]), "using 3 images, all of split `train`");
    assert_eq!(said(["train", "", "train"]), "using 2 of 3 images: split `train`, not 1 that name no split");
    assert_eq!(said(["train", "test", ""]), "using 1 of 3 images: split `train`, not test, 1 that name no split");
}
