//! Plants faults for `benches/reliability/`: collapsed models, faulty weights, copies as synthetic images, manifests that are large,
//! hostile, or carry what must not get out.
//!
//! usage: plant collapse constant|single|swapped MODEL OUT | plant weights MODEL DIR | plant copies DATASET OUT |
//!        plant rows N OUT | plant bombs DIR | plant private OUT | plant names OUT | plant leak N MANIFEST OUT |
//!        plant corpus DATASET DIR

use arrow::array::{ArrayRef, BinaryArray, ListArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use augment::dataset::encode::{Origin, encode};
use augment::formats::{self, Reader, Sample};
use augment::manifest::{Columns, ImageSource, Manifest};
use augment::nn::sealed;
use augment::sink::Sink;
use augment::sink::commit::{Opened, Output};
use augment::sink::order::Order;
use candle_core::{DType, Device, Tensor};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

type Any = Box<dyn std::error::Error>;
type Weights = (BTreeMap<String, Tensor>, serde_json::Value, String);

/// A generator that makes one image, or one of each identity, or shows the next identity.
fn collapse(kind: &str, model: &Path, out: &Path) -> Result<(), Any> {
    let (mut tensors, header, _): Weights = sealed::read(&model.join("model.safetensors"), &Device::Cpu)?;
    let classes = header["identities"].as_array().map_or(0, Vec::len);
    for (name, t) in &mut tensors {
        let last = name.starts_with("generator.block2.conv");
        let labels = name.starts_with("generator.") && t.dims()[0] == classes && t.dims().len() == 2;
        *t = match kind {
            "constant" if last => t.zeros_like()?,
            "single" if name == "generator.fc.weight" => t.zeros_like()?,
            "swapped" if labels => Tensor::cat(&[t.narrow(0, 1, classes - 1)?, t.narrow(0, 0, 1)?], 0)?,
            _ => t.clone(),
        };
    }
    std::fs::create_dir_all(out)?;
    Ok(sealed::write(&out.join("model.safetensors"), &tensors, &header)?)
}

/// Models with one fault each, whose own hash is right.
fn weights(model: &Path, dir: &Path) -> Result<(), Any> {
    let (good, header, _): Weights = sealed::read(&model.join("model.safetensors"), &Device::Cpu)?;
    let name = "generator.fc.weight".to_owned();
    let tensor = good.get(&name).ok_or("no such tensor")?.clone();
    let with = |t: Option<Tensor>| {
        let mut all = good.clone();
        all.remove(&name);
        all.extend(t.map(|t| (name.clone(), t)));
        all
    };
    let fill = |v: f32| -> Result<Tensor, Any> { Ok((tensor.zeros_like()? + f64::from(v))?) };
    let mut extra = good.clone();
    extra.insert("generator.more".into(), tensor.clone());
    let mut renamed = with(None);
    renamed.insert("generator.fc.weights".into(), tensor.clone());
    let mut fewer = header.clone();
    fewer["identities"].as_array_mut().and_then(Vec::pop);
    let mut other = header.clone();
    other["format"] = 99.into();
    let cases = [
        ("missing", with(None), &header),
        ("extra", extra, &header),
        ("renamed", renamed, &header),
        ("shape", with(Some(tensor.flatten_all()?)), &header),
        ("type", with(Some(tensor.to_dtype(DType::F64)?)), &header),
        ("nan", with(Some(fill(f32::NAN)?)), &header),
        ("infinite", with(Some(fill(f32::INFINITY)?)), &header),
        ("classes", good.clone(), &fewer),
        ("format", good.clone(), &other),
    ];
    for (case, tensors, header) in cases {
        let folder = dir.join(case);
        std::fs::create_dir_all(&folder)?;
        sealed::write(&folder.join("model.safetensors"), &tensors, header)?;
    }
    Ok(())
}

/// A dataset whose synthetic images are the real ones of `dataset`.
fn copies(dataset: &Path, out: &Path) -> Result<(), Any> {
    let mut real: Vec<Sample> = Vec::new();
    Reader::open(dataset)?.read_all(|r| {
        real.extend((!r.synthetic).then_some(r));
        Ok(())
    })?;
    let names: BTreeSet<String> = real.iter().map(|r| r.identity.clone()).collect();
    let Opened::Ready(mut output) = Output::open(out, &Order::new("copies", ""), false)? else {
        return Err("the output is there already".into());
    };
    output.arrange(real.len(), 1000)?;
    let mut sink = Sink::new(output, &formats::parquet::Parquet, names.into_iter().collect());
    for record in real {
        let label_mix = serde_json::json!([[record.identity, 1.0]]).to_string();
        sink.write(Sample { synthetic: true, label_mix, ..record })?;
    }
    sink.finish()?;
    Ok(())
}

/// Writes batches of `columns` as one file.
fn write(path: &Path, batches: &[RecordBatch], properties: Option<WriterProperties>) -> Result<(), Any> {
    let file = std::fs::File::create(path)?;
    let mut writer = ArrowWriter::try_new(file, batches[0].schema(), properties)?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.close()?;
    Ok(())
}

fn texts(values: Vec<String>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch, Any> {
    Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))?)
}

