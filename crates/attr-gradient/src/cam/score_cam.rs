//! Score-CAM: channels weighted by the score of the input seen through them; no gradient.
//!
//! Wang et al., "Score-CAM", 2019 (<https://arxiv.org/abs/1910.01279>). As `ScoreCAM` of
//! pytorch-grad-cam.

use attr_core::{
    Error, Explanation, LayerMethod, Model, Run, Target, Value, Values, activations, fix_targets,
    scores,
};
use burn::tensor::{Tensor, TensorData, activation};

use super::{Cam, Image, Resize, spatial};
use crate::layer::names;

/// `L = Σ_c w_c A_c` with `w = softmax(f(x ⊙ H_c))` over channels, where `H_c` is the channel's
/// activation, brought to the input's size and scaled to `[0, 1]`.
///
/// Shapes: as [`GradCam`](crate::GradCam). One forward pass per row, and one per row, layer and
/// channel.
///
/// # Errors
/// As [`GradCam`](crate::GradCam); [`Error::Method`] for a model without an image among its inputs.
pub type ScoreCam = Cam<Scored>;

/// Weights of [`ScoreCam`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Scored;

impl LayerMethod for Cam<Scored> {
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
        let config = &self.config;
        let targets = fix_targets(model, inputs, targets, run)?;
        let at_inputs = scores(model, inputs, &targets, run)?;
        let (seen, size) = spatial(inputs)?;
        let found = activations(model, inputs, &names(&self.layers), run)?;
        let mut explanations: Vec<Vec<Explanation>> = vec![Vec::new(); targets.len()];
        for (layer, activation) in self.layers.iter().zip(&found) {
            let image = Image::new(layer, activation, &config.grid)?;
            let [rows, channels, _] = image.activation.dims();
            let maps = Value::from(image.activation.clone());
            let maps = maps.reshape(&[&[rows * channels, 1], &image.spatial[..]].concat());
            let items: Vec<usize> = (0..rows * channels).collect();
            let mut through: Vec<Vec<f32>> = vec![Vec::new(); targets.len()];
            run.start(items.len());
            for chunk in items.chunks(run.rows_at_once(model, inputs)) {
                let of: Vec<usize> = chunk.iter().map(|item| item / channels).collect();
                let copies = inputs.select(&of);
                let x = copies.values()[seen].clone();
                let shape = x.shape();
                let positions = shape[2..].iter().product();
                let masked = x.reshape(&[of.len(), shape[1], positions]).tensor::<3>()?
                    * masks(&maps.select_rows(chunk), &size)?;
                let masked = Value::from(masked).reshape(&shape);
                let copies = copies.with(|i, _| (i == seen).then(|| masked.clone()));
                let output = model.forward(copies.clone())?;
                for (through, target) in through.iter_mut().zip(&targets) {
                    through.extend(target.choose(&output, &copies)?.scores);
                }
                run.advance(chunk.len());
            }
            for (t, through) in through.into_iter().enumerate() {
                let device = activation.device();
                let data = TensorData::new(through, [rows, channels, 1]);
                let data = data.convert_dtype(activation.dtype());
                let weights = activation::softmax(Tensor::<3>::from_data(data, &device), 1);
                let map = config.finish(weights * image.activation.clone(), &image, inputs)?;
                let explanation = Explanation::new(vec![Some(map)], at_inputs[t].clone());
                explanations[t].push(explanation);
            }
        }
        Ok(explanations)
    }
}

/// Single channels at the input's size, scaled to `[0, 1]`: `[maps, 1, positions]`.
fn masks(maps: &Value, size: &[usize]) -> Result<Tensor<3>, Error> {
    let maps = Resize::Bilinear.resize(maps, size, true)?;
    let maps = maps.matrix()?;
    let [count, positions] = maps.dims();
    let (low, high) = (maps.clone().min_dim(1), maps.clone().max_dim(1));
    // 1e-8 is 0 in half precision.
    let flat = high.clone().equal(low.clone());
    let range = (high - low.clone() + 1e-8).mask_fill(flat, 1.0);
    Ok(((maps - low) / range).reshape([count, 1, positions]))
}
