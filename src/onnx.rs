//! Running networks in ONNX, in builds with the feature `onnx`. Errors are text that says what is wrong.

#[cfg(feature = "onnx")]
pub use with::{Model, Network};
#[cfg(not(feature = "onnx"))]
pub use without::{Model, Network};

/// A named output of a network, of f32: its values, and its shape.
pub struct Output {
    /// Its name.
    pub name: String,
    /// Lengths of its axes.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub values: Vec<f32>,
}

#[cfg(feature = "onnx")]
mod with {
    use super::Output;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use tract_onnx::prelude::*;
    use tract_onnx::tract_core::internal::DimLike;
    use tract_onnx::tract_hir::infer::Factoid;

    /// A file of a network of one image, for sides that may be chosen.
    pub struct Model {
        model: InferenceModel,
        outputs: Vec<String>,
    }

    /// A network of one image.
    pub struct Network {
        plan: Arc<TypedRunnableModel>,
        outputs: Vec<String>,
        sides: (usize, usize),
    }

    /// Foreign files reach code that may panic on them.
    fn caught<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| Err("a network that cannot be run".into()))
    }

    fn said(e: impl std::borrow::Borrow<TractError>) -> String {
        let e = e.borrow();
        format!("not a network that can be run: {e:#}")
    }

    impl Model {
        /// Parses the bytes of a file.
        pub fn parse(bytes: &[u8]) -> Result<Self, String> {
            caught(|| {
                // What a file says of shapes within holds for its own sides.
                let reader = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
                let model = reader.model_for_read(&mut &bytes[..]).map_err(said)?;
                let outputs = model.output_outlets().map_err(said)?;
                let name = |outlet: &OutletId| {
                    let label = model.outlet_label(*outlet).map(str::to_owned);
                    label.unwrap_or_else(|| model.node(outlet.node).name.clone())
                };
                let outputs = outputs.iter().map(name).collect();
                Ok(Self { model, outputs })
            })
        }

        /// Names of its outputs.
        pub fn outputs(&self) -> &[String] {
            &self.outputs
        }

        /// Height and width that the file gives its input, `[1, 3, height, width]`.
        pub fn sides(&self) -> Result<(usize, usize), String> {
            caught(|| {
                let shape = &self.model.input_fact(0).map_err(said)?.shape;
                let side = |axis: usize| shape.dim(axis).and_then(|d| d.concretize()).and_then(|d| d.to_usize().ok());
                match (shape.rank().concretize(), side(1), side(2), side(3)) {
                    (Some(4), Some(3), Some(height), Some(width)) if height > 0 && width > 0 => Ok((height, width)),
                    _ => Err(format!("its input is {shape:?}, expected [1, 3, height, width] with given sides")),
                }
            })
        }

        /// The network for an input of these sides, whatever the file says.
        pub fn at(&self, (height, width): (usize, usize)) -> Result<Network, String> {
            caught(|| {
                let fact = f32::fact([1, 3, height, width]).into();
                let model = self.model.clone().with_input_fact(0, fact).map_err(said)?;
                let plan = model.into_optimized().and_then(IntoRunnable::into_runnable).map_err(said)?;
                Ok(Network { plan, outputs: self.outputs.clone(), sides: (height, width) })
            })
        }
    }

    impl Network {
        /// Height and width of the input.
        pub fn sides(&self) -> (usize, usize) {
            self.sides
        }

        /// The outputs for an input `[1, 3, height, width]`.
        pub fn run(&self, input: &[f32]) -> Result<Vec<Output>, String> {
            caught(|| {
                let said = |e: TractError| format!("{e:#}");
                let input = Tensor::from_shape(&[1, 3, self.sides.0, self.sides.1], input).map_err(said)?;
                let found = self.plan.run(tvec!(input.into())).map_err(said)?;
                // Others are of no use here.
                let output = |(name, output): (&String, &TValue)| {
                    let values = output.to_plain_array_view::<f32>().ok()?;
                    let shape = values.shape().to_vec();
                    Some(Output { name: name.clone(), shape, values: values.iter().copied().collect() })
                };
                Ok(self.outputs.iter().zip(&found).filter_map(output).collect())
            })
        }
    }
}

#[cfg(not(feature = "onnx"))]
mod without {
    use super::Output;

    /// There is none.
    pub enum Model {}
    /// There is none.
    pub enum Network {}

    impl Model {
        pub fn parse(_: &[u8]) -> Result<Self, String> {
            Err("this build runs no ONNX; build it with the feature onnx (cargo build --release --features onnx)"
                .into())
        }

        pub fn outputs(&self) -> &[String] {
            match *self {}
        }

        pub fn sides(&self) -> Result<(usize, usize), String> {
            match *self {}
        }

        pub fn at(&self, _: (usize, usize)) -> Result<Network, String> {
            match *self {}
        }
    }

    impl Network {
        pub fn sides(&self) -> (usize, usize) {
            match *self {}
        }

        pub fn run(&self, _: &[f32]) -> Result<Vec<Output>, String> {
            match *self {}
        }
    }
}
