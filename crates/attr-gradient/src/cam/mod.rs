//! Class activation maps: the positions in a layer's activation that support a target.
//!
//! A map is `L = Σ_c w_c ⊙ A_c` over the channels of an activation `A`; the methods differ in the
//! weights. Methods whose weights follow from the activation and its gradient `G = ∂f/∂A` have a
//! [`Weighting`]; the others need further evaluations of the model.
//!
//! ```text
//! mod.rs       the walk, token layers, the sum                 resize.rs
//! weighting.rs the trait, and all types that implement it or stand for it
//! grad_cam.rs, hi_res_cam.rs, element_wise_cam.rs, grad_cam_plus_plus.rs, x_grad_cam.rs,
//! layer_cam.rs, eigen_cam.rs, eigen_grad_cam.rs, fem.rs        one weighting each
//! ablation_cam.rs, score_cam.rs, shapley_cam.rs                weights from further evaluations
//! guided_grad_cam.rs, full_grad.rs, at_input.rs                maps of the input
//! ```

mod ablation_cam;
mod at_input;
mod eigen_cam;
mod eigen_grad_cam;
mod element_wise_cam;
mod fem;
mod full_grad;
mod grad_cam;
mod grad_cam_plus_plus;
mod guided_grad_cam;
mod hi_res_cam;
mod layer_cam;
mod resize;
mod score_cam;
mod shapley_cam;
pub mod weighting;
mod x_grad_cam;

pub use ablation_cam::AblationCam;
pub use at_input::AtInput;
pub use eigen_cam::EigenCam;
pub use eigen_grad_cam::EigenGradCam;
pub use element_wise_cam::GradCamElementWise;
pub use fem::Fem;
pub use full_grad::FullGrad;
pub use grad_cam::GradCam;
pub use grad_cam_plus_plus::GradCamPlusPlus;
pub use guided_grad_cam::{GuidedGradCam, GuidedGradCamConfig};
pub use hi_res_cam::HiResCam;
pub use layer_cam::LayerCam;
pub use resize::Resize;
pub use score_cam::ScoreCam;
pub use shapley_cam::ShapleyCam;
pub use weighting::Weighting;
pub use x_grad_cam::XGradCam;

use attr_core::build::Collected;
use attr_core::walk::{GradientEverywhere, Keep, Walk};
use attr_core::{Error, Explanation, LayerMethod, LayerNames, Question, Value, Values};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::layer::names;
use weighting::LayerView;

/// Parameters of class activation maps, under Captum's names where they exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct CamConfig {
    /// Whether negative values of the map become 0; default false, as in Captum, though not in the
    /// paper.
    pub relu_attributions: bool,
    /// Whether channels are summed; default true, as in Captum. If false, the map keeps all
    /// channels.
    pub attr_dim_summation: bool,
    /// How the map is resized to the input's size; none keeps the layer's size.
    pub interpolate_mode: Option<Resize>,
    /// For layers of tokens, `[batch, tokens, width]`: the tokens' height and width (or length, or
    /// depth, height and width). Only the last `height * width` tokens are used, so a class token
    /// before them is left out. Empty for layers that are images.
    pub grid: Vec<usize>,
}

impl Default for CamConfig {
    fn default() -> Self {
        Self {
            relu_attributions: false,
            attr_dim_summation: true,
            interpolate_mode: None,
            grid: Vec::new(),
        }
    }
}

/// A class activation map with weights `W`, such as [`GradCam`].
///
/// Shapes: `[batch, 1, ...]` with the layer's spatial dimensions, or the input's with
/// [`with_interpolation`](Self::with_interpolation). Layers `[batch, channels, ...]` may have any
/// number of spatial dimensions, including none. Unless the weights say otherwise, one forward and
/// one backward pass per row, for all layers together; the backward pass ends at the layers.
///
/// # Errors
/// [`Error::NotTraced`] for a closure; [`Error::UnknownLayer`]; [`Error::Layer`] for a layer that
/// is not an image, or that the target does not depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct Cam<W> {
    layers: Vec<String>,
    config: CamConfig,
    weighting: W,
}

