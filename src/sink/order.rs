//! What is ordered: all that decides the bytes of a dataset, and how two orders differ in words.

use crate::config::{Alignment, LatentSource};
use crate::manifest::Policy;
use crate::ops::simd;
use crate::store::Share;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Version of an [`Order`].
pub const ORDER_VERSION: u32 = 7;

/// What was ordered: all that decides the bytes of a dataset. Equal orders give equal bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// [`ORDER_VERSION`].
    pub version: u32,
    /// Version of the program.
    pub program: String,
    /// Hash of the manifest, or of the training images where no manifest takes part.
    pub manifest_hash: String,
    /// Rows of this split only.
    pub split: Option<String>,
    /// Rows of this identity set only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_set: Option<String>,
    /// What rows must permit.
    pub policy: Option<Policy>,
    /// Names of the columns for identities, images, and paths of images.
    pub columns: Option<[String; 3]>,
    /// What of a picture is shown whose row says where its face is.
    #[serde(default = "Alignment::before")]
    pub alignment: Alignment,
    /// Hash of the resolved configuration.
    pub config_hash: String,
    /// The models, once they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<OrderedModel>>,
    /// Versions of the training algorithm and of the kernels.
    #[serde(default)]
    pub algorithm: (u32, u32),
    /// The kernels that compute.
    pub kernels: String,
    /// Root of the random streams.
    pub seed: u64,
    /// Distribution of z.
    pub latent: LatentSource,
    /// Factor on its deviation.
    pub truncation: f64,
    /// Images of each identity.
    pub per_id: usize,
    /// Instead, up to so many, real ones counted.
    pub balance_to: Option<usize>,
    /// New identities of each set.
    pub new_identities: usize,
    /// Identities mixed into each.
    pub mix: usize,
    /// Sum of their weights.
    pub mix_sum: f64,
    /// Candidates that are looked at, in multiples of the images asked for.
    pub tries: usize,
    /// Who decides which candidates are kept.
    pub judge: Option<OrderedJudge>,
    /// Similarity to a training image above which an image is left out; none for the natural level of the training images.
    pub max_copy_similarity: Option<f64>,
    /// Whether real images are merged in.
    pub include_real: bool,
    /// Name of the format.
    pub format: String,
    /// Extension of image files.
    pub encoding: String,
    /// Side of all images; none for that of the networks.
    #[serde(default)]
    pub output_size: Option<usize>,
    /// Rows of a unit.
    pub shard_rows: usize,
    /// Who else may read it.
    #[serde(default, skip_serializing_if = "Share::is_nobody")]
    pub share: Share,
    /// What was done with images that were there, where nothing was drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Value>,
    /// Rows asked for, once they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
}

/// A model of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedModel {
    /// The identity set that it knows.
    pub identity_set: String,
    /// Hash of its file.
    pub hash: String,
    /// Hash of the real images of the set.
    pub images: String,
    /// Hash of the judge that stands beside it, if that chooses.
    #[serde(default)]
    pub judge: Option<String>,
}

/// A judge of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderedJudge {
    /// Hash of its file; none for those that stand beside the models.
    pub hash: Option<String>,
    /// Similarity that counts instead of its threshold.
    pub min_similarity: Option<f64>,
}

impl Order {
    /// An order of the images of a manifest and a configuration with these hashes, everything else plain: N(0, I), no judge, Parquet.
    pub fn new(manifest_hash: &str, config_hash: &str) -> Self {
        Self {
            version: ORDER_VERSION,
            program: env!("CARGO_PKG_VERSION").into(),
            manifest_hash: manifest_hash.into(),
            split: None,
            identity_set: None,
            policy: None,
            columns: None,
            alignment: Alignment::default(),
            config_hash: config_hash.into(),
            models: None,
            algorithm: (0, crate::ops::VERSION),
            kernels: simd::name().into(),
            seed: 0,
            latent: LatentSource::Prior,
            truncation: 1.0,
            per_id: 0,
            balance_to: None,
            new_identities: 0,
            mix: 0,
            mix_sum: 1.0,
            tries: 1,
            judge: None,
            max_copy_similarity: None,
            include_real: false,
            format: "parquet".into(),
            encoding: "jpg".into(),
            output_size: None,
            shard_rows: 1,
            share: Share::Nobody,
            task: None,
            rows: None,
        }
    }

    /// Hash by which units say which order they belong to.
    pub(super) fn hash(&self) -> String {
        // Who may read it decides no byte.
        let order = Self { share: Share::Nobody, ..self.clone() };
        blake3::hash(json!(order).to_string().as_bytes()).to_hex().to_string()
    }

    /// In words, what `stored`, which may be of another version, has otherwise. What this order does not know yet is not compared, nor
    /// are the kernels, where `complete`: they matter only to what is not made yet.
    pub(super) fn differences(&self, stored: &Value, complete: bool) -> Vec<String> {
        let own = json!(self);
        let counts = |key: &str| key != "share" && (key != "kernels" || !complete);
        let mut keys: BTreeSet<&String> = own.as_object().into_iter().flatten().map(|(key, _)| key).collect();
        // What this order lacks is another one, but for what it does not know yet.
        let known_later = |key: &str| ["models", "rows", "blake3"].contains(&key);
        keys.extend(stored.as_object().into_iter().flatten().map(|(key, _)| key).filter(|key| !known_later(key)));
        let differ = keys.into_iter().filter(|k| counts(k) && stored[k.as_str()] != own[k.as_str()]);
        let words = |key: &String| {
            let (there, now) = (&stored[key.as_str()], &own[key.as_str()]);
            match key.as_str() {
                "manifest_hash" => "content of the manifest".into(),
                "config_hash" => "configuration (config.toml there tells which)".into(),
                "models" => "models, or training images".into(),
                "task" => "command, or options of it".into(),
                "seed" => format!("option `sampling_seed` ({} there, {} now)", plain(there), plain(now)),
                "judge" => {
                    format!("judge{}", if there.is_null() || now.is_null() { "" } else { ", or what it demands" })
                }
                // Options by the names that their user knows.
                "per_id"
                | "balance_to"
                | "new_identities"
                | "mix"
                | "mix_sum"
                | "tries"
                | "latent"
                | "truncation"
                | "alignment"
                | "split"
                | "identity_set"
                | "format"
                | "encoding"
                | "output_size"
                | "shard_rows"
                | "include_real"
                | "max_copy_similarity" => {
                    format!("option `{key}` ({} there, {} now)", plain(there), plain(now))
                }
                _ => format!("{} ({} there, {} now)", key.replace('_', " "), plain(there), plain(now)),
            }
        };
        differ.map(words).collect()
    }
}

/// A value as a user would write it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
        Value::Object(items) => items.iter().map(|(k, v)| format!("{k} {}", plain(v))).collect::<Vec<_>>().join(" "),
        value => value.to_string(),
    }
}
