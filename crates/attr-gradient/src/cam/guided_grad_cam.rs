//! Guided Grad-CAM: guided backpropagation times the positive part of Grad-CAM.
//!
//! Selvaraju et al., "Grad-CAM", 2016 (<https://arxiv.org/abs/1610.02391>). Matches Captum's
//! `GuidedGradCam`.

use attr_core::{Error, Explanation, LayerMethod, Method, Question, Value};
use serde::{Deserialize, Serialize};

use super::{CamConfig, GradCam, Resize};
use crate::GuidedBackprop;

/// Parameters of [`GuidedGradCam`], under Captum's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct GuidedGradCamConfig {
    /// How the map is resized to the input's size; default nearest, as in Captum.
    pub interpolate_mode: Resize,
}

/// Computes `A = guided backpropagation ⊙ resize(max(Grad-CAM, 0))`.
///
/// Shapes: the input's, `[batch, channels, ...]`. Two forward and two backward passes per row, one
/// of which ends at the layer.
///
/// # Errors
/// Those of [`GradCam`](crate::GradCam) and [`GuidedBackprop`](crate::GuidedBackprop);
/// [`Error::Shape`] for an input whose number of spatial dimensions differs from the layer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuidedGradCam {
    layer: String,
    config: GuidedGradCamConfig,
}

impl GuidedGradCam {
    /// Creates the method with Grad-CAM at this layer.
    pub fn new(layer: impl Into<String>) -> Self {
        Self {
            layer: layer.into(),
            config: GuidedGradCamConfig::default(),
        }
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: GuidedGradCamConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets how the map is resized to the input's size.
    pub fn with_interpolation(mut self, mode: Resize) -> Self {
        self.config.interpolate_mode = mode;
        self
    }
}

impl Method for GuidedGradCam {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let config = CamConfig {
            relu_attributions: true,
            ..CamConfig::default()
        };
        let cam = GradCam::new(&self.layer).with_config(config);
        let maps = cam.explain_at(&question.quiet())?;
        let mut found = GuidedBackprop::new().explain(question)?;
        for (found, maps) in found.iter_mut().zip(maps) {
            let map = maps.into_iter().next();
            let map = map.and_then(|mut map| map.values.swap_remove(0));
            let map = map.ok_or(Error::Internal("Grad-CAM without a map"))?;
            for value in found.values.iter_mut().flatten() {
                let shape = value.shape();
                let Some(size) = shape.get(2..) else {
                    return Err(Error::Shape {
                        what: "an input".into(),
                        got: shape,
                        expected: "an image, [batch, channels, ...],".into(),
                    });
                };
                let map = self.config.interpolate_mode.to(&map, size)?;
                let positions = size.iter().product();
                let blocks = |value: &Value, channels: usize| {
                    let value = value.clone().reshape(&[shape[0], channels, positions]);
                    value.tensor::<3>()
                };
                let product = blocks(value, shape[1])? * blocks(&map, 1)?;
                *value = Value::from(product).reshape(&shape);
            }
        }
        Ok(found)
    }
}
