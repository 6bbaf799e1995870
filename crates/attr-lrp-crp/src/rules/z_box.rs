//! The z-box rule for inputs within bounds.

use attr_core::op::{Dim, Op};
use attr_core::walk::{NodeView, Rule, Shares};
use attr_core::{Error, Value};
use burn::tensor::Tensor;

use super::split::{Part, Split, Weights};
use super::{negative, parameters, positive, quotient, relevance};
use crate::Stabilizer;

/// For a first layer whose input lies between two bounds `l` and `h`, such as pixels:
/// `R_in = x ⊙ Wᵀ S - l ⊙ W⁺ᵀ S - h ⊙ W⁻ᵀ S` with `S = R / stab(W x - W⁺ l - W⁻ h)`.
///
/// The bias cancels. Computed as `(x - l) ⊙ W⁺ᵀ S + (x - h) ⊙ W⁻ᵀ S`, which is the same. Montavon
/// et al., "Explaining NonLinear Classification Decisions with Deep Taylor Decomposition", 2017
/// (<https://doi.org/10.1016/j.patcog.2016.11.008>).
#[derive(Clone, Debug)]
pub struct ZBox {
    low: Bound,
    high: Bound,
    stabilizer: Stabilizer,
}

/// A bound of a layer's input.
#[derive(Clone, Debug)]
pub enum Bound {
    /// The same number everywhere.
    Number(f64),
    /// A tensor of one row, shaped like the input or with size 1 where it is the same along a
    /// dimension: `[1, channels, 1, 1]` for one bound per channel.
    Tensor(Value),
}

impl From<f64> for Bound {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl<const D: usize> From<Tensor<D>> for Bound {
    fn from(tensor: Tensor<D>) -> Self {
        Self::Tensor(tensor.into())
    }
}

impl Bound {
    /// Returns the bound of every element of `x`.
    fn like(&self, x: &Value, layer: &str) -> Result<Value, Error> {
        let shape = x.shape();
        let bound = match self {
            Self::Number(number) => return x.map(|x| x.full_like(*number)),
            Self::Tensor(bound) => bound,
        };
        let own = bound.shape();
        let fits =
            |(i, (own, size)): (usize, (&usize, &usize))| *own == 1 || (i > 0 && own == size);
        if own.len() != shape.len() || !own.iter().zip(&shape).enumerate().all(fits) {
            return Err(Error::Shape {
                what: format!("a bound of layer {layer:?}"),
                got: own,
                expected: format!("one row of {shape:?}, or 1 for any other size"),
            });
        }
        if bound.device() != x.device() {
            return Err(Error::Unlike {
                what: format!("a bound of layer {layer:?}"),
                got: format!("on {:?}", bound.device()),
                expected: format!("{:?}, where the model is,", x.device()),
            });
        }
        let sizes = shape.iter().map(|&size| Dim::fixed(size as isize));
        let expand = Op::Expand(sizes.collect());
        Ok(expand.run(vec![bound.clone()], &x.device())?.remove(0))
    }
}

impl ZBox {
    /// Creates the rule for inputs from `low` to `high`.
    pub fn new(low: impl Into<Bound>, high: impl Into<Bound>) -> Self {
        Self {
            low: low.into(),
            high: high.into(),
            stabilizer: Stabilizer::default(),
        }
    }

    /// Sets the stabiliser of the denominators.
    pub fn with_stabilizer(mut self, stabilizer: impl Into<Stabilizer>) -> Self {
        self.stabilizer = stabilizer.into();
        self
    }

    /// Returns `x - l`, which goes with `W⁺`, and `x - h`, which goes with `W⁻`.
    fn split(&self, node: &NodeView<'_>) -> Result<Split, Error> {
        let x = &node.operands()[0];
        let (low, high) = (
            self.low.like(x, node.name())?,
            self.high.like(x, node.name())?,
        );
        Ok(Split {
            positive: x.zip(&low, |x, low| x - low)?,
            negative: Some(x.zip(&high, |x, high| x - high)?),
        })
    }

    fn part<'v>(&self, node: &'v NodeView<'_>, r: &[Option<Value>]) -> Result<Part<'v>, Error> {
        let (r, z) = (relevance(r)?.clone(), &node.computed()[0]);
        let s = quotient(self.stabilizer, &r, z)?;
        Ok(Part { r, s, z })
    }
}

fn weights<'v>(node: &'v NodeView<'_>) -> Result<Weights<'v>, Error> {
    Ok(Weights::of(node, 1, node.prepared())?.0)
}

impl Rule for ZBox {
    /// `W⁺` and `W⁻`.
    fn prepare(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        let weight = parameters(node, "ZBox", true)?.weight;
        Weights::prepare(node, 1, true, positive(&weight)?, || negative(&weight))
    }

    /// `z = W⁺ (x - l) + W⁻ (x - h)`.
    fn forward(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        self.split(node)?.outputs(node, &weights(node)?, &[])
    }

    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        let parts = [self.part(node, &r)?];
        self.split(node)?.share(node, &weights(node)?, &parts)
    }

    fn weight_share(
        &self,
        node: &NodeView<'_>,
        r: &[Option<Value>],
    ) -> Result<Option<Value>, Error> {
        let parts = [self.part(node, r)?];
        let share = self
            .split(node)?
            .weight_share(node, &weights(node)?, &parts);
        share.map(Some)
    }
}
