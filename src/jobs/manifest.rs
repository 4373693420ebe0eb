//! Makes a manifest of what people have: reads a source, divides it into splits, writes Parquet, and says what should be known before
//! hours are spent on it.

pub use super::findings::{Findings, SplitCount};
use super::findings::{Looked, Seen, key};
use super::input::rejects_path;
use super::shares::Division;
pub use super::shares::Shares;
use super::{Context, Rejected, place};
use crate::config::Alignment;
use crate::dataset::View;
use crate::dataset::decode::{self, MAX_FILE};
use crate::detector::{Detector, principal};
use crate::error::{Error, Result};
use crate::manifest::rejects::{self, Reject};
use crate::manifest::write::{Entry, FoundFace, OPTIONAL, Writer, is_ours, without_faces};
use crate::manifest::{Columns, Root};
use crate::progress::Progress;
use crate::remote;
use crate::sources::{self, Chunk, Item, Picture};
use crate::store;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

/// Bytes of pictures that are looked at and written at a time, about.
const AT_ONCE: u64 = 64 << 20;
/// Why a photograph without a face is left out.
const FACELESS: &str = "no face was found in it";
/// Chunks of pictures that are read, and rows that are ready, before their turn.
const AHEAD: usize = 2;

/// What to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// Folder of persons, list (CSV, TSV, JSON lines), RecordIO, tar, Parquet, or a glob of tars or Parquet files.
    pub source: String,
    /// The manifest to write.
    pub out: PathBuf,
    /// Names of the source's columns.
    pub columns: Columns,
    /// Name images by paths relative to the manifest instead of embedding them.
    pub link: bool,
    /// Divide the images into splits.
    pub shares: Option<Shares>,
    /// Root of the random stream that divides them.
    pub seed: u64,
    /// Decode every image, not only look at its head: finds what is damaged inside, and equal pixels in different files.
    pub check: bool,
    /// What of a picture is to be shown whose face is known: what cannot be is left out.
    pub alignment: Alignment,
    /// Find the face in every photograph by this network in ONNX, a file or its address on the hub; where it lies, columns say.
    pub detector: Option<String>,
    /// Score below which nothing is taken for a face, in [0, 1].
    pub min_score: f64,
    /// Count images and persons, and write nothing.
    pub dry_run: bool,
}

/// [`Request::min_score`] where nothing else is asked for.
pub const MIN_SCORE: f64 = 0.6;

impl Request {
    /// Embeds all images of `source`, as they are divided there.
    pub fn new(source: impl Into<String>, out: impl Into<PathBuf>) -> Self {
        Self {
            source: source.into(),
            out: out.into(),
            columns: Columns::default(),
            link: false,
            shares: None,
            seed: 0,
            check: false,
            alignment: Alignment::default(),
            detector: None,
            min_score: MIN_SCORE,
            dry_run: false,
        }
    }
}

/// A manifest that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// What the source is.
    pub kind: &'static str,
    /// Its rows.
    pub rows: usize,
    /// Persons.
    pub identities: usize,
    /// Images by split; one without a name where there are none.
    pub splits: BTreeMap<String, SplitCount>,
    /// What was found.
    pub findings: Findings,
    /// What was passed over, in words.
    pub passed_over: Option<String>,
    /// Images that were left out.
    pub rejected: Rejected,
}

