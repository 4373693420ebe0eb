//! How often a manifest is read: once for all identity sets that memory holds, and only the row groups that are needed.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use augment::dataset::View;
use augment::jobs::cluster::{plan, shard};
use augment::jobs::input::Source;
use augment::jobs::wanted::{Chooser, Synthesis};
use augment::jobs::{Context, Input};
use augment::progress::Silent;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::path::Path;
use std::sync::Arc;

/// A manifest of `rows` pictures in row groups of 64, whose sets are `set` of the row's number.
fn write(path: &Path, rows: usize, set: impl Fn(usize) -> String) {
    let picture = |n: usize| {
        let image = image::RgbImage::from_fn(48, 48, |x, y| [n as u8, (x * 5) as u8, (y * x) as u8].into());
        let mut bytes = Vec::new();
        image.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
        bytes
    };
    let images: ArrayRef = Arc::new(BinaryArray::from_iter_values((0..rows).map(picture)));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|n| format!("p{}", n % 2))));
    let sets: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(set)));
    let batch = RecordBatch::try_from_iter([("identity", names), ("image", images), ("identity_set", sets)]).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(64)).build();
    let mut w = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    w.write(&batch).unwrap();
    w.close().unwrap();
}

/// Bytes that this process has read so far.
fn read_so_far() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|l| l.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// Bytes that it takes to hand over every set of a manifest, and the images of each.
fn cost(path: &Path, dir: &Path) -> (u64, Vec<usize>) {
    let before = read_so_far();
    let source = Source::open(&Input::new(path.display().to_string()), &Context::new(dir)).unwrap();
    let mut sizes = Vec::new();
    let list = dir.join("rejects.parquet");
    source
        .for_each_set(View::square(32), &list, &mut Silent, |_, dataset, _| {
            sizes.push(dataset.len());
            Ok(())
        })
        .unwrap();
    (read_so_far() - before, sizes)
}

// One test alone: other threads would read, too.
#[test]
fn many_sets_cost_as_much_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let rows = 4096;
    write(&at("one.parquet"), rows, |_| "all".into());
    write(&at("mixed.parquet"), rows, |n| format!("s{:02}", n % 64));
    write(&at("sorted.parquet"), rows, |n| format!("s{:02}", n / 64));
    let (one, sizes) = cost(&at("one.parquet"), dir.path());
    assert_eq!(sizes, [rows]);
    for name in ["mixed.parquet", "sorted.parquet"] {
        let (many, sizes) = cost(&at(name), dir.path());
        assert_eq!(sizes, [64; 64]);
        assert!(many as f64 <= 1.5 * one as f64, "{name}: {many} bytes for 64 sets, {one} for one");
    }
    // What does not fit in memory is read in several passes, with the same outcome.
    let mut source =
        Source::open(&Input::new(at("mixed.parquet").display().to_string()), &Context::new(dir.path())).unwrap();
    let hashes = |source: &Source| {
        let mut hashes = Vec::new();
        source
            .for_each_set(View::square(32), &at("list.parquet"), &mut Silent, |set, dataset, _| {
                hashes.push((set.to_owned(), dataset.hash().to_owned()));
                Ok(())
            })
            .unwrap();
        hashes
    };
    let whole = hashes(&source);
    source.held = 10 * 64 * 32 * 32 * 3;
    assert_eq!(hashes(&source), whole);
    // Of a set alone, only its row groups are read.
    let source =
        Source::open(&Input::new(at("sorted.parquet").display().to_string()), &Context::new(dir.path())).unwrap();
    let places = source.census.places(&["s07".into()], false);
    assert_eq!(places.len(), 1);
    let before = read_so_far();
    let mut seen = 0;
    let count = |rows: Vec<augment::manifest::Row>| {
        seen += rows.len();
        Ok(())
    };
    source.manifest.read_places(true, Some(&places), count).unwrap();
    assert!(seen == 64 && (read_so_far() - before) * 16 < one, "{seen}");
    // A shard of a job reads the rows of its set, and little else: not even the footers of other files.
    std::fs::create_dir(at("many")).unwrap();
    for n in 0..8 {
        write(&at("many").join(format!("{n}.parquet")), rows / 8, |row| format!("s{n}-{:02}", row / 64));
    }
    for (name, sets, footers) in [("sorted.parquet", 64, false), ("many", 64, true)] {
        let request = augment::jobs::augment::Request {
            synthesis: Synthesis { chooser: Chooser::Nobody, ..Synthesis::default() },
            ..augment::jobs::augment::Request::new(at(name).display().to_string(), at(&format!("{name}-out")))
        };
        let job = at(&format!("{name}-job"));
        let context = Context::new(at("cache"));
        let planned = plan::run(&request, (&job, plan::SHARD_IMAGES), true, &context, &mut Silent).unwrap();
        assert_eq!(planned.shards.len(), sets);
        if footers {
            // What no shard of the first file needs.
            std::fs::remove_file(at(name).join("7.parquet")).unwrap();
            std::fs::write(at(name).join("7.parquet"), "no Parquet").unwrap();
        }
        let first = if footers { at(name).join("0.parquet") } else { at(name) };
        let metadata = SerializedFileReader::new(std::fs::File::open(first).unwrap()).unwrap();
        for number in if footers { [0, 3, 7] } else { [0, 31, 63] } {
            let own = metadata.metadata().row_group(number).compressed_size() as u64;
            let before = read_so_far();
            let images = shard::images(&job, number, &context, &mut Silent).unwrap();
            let read = read_so_far() - before;
            assert!(
                images.len() == 64 && read * 2 <= own * 3,
                "shard {number}: {read} bytes read for {own} of its own"
            );
        }
    }
}
