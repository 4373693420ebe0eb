//! How fast the formats are written and read, beside writing the same bytes with nothing else; and how much memory that takes.
//!
//! usage: cargo bench --bench formats -- DIR [IMAGES] [FORMAT ..]
//!
//! Every image is 2,600 bytes of noise behind the head of a JPEG, about what a face of 64 px takes. All is made durable, as every output is. Each
//! format works in a process of its own, so that its peak memory is its own.

use augment::formats::{FORMATS, Reader, Sample, named};
use augment::seeds::Seeds;
use augment::sink::Sink;
use augment::sink::commit::{Opened, Output};
use augment::sink::order::Order;
use rand::Rng;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

type Any = Box<dyn std::error::Error>;

/// Images of a class.
const PER_CLASS: usize = 50;
/// Rows of a unit.
const UNIT: usize = 10_000;

/// Calls `f` with `n` samples.
fn samples(n: usize, mut f: impl FnMut(Sample) -> Result<(), Any>) -> Result<(), Any> {
    let picture = image::RgbImage::from_pixel(64, 64, image::Rgb([90, 120, 150]));
    let mut head = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut head, image::ImageFormat::Jpeg)?;
    let (head, mut rng) = (head.into_inner(), Seeds::new(0).stream("bench", &[]));
    for i in 0..n {
        let mut image = head.clone();
        image.resize(2600, 0);
        rng.fill_bytes(&mut image[head.len()..]);
        let label = (i / PER_CLASS) as i64;
        let identity = format!("person-{label:06}");
        f(Sample {
            image,
            extension: "jpg",
            label,
            label_mix: format!("[[\"{identity}\",1.0]]"),
            identity,
            identity_set: "default".into(),
            sample_id: blake3::hash(&i.to_le_bytes()).to_hex()[..24].to_owned(),
            synthetic: true,
            seed: 0,
            index: (i % PER_CLASS) as i64,
            latent: "transfer".into(),
            truncation: 0.85,
            model_hash: "0".repeat(64),
            config_hash: "1".repeat(64),
            manifest_hash: "2".repeat(64),
        })?;
    }
    Ok(())
}

fn write(out: &Path, format: &str, n: usize) -> Result<(), Any> {
    let format = named(format).ok_or("no such format")?;
    let Opened::Ready(mut output) = Output::open(out, &Order::new("bench", format.name()), false)? else {
        return Err("the folder is complete already".into());
    };
    output.arrange(n, UNIT)?;
    let classes = (0..n.div_ceil(PER_CLASS)).map(|i| format!("person-{i:06}")).collect();
    let mut sink = Sink::new(output, format, classes);
    samples(n, |sample| Ok(sink.write(sample)?))?;
    sink.finish()?;
    Ok(())
}

/// The images one behind the other in one file.
fn write_plain(path: &Path, n: usize) -> Result<(), Any> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    samples(n, |sample| Ok(file.write_all(&sample.image)?))?;
    file.flush()?;
    Ok(file.get_ref().sync_all()?)
}

/// Largest memory of this process so far, in MB.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().split(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

#[allow(clippy::print_stdout, reason = "it is a program")]
fn main() -> Result<(), Any> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|arg| arg == "--one") {
        let (dir, n, format) = (Path::new(&args[1]), args[2].parse()?, args[3].as_str());
        let (out, start) = (dir.join(format), Instant::now());
        if format == "plain" {
            write_plain(&out, n)?;
        } else {
            write(&out, format, n)?;
        }
        let (seconds, memory) = (start.elapsed().as_secs_f64(), peak());
        let mut read = String::new();
        if format != "plain" {
            let (start, mut count) = (Instant::now(), 0);
            Reader::open(&out)?.read_all(|_| {
                count += 1;
                Ok(())
            })?;
            read = format!("{:.0} images/s read", f64::from(count) / start.elapsed().as_secs_f64());
        }
        println!(
            "{format:12} {seconds:8.2} s {:9.0} images/s written, peak {memory:.0} MB  {read}",
            n as f64 / seconds
        );
        return Ok(());
    }
    let dir = args.first().ok_or("usage: formats DIR [IMAGES] [FORMAT ..]")?;
    let n = args.get(1).map_or("100000", String::as_str);
    let chosen: Vec<&str> = args.iter().skip(2).map(String::as_str).collect();
    std::fs::create_dir_all(dir)?;
    for format in
        FORMATS.map(augment::formats::Format::name).into_iter().filter(|f| chosen.is_empty() || chosen.contains(f))
    {
        for one in ["plain", format] {
            let run = std::process::Command::new(std::env::current_exe()?).args(["--one", dir, n, one]).status()?;
            let path = Path::new(dir).join(one);
            if path.is_dir() {
                std::fs::remove_dir_all(&path)?;
            } else {
                std::fs::remove_file(&path)?;
            }
            if !run.success() {
                return Err("a format failed".into());
            }
        }
    }
    Ok(())
}