/// Makes the manifest.
///
/// # Errors
/// A source that cannot be read, or holds no image of a person; an output that is somebody else's file.
pub fn run(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Made> {
    let out = &request.out;
    place::usable_parquet(out, is_ours)?;
    let list = rejects_path(&out.with_extension(""))?;
    let detector = match &request.detector {
        Some(spec) => {
            let path = remote::localize_file(spec, &context.cache, &context.access)?;
            Some(Detector::load(&path, request.min_score)?)
        }
        None => None,
    };
    let source = sources::open(&request.source, &request.columns, out)?;
    // The labels alone: how many there are, and what the source itself divides.
    let (mut counts, mut total) = (BTreeMap::<String, usize>::new(), 0);
    let mut there = [request.shares.is_some(), false, false, detector.is_some()];
    source.read(false, &mut |chunk| {
        total += chunk.items.len();
        for item in chunk.items {
            there[0] |= item.split.is_some();
            there[1] |= item.identity_set.is_some();
            there[2] |= item.group.is_some();
            let usable = !matches!(item.picture, Picture::None(..));
            if let Some(identity) = item.identity.filter(|i| usable && !i.trim().is_empty()) {
                *counts.entry(key(&identity, item.identity_set.as_deref())).or_default() += 1;
            }
        }
        if progress.stop_requested() { Err(Error::Stopped) } else { Ok(()) }
    })?;
    if counts.is_empty() {
        let passed = source.passed_over().map_or(String::new(), |others| format!("; passed over {others}"));
        return Err(Error::Manifest(format!(
            "{}: holds no image with a person's name: {}{passed}",
            request.source,
            source.naming()
        )));
    }
    if request.dry_run {
        let (rows, identities) = (counts.values().sum(), counts.len());
        let rejected = Rejected { count: 0, list };
        let (splits, findings) = (BTreeMap::new(), Findings::of_counts(&counts.values().copied()));
        return Ok(Made {
            kind: source.kind(),
            rows,
            identities,
            splits,
            findings,
            passed_over: source.passed_over(),
            rejected,
        });
    }
    let division = match &request.shares {
        Some(shares) => Some(shares.divide(&counts, request.seed)?),
        None => None,
    };
    let folder = out.parent().unwrap_or(Path::new(""));
    let extras = source.extras();
    // What is found here takes the place of what was known before.
    let kept = if detector.is_some() { without_faces(&extras) } else { (0..extras.fields().len()).collect() };
    let extras = extras.project(&kept).map_err(|e| store::failed(out, &e))?;
    let columns = OPTIONAL.into_iter().zip(there).filter(|(_, there)| *there).map(|(name, _)| name).collect();
    let mut writer = Writer::create(out, request.link, columns, &extras)?;
    let root = if request.link { Some(Root::open(folder)?) } else { None };
    let (seen, rejected) = (Seen::default(), Vec::new());
    let mut sorting = Sorting { request, root, detector, kept, division, seen, faceless: 0, rejected };
    progress.start("manifest", total as u64, "images");
    // Reading, looking and writing overlap.
    let (read, written) = std::thread::scope(|scope| {
        let (chunks, read) = sync_channel::<Chunk>(AHEAD);
        let reading = scope.spawn(move || {
            let outcome = source.read(true, &mut |chunk| chunks.send(chunk).map_err(|_| Error::Stopped));
            (source, outcome)
        });
        let (rows, looked) = sync_channel::<Rows>(AHEAD);
        let writing = scope.spawn(move || -> Result<Writer> {
            for (entries, extras) in looked {
                writer.write(&entries, extras.as_ref())?;
            }
            Ok(writer)
        });
        let mut done = 0;
        let mut handle = |chunk: Chunk| -> Result<()> {
            done += chunk.items.len() as u64;
            for found in sorting.sort(chunk)? {
                // A writer that has ended says why.
                rows.send(found).map_err(|_| Error::Stopped)?;
            }
            progress.at(done);
            if progress.stop_requested() { Err(Error::Stopped) } else { Ok(()) }
        };
        let handled = read.iter().try_for_each(&mut handle);
        drop((read, rows));
        let lost = |_| Error::Internal("a thread ended unexpectedly".into());
        let (source, outcome) = reading.join().map_err(lost)?;
        let written = writing.join().map_err(lost)?;
        Ok::<_, Error>(((source, outcome, handled), written))
    })?;
    let writer = written?;
    let (source, outcome, handled) = read;
    // Who was told to stop ended because of the other.
    match (handled, outcome) {
        (Err(e), _) | (Ok(()), Err(e)) => return Err(e),
        (Ok(()), Ok(())) => {}
    }
    let Sorting { mut seen, faceless, rejected, .. } = sorting;
    if seen.names.is_empty() {
        let first = rejected.first().map(ToString::to_string).unwrap_or_default();
        return Err(Error::Manifest(format!("{}: no image can be used; the first: {first}", request.source)));
    }
    let rows = writer.finish()?;
    progress.finish();
    if list.exists() {
        store::remove(&list)?;
    }
    if !rejected.is_empty() {
        rejects::write(&list, &rejected)?;
    }
    Ok(Made {
        kind: source.kind(),
        rows,
        identities: seen.names.len(),
        splits: seen.splits(),
        findings: Findings { faceless, ..seen.findings() },
        passed_over: source.passed_over(),
        rejected: Rejected { count: rejected.len(), list },
    })
}

/// Rows to write, and their kept columns.
type Rows = (Vec<Entry>, Option<RecordBatch>);

/// Images on their way into rows.
struct Sorting<'a> {
    request: &'a Request,
    /// The folder that linked images must lie in.
    root: Option<Root>,
    detector: Option<Detector>,
    /// Columns of the source that are kept.
    kept: Vec<usize>,
    division: Option<Division>,
    seen: Seen,
    /// Photographs without a face.
    faceless: usize,
    rejected: Vec<Reject>,
}

