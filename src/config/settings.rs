//! What a user says of a configuration: single values, then a file, then a preset.

use super::{
    Alignment, EvaluationConfig, Extent, LatentSource, Preset, RecogniserPreset, RunConfig, SynthesisConfig, with,
};
use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Images under this side are trained with the preset `tiny`, at about their own side, unless something else is named.
const TINY_BELOW: usize = 64;

/// Side at which images of `typical_side` pixels are seen by small networks: the multiple of 16 below it, 32 at least.
fn small_side(typical_side: Option<usize>) -> Option<usize> {
    typical_side.filter(|side| *side < TINY_BELOW).map(|side| (side / 16 * 16).max(32))
}

/// What `file` or `set`, the last of which counts, says of the word `key.in.dots`.
fn named<T: DeserializeOwned>(key: &str, file: Option<&Path>, set: &[String]) -> Result<Option<T>> {
    let values = set.iter().filter_map(|set| set.split_once('=')).filter(|(name, _)| name.trim() == key);
    let parsed = |value: &str| toml::Value::String(value.trim().trim_matches('"').to_owned()).try_into().ok();
    let by_set = values.filter_map(|(_, value)| parsed(value)).next_back();
    let (None, Some(path)) = (&by_set, file) else { return Ok(by_set) };
    // What else is wrong with a file is said when it is read whole.
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let table = toml::Value::Table(text.parse().unwrap_or_default());
    let value = key.split('.').try_fold(&table, |value, part| value.get(part));
    Ok(value.cloned().and_then(|value| value.try_into().ok()))
}

/// What is said of a training. Nothing of it, and the images decide.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// TOML file laid over the preset.
    pub file: Option<PathBuf>,
    /// Starting point.
    pub preset: Option<Preset>,
    /// Side of the images that the networks see, in pixels.
    pub image_size: Option<usize>,
    /// What of a picture is shown whose row says where its face is.
    pub alignment: Option<Alignment>,
    /// Length of the training, in thousands of images shown.
    pub duration_kimg: Option<f64>,
    /// Time that training may take: its length is cut down to what is likely to fit.
    pub budget: Option<Duration>,
    /// Root of the random streams of the training.
    pub seed: Option<u64>,
    /// Draw identities evenly while training.
    pub balanced: bool,
    /// Any other keys, as `key.in.dots=value`.
    pub set: Vec<String>,
}

impl Settings {
    /// The frame that is named, if one is.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn alignment(&self) -> Result<Option<Alignment>> {
        let file = self.file.as_deref().filter(|_| self.alignment.is_none());
        Ok(named("alignment", file, &self.set)?.or(self.alignment))
    }

    /// The configuration for so much `material`, whose images have a shorter side of `typical_side` pixels, as far as these are known.
    ///
    /// # Errors
    /// An unknown key, or a value out of its range.
    pub fn resolve(&self, typical_side: Option<usize>, material: Option<Extent>) -> Result<RunConfig> {
        let small = small_side(typical_side);
        let fallback = if small.is_some() { Preset::Tiny } else { Preset::Base };
        let mut config = match &self.file {
            Some(path) => RunConfig::from_file(path, self.preset, fallback, material)?,
            None => RunConfig::fitted(self.preset.unwrap_or(fallback), material),
        };
        // What a file or a preset says of the side stands.
        let by_images = small.filter(|_| self.file.is_none() && self.preset.is_none());
        if let Some(size) = self.image_size.or(by_images) {
            config = config.with_image_size(size)?;
        }
        config.alignment = self.alignment.unwrap_or(config.alignment);
        config.train.duration_kimg = self.duration_kimg.unwrap_or(config.train.duration_kimg);
        config.seed = self.seed.unwrap_or(config.seed);
        config.train.balanced |= self.balanced;
        for set in &self.set {
            config = with(&config, set)?;
        }
        let (synthesis, preset) = (&mut config.synthesis, RunConfig::preset(config.preset).synthesis);
        let by_method = SynthesisConfig::of(config.preset, config.train.method);
        if by_method != preset && named::<LatentSource>("synthesis.latent", self.file.as_deref(), &self.set)?.is_none()
        {
            synthesis.latent = by_method.latent;
            // A factor belongs to the distribution that it was chosen for.
            if synthesis.truncation == preset.truncation {
                synthesis.truncation = by_method.truncation;
            }
        }
        config.validate()?;
        Ok(config)
    }

    /// The first setting that decides a training, by its name: a model that is given has no use for it.
    pub fn of_training(&self) -> Option<&'static str> {
        let given = [
            ("config", self.file.is_some()),
            ("preset", self.preset.is_some()),
            ("image_size", self.image_size.is_some()),
            ("alignment", self.alignment.is_some()),
            ("duration_kimg", self.duration_kimg.is_some()),
            ("budget", self.budget.is_some()),
            ("seed", self.seed.is_some()),
            ("balanced", self.balanced),
            ("set", !self.set.is_empty()),
        ];
        given.iter().find(|(_, given)| *given).map(|(name, _)| *name)
    }
}

