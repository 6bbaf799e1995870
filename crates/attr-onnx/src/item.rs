//! The values that flow between nodes while a model is traced, and the operations on them.
//!
//! An [`Item`] is known on the host (shape arithmetic, constants), is on the device that records
//! the trace, or both. Every operation here computes on the host if it can and records otherwise.
//! So an operator is written once, and shape arithmetic is folded automatically.

use std::sync::Arc;

use attr_core::op::{Binary, Compare, Dim, Number, Op, Reduce, SliceDim, Unary};
use attr_core::{Kind, Value};
use burn::tensor::{DType, Device};

use crate::arithmetic;
use crate::host::{Host, LIMIT, count};
use crate::limits::Limits;

/// The maximum number of elements of a recorded tensor: 1 Gi.
pub(crate) const LARGEST: usize = 1 << 30;

/// A value in the graph, such as a node's output.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    pub kind: Kind,
    /// The values, if known.
    pub host: Option<Arc<Host>>,
    /// The recorded tensor, in which a scalar has shape `[1]`.
    live: Option<Value>,
    /// Whether it depends on an input of the model.
    pub active: bool,
}

impl From<Host> for Item {
    fn from(host: Host) -> Self {
        Arc::new(host).into()
    }
}

impl From<Arc<Host>> for Item {
    fn from(host: Arc<Host>) -> Self {
        Self {
            shape: host.shape().to_vec(),
            kind: host.kind(),
            host: Some(host),
            live: None,
            active: false,
        }
    }
}

impl Item {
    /// Creates an item from a recorded tensor, with its values if known.
    pub fn recorded(value: Value, host: Option<Arc<Host>>, active: bool) -> Self {
        Self {
            shape: value.shape(),
            kind: value.kind(),
            host,
            live: Some(value),
            active,
        }
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns its single number, if known.
    pub fn scalar(&self) -> Option<Number> {
        match (&**self.host.as_ref()?, self.elements()) {
            (Host::Float(a), 1) => a.iter().next().map(|&v| Number::Float(f64::from(v))),
            (Host::Int(a), 1) => a.iter().next().map(|&v| Number::Int(v)),
            (Host::Bool(a), 1) => a.iter().next().map(|&v| Number::Bool(v)),
            _ => None,
        }
    }

    /// Returns the recorded tensor, if there is one.
    pub fn live(&self) -> Option<&Value> {
        self.live.as_ref()
    }
}

/// Returns the index of a dimension that may be counted from the end.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    match usize::try_from(counted) {
        Ok(index) if index < rank => Ok(index),
        _ => Err(format!("axis {axis} does not exist in {rank} dimensions")),
    }
}

/// Returns the common shape of two shapes broadcast against each other.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], i: usize| match (i + shape.len()).checked_sub(rank) {
        Some(i) => shape[i],
        None => 1,
    };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (a, b) if a == b => Ok(a),
            (1, b) => Ok(b),
            (a, 1) => Ok(a),
            _ => Err(format!("shapes {a:?} and {b:?} cannot be broadcast")),
        })
        .collect()
}

fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|&d| Dim::fixed(d as isize)).collect()
}

/// Operations on items, on the recording device.
pub(crate) struct Compute<'a> {
    pub device: &'a Device,
    pub limits: &'a Limits,
}

type Outcome = Result<Item, String>;

