//! What the subjects of a manifest agreed to: with a policy, only rows that satisfy it exist for the rest of the program.

use super::schema::{Field, text_field};
use crate::error::{Error, Result};
use arrow::datatypes::Schema;
use chrono::{NaiveDate, NaiveDateTime};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::path::Path;

/// Columns that a policy reads: whether the subject agreed, to what (names separated by `;`), and until which day.
pub const COLUMNS: [&str; 3] = ["consent", "purpose", "expires"];

/// What a run is for, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The purpose that rows must name.
    pub purpose: String,
    /// The day on which rows must not have expired.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub as_of: NaiveDate,
}

impl Policy {
    /// A policy for `purpose` on the day `as_of`.
    ///
    /// # Errors
    /// `purpose` is no single name.
    pub fn new(purpose: &str, as_of: NaiveDate) -> Result<Self> {
        if purpose.is_empty() || purpose.contains(';') {
            return Err(Error::Usage("option `purpose` must name one purpose, without `;`".into()));
        }
        Ok(Self { purpose: purpose.to_owned(), as_of })
    }

    /// Whether a row with these values of [`COLUMNS`] may be used; a missing value never permits.
    pub fn permits(&self, [consent, purpose, expires]: [Option<&str>; 3]) -> bool {
        let agreed = consent.is_some_and(|c| ["true", "yes", "1"].contains(&c.trim().to_lowercase().as_str()));
        let named = purpose.is_some_and(|p| p.split(';').any(|p| p.trim() == self.purpose));
        let lasts = expires.and_then(|e| day(e.trim())).is_some_and(|e| e >= self.as_of);
        agreed && named && lasts
    }

    /// This policy and where a file keeps [`COLUMNS`]; all of them must be there.
    pub(super) fn terms(
        &self,
        later: Option<&Self>,
        path: &Path,
        schema: &Schema,
        folders: &[(String, Option<String>)],
    ) -> Result<Terms> {
        let field = |name: &str| {
            text_field(path, schema, name, folders)?.ok_or_else(|| {
                let columns = COLUMNS.join(", ");
                Error::Manifest(format!(
                    "{}: column `{name}` is missing; option `purpose` needs {columns}",
                    path.display()
                ))
            })
        };
        let [consent, purpose, expires] = COLUMNS;
        Ok(Terms {
            policy: self.clone(),
            later: later.cloned(),
            fields: [field(consent)?, field(purpose)?, field(expires)?],
        })
    }
}

/// A policy as it applies to one file.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub policy: Policy,
    /// A later day of the same purpose: rows that it does not permit have lapsed.
    pub later: Option<Policy>,
    /// Places of [`COLUMNS`].
    pub fields: [Field; 3],
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn as_text<S: Serializer>(day: &NaiveDate, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.collect_str(day)
}

fn from_text<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<NaiveDate, D::Error> {
    let text = String::deserialize(from)?;
    day(&text).ok_or_else(|| serde::de::Error::custom("expected YYYY-MM-DD"))
}

/// The day of a date or time in the notation of ISO 8601.
fn day(text: &str) -> Option<NaiveDate> {
    let time = |form: &str| NaiveDateTime::parse_from_str(text, form).ok().map(|t| t.date());
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    date.or_else(|| time("%Y-%m-%dT%H:%M:%S%.f")).or_else(|| time("%Y-%m-%dT%H:%M:%S%.fZ"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_agreed_named_and_not_expired_is_permitted() {
        let today = day("2026-11-24").unwrap();
        let policy = Policy::new("training", today).unwrap();
        let permits = |c, p, e| policy.permits([c, p, e]);
        assert!(permits(Some("true"), Some("training"), Some("2026-11-24")));
        assert!(permits(Some("Yes"), Some("research; training"), Some("9999-12-31T00:00:00")));
        for (c, p, e) in [
            (None, Some("training"), Some("2027-01-01")),
            (Some("false"), Some("training"), Some("2027-01-01")),
            (Some(""), Some("training"), Some("2027-01-01")),
            (Some("true"), None, Some("2027-01-01")),
            (Some("true"), Some("train"), Some("2027-01-01")),
            (Some("true"), Some("training of others"), Some("2027-01-01")),
            (Some("true"), Some("training"), None),
            (Some("true"), Some("training"), Some("2026-11-23")),
            (Some("true"), Some("training"), Some("never")),
            (Some("true"), Some("training"), Some("20261231")),
            (Some("true"), Some("training"), Some("2026-99-99")),
            (Some("true"), Some("training"), Some("2027-12-31 unless withdrawn")),
            (Some("true"), Some("training"), Some("２027-01-0")),
        ] {
            assert!(!permits(c, p, e), "{c:?} {p:?} {e:?}");
        }
        assert!(Policy::new("a;b", today).is_err() && Policy::new("", today).is_err());
    }
}
