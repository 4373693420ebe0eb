//! An image folder, as torchvision, AdaFace and Hugging Face read it: `imgs/<label>/<sample>.jpg`, labels padded so that sorting keeps
//! their order, and `imgs/metadata.parquet` with every other column.

use super::forgotten::{Forgotten, Rows};
use super::{Format, Sample, Site, UnitWriter, metadata, table};
use crate::error::{Error, Result};
use crate::store;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The format.
pub struct Imagefolder;

const FOLDER: &str = "imgs";
/// The label that the images of a folder have.
const CLASSES: &str = "class_to_idx.json";

impl Format for Imagefolder {
    fn name(&self) -> &'static str {
        "imagefolder"
    }

    fn about(&self) -> &'static str {
        "One folder a label, with metadata.parquet"
    }

    fn folder(&self) -> &'static str {
        FOLDER
    }

    fn endings(&self) -> &'static [&'static str] {
        &["jpg", "png"]
    }

    fn unit(&self, site: &Arc<Site>, number: usize) -> Result<Box<dyn UnitWriter>> {
        Ok(Box::new(Images { site: site.clone(), paths: Vec::new(), rows: metadata::Rows::new(site, number)? }))
    }

    fn rest(&self, site: &Site) -> Result<Vec<String>> {
        let mut folders = BTreeMap::new();
        metadata::names(&site.out, 0..site.units, &mut |label, name| {
            folders.insert(class_folder(name), label);
            Ok(())
        })?;
        let (classes, table) = (format!("{FOLDER}/{CLASSES}"), format!("{FOLDER}/{}", metadata::FILE));
        store::write(&site.staged(&classes), text(&folders).as_bytes())?;
        metadata::join(site, &table)?;
        Ok(vec![classes, table])
    }

    fn card(&self, _: &str) -> String {
        String::new()
    }

    fn parts(&self, folder: &Path) -> Result<Option<Vec<PathBuf>>> {
        let files = [folder.join(FOLDER), folder.to_owned()].map(|f| f.join(metadata::FILE));
        Ok(files.into_iter().find(|f| f.is_file()).map(|f| vec![f]))
    }

    fn read(&self, part: &Path, f: &mut dyn FnMut(Sample) -> Result<()>) -> Result<()> {
        table::read(part, f)
    }

    fn erase_unit(&self, out: &Path, files: &mut Vec<String>, who: &Forgotten) -> Result<(Rows, Rows)> {
        let (gone, stays) = who.split_all(out, files)?;
        let listed = |name: &String| files.contains(&format!("{FOLDER}/{name}"));
        if let Some(name) = gone.images.iter().chain(&stays.images).find(|name| !listed(name)) {
            let what = "it is not where it should be: made by another version of augment; delete the folder".into();
            return Err(Error::Damaged { path: out.join(FOLDER).join(name), what });
        }
        // Images first, and for good: the rows name them.
        let images: Vec<PathBuf> =
            gone.images.iter().map(|name| out.join(FOLDER).join(name)).filter(|p| p.exists()).collect();
        images.iter().try_for_each(|image| store::remove(image))?;
        let folders: BTreeSet<&Path> = images.iter().filter_map(|p| p.parent()).collect();
        for folder in folders {
            store::sync_folder(folder)?;
            // Readers take every folder for a class, and refuse one without images.
            let _ = std::fs::remove_dir(folder);
        }
        who.erase_all(out, files)?;
        let named =
            |path: &str| path.strip_prefix(FOLDER).is_some_and(|p| stays.images.contains(p.trim_start_matches('/')));
        files.retain(|f| table::is_table(Path::new(f)) || named(f));
        Ok((gone, stays))
    }

    fn erase_rest(&self, out: &Path, who: &Forgotten) -> Result<()> {
        let metadata = out.join(FOLDER).join(metadata::FILE);
        if !metadata.exists() {
            return Ok(());
        }
        who.erase(&metadata)?;
        let mut folders = BTreeMap::new();
        table::read_rows(&metadata, &mut |sample, name| {
            folders.insert(class_folder(&name), sample.label);
            Ok(())
        })?;
        store::write_atomic(&out.join(FOLDER).join(CLASSES), text(&folders).as_bytes())
    }
}

/// The folder of an image below the image folder.
fn class_folder(name: &str) -> String {
    name.split('/').next().unwrap_or_default().to_owned()
}

/// What `class_to_idx.json` says.
fn text(folders: &BTreeMap<String, i64>) -> String {
    format!("{:#}\n", json!(folders))
}

/// A unit that is being written: its images, and the rows that name them.
struct Images {
    site: Arc<Site>,
    paths: Vec<String>,
    rows: metadata::Rows,
}

impl UnitWriter for Images {
    fn write(&mut self, sample: Sample) -> Result<()> {
        let name = metadata::name(&self.site, &sample);
        let path = format!("{FOLDER}/{name}");
        store::write(&self.site.staged(&path), &sample.image)?;
        self.paths.push(path);
        self.rows.write(name, sample)
    }

    fn close(mut self: Box<Self>) -> Result<Vec<String>> {
        self.paths.push(self.rows.close()?);
        Ok(self.paths)
    }
}

/// A file below a folder, by the name that rows have for it.
///
/// # Errors
/// The name leaves the folder, or the file cannot be read.
pub(super) fn named_image(table: &Path, name: &str) -> Result<Vec<u8>> {
    if !Path::new(name).components().all(|c| matches!(c, std::path::Component::Normal(_))) {
        return Err(Error::Manifest(format!("{}: `{name}` leaves the folder", table.display())));
    }
    let file = table.with_file_name(name);
    std::fs::read(&file).map_err(|e| Error::io(&file, e))
}
