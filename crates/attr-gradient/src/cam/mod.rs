//! Class activation maps: where in a layer's activation the evidence for a target lies.
//!
//! A map is `L = Σ_c w_c ⊙ A_c` over the channels of an activation `A`; the methods differ in the
//! weights. Those whose weights follow from the activation and its gradient `G = ∂f/∂A` are
//! [`Weighting`]s; the others evaluate the model further.
//!
//! ```text
//! mod.rs       the walk, token layers, the sum, resizing       resize.rs
//! grad_cam.rs, hi_res_cam.rs, element_wise_cam.rs, grad_cam_plus_plus.rs, x_grad_cam.rs,
//! layer_cam.rs, eigen_cam.rs, eigen_grad_cam.rs, fem.rs        one weighting each
//! ablation_cam.rs, score_cam.rs, shapley_cam.rs                weights from further evaluations
//! guided_grad_cam.rs, full_grad.rs                             maps of the input
//! ```

mod ablation_cam;
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
mod x_grad_cam;

pub use ablation_cam::{Ablated, AblationCam};
pub use eigen_cam::{EigenCam, Principal};
pub use eigen_grad_cam::{EigenGradCam, PrincipalGradient};
pub use element_wise_cam::{ElementWise, GradCamElementWise};
pub use fem::{Exceptional, Fem};
pub use full_grad::FullGrad;
pub use grad_cam::{GradCam, MeanGradient};
pub use grad_cam_plus_plus::{GradCamPlusPlus, PlusPlus};
pub use guided_grad_cam::{GuidedGradCam, GuidedGradCamConfig};
pub use hi_res_cam::{Gradients, HiResCam};
pub use layer_cam::{LayerCam, PositiveGradients};
pub use resize::Resize;
pub use score_cam::{ScoreCam, Scored};
pub use shapley_cam::{SecondOrder, ShapleyCam};
pub use x_grad_cam::{Normalised, XGradCam};

use attr_core::{
    Collected, Error, Explanation, LayerMethod, Model, Run, Target, Value, Values, Walk,
    target_walks,
};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::layer::{names, owned, reached};

/// Parameters of class activation maps, under Captum's names where it has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct CamConfig {
    /// Whether negative values of the map become 0; false, as in Captum (the paper has it).
    pub relu_attributions: bool,
    /// Whether channels are summed; true, as in Captum. Otherwise the map has all channels.
    pub attr_dim_summation: bool,
    /// How the map is brought to the input's size: none leaves it at the layer's.
    pub interpolate_mode: Option<Resize>,
    /// For layers of tokens, `[batch, tokens, width]`: the tokens' height and width (or length, or
    /// depth, height and width). Tokens before the last `height * width`, such as a class token,
    /// are left out. Empty for layers that are images.
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

/// What a weighting makes a map of.
pub struct Seen {
    /// The activation, `[batch, channels, positions]`.
    pub activation: Tensor<3>,
    /// The gradient of the target at it, of the same shape; zeros for weightings without one.
    pub gradient: Tensor<3>,
}

/// How channels are weighted.
pub trait Weighting: Clone + Default + Send + Sync {
    /// Whether it looks at the gradient. Without, no target is needed and none is walked back
    /// from.
    const GRADIENT: bool = true;

    /// The weighted activation, `[batch, channels, positions]`, whose sum over channels is the map;
    /// or the map itself, with one channel.
    ///
    /// # Errors
    /// The weighting's own.
    fn weigh(&self, seen: &Seen) -> Result<Tensor<3>, Error>;
}

/// A class activation map with weights `W`: see [`GradCam`] and its kin.
///
/// Shapes: `[batch, 1, ...]` with the layer's spatial dimensions, or the input's with
/// [`with_interpolation`](Self::with_interpolation). Unless its weights say otherwise, one forward and one backward pass per row, for
/// all layers together; the backward pass ends at the layers. Layers `[batch, channels, ...]` have
/// any number of spatial dimensions, none included.
///
/// # Errors
/// [`Error::NotTraced`] for a closure; [`Error::UnknownLayer`]; [`Error::Layer`] for a layer that is
/// no image, or that the target does not depend on.
#[derive(Clone, Debug)]
pub struct Cam<W> {
    layers: Vec<String>,
    config: CamConfig,
    weighting: W,
}

impl<W: Default> Cam<W> {
    /// The map at these layers, signed and of the layers' size.
    pub fn new<S: Into<String>>(layers: impl IntoIterator<Item = S>) -> Self {
        Self::from_config(CamConfig::default(), layers)
    }

    /// With all parameters given.
    pub fn from_config<S: Into<String>>(
        config: CamConfig,
        layers: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            layers: owned(layers),
            config,
            weighting: W::default(),
        }
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

    /// Brings the map to the input's size.
    pub fn with_interpolation(mut self, mode: Resize) -> Self {
        self.config.interpolate_mode = Some(mode);
        self
    }

    /// Reads layers `[batch, tokens, width]` as images of tokens, such as `[14, 14]`.
    pub fn with_grid(mut self, grid: impl Into<Vec<usize>>) -> Self {
        self.config.grid = grid.into();
        self
    }
}

