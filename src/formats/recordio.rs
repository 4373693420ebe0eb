//! MXNet RecordIO as insightface's and AdaFace's trainings read it: `train.rec` and `train.idx`, with `train.lst`, `property` and
//! `metadata.parquet` beside them.
//!
//! The first record, key 0, says which keys are images and which the headers of persons; the images of a person have keys in a row, which its
//! header names. The records of a unit are kept as a part until all are there, and are joined then.

mod index;
pub mod records;

use super::forgotten::{Forgotten, Rows};
use super::metadata::{self, sample_id};
use super::{Format, PARTS, Sample, Site, UnitWriter, table};
use crate::error::{Error, Result};
use crate::store;
use index::describe;
pub use index::problems;
use records::{HEADER, Header, Reader, write};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The format.
pub struct RecordIo;

const FOLDER: &str = "recordio";
/// All records.
pub const SET: &str = "train.rec";
/// Keys and places of the records.
pub const INDEX: &str = "train.idx";
const LIST: &str = "train.lst";
const PROPERTY: &str = "property";
/// A configuration for insightface's arcface_torch.
const ARCFACE: &str = "arcface_torch.py";
/// Keys above which 32-bit floats have gaps.
const MOST_KEYS: usize = 1 << 24;

/// Path below the dataset of the file `name`.
fn below(name: &str) -> String {
    format!("{FOLDER}/{name}")
}

/// Number by which a record names its sample.
fn id(sample_id: &str) -> u64 {
    blake3::hash(sample_id.as_bytes()).as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// A header record that holds two numbers.
fn pair(id: u64, first: u64, second: u64) -> Vec<u8> {
    let mut data = Header { flag: 2, label: 0.0, id }.bytes().to_vec();
    data.extend((first as f32).to_le_bytes());
    data.extend((second as f32).to_le_bytes());
    data
}

/// The record of key 0 for `images` images of `classes` classes.
fn first_record(images: u64, classes: u64) -> Vec<u8> {
    pair(0, images + 1, images + 1 + classes)
}

/// The headers of persons, by the number of images of each label.
fn persons(counts: &BTreeMap<i64, u64>, classes: usize) -> impl Iterator<Item = Vec<u8>> {
    let (mut from, images) = (1, counts.values().sum::<u64>());
    (0..classes as i64).map(move |label| {
        let first = from;
        from += counts.get(&label).copied().unwrap_or(0);
        pair(images + 1 + label as u64, first, from)
    })
}

impl Format for RecordIo {
    fn name(&self) -> &'static str {
        "recordio"
    }

    fn about(&self) -> &'static str {
        "MXNet RecordIO, for arcface_torch and AdaFace"
    }

    fn folder(&self) -> &'static str {
        FOLDER
    }

    fn endings(&self) -> &'static [&'static str] {
        &["rec", "idx", "lst", "py", PROPERTY]
    }

    fn unit(&self, site: &Arc<Site>, number: usize) -> Result<Box<dyn UnitWriter>> {
        if site.rows + site.classes.len() >= MOST_KEYS {
            return Err(Error::Usage(format!(
                "RecordIO counts in 32-bit floats, up to {MOST_KEYS}: {} images of {} classes are more; choose another format",
                site.rows,
                site.classes.len()
            )));
        }
        let path = format!("{PARTS}/{number:05}.rec");
        let staged = site.staged(&path);
        let mut file = BufWriter::new(store::create(&staged)?);
        if number == 0 {
            let first = first_record(site.rows as u64, site.classes.len() as u64);
            write(&mut file, &first).map_err(|e| Error::io(&staged, e))?;
        }
        let rows = metadata::Rows::new(site, number)?;
        let (site, counts, data) = (site.clone(), BTreeMap::new(), Vec::new());
        Ok(Box::new(Part { site, number, path, staged, file, rows, counts, data }))
    }

    fn rest(&self, site: &Site) -> Result<Vec<String>> {
        let parts: Vec<PathBuf> = (0..site.units).map(|n| site.out.join(format!("{PARTS}/{n:05}.rec"))).collect();
        let set = site.staged(&below(SET));
        join(&parts, &set)?;
        let table = below(metadata::FILE);
        metadata::join(site, &table)?;
        let names = names_in(&site.staged(&table))?;
        describe(&set, &names, site.classes.len(), &|name| site.staged(&below(name)))?;
        Ok([SET, INDEX, LIST, PROPERTY, ARCFACE].map(below).into_iter().chain([table]).collect())
    }

    fn card(&self, _: &str) -> String {
        String::new()
    }

    fn parts(&self, folder: &Path) -> Result<Option<Vec<PathBuf>>> {
        let folders = [folder.join(FOLDER), folder.to_owned()];
        let found = folders.into_iter().find(|f| f.join(SET).is_file() && f.join(metadata::FILE).is_file());
        Ok(found.map(|f| vec![f.join(metadata::FILE)]))
    }

    fn read(&self, part: &Path, f: &mut dyn FnMut(Sample) -> Result<()>) -> Result<()> {
        let mut reader = Reader::open(&part.with_file_name(SET))?;
        table::read_rows(part, &mut |mut sample, _| {
            sample.image = loop {
                let Some((mut data, _)) = reader.next(usize::MAX)? else { return Err(reader.damaged("is missing")) };
                match Header::read(&data) {
                    Some(header) if header.flag > 0 => {}
                    Some(header) if header.id == id(&sample.sample_id) => break data.split_off(HEADER),
                    _ => return Err(reader.damaged("is of another image than the row beside it")),
                }
            };
            f(sample)
        })
    }

    fn erase_unit(&self, out: &Path, files: &mut Vec<String>, who: &Forgotten) -> Result<(Rows, Rows)> {
        let (gone, stays) = who.split_all(out, files)?;
        // Parts that were joined are gone, or go now: only what is joined counts.
        for part in files.iter().filter(|f| f.starts_with(PARTS)).map(|f| out.join(f)).filter(|f| f.is_file()) {
            if out.join(below(SET)).is_file() {
                store::remove(&part)?;
            } else {
                keep(&part, &stays.images, None)?;
            }
        }
        files.retain(|f| out.join(f).is_file());
        who.erase_all(out, files)?;
        Ok((gone, stays))
    }

    fn erase_rest(&self, out: &Path, who: &Forgotten) -> Result<()> {
        let table = out.join(below(metadata::FILE));
        if !table.exists() {
            return Ok(());
        }
        let stays = who.split(&table)?.1.images;
        let classes = table::classes(&table)?;
        keep(&out.join(below(SET)), &stays, Some(classes.len()))?;
        who.erase(&table)?;
        let names = names_in(&table)?;
        let place = |name: &str| store::temporary(&out.join(below(name)));
        describe(&out.join(below(SET)), &names, classes.len(), &place)?;
        let files = [INDEX, LIST, PROPERTY, ARCFACE].map(|name| out.join(below(name)));
        files.iter().try_for_each(|path| store::publish(&store::temporary(path), path))
    }
}

