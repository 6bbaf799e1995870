//! FullGrad: the input's gradient and those of all biases, as one map.
//!
//! Srinivas, Fleuret, "Full-Gradient Representation for Neural Network Visualization", 2019
//! (<https://arxiv.org/abs/1905.00780>); post-processing as in the authors' code.

use std::cell::RefCell;

use attr_core::{
    Error, Explanation, Method, Model, NodeView, Op, Run, Target, Value, Values, Walk, target_walks,
};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Resize, spatial};
use crate::rows::row_sums;

/// `S = ψ(x ⊙ ∂f/∂x) + Σ_l Σ_c ψ(b_c ⊙ ∂f/∂y_c)` over the layers `y` with biases `b` that are
/// images, where `ψ` takes magnitudes, scales them to `[0, 1]` and brings them to the input's size.
///
/// BatchNorm counts as a layer with bias `β - γ μ / σ`. For a network whose nonlinearities are
/// ReLUs, `f(x) = Σ x ⊙ ∂f/∂x + Σ b ⊙ ∂f/∂y` over *all* biases; the convergence delta is how far
/// that is off.
///
/// Shapes: `[batch, 1, ...]` with the input's spatial dimensions. One forward and one backward pass
/// per row. Models with one image input.
///
/// # Errors
/// [`Error::NotTraced`] for a closure; [`Error::Method`] for a model whose input is no image.
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
    /// The method; it has no parameters.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Method for FullGrad {
    fn explain(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        run: &Run<'_>,
    ) -> Result<Vec<Explanation>, Error> {
        let (seen, size) = spatial(inputs)?;
        if (0..inputs.values().len()).any(|i| i != seen && inputs.attributed(i)) {
            return Err(Error::Method {
                method: "FullGrad",
                reason: "it explains one image; make the other inputs constant".into(),
            });
        }
        let (rows, at_once) = (inputs.rows(), run.rows_at_once(model, inputs));
        let mut parts: Vec<Vec<Value>> = vec![Vec::new(); targets.len()];
        let mut scores: Vec<Vec<f32>> = vec![Vec::new(); targets.len()];
        let mut deltas: Vec<Vec<f32>> = vec![Vec::new(); targets.len()];
        run.start(rows);
        for start in (0..rows).step_by(at_once) {
            let chunk = inputs.slice(start..(start + at_once).min(rows));
            let biased = RefCell::new(Vec::new());
            let edit = |node: &NodeView<'_>, output: usize, arriving: Value| {
                if let (0, Some(bias)) = (output, bias(node)?) {
                    biased.borrow_mut().push(along(node, bias, &arriving)?);
                }
                Ok(arriving)
            };
            let walk = Walk::new().with_edit(&edit);
            let (walks, chosen) = target_walks(model, &chunk, targets, &walk)?;
            let biased = biased.into_inner();
            // Every walk passes the same layers.
            let each = biased.len() / targets.len().max(1);
            for (t, walked) in walks.walked.into_iter().enumerate() {
                let gradient = walked.inputs.into_iter().nth(seen).flatten();
                let gradient = gradient.ok_or(Error::NoGradient { input: seen })?;
                let x = &chunk.values()[seen];
                let product = gradient.matrix()? * x.matrix()?;
                let mut sums = row_sums(product.clone())?;
                let mut map = magnitude(&Value::from_matrix(product, &x.shape()), &size)?;
                for value in &biased[t * each..(t + 1) * each] {
                    for (sum, part) in sums.iter_mut().zip(row_sums(value.matrix()?)?) {
                        *sum += part;
                    }
                    if value.shape().len() == x.shape().len() {
                        map = map + magnitude(value, &size)?;
                    }
                }
                deltas[t].extend(sums.iter().zip(&chosen[t]).map(|(sum, score)| sum - score));
                scores[t].extend(&chosen[t]);
                let shape = [&[chunk.rows(), 1], &size[..]].concat();
                parts[t].push(Value::from_matrix(map, &shape));
            }
            run.advance(chunk.rows());
        }
        let found = parts.into_iter().zip(scores).zip(deltas);
        found
            .map(|((maps, scores), delta)| {
                let mut values = vec![None; inputs.values().len()];
                values[seen] = Some(Value::cat_rows(maps)?);
                Ok(Explanation {
                    delta: Some(delta),
                    ..Explanation::new(values, scores)
                })
            })
            .collect()
    }
}

/// What a layer adds to each channel whatever comes in, and which dimension the channels are.
fn bias(node: &NodeView<'_>) -> Result<Option<(Tensor<1>, usize)>, Error> {
    let operand = |i: usize| node.operands()[i].tensor::<1>();
    let rank = node.outputs()[0].shape().len();
    Ok(match node.op() {
        Op::Conv(_) | Op::ConvTranspose(_) if node.operands().len() > 2 => Some((operand(2)?, 1)),
        Op::Linear if node.operands().len() > 2 => Some((operand(2)?, rank - 1)),
        Op::BatchNorm { epsilon } => {
            let deviation = (operand(4)? + *epsilon).sqrt();
            Some((operand(2)? - operand(1)? * operand(3)? / deviation, 1))
        }
        _ => None,
    })
}

/// `bias ⊙ arriving`, the bias along its dimension.
fn along(
    node: &NodeView<'_>,
    (bias, dim): (Tensor<1>, usize),
    arriving: &Value,
) -> Result<Value, Error> {
    let shape = node.outputs()[0].shape();
    let outer: usize = shape[..dim].iter().product();
    let inner: usize = shape[dim + 1..].iter().product();
    let blocks = arriving.clone().reshape(&[outer, shape[dim], inner]);
    let product = blocks.tensor::<3>()? * bias.reshape([1, shape[dim], 1]);
    Ok(Value::from(product).reshape(&shape))
}

/// Magnitudes, scaled to `[0, 1]` in each row, at the input's size and summed over channels:
/// `[rows, positions]`.
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