impl<W: Weighting> LayerMethod for Cam<W> {
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
        let (rows, at_once) = (inputs.rows(), run.rows_at_once(model, inputs));
        let layers = names(&self.layers);
        let walk = Walk::new().to_layers(&layers);
        let mut scores: Vec<Vec<f32>> = vec![Vec::new(); targets.len()];
        let mut collected = Collected::new(targets.len(), layers.len());
        run.start(rows);
        for start in (0..rows).step_by(at_once) {
            let chunk = inputs.slice(start..(start + at_once).min(rows));
            let (activations, gradients) = if W::GRADIENT {
                let (walks, chosen) = target_walks(model, &chunk, targets, &walk)?;
                for (scores, chosen) in scores.iter_mut().zip(chosen) {
                    scores.extend(chosen);
                }
                let walked = walks.walked.into_iter();
                let gradients = walked.map(|walked| reached(&self.layers, walked.layers));
                (walks.activations, gradients.collect::<Result<Vec<_>, _>>()?)
            } else {
                let walks = model.walk(&chunk, &|_, _| Ok(Vec::new()), &walk)?;
                for (scores, target) in scores.iter_mut().zip(targets) {
                    scores.extend(target.choose(&walks.output, &chunk)?.scores);
                }
                (walks.activations, Vec::new())
            };
            let maps = |gradients: Option<&Vec<Value>>| {
                let activations = activations.iter().enumerate();
                let maps = activations.map(|(i, activation)| {
                    let image = Image::new(&self.layers[i], activation, &self.config.grid)?;
                    let gradient = match gradients {
                        Some(gradients) => image.positions(&gradients[i])?,
                        None => image.activation.zeros_like(),
                    };
                    let weighted = self.weighting.weigh(&Seen {
                        activation: image.activation.clone(),
                        gradient,
                    })?;
                    self.config.finish(weighted, &image, &chunk).map(Some)
                });
                maps.collect::<Result<Vec<_>, Error>>()
            };
            // Without gradients all targets have the same.
            let common = match W::GRADIENT {
                true => None,
                false => Some(maps(None)?),
            };
            for t in 0..targets.len() {
                collected.push(
                    t,
                    match &common {
                        Some(common) => common.clone(),
                        None => maps(gradients.get(t))?,
                    },
                );
            }
            run.advance(chunk.rows());
        }
        Ok(per_layer(collected.finish(scores)?))
    }
}

/// A layer's activation as an image.
struct Image {
    /// `[batch, channels, positions]`
    activation: Tensor<3>,
    /// The spatial dimensions.
    spatial: Vec<usize>,
    tokens: Option<usize>,
}

impl Image {
    fn new(layer: &str, activation: &Value, grid: &[usize]) -> Result<Self, Error> {
        let shape = activation.shape();
        let refuse = |reason: String| Error::Layer {
            name: layer.into(),
            reason,
        };
        if !grid.is_empty() {
            let positions = grid
                .iter()
                .try_fold(1usize, |all, size| all.checked_mul(*size));
            let positions = positions.unwrap_or(usize::MAX);
            let [_, tokens, _] = shape[..] else {
                return Err(refuse(format!(
                    "it gives {shape:?}, but a grid is for layers of tokens, [batch, tokens, width]"
                )));
            };
            if positions == 0 || positions > tokens {
                return Err(refuse(format!(
                    "a grid of {grid:?} does not fit its {tokens} tokens"
                )));
            }
            let mut image = Self {
                activation: Tensor::zeros([1, 1, 1], &activation.device()),
                spatial: grid.to_vec(),
                tokens: Some(positions),
            };
            image.activation = image.positions(activation)?;
            return Ok(image);
        }
        if shape.len() < 2 {
            return Err(refuse(format!(
                "it gives {shape:?}, but a map needs [batch, channels, ...]"
            )));
        }
        let mut image = Self {
            activation: Tensor::zeros([1, 1, 1], &activation.device()),
            spatial: shape[2..].to_vec(),
            tokens: None,
        };
        image.activation = image.positions(activation)?;
        Ok(image)
    }

    /// A value shaped like the layer's output, as `[batch, channels, positions]`.
    fn positions(&self, value: &Value) -> Result<Tensor<3>, Error> {
        let shape = value.shape();
        match self.tokens {
            Some(positions) => {
                let tokens = value.tensor::<3>()?.swap_dims(1, 2);
                Ok(tokens.narrow(2, shape[1] - positions, positions))
            }
            None => {
                let positions = shape[2..].iter().product();
                let flat = [shape[0], shape[1], positions];
                value.clone().reshape(&flat).tensor::<3>()
            }
        }
    }
}

impl CamConfig {
    /// Sums, rectifies and resizes a weighted activation.
    fn finish(&self, weighted: Tensor<3>, image: &Image, inputs: &Values) -> Result<Value, Error> {
        let mut map = match self.attr_dim_summation {
            true => weighted.sum_dim(1),
            false => weighted,
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

/// The first input that is an image, and its spatial dimensions.
fn spatial(inputs: &Values) -> Result<(usize, Vec<usize>), Error> {
    let images = inputs.values().iter().enumerate();
    let mut images = images.filter(|(i, value)| inputs.attributed(*i) && value.shape().len() > 2);
    let (i, value) = images.next().ok_or_else(|| Error::Method {
        method: "a class activation map",
        reason: "no input is an image [batch, channels, ...] to whose size it could be brought"
            .into(),
    })?;
    Ok((i, value.shape()[2..].to_vec()))
}

/// One explanation for each layer, of one with a value for each.
fn per_layer(found: Vec<Explanation>) -> Vec<Vec<Explanation>> {
    let each = found.into_iter().map(|whole| {
        let layers = whole.values.into_iter();
        layers
            .map(|value| Explanation::new(vec![value], whole.scores.clone()))
            .collect()
    });
    each.collect()
}