/// `n` rows of 1,000 persons with paths of images that are not there.
fn rows(n: usize, out: &Path) -> Result<(), Any> {
    let file = std::fs::File::create(out)?;
    let part = |start: usize| {
        let of = |f: fn(usize) -> String| texts((start..(start + 100_000).min(n)).map(f).collect());
        batch(vec![
            ("identity", of(|i| format!("person-{:04}", i % 1000))),
            ("image_uri", of(|i| format!("{:03}/{i:08}.jpg", i % 1000))),
            ("split", of(|i| if i % 10 == 0 { "val" } else { "train" }.to_owned())),
        ])
    };
    let mut writer = ArrowWriter::try_new(file, part(0)?.schema(), None)?;
    for start in (0..n).step_by(100_000) {
        writer.write(&part(start)?)?;
    }
    writer.close()?;
    Ok(())
}

/// Manifests that take far more time or memory than their size says.
fn bombs(dir: &Path) -> Result<(), Any> {
    std::fs::create_dir_all(dir)?;
    let zstd = || Some(WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build());
    let plain = || {
        let builder = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()));
        Some(builder.set_dictionary_enabled(false).build())
    };
    let image = |n: usize| -> ArrayRef { Arc::new(BinaryArray::from_vec(vec![b"x"; n])) };
    let path = |name: &str| dir.join(format!("{name}.parquet"));
    let long = "a".repeat(256 << 20);
    write(&path("long-name"), &[batch(vec![("identity", texts(vec![long])), ("image", image(1))])?], plain())?;
    let zeros: ArrayRef = Arc::new(BinaryArray::from_vec(vec![&vec![0; 256 << 20]]));
    write(&path("long-image"), &[batch(vec![("identity", texts(vec!["a".into()])), ("image", zeros)])?], plain())?;
    let repeated = vec!["b".repeat(100_000); 1000];
    let again = batch(vec![("identity", texts(repeated)), ("image", image(1000))])?;
    write(&path("dictionary"), &vec![again; 50], zstd())?;
    let n = 20_000_000;
    let nulls: ArrayRef = Arc::new(StringArray::new_null(n));
    let none: ArrayRef = Arc::new(BinaryArray::new_null(n));
    write(&path("null-rows"), &[batch(vec![("identity", nulls.clone()), ("image", none)])?], zstd())?;
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    let list: ArrayRef = Arc::new(ListArray::try_new(item, OffsetBuffer::from_lengths([n]), nulls, None)?);
    write(&path("null-list"), &[batch(vec![("identity", texts(vec!["a".into()])), ("image_uri", list)])?], zstd())?;
    let names: Vec<String> = (0..20_000).map(|i| format!("column-{i}")).collect();
    let mut columns = vec![("identity", texts(vec!["a".into()])), ("image", image(1))];
    columns.extend(names.iter().map(|n| (n.as_str(), texts(vec!["x".into()]))));
    write(&path("columns"), &[batch(columns)?], zstd())?;
    let one = batch(vec![("identity", texts(vec!["a".into()])), ("image", image(1))])?;
    let groups = WriterProperties::builder().set_max_row_group_row_count(Some(1)).build();
    write(&path("row-groups"), &vec![one; 5000], Some(groups))?;
    let mut deep = image(1);
    for _ in 0..100 {
        let field = Arc::new(Field::new("x", deep.data_type().clone(), true));
        deep = Arc::new(StructArray::try_new(vec![field].into(), vec![deep], None)?);
    }
    write(&path("deep"), &[batch(vec![("identity", texts(vec!["a".into()])), ("image", deep)])?], zstd())?;
    // Footers by hand: a schema list of 2^31 - 1 elements, structs in structs, and lengths that are not true.
    let footer = |thrift: &[u8], length: u32| [b"PAR1", thrift, &length.to_le_bytes(), b"PAR1"].concat();
    let huge = [0x15, 0x02, 0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07];
    std::fs::write(path("huge-list"), footer(&huge, huge.len() as u32))?;
    let nested = vec![0x1c; 1 << 20];
    std::fs::write(path("nested-footer"), footer(&nested, nested.len() as u32))?;
    std::fs::write(path("long-footer"), footer(&[0; 64], i32::MAX as u32))?;
    std::fs::write(path("negative-footer"), footer(&[0; 64], u32::MAX))?;
    Ok(())
}

