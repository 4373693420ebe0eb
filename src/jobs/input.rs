//! The images of a job: a manifest, and the rows of it to use.

use super::splits::choose_split;
use super::walk::HELD;
use super::{Context, boundary};
use crate::config::Alignment;
use crate::dataset::View;
use crate::dataset::decode::read_source;
use crate::error::{Error, Result};
use crate::manifest::{Census, Columns, Manifest, Policy};
use crate::remote;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// First pictures of a manifest that tell how large its pictures are.
const FIRST_PICTURES: usize = 64;

/// Which images to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Parquet file, folder or glob; `hf://datasets/owner/name@COMMIT/path.parquet` for the hub.
    pub manifest: String,
    /// Rows of this split, or of `all`; without one `train` if it occurs, else all.
    pub split: Option<String>,
    /// This identity set alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_set: Option<String>,
    /// Names of the columns.
    pub columns: Columns,
    /// Only rows whose subjects agreed to this purpose.
    pub purpose: Option<String>,
    /// The day that permissions are compared with; without one the context's.
    pub as_of: Option<NaiveDate>,
    /// Largest share of rows that may be rejected, in [0, 1].
    pub max_bad: f64,
}

impl Input {
    /// The rows of split `train`, or all rows, of `manifest`.
    pub fn new(manifest: impl Into<String>) -> Self {
        let (manifest, columns) = (manifest.into(), Columns::default());
        Self { manifest, split: None, identity_set: None, columns, purpose: None, as_of: None, max_bad: 0.001 }
    }

    /// The policy that is asked for.
    fn policy(&self, context: &Context) -> Result<Option<Policy>> {
        let Some(purpose) = &self.purpose else { return Ok(None) };
        let day = self.as_of.or(context.today);
        let day =
            day.ok_or_else(|| Error::Usage("option `purpose` needs a day: name one with option `as_of`".into()))?;
        Policy::new(purpose, day).map(Some)
    }
}

/// An opened manifest and the rows of it to use.
pub struct Source {
    /// What was asked for.
    pub spec: String,
    /// The manifest, of which only permitted rows are there.
    pub manifest: Manifest,
    /// What it holds.
    pub census: Census,
    /// Rows of this split only.
    pub split: Option<String>,
    /// This identity set alone.
    pub identity_set: Option<String>,
    /// What the rows must permit.
    pub policy: Option<Policy>,
    /// Largest share of rows that may be rejected.
    pub max_bad: f64,
    /// Names of the columns that were asked for.
    pub columns: Columns,
    /// Bytes of pixels that are held at a time, about.
    pub held: usize,
}

impl Source {
    /// Opens the manifest of `input` and chooses the split.
    ///
    /// # Errors
    /// A manifest that cannot be read, or holds no row to work on.
    pub fn open(input: &Input, context: &Context) -> Result<Self> {
        Self::open_begun(input, context, None)
    }

