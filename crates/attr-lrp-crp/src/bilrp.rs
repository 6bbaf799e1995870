//! BiLRP: which pairs of features make two inputs similar.

use attr_core::walk::Composite;
use attr_core::{Error, Method, Run, Target, Traced, Values};
use burn::tensor::Tensor;

use crate::Lrp;

/// Explains the similarity `Σ_k z_k(a) z_k(b)` of two inputs in a model's outputs `z`, pair by pair:
/// `R_ij = Σ_k R_i[z_k(a)] R_j[z_k(b)]`, where `R[z_k]` is the relevance of output `k` by `lrp`.
///
/// `a` and `b` have one row each, and one input. Returns `[elements of a, elements of b]`; the sum
/// is the similarity where the rules conserve relevance. Sum over the elements of pixels or tokens
/// as needed. The model gives an embedding, `[batch, dimensions]`; cut a classifier off before its
/// last layer with [`Traced::to_layer`]. One walk back per dimension and input.
///
/// Eberle et al., "Building and Interpreting Deep Similarity Models", 2020
/// (<https://arxiv.org/abs/2003.05431>).
///
/// # Errors
/// As [`Lrp`]; [`Error::Shape`] unless both have one row and one input; [`Error::TargetShape`] for
/// outputs of another rank.
pub fn bilrp<C: Composite>(
    lrp: &Lrp<C>,
    model: &Traced,
    a: &Values,
    b: &Values,
) -> Result<Tensor<2>, Error> {
    let relevance = |x: &Values| -> Result<Tensor<2>, Error> {
        let output = model.forward(x)?.shape();
        let [_, dimensions] = output[..] else {
            return Err(Error::TargetShape {
                target: "every dimension".into(),
                output,
                needs: "BiLRP needs an embedding, [batch, dimensions]".into(),
            });
        };
        if x.rows() != 1 || x.values().len() != 1 {
            return Err(Error::Shape {
                what: "an input of BiLRP".into(),
                got: x.values()[0].shape(),
                expected: "one input with one row".into(),
            });
        }
        let targets: Vec<Target> = (0..dimensions).map(Target::Class).collect();
        let found = lrp.attribute_targets(model, x, &targets, &Run::new())?;
        let each = found.iter().map(|found| {
            let value = found.values()[0].as_ref();
            value.ok_or(Error::NoGradient { input: 0 })?.matrix()
        });
        Ok(Tensor::cat(each.collect::<Result<_, Error>>()?, 0))
    };
    Ok(relevance(a)?.transpose().matmul(relevance(b)?))
}
