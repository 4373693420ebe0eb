//! Running a network in ONNX, in builds with the feature `onnx`. Errors are text that says what is wrong.

#[cfg(feature = "onnx")]
pub use with::Network;
#[cfg(not(feature = "onnx"))]
pub use without::Network;

#[cfg(feature = "onnx")]
mod with {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use tract_onnx::prelude::*;
    use tract_onnx::tract_core::internal::DimLike;
    use tract_onnx::tract_hir::infer::Factoid;

    /// A network of one image.
    pub struct Network {
        plan: Arc<TypedRunnableModel>,
        sides: (usize, usize),
    }

    /// Foreign files reach code that may panic on them.
    fn caught<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| Err("a network that cannot be run".into()))
    }

    impl Network {
        pub fn load(bytes: &[u8]) -> Result<Self, String> {
            caught(|| {
                let said = |e: TractError| format!("not a network that can be run: {e:#}");
                let model = tract_onnx::onnx().model_for_read(&mut &bytes[..]).map_err(said)?;
                let shape = model.input_fact(0).map_err(said)?.shape.clone();
                let side = |axis: usize| shape.dim(axis).and_then(|d| d.concretize()).and_then(|d| d.to_usize().ok());
                let sides = match (shape.rank().concretize(), side(1), side(2), side(3)) {
                    (Some(4), Some(3), Some(height), Some(width)) if height > 0 && width > 0 => (height, width),
                    _ => {
                        return Err(format!("its input is {shape:?}, expected [1, 3, height, width] with given sides"));
                    }
                };
                let fact = f32::fact([1, 3, sides.0, sides.1]).into();
                let model = model.with_input_fact(0, fact).and_then(InferenceModelExt::into_optimized).map_err(said)?;
                Ok(Self { plan: model.into_runnable().map_err(said)?, sides })
            })
        }

        pub fn sides(&self) -> (usize, usize) {
            self.sides
        }

        pub fn run(&self, input: &[f32]) -> Result<Vec<f32>, String> {
            caught(|| {
                let said = |e: TractError| format!("{e:#}");
                let input = Tensor::from_shape(&[1, 3, self.sides.0, self.sides.1], input).map_err(said)?;
                let output = self.plan.run(tvec!(input.into())).map_err(said)?;
                let output = output.first().ok_or("no output")?.to_plain_array_view::<f32>().map_err(said)?;
                Ok(output.iter().copied().collect())
            })
        }
    }
}

#[cfg(not(feature = "onnx"))]
mod without {
    /// There is none.
    pub enum Network {}

    impl Network {
        pub fn load(_: &[u8]) -> Result<Self, String> {
            Err("this build runs no ONNX; build it with the feature onnx (cargo build --release --features onnx)"
                .into())
        }

        pub fn sides(&self) -> (usize, usize) {
            match *self {}
        }

        pub fn run(&self, _: &[f32]) -> Result<Vec<f32>, String> {
            match *self {}
        }
    }
}
