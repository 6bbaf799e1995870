//! Derivatives written out in operations, for recorded walks: Burn's capture device has no
//! autodiff. Where values are computed, `derivative/mod.rs` uses Burn's own derivatives.

mod attention;
mod elementwise;
mod moves;
mod reductions;
mod windows;

use std::collections::HashMap;

use burn::tensor::{Device, Shape, TensorData};

use super::{Body, Run, sum_to, vjp};
use crate::graph::op::{Binary, Compare, Number, Op, Reduce, Unary};
use crate::graph::run::{self, Place};
use crate::graph::{Dim, Graph, Group, SlotId, add};
use crate::{Error, Kind, Value};

/// One share for each operand.
type Shares = Vec<Option<Value>>;

/// An operation with its values, and what arrives at its first output.
struct Site<'a> {
    op: &'a Op,
    operands: &'a [Value],
    /// The outputs of the forward pass; for most operations, only their shapes.
    outputs: &'a [Value],
    arriving: &'a Value,
    wanted: &'a [bool],
    place: &'a Place,
}

/// Pulls what arrives at a node's first output back to each `wanted` operand; `None` for an
/// operation whose derivative is not written out.
pub(super) fn written(
    op: &Op,
    run: &Run<'_>,
    arriving: &Value,
    wanted: &[bool],
) -> Result<Option<Shares>, Error> {
    let site = Site {
        op,
        operands: run.operands,
        outputs: run.outputs,
        arriving,
        wanted,
        place: run.place,
    };
    let families = [
        elementwise::shares,
        moves::shares,
        reductions::shares,
        windows::shares,
        attention::shares,
    ];
    for family in families {
        if let Some(shares) = family(&site)? {
            return Ok(Some(shares));
        }
    }
    Ok(None)
}

/// The same for a group: runs its nodes once more, then walks each back.
pub(super) fn of_group(
    graph: &Graph,
    group: &Group,
    run: &Run<'_>,
    arriving: Option<Value>,
    wanted: &[bool],
) -> Result<Shares, Error> {
    let values = graph.group_values(group, run.operands.to_vec(), run.place)?;
    let value = |slot: &SlotId| {
        let known = values.get(slot).or_else(|| graph.value_of(*slot));
        known
            .cloned()
            .ok_or(Error::Internal("a group lacks an operand"))
    };
    let flows: Vec<SlotId> = graph.dependents_in(group, wanted);
    let mut gradients: HashMap<SlotId, Value> = HashMap::new();
    gradients.extend(arriving.map(|arriving| (group.output, arriving)));
    for &node in group.nodes.iter().rev() {
        let node = &graph.nodes[node];
        let here: Shares = node
            .outputs
            .iter()
            .map(|slot| gradients.remove(slot))
            .collect();
        let wanted: Vec<bool> = node
            .operands
            .iter()
            .map(|slot| flows.contains(slot))
            .collect();
        if here.iter().all(Option::is_none) || !wanted.contains(&true) {
            continue;
        }
        let operands: Vec<Value> = node.operands.iter().map(value).collect::<Result<_, _>>()?;
        let outputs: Vec<Value> = node.outputs.iter().map(value).collect::<Result<_, _>>()?;
        let run = Run {
            body: Body::Op(&node.op),
            operands: &operands,
            outputs: &outputs,
            place: run.place,
        };
        for (&slot, share) in node.operands.iter().zip(vjp(&run, here, &wanted)?) {
            let Some(share) = share else { continue };
            let sum = match gradients.remove(&slot) {
                Some(sum) => add(sum, share),
                None => share,
            };
            gradients.insert(slot, sum);
        }
    }
    let operands = group.operands.iter();
    Ok(operands.map(|slot| gradients.remove(slot)).collect())
}

