//! An image folder: `imagefolder/<label>/<sample>.jpg`, labels padded so that sorting keeps their order, and
//! `imagefolder/metadata.parquet` with every other column.
//!
//! The rows of a unit are kept beside its record; the metadata are put together from them at the end.

use super::forgotten::{Forgotten, Rows};
use super::table::{self, output_schema, value_columns};
use super::{COMMITS, Format, Sample, Site, UnitWriter};
use crate::error::{Error, Result};
use crate::store;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The format.
pub struct Imagefolder;

const FOLDER: &str = "imagefolder";
const METADATA: &str = "metadata.parquet";

/// Rows of unit `number`.
fn rows_of(number: usize) -> String {
    format!("{COMMITS}/{number:05}.parquet")
}

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

    fn unit(&self, site: &Arc<Site>, number: usize) -> Result<Box<dyn UnitWriter>> {
        Ok(Box::new(Images { site: site.clone(), number, written: Vec::new() }))
    }

    fn rest(&self, site: &Site) -> Result<Vec<String>> {
        let path = format!("{FOLDER}/{METADATA}");
        let staged = site.staged(&path);
        let mut writer = table::writer(&staged, &Arc::new(output_schema(&site.classes, true)))?;
        for number in 0..site.units {
            let rows = site.out.join(rows_of(number));
            for batch in
                table::open(&rows)?.with_batch_size(table::ROW_GROUP).build().map_err(|e| store::failed(&rows, &e))?
            {
                let batch = batch.map_err(|e| store::failed(&rows, &e))?;
                writer.write(&batch).map_err(|e| store::failed(&staged, &e))?;
            }
        }
        writer.close().map_err(|e| store::failed(&staged, &e))?;
        Ok(vec![path])
    }

    fn card(&self, _: &str) -> String {
        String::new()
    }

    fn parts(&self, folder: &Path) -> Result<Option<Vec<PathBuf>>> {
        let files = [folder.join(FOLDER), folder.to_owned()].map(|f| f.join(METADATA));
        Ok(files.into_iter().find(|f| f.is_file()).map(|f| vec![f]))
    }

    fn read(&self, part: &Path, f: &mut dyn FnMut(Sample) -> Result<()>) -> Result<()> {
        table::read(part, f)
    }

    fn erase_unit(&self, out: &Path, files: &mut Vec<String>, who: &Forgotten) -> Result<(Rows, Rows)> {
        let (mut gone, mut stays) = (Rows::default(), Rows::default());
        for file in files.iter().filter(|f| table::is_table(Path::new(f))) {
            let path = out.join(file);
            let (g, s) = who.split(&path)?;
            // Images first, and for good: the rows name them.
            let images: Vec<PathBuf> =
                g.images.iter().map(|name| out.join(FOLDER).join(name)).filter(|p| p.exists()).collect();
            images.iter().try_for_each(|image| store::remove(image))?;
            let folders: BTreeSet<&Path> = images.iter().filter_map(|p| p.parent()).collect();
            folders.into_iter().try_for_each(store::sync_folder)?;
            who.erase(&path)?;
            gone.add(g);
            stays.add(s);
        }
        let named =
            |path: &str| path.strip_prefix(FOLDER).is_some_and(|p| stays.images.contains(p.trim_start_matches('/')));
        files.retain(|f| table::is_table(Path::new(f)) || named(f));
        Ok((gone, stays))
    }

    fn erase_rest(&self, out: &Path, who: &Forgotten) -> Result<()> {
        let metadata = out.join(FOLDER).join(METADATA);
        if metadata.exists() { who.erase(&metadata) } else { Ok(()) }
    }
}

/// A unit that is being written: its images, and the rows that name them.
struct Images {
    site: Arc<Site>,
    number: usize,
    /// Paths below the image folder, and rows without their images.
    written: Vec<(String, Sample)>,
}

impl UnitWriter for Images {
    fn write(&mut self, mut sample: Sample) -> Result<()> {
        let digits = self.site.classes.len().saturating_sub(1).to_string().len().max(4);
        let name = format!("{:0digits$}/{}.{}", sample.label, sample.sample_id, sample.extension);
        let image = std::mem::take(&mut sample.image);
        store::write(&self.site.staged(&format!("{FOLDER}/{name}")), &image)?;
        self.written.push((name, sample));
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<Vec<String>> {
        let (names, samples): (Vec<String>, Vec<Sample>) = self.written.into_iter().unzip();
        let mut paths: Vec<String> = names.iter().map(|name| format!("{FOLDER}/{name}")).collect();
        let rows = rows_of(self.number);
        let staged = self.site.staged(&rows);
        let failed = |e: &dyn std::fmt::Display| store::failed(&staged, e);
        let schema = Arc::new(output_schema(&self.site.classes, true));
        let mut columns = value_columns(&samples);
        let names: ArrayRef = Arc::new(StringArray::from(names));
        columns.insert(0, names);
        let batch = RecordBatch::try_new(schema.clone(), columns).map_err(|e| failed(&e))?;
        let mut writer = table::writer(&staged, &schema)?;
        writer.write(&batch).map_err(|e| failed(&e))?;
        writer.close().map_err(|e| failed(&e))?;
        paths.push(rows);
        Ok(paths)
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