impl Sorting<'_> {
    /// The usable images of `chunk`, as many at a time as are not too large together.
    fn sort(&mut self, chunk: Chunk) -> Result<Vec<Rows>> {
        let size = |item: &Item| match &item.picture {
            Picture::Bytes(bytes) => bytes.len() as u64,
            Picture::File(path) => std::fs::metadata(path).map_or(0, |m| m.len()),
            Picture::Below(_) => MAX_FILE / 8,
            Picture::Skipped | Picture::None(..) => 0,
        };
        let (mut items, mut from, mut found) = (chunk.items.into_iter().peekable(), 0, Vec::new());
        while items.peek().is_some() {
            let (mut some, mut bytes) = (Vec::new(), 0);
            while let Some(item) = items.next_if(|_| some.is_empty() || bytes < AT_ONCE) {
                bytes += size(&item);
                some.push(item);
            }
            let extras = chunk.extras.as_ref().map(|extras| extras.slice(from, some.len()));
            from += some.len();
            found.extend(self.sort_some(some, extras.as_ref())?);
        }
        Ok(found)
    }

    fn sort_some(&mut self, items: Vec<Item>, extras: Option<&RecordBatch>) -> Result<Option<Rows>> {
        let this = &*self;
        let looked: Vec<std::result::Result<(Entry, Looked), Reject>> =
            items.into_par_iter().map(|item| this.look(item)).collect();
        let (mut entries, mut kept) = (Vec::new(), Vec::new());
        for (row, found) in looked.into_iter().enumerate() {
            match found {
                Ok((mut entry, looked)) => {
                    if let Some(division) = &mut self.division {
                        entry.split =
                            Some(division.next(&key(&entry.identity, entry.identity_set.as_deref())).to_owned());
                    }
                    let (set, split) = (entry.identity_set.as_deref(), entry.split.as_deref());
                    self.seen.add(&entry.identity, set, split, &looked);
                    entries.push(entry);
                    kept.push(row as u32);
                }
                Err(reject) => {
                    self.faceless += usize::from(reject.reason == FACELESS);
                    self.rejected.push(reject);
                }
            }
        }
        let extras = extras.map(|extras| {
            let rows = UInt32Array::from(kept);
            extras
                .project(&self.kept)
                .and_then(|extras| take_record_batch(&extras, &rows))
                .map_err(|e| store::failed(&self.request.out, &e))
        });
        Ok(if entries.is_empty() { None } else { Some((entries, extras.transpose()?)) })
    }

    /// The row of `item`, if it can be used. With a root, its picture is named by a path below that.
    fn look(&self, item: Item) -> std::result::Result<(Entry, Looked), Reject> {
        let (request, root) = (self.request, self.root.as_ref());
        let (file, row, at) = item.place.clone();
        let path = match &item.picture {
            Picture::File(path) => Some(path.clone()),
            Picture::Below(image) => Some(image.absolute()),
            Picture::None(_, path) => path.as_ref().map(PathBuf::from),
            Picture::Bytes(_) | Picture::Skipped => None,
        };
        let shown = path.as_ref().map(|p| p.display().to_string());
        let refuse = |reason: String| Reject { file: file.clone(), row, item: at, reason, path: shown.clone() };
        if let Picture::None(reason, _) = item.picture {
            return Err(refuse(reason));
        }
        let identity =
            item.identity.filter(|i| !i.trim().is_empty()).ok_or_else(|| refuse("it names no person".into()))?;
        let (bytes, name) = match (item.picture, root, &path) {
            (_, Some(_), None) => return Err(refuse("it lies in no file of its own: leave out option `link`".into())),
            // What is written is what was read, as its reader will read it.
            (_, Some(root), Some(path)) => {
                let image = std::path::absolute(path).map_err(|e| e.to_string());
                let image = image.and_then(|path| root.image(path.to_str().ok_or("its path is no UTF-8")?));
                let image = image.map_err(|e| refuse(format!("{e}; or leave out option `link`")))?;
                (image.read(MAX_FILE).map_err(&refuse)?, Some(image.path.to_string_lossy().into_owned()))
            }
            (Picture::Bytes(bytes), None, _) => (bytes, None),
            (Picture::File(path), None, _) => (read(&path).map_err(&refuse)?, None),
            (Picture::Below(image), None, _) => (image.read(MAX_FILE).map_err(&refuse)?, None),
            (Picture::Skipped | Picture::None(..), None, _) => return Err(refuse("it was not read".into())),
        };
        let view = View::new(0, request.alignment);
        let (mut face, mut known) = (None, item.face);
        let pixels = if request.check || self.detector.is_some() {
            Some(decode::decode_bytes(&bytes).map_err(&refuse)?)
        } else {
            None
        };
        if let (Some(detector), Some(pixels)) = (&self.detector, &pixels) {
            let faces = detector.find(pixels).map_err(&refuse)?;
            let found = principal(&faces, pixels.width(), pixels.height()).ok_or_else(|| refuse(FACELESS.into()))?;
            known = Some(Ok(found.face()));
            face = Some(FoundFace {
                landmarks: found.landmarks.map(|v| v as f32),
                bbox: found.bbox.map(|v| v as f32),
                score: found.score as f32,
                faces: faces.len() as i32,
            });
        }
        let side = view.side(known.as_ref(), "image", &bytes).map_err(&refuse)?;
        let hashed = pixels.as_ref().map_or(&bytes[..], |pixels| pixels.as_raw());
        let looked = Looked::at(hashed, Some(side), face.map_or(1, |f| f.faces as usize));
        let file_name = || path.as_ref().and_then(|p| p.file_name()).map(|n| n.to_string_lossy().into_owned());
        let path = name.or_else(file_name).or_else(|| item.image_id.clone()).unwrap_or_default();
        let image = if request.link { Vec::new() } else { bytes };
        let Item { image_id, split, identity_set, group, .. } = item;
        Ok((Entry { identity, image_id, image, path, split, identity_set, group, face }, looked))
    }
}

/// The bytes of the file `path`.
fn read(path: &Path) -> std::result::Result<Vec<u8>, String> {
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => format!("file {} is not there", path.display()),
        _ => format!("file {} cannot be read: {e}", path.display()),
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(format!("{} is no regular file", path.display()));
    }
    if metadata.len() > MAX_FILE {
        return Err(format!("file {} has {} bytes, more than {MAX_FILE}", path.display(), metadata.len()));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    std::fs::File::open(path).and_then(|f| f.take(MAX_FILE).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}
