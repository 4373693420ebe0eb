//! How long trainings are: by the number of images, and within a budget of time, by the measured time of a step.

use super::Context;
use super::input::Source;
use crate::config::{Extent, RunConfig, Settings};
use crate::dataset::IdentityDataset;
use crate::error::{Error, Result};
use crate::model::build_generator;
use crate::nn::{Labels, Mode, Weights};
use crate::progress::Progress;
use crate::seeds::Seeds;
use crate::store;
use crate::synthesize::BATCH;
use crate::train::{State, total_steps};
use candle_core::{DType, Device, Tensor};
use serde_json::json;
use std::time::Duration;

/// Steps that are timed, after one that is not.
const TIMED: u64 = 2;

/// The configuration that `settings` mean for the images of `source`. A length that a budget decides is kept in the cache if `keep`, so that the
/// same run again, on the same device with as many threads, finds its model.
///
/// # Errors
/// A setting that is unknown or out of its range; too little time for anything.
pub(super) fn resolve(
    settings: &Settings,
    source: &Source,
    keep: bool,
    context: &Context,
    progress: &mut dyn Progress,
) -> Result<RunConfig> {
    let sets = source.sets();
    let counts = sets.iter().map(|set| source.count(set));
    let material =
        counts.reduce(|a, b| (a.0.max(b.0), a.1.max(b.1))).map(|(identities, images)| Extent { images, identities });
    let side = source.typical_side(settings.alignment()?.unwrap_or_default())?;
    let mut config = settings.resolve(side, material)?;
    let Some(budget) = settings.budget else { return Ok(config) };
    let place = (context.device.is_cpu(), rayon::current_num_threads());
    let key = (config.training_only().hash()?, source.manifest.hash(), &source.split, &sets, budget, place);
    let folder = context.cache()?.join("lengths");
    let path = folder.join(format!("{}.json", &crate::config::hash(&key)?[..32]));
    // A damaged file is written again.
    let stored = store::read_sealed(&path).ok().flatten().and_then(|v| v["kimg"].as_f64());
    let kimg = match stored {
        Some(kimg) => kimg,
        None => {
            let classes = sets.iter().map(|set| source.count(set).0).max().unwrap_or(1);
            let Some(seconds) = seconds(&config, classes, &context.device, progress)? else {
                return Err(Error::Usage(
                    "option `budget` needs a clock: name a length with option `duration_kimg`".into(),
                ));
            };
            let kimg = within(config.train.duration_kimg, seconds * sets.len() as f64, budget)?;
            if keep {
                let kept =
                    store::create_dir(&folder).and_then(|()| store::write_sealed(&path, &json!({ "kimg": kimg })));
                kept.map_err(|e| context.of_cache(e))?;
            }
            kimg
        }
    };
    if kimg < config.train.duration_kimg {
        progress.note(&format!(
            "training is cut down from {} to {kimg} thousand images, to take no longer than {} min",
            config.train.duration_kimg,
            budget.as_secs().div_ceil(60)
        ));
        config.train.duration_kimg = kimg;
    }
    Ok(config)
}

/// As much of `kimg`, which take `seconds`, as fits into `budget`, to two digits.
fn within(kimg: f64, seconds: f64, budget: Duration) -> Result<f64> {
    let fits = kimg * budget.as_secs_f64() / seconds;
    if fits >= kimg {
        return Ok(kimg);
    }
    let digit = 10f64.powf(fits.log10().floor() - 1.0);
    // A whole number may have come out a little smaller.
    let fits = (fits / digit + 1e-6).floor() * digit;
    if fits < 0.1 {
        return Err(Error::Usage(format!(
            "option `budget` is too short: all {kimg} thousand images take {:.0} min here, and it allows less than 100",
            seconds / 60.0
        )));
    }
    // Free of the rounding errors of the product.
    Ok((fits * 1e4).round() / 1e4)
}

/// Time of one training of `config` on `classes` identities, by the time of a few steps on grey images; none where nobody has a clock.
pub(super) fn seconds(
    config: &RunConfig,
    classes: usize,
    device: &Device,
    progress: &mut dyn Progress,
) -> Result<Option<f64>> {
    let (size, batch) = (config.image_size, config.train.batch_size);
    let labels = (0..batch as u32).map(|i| i % classes as u32).collect();
    let names = (0..classes).map(|i| format!("{i:09}")).collect();
    let images = IdentityDataset::new(size, vec![127; batch * size * size * 3], labels, names)?;
    // Not all of the identities have an image here, so that none can be drawn evenly; time does not depend on it.
    let mut config = config.clone();
    config.train.balanced = false;
    config.train.precision.check(device)?;
    let mut state = State::new(&config, classes, device)?;
    let mut step = |progress: &dyn Progress| {
        progress.go_on()?;
        state.advance(&images, &config, device)
    };
    step(progress)?;
    let began = progress.elapsed();
    for _ in 0..TIMED {
        step(progress)?;
    }
    let step = progress.elapsed().saturating_sub(began).as_secs_f64() / TIMED as f64;
    Ok((step > 0.0).then_some(step * total_steps(&config.train) as f64))
}

/// Time that an image of a model of `classes` identities takes to make, by that of one batch; none where nobody has a clock. Whoever judges
/// takes more.
pub(super) fn seconds_an_image(
    config: &RunConfig,
    classes: usize,
    device: &Device,
    progress: &mut dyn Progress,
) -> Result<Option<f64>> {
    let generator = build_generator(config, classes, &mut Weights::Fresh(&Seeds::new(config.seed)), device)?;
    let z = Tensor::zeros((BATCH, config.model.latent_dim), DType::F32, device)?;
    let labels = Labels::plain(&[0; BATCH], device)?;
    let make = || generator.net.forward(&(&z).into(), &labels, Mode::Eval);
    make()?;
    let began = progress.elapsed();
    make()?;
    let seconds = progress.elapsed().saturating_sub(began).as_secs_f64() / BATCH as f64;
    Ok((seconds > 0.0).then_some(seconds))
}

/// A time for people.
pub fn in_words(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_cuts_a_training_down_to_two_digits() {
        let hours = |h: f64| Duration::from_secs_f64(h * 3600.0);
        assert_eq!(within(100.0, 3600.0, hours(2.0)).unwrap(), 100.0);
        assert_eq!(within(100.0, 3600.0, hours(0.5)).unwrap(), 50.0);
        assert_eq!(within(400.0, 36_000.0, hours(3.3)).unwrap(), 130.0);
        assert_eq!(within(40.0, 36_000.0, hours(0.3)).unwrap(), 1.2);
        assert!(within(40.0, 36_000.0, hours(0.001)).is_err());
    }
}
