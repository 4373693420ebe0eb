//! Which split a name means, and which splits of a manifest an evaluation uses, where nobody names them: a split of other persons is its test, one of the training persons
//! its held-out images.

use super::input::Source;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::sink::order::Order;
use std::collections::{BTreeMap, BTreeSet};

/// Names that splits for testing have, the one that is to be looked at first before the others.
const USUAL: [&str; 5] = ["dev", "val", "validation", "valid", "test"];

/// The splits of an identity set that serve an evaluation.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Splits {
    /// Shows other persons than the training images, two or more, one of them twice.
    pub of_others: Option<String>,
    /// Shows training persons only.
    pub of_known: Option<String>,
}

impl Splits {
    /// Those of `set` in `source`.
    pub fn of(source: &Source, set: &str) -> Self {
        let Some(training) = &source.split else { return Self::default() };
        let mut splits: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for ((_, split, identity), n) in source.census.images.iter().filter(|((s, _, _), _)| s == set) {
            *splits.entry(split).or_default().entry(identity).or_default() += n;
        }
        Self::among(&splits, training)
    }

    /// Those among `splits`, by the number of images of each person, where `training` is trained on.
    fn among(splits: &BTreeMap<&str, BTreeMap<&str, usize>>, training: &str) -> Self {
        let known: BTreeSet<&str> = splits.get(training).into_iter().flatten().map(|(person, _)| *person).collect();
        let first = |serves: &dyn Fn(&BTreeMap<&str, usize>) -> bool| {
            let serving =
                splits.iter().filter(|(name, persons)| **name != training && !name.is_empty() && serves(persons));
            let rank = |name: &str| USUAL.iter().position(|usual| *usual == name).unwrap_or(USUAL.len());
            serving.map(|(name, _)| *name).min_by_key(|name| (rank(name), *name)).map(str::to_owned)
        };
        Self {
            of_others: first(&|persons| {
                persons.keys().all(|p| !known.contains(p)) && persons.len() >= 2 && persons.values().any(|n| *n >= 2)
            }),
            of_known: first(&|persons| persons.keys().all(|p| known.contains(p))),
        }
    }
}

/// Refuses a split `name`, by option `option`, that `learners` would learn from, or that nobody of `set` has.
///
/// # Errors
/// `Usage`: it is such a one.
pub(super) fn check_split(source: &Source, set: &str, option: &str, name: &str, learners: &str) -> Result<()> {
    if source.split.as_deref().is_none_or(|s| s == name) {
        return Err(Error::Usage(format!(
            "option `{option}` {name}: {learners} would be trained on these rows too; choose others with option `split`"
        )));
    }
    if !source.census.images.keys().any(|(s, split, _)| s == set && split == name) {
        let have = source.census.splits().into_iter().collect::<Vec<_>>().join(", ");
        return Err(Error::Usage(format!(
            "option `{option}` {name}: no row of {} has this split; there are: {have}",
            source.named()
        )));
    }
    Ok(())
}

/// The split `held_out`, which an option names where it is `named`, unless the generator of `made` learned from it: then its images measure
/// nothing. Says so where the generator learned from other rows of the manifest than the recognisers are to.
///
/// # Errors
/// It did, and the split is named.
pub(super) fn unseen(
    held_out: Option<String>,
    named: bool,
    made: &Order,
    source: &Source,
    progress: &mut dyn Progress,
) -> Result<Option<String>> {
    if made.manifest_hash != source.manifest.hash() {
        if let Some(name) = &held_out {
            progress.note(&format!(
                "the synthetic images were not made from {}: nobody knows whether their generator learned from split {name}",
                source.named()
            ));
        }
        return Ok(held_out);
    }
    if made.split == source.split {
        return Ok(held_out);
    }
    let (whole, part) = ("all rows".to_owned(), |name: &String| format!("split {name}"));
    let learned = made.split.as_ref().map_or_else(|| whole.clone(), part);
    let seen = held_out.as_ref().filter(|name| made.split.as_ref().is_none_or(|split| split == *name));
    if let (Some(name), true) = (seen, named) {
        return Err(Error::Usage(format!(
            "option `held_out` {name}: the generator of the synthetic images learned from {learned}, these among them; choose other rows, or \
             make the images from the rows that option `split` chooses"
        )));
    }
    progress.warn(&format!(
        "the generator of the synthetic images learned from {learned}, the recognisers learn from {}: what is measured is what other rows show, too{}",
        source.split.as_ref().map_or(whole, part),
        seen.map_or(String::new(), |name| format!("; split {name} is not taken for held-out images"))
    ));
    Ok(held_out.clone().filter(|_| seen.is_none()))
}

