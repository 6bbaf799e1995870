//! LRP from plain data, as programs and files describe it.

use std::sync::Arc;

use attr_core::Error;
use attr_core::walk::Composite;
use serde::{Deserialize, Serialize};

use crate::rules::Gamma;
use crate::{
    Auto, ByName, Lrp, Mixed, Preset, Transformer, alpha1_beta0, alpha2_beta1, attnlrp,
    beta_smooth, cp_lrp, deconvnet, deep_taylor, deep_taylor_bounded, epsilon,
    epsilon_alpha2_beta1, epsilon_alpha2_beta1_flat, epsilon_gamma_box, epsilon_plus,
    epsilon_plus_flat, excitation_backprop, flat, guided_backprop, w_square,
};

/// The parameters of [`Lrp`] with a composite by its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LrpConfig {
    /// The composite, which chooses the rule of each layer; default epsilon_plus_flat.
    pub composite: CompositeName,
    /// Epsilon of LRP-ε, for fully connected layers; default 1e-6, as in zennit.
    pub epsilon: f64,
    /// Gamma of LRP-γ, for the convolutions of epsilon_gamma_box (default 0.25, as in zennit) and the
    /// linear layers of attnlrp and cp_lrp (default: LRP-ε).
    pub gamma: Option<f64>,
    /// LRP-γ with a gamma of its own for some layers, whatever the composite: LAYER:GAMMA for each
    /// linear layer, or module of linear layers, of that name; default none.
    pub layer_gammas: Vec<String>,
    /// The smallest value of the input, for epsilon_gamma_box, deep_taylor_bounded and auto.
    pub low: Option<f64>,
    /// The largest value of the input, for epsilon_gamma_box, deep_taylor_bounded and auto.
    pub high: Option<f64>,
    /// What is added to the denominators of all other rules; default 1e-6, as in zennit.
    pub stabilizer: f64,
    /// Whether biases are left out of denominators, so that they take no relevance; default false,
    /// as in zennit.
    pub zero_bias: bool,
}

impl Default for LrpConfig {
    fn default() -> Self {
        Self {
            composite: CompositeName::default(),
            epsilon: 1e-6,
            gamma: None,
            layer_gammas: Vec::new(),
            low: None,
            high: None,
            stabilizer: 1e-6,
            zero_bias: false,
        }
    }
}

/// Composites by name: zennit's, iNNvestigate's, and those for transformers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CompositeName {
    /// LRP-ε for fully connected layers, z⁺ for convolutions.
    EpsilonPlus,
    /// The same, with the flat rule for the first layers.
    #[default]
    EpsilonPlusFlat,
    /// LRP-ε for fully connected layers, LRP-α2β1 for convolutions.
    EpsilonAlpha2Beta1,
    /// The same, with the flat rule for the first layers.
    EpsilonAlpha2Beta1Flat,
    /// LRP-ε, LRP-γ for convolutions, the z-box rule for first convolutions.
    EpsilonGammaBox,
    /// z⁺ for all linear layers, the derivative elsewhere.
    ExcitationBackprop,
    /// Positive values at every ReLU, whatever its input.
    Deconvnet,
    /// Positive values at every active ReLU.
    GuidedBackprop,
    /// The derivative of a smooth ReLU.
    BetaSmooth,
    /// LRP-ε for all linear layers.
    Epsilon,
    /// z⁺ for all linear layers.
    #[serde(rename = "alpha1_beta0")]
    Alpha1Beta0,
    /// LRP-α2β1 for all linear layers.
    #[serde(rename = "alpha2_beta1")]
    Alpha2Beta1,
    /// The w² rule for all linear layers.
    WSquare,
    /// The flat rule for all linear layers.
    Flat,
    /// z⁺, and the w² rule for the first layers.
    DeepTaylor,
    /// z⁺, and the z-box rule for the first layers.
    DeepTaylorBounded,
    /// AttnLRP, for transformers.
    Attnlrp,
    /// CP-LRP, for transformers: values take all.
    CpLrp,
    /// attnlrp, epsilon_plus_flat, epsilon_gamma_box or epsilon, whichever suits the model.
    Auto,
}

impl LrpConfig {
    /// Creates the method.
    ///
    /// # Errors
    /// As [`composite`](Self::composite).
    pub fn build(&self) -> Result<Lrp<Mixed>, Error> {
        Ok(Lrp::new(self.composite()?))
    }