/// What is said of an evaluation.
#[derive(Clone, Debug, Default)]
pub struct EvaluationSettings {
    /// TOML file laid over the preset.
    pub file: Option<PathBuf>,
    /// Starting point.
    pub preset: Option<RecogniserPreset>,
    /// Side of the images that the recogniser sees, in pixels.
    pub image_size: Option<usize>,
    /// What of a picture is shown whose row says where its face is; without it what the synthetic dataset was made with.
    pub alignment: Option<Alignment>,
    /// Seed of the first training.
    pub seed: Option<u64>,
    /// Any other keys, as `key.in.dots=value`.
    pub set: Vec<String>,
}

impl EvaluationSettings {
    /// The frame that is named, if one is.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn alignment(&self) -> Result<Option<Alignment>> {
        let file = self.file.as_deref().filter(|_| self.alignment.is_none());
        Ok(named("alignment", file, &self.set)?.or(self.alignment))
    }

    /// As [`Settings::resolve`].
    ///
    /// # Errors
    /// As [`Settings::resolve`].
    pub fn resolve(&self, typical_side: Option<usize>, images: Option<usize>) -> Result<EvaluationConfig> {
        let fallback =
            if small_side(typical_side).is_some() { RecogniserPreset::Tiny } else { RecogniserPreset::Small };
        let mut config = match &self.file {
            Some(path) => EvaluationConfig::from_file(path, self.preset, fallback, images)?,
            None => EvaluationConfig::fitted(self.preset.unwrap_or(fallback), images),
        };
        config.image_size = self.image_size.unwrap_or(config.image_size);
        config.alignment = self.alignment.unwrap_or(config.alignment);
        config.seed = self.seed.unwrap_or(config.seed);
        for set in &self.set {
            config = with(&config, set)?;
        }
        config.validate()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_without_an_encoder_draws_from_the_prior_unless_told_otherwise() {
        let of = |set: &[&str]| {
            let set = set.iter().map(|s| (*s).to_owned()).collect();
            let config = Settings { preset: Some(Preset::Base), set, ..Settings::default() }.resolve(None, None);
            config.map(|c| (c.synthesis.latent, c.synthesis.truncation)).map_err(|e| e.to_string())
        };
        assert_eq!(of(&["train.method=cvae"]), Ok((LatentSource::Transfer, 0.85)));
        assert_eq!(of(&["train.method=cgan"]), Ok((LatentSource::Prior, 1.0)));
        assert_eq!(of(&["train.method=cgan", "synthesis.truncation=0.7"]), Ok((LatentSource::Prior, 0.7)));
        let e = of(&["synthesis.latent=fitted", "train.method=fm-cgan"]).unwrap_err();
        assert!(e.contains("synthesis.latent") && e.contains("fm-cgan"), "{e}");
        let e = of(&["train.method=gan"]).unwrap_err();
        assert!(e.contains("fm-cgan"), "{e}");
    }

    #[test]
    fn a_frame_is_named_by_the_last_that_names_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run.toml");
        std::fs::write(&file, "alignment = \"tight\"\n[train]\nunknown = 1\n").unwrap();
        let of = |file: Option<PathBuf>, alignment, set: &[&str]| {
            let set = set.iter().map(|s| (*s).to_owned()).collect();
            Settings { file, alignment, set, ..Settings::default() }.alignment().unwrap()
        };
        assert_eq!(of(None, None, &["seed=1"]), None);
        assert_eq!(of(Some(file.clone()), None, &[]), Some(Alignment::Tight));
        assert_eq!(of(Some(file.clone()), Some(Alignment::None), &[]), Some(Alignment::None));
        let set = ["alignment=none", "alignment = \"arcface\""];
        assert_eq!(of(Some(file), Some(Alignment::None), &set), Some(Alignment::Arcface));
    }
}
