//! Score-CAM: channels weighted by the score of the input masked with them, without a gradient.
//!
//! Wang et al., "Score-CAM", 2019 (<https://arxiv.org/abs/1910.01279>). Matches `ScoreCAM` of
//! pytorch-grad-cam.

use attr_core::{Error, Explanation, LayerMethod, Question, Value};
use burn::tensor::{Tensor, TensorData, activation};

use super::{Cam, Image, Resize, spatial};
use crate::rows::samples_of;

/// Score-CAM, `L = Σ_c w_c A_c` with `w = softmax(f(x ⊙ H_c))` over channels, where `H_c` is the
/// channel's activation, resized to the input's size and scaled to `[0, 1]`.
///
/// Shapes: as for [`GradCam`](crate::GradCam). One forward pass per row, and one per row, layer and
/// channel.
///
/// # Errors
/// Those of [`GradCam`](crate::GradCam); [`Error::Method`] for a model without an image input.
pub type ScoreCam = Cam<MaskedScore>;

/// Weights each channel by the score of the input masked with it, as in [`ScoreCam`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaskedScore;

impl LayerMethod for Cam<MaskedScore> {
    fn layers(&self) -> &[String] {
        &self.layers
    }

    fn explain_at(&self, question: &Question<'_>) -> Result<Vec<Vec<Explanation>>, Error> {
        let question = question.with_fixed_targets()?;
        let (inputs, targets) = (question.inputs(), question.targets());
        let (seen, size) = spatial(inputs)?;
        let at_inputs = question.scores()?;
        let activations = question.activations(&self.layers)?;
        let mut found: Vec<Vec<Explanation>> = vec![Vec::new(); targets.len()];
        for (layer, activation) in self.layers.iter().zip(&activations) {
            let image = Image::new(layer, activation, &self.config.grid)?;
            let [rows, channels, _] = image.activation.dims();
            let maps = Value::from(image.activation.clone());
            let maps = maps.reshape(&[&[rows * channels, 1], &image.spatial[..]].concat());
            let mut through: Vec<Vec<f32>> = vec![Vec::new(); targets.len()];
            question.for_items(rows * channels, samples_of(rows, channels), 1, |items| {
                let of: Vec<usize> = items.iter().map(|item| item.0).collect();
                let which = items.iter().map(|(row, channel)| row * channels + channel);
                let which: Vec<usize> = which.collect();
                let copies = inputs.select(&of);
                let x = copies.values()[seen].clone();
                let shape = x.shape();
                let positions = shape[2..].iter().product();
                let masked = x.reshape(&[of.len(), shape[1], positions]).tensor::<3>()?
                    * masks(&maps.select_rows(&which), &size)?;
                let masked = Value::from(masked).reshape(&shape);
                let copies = copies.with(|i, _| (i == seen).then(|| masked.clone()));
                let output = question.forward(&copies)?;
                for (through, target) in through.iter_mut().zip(targets) {
                    through.extend(target.scores(&output, &copies)?);
                }
                Ok(())
            })?;
            for ((found, through), scores) in found.iter_mut().zip(through).zip(&at_inputs) {
                let weights = TensorData::new(through, [rows, channels, 1]);
                let weights = weights.convert_dtype(activation.dtype());
                let weights = Tensor::<3>::from_data(weights, &activation.device());
                let weighted = activation::softmax(weights, 1) * image.activation.clone();
                let map = self.config.finish(weighted, &image, inputs)?;
                found.push(Explanation::new(vec![Some(map)], scores.clone()));
            }
        }
        Ok(found)
    }
}

/// Resizes single channels to the input's size and scales them to `[0, 1]`: `[maps, 1, positions]`.
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
