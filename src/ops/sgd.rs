//! Stochastic gradient descent with momentum as in-place updates.

use super::adam::combine;
use candle_core::{Result, Tensor, Var};

/// Constants of a step.
#[derive(Clone, Copy, Debug)]
pub struct SgdParams {
    /// Step size.
    pub learning_rate: f64,
    /// Share of the last step's direction that is kept.
    pub momentum: f64,
    /// Factor of the parameter that is added to its gradient.
    pub weight_decay: f64,
}

/// `velocity = momentum * velocity + grad + weight_decay * param`, then `param -= learning_rate * velocity`.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn step(param: &Var, velocity: &Var, grad: &Tensor, p: &SgdParams) -> Result<()> {
    combine(velocity, p.momentum, grad, 1.0)?;
    if p.weight_decay != 0.0 {
        combine(velocity, 1.0, param, p.weight_decay)?;
    }
    combine(param, 1.0, velocity, -p.learning_rate)
}