    /// [`Source::open`] for work that was begun under `begun`: that day counts, if the purpose is the same and no other day is asked
    /// for, and what has expired since is refused.
    ///
    /// # Errors
    /// Those of [`Source::open`]; rows that have expired.
    pub fn open_begun(input: &Input, context: &Context, begun: Option<Policy>) -> Result<Self> {
        let (spec, columns) = (input.manifest.clone(), input.columns.clone());
        if !(0.0..=1.0).contains(&input.max_bad) {
            return Err(Error::Usage(format!("option `max_bad` {} is not a share in [0, 1]", input.max_bad)));
        }
        let local = remote::localize_manifest(&spec, &context.cache, &context.access)?;
        boundary::try_manifest(&local, &columns, context)?;
        let mut manifest = Manifest::open(&local, &columns)?;
        let now = input.policy(context)?;
        let begun = begun.filter(|b| input.as_of.is_none() && now.as_ref().is_some_and(|n| n.purpose == b.purpose));
        let later = now.as_ref().filter(|now| begun.as_ref().is_some_and(|begun| begun.as_of < now.as_of)).cloned();
        let policy = begun.or(now);
        if let Some(policy) = &policy {
            manifest = manifest.restrict(policy, later.as_ref())?;
        }
        let census = Census::take(&manifest)?;
        let split = choose_split(&census.splits(), input.split.as_deref())
            .map_err(|e| Error::Manifest(format!("{spec}: {e}")))?;
        let (identity_set, max_bad) = (input.identity_set.clone(), input.max_bad);
        let source = Self { spec, manifest, census, split, identity_set, policy, max_bad, columns, held: HELD };
        source.check_identity_set()?;
        if later.is_some() {
            source.refuse_lapsed()?;
        }
        if source.sets().is_empty() {
            let why = if source.policy.is_some() { " that option `purpose` permits" } else { "" };
            let unlabelled: usize = source.census.unlabelled.values().sum();
            let why = match unlabelled {
                0 => format!("{why}; it has {} rows", source.manifest.rows()),
                n => format!(
                    "{why}: column `{}` is null or empty in {n} rows; write the persons' keys there, or name another column with option \
                     `identity_column`",
                    source.columns.identity
                ),
            };
            return Err(Error::Manifest(format!("{}: holds no labelled row to work on{why}", source.spec)));
        }
        Ok(source)
    }

    /// Refuses an identity set that has no row.
    fn check_identity_set(&self) -> Result<()> {
        let all = self.census.sets(self.split.as_deref());
        match &self.identity_set {
            Some(set) if !all.contains(set) => {
                let split = self.split.as_ref().map(|s| format!(" of split `{s}`")).unwrap_or_default();
                let message = format!(
                    "option `identity_set` {set}: no row{split} of {} is of it; there are: {}",
                    self.spec,
                    in_short(&all)
                );
                Err(Error::Usage(message))
            }
            _ => Ok(()),
        }
    }

    /// Which rows are used, in words.
    pub fn in_words(&self) -> String {
        let counts =
            |used: bool| -> usize { self.rows().filter(|(split, _)| !used || self.uses(split)).map(|(_, n)| n).sum() };
        let without: usize = self.rows().filter(|(split, _)| split.is_empty()).map(|(_, n)| n).sum();
        let mut others: Vec<String> = self.census.splits().into_iter().map(str::to_owned).collect();
        others.retain(|s| self.split.as_ref() != Some(s));
        if without > 0 {
            others.push(format!("{without} that name no split"));
        }
        let images =
            self.identity_set.as_ref().map_or("images".into(), |set| format!("images of identity set `{set}`"));
        match &self.split {
            Some(split) if others.is_empty() => format!("using {} {images}, all of split `{split}`", counts(true)),
            Some(split) => format!(
                "using {} of {} {images}: split `{split}`, not {}",
                counts(true),
                counts(false),
                others.join(", ")
            ),
            None if self.census.splits().is_empty() => {
                format!("using all {} {images}: they have no splits", counts(true))
            }
            None => {
                let splits = self.census.splits().into_iter().collect::<Vec<_>>().join(", ");
                format!("using all {} {images}, of the splits {splits}", counts(true))
            }
        }
    }

    /// Splits of the rows of the identity sets to use, and how many are of each.
    fn rows(&self) -> impl Iterator<Item = (&String, &usize)> {
        let labelled = self.census.images.iter().map(|((set, split, _), n)| (set, split, n));
        let all = labelled.chain(self.census.unlabelled.iter().map(|((set, split), n)| (set, split, n)));
        all.filter(|(set, ..)| self.serves(set)).map(|(_, split, n)| (split, n))
    }

    /// True if `set` is to be used.
    pub(super) fn serves(&self, set: &str) -> bool {
        self.identity_set.as_ref().is_none_or(|chosen| chosen == set)
    }

    /// Number of rows that are used and name no identity.
    pub(super) fn unlabelled(&self) -> usize {
        let used = |set: &str, split: &str| self.serves(set) && self.uses(split);
        self.census.unlabelled.iter().filter(|((set, split), _)| used(set, split)).map(|(_, n)| n).sum()
    }

