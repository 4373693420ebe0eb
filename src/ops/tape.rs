//! Reverse-mode differentiation over whole operations.
//!
//! Every operation of this module has a backward function of its own, so a gradient costs one buffer an operation:
//! nothing is cleared to be added to, and operations that lead to no wanted leaf are passed over. [`Tape::gradients`] takes the values
//! to start from and the leaves that are wanted, as often as needed for one forward pass.
//!
//! On devices without kernels of ours, and for small things such as losses, [`apply`] and [`differentiate`] let candle
//! differentiate a piece that is composed of its operations.

use super::Precision;
use super::rows::RowGradient;
use candle_core::{Result, Tensor, TensorId, Var};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Deref;
use std::rc::Rc;

/// From the gradient of an operation's result to those of its inputs; the flags tell which are wanted.
type Backward = Box<dyn Fn(&Tensor, &[bool]) -> Result<Vec<Option<Tensor>>>>;

struct Node {
    /// Record of the inputs; constants have none.
    inputs: Vec<Option<usize>>,
    /// Absent for leaves.
    backward: Option<Backward>,
}

#[derive(Default)]
struct Record {
    precision: Precision,
    nodes: Vec<Node>,
    leaves: HashMap<TensorId, usize>,
    /// Rows that were looked up: of which table, which, and where they stand.
    lookups: Vec<(TensorId, Tensor, usize)>,
}

/// What was computed, in order, and how to differentiate it. Clones share one record.
#[derive(Clone, Default)]
pub struct Tape(Rc<RefCell<Record>>);

/// A tensor and where it stands on a tape, if it is on one.
#[derive(Clone)]
pub struct Value {
    tensor: Tensor,
    tape: Option<Tape>,
    node: Option<usize>,
}

impl Deref for Value {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.tensor
    }
}

impl From<&Tensor> for Value {
    /// A value of which nothing is recorded, for inference.
    fn from(tensor: &Tensor) -> Self {
        Self { tensor: tensor.clone(), tape: None, node: None }
    }
}

impl Value {
    /// The tensor alone.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Precision of products with this value; full where nothing is recorded.
    pub(super) fn precision(&self) -> Precision {
        self.tape.as_ref().map_or(Precision::F32, |tape| tape.0.borrow().precision)
    }

    /// A parameter beside this value: a leaf of the same tape.
    #[must_use]
    pub fn leaf(&self, tensor: &Tensor) -> Self {
        self.tape.as_ref().map_or_else(|| tensor.into(), |tape| tape.leaf(tensor))
    }

    /// The result of an operation on `inputs`, with its backward function.
    ///
    /// That function is called with the result's gradient and, for each input, whether its gradient is wanted.
    pub(super) fn record(
        inputs: &[&Self],
        tensor: Tensor,
        backward: impl Fn(&Tensor, &[bool]) -> Result<Vec<Option<Tensor>>> + 'static,
    ) -> Self {
        let Some(tape) = inputs.iter().find_map(|v| v.tape.clone()) else { return (&tensor).into() };
        let same = inputs.iter().filter_map(|v| v.tape.as_ref()).all(|t| Rc::ptr_eq(&t.0, &tape.0));
        assert!(same, "values of two tapes in one operation");
        let node =
            tape.push(Node { inputs: inputs.iter().map(|v| v.node).collect(), backward: Some(Box::new(backward)) });
        Self { tensor, tape: Some(tape), node: Some(node) }
    }

    /// The same values in another shape.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn reshape(&self, shape: impl Into<candle_core::Shape>) -> Result<Self> {
        let from = self.tensor.shape().clone();
        let tensor = self.tensor.reshape(shape.into())?;
        Ok(Self::record(&[self], tensor, move |dy, _| Ok(vec![Some(dy.reshape(&from)?)])))
    }

    /// Sum of values of the same shape.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn add(&self, other: &Self) -> Result<Self> {
        let tensor = (&self.tensor + &other.tensor)?;
        Ok(Self::record(&[self, other], tensor, |dy, _| Ok(vec![Some(dy.clone()), Some(dy.clone())])))
    }

    /// Rows `ids` (u32) of a table `[K, N]`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn rows(&self, ids: &Tensor) -> Result<Self> {
        let tensor = self.tensor.index_select(ids, 0)?;
        let (table, ids) = (self.tensor.clone(), ids.clone());
        Ok(Self::record(&[self], tensor, move |dy, _| Ok(vec![Some(table.zeros_like()?.index_add(&ids, dy, 0)?)])))
    }

    /// Rows `ids` (u32) of a table `[K, N]` that is a leaf. Its gradient is that of these rows, [`Gradients::rows`]: nothing as large as the
    /// table is made for it.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn lookup(&self, ids: &Tensor) -> Result<Self> {
        let tensor = self.tensor.index_select(ids, 0)?;
        let Some(tape) = &self.tape else { return Ok((&tensor).into()) };
        let node = tape.push(Node { inputs: Vec::new(), backward: None });
        tape.0.borrow_mut().lookups.push((self.tensor.id(), ids.clone(), node));
        Ok(Self { tensor, tape: self.tape.clone(), node: Some(node) })
    }

    /// Values side by side along their last dimension.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn concatenate(values: &[&Self]) -> Result<Self> {
        let tensors: Vec<&Tensor> = values.iter().map(|v| &v.tensor).collect();
        let last = tensors.first().map_or(0, |t| t.rank().saturating_sub(1));
        let widths: Vec<usize> = tensors.iter().map(|t| t.dim(last)).collect::<Result<_>>()?;
        let joined = Tensor::cat(&tensors, last)?;
        Ok(Self::record(values, joined, move |dy, _| {
            let mut start = 0;
            let part = |width: &usize| {
                start += width;
                dy.narrow(last, start - width, *width)?.contiguous().map(Some)
            };
            widths.iter().map(part).collect()
        }))
    }
}

