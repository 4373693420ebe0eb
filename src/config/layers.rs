//! TOML over a typed configuration: what a file or a single assignment changes, what a key was meant by, text and hash of the result.

use crate::error::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Keys that are left out of the text of a configuration where they are 0.
const LEFT_OUT: [&str; 2] = ["model.label_width", "train.sampled_classes"];

/// Lays TOML text over what `defaults` makes of the preset: `preset`, else the one that the text names, else `fallback`.
pub(super) fn lay_over<P: DeserializeOwned, C: Serialize + DeserializeOwned>(
    text: &str,
    preset: Option<P>,
    fallback: P,
    defaults: impl FnOnce(P, &toml::Table) -> std::result::Result<C, String>,
) -> std::result::Result<C, String> {
    let mut file: toml::Table = text.parse().map_err(|e: toml::de::Error| e.to_string())?;
    let named = match file.remove("preset") {
        Some(v) => Some(v.try_into::<P>().map_err(|e| format!("key `preset`: {e}"))?),
        None => None,
    };
    let defaults = defaults(preset.or(named).unwrap_or(fallback), &file)?;
    let mut table = toml::Table::try_from(&defaults).map_err(|e| e.to_string())?;
    overlay(&mut table, file, "")?;
    toml::Value::Table(table).try_into().map_err(|e: toml::de::Error| e.to_string())
}

/// `config` as canonical TOML text.
///
/// # Errors
/// The configuration has no text.
pub fn to_toml(config: &impl Serialize) -> Result<String> {
    toml::to_string_pretty(config).map_err(|e| Error::Config(e.to_string()))
}

/// blake3 (hex) of a resolved configuration.
///
/// # Errors
/// The configuration has no text.
pub fn hash(config: &impl Serialize) -> Result<String> {
    let json = serde_json::to_string(config).map_err(|e| Error::Config(e.to_string()))?;
    Ok(blake3::hash(json.as_bytes()).to_hex().to_string())
}

/// `config` with one more value, as `key.in.dots=value` in TOML; a bare word counts as a string.
///
/// # Errors
/// `Config`: an unknown key, or a value of another type.
pub fn with<C: Serialize + DeserializeOwned>(config: &C, assignment: &str) -> Result<C> {
    let error = |m: String| Error::Config(format!("option `set` {assignment}: {m}"));
    let (key, value) = assignment.split_once('=').ok_or_else(|| error("expected KEY=VALUE".into()))?;
    let parsed = format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("v"));
    let mut value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
    for part in key.trim().rsplit('.') {
        value = toml::Value::Table(toml::Table::from_iter([(part.to_owned(), value)]));
    }
    let toml::Value::Table(file) = value else { return Err(error("empty key".into())) };
    let mut table = toml::Table::try_from(config).map_err(|e| error(e.to_string()))?;
    overlay(&mut table, file, "").map_err(error)?;
    toml::Value::Table(table).try_into().map_err(|e: toml::de::Error| error(e.to_string()))
}

/// Replaces values of `base` by those of `file`; a key that `base` lacks is an error that names the nearest one.
fn overlay(base: &mut toml::Table, file: toml::Table, path: &str) -> std::result::Result<(), String> {
    for (key, value) in file {
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        // The keys of a trunk depend on its kind: replace it whole and let its type check it.
        let whole = value.get("kind").is_some();
        match (base.get_mut(&key), value) {
            (None, value) if LEFT_OUT.contains(&full.as_str()) => {
                base.insert(key, value);
            }
            (None, _) => {
                return Err(format!("unknown key `{full}`{}", advice(base, &key, path)));
            }
            (Some(toml::Value::Table(inner)), toml::Value::Table(value)) if !whole => overlay(inner, value, &full)?,
            // Whole numbers are welcome where a fraction is expected.
            (Some(slot @ toml::Value::Float(_)), toml::Value::Integer(i)) => *slot = toml::Value::Float(i as f64),
            (Some(slot), value) => *slot = value,
        }
    }
    Ok(())
}

/// Which key of `base` was meant by `key`: one of nearly the same letters, or one whose words begin with these letters; else all that
/// there are.
fn advice(base: &toml::Table, key: &str, path: &str) -> String {
    let distance = |k: &String| strsim::damerau_levenshtein(k, key);
    let initials = |k: &str| k.split('_').filter_map(|word| word.chars().next()).collect::<String>();
    let near = base.keys().min_by_key(|k| distance(k)).filter(|k| 3 * distance(k) <= k.len().min(key.len()));
    let meant = near.or_else(|| base.keys().find(|k| k.contains('_') && initials(k) == key));
    match meant {
        Some(k) if path.is_empty() => format!("; did you mean `{k}`?"),
        Some(k) => format!("; did you mean `{path}.{k}`?"),
        None => format!("; there are: {}", base.keys().cloned().collect::<Vec<_>>().join(", ")),
    }
}