impl Site<'_> {
    fn x(&self) -> &Value {
        &self.operands[0]
    }

    fn is_wanted(&self, i: usize) -> bool {
        self.wanted.get(i) == Some(&true)
    }

    fn only_first_wanted(&self) -> bool {
        !self.wanted[1..].contains(&true)
    }

    /// Adds what arrives to zeros shaped like operand 0, where `op` writes by indices.
    fn added_to_zeros(&self, op: Op, indices: Value) -> Result<Value, Error> {
        let zeros = self.x().zeros_like();
        self.run(op, vec![zeros, indices, self.arriving.clone()])
    }

    /// A share for operand 0 alone.
    fn first(&self, share: Value) -> Shares {
        let mut shares = vec![None; self.operands.len()];
        shares[0] = Some(share);
        shares
    }

    /// Shares for operands 0 and 1, each made only if wanted, and summed to its operand's shape.
    fn both(
        &self,
        first: impl FnOnce() -> Result<Value, Error>,
        second: impl FnOnce() -> Result<Value, Error>,
    ) -> Result<Shares, Error> {
        let mut shares = vec![None; self.operands.len()];
        if self.is_wanted(0) {
            shares[0] = Some(reduced(first()?, &self.operands[0]));
        }
        if self.is_wanted(1) {
            shares[1] = Some(reduced(second()?, &self.operands[1]));
        }
        Ok(shares)
    }

    /// Output `i`, which a pass keeps for ReLU, sigmoid, softmax and max pooling.
    fn kept(&self, i: usize) -> Result<&Value, Error> {
        let output = self.outputs.get(i);
        output.ok_or(Error::Internal("an output was not kept"))
    }

    /// The operation's output, computed again.
    fn output(&self) -> Result<Value, Error> {
        self.run(self.op.clone(), self.operands.to_vec())
    }

    fn run(&self, op: Op, operands: Vec<Value>) -> Result<Value, Error> {
        let outputs = run::run(&op, operands, self.place)?;
        let first = outputs.into_iter().next();
        first.ok_or(Error::Internal("an operation without an output"))
    }

    fn run_for(&self, op: Op, operands: Vec<Value>, output: usize) -> Result<Value, Error> {
        let mut outputs = run::run(&op, operands, self.place)?;
        if output < outputs.len() {
            return Ok(outputs.swap_remove(output));
        }
        Err(Error::Internal("an operation lacks an output"))
    }

    fn unary(&self, f: Unary, x: &Value) -> Result<Value, Error> {
        self.run(Op::Unary(f), vec![x.clone()])
    }

    fn binary(&self, f: Binary, a: &Value, b: &Value) -> Result<Value, Error> {
        self.run(Op::Binary(f), vec![a.clone(), b.clone()])
    }

    fn times(&self, a: &Value, b: &Value) -> Result<Value, Error> {
        self.binary(Binary::Mul, a, b)
    }

    fn over(&self, a: &Value, b: &Value) -> Result<Value, Error> {
        self.binary(Binary::Div, a, b)
    }

    fn square(&self, a: &Value) -> Result<Value, Error> {
        self.times(a, a)
    }

    /// `a * by + plus`.
    fn line(&self, a: &Value, by: f64, plus: f64) -> Result<Value, Error> {
        let scaled = match by {
            1.0 => a.clone(),
            by => self.by_number(Binary::Mul, a, by)?,
        };
        match plus {
            0.0 => Ok(scaled),
            plus => self.by_number(Binary::Add, &scaled, plus),
        }
    }

    fn scaled(&self, a: &Value, by: f64) -> Result<Value, Error> {
        self.line(a, by, 0.0)
    }

    fn by_number(&self, f: Binary, a: &Value, number: f64) -> Result<Value, Error> {
        let op = Op::BinaryScalar(f, Number::Float(number));
        self.run(op, vec![a.clone()])
    }

    /// `value` where a comparison of `x` with a number holds, zero elsewhere.
    fn only(
        &self,
        value: &Value,
        x: &Value,
        holds: Compare,
        number: Number,
    ) -> Result<Value, Error> {
        let mask = self.run(Op::CompareScalar(holds, number), vec![x.clone()])?;
        self.run(Op::MaskWhere, vec![value.zeros_like(), mask, value.clone()])
    }

    fn along(&self, f: Reduce, dim: usize, value: &Value) -> Result<Value, Error> {
        self.run(Op::Reduce(f, Some(dim)), vec![value.clone()])
    }

    fn expanded(&self, value: Value, like: &Value) -> Result<Value, Error> {
        let sizes = like.shape().into_iter();
        let dims = sizes.map(|size| Dim::fixed(size as isize)).collect();
        self.run(Op::Expand(dims), vec![value])
    }

    fn permuted(&self, value: &Value, axes: Vec<usize>) -> Result<Value, Error> {
        self.run(Op::Permute(axes), vec![value.clone()])
    }

    /// The value with two dimensions swapped.
    fn swapped(&self, value: &Value, a: usize, b: usize) -> Result<Value, Error> {
        let mut axes: Vec<usize> = (0..value.shape().len()).collect();
        axes.swap(a, b);
        self.permuted(value, axes)
    }

    fn transposed(&self, value: &Value) -> Result<Value, Error> {
        let rank = value.shape().len();
        self.swapped(value, rank - 2, rank - 1)
    }

    fn matmul(&self, a: &Value, b: &Value) -> Result<Value, Error> {
        self.run(Op::MatMul, vec![a.clone(), b.clone()])
    }

    fn indices(&self, indices: Vec<i64>) -> Value {
        let data = TensorData::new(indices.clone(), [indices.len()]);
        let data = data.convert_dtype(self.place.settings.int_dtype.into());
        Value::from_data(data, &Device::new(self.place.device.clone()))
    }
}

/// Sums a value over the dimensions along which `like` was broadcast, to the shape of `like`.
fn reduced(value: Value, like: &Value) -> Value {
    let shape = like.shape();
    let mut padded = vec![1; value.shape().len().saturating_sub(shape.len())];
    padded.extend(&shape);
    let sum = sum_to(value.into_dispatch(), &Shape::from(padded));
    Value::from_dispatch(sum).reshape(&shape)
}

/// Whether a value holds floating-point numbers.
fn is_float(value: &Value) -> bool {
    value.kind() == Kind::Float
}