/// What the images of a table are called.
fn names_in(table: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    table::read_rows(table, &mut |_, name| {
        names.push(name);
        Ok(())
    })?;
    Ok(names)
}

/// Makes one file of `parts`; of one alone, another name of it.
fn join(parts: &[PathBuf], to: &Path) -> Result<()> {
    if to.exists() {
        store::remove(to)?;
    }
    if let [part] = parts
        && std::fs::hard_link(part, to).is_ok()
    {
        return Ok(());
    }
    let mut file = store::create(to)?;
    for part in parts {
        let mut from = File::open(part).map_err(|e| Error::io(part, e))?;
        std::io::copy(&mut from, &mut file).map_err(|e| Error::io(to, e))?;
    }
    Ok(())
}

/// Writes a file of records again with the images called `names` alone; with the headers of a whole set if it is one of `classes`. Can be
/// done twice.
fn keep(path: &Path, names: &BTreeSet<String>, classes: Option<usize>) -> Result<()> {
    let ids: BTreeSet<u64> = names.iter().map(|name| id(sample_id(name))).collect();
    let staged = store::temporary(path);
    let failed = |e: std::io::Error| Error::io(&staged, e);
    let mut file = BufWriter::new(store::create(&staged)?);
    if let Some(classes) = classes {
        write(&mut file, &first_record(ids.len() as u64, classes as u64)).map_err(failed)?;
    }
    let (mut reader, mut counts) = (Reader::open(path)?, BTreeMap::<i64, u64>::new());
    while let Some((data, _)) = reader.next(usize::MAX)? {
        let Some(header) = Header::read(&data).filter(|h| h.flag == 0 && ids.contains(&h.id)) else { continue };
        *counts.entry(header.label as i64).or_default() += 1;
        write(&mut file, &data).map_err(failed)?;
    }
    for record in classes.into_iter().flat_map(|classes| persons(&counts, classes)) {
        write(&mut file, &record).map_err(failed)?;
    }
    file.flush().map_err(failed)?;
    drop(file);
    store::publish(&staged, path)
}

/// The records of a unit that is being written.
struct Part {
    site: Arc<Site>,
    number: usize,
    path: String,
    staged: PathBuf,
    file: BufWriter<File>,
    rows: metadata::Rows,
    /// Images of each label.
    counts: BTreeMap<i64, u64>,
    data: Vec<u8>,
}

impl UnitWriter for Part {
    fn write(&mut self, sample: Sample) -> Result<()> {
        self.data.clear();
        let header = Header { flag: 0, label: sample.label as f32, id: id(&sample.sample_id) };
        self.data.extend(header.bytes());
        self.data.extend(&sample.image);
        write(&mut self.file, &self.data).map_err(|e| Error::io(&self.staged, e))?;
        *self.counts.entry(sample.label).or_default() += 1;
        let name = metadata::name(&self.site, &sample);
        self.rows.write(name, sample)
    }

    fn close(mut self: Box<Self>) -> Result<Vec<String>> {
        let failed = |e| Error::io(&self.staged, e);
        if self.number + 1 == self.site.units {
            metadata::count(&self.site.out, 0..self.number, &mut self.counts)?;
            for record in persons(&self.counts, self.site.classes.len()) {
                write(&mut self.file, &record).map_err(failed)?;
            }
        }
        self.file.flush().map_err(failed)?;
        Ok(vec![self.path, self.rows.close()?])
    }
}
