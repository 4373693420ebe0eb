//! A finished dataset or model on its way to a hub or an object store: complete and unchanged, or not at all.

use super::Context;
use super::verify::{Kind, whole};
use crate::error::{Error, Result};
use crate::formats::parquet::Parquet;
use crate::formats::{Format, croissant};
use crate::nn::sealed;
use crate::progress::Progress;
use crate::recogniser::judge::JUDGE_FILE;
use crate::remote::{self, Outgoing, Pushed};
use crate::sink::erase::tombstones;
use crate::sink::ledger::{self, CONFIG, Entry, PLAN_FILE, SUCCESS, all_files};
use crate::store;
use crate::train::trained::MODEL_FILE;
use std::path::{Path, PathBuf};

/// What to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// Folder of a dataset or a model.
    pub folder: PathBuf,
    /// Where to: `hf://datasets/owner/name`, `hf://owner/name`, `s3://bucket/path`, `gs://..`, `az://..`.
    pub to: String,
    /// Take the place of what is there.
    pub replace: bool,
}

/// Pushes it: what is there already is not sent again, and the file that tells that all is there comes last.
///
/// # Errors
/// It is damaged or not complete; something else is at the place; the store fails.
pub fn run(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Pushed> {
    let folder = &request.folder;
    if !remote::takes(&request.to) {
        return Err(Error::Usage(format!("{}: expected hf://, s3://, gs:// or az:// and a place", request.to)));
    }
    // Nobody else changes it meanwhile.
    let _lock = store::lock(folder)?;
    let kind = whole(folder)?;
    let files = match kind {
        Kind::Dataset => of_dataset(folder)?,
        Kind::Model => {
            for file in [JUDGE_FILE, MODEL_FILE].map(|name| folder.join(name)).iter().filter(|file| file.exists()) {
                if sealed::is_marked(file)? {
                    return Err(Error::Usage(format!(
                        "{}: knows a person who was forgotten; train again without",
                        file.display()
                    )));
                }
            }
            of_names(folder, &[CONFIG, JUDGE_FILE, MODEL_FILE])?
        }
        Kind::Evaluation | Kind::Comparison => {
            return Err(Error::Usage(format!(
                "{}: {} shows real images and is not pushed; a dataset or a model is",
                folder.display(),
                kind.name()
            )));
        }
    };
    let texts = match kind {
        Kind::Model => vec![("README.md".to_owned(), model_card(folder)?)],
        _ => description(folder, &request.to, context)?.into_iter().collect(),
    };
    remote::push(folder, &files, &texts, (&request.to, request.replace), &context.access, progress)
}

/// The files of a dataset, the plan first and the summary last.
fn of_dataset(folder: &Path) -> Result<Vec<Outgoing>> {
    if tombstones(folder)?.is_some_and(|t| t.is_pending()) {
        return Err(Error::Usage(format!(
            "{}: the erasure of a person was interrupted; run that command again first",
            folder.display()
        )));
    }
    let mut files = of_names(folder, &[PLAN_FILE])?;
    files.extend(all_files(folder)?.into_iter().map(outgoing));
    files.extend(of_names(folder, &[SUCCESS])?);
    Ok(files)
}

/// What a dataset in Parquet is, for a hub. It names nobody.
fn description(folder: &Path, to: &str, context: &Context) -> Result<Option<(String, String)>> {
    let done = ledger::summary(folder)?.filter(|done| done.order.format == Parquet.name());
    let Some((done, (name, page))) = done.zip(remote::dataset_page(to, &context.access)) else { return Ok(None) };
    let what = format!(
        "{} synthetic and {} real face images of {} classes, made by augment {} with a CVAE-GAN.",
        done.synthetic, done.real, done.classes, done.order.program
    );
    let document =
        croissant::document(&name.replace('/', "-"), &page, &what, &format!("{}/*.parquet", Parquet.folder()));
    Ok(Some((croissant::FILE.to_owned(), format!("{document:#}\n"))))
}

/// The card of a model on a hub. It names nobody.
fn model_card(folder: &Path) -> Result<String> {
    let header = sealed::header(&folder.join(MODEL_FILE))?;
    let persons = header["identities"].as_array().map_or(0, Vec::len);
    let images: u64 = header["images"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_u64).sum();
    let (size, method) = (&header["config"]["image_size"], header["config"]["train"]["method"].as_str());
    Ok(format!(
        "---\nlibrary_name: augment\npipeline_tag: unconditional-image-generation\ntags:\n- face-recognition\n- data-augmentation\n- {}\n---\n\n\
         # A generator of faces\n\nTrained by `augment {}` on {images} photographs of {persons} persons at {size} px. It makes images of these persons:\n\n    \
         augment synthesize --model hf://OWNER/NAME@COMMIT --per-id 50\n\nIts weights, and the keys of the persons in its header, are personal data, as the photographs \
         are; the consent and limits that hold for them hold for it.\n",
        method.unwrap_or("cvae-gan"),
        env!("CARGO_PKG_VERSION"),
    ))
}

/// Those of `names` that are there.
fn of_names(folder: &Path, names: &[&str]) -> Result<Vec<Outgoing>> {
    let there = names.iter().filter(|name| folder.join(name).exists());
    there.map(|name| Entry::of(folder, name).map(outgoing)).collect()
}

fn outgoing(entry: Entry) -> Outgoing {
    Outgoing { path: entry.path, bytes: entry.bytes, hash: entry.blake3 }
}