/// An Exif segment with a description and a position.
fn exif(text: &str) -> Vec<u8> {
    let mut tiff = b"II*\0\x08\0\0\0\x02\0".to_vec();
    let entry = |tag: u16, kind: u16, count: u32, value: u32| {
        [&tag.to_le_bytes()[..], &kind.to_le_bytes(), &count.to_le_bytes(), &value.to_le_bytes()].concat()
    };
    let text_at = 8 + 2 + 2 * 12 + 4;
    tiff.extend(entry(0x010e, 2, text.len() as u32 + 1, text_at));
    tiff.extend(entry(0x8825, 4, 1, text_at + text.len() as u32 + 1));
    tiff.extend([0; 4]);
    tiff.extend(text.as_bytes());
    tiff.extend(b"\0\x01\0");
    tiff.extend(entry(1, 2, 2, u32::from_le_bytes(*b"N\0\0\0")));
    tiff.extend([0; 4]);
    let body = [b"Exif\0\0", &tiff[..]].concat();
    [&[0xff, 0xe1][..], &(body.len() as u16 + 2).to_be_bytes(), &body].concat()
}

/// Photographs of 8 persons with metadata that must not get out: Exif with a position, comments, text chunks.
fn private(out: &Path) -> Result<(), Any> {
    const SECRET: &str = "SECRET-PLACE";
    let (mut identities, mut images) = (Vec::new(), Vec::new());
    for i in 0..64usize {
        let pixels: Vec<u8> = (0..32 * 32 * 3).map(|p| ((p * (i + 3) * 37) % 251) as u8).collect();
        let bytes = if i % 2 == 0 {
            let jpeg = encode(&pixels, 32, 32, "jpg", Origin::Real)?;
            let comment = [&[0xff, 0xfe][..], &(SECRET.len() as u16 + 2).to_be_bytes(), SECRET.as_bytes()].concat();
            [&jpeg[..2], &exif(SECRET), &comment, &jpeg[2..]].concat()
        } else {
            let mut bytes = Vec::new();
            let mut encoder = png::Encoder::new(&mut bytes, 32, 32);
            encoder.set_color(png::ColorType::Rgb);
            encoder.add_text_chunk("Location".into(), SECRET.into())?;
            encoder.write_header()?.write_image_data(&pixels)?;
            bytes
        };
        identities.push(format!("person-{}", i % 8));
        images.push(bytes);
    }
    let images: ArrayRef = Arc::new(BinaryArray::from_iter_values(images));
    write(out, &[batch(vec![("identity", texts(identities)), ("image", images)])?], None)
}

