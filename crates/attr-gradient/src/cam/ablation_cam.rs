//! Ablation-CAM: channels weighted by how much the score falls without them, without a gradient.
//!
//! Desai, Ramaswamy, "Ablation-CAM", 2020 (<https://doi.org/10.1109/WACV45572.2020.9093360>).
//! Matches `AblationCAM` of pytorch-grad-cam for layers after a ReLU. Elsewhere, that one sets a
//! channel to minus ten million instead of the paper's zero.

use attr_core::{Error, Explanation, LayerMethod, Question, Value};
use burn::tensor::{Tensor, TensorData};

use super::Cam;
use crate::rows::samples_of;

/// Ablation-CAM, `L = Σ_c w_c A_c` with `w_c = (f - f_c) / f`, where `f_c` is the score with
/// channel `c` of the activation set to zero.
///
/// Where the score `f` is 0, `w_c` is `-f_c`.
///
/// Shapes: as for [`GradCam`](crate::GradCam). One forward pass per row and layer, and one per
/// channel from the layer onwards.
///
/// # Errors
/// Those of [`GradCam`](crate::GradCam), and [`Error::Layer`] where the model cannot be cut.
pub type AblationCam = Cam<ScoreDrop>;

/// Weights each channel by how much the score falls without it, as in [`AblationCam`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScoreDrop;

impl LayerMethod for Cam<ScoreDrop> {
    fn layers(&self) -> &[String] {
        &self.layers
    }

    fn explain_at(&self, question: &Question<'_>) -> Result<Vec<Vec<Explanation>>, Error> {
        self.behind_layers(question, |rest, image, scores| {
            let [rows, channels, _] = image.activation.dims();
            let mut without: Vec<Vec<f32>> = vec![Vec::new(); scores.len()];
            rest.for_items(rows * channels, samples_of(rows, channels), 1, |items| {
                let (of, removed): (Vec<usize>, Vec<usize>) = items.iter().copied().unzip();
                let copies = rest.inputs().select(&of);
                let ablated = ablate(&copies.values()[0], &removed, image.tokens)?;
                let copies = copies.with(|i, _| (i == 0).then(|| ablated.clone()));
                let output = rest.forward(&copies)?;
                for (without, target) in without.iter_mut().zip(rest.targets()) {
                    without.extend(target.scores(&output, &copies)?);
                }
                Ok(())
            })?;
            let each = scores.iter().zip(without).map(|(scores, without)| {
                let weights = without.iter().enumerate().map(|(i, without)| {
                    let whole = scores[i / channels];
                    if whole == 0.0 {
                        -without
                    } else {
                        (whole - without) / whole
                    }
                });
                let weights = TensorData::new(weights.collect(), [rows, channels, 1]);
                let weights = weights.convert_dtype(image.activation.dtype());
                let weights = Tensor::<3>::from_data(weights, &image.activation.device());
                weights * image.activation.clone()
            });
            Ok(each.collect())
        })
    }
}

/// Returns the activations with one channel of each row set to zero.
fn ablate(activation: &Value, removed: &[usize], tokens: bool) -> Result<Value, Error> {
    let shape = activation.shape();
    // For tokens, the channels are the width.
    let (outer, channels, inner) = if tokens {
        (shape[1], shape[2], 1)
    } else {
        (1, shape[1], shape[2..].iter().product())
    };
    let rows = removed.len();
    let mut kept = vec![1f32; rows * channels];
    for (row, channel) in removed.iter().enumerate() {
        kept[row * channels + channel] = 0.0;
    }
    let kept = TensorData::new(kept, [rows, 1, channels, 1]).convert_dtype(activation.dtype());
    let kept = Tensor::<4>::from_data(kept, &activation.device());
    let blocks = activation.clone().reshape(&[rows, outer, channels, inner]);
    Ok(Value::from(blocks.tensor::<4>()? * kept).reshape(&shape))
}
