//! Named parameters of a network in a fixed order, made from a seeded stream or from checked tensors.

use crate::error::{Error, Result};
use crate::seeds::{Seeds, normal};
use candle_core::{DType, Device, Tensor, Var};
use std::collections::BTreeMap;

/// How a fresh parameter starts.
#[derive(Clone, Copy, Debug)]
pub enum Init {
    /// Every value the same.
    Constant(f64),
    /// Normal draws of this mean and deviation.
    Normal(f64, f64),
}

enum From {
    Fresh(Seeds, String),
    Loaded(BTreeMap<String, Tensor>),
}

/// One named value.
#[derive(Clone, Debug)]
pub struct Param {
    /// The value, shared with the layer that uses it.
    pub var: Var,
    /// False for running statistics, which no optimiser touches.
    pub trainable: bool,
    /// True for a table of rows, `[K, N]`, that are looked up, and moved only where they are.
    pub by_rows: bool,
}

/// The parameters of one network. Iteration is in the order of their names.
pub struct Params {
    source: From,
    device: Device,
    entries: BTreeMap<String, Param>,
}

impl Params {
    /// Parameters of `network`, each drawn from the stream that its name names.
    pub fn fresh(seeds: &Seeds, network: &str, device: &Device) -> Self {
        Self {
            source: From::Fresh(seeds.clone(), network.to_owned()),
            device: device.clone(),
            entries: BTreeMap::new(),
        }
    }

    /// Parameters taken from `tensors`: names, shapes and types must be exactly those asked for, values finite.
    pub fn loaded(tensors: BTreeMap<String, Tensor>, device: &Device) -> Self {
        Self { source: From::Loaded(tensors), device: device.clone(), entries: BTreeMap::new() }
    }

    /// Declares a trainable parameter.
    ///
    /// # Errors
    /// `Model`: a tensor that is missing, or has another shape or type, or values that are not finite.
    pub fn weight(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Var> {
        self.declare(name, shape, init, (true, false))
    }

    /// Declares a trainable table of `rows` rows of `width` values that is only ever looked up.
    ///
    /// # Errors
    /// `Model`: a tensor that is missing, or has another shape or type, or values that are not finite.
    pub fn table(&mut self, name: &str, rows: usize, width: usize, std: f64) -> Result<Var> {
        self.declare(name, &[rows, width], Init::Normal(0.0, std), (true, true))
    }

    /// Declares a value that training sets without descending on it.
    ///
    /// # Errors
    /// `Model`: a tensor that is missing, or has another shape or type, or values that are not finite.
    pub fn buffer(&mut self, name: &str, shape: &[usize], value: f64) -> Result<Var> {
        self.declare(name, shape, Init::Constant(value), (false, false))
    }

    fn declare(&mut self, name: &str, shape: &[usize], init: Init, (trainable, by_rows): (bool, bool)) -> Result<Var> {
        let tensor = match &mut self.source {
            From::Fresh(seeds, network) => match init {
                Init::Constant(v) => (Tensor::ones(shape, DType::F32, &self.device)? * v)?,
                Init::Normal(mean, std) => {
                    let draws =
                        normal(&mut seeds.stream(&format!("initial {network}.{name}"), &[]), shape, &self.device)?;
                    draws.affine(std, mean)?
                }
            },
            From::Loaded(tensors) => {
                let t = tensors.remove(name).ok_or_else(|| Error::Model(format!("tensor `{name}` is missing")))?;
                if t.dims() != shape || t.dtype() != DType::F32 {
                    return Err(Error::Model(format!(
                        "tensor `{name}` is {:?} {:?}, expected F32 {shape:?}",
                        t.dtype(),
                        t.dims()
                    )));
                }
                if !all_finite(&t)? {
                    return Err(Error::Model(format!("tensor `{name}` holds values that are not finite")));
                }
                t.to_device(&self.device)?
            }
        };
        let var = Var::from_tensor(&tensor.contiguous()?)?;
        let previous = self.entries.insert(name.to_owned(), Param { var: var.clone(), trainable, by_rows });
        debug_assert!(previous.is_none(), "parameter {name} declared twice");
        Ok(var)
    }

    /// Ends the declarations: loaded tensors that nobody asked for are an error.
    ///
    /// # Errors
    /// `Model`: a tensor that is missing, or has another shape or type, or values that are not finite.
    pub fn finish(self) -> Result<BTreeMap<String, Param>> {
        if let From::Loaded(rest) = &self.source
            && let Some(name) = rest.keys().next()
        {
            return Err(Error::Model(format!("unexpected tensor `{name}`")));
        }
        Ok(self.entries)
    }
}

/// True if every value is a finite number.
///
/// # Errors
/// `Model`: a tensor that is missing, or has another shape or type, or values that are not finite.
pub fn all_finite(t: &Tensor) -> Result<bool> {
    // x * 0 is 0 for finite x and NaN otherwise.
    let probe = (t.flatten_all()? * 0.0)?.sum_all()?.to_scalar::<f32>()?;
    Ok(probe == 0.0)
}