/// The split among `splits` that `wanted` means: a name as it is, or up to case and blanks; without one what is called `train`, if anything
/// is; none for all rows.
pub(super) fn choose_split(
    splits: &BTreeSet<&str>,
    wanted: Option<&str>,
) -> std::result::Result<Option<String>, String> {
    let plain = |name: &str| match name.trim().to_lowercase().as_str() {
        "training" => "train".to_owned(),
        name => name.to_owned(),
    };
    let name = wanted.unwrap_or("train");
    if name == "all" {
        return Ok(None);
    }
    if splits.contains(name) {
        return Ok(Some(name.to_owned()));
    }
    let near: Vec<&str> = splits.iter().copied().filter(|s| plain(s) == plain(name)).collect();
    match near[..] {
        [one] => Ok(Some(one.to_owned())),
        [] if wanted.is_none() => Ok(None),
        [] if splits.is_empty() => Err(format!("no row has split `{name}`: none has a split at all")),
        [] => Err(format!(
            "no row has split `{name}`; there are: {}, all",
            splits.iter().copied().collect::<Vec<_>>().join(", ")
        )),
        _ => Err(format!(
            "several splits may be meant by `{name}`: `{}`; name one with option `split`",
            near.join("`, `")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_serve_by_whom_they_show() {
        let persons = |names: &[&'static str]| names.iter().map(|n| (*n, 2)).collect::<BTreeMap<_, _>>();
        let splits = BTreeMap::from([
            ("", persons(&["x", "y"])),
            ("dev", persons(&["c", "d"])),
            ("mixed", persons(&["a", "e"])),
            ("one", persons(&["f"])),
            ("other", persons(&["g", "h"])),
            ("test", persons(&["a"])),
            ("train", persons(&["a", "b"])),
            ("val", persons(&["a", "b"])),
        ]);
        let found = |training: &str| Splits::among(&splits, training);
        assert_eq!(found("train"), Splits { of_others: Some("dev".into()), of_known: Some("val".into()) });
        assert_eq!(found("one"), Splits { of_others: Some("dev".into()), of_known: None });
    }

    #[test]
    fn splits_are_meant_up_to_case_and_blanks() {
        let choose = |splits: &[&str], wanted| choose_split(&splits.iter().copied().collect(), wanted);
        let found = |name: &str| Ok(Some(name.to_owned()));
        assert_eq!(choose(&["test", "train"], None), found("train"));
        assert_eq!(choose(&["Test", "Train "], None), found("Train "));
        assert_eq!(choose(&["testing", "training"], None), found("training"));
        assert_eq!(choose(&["0", "1"], None), Ok(None));
        assert_eq!(choose(&["train"], Some("all")), Ok(None));
        assert_eq!(choose(&["TEST"], Some("test")), found("TEST"));
        assert!(choose(&["Train", "TRAIN"], None).unwrap_err().contains("`TRAIN`, `Train`"));
        assert!(choose(&[], Some("test")).unwrap_err().contains("none has a split"));
        assert!(choose(&["test"], Some("tset")).unwrap_err().contains("there are: test, all"));
    }
}
