//! FullGrad: the gradients of the input and of all biases, combined into one map.
//!
//! Srinivas, Fleuret, "Full-Gradient Representation for Neural Network Visualization", 2019
//! (<https://arxiv.org/abs/1905.00780>); post-processing as in the authors' code.

use attr_core::op::{Binary, Op, Padding, Reduce, Unary};
use attr_core::walk::{GradientEverywhere, Keep, NodeInfo, Role, Walk};
use attr_core::{Error, Explanation, Method, Question, Value};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Resize, spatial};
use crate::rows::row_sums;

/// Computes `S = ψ(x ⊙ ∂f/∂x) + Σ_l Σ_c ψ(b_c ⊙ ∂f/∂y_c)` over the layers `y` with biases `b` whose
/// outputs are images.
///
/// `ψ` takes magnitudes, scales them to `[0, 1]` and resizes them to the input's size. BatchNorm
/// counts as a layer with bias `β - γ μ / σ`. For a network whose nonlinearities are ReLUs,
/// `f(x) = Σ x ⊙ ∂f/∂x + Σ b ⊙ ∂f/∂y` over *all* biases; the convergence delta is the error of this
/// sum. Other nonlinearities (SiLU, a clip at 6, softmax) have no such biases: where the sum differs
/// from the output by more than 1 %, a warning names the layers that may be the reason.
///
/// Shapes: `[batch, 1, ...]` with the input's spatial dimensions. One forward and one backward pass
/// per row. The model must have one image input.
///
/// # Errors
/// [`Error::NotTraced`] for a closure; [`Error::Method`] for a model whose input is not an image.
///
/// ```
/// use attr_core::{Method, Traced};
/// use attr_gradient::FullGrad;
/// use burn::nn::conv::{Conv2d, Conv2dConfig};
/// use burn::tensor::{Device, Tensor, activation};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let net: Conv2d = Conv2dConfig::new([1, 4], [3, 3]).init(&device);
/// let image = Tensor::<4>::ones([1, 1, 8, 8], &device);
/// let forward =
///     |n: &Conv2d, x: Tensor<4>| activation::relu(n.forward(x)).flatten::<2>(1, 3).sum_dim(1);
/// let model = Traced::new(&net, forward, &image)?;
/// let found = FullGrad::new().attribute(&model, &image, 0)?;
/// assert_eq!(found.attribution().dims(), [1, 1, 8, 8]);
/// assert!(found.delta().unwrap()[0].abs() < 1e-4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FullGrad {}

impl FullGrad {
    /// Creates the method, which has no parameters.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Method for FullGrad {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let inputs = question.inputs();
        let (seen, size) = spatial(inputs)?;
        if (0..inputs.values().len()).any(|i| i != seen && inputs.attributed(i)) {
            return Err(Error::Method {
                method: "FullGrad",
                reason: "it explains one image; make the other inputs constant".into(),
            });
        }
        let plan = question.plan(&GradientEverywhere)?;
        let mut collected = question.collect();
        let mut deltas: Vec<Vec<f32>> = vec![Vec::new(); question.targets().len()];
        question.for_rows(1, |rows| {
            let (x, own) = (&rows.values()[seen], rows.rows());
            // A model bound to a number of rows has padding after them.
            let walked = question.bound().unwrap_or(own).max(own);
            let pass = question.pass(&rows, None, &plan)?;
            let chosen = question.chosen(&pass.output()?, &rows)?;
            for (t, chosen) in chosen.into_iter().enumerate() {
                let mut biased = Vec::new();
                let mut see = |node: &NodeInfo<'_>, arriving: &Value| {
                    if let Some(bias) = Bias::of(node, arriving)? {
                        let product = bias.times(arriving)?;
                        biased.push(by_row(node, &product, walked)?.slice_rows(0..own));
                    }
                    Ok(())
                };
                let walk = Walk::from_output(chosen.seed).keep(Keep::Visit(&mut see));
                let gradient = pass.walk(walk)?.inputs.into_iter().nth(seen).flatten();
                let gradient = gradient.ok_or(Error::NoGradient { input: seen })?;
                let product = gradient.zip(x, |gradient, x| gradient * x)?;
                let mut sums = row_sums(product.matrix()?)?;
                let mut map = magnitude(&product, &size)?;
                for value in &biased {
                    for (sum, part) in sums.iter_mut().zip(row_sums(value.matrix()?)?) {
                        *sum += part;
                    }
                    if value.shape().len() == x.shape().len() {
                        map = map + magnitude(value, &size)?;
                    }
                }
                let ends = sums.iter().zip(&chosen.scores);
                deltas[t].extend(ends.map(|(sum, score)| sum - score));
                let shape = [&[own, 1], &size[..]].concat();
                let mut values = vec![None; rows.values().len()];
                values[seen] = Some(Value::from_matrix(map, &shape));
                collected.push(t, values, &chosen.scores);
            }
            Ok(())
        })?;
        let others = plan
            .nodes()
            .map(|(node, _)| node)
            .filter(|node| !is_affine(node));
        let others: Vec<&str> = others.map(|node| node.name()).collect();
        let found = collected.finish()?.into_iter().zip(deltas);
        let found = found.map(|(one, delta)| {
            let warnings = incomplete(&one.scores, &delta, &others);
            one.with_delta(delta).with_warnings(warnings)
        });
        Ok(found.collect())
    }
}

