//! Fully connected layers.

use super::params::{Init, Params};
use crate::error::Result;
use crate::ops::{self, Value};
use candle_core::{D, Var};

/// Deviation of DCGAN's initial weights.
pub const WEIGHT_STD: f64 = 0.02;

/// Fully connected layer without bias or activation: `x W`, as a 1x1 convolution, whose sums have a fixed order.
#[derive(Clone)]
pub struct Linear {
    /// `[1, 1, inputs, outputs]`
    weight: Var,
}

impl Linear {
    /// Declares the weights of `inputs` x `outputs`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn new(p: &mut Params, name: &str, inputs: usize, outputs: usize) -> Result<Self> {
        Self::drawn(p, name, (inputs, outputs), WEIGHT_STD)
    }

    /// The same, with initial weights of deviation `std`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn drawn(p: &mut Params, name: &str, (inputs, outputs): (usize, usize), std: f64) -> Result<Self> {
        let weight = p.weight(&format!("{name}.weight"), &[1, 1, inputs, outputs], Init::Normal(0.0, std))?;
        Ok(Self { weight })
    }

    /// `[B, inputs]` to `[B, outputs]`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn forward(&self, x: &Value) -> Result<Value> {
        let (b, inputs) = x.dims2()?;
        let y = ops::conv2d(&x.reshape((b, 1, 1, inputs))?, &x.leaf(&self.weight), 1, 0)?;
        Ok(y.reshape((b, y.dim(D::Minus1)?))?)
    }
}
