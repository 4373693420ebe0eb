//! The averaged generator: a moving average of G's weights, which serves synthesis.

use crate::config::TrainConfig;
use crate::error::Result;
use crate::nn::Network;
use crate::ops::adam::moving_average;

/// Images that a half-life takes, at most, as a share of those that have been shown.
const YOUNG: f64 = 0.1;

/// Decay in step `t`, counted from 1: the half-life is that of `config`, at most a tenth of what has been shown.
pub fn decay(config: &TrainConfig, t: u64) -> f64 {
    let batch = config.batch_size as f64;
    let halflife = (config.ema_halflife_kimg * 1000.0).min(YOUNG * t as f64 * batch);
    0.5f64.powf(batch / halflife)
}

/// Decay in all steps later than those of [`early_decays`].
pub fn late_decay(config: &TrainConfig) -> f64 {
    0.5f64.powf(config.batch_size as f64 / (config.ema_halflife_kimg * 1000.0))
}

/// Decays of the steps from 1 on, as far as they are up to `t` and differ from [`late_decay`].
pub fn early_decays(config: &TrainConfig, t: u64) -> Vec<f64> {
    let young = config.ema_halflife_kimg * 1000.0 / (YOUNG * config.batch_size as f64);
    (1..=t).take_while(|t| (*t as f64) < young).map(|t| decay(config, t)).collect()
}

/// Moves the averaged network towards `source`; running statistics are averaged like weights. Tables that are moved by rows are left to
/// [`Optimizer`](super::optimizer::Optimizer).
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn average<N>(averaged: &Network<N>, source: &Network<N>, decay: f64) -> Result<()> {
    for (name, p) in averaged.params.iter().filter(|(_, p)| !p.by_rows) {
        moving_average(&p.var, &source.params[name].var, decay)?;
    }
    Ok(())
}