impl<W: Default> Cam<W> {
    /// Creates the map at one or several layers, signed and at the layer's size.
    pub fn new(layers: impl Into<LayerNames>) -> Self {
        Self {
            layers: layers.into().into_vec(),
            config: CamConfig::default(),
            weighting: W::default(),
        }
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: CamConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the weights' own parameters.
    pub fn with_weighting(mut self, weighting: W) -> Self {
        self.weighting = weighting;
        self
    }

    /// Sets whether negative values become 0.
    pub fn with_relu(mut self, relu: bool) -> Self {
        self.config.relu_attributions = relu;
        self
    }

    /// Sets whether channels are summed.
    pub fn with_summation(mut self, sum: bool) -> Self {
        self.config.attr_dim_summation = sum;
        self
    }

    /// Resizes the map to the input's size.
    pub fn with_interpolation(mut self, mode: Resize) -> Self {
        self.config.interpolate_mode = Some(mode);
        self
    }

    /// Treats layers `[batch, tokens, width]` as images of tokens, such as `[14, 14]`.
    pub fn with_grid(mut self, grid: impl Into<Vec<usize>>) -> Self {
        self.config.grid = grid.into();
        self
    }
}

impl<W: Weighting> LayerMethod for Cam<W> {
    fn layers(&self) -> &[String] {
        &self.layers
    }

    fn explain_at(&self, question: &Question<'_>) -> Result<Vec<Vec<Explanation>>, Error> {
        let plan = question
            .plan_at(&GradientEverywhere, &self.layers)?
            .to_layers(&self.layers)?;
        let names = names(&self.layers);
        let mut collected = Collected::new(question.targets().len(), self.layers.len());
        question.for_rows(1, |rows| {
            let pass = question.pass(&rows, None, &plan)?;
            let images = self.layers.iter().map(|layer| {
                let activation = pass.activation(layer)?;
                Image::new(layer, &activation, &self.config.grid)
            });
            let images: Vec<Image> = images.collect::<Result<_, _>>()?;
            let output = pass.output()?;
            if !W::GRADIENT {
                let maps = self.maps(&images, None, &rows)?;
                for (t, target) in question.targets().iter().enumerate() {
                    collected.push(t, maps.clone(), &target.scores(&output, &rows)?);
                }
                return Ok(());
            }
            for (t, chosen) in question.chosen(&output, &rows)?.into_iter().enumerate() {
                let walk = Walk::from_output(chosen.seed).keep(Keep::Layers(&names));
                let gradients = pass.walk(walk)?.reached(&self.layers)?;
                let maps = self.maps(&images, Some(&gradients), &rows)?;
                collected.push(t, maps, &chosen.scores);
            }
            Ok(())
        })?;
        let found = collected.finish()?.into_iter();
        Ok(found.map(Explanation::split).collect())
    }
}

impl<W: Weighting> Cam<W> {
    /// Computes a map for each layer, for some rows.
    fn maps(
        &self,
        images: &[Image],
        gradients: Option<&[Value]>,
        rows: &Values,
    ) -> Result<Vec<Option<Value>>, Error> {
        let maps = images.iter().enumerate().map(|(i, image)| {
            let gradient = match gradients {
                Some(gradients) => image.positions(&gradients[i])?,
                None => image.activation.zeros_like(),
            };
            let weighted = self.weighting.weigh(&LayerView {
                activation: image.activation.clone(),
                gradient,
            })?;
            self.config.finish(weighted, image, rows).map(Some)
        });
        maps.collect()
    }
}

impl<W> Cam<W> {
    /// Computes the maps of a method that evaluates the model from each layer onwards.
    ///
    /// `weigh` receives, for some rows, the question about the rest of the model, the activation
    /// and the scores of each target. It returns the weighted activation for each target.
    fn behind_layers(
        &self,
        question: &Question<'_>,
        weigh: impl Fn(&Question<'_>, &Image, &[Vec<f32>]) -> Result<Vec<Tensor<3>>, Error>,
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        let question = question.with_fixed_targets()?;
        let mut found = vec![Vec::new(); question.targets().len()];
        for layer in &self.layers {
            let mut collected = Collected::new(question.targets().len(), 1);
            // Only the work after the layer reports progress.
            question.quiet().for_rows(1, |rows| {
                let part = question.with_inputs(rows);
                let (model, values) = part.cut(std::slice::from_ref(layer))?;
                let rest = part.about(&model, values);
                let activation = &rest.inputs().values()[0];
                let image = Image::new(layer, activation, &self.config.grid)?;
                let scores = rest.scores()?;
                let weighted = weigh(&rest, &image, &scores)?;
                for (t, weighted) in weighted.into_iter().enumerate() {
                    let map = self.config.finish(weighted, &image, part.inputs())?;
                    collected.push(t, vec![Some(map)], &scores[t]);
                }
                Ok(())
            })?;
            for (found, explanation) in found.iter_mut().zip(collected.finish()?) {
                found.push(explanation);
            }
        }
        Ok(found)
    }
}

/// A layer's activation as an image.
struct Image {
    /// `[batch, channels, positions]`
    activation: Tensor<3>,
    /// The spatial dimensions.
    spatial: Vec<usize>,
    /// Whether the layer outputs tokens.
    tokens: bool,
}

impl Image {
    fn new(layer: &str, activation: &Value, grid: &[usize]) -> Result<Self, Error> {
        let shape = activation.shape();
        let refuse = |reason: String| Error::Layer {
            name: layer.into(),
            reason,
        };
        let spatial = if grid.is_empty() {
            if shape.len() < 2 {
                return Err(refuse(format!(
                    "its output has shape {shape:?}, but a map needs [batch, channels, ...]"
                )));
            }
            &shape[2..]
        } else {
            let [_, tokens, _] = shape[..] else {
                return Err(refuse(format!(
                    "its output has shape {shape:?}, but a grid is for layers of tokens, \
                     [batch, tokens, width]"
                )));
            };
            let mut sizes = grid.iter();
            let positions = sizes.try_fold(1usize, |all, size| all.checked_mul(*size));
            if !positions.is_some_and(|positions| (1..=tokens).contains(&positions)) {
                return Err(refuse(format!(
                    "a grid of {grid:?} does not fit its {tokens} tokens"
                )));
            }
            grid
        };
        let tokens = !grid.is_empty();
        Ok(Self {
            activation: positions(activation, spatial, tokens)?,
            spatial: spatial.to_vec(),
            tokens,
        })
    }

