//! What stands beside a set of records: the index, the list, `property`, and a configuration for arcface_torch; and what is wrong with them in
//! sets of others.

use super::records::{HEADER, Header, Reader};
use super::{ARCFACE, FOLDER, INDEX, LIST, PROPERTY, SET};
use crate::dataset::decode::look;
use crate::error::{Error, Result};
use crate::store;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes the files beside the set `set`, whose images are called `names`, each at its `place`.
pub(super) fn describe(set: &Path, names: &[String], classes: usize, place: &dyn Fn(&str) -> PathBuf) -> Result<()> {
    let (mut images, mut counts, mut headers, mut size) = (Vec::new(), BTreeMap::<i64, u64>::new(), Vec::new(), None);
    let mut reader = Reader::open(set)?;
    loop {
        let at = reader.offset;
        // The first image is read whole: how large it is, only the picture says.
        let most = if size.is_some() || images.is_empty() && at == 0 { HEADER } else { usize::MAX };
        let Some((data, _)) = reader.next(most)? else { break };
        let header = Header::read(&data).ok_or_else(|| reader.damaged("is too short"))?;
        if header.flag > 0 {
            headers.push(at);
            continue;
        }
        if size.is_none() {
            size = Some(look(&data[HEADER..]).map_err(|e| reader.damaged(&e))?);
        }
        let label = header.label as i64;
        images.push((label, at));
        *counts.entry(label).or_default() += 1;
    }
    if images.len() != names.len() || headers.len() != classes + 1 {
        return Err(reader.damaged("is not the last one that there should be"));
    }
    let mut next: BTreeMap<i64, u64> = BTreeMap::new();
    let mut from = 1;
    for (label, n) in &counts {
        next.insert(*label, from);
        from += n;
    }
    let lines = |name: &str| Ok::<_, Error>(BufWriter::new(store::create(&place(name))?));
    let failed = |name: &str, e: std::io::Error| Error::io(place(name), e);
    let (mut list, mut places) = (lines(LIST)?, vec![0; images.len()]);
    for ((label, at), name) in images.iter().zip(names) {
        let key = next.entry(*label).or_default();
        writeln!(list, "{key}\t{label}\t{name}").map_err(|e| failed(LIST, e))?;
        places[*key as usize - 1] = *at;
        *key += 1;
    }
    list.flush().map_err(|e| failed(LIST, e))?;
    let mut index = lines(INDEX)?;
    let all = headers[..1].iter().chain(&places).chain(&headers[1..]);
    for (key, at) in all.enumerate() {
        writeln!(index, "{key}\t{at}").map_err(|e| failed(INDEX, e))?;
    }
    index.flush().map_err(|e| failed(INDEX, e))?;
    let (w, h) = size.unwrap_or_default();
    store::write(&place(PROPERTY), format!("{classes},{h},{w}\n").as_bytes())?;
    store::write(&place(ARCFACE), arcface(classes, images.len()).as_bytes())
}

/// What is wrong with the file `set` of records, and what stands beside it.
///
/// # Errors
/// A file cannot be read.
pub fn problems(set: &Path) -> Result<Vec<String>> {
    let (mut problems, mut places, mut first, mut classes) = (Vec::new(), BTreeSet::new(), None, BTreeSet::new());
    let mut reader = Reader::open(set)?;
    loop {
        let at = reader.offset;
        let Some((data, _)) = reader.next(HEADER + 8)? else { break };
        places.insert(at);
        match Header::read(&data) {
            Some(header) if header.flag > 0 && data.len() == HEADER + 8 && at == 0 => first = Some(data),
            Some(header) if header.flag == 0 => _ = classes.insert(header.label.to_bits()),
            _ => {}
        }
    }
    let number = |data: &[u8], at: usize| data[HEADER + at..].first_chunk().map_or(0.0, |b| f32::from_le_bytes(*b));
    match &first {
        None => {
            problems.push("no record of key 0 that says which keys are images: AdaFace's converter needs it".into());
        }
        Some(data) if number(data, 4) as usize != places.len() => problems.push(format!(
            "the record of key 0 tells of {} records, there are {}",
            number(data, 4),
            places.len()
        )),
        Some(_) => {}
    }
    if set.file_name().is_none_or(|name| name != SET) {
        problems.push(format!("{} is not called {SET}: arcface_torch and AdaFace look for that name", set.display()));
    }
    let index = set.with_extension("idx");
    match std::fs::read_to_string(&index) {
        Ok(text) => {
            let line = |line: &str| line.split_once('\t').and_then(|(_, at)| at.trim().parse::<u64>().ok());
            let listed: Vec<Option<u64>> = text.lines().map(line).collect();
            let wrong = listed.iter().filter(|at| at.is_none_or(|at| !places.contains(&at))).count();
            if wrong > 0 || listed.len() != places.len() {
                problems.push(format!(
                    "{}: {} lines for {} records, {wrong} of them lead to none",
                    index.display(),
                    listed.len(),
                    places.len()
                ));
            }
        }
        Err(_) => {
            problems.push(format!("{} is not there: trainings read images in another order by it", index.display()));
        }
    }
    if let Ok(property) = std::fs::read_to_string(set.with_file_name(PROPERTY)) {
        let told = property.split(',').next().and_then(|n| n.trim().parse::<usize>().ok());
        if told.is_none_or(|told| told < classes.len()) {
            problems.push(format!("{PROPERTY} says `{}`, the records have {} labels", property.trim(), classes.len()));
        }
    }
    Ok(problems)
}

/// A configuration for arcface_torch.
fn arcface(classes: usize, images: usize) -> String {
    format!(
        "# For insightface's arcface_torch: copy it into its configs/, and write the path of this folder as `rec`.\n\
         from easydict import EasyDict as edict\n\n\
         config = edict()\nconfig.rec = \"{FOLDER}\"\nconfig.num_classes = {classes}\nconfig.num_image = {images}\n"
    )
}