impl Compute<'_> {
    /// Returns the item as a recorded tensor; a scalar gets shape `[1]`.
    fn value(&self, item: &Item) -> Result<Value, String> {
        if let Some(value) = &item.live {
            return Ok(value.clone());
        }
        // An item without a recorded tensor is known.
        let host = item.host.as_ref().ok_or("it has no value")?;
        self.limits.spend(item.elements())?;
        if let Host::Int(integers) = &**host {
            for &integer in integers {
                self.limits.check_integer(integer)?;
            }
        }
        Ok(host.upload(self.device))
    }

    /// Records an operation, even if its operands are known.
    pub fn record(&self, op: Op, operands: &[&Item]) -> Outcome {
        Ok(self.record_all(op, operands)?.remove(0))
    }

    /// Records an operation with several outputs.
    pub fn record_all(&self, op: Op, operands: &[&Item]) -> Result<Vec<Item>, String> {
        let active = operands.iter().any(|item| item.active);
        if let Op::BinaryScalar(_, number) | Op::CompareScalar(_, number) | Op::MaskFill(number) =
            &op
            && let Number::Int(integer) = number
        {
            self.limits.check_integer(*integer)?;
        }
        let values = operands.iter().map(|item| self.value(item));
        let values = values.collect::<Result<_, _>>()?;
        let outputs = op.run(values, self.device).map_err(|e| e.to_string())?;
        outputs
            .into_iter()
            .map(|value| {
                let elements = count(&value.shape(), LARGEST)?;
                if !active {
                    self.limits.spend(elements)?;
                }
                Ok(Item::recorded(value, None, active))
            })
            .collect()
    }

    /// Reshapes to a shape with the same number of elements.
    pub fn reshape(&self, item: &Item, shape: &[usize]) -> Outcome {
        if item.shape == shape {
            return Ok(item.clone());
        }
        let new = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if new != Some(item.elements()) {
            return Err(format!(
                "shape {:?} cannot be reshaped to {shape:?}",
                item.shape
            ));
        }
        let host = match &item.host {
            Some(host) => Some(Arc::new(host.reshape(shape)?)),
            None => None,
        };
        let physical: &[usize] = if shape.is_empty() { &[1] } else { shape };
        let live = match &item.live {
            Some(value) if value.shape() == physical => Some(value.clone()),
            Some(value) => {
                let op = Op::Reshape(dims(physical));
                let outputs = op.run(vec![value.clone()], self.device);
                Some(outputs.map_err(|e| e.to_string())?.remove(0))
            }
            None => None,
        };
        Ok(Item {
            shape: shape.to_vec(),
            kind: item.kind,
            host,
            live,
            active: item.active,
        })
    }

    /// Adds leading dimensions of size one, up to `rank`.
    pub fn lift(&self, item: &Item, rank: usize) -> Outcome {
        let mut shape = vec![1; rank.saturating_sub(item.rank())];
        shape.extend(&item.shape);
        self.reshape(item, &shape)
    }

    /// Reorders the dimensions.
    pub fn permute(&self, item: &Item, axes: &[usize]) -> Outcome {
        if axes.iter().copied().eq(0..item.rank()) {
            return Ok(item.clone());
        }
        match &item.host {
            Some(host) => Ok(host.permute(axes).into()),
            None => self.record(Op::Permute(axes.to_vec()), &[item]),
        }
    }

    /// Broadcasts to a shape.
    pub fn expand(&self, item: &Item, shape: &[usize]) -> Outcome {
        if item.shape == shape {
            return Ok(item.clone());
        }
        if broadcast(&item.shape, shape)? != shape {
            return Err(format!(
                "shape {:?} cannot be broadcast to {shape:?}",
                item.shape
            ));
        }
        count(shape, LARGEST)?;
        match &item.host {
            Some(host) if count(shape, LIMIT).is_ok() => Ok(host.expand(shape)?.into()),
            _ => {
                let lifted = self.lift(item, shape.len())?;
                self.record(Op::Expand(dims(shape)), &[&lifted])
            }
        }
    }

    /// Takes `start..end` by `step` along a dimension, within bounds.
    pub fn slice(&self, item: &Item, dim: usize, start: usize, end: usize, step: usize) -> Outcome {
        let size = item.shape[dim];
        let end = end.min(size);
        if start == 0 && end == size && step == 1 {
            return Ok(item.clone());
        }
        if start > end {
            return Err(format!(
                "dimension {dim} of size {size} has no part {start}..{end}"
            ));
        }
        match &item.host {
            Some(host) => Ok(host.slice(dim, start, end, step).into()),
            None if start == end => Err(format!(
                "its part {start}..{end} of dimension {dim} is empty"
            )),
            None => {
                let whole = |&size: &usize| SliceDim {
                    start: Dim::fixed(0),
                    end: Some(Dim::fixed(size as isize)),
                    step: 1,
                };
                let mut ranges: Vec<SliceDim> = item.shape.iter().map(whole).collect();
                ranges[dim] = SliceDim {
                    start: Dim::fixed(start as isize),
                    end: Some(Dim::fixed(end as isize)),
                    step: step as isize,
                };
                self.record(Op::Slice(ranges), &[item])
            }
        }
    }

    /// Reverses one dimension.
    pub fn flip(&self, item: &Item, dim: usize) -> Outcome {
        match &item.host {
            Some(host) => Ok(host.flip(dim).into()),
            None => self.record(Op::Flip(vec![dim]), &[item]),
        }
    }

    /// Selects whole slices along a dimension, at known indices within bounds.
    pub fn select(&self, item: &Item, dim: usize, indices: &[usize]) -> Outcome {
        if let Some(host) = &item.host {
            return Ok(host.select(dim, indices)?.into());
        }
        let consecutive = indices.windows(2).all(|pair| pair[1] == pair[0] + 1);
        match indices {
            [] => Err("it selects nothing".into()),
            [first, ..] if consecutive => self.slice(item, dim, *first, first + indices.len(), 1),
            _ => {
                let indices = indices.iter().map(|&i| i as i64).collect();
                let indices = Host::ints(indices).into();
                self.record(Op::Select { dim }, &[item, &indices])
            }
        }
    }

    /// Concatenates items along a dimension.
    pub fn cat(&self, items: &[Item], dim: usize) -> Outcome {
        // Exporters leave in empty parts, which add nothing.
        let parts = items.iter().filter(|item| item.shape.get(dim) != Some(&0));
        let parts: Vec<&Item> = parts.collect();
        let parts = if parts.is_empty() {
            items.iter().take(1).collect()
        } else {
            parts
        };
        let first = parts.first().ok_or("it has nothing to concatenate")?;
        for part in &parts {
            let fits = part.rank() == first.rank()
                && part.kind == first.kind
                && (0..part.rank()).all(|d| d == dim || part.shape[d] == first.shape[d]);
            if !fits {
                return Err(format!(
                    "shapes {:?} and {:?} cannot be concatenated along dimension {dim}",
                    first.shape, part.shape
                ));
            }
        }
        if parts.len() == 1 {
            return Ok((*first).clone());
        }
        let total: usize = parts.iter().map(|part| part.elements()).sum();
        let known: Option<Vec<&Host>> = parts.iter().map(|part| part.host.as_deref()).collect();
        match known {
            Some(known) if total <= LIMIT => Ok(Host::cat(&known, dim)?.into()),
            _ => self.record(Op::Cat { dim }, &parts),
        }
    }

    /// Converts the elements to another kind.
    pub fn cast(&self, item: &Item, kind: Kind) -> Outcome {
        if item.kind == kind {
            return Ok(item.clone());
        }
        if let Some(host) = &item.host {
            return Ok(host.cast(kind).into());
        }
        let settings = self.device.settings();
        let dtype = match kind {
            Kind::Float => settings.float_dtype.into(),
            Kind::Int => settings.int_dtype.into(),
            Kind::Bool => DType::Bool(settings.bool_dtype),
        };
        let cast = self.record(Op::Cast(dtype), &[item])?;
        self.reshape(&cast, &item.shape)
    }

    /// Applies a unary function such as `-x` or `|x|`.
    pub fn unary(&self, f: Unary, item: &Item) -> Outcome {
        if let Some(host) = &item.host
            && let Some(result) = arithmetic::unary(f, host)
        {
            return Ok(result.into());
        }
        let result = self.record(Op::Unary(f), &[item])?;
        self.reshape(&result, &item.shape)
    }

    /// Applies a function that is a separate operation, such as `Op::Relu`.
    pub fn map(&self, op: Op, item: &Item) -> Outcome {
        let result = self.record(op, &[item])?;
        self.reshape(&result, &item.shape)
    }

    /// Computes binary arithmetic with broadcasting.
    pub fn binary(&self, f: Binary, a: &Item, b: &Item) -> Outcome {
        if a.kind != b.kind {
            return Err(format!("its operands are {:?} and {:?}", a.kind, b.kind));
        }
        let shape = broadcast(&a.shape, &b.shape)?;
        count(&shape, LARGEST)?;
        if let (Some(x), Some(y)) = (&a.host, &b.host)
            && count(&shape, LIMIT).is_ok()
            && let Some(result) = arithmetic::binary(f, x, y, &shape)?
        {
            return Ok(result.into());
        }
        let commutes = matches!(f, Binary::Add | Binary::Mul);
        let result = match (a.scalar(), b.scalar()) {
            (_, Some(number)) if a.shape == shape && a.kind != Kind::Bool => {
                self.record(scalar_op(f, number), &[a])?
            }
            (Some(number), _) if b.shape == shape && commutes && a.kind != Kind::Bool => {
                self.record(scalar_op(f, number), &[b])?
            }
            _ => {
                let rank = shape.len();
                let (a, b) = (self.lift(a, rank)?, self.lift(b, rank)?);
                self.record(Op::Binary(f), &[&a, &b])?
            }
        };
        self.reshape(&result, &shape)
    }

    pub fn add(&self, a: &Item, b: &Item) -> Outcome {
        self.binary(Binary::Add, a, b)
    }

    pub fn sub(&self, a: &Item, b: &Item) -> Outcome {
        self.binary(Binary::Sub, a, b)
    }

    pub fn mul(&self, a: &Item, b: &Item) -> Outcome {
        self.binary(Binary::Mul, a, b)
    }

    pub fn div(&self, a: &Item, b: &Item) -> Outcome {
        self.binary(Binary::Div, a, b)
    }

    /// Computes binary arithmetic with a number as the right operand.
    pub fn with_number(&self, f: Binary, item: &Item, number: f64) -> Outcome {
        self.binary(f, item, &Host::float(number as f32).into())
    }

    /// Compares with broadcasting.
    pub fn compare(&self, f: Compare, a: &Item, b: &Item) -> Outcome {
        if a.kind != b.kind {
            return Err(format!("its operands are {:?} and {:?}", a.kind, b.kind));
        }
        let shape = broadcast(&a.shape, &b.shape)?;
        count(&shape, LARGEST)?;
        if let (Some(x), Some(y)) = (&a.host, &b.host)
            && count(&shape, LIMIT).is_ok()
        {
            return Ok(arithmetic::compare(f, x, y, &shape)?.into());
        }
        let result = match b.scalar() {
            Some(number) if a.shape == shape && a.kind != Kind::Bool => {
                self.record(Op::CompareScalar(f, number), &[a])?
            }
            _ => {
                let rank = shape.len();
                let (a, b) = (self.lift(a, rank)?, self.lift(b, rank)?);
                self.record(Op::Compare(f), &[&a, &b])?
            }
        };
        self.reshape(&result, &shape)
    }

    /// Selects `yes` where `condition` is true and `no` elsewhere, with broadcasting.
    pub fn choose(&self, condition: &Item, yes: &Item, no: &Item) -> Outcome {
        if condition.kind != Kind::Bool || yes.kind != no.kind {
            return Err(format!(
                "its operands are {:?}, {:?} and {:?}",
                condition.kind, yes.kind, no.kind
            ));
        }
        let shape = broadcast(&condition.shape, &broadcast(&yes.shape, &no.shape)?)?;
        count(&shape, LARGEST)?;
        if let (Some(c), Some(y), Some(n)) = (&condition.host, &yes.host, &no.host)
            && count(&shape, LIMIT).is_ok()
        {
            return Ok(arithmetic::choose(c, y, n, &shape)?.into());
        }
        let condition = self.expand(condition, &shape)?;
        let result = match yes.scalar() {
            Some(number) if yes.kind != Kind::Bool => {
                let no = self.expand(no, &shape)?;
                self.record(Op::MaskFill(number), &[&no, &condition])?
            }
            _ => {
                let (yes, no) = (self.expand(yes, &shape)?, self.expand(no, &shape)?);
                self.record(Op::MaskWhere, &[&no, &condition, &yes])?
            }
        };
        self.reshape(&result, &shape)
    }

    /// Computes the elementwise maximum (or minimum) of two, with broadcasting.
    pub fn extreme(&self, a: &Item, b: &Item, smallest: bool) -> Outcome {
        let (a, b) = match (a.scalar(), b.scalar()) {
            (Some(_), None) => (b, a),
            _ => (a, b),
        };
        if let (Some(number), true, false) = (
            b.scalar(),
            broadcast(&a.shape, &b.shape)? == a.shape,
            a.host.is_some(),
        ) && a.kind == b.kind
            && a.kind != Kind::Bool
        {
            if let Number::Int(bound) = number
                && !self.limits.integers.contains(&bound)
            {
                // No integer of the device reaches it; the other extreme cannot be represented.
                if smallest == (bound > 0) {
                    return Ok(a.clone());
                }
                self.limits.check_integer(bound)?;
            }
            let (min, max) = if smallest {
                (None, Some(number))
            } else {
                (Some(number), None)
            };
            return self.map(Op::Clamp { min, max }, a);
        }
        let f = if smallest {
            Compare::LowerEqual
        } else {
            Compare::GreaterEqual
        };
        self.choose(&self.compare(f, a, b)?, a, b)
    }

    /// Reduces one dimension to length one.
    pub fn reduce(&self, f: Reduce, item: &Item, dim: usize) -> Outcome {
        if let Some(host) = &item.host
            && let Some(result) = arithmetic::reduce(f, host, dim)
        {
            return Ok(result.into());
        }
        if item.shape[dim] == 1 && !matches!(f, Reduce::ArgMax | Reduce::ArgMin) {
            return Ok(item.clone());
        }
        self.record(Op::Reduce(f, Some(dim)), &[item])
    }

    /// Reduces several dimensions to length one.
    pub fn reduce_dims(&self, f: Reduce, item: &Item, dims: &[usize]) -> Outcome {
        let mut result = item.clone();
        for &dim in dims {
            result = self.reduce(f, &result, dim)?;
        }
        Ok(result)
    }

    /// Computes the matrix product of the last two dimensions, as `Op::Linear` if the right side is
    /// one constant matrix. Both sides have at least two dimensions.
    pub fn matmul(&self, a: &Item, b: &Item) -> Outcome {
        let (m, n) = (a.rank(), b.rank());
        if m < 2 || n < 2 || a.shape[m - 1] != b.shape[n - 2] || a.kind != b.kind {
            return Err(format!(
                "shapes {:?} and {:?} cannot be multiplied",
                a.shape, b.shape
            ));
        }
        if n == 2 && !b.active && a.active && a.kind == Kind::Float {
            return self.record(Op::Linear, &[a, b]);
        }
        let rank = m.max(n);
        let batch = broadcast(&a.shape[..m - 2], &b.shape[..n - 2])?;
        let full = |item: &Item| -> Outcome {
            let mut shape = batch.clone();
            shape.extend(&item.shape[item.rank() - 2..]);
            self.expand(&self.lift(item, rank)?, &shape)
        };
        self.record(Op::MatMul, &[&full(a)?, &full(b)?])
    }

    /// Swaps the last two dimensions.
    pub fn transpose(&self, item: &Item) -> Outcome {
        let mut axes: Vec<usize> = (0..item.rank()).collect();
        let rank = axes.len();
        if rank < 2 {
            return Ok(item.clone());
        }
        axes.swap(rank - 1, rank - 2);
        self.permute(item, &axes)
    }

    /// Adds cells on both sides of every dimension.
    pub fn pad(
        &self,
        item: &Item,
        padding: &[(usize, usize)],
        fill: attr_core::op::Padding,
    ) -> Outcome {
        if padding.iter().all(|&p| p == (0, 0)) {
            return Ok(item.clone());
        }
        let sizes = item.shape.iter().zip(padding);
        let grown: Option<Vec<usize>> = sizes
            .map(|(size, p)| size.checked_add(p.0)?.checked_add(p.1))
            .collect();
        count(&grown.ok_or("its padding is too large")?, LARGEST)?;
        self.record(Op::Pad(padding.to_vec(), fill), &[item])
    }
}

fn scalar_op(f: Binary, number: Number) -> Op {
    match (f, number) {
        // Powers with integer exponents are products, exact for negative bases on every device.
        (Binary::Pow, Number::Float(p)) if p == p.trunc() && p.abs() <= 64.0 => {
            Op::BinaryScalar(Binary::PowInt, Number::Int(p as i64))
        }
        (Binary::Pow, Number::Int(p)) => Op::BinaryScalar(Binary::PowInt, Number::Int(p)),
        _ => Op::BinaryScalar(f, number),
    }
}