/// Persons whose keys are meant for a terminal, a browser, a spreadsheet or a shell.
fn names(out: &Path) -> Result<(), Any> {
    let keys = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "=HYPERLINK(\"http://x.invalid\")",
        "@SUM(1)",
        "\u{1b}[31mred\u{1b}]0;title\u{7}",
        "../../etc/passwd",
        "$(touch pwned)",
        "a\nb\rc\td",
    ];
    let splits = ["train", "train", "train", "train", "train", "test"];
    let (mut identities, mut images, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for (k, key) in keys.iter().enumerate() {
        for (n, split) in splits.iter().cycle().take(18).enumerate() {
            let pixels: Vec<u8> = (0..32 * 32 * 3).map(|p| ((p * (k + 2) * 31 + n * 7) % 253) as u8).collect();
            images.push(encode(&pixels, 32, 32, "png", Origin::Real)?);
            identities.push((*key).to_owned());
            parts.push((*split).to_owned());
        }
        // Other persons to test on.
        for n in 0..4 {
            let pixels: Vec<u8> = (0..32 * 32 * 3).map(|p| ((p * (k + 13) * 41 + n * 5) % 247) as u8).collect();
            images.push(encode(&pixels, 32, 32, "png", Origin::Real)?);
            identities.push(format!("other {key}"));
            parts.push("dev".to_owned());
        }
    }
    let images: ArrayRef = Arc::new(BinaryArray::from_iter_values(images));
    let columns = vec![("identity", texts(identities)), ("image", images), ("split", texts(parts))];
    write(out, &[batch(columns)?], None)
}

/// The rows of a manifest with image `n` of its split `dev` among the training images.
fn leak(n: usize, manifest: &str, out: &Path) -> Result<(), Any> {
    let (mut identities, mut images, mut splits) = (Vec::new(), Vec::new(), Vec::new());
    Manifest::open(manifest, &Columns::default())?.read(true, |rows| {
        for row in rows {
            if let ImageSource::Bytes(bytes) = row.image {
                identities.push(row.identity.unwrap_or_default());
                images.push(bytes);
                splits.push(row.split.unwrap_or_default());
            }
        }
        Ok(())
    })?;
    let test: Vec<usize> = (0..splits.len()).filter(|i| splits[*i] == "dev").collect();
    let trained = splits.iter().position(|s| s == "train").ok_or("no training row")?;
    identities.push(identities[trained].clone());
    images.push(images[test[n % test.len()]].clone());
    splits.push("train".into());
    let images: ArrayRef = Arc::new(BinaryArray::from_iter_values(images));
    let columns = vec![("identity", texts(identities)), ("image", images), ("split", texts(splits))];
    write(out, &[batch(columns)?], None)
}

