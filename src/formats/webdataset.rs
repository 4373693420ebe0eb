//! WebDataset: tars `train-000000.tar`, one for each unit, in which the image, its class number and its row as JSON stand one after the other
//! under the name of the sample.

use super::forgotten::{Forgotten, Rows};
use super::metadata::{self, sample_id};
use super::{Format, Sample, Site, UnitWriter, table};
use crate::error::{Error, Result};
use crate::store;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tar::{Archive, Builder, Header};

/// The format.
pub struct WebDataset;

const FOLDER: &str = "webdataset";

impl Format for WebDataset {
    fn name(&self) -> &'static str {
        "webdataset"
    }

    fn about(&self) -> &'static str {
        "WebDataset tars"
    }

    fn folder(&self) -> &'static str {
        FOLDER
    }

    fn endings(&self) -> &'static [&'static str] {
        &["tar"]
    }

    fn unit(&self, site: &Arc<Site>, number: usize) -> Result<Box<dyn UnitWriter>> {
        let path = format!("{FOLDER}/train-{number:06}.tar");
        let staged = site.staged(&path);
        let tar = Builder::new(BufWriter::new(store::create(&staged)?));
        Ok(Box::new(Shard { path, staged, members: tar, rows: metadata::Rows::new(site, number)? }))
    }

    fn rest(&self, _: &Site) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn card(&self, contents: &str) -> String {
        format!(
            "configs:\n- config_name: default\n  description: contents {contents}\n  data_files:\n  - split: train\n    path: {FOLDER}/train-*.tar\n"
        )
    }

    fn parts(&self, folder: &Path) -> Result<Option<Vec<PathBuf>>> {
        let folder = if folder.join(FOLDER).is_dir() { folder.join(FOLDER) } else { folder.to_owned() };
        let files = super::files_of(&folder, "tar")?;
        Ok((!files.is_empty()).then_some(files))
    }

    fn read(&self, part: &Path, f: &mut dyn FnMut(Sample) -> Result<()>) -> Result<()> {
        let strange = || Error::Manifest(format!("{}: not written by augment", part.display()));
        let mut image: Option<(String, &'static str, Vec<u8>)> = None;
        members(part, &mut |name, bytes| {
            let (key, kind) = name.split_once('.').ok_or_else(strange)?;
            match kind {
                "jpg" => image = Some((key.to_owned(), "jpg", bytes)),
                "png" => image = Some((key.to_owned(), "png", bytes)),
                "json" => {
                    let mut sample: Sample = serde_json::from_slice(&bytes).map_err(|_| strange())?;
                    let (_, extension, bytes) = image.take().filter(|(k, ..)| k == key).ok_or_else(strange)?;
                    (sample.image, sample.extension) = (bytes, extension);
                    f(sample)?;
                }
                _ => {}
            }
            Ok(())
        })
    }

    fn erase_unit(&self, out: &Path, files: &mut Vec<String>, who: &Forgotten) -> Result<(Rows, Rows)> {
        let (gone, stays) = who.split_all(out, files)?;
        // Images first, and for good: the rows name them.
        for tar in files.iter().filter(|f| !table::is_table(Path::new(f))).map(|f| out.join(f)).filter(|f| f.exists()) {
            // Readers look at the first members of the first tar, so that none may be empty, unless nobody is left.
            if stays.images.is_empty() && super::files_of(&out.join(FOLDER), "tar")?.len() > 1 {
                store::remove(&tar)?;
            } else {
                keep(&tar, &stays.images)?;
            }
        }
        files.retain(|f| out.join(f).exists());
        who.erase_all(out, files)?;
        Ok((gone, stays))
    }

    fn erase_rest(&self, _: &Path, _: &Forgotten) -> Result<()> {
        Ok(())
    }
}

/// Calls `f` with the name and the bytes of every member of a tar.
fn members(path: &Path, f: &mut dyn FnMut(&str, Vec<u8>) -> Result<()>) -> Result<()> {
    let failed = |e: std::io::Error| Error::Manifest(format!("{}: damaged tar: {e}", path.display()));
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut archive = Archive::new(BufReader::new(file));
    for member in archive.entries().map_err(failed)? {
        let mut member = member.map_err(failed)?;
        let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).map_err(failed)?;
        f(&name, bytes)?;
    }
    Ok(())
}

/// Adds a member: no time, no owner, so that equal content is equal bytes.
fn add(tar: &mut Builder<BufWriter<File>>, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, name, bytes)
}

/// Completes a tar.
fn end(tar: Builder<BufWriter<File>>) -> std::io::Result<()> {
    tar.into_inner()?.flush()
}

/// Writes a tar again with the samples called `names` alone. Can be done twice.
fn keep(path: &Path, names: &BTreeSet<String>) -> Result<()> {
    let keys: BTreeSet<&str> = names.iter().map(|name| sample_id(name)).collect();
    let staged = store::temporary(path);
    let failed = |e| Error::io(&staged, e);
    let mut tar = Builder::new(BufWriter::new(store::create(&staged)?));
    members(path, &mut |name, bytes| {
        if keys.contains(sample_id(name)) { add(&mut tar, name, &bytes).map_err(failed) } else { Ok(()) }
    })?;
    end(tar).map_err(failed)?;
    store::publish(&staged, path)
}

/// A tar that is being written.
struct Shard {
    path: String,
    staged: PathBuf,
    members: Builder<BufWriter<File>>,
    rows: metadata::Rows,
}

impl UnitWriter for Shard {
    fn write(&mut self, sample: Sample) -> Result<()> {
        let failed = |e| Error::io(&self.staged, e);
        let key = &sample.sample_id;
        let image = format!("{key}.{}", sample.extension);
        let row = serde_json::to_vec(&sample).map_err(|e| store::failed(&self.staged, &e))?;
        add(&mut self.members, &image, &sample.image).map_err(failed)?;
        add(&mut self.members, &format!("{key}.cls"), sample.label.to_string().as_bytes()).map_err(failed)?;
        add(&mut self.members, &format!("{key}.json"), &row).map_err(failed)?;
        self.rows.write(image, sample)
    }

    fn close(self: Box<Self>) -> Result<Vec<String>> {
        let failed = |e| Error::io(&self.staged, e);
        end(self.members).map_err(failed)?;
        Ok(vec![self.path, self.rows.close()?])
    }
}