impl Tape {
    /// A tape on which products have this precision.
    pub fn new(precision: Precision) -> Self {
        Self(Rc::new(RefCell::new(Record { precision, ..Record::default() })))
    }

    fn push(&self, node: Node) -> usize {
        let nodes = &mut self.0.borrow_mut().nodes;
        nodes.push(node);
        nodes.len() - 1
    }

    /// `tensor` as something to differentiate by. The same tensor is the same leaf.
    #[must_use]
    pub fn leaf(&self, tensor: &Tensor) -> Value {
        let known = self.0.borrow().leaves.get(&tensor.id()).copied();
        let node = known.unwrap_or_else(|| {
            let node = self.push(Node { inputs: Vec::new(), backward: None });
            self.0.borrow_mut().leaves.insert(tensor.id(), node);
            node
        });
        Value { tensor: tensor.clone(), tape: Some(self.clone()), node: Some(node) }
    }

    /// `tensor` as an input that nobody differentiates by.
    #[must_use]
    pub fn constant(&self, tensor: &Tensor) -> Value {
        Value { tensor: tensor.clone(), tape: Some(self.clone()), node: None }
    }

    /// Forgets all that was recorded, and with it the memory that only gradients need. Values keep their tensors, but
    /// nothing can be differentiated any more.
    pub fn clear(&self) {
        *self.0.borrow_mut() = Record::default();
    }

    /// Gradients of `sum over seeds of (value * weight)` with respect to the leaves `wanted`.
    ///
    /// # Errors
    /// A seed has another shape than its value or stands on another tape, or an operation's backward function failed.
    pub fn gradients<'a>(
        &self,
        seeds: &[(&Value, &Tensor)],
        wanted: impl IntoIterator<Item = &'a Tensor>,
    ) -> Result<Gradients> {
        let record = self.0.borrow();
        let mut needed = vec![false; record.nodes.len()];
        let (mut leaves, mut lookups) = (Vec::new(), Vec::new());
        for tensor in wanted {
            if let Some(node) = record.leaves.get(&tensor.id()) {
                needed[*node] = true;
                leaves.push((tensor.id(), *node));
            }
            for (table, ids, node) in record.lookups.iter().filter(|(table, ..)| *table == tensor.id()) {
                needed[*node] = true;
                lookups.push((*table, ids, *node));
            }
        }
        for (i, node) in record.nodes.iter().enumerate() {
            needed[i] |= node.inputs.iter().flatten().any(|input| needed[*input]);
        }
        let mut grads: Vec<Option<Tensor>> = vec![None; record.nodes.len()];
        for (value, weight) in seeds {
            if weight.dims() != value.dims() || weight.dtype() != value.dtype() {
                candle_core::bail!("gradients: seed {:?} does not fit {:?}", weight.dims(), value.dims());
            }
            if !value.tape.as_ref().is_none_or(|tape| Rc::ptr_eq(&tape.0, &self.0)) {
                candle_core::bail!("gradients: the value stands on another tape");
            }
            if let Some(node) = value.node.filter(|n| *n < grads.len()) {
                accumulate(&mut grads[node], (*weight).clone())?;
            }
        }
        for (i, node) in record.nodes.iter().enumerate().rev() {
            let Some(backward) = node.backward.as_ref().filter(|_| needed[i]) else { continue };
            let Some(dy) = grads[i].take() else { continue };
            let flags: Vec<bool> = node.inputs.iter().map(|n| n.is_some_and(|n| needed[n])).collect();
            for ((input, flag), grad) in node.inputs.iter().zip(&flags).zip(backward(&dy, &flags)?) {
                if let (Some(input), true, Some(grad)) = (input, flag, grad) {
                    accumulate(&mut grads[*input], grad)?;
                }
            }
        }
        let whole = leaves.into_iter().filter_map(|(id, n)| grads[n].take().map(|g| (id, g))).collect();
        let mut rows: HashMap<TensorId, Vec<(Tensor, Tensor)>> = HashMap::new();
        for (table, ids, n) in lookups {
            if let Some(grad) = grads[n].take() {
                rows.entry(table).or_default().push((ids.clone(), grad));
            }
        }
        Ok(Gradients { whole, rows })
    }
}