    /// The manifest as it was named, and the identity set of it that is used alone.
    pub(super) fn named(&self) -> String {
        let set = self.identity_set.as_ref().map(|set| format!(", identity set {set}"));
        format!("{}{}", self.spec, set.unwrap_or_default())
    }

    /// Refuses rows whose permission has ended since the work was begun.
    pub(super) fn refuse_lapsed(&self) -> Result<()> {
        let (mut count, mut first) = (0usize, None);
        let places = self.census.places(&self.sets(), false);
        self.manifest.read_places(false, Some(&places), |rows| {
            for row in rows.into_iter().filter(|r| r.lapsed && self.uses(r.split.as_deref().unwrap_or_default())) {
                count += 1;
                first.get_or_insert((row.file, row.row));
            }
            Ok(())
        })?;
        match (first, &self.policy) {
            (Some((file, row)), Some(policy)) => Err(Error::Manifest(format!(
                "{file}: row {row} and {} others have expired since {}, when this output was begun with them; begin another one with \
                 option `out`",
                count - 1,
                policy.as_of
            ))),
            _ => Ok(()),
        }
    }

    /// True if rows of `split` are used.
    pub(super) fn uses(&self, split: &str) -> bool {
        self.split.as_deref().is_none_or(|want| want == split)
    }

    /// Identity sets to use that have rows, in order.
    pub fn sets(&self) -> Vec<String> {
        self.sets_in(self.split.as_deref())
    }

    /// Identity sets to use that have rows in `split`, in order.
    pub(super) fn sets_in(&self, split: Option<&str>) -> Vec<String> {
        let sets = self.census.sets(split).into_iter();
        sets.filter(|set| self.serves(set)).collect()
    }

    /// The identity set of a job that `serves` one.
    ///
    /// # Errors
    /// There are several.
    pub(super) fn set_of(&self, serves: &str) -> Result<String> {
        let sets = self.sets();
        let [set] = sets.as_slice() else {
            return Err(Error::Usage(format!(
                "{serves} one identity set, the manifest has {}: {}; choose with option `identity_set`",
                sets.len(),
                in_short(&sets)
            )));
        };
        Ok(set.clone())
    }

    /// Numbers of identities and of labelled images of `set`.
    pub fn count(&self, set: &str) -> (usize, usize) {
        let persons = self.persons(set);
        (persons.len(), persons.values().sum())
    }

    /// Identities of `set`, and the number of labelled images of each.
    pub fn persons(&self, set: &str) -> BTreeMap<&str, usize> {
        let rows = self.census.images.iter().filter(|((s, split, _), _)| s == set && self.uses(split));
        let mut persons = BTreeMap::new();
        rows.for_each(|((_, _, identity), n)| *persons.entry(identity.as_str()).or_default() += n);
        persons
    }

    /// Median side of what `alignment` shows of the first images that can be shown, in their pixels.
    ///
    /// # Errors
    /// The manifest cannot be read.
    pub fn typical_side(&self, alignment: Alignment) -> Result<Option<usize>> {
        let view = View::new(0, alignment);
        let mut sides: Vec<usize> = self
            .manifest
            .first(FIRST_PICTURES)?
            .iter()
            .filter_map(|row| {
                view.side(row.face.as_ref(), &row.column, &read_source(&row.image).ok()?).ok().map(|side| side as usize)
            })
            .collect();
        sides.sort_unstable();
        Ok(sides.get(sides.len() / 2).copied())
    }
}

/// The first of some names.
fn in_short<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    const SHOWN: usize = 8;
    let all: Vec<&str> = names.into_iter().map(String::as_str).collect();
    let more = all.len().saturating_sub(SHOWN);
    let shown = all[..all.len() - more].join(", ");
    if more > 0 { format!("{shown} and {more} others") } else { shown }
}
