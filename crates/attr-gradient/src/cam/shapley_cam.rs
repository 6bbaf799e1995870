//! ShapleyCAM: Grad-CAM with the second-order term of a utility function's expansion.
//!
//! Cai, "CAMs as Shapley Value-based Explainers", 2025 (<https://arxiv.org/abs/2501.06261>).
//! Matches `ShapleyCAM` of pytorch-grad-cam. The product with the second derivative is a central
//! difference of gradients, since Burn only computes first derivatives.

use attr_core::{Error, Explanation, LayerMethod, Question};
use burn::tensor::Tensor;

use super::Cam;

/// ShapleyCAM, `L = Σ_c mean(G_c - ½ (H A)_c) A_c`, where `H` is the second derivative of the
/// target with respect to the activation `A`.
///
/// `H A` is computed as `(G((1+h) A) - G((1-h) A)) / 2h` with `h = 1e-3`. For a network that is
/// piecewise linear after the layer, it is zero and the map is Grad-CAM's. Near a kink, the
/// difference may reach into the next piece.
///
/// Shapes: as for [`GradCam`](crate::GradCam). Per row and layer, one forward pass; from the layer
/// onwards, one forward pass for the score and three forward and backward passes.
///
/// # Errors
/// Those of [`GradCam`](crate::GradCam), and [`Error::Layer`] where the model cannot be cut.
pub type ShapleyCam = Cam<SecondOrderGradient>;

/// Weights each channel by its mean gradient minus half the second-order term, as in
/// [`ShapleyCam`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecondOrderGradient;

/// The step of the difference, as a fraction of the activation. Its square, and the rounding error
/// divided by it, are both small in single precision.
const STEP: f64 = 1e-3;

impl LayerMethod for Cam<SecondOrderGradient> {
    fn layers(&self) -> &[String] {
        &self.layers
    }

    fn explain_at(&self, question: &Question<'_>) -> Result<Vec<Vec<Explanation>>, Error> {
        self.behind_layers(question, |rest, image, _| {
            let (inputs, rows) = (rest.inputs(), rest.inputs().rows());
            let factors = [1.0, 1.0 + STEP, 1.0 - STEP];
            // `[factor][target]`
            let mut gradients: Vec<Vec<Tensor<3>>> = Vec::with_capacity(factors.len());
            let total = factors.len() * rows;
            rest.for_chunks(total, 0..total, rows, |chunk| {
                let scaled = inputs.values()[0].map(|a| a * factors[chunk[0] / rows])?;
                let point = inputs.with(|i, _| (i == 0).then(|| scaled.clone()));
                let each = rest.gradients(&point)?.gradients.into_iter();
                let each = each.map(|per_input| {
                    let first = per_input.into_iter().next().flatten();
                    image.positions(&first.ok_or(Error::NoGradient { input: 0 })?)
                });
                gradients.push(each.collect::<Result<_, _>>()?);
                Ok(())
            })?;
            let mut gradients = gradients.into_iter();
            let mut next = || gradients.next().unwrap_or_default();
            let triples = next().into_iter().zip(next()).zip(next());
            let weighted = triples.map(|((at, above), below)| {
                let second = (above - below) / (2.0 * STEP);
                (at - second * 0.5).mean_dim(2) * image.activation.clone()
            });
            Ok(weighted.collect())
        })
    }
}