fn accumulate(sum: &mut Option<Tensor>, grad: Tensor) -> Result<()> {
    *sum = Some(match sum.take() {
        None => grad,
        Some(old) => (old + grad)?,
    });
    Ok(())
}

/// Gradients by leaf.
#[derive(Default)]
pub struct Gradients {
    whole: HashMap<TensorId, Tensor>,
    /// Of looked-up rows: which, and theirs.
    rows: HashMap<TensorId, Vec<(Tensor, Tensor)>>,
}

impl Gradients {
    /// The gradient of a leaf, if the seeds depend on it and it was wanted.
    pub fn get(&self, leaf: &Tensor) -> Option<&Tensor> {
        self.whole.get(&leaf.id())
    }

    /// The gradient of the rows of `table` that were looked up, if the seeds depend on any and it was wanted.
    ///
    /// # Errors
    /// Too little memory.
    pub fn rows(&self, table: &Tensor) -> Result<Option<RowGradient>> {
        self.rows.get(&table.id()).map(|parts| RowGradient::sum(parts)).transpose()
    }

    /// The gradients of `leaves`, and the others.
    #[must_use]
    pub fn split<'a>(mut self, leaves: impl Iterator<Item = &'a Tensor>) -> (Self, Self) {
        let mut own = Self::default();
        for id in leaves.map(Tensor::id) {
            own.whole.extend(self.whole.remove(&id).map(|g| (id, g)));
            own.rows.extend(self.rows.remove(&id).map(|g| (id, g)));
        }
        (own, self)
    }
}

/// An operation composed of candle's, which differentiates it.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn apply(inputs: &[&Value], f: impl FnOnce(&[Tensor]) -> Result<Tensor>) -> Result<Value> {
    let recorded = inputs.iter().any(|v| v.node.is_some());
    let vars: Vec<Tensor> = inputs
        .iter()
        .map(|v| match v.node {
            Some(_) => Ok(Var::from_tensor(&v.tensor.detach())?.into_inner()),
            None => Ok(v.tensor.detach()),
        })
        .collect::<Result<_>>()?;
    let result = f(&vars)?;
    if !recorded {
        return Ok(Value::record(inputs, result.detach(), |_, flags| Ok(vec![None; flags.len()])));
    }
    Ok(Value::record(inputs, result.detach(), move |dy, _| {
        let grads = result.mul(dy)?.sum_all()?.backward()?;
        Ok(vars.iter().map(|v| grads.get(v).cloned()).collect())
    }))
}

/// What `f` makes of `inputs` (losses, the first of which is a scalar to differentiate) and that scalar's gradients with
/// respect to each input; zero where it does not depend on one.
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn differentiate<T>(
    inputs: &[&Value],
    f: impl FnOnce(&[Tensor]) -> Result<(Tensor, T)>,
) -> Result<(T, Vec<Tensor>)> {
    let vars: Vec<Var> = inputs.iter().map(|v| Var::from_tensor(&v.tensor.detach())).collect::<Result<_>>()?;
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let (loss, rest) = f(&tensors)?;
    let grads = loss.backward()?;
    let grads = tensors.iter().map(|t| grads.get(t).cloned().map_or_else(|| t.zeros_like(), Ok));
    Ok((rest, grads.collect::<Result<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use std::cell::Cell;

    #[test]
    fn operations_are_told_which_gradients_are_wanted() {
        let (a, b) = (Tensor::new(&[2f32], &Device::Cpu).unwrap(), Tensor::new(&[3f32], &Device::Cpu).unwrap());
        let tape = Tape::default();
        let (x, y, seen) = (tape.leaf(&a), tape.leaf(&b), Rc::new(Cell::new([false; 2])));
        let flags = seen.clone();
        let sum = Value::record(&[&x, &y], (&a + &b).unwrap(), move |dy, wanted| {
            flags.set([wanted[0], wanted[1]]);
            Ok(vec![Some(dy.clone()), Some(dy.clone())])
        });
        let never = Value::record(&[&y], b.clone(), |_, _| candle_core::bail!("leads to no wanted leaf"));
        let grads = tape.gradients(&[(&sum, &a), (&never, &b)], [&a]).unwrap();
        assert_eq!(seen.get(), [true, false]);
        assert!(grads.get(&a).is_some() && grads.get(&b).is_none());
        assert!(tape.gradients(&[(&never, &b)], [&b]).is_err());
        let other = Tensor::new(&[1f32, 2.0], &Device::Cpu).unwrap();
        assert!(tape.gradients(&[(&sum, &other)], [&a]).is_err(), "a seed of another shape");
        assert!(Tape::default().gradients(&[(&sum, &a)], [&a]).is_err(), "a value of another tape");
    }
}