    /// Reshapes a value shaped like the layer's output to `[batch, channels, positions]`.
    fn positions(&self, value: &Value) -> Result<Tensor<3>, Error> {
        positions(value, &self.spatial, self.tokens)
    }
}

/// Reshapes an image, or the last tokens of a layer, to `[batch, channels, positions]`.
fn positions(value: &Value, spatial: &[usize], tokens: bool) -> Result<Tensor<3>, Error> {
    let shape = value.shape();
    let positions = spatial.iter().product();
    if tokens {
        let tokens = value.tensor::<3>()?.swap_dims(1, 2);
        return Ok(tokens.narrow(2, shape[1] - positions, positions));
    }
    value
        .clone()
        .reshape(&[shape[0], shape[1], positions])
        .tensor::<3>()
}

impl CamConfig {
    /// Sums, rectifies and resizes a weighted activation.
    fn finish(&self, weighted: Tensor<3>, image: &Image, inputs: &Values) -> Result<Value, Error> {
        let mut map = if self.attr_dim_summation {
            weighted.sum_dim(1)
        } else {
            weighted
        };
        if self.relu_attributions {
            map = map.clamp_min(0.0);
        }
        let [rows, channels, _] = map.dims();
        let shape = [&[rows, channels], &image.spatial[..]].concat();
        let map = Value::from(map).reshape(&shape);
        match self.interpolate_mode {
            None => Ok(map),
            Some(mode) => mode.to(&map, &spatial(inputs)?.1),
        }
    }
}

/// Returns the index of the first input that is an image, and its spatial dimensions.
fn spatial(inputs: &Values) -> Result<(usize, Vec<usize>), Error> {
    let images = inputs.values().iter().enumerate();
    let mut images = images.filter(|(i, value)| inputs.attributed(*i) && value.shape().len() > 2);
    let (i, value) = images.next().ok_or_else(|| Error::Method {
        method: "a class activation map",
        reason: "it needs the size of an image [batch, channels, ...], but no input is an image"
            .into(),
    })?;
    Ok((i, value.shape()[2..].to_vec()))
}