/// Small files for the fuzz targets to begin with; `dataset` is one that `augment` wrote.
fn corpus(dataset: &Path, dir: &Path) -> Result<(), Any> {
    let put = |target: &str, name: &str, bytes: &[u8]| -> Result<(), Any> {
        std::fs::create_dir_all(dir.join(target))?;
        Ok(std::fs::write(dir.join(target).join(name), bytes)?)
    };
    let file = |name: &str, columns: Vec<(&str, ArrayRef)>, p: Option<WriterProperties>| -> Result<(), Any> {
        std::fs::create_dir_all(dir.join("manifest"))?;
        write(&dir.join("manifest").join(name), &[batch(columns)?], p)
    };
    let persons = || texts(["a", "a", "b"].map(str::to_owned).to_vec());
    let images = || -> ArrayRef { Arc::new(BinaryArray::from_vec(vec![b"\x89PNG", b"", b"x"])) };
    let codecs = [
        ("snappy", Compression::SNAPPY),
        ("zstd", Compression::ZSTD(ZstdLevel::default())),
        ("lz4", Compression::LZ4_RAW),
        ("none", Compression::UNCOMPRESSED),
    ];
    for (name, codec) in codecs {
        let properties = WriterProperties::builder().set_compression(codec).build();
        file(name, vec![("identity", persons()), ("image", images())], Some(properties))?;
    }
    let paths = texts(["a/1.jpg", "../2.jpg", "/etc/passwd"].map(str::to_owned).to_vec());
    file("paths", vec![("identity", persons()), ("image_uri", paths), ("split", persons())], None)?;
    let footer = |thrift: &[u8], length: u32| [b"PAR1", thrift, &length.to_le_bytes(), b"PAR1"].concat();
    put("manifest", "huge-list", &footer(&[0x15, 0x02, 0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07], 9))?;
    put("manifest", "nested-footer", &footer(&[0x1c; 4096], 4096))?;
    put("manifest", "long-footer", &footer(&[0; 16], i32::MAX as u32))?;
    put("manifest", "empty", b"")?;
    for (size, extension) in [(1, "jpg"), (8, "jpg"), (1, "png"), (8, "png"), (17, "jpg"), (17, "png")] {
        let pixels: Vec<u8> = (0..size * size * 3).map(|i| (i * 37 % 251) as u8).collect();
        let bytes = encode(&pixels, size, size, extension, Origin::Synthetic)?;
        put("picture", &format!("{size}.{extension}"), &bytes)?;
    }
    let jpeg = encode(&[90; 8 * 8 * 3], 8, 8, "jpg", Origin::Real)?;
    put("picture", "exif.jpg", &[&jpeg[..2], &exif("text"), &jpeg[2..]].concat())?;
    put("picture", "twice.jpg", &jpeg.repeat(2))?;
    put("picture", "text", b"not a picture")?;
    let one = BTreeMap::from([("generator.fc.weight".to_owned(), Tensor::zeros((2, 2), DType::F32, &Device::Cpu)?)]);
    let headers =
        ["{}", "[]", r#"{"format":3}"#, r#"{"format":3,"identities":["a"],"step":0}"#, r#"{"forgotten":true}"#];
    for (i, header) in headers.into_iter().enumerate() {
        let path = dir.join("weights").join(format!("header-{i}"));
        std::fs::create_dir_all(dir.join("weights"))?;
        sealed::write(&path, &one, &serde_json::from_str::<serde_json::Value>(header)?)?;
    }
    put("weights", "pickle", b"\x80\x02]q\x00.")?;
    put("weights", "long-header", &[&u64::MAX.to_le_bytes()[..], b"{}"].concat())?;
    put("weights", "empty", b"")?;
    for name in ["_PLAN.json", "_SUCCESS.json", "_commits/00000.json"] {
        put("metadata", &name.replace('/', "-"), &std::fs::read(dataset.join(name))?)?;
    }
    put("metadata", "shard", &std::fs::read(&Reader::open(dataset)?.parts[0])?)?;
    for (name, text) in [("null", "null"), ("list", "[]"), ("no-hash", "{}"), ("deep", &"[".repeat(4096))] {
        put("metadata", name, text.as_bytes())?;
    }
    Ok(())
}

fn main() -> Result<(), Any> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["collapse", kind, model, out] => collapse(kind, model.as_ref(), out.as_ref()),
        ["weights", model, dir] => weights(model.as_ref(), dir.as_ref()),
        ["copies", dataset, out] => copies(dataset.as_ref(), out.as_ref()),
        ["rows", n, out] => rows(n.parse()?, out.as_ref()),
        ["bombs", dir] => bombs(dir.as_ref()),
        ["private", out] => private(out.as_ref()),
        ["names", out] => names(out.as_ref()),
        ["corpus", dataset, dir] => corpus(dataset.as_ref(), dir.as_ref()),
        ["leak", n, manifest, out] => leak(n.parse()?, manifest, out.as_ref()),
        // `cargo test --benches` and the like call without arguments.
        _ => Ok(()),
    }
}
