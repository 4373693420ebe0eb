//! Makes a manifest of what people have: reads a source, divides it into splits, writes Parquet, and says what should be known before
//! hours are spent on it.

use super::findings::key;
pub use super::findings::{Findings, SplitCount};
pub use super::shares::Shares;
use super::sorting::{Rows, Sorting};
use super::{Context, Rejected, place};
use crate::config::Alignment;
use crate::detector::Detector;
use crate::error::{Error, Result};
use crate::manifest::rejects::{self, Reject};
use crate::manifest::write::{OPTIONAL, Writer, is_ours, without_faces};
use crate::manifest::{Columns, REJECTS_SUFFIX, Root, SUSPECTS_SUFFIX};
use crate::progress::Progress;
use crate::recogniser::outside::Outside;
use crate::remote;
use crate::sources::{self, Chunk, Picture};
use crate::store;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

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
    /// Find images whose label is in doubt by this face network in ONNX, a file or its address on the hub.
    pub judge: Option<String>,
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
            judge: None,
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
    /// Images that look more like another person than like their own, if a judge looked: they are not left out.
    pub suspects: Option<Rejected>,
}

/// Makes the manifest.
///
/// # Errors
/// A source that cannot be read, or holds no image of a person; an output that is somebody else's file.
pub fn run(request: &Request, context: &Context, progress: &mut dyn Progress) -> Result<Made> {
    let out = &request.out;
    place::usable_parquet(out, is_ours)?;
    let list = place::named_list(&out.with_extension(""), REJECTS_SUFFIX, "rejected rows")?;
    let doubted = place::named_list(&out.with_extension(""), SUSPECTS_SUFFIX, "images whose label is in doubt")?;
    let local = |spec: &String| remote::localize_file(spec, &context.cache, &context.access);
    let detector =
        request.detector.as_ref().map(|spec| Detector::load(&local(spec)?, request.min_score)).transpose()?;
    let judge = request.judge.as_ref().map(|spec| Outside::load(&local(spec)?, None)).transpose()?;
    let source = sources::open(&request.source, &request.columns, out)?;
    // The labels alone: how many there are, and what the source itself divides.
    let (mut counts, mut total) = (BTreeMap::<String, usize>::new(), 0);
    let (mut unusable, mut unnamed) = (None, false);
    let mut there = [request.shares.is_some(), false, false, detector.is_some()];
    source.read(false, &mut |chunk| {
        total += chunk.items.len();
        for item in chunk.items {
            there[0] |= item.split.is_some();
            there[1] |= item.identity_set.is_some();
            there[2] |= item.group.is_some();
            let identity = item.identity.filter(|i| !i.trim().is_empty());
            if let Picture::None(reason, path) = item.picture {
                let (file, row, item) = item.place;
                unusable.get_or_insert(Reject { file, row, item, reason, path });
            } else if let Some(identity) = identity {
                *counts.entry(key(&identity, item.identity_set.as_deref())).or_default() += 1;
            } else {
                unnamed = true;
            }
        }
        progress.go_on()
    })?;
    if counts.is_empty() {
        let passed = source.passed_over().map_or(String::new(), |others| format!("; passed over {others}"));
        let what = match unusable.filter(|_| !unnamed) {
            Some(first) => format!("image that can be used; the first: {first}"),
            None => format!("image with a person's name: {}", source.naming()),
        };
        return Err(Error::Manifest(format!("{}: holds no {what}{passed}", request.source)));
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
            suspects: None,
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
    let mut sorting = Sorting::new(request, root, detector, judge, kept, division);
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
            progress.reached(done)
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
    let Sorting { mut seen, faceless, rejected, suspects, .. } = sorting;
    if seen.names.is_empty() {
        let first = rejected.first().map(ToString::to_string).unwrap_or_default();
        return Err(Error::Manifest(format!("{}: no image can be used; the first: {first}", request.source)));
    }
    let rows = writer.finish()?;
    progress.finish();
    let found = suspects.as_ref().map(|s| s.find(&seen.names, progress)).transpose()?;
    write_list(&list, &rejected)?;
    write_list(&doubted, found.as_deref().unwrap_or_default())?;
    Ok(Made {
        kind: source.kind(),
        rows,
        identities: seen.names.len(),
        splits: seen.splits(),
        findings: Findings { faceless, ..seen.findings() },
        passed_over: source.passed_over(),
        rejected: Rejected { count: rejected.len(), list },
        suspects: found.map(|found| Rejected { count: found.len(), list: doubted }),
    })
}

/// Writes a list of rows, in the place of one that is there.
fn write_list(path: &Path, rows: &[Reject]) -> Result<()> {
    if path.exists() {
        store::remove(path)?;
    }
    if rows.is_empty() { Ok(()) } else { rejects::write(path, rows) }
}
