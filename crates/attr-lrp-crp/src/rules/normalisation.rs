//! The rule for normalisations by statistics of their input.

use attr_core::op::{GroupKind, Op};
use attr_core::walk::{NodeView, Rule, Shares};
use attr_core::{Error, Value};
use burn::tensor::{Tensor, TensorData};

use super::{Term, account, quotient, relevance};
use crate::Stabilizer;

/// Treats a normalisation `y = γ (x - mean(x)) / σ + β` as a linear layer: `σ` is a constant, and the
/// mean is a part of the weight: `R_in = x ⊙ Jᵀ (R / stab(y))`.
///
/// For LayerNorm, GroupNorm and InstanceNorm. RMSNorm, which subtracts no mean, passes relevance on.
/// Ali et al., "XAI for Transformers: Better Explanations through Conservative Propagation", 2022
/// (<https://arxiv.org/abs/2202.07304>); Achtibat et al., "AttnLRP", 2024, section 3.3.4
/// (<https://arxiv.org/abs/2402.05602>).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Normalisation {
    stabilizer: Stabilizer,
}

impl Normalisation {
    /// Creates the rule.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the stabiliser of the denominators.
    pub fn with_stabilizer(mut self, stabilizer: impl Into<Stabilizer>) -> Self {
        self.stabilizer = stabilizer.into();
        self
    }
}

/// How a normalisation normalises.
struct Block {
    /// How many consecutive elements it normalises together.
    together: usize,
    epsilon: f64,
}

impl Block {
    fn of(node: &NodeView<'_>) -> Result<Self, Error> {
        let epsilon = match (node.info().group(), node.op()) {
            (
                Some(
                    GroupKind::LayerNorm { epsilon }
                    | GroupKind::GroupNorm { epsilon, .. }
                    | GroupKind::InstanceNorm { epsilon },
                ),
                _,
            )
            | (None, Op::LayerNorm { epsilon }) => Some(*epsilon),
            _ => None,
        };
        match (epsilon, node.info().normalised_together()) {
            (Some(epsilon), Some(together)) if together > 0 => Ok(Self { together, epsilon }),
            _ => Err(Error::Rule {
                rule: "Normalisation".into(),
                layer: node.name().into(),
                reason: "it needs a normalisation that subtracts a mean, over a fixed number of \
                         elements"
                    .into(),
            }),
        }
    }

    /// The elements of a value, one block a row.
    fn rows(&self, value: &Value) -> Result<Tensor<2>, Error> {
        let elements: usize = value.shape().iter().product();
        let sizes = [elements / self.together, self.together];
        value.clone().reshape(&sizes).tensor::<2>()
    }
}

impl Rule for Normalisation {
    /// `γ/σ` at each element.
    fn forward(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        let (block, x) = (Block::of(node)?, &node.operands()[0]);
        let rows = block.rows(x)?;
        let centred = rows.clone() - rows.mean_dim(1);
        let variance = (centred.clone() * centred).mean_dim(1);
        let scale = (variance + block.epsilon).sqrt().recip();
        let [count, together] = block.rows(x)?.dims();
        let scale = Value::from(scale.expand([count, together])).reshape(&x.shape());
        // A single element is its own mean: nothing flows, whatever γ is.
        let Some(gamma) = node.operands().get(1).filter(|_| together > 1) else {
            return Ok(vec![scale]);
        };
        // The node spreads γ over its output: what it makes of alternating signs, compared with
        // what it makes of them with γ = 1.
        let signs = (0..together).map(|i| if i % 2 == 0 { 1.0f32 } else { -1.0 });
        let signs = TensorData::new(signs.collect::<Vec<_>>(), [1, together]);
        let signs = Value::from_data(signs.convert_dtype(x.dtype()), &x.device());
        let signs = Value::from(signs.tensor::<2>()?.expand([count, together]));
        let mut operands = vec![signs.reshape(&x.shape()), gamma.clone()];
        operands.extend(node.operands().get(2).map(Value::zeros_like));
        let scaled = node.output_at(&operands)?;
        operands[1] = gamma.map(|gamma| gamma.ones_like())?;
        let spread = scaled.zip(&node.output_at(&operands)?, |scaled, plain| scaled / plain)?;
        Ok(vec![spread.zip(&scale, |gamma, scale| gamma * scale)?])
    }

    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        let block = Block::of(node)?;
        let (r, z, x) = (relevance(&r)?, &node.outputs()[0], &node.operands()[0]);
        let s = quotient(self.stabilizer, r, z)?;
        let scaled = s.zip(&node.computed()[0], |s, scale| s * scale)?;
        let scaled = block.rows(&scaled)?;
        let back = scaled.clone() - scaled.mean_dim(1);
        let share = Value::from(back * block.rows(x)?).reshape(&x.shape());
        account(node, node.only_first(share), &[Term { r, s: &s, z }])
    }
}
