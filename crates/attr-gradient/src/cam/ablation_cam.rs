//! Ablation-CAM: channels weighted by how much the score falls without them; no gradient.
//!
//! Desai, Ramaswamy, "Ablation-CAM", 2020 (<https://doi.org/10.1109/WACV45572.2020.9093360>). As
//! `AblationCAM` of pytorch-grad-cam for layers behind a ReLU; elsewhere that one sets a channel to
//! minus ten millions instead of to zero, as the paper says.

use attr_core::{
    Error, Explanation, LayerMethod, Model, Run, Target, Value, Values, fix_targets, scores,
};
use burn::tensor::{Tensor, TensorData};

use super::{Cam, CamConfig, Image};

/// `L = Σ_c w_c A_c` with `w_c = (f - f_c) / f`, where `f_c` is the score with channel `c` of the
/// activation set to zero.
///
/// Where the score `f` is 0, `w_c` is `-f_c`.
///
/// Shapes: as [`GradCam`](crate::GradCam). One forward pass per row and layer, and one from the
/// layer on per channel.
///
/// # Errors
/// As [`GradCam`](crate::GradCam), and [`Error::Layer`] where the model cannot be cut.
pub type AblationCam = Cam<Ablated>;

/// Weights of [`AblationCam`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Ablated;

impl LayerMethod for Cam<Ablated> {
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
        let mut found: Vec<Vec<Explanation>> = vec![Vec::new(); targets.len()];
        for layer in &self.layers {
            let at_once = run.rows_at_once(model, inputs);
            let mut maps: Vec<Vec<Value>> = vec![Vec::new(); targets.len()];
            let mut whole: Vec<Vec<f32>> = vec![Vec::new(); targets.len()];
            for start in (0..inputs.rows()).step_by(at_once) {
                let part = inputs.slice(start..(start + at_once).min(inputs.rows()));
                let cut = model.cut(&[layer], &part)?;
                let activation = &cut.inputs.values()[0];
                let image = Image::new(layer, activation, &self.config.grid)?;
                let [rows, channels, _] = image.activation.dims();
                let here = scores(&*cut.model, &cut.inputs, &targets, &run.quiet())?;
                let items: Vec<(usize, usize)> = (0..rows)
                    .flat_map(|row| (0..channels).map(move |channel| (row, channel)))
                    .collect();
                let mut without: Vec<Vec<f32>> = vec![Vec::new(); targets.len()];
                run.start(items.len());
                for chunk in items.chunks(run.rows_at_once(&*cut.model, &cut.inputs)) {
                    let of: Vec<usize> = chunk.iter().map(|item| item.0).collect();
                    let removed: Vec<usize> = chunk.iter().map(|item| item.1).collect();
                    let copies = cut.inputs.select(&of);
                    let ablated = ablate(&copies.values()[0], &removed, &self.config)?;
                    let copies = copies.with(|i, _| (i == 0).then(|| ablated.clone()));
                    let output = cut.model.forward(copies.clone())?;
                    for (without, target) in without.iter_mut().zip(&targets) {
                        without.extend(target.choose(&output, &copies)?.scores);
                    }
                    run.advance(chunk.len());
                }
                for (t, without) in without.iter().enumerate() {
                    let weights = items.iter().zip(without).map(|((row, _), without)| {
                        let whole = here[t][*row];
                        match whole == 0.0 {
                            true => -without,
                            false => (whole - without) / whole,
                        }
                    });
                    let weights: Vec<f32> = weights.collect();
                    let weights = TensorData::new(weights, [rows, channels, 1]);
                    let weights = weights.convert_dtype(activation.dtype());
                    let weights = Tensor::<3>::from_data(weights, &activation.device());
                    let weighted = weights * image.activation.clone();
                    maps[t].push(self.config.finish(weighted, &image, &part)?);
                    whole[t].extend(&here[t]);
                }
            }
            for (found, (maps, scores)) in found.iter_mut().zip(maps.into_iter().zip(whole)) {
                let map = Value::cat_rows(maps)?;
                found.push(Explanation::new(vec![Some(map)], scores));
            }
        }
        Ok(found)
    }
}

/// Activations with one channel of each row set to zero.
fn ablate(activation: &Value, removed: &[usize], config: &CamConfig) -> Result<Value, Error> {
    let shape = activation.shape();
    // Channels are the width of tokens.
    let (outer, channels, inner) = match config.grid.is_empty() {
        true => (1, shape[1], shape[2..].iter().product::<usize>()),
        false => (shape[1], shape[2], 1),
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
