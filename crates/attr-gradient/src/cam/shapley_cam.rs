//! ShapleyCAM: Grad-CAM with the second-order part of a utility function's expansion.
//!
//! Cai, "CAMs as Shapley Value-based Explainers", 2025 (<https://arxiv.org/abs/2501.06261>). As
//! `ShapleyCAM` of pytorch-grad-cam; the product with the second derivative is a central difference
//! of gradients, since Burn differentiates once.

use attr_core::{Error, Explanation, LayerMethod, Question};
use burn::tensor::Tensor;

use super::Cam;

/// `L = Σ_c mean(G_c - ½ (H A)_c) A_c`, where `H` is the second derivative of the target by the
/// activation `A`.
///
/// `H A` is found as `(G((1+h) A) - G((1-h) A)) / 2h` with `h = 1e-3`. A network that is piecewise
/// linear behind the layer has none, and the map is Grad-CAM's; near a kink the difference may see
/// the next piece.
///
/// Shapes: as [`GradCam`](crate::GradCam). Per row and layer, one forward pass, and from the layer
/// on one for the score and three forward and backward passes.
///
/// # Errors
/// As [`GradCam`](crate::GradCam), and [`Error::Layer`] where the model cannot be cut.
pub type ShapleyCam = Cam<SecondOrderGradient>;

/// Each channel weighted by its mean gradient less half the change that the second derivative adds,
/// as in [`ShapleyCam`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecondOrderGradient;

/// The step of the difference, as a part of the activation: its square and the rounding error over
/// it are both small in single precision.
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