    /// Creates the composite.
    ///
    /// # Errors
    /// [`Error::Parameter`] for numbers out of range, for a gamma without use, and for a composite without the bounds it
    /// needs.
    pub fn composite(&self) -> Result<Mixed, Error> {
        let numbers = [
            ("epsilon", Some(self.epsilon)),
            ("gamma", self.gamma),
            ("stabilizer", Some(self.stabilizer)),
        ];
        for (name, value) in numbers {
            let Some(value) = value else { continue };
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::Parameter {
                    name,
                    value: format!("{value:?}"),
                    expected: "it must be finite and not negative",
                });
            }
        }
        let uses_gamma = matches!(
            self.composite,
            CompositeName::EpsilonGammaBox
                | CompositeName::Attnlrp
                | CompositeName::CpLrp
                | CompositeName::Auto
        );
        if let (Some(gamma), false) = (self.gamma, uses_gamma) {
            return Err(Error::Parameter {
                name: "gamma",
                value: format!("{gamma:?}"),
                expected: "only the composites epsilon_gamma_box, attnlrp, cp_lrp and auto use it",
            });
        }
        let composite: Arc<dyn Composite> = match self.composite {
            CompositeName::EpsilonPlus => self.preset(epsilon_plus()),
            CompositeName::EpsilonPlusFlat => self.preset(epsilon_plus_flat()),
            CompositeName::EpsilonAlpha2Beta1 => self.preset(epsilon_alpha2_beta1()),
            CompositeName::EpsilonAlpha2Beta1Flat => self.preset(epsilon_alpha2_beta1_flat()),
            CompositeName::EpsilonGammaBox => {
                let [low, high] = self.bounds()?;
                self.preset(epsilon_gamma_box(low, high))
            }
            CompositeName::ExcitationBackprop => Arc::new(excitation_backprop()),
            CompositeName::Deconvnet => Arc::new(deconvnet()),
            CompositeName::GuidedBackprop => Arc::new(guided_backprop()),
            CompositeName::BetaSmooth => Arc::new(beta_smooth()),
            CompositeName::Epsilon => self.preset(epsilon()),
            CompositeName::Alpha1Beta0 => self.preset(alpha1_beta0()),
            CompositeName::Alpha2Beta1 => self.preset(alpha2_beta1()),
            CompositeName::WSquare => self.preset(w_square()),
            CompositeName::Flat => self.preset(flat()),
            CompositeName::DeepTaylor => self.preset(deep_taylor()),
            CompositeName::DeepTaylorBounded => {
                let [low, high] = self.bounds()?;
                self.preset(deep_taylor_bounded(low, high))
            }
            CompositeName::Attnlrp => self.transformer(attnlrp()),
            CompositeName::CpLrp => self.transformer(cp_lrp()),
            CompositeName::Auto => Arc::new(Auto::of(self.clone())),
        };
        Ok(match self.by_layer()? {
            Some(layers) => Mixed::new(vec![Arc::new(layers), composite]),
            None => Mixed::new(vec![composite]),
        })
    }

    /// The rules of layers with a gamma of their own.
    fn by_layer(&self) -> Result<Option<ByName>, Error> {
        if self.layer_gammas.is_empty() {
            return Ok(None);
        }
        let mut layers = ByName::new();
        for text in &self.layer_gammas {
            let gamma = text.rsplit_once(':').and_then(|(layer, gamma)| {
                let gamma = gamma.trim().parse::<f64>().ok();
                let fits = |gamma: &f64| gamma.is_finite() && *gamma >= 0.0;
                Some((layer.trim(), gamma.filter(fits)?))
            });
            let Some((layer, gamma)) = gamma.filter(|(layer, _)| !layer.is_empty()) else {
                return Err(Error::Parameter {
                    name: "layer_gammas",
                    value: text.clone(),
                    expected: "write LAYER:GAMMA, such as conv1:0.25, with a gamma of at least 0",
                });
            };
            let rule = Gamma::new(gamma).with_stabilizer(self.stabilizer);
            layers = layers.with(
                layer,
                Arc::new(if self.zero_bias {
                    rule.without_bias()
                } else {
                    rule
                }),
            );
        }
        Ok(Some(layers))
    }

    /// The bounds of the input.
    fn bounds(&self) -> Result<[f64; 2], Error> {
        let [low, high] = [bound("low", self.low)?, bound("high", self.high)?];
        if low < high {
            return Ok([low, high]);
        }
        Err(Error::Parameter {
            name: "low",
            value: format!("{low:?}"),
            expected: "it must be smaller than high",
        })
    }

    fn transformer(&self, mut composite: Transformer) -> Arc<dyn Composite> {
        composite = composite
            .with_epsilon(self.epsilon)
            .with_stabilizer(self.stabilizer);
        if let Some(gamma) = self.gamma {
            composite = composite.with_gamma(gamma);
        }
        if self.zero_bias {
            composite = composite.without_bias();
        }
        Arc::new(composite)
    }

    fn preset(&self, preset: Preset) -> Arc<dyn Composite> {
        let preset = preset
            .with_epsilon(self.epsilon)
            .with_gamma(self.gamma.unwrap_or(0.25))
            .with_stabilizer(self.stabilizer);
        Arc::new(if self.zero_bias {
            preset.without_bias()
        } else {
            preset
        })
    }
}

fn bound(name: &'static str, value: Option<f64>) -> Result<f64, Error> {
    match value {
        Some(value) if value.is_finite() => Ok(value),
        other => Err(Error::Parameter {
            name,
            value: other.map_or("none".into(), |value| format!("{value:?}")),
            expected: "the composite needs finite bounds of the input, low and high",
        }),
    }
}