/// A sum that differs from the output by more than this fraction of it is reported.
const INCOMPLETE: f32 = 0.01;

/// Warns of rows whose gradients and biases do not add up to the output, with the layers that may be
/// the reason.
fn incomplete(scores: &[f32], deltas: &[f32], others: &[&str]) -> Vec<String> {
    const NAMED: usize = 5;
    let rows = scores.iter().zip(deltas);
    let off = rows.filter(|(score, delta)| delta.abs() > INCOMPLETE * score.abs().max(1e-6));
    let count = off.count();
    if count == 0 || others.is_empty() {
        return Vec::new();
    }
    let rest = match others.len() {
        ..=NAMED => String::new(),
        all => format!(" and {} more", all - NAMED),
    };
    let named = others[..others.len().min(NAMED)].join(", ");
    vec![format!(
        "the gradients and biases do not add up to the output in {count} of {} rows: these layers \
         are neither affine nor ReLUs: {named}{rest}",
        scores.len()
    )]
}

/// Whether a node is linear for each sign pattern of its operands, apart from a bias that [`Bias`]
/// knows.
fn is_affine(node: &NodeInfo<'_>) -> bool {
    let varies = |i: usize| node.role(i) == Role::Input;
    match node.op() {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Linear => varies(0) && !varies(1) && !varies(2),
        Op::MatMul => varies(0) != varies(1),
        Op::BatchNorm { .. } => (1..5).all(|i| !varies(i)),
        Op::Relu | Op::LeakyRelu { .. } | Op::PRelu | Op::MaxPool { .. } | Op::AvgPool(_) => true,
        Op::AdaptiveAvgPool { .. } | Op::SumDims(_) | Op::Interpolate { .. } | Op::Cat { .. } => {
            true
        }
        Op::Reduce(f, _) => matches!(
            f,
            Reduce::Max | Reduce::Min | Reduce::MaxAbs | Reduce::Mean | Reduce::Sum
        ),
        Op::Pad(_, fill) => !matches!(fill, Padding::Constant(value) if *value != 0.0),
        Op::Unary(f) => matches!(f, Unary::Abs | Unary::Neg),
        Op::Binary(Binary::Add | Binary::Sub) => varies(0) && varies(1),
        Op::Binary(Binary::Mul) => varies(0) != varies(1),
        Op::Binary(Binary::Div) => varies(0) && !varies(1),
        Op::BinaryScalar(f, _) => matches!(f, Binary::Mul | Binary::Div),
        Op::Reshape(_) | Op::Permute(_) | Op::Expand(_) | Op::Flip(_) | Op::Slice(_) => true,
        Op::Repeat { .. } | Op::Unfold { .. } | Op::Unfold4d { .. } | Op::Cast(_) => true,
        Op::Select { .. } | Op::Gather { .. } | Op::Embedding => !varies(1),
        _ => false,
    }
}

