//! ShapleyCAM: Grad-CAM with the second-order part of a utility function's expansion.
//!
//! Cai, "CAMs as Shapley Value-based Explainers", 2025 (<https://arxiv.org/abs/2501.06261>). As
//! `ShapleyCAM` of pytorch-grad-cam; the product with the second derivative is a central difference
//! of gradients, since Burn differentiates once.

use attr_core::{
    Error, Explanation, LayerMethod, Model, Run, Target, Value, Values, fix_targets, scores,
    target_gradients,
};
use burn::tensor::Tensor;

use super::{Cam, Image};
use crate::deep_lift::unreached;

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
pub type ShapleyCam = Cam<SecondOrder>;

/// Weights of [`ShapleyCam`].
#[derive(Clone, Copy, Debug, Default)]
pub struct SecondOrder;

/// The step of the difference, as a part of the activation: its square and the rounding error over
/// it are both small in single precision.
const STEP: f64 = 1e-3;

impl LayerMethod for Cam<SecondOrder> {
    fn layers(&self) -> &[String] {
        &self.layers
    }

    fn explain_layers(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        run: &Run<'_>,
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        let targets = fix_targets(model, inputs, targets, run)?;
        let rows = inputs.rows();
        let at_once = run.rows_at_once(model, inputs);
        let mut found: Vec<Vec<Explanation>> = vec![Vec::new(); targets.len()];
        run.start(rows * self.layers.len());
        for layer in &self.layers {
            let mut maps: Vec<Vec<Value>> = vec![Vec::new(); targets.len()];
            let mut whole: Vec<Vec<f32>> = vec![Vec::new(); targets.len()];
            for start in (0..rows).step_by(at_once) {
                let part = inputs.slice(start..(start + at_once).min(rows));
                let cut = model.cut(&[layer], &part)?;
                let activation = &cut.inputs.values()[0];
                let image = Image::new(layer, activation, &self.config.grid)?;
                let here = scores(&*cut.model, &cut.inputs, &targets, &run.quiet())?;
                let gradients = |factor: f64| -> Result<Vec<Tensor<3>>, Error> {
                    let scaled = activation.matrix()? * factor;
                    let scaled = Value::from_matrix(scaled, &activation.shape());
                    let point = cut.inputs.with(|i, _| (i == 0).then(|| scaled.clone()));
                    let (gradients, _) = target_gradients(&*cut.model, &point, &targets)?;
                    let first = gradients.into_iter().map(|mut inputs| {
                        let first = inputs.swap_remove(0);
                        image.positions(&first.ok_or_else(|| unreached(layer))?)
                    });
                    first.collect()
                };
                let (at, above, below) = (
                    gradients(1.0)?,
                    gradients(1.0 + STEP)?,
                    gradients(1.0 - STEP)?,
                );
                let triples = at.into_iter().zip(above).zip(below).enumerate();
                for (t, ((at, above), below)) in triples {
                    let second = (above - below) / (2.0 * STEP);
                    let weights = (at - second * 0.5).mean_dim(2);
                    let weighted = weights * image.activation.clone();
                    maps[t].push(self.config.finish(weighted, &image, &part)?);
                    whole[t].extend(&here[t]);
                }
                run.advance(part.rows());
            }
            for (found, (maps, scores)) in found.iter_mut().zip(maps.into_iter().zip(whole)) {
                let map = Value::cat_rows(maps)?;
                found.push(Explanation::new(vec![Some(map)], scores));
            }
        }
        Ok(found)
    }
}
