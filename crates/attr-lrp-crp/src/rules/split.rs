//! Layers whose input and weight are split by sign.

use attr_core::op::Op;
use attr_core::walk::{NodeView, Shares};
use attr_core::{Error, Value};
use burn::tensor::Tensor;

use super::{Term, account, negative, positive, through_weight};

/// A layer's input split by sign.
pub(super) struct Split {
    pub positive: Value,
    /// `None` where the input is never negative.
    pub negative: Option<Value>,
}

/// Two weights: `A` takes the positive part of the input and `B` the negative one. In a second
/// part of the output, `A` takes the negative and `B` the positive one.
///
/// A convolution holds them as one weight of more channels, so that it unrolls its input once for
/// both parts of the output and both signs.
pub(super) struct Weights<'a> {
    held: Held<'a>,
    parts: usize,
}

enum Held<'a> {
    Pair([&'a Value; 2]),
    Stack(&'a Value, Axes),
}

/// The dimensions of a weight that count the channels of its input and output.
#[derive(Clone, Copy)]
struct Axes {
    input: usize,
    output: usize,
}

/// The axes of the layers that stack their weights: convolutions without groups.
fn axes(node: &NodeView<'_>) -> Option<Axes> {
    match node.op() {
        Op::Conv(g) if g.groups == 1 => Some(Axes {
            input: 1,
            output: 0,
        }),
        Op::ConvTranspose(g) if g.groups == 1 => Some(Axes {
            input: 0,
            output: 1,
        }),
        _ => None,
    }
}

/// A part of the relevance, in proportion to one part of the output.
pub(super) struct Part<'a> {
    pub r: Value,
    pub s: Value,
    pub z: &'a Value,
}

impl<'a> Weights<'a> {
    /// Returns what the layer has to hold for 1 or 2 parts of the output and for an input of one
    /// sign or both.
    pub fn prepare(
        node: &NodeView<'_>,
        parts: usize,
        both_signs: bool,
        a: Value,
        b: impl FnOnce() -> Result<Value, Error>,
    ) -> Result<Vec<Value>, Error> {
        let Some(axes) = axes(node) else {
            return Ok(vec![a, b()?]);
        };
        let stack = match (parts, both_signs) {
            (1, false) => a,
            (1, true) => join([&a, &b()?], axes.input)?,
            (_, false) => join([&a, &b()?], axes.output)?,
            (_, true) => {
                let b = b()?;
                let (first, second) = (join([&a, &b], axes.input)?, join([&b, &a], axes.input)?);
                join([&first, &second], axes.output)?
            }
        };
        Ok(vec![stack])
    }

    /// Takes the weights from what the layer holds, and returns what it holds besides.
    pub fn of(
        node: &NodeView<'_>,
        parts: usize,
        held: &'a [Value],
    ) -> Result<(Self, &'a [Value]), Error> {
        let (held, rest) = match (axes(node), held) {
            (Some(axes), [stack, rest @ ..]) => (Held::Stack(stack, axes), rest),
            (None, [a, b, rest @ ..]) => (Held::Pair([a, b]), rest),
            _ => return Err(Error::Internal("a rule that prepared no weights")),
        };
        Ok((Self { held, parts }, rest))
    }
}

impl Split {
    pub fn of(node: &NodeView<'_>) -> Result<Self, Error> {
        let x = &node.operands()[0];
        Ok(if node.info().non_negative(0) {
            Self {
                positive: x.clone(),
                negative: None,
            }
        } else {
            Self {
                positive: positive(x)?,
                negative: Some(negative(x)?),
            }
        })
    }

    fn signs(&self) -> impl Iterator<Item = &Value> {
        std::iter::once(&self.positive).chain(&self.negative)
    }

    /// Both signs as the channels of one input.
    fn stacked(&self) -> Result<Value, Error> {
        join(self.signs(), 1)
    }

    /// Returns `A x⁺ + B x⁻ + b` and, for two parts, `B x⁺ + A x⁻ + b`, each with its own bias if
    /// there are biases.
    pub fn outputs(
        &self,
        node: &NodeView<'_>,
        weights: &Weights<'_>,
        biases: &[Value],
    ) -> Result<Vec<Value>, Error> {
        let parts = weights.parts;
        match weights.held {
            Held::Stack(weight, _) => {
                let mut operands = vec![self.stacked()?, weight.clone()];
                if !biases.is_empty() {
                    let biases = biases.iter().take(parts).cloned();
                    operands.push(Value::cat_rows(biases.collect())?);
                }
                divide(&node.output_at(&operands)?, parts, 1)
            }
            Held::Pair(pair) => (0..parts)
                .map(|part| {
                    let terms = self.signs().enumerate().map(|(sign, x)| {
                        let mut operands = vec![x.clone(), pair[sign ^ part].clone()];
                        operands.extend(biases.get(part).filter(|_| sign == 0).cloned());
                        node.output_at(&operands)
                    });
                    Value::sum(terms)
                })
                .collect(),
        }
    }

    /// Returns `x⁺ ⊙ Aᵀ S + x⁻ ⊙ Bᵀ S` and, for a second part, `x⁺ ⊙ Bᵀ S + x⁻ ⊙ Aᵀ S`, summed,
    /// and what the parts' stabilisers took.
    pub fn share(
        &self,
        node: &NodeView<'_>,
        weights: &Weights<'_>,
        parts: &[Part<'_>],
    ) -> Result<Shares, Error> {
        let share = match weights.held {
            Held::Stack(weight, _) => {
                let x = self.stacked()?;
                let s = join(parts.iter().map(|part| &part.s), 1)?;
                let back = node.pull_back_first(&[x.clone(), weight.clone()], s)?;
                let shares = back.zip(&x, |back, x| back * x)?;
                let shares = divide(&shares, self.signs().count(), 1)?;
                Value::sum(shares.into_iter().map(Ok))?
            }
            Held::Pair(pair) => Value::sum(self.signs().enumerate().map(|(sign, x)| {
                let back = parts.iter().enumerate().map(|(i, part)| {
                    let operands = [x.clone(), pair[sign ^ i].clone()];
                    node.pull_back_first(&operands, part.s.clone())
                });
                Value::sum(back)?.zip(x, |back, x| back * x)
            }))?,
        };
        let terms = parts.iter().map(|Part { r, s, z }| Term { r, s, z });
        account(node, node.only_first(share), &terms.collect::<Vec<_>>())
    }

    /// Returns what flows through each element of the weight, summed over signs and parts.
    pub fn weight_share(
        &self,
        node: &NodeView<'_>,
        weights: &Weights<'_>,
        parts: &[Part<'_>],
    ) -> Result<Value, Error> {
        match weights.held {
            Held::Stack(weight, axes) => {
                let s = join(parts.iter().map(|part| &part.s), 1)?;
                let share = through_weight(node, [&self.stacked()?, weight], &s)?;
                let share = divide(&share, parts.len(), axes.output)?;
                let share = Value::sum(share.into_iter().map(Ok))?;
                let share = divide(&share, self.signs().count(), axes.input)?;
                Value::sum(share.into_iter().map(Ok))
            }
            Held::Pair(pair) => Value::sum(parts.iter().enumerate().flat_map(|(i, part)| {
                let signs = self.signs().enumerate();
                signs.map(move |(sign, x)| through_weight(node, [x, pair[sign ^ i]], &part.s))
            })),
        }
    }
}

/// Joins values along dimension 0 or 1.
fn join<'v>(values: impl IntoIterator<Item = &'v Value>, dim: usize) -> Result<Value, Error> {
    let values: Vec<&Value> = values.into_iter().collect();
    if let [only] = values[..] {
        return Ok(only.clone());
    }
    let mut shape = values[0].shape();
    shape[dim] *= values.len();
    let matrices = values.iter().map(|value| value.matrix());
    let joined = Tensor::cat(matrices.collect::<Result<Vec<_>, _>>()?, dim);
    Ok(Value::from_matrix(joined, &shape))
}

/// Divides a value into equal pieces along dimension 0 or 1.
fn divide(value: &Value, pieces: usize, dim: usize) -> Result<Vec<Value>, Error> {
    if pieces == 1 {
        return Ok(vec![value.clone()]);
    }
    let mut shape = value.shape();
    shape[dim] /= pieces;
    let divided = value.matrix()?.chunk(pieces, dim);
    let divided = divided.into_iter();
    Ok(divided
        .map(|piece| Value::from_matrix(piece, &shape))
        .collect())
}