/// What a layer adds to each channel, regardless of its input.
struct Bias {
    /// One number per channel.
    bias: Tensor<1>,
    /// The output's channel dimension.
    dim: usize,
}

impl Bias {
    /// Returns the bias of a node that has one.
    fn of(node: &NodeInfo<'_>, output: &Value) -> Result<Option<Self>, Error> {
        // A value that depends on the inputs is not a bias.
        let operand = |i: usize| node.value(i).map(Value::tensor::<1>).transpose();
        let (bias, dim) = match node.op() {
            Op::Conv(_) | Op::ConvTranspose(_) => (operand(2)?, 1),
            Op::Linear => (operand(2)?, output.shape().len().saturating_sub(1)),
            Op::BatchNorm { epsilon } => {
                let all = (operand(1)?, operand(2)?, operand(3)?, operand(4)?);
                let (Some(gamma), Some(beta), Some(mean), Some(variance)) = all else {
                    return Ok(None);
                };
                let deviation = (variance + *epsilon).sqrt();
                (Some(beta - gamma * mean / deviation), 1)
            }
            _ => (None, 0),
        };
        Ok(bias.map(|bias| Self { bias, dim }))
    }

    /// Returns `b ⊙ arriving`, in the same shape.
    fn times(self, arriving: &Value) -> Result<Value, Error> {
        let shape = arriving.shape();
        let outer: usize = shape[..self.dim].iter().product();
        let inner: usize = shape[self.dim + 1..].iter().product();
        let channels = shape[self.dim];
        let blocks = arriving.clone().reshape(&[outer, channels, inner]);
        let product = blocks.tensor::<3>()? * self.bias.reshape([1, channels, 1]);
        Ok(Value::from(product).reshape(&shape))
    }
}

/// Arranges a value of a node's output by row: unchanged if dimension 0 is the batch, otherwise as
/// `[rows, everything else]`.
fn by_row(node: &NodeInfo<'_>, value: &Value, rows: usize) -> Result<Value, Error> {
    let shape = value.shape();
    let batch = node.output_shape().iter().position(|dim| dim.per_row != 0);
    let batch = batch.unwrap_or(0);
    if batch == 0 && shape[0] == rows {
        return Ok(value.clone());
    }
    let outer: usize = shape[..batch].iter().product();
    let inner: usize = shape[batch + 1..].iter().product();
    // If the batch shares its dimension, it comes first there.
    if !shape[batch].is_multiple_of(rows.max(1)) {
        return Err(Error::Layer {
            name: node.name().into(),
            reason: format!("its output has shape {shape:?}, which does not split evenly by row"),
        });
    }
    let blocks = value.clone().reshape(&[outer, shape[batch], inner]);
    let first = Value::from(blocks.tensor::<3>()?.swap_dims(0, 1));
    let elements = shape.iter().product::<usize>() / rows.max(1);
    Ok(first.reshape(&[rows, elements]))
}

/// Scales magnitudes to `[0, 1]` in each row, resizes them to the input's size and sums over
/// channels: `[rows, positions]`.
fn magnitude(value: &Value, size: &[usize]) -> Result<Tensor<2>, Error> {
    let matrix = value.matrix()?.abs();
    let low = matrix.clone().min_dim(1);
    let scale = matrix.clone().max_dim(1) - low.clone();
    let flat = scale.clone().equal_elem(0.0);
    let scaled = (matrix - low) / scale.mask_fill(flat, 1.0);
    let shape = value.shape();
    let maps = Resize::Bilinear.resize(&Value::from_matrix(scaled, &shape), size, true)?;
    let positions = size.iter().product();
    let maps = maps
        .reshape(&[shape[0], shape[1], positions])
        .tensor::<3>()?;
    Ok(maps.sum_dim(1).reshape([shape[0], positions]))
}
