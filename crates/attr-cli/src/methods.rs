//! The methods that the program offers: one entry each, in one list.
//!
//! To add a method, add its entry to [`ALL`]; `attrx methods`, `--set` and the errors follow.

use attr_core::{AtLayers, Baselines, LayerMethod, Method, Target, Value};
use attr_gradient::{
    Ablated, BlurIntegratedGradients, BlurIntegratedGradientsConfig, Cam, CamConfig, Conductance,
    ConductanceConfig, Deconvolution, DeepLift, DeepLiftConfig, DeepLiftShap, ElementWise,
    Exceptional, FullGrad, GradientShap, GradientShapConfig, GradientXActivation,
    GradientXActivationConfig, Gradients, GuidedBackprop, GuidedGradCam, GuidedGradCamConfig,
    GuidedIntegratedGradients, GuidedIntegratedGradientsConfig, Idgi, IdgiConfig, InputXGradient,
    IntegratedGradients, IntegratedGradientsConfig, InternalInfluence, InternalInfluenceConfig,
    LayerActivation, MeanGradient, NeuronConductance, NeuronConductanceConfig, NoiseTunnel,
    NoiseTunnelConfig, Normalised, PlusPlus, PositiveGradients, Principal, PrincipalGradient,
    Saliency, Scored, SecondOrder, Xrai, XraiConfig,
};

use crate::error::Error;
use crate::parameters::{self, Given, Parameter};

/// A method's entry.
pub struct Entry {
    /// Its name on the command line.
    pub name: &'static str,
    /// The crate it comes from.
    pub krate: &'static str,
    /// What it computes.
    pub summary: &'static str,
    /// The paper.
    pub paper: &'static str,
    /// What it needs of the model and the command line.
    pub needs: Needs,
    /// Its parameters, with defaults.
    pub parameters: fn() -> Vec<Parameter>,
    /// Makes it.
    build: fn(&mut Given, &Setup) -> Result<Built, Error>,
}

/// A method that was made.
pub enum Built {
    /// It explains the inputs.
    Inputs(Box<dyn Method>),
    /// It explains the layers.
    Layers(Box<dyn LayerMethod>),
}

/// What a method needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    /// Gradients of the model.
    pub gradients: bool,
    /// It compares with `--baseline`.
    pub baseline: bool,
    /// `--baseline` is a distribution, of any number of rows.
    pub distribution: bool,
    /// It draws random numbers, from `--seed`.
    pub seed: bool,
    /// What `--layer` means to it.
    pub layer: LayerUse,
    /// `--neuron` says what it looks at, beside `--target`.
    pub neuron: bool,
    /// It takes segments from `--feature-mask`.
    pub segments: bool,
}

/// What `--layer` means to a method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerUse {
    /// It explains the input, or layers where given.
    #[default]
    Optional,
    /// It needs one.
    Required,
    /// It explains the input only.
    Refused,
}

/// What the command line says besides parameters.
#[derive(Clone, Default)]
pub struct Setup {
    /// From `--baseline`.
    pub baselines: Option<Baselines>,
    /// From `--layer`.
    pub layers: Vec<String>,
    /// From `--neuron`.
    pub neuron: Option<(String, Target)>,
    /// From `--feature-mask`.
    pub segments: Vec<Value>,
    /// Whether nothing explained is floating point, as with tokens.
    pub integers: bool,
}

impl Setup {
    fn baselines(&self) -> Baselines {
        self.baselines.clone().unwrap_or_default()
    }

    fn layers(&self) -> Result<Vec<String>, Error> {
        match self.layers.is_empty() {
            true => Err(Error::input("this method needs --layer")),
            false => Ok(self.layers.clone()),
        }
    }

    fn one_layer(&self) -> Result<String, Error> {
        match &self.layers[..] {
            [layer] => Ok(layer.clone()),
            _ => Err(Error::input("this method needs one --layer")),
        }
    }

    fn neuron(&self) -> Result<(String, Target), Error> {
        let neuron = self.neuron.clone();
        neuron.ok_or_else(|| Error::input("this method needs --neuron"))
    }

    /// A method of the inputs, at the layers where some are given.
    fn at(&self, method: impl Method + 'static) -> Result<Built, Error> {
        Ok(match self.layers[..] {
            [] => Built::Inputs(Box::new(method)),
            _ => Built::Layers(Box::new(AtLayers::new(self.layers.clone(), method))),
        })
    }
}

/// All methods.
pub const ALL: &[Entry] = &[
    Entry {
        name: "saliency",
        krate: "attr-gradient",
        summary: "the absolute gradient, |df/dx|",
        paper: "https://arxiv.org/abs/1312.6034",
        needs: GRADIENTS,
        parameters: parameters::of::<Saliency>,
        build: |given, setup| setup.at(given.config::<Saliency>()?),
    },
    Entry {
        name: "input-x-gradient",
        krate: "attr-gradient",
        summary: "the input times the gradient, x df/dx",
        paper: "https://arxiv.org/abs/1605.01713",
        needs: GRADIENTS,
        parameters: parameters::of::<InputXGradient>,
        build: |given, setup| setup.at(given.config::<InputXGradient>()?),
    },
    Entry {
        name: "integrated-gradients",
        krate: "attr-gradient",
        summary: "the gradient integrated from a baseline to the input, times their difference",
        paper: "https://arxiv.org/abs/1703.01365",
        needs: Needs {
            baseline: true,
            ..GRADIENTS
        },
        parameters: parameters::of::<IntegratedGradientsConfig>,
        build: |given, setup| {
            let method = IntegratedGradients::from(given.config::<IntegratedGradientsConfig>()?);
            setup.at(method.with_baseline(setup.baselines()))
        },
    },
    Entry {
        name: "guided-integrated-gradients",
        krate: "attr-gradient",
        summary: "integrated gradients along a path on which the smallest gradients move first",
        paper: "https://arxiv.org/abs/2106.09788",
        needs: Needs {
            baseline: true,
            ..GRADIENTS
        },
        parameters: parameters::of::<GuidedIntegratedGradientsConfig>,
        build: |given, setup| {
            let method =
                GuidedIntegratedGradients::from(given.config::<GuidedIntegratedGradientsConfig>()?);
            setup.at(method.with_baseline(setup.baselines()))
        },
    },
    Entry {
        name: "blur-integrated-gradients",
        krate: "attr-gradient",
        summary: "integrated gradients from a blurred image to the image",
        paper: "https://arxiv.org/abs/2004.03383",
        needs: Needs {
            layer: LayerUse::Refused,
            ..GRADIENTS
        },
        parameters: parameters::of::<BlurIntegratedGradientsConfig>,
        build: |given, _| {
            let config = given.config::<BlurIntegratedGradientsConfig>()?;
            Ok(Built::Inputs(Box::new(BlurIntegratedGradients::from(
                config,
            ))))
        },
    },
    Entry {
        name: "idgi",
        krate: "attr-gradient",
        summary: "of each step of a path, by the squares of the gradient, what changes the output",
        paper: "https://arxiv.org/abs/2303.14242",
        needs: Needs {
            baseline: true,
            ..GRADIENTS
        },
        parameters: parameters::of::<IdgiConfig>,
        build: |given, setup| {
            let method = Idgi::from(given.config::<IdgiConfig>()?);
            setup.at(method.with_baseline(setup.baselines()))
        },
    },
    Entry {
        name: "xrai",
        krate: "attr-gradient",
        summary: "regions ranked by their integrated gradients; the segments come from --feature-mask",
        paper: "https://arxiv.org/abs/1906.02825",
        needs: Needs {
            layer: LayerUse::Refused,
            segments: true,
            ..GRADIENTS
        },
        parameters: parameters::of::<XraiConfig>,
        build: |given, setup| {
            let config = given.config::<XraiConfig>()?;
            let xrai = Xrai::new(setup.segments.clone()).with_config(config);
            Ok(Built::Inputs(Box::new(xrai)))
        },
    },
    Entry {
        name: "gradient-shap",
        krate: "attr-gradient",
        summary: "expected gradients: at random points between random baselines and the input",
        paper: "https://arxiv.org/abs/1906.10670",
        needs: Needs {
            baseline: true,
            distribution: true,
            seed: true,
            ..GRADIENTS
        },
        parameters: parameters::of::<GradientShapConfig>,
        build: |given, setup| {
            let config = given.config::<GradientShapConfig>()?;
            let method = GradientShap::from_config(config, setup.baselines());
            Ok(match setup.layers[..] {
                [] => Built::Inputs(Box::new(method)),
                _ => Built::Layers(Box::new(method.at_layers(setup.layers.clone()))),
            })
        },
    },
    Entry {
        name: "deeplift",
        krate: "attr-gradient",
        summary: "the difference of the output from that of a baseline, shared layer by layer",
        paper: "https://arxiv.org/abs/1704.02685",
        needs: Needs {
            baseline: true,
            ..GRADIENTS
        },
        parameters: parameters::of::<DeepLiftConfig>,
        build: |given, setup| {
            let method = DeepLift::from(given.config::<DeepLiftConfig>()?);
            let method = method.with_baseline(setup.baselines());
            Ok(match setup.layers[..] {
                [] => Built::Inputs(Box::new(method)),
                _ => Built::Layers(Box::new(method.at_layers(setup.layers.clone()))),
            })
        },
    },
    Entry {
        name: "deeplift-shap",
        krate: "attr-gradient",
        summary: "the mean of deeplift over the rows of --baseline",
        paper: "https://arxiv.org/abs/1705.07874",
        needs: Needs {
            baseline: true,
            distribution: true,
            ..GRADIENTS
        },
        parameters: parameters::of::<DeepLiftConfig>,
        build: |given, setup| {
            let config = given.config::<DeepLiftConfig>()?;
            let method = DeepLiftShap::from_config(config, setup.baselines());
            Ok(match setup.layers[..] {
                [] => Built::Inputs(Box::new(method)),
                _ => Built::Layers(Box::new(method.at_layers(setup.layers.clone()))),
            })
        },
    },
    Entry {
        name: "guided-backprop",
        krate: "attr-gradient",
        summary: "the gradient, of which only what is positive passes a ReLU",
        paper: "https://arxiv.org/abs/1412.6806",
        needs: GRADIENTS,
        parameters: parameters::of::<GuidedBackprop>,
        build: |given, setup| setup.at(given.config::<GuidedBackprop>()?),
    },
    Entry {
        name: "deconvolution",
        krate: "attr-gradient",
        summary: "the gradient, where ReLUs look at what comes back instead of what went forward",
        paper: "https://arxiv.org/abs/1311.2901",
        needs: GRADIENTS,
        parameters: parameters::of::<Deconvolution>,
        build: |given, setup| setup.at(given.config::<Deconvolution>()?),
    },
    class_activation_map(
        "gradcam",
        "a layer's channels by their mean gradient",
        "https://arxiv.org/abs/1610.02391",
        GRADIENTS,
        map::<MeanGradient>,
    ),
    class_activation_map(
        "gradcam-plus-plus",
        "a layer's channels by their positive gradients, several objects counting alike",
        "https://arxiv.org/abs/1710.11063",
        GRADIENTS,
        map::<PlusPlus>,
    ),
    class_activation_map(
        "hirescam",
        "a layer's activation times its gradient, summed over channels",
        "https://arxiv.org/abs/2011.08891",
        GRADIENTS,
        map::<Gradients>,
    ),
    class_activation_map(
        "gradcam-elementwise",
        "what is positive of a layer's activation times its gradient",
        "https://github.com/jacobgil/pytorch-grad-cam",
        GRADIENTS,
        map::<ElementWise>,
    ),
    class_activation_map(
        "xgradcam",
        "a layer's channels by their gradients where they are active",
        "https://arxiv.org/abs/2008.02312",
        GRADIENTS,
        map::<Normalised>,
    ),
    class_activation_map(
        "layercam",
        "a layer's activation times its positive gradient",
        "https://doi.org/10.1109/TIP.2021.3089943",
        GRADIENTS,
        map::<PositiveGradients>,
    ),
    class_activation_map(
        "eigencam",
        "a layer's first principal component, whatever the target",
        "https://arxiv.org/abs/2008.00299",
        FORWARDS,
        map::<Principal>,
    ),
    class_activation_map(
        "eigen-gradcam",
        "the first principal component of a layer's activation times gradient",
        "https://github.com/jacobgil/pytorch-grad-cam",
        GRADIENTS,
        map::<PrincipalGradient>,
    ),
    class_activation_map(
        "ablationcam",
        "a layer's channels by how far the score falls without them",
        "https://doi.org/10.1109/WACV45572.2020.9093360",
        FORWARDS,
        map::<Ablated>,
    ),
    class_activation_map(
        "scorecam",
        "a layer's channels by the score of the input seen through them",
        "https://arxiv.org/abs/1910.01279",
        FORWARDS,
        map::<Scored>,
    ),
    class_activation_map(
        "shapleycam",
        "grad-cam with the second-order part of the score",
        "https://arxiv.org/abs/2501.06261",
        GRADIENTS,
        map::<SecondOrder>,
    ),
    class_activation_map(
        "fem",
        "a layer's channels by how often they are exceptionally active, whatever the target",
        "https://doi.org/10.1109/IPTA50016.2020.9286629",
        FORWARDS,
        map::<Exceptional>,
    ),
    Entry {
        name: "guided-gradcam",
        krate: "attr-gradient",
        summary: "guided backpropagation where grad-cam at --layer sees evidence",
        paper: "https://arxiv.org/abs/1610.02391",
        needs: Needs {
            layer: LayerUse::Required,
            ..GRADIENTS
        },
        parameters: parameters::of::<GuidedGradCamConfig>,
        build: |given, setup| {
            let config = given.config::<GuidedGradCamConfig>()?;
            let layer = setup.one_layer()?;
            Ok(Built::Inputs(Box::new(GuidedGradCam::from_config(
                config, layer,
            ))))
        },
    },
    Entry {
        name: "fullgrad",
        krate: "attr-gradient",
        summary: "the gradients of the input and of all biases, as one map",
        paper: "https://arxiv.org/abs/1905.00780",
        needs: Needs {
            layer: LayerUse::Refused,
            ..GRADIENTS
        },
        parameters: parameters::of::<FullGrad>,
        build: |given, _| Ok(Built::Inputs(Box::new(given.config::<FullGrad>()?))),
    },
    Entry {
        name: "layer-activation",
        krate: "attr-gradient",
        summary: "what the layers give",
        paper: "https://captum.ai/api/layer.html#layer-activation",
        needs: Needs {
            layer: LayerUse::Required,
            ..FORWARDS
        },
        parameters: Vec::new,
        build: |_, setup| {
            Ok(Built::Layers(Box::new(LayerActivation::new(
                setup.layers()?,
            ))))
        },
    },
    Entry {
        name: "layer-gradient-x-activation",
        krate: "attr-gradient",
        summary: "what the layers give, times the gradient there",
        paper: "https://captum.ai/api/layer.html#gradient-x-activation",
        needs: Needs {
            layer: LayerUse::Required,
            ..GRADIENTS
        },
        parameters: parameters::of::<GradientXActivationConfig>,
        build: |given, setup| {
            let config = given.config::<GradientXActivationConfig>()?;
            let method = GradientXActivation::from_config(config, setup.layers()?);
            Ok(Built::Layers(Box::new(method)))
        },
    },
    Entry {
        name: "layer-conductance",
        krate: "attr-gradient",
        summary: "the part of integrated gradients that passes each unit of a layer",
        paper: "https://arxiv.org/abs/1805.12233",
        needs: Needs {
            baseline: true,
            layer: LayerUse::Required,
            ..GRADIENTS
        },
        parameters: parameters::of::<ConductanceConfig>,
        build: |given, setup| {
            let config = given.config::<ConductanceConfig>()?;
            let method =
                Conductance::from_config(config, setup.layers()?).with_baseline(setup.baselines());
            Ok(Built::Layers(Box::new(method)))
        },
    },
    Entry {
        name: "internal-influence",
        krate: "attr-gradient",
        summary: "the mean gradient at a layer along the path of integrated gradients",
        paper: "https://arxiv.org/abs/1802.03788",
        needs: Needs {
            baseline: true,
            layer: LayerUse::Required,
            ..GRADIENTS
        },
        parameters: parameters::of::<InternalInfluenceConfig>,
        build: |given, setup| {
            let config = given.config::<InternalInfluenceConfig>()?;
            let method = InternalInfluence::from_config(config, setup.layers()?)
                .with_baseline(setup.baselines());
            Ok(Built::Layers(Box::new(method)))
        },
    },
    Entry {
        name: "neuron-conductance",
        krate: "attr-gradient",
        summary: "the part of integrated gradients that passes the unit of --neuron",
        paper: "https://arxiv.org/abs/1805.12233",
        needs: Needs {
            baseline: true,
            neuron: true,
            layer: LayerUse::Refused,
            ..GRADIENTS
        },
        parameters: parameters::of::<NeuronConductanceConfig>,
        build: |given, setup| {
            let config = given.config::<NeuronConductanceConfig>()?;
            let (layer, unit) = setup.neuron()?;
            let method = NeuronConductance::from_config(config, layer, unit);
            Ok(Built::Inputs(Box::new(
                method.with_baseline(setup.baselines()),
            )))
        },
    },
    Entry {
        name: NOISE_TUNNEL,
        krate: "attr-gradient",
        summary: "the mean, mean square or variance of another method over noisy copies of the input",
        paper: "https://arxiv.org/abs/1706.03825",
        needs: Needs {
            baseline: true,
            seed: true,
            ..GRADIENTS
        },
        parameters: noise_tunnel_parameters,
        build: noise_tunnel,
    },
];

const GRADIENTS: Needs = Needs {
    gradients: true,
    ..FORWARDS
};

const FORWARDS: Needs = Needs {
    gradients: false,
    baseline: false,
    distribution: false,
    seed: false,
    layer: LayerUse::Optional,
    neuron: false,
    segments: false,
};

/// The entry of a class activation map: they share parameters, and need a layer.
const fn class_activation_map(
    name: &'static str,
    summary: &'static str,
    paper: &'static str,
    needs: Needs,
    build: fn(&mut Given, &Setup) -> Result<Built, Error>,
) -> Entry {
    Entry {
        name,
        krate: "attr-gradient",
        summary,
        paper,
        needs: Needs {
            layer: LayerUse::Required,
            ..needs
        },
        parameters: parameters::of::<CamConfig>,
        build,
    }
}

/// A class activation map with these weights.
fn map<W: Default + 'static>(given: &mut Given, setup: &Setup) -> Result<Built, Error>
where
    Cam<W>: LayerMethod,
{
    let config = given.config::<CamConfig>()?;
    let map = Cam::<W>::from_config(config, setup.layers()?);
    Ok(Built::Layers(Box::new(map)))
}

const NOISE_TUNNEL: &str = "noise-tunnel";

/// The parameter that says which method the noise tunnel is around.
const OF: &str = "of";
const OF_DEFAULT: &str = "saliency";

fn noise_tunnel_parameters() -> Vec<Parameter> {
    let of = Parameter {
        name: OF.into(),
        kind: "string".into(),
        default: OF_DEFAULT.into(),
        description: "The method it is around; that one's own parameters are set beside.".into(),
        values: Vec::new(),
    };
    std::iter::once(of)
        .chain(parameters::of::<NoiseTunnelConfig>())
        .collect()
}

/// Noise goes on the inputs, wherever the attribution is; on the layers where the inputs are
/// integers.
fn noise_tunnel(given: &mut Given, setup: &Setup) -> Result<Built, Error> {
    let of = given.take(OF).unwrap_or_else(|| OF_DEFAULT.into());
    let inner = inner(&of)?;
    given.note(OF, of.clone());
    let config = given.config::<NoiseTunnelConfig>()?;
    let at_layers = setup.integers && inner.needs.layer == LayerUse::Optional;
    let within = Setup {
        layers: match at_layers {
            true => Vec::new(),
            false => setup.layers.clone(),
        },
        ..setup.clone()
    };
    Ok(match (inner.build)(given, &within)? {
        Built::Inputs(method) if at_layers => setup.at(NoiseTunnel::from_config(method, config))?,
        Built::Inputs(method) => Built::Inputs(Box::new(NoiseTunnel::from_config(method, config))),
        Built::Layers(method) => Built::Layers(Box::new(NoiseTunnel::from_config(method, config))),
    })
}

/// The entry of the method that a noise tunnel is around.
fn inner(of: &str) -> Result<&'static Entry, Error> {
    let inner = find(of)?;
    match inner.name == NOISE_TUNNEL {
        true => Err(Error::input(
            "--set of=noise-tunnel: it cannot be put around itself",
        )),
        false => Ok(inner),
    }
}

/// The entry of that name.
pub fn find(name: &str) -> Result<&'static Entry, Error> {
    if let Some(entry) = ALL.iter().find(|entry| entry.name == name) {
        return Ok(entry);
    }
    let mut nearest: Vec<&str> = ALL.iter().map(|entry| entry.name).collect();
    nearest.sort_by(|a, b| strsim::jaro_winkler(name, b).total_cmp(&strsim::jaro_winkler(name, a)));
    nearest.truncate(3);
    Err(Error::input(format!(
        "there is no method {name:?}; the nearest are {} (`attrx methods` lists all)",
        nearest.join(", ")
    )))
}

impl Entry {
    /// What the command line must and may say for this method; the noise tunnel asks what the
    /// method inside asks.
    pub fn needs(&self, given: &Given) -> Result<Needs, Error> {
        if self.name != NOISE_TUNNEL {
            return Ok(self.needs);
        }
        let of = given.texts().find(|(key, _)| *key == OF);
        let inner = inner(of.map_or(OF_DEFAULT, |(_, of)| of))?;
        Ok(Needs {
            seed: true,
            ..inner.needs
        })
    }

    /// The method with the parameters given; all of them must be its own.
    pub fn build(&self, mut given: Given, setup: &Setup) -> Result<Built, Error> {
        let mut known = (self.parameters)();
        if let Some((_, of)) = given.texts().find(|(key, _)| *key == OF)
            && known.iter().any(|p| p.name == OF)
        {
            known.extend((find(of)?.parameters)());
        }
        let method = (self.build)(&mut given, setup)?;
        given.finish(self.name, &known)?;
        Ok(method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(name: &str, set: &[&str]) -> Result<(), String> {
        let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
        let given = Given::parse(&set).map_err(|e| e.to_string())?;
        let built = find(name).and_then(|entry| {
            let required = entry.needs.layer == LayerUse::Required;
            let setup = Setup {
                layers: match required {
                    true => vec!["layer".into()],
                    false => Vec::new(),
                },
                neuron: Some(("layer".into(), Target::unit([0]))),
                ..Setup::default()
            };
            entry.build(given, &setup)
        });
        built.map(drop).map_err(|e| e.to_string())
    }

    #[test]
    fn every_method_is_built_with_each_default_written_out() {
        for entry in ALL {
            assert_eq!(build(entry.name, &[]), Ok(()), "{}", entry.name);
            for parameter in (entry.parameters)() {
                assert!(!parameter.description.is_empty(), "{}", parameter.name);
                let text = match &parameter.default {
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let set = format!("{}={text}", parameter.name);
                assert_eq!(build(entry.name, &[&set]), Ok(()), "{} {set}", entry.name);
            }
        }
    }

    #[test]
    fn wrong_parameters_are_named() {
        let errors = [
            (
                build("integrated-gradients", &["n_step=3"]),
                "did you mean n_steps?",
            ),
            (
                build("integrated-gradients", &["n_steps=many"]),
                "n_steps=many: it takes an integer",
            ),
            (build("integrated-gradients", &["n_steps=-1"]), "n_steps=-1"),
            (
                build("integrated-gradients", &["method=simpson"]),
                "gausslegendre, riemann_left",
            ),
            (build("saliency", &["abs=2"]), "abs=2: it takes a boolean"),
            (build("saliency", &["abs"]), "give key=value"),
            (build("saliency", &["abs=true", "abs=false"]), "given twice"),
            (
                build("noise-tunnel", &["of=nothing"]),
                "there is no method \"nothing\"",
            ),
            (build("noise-tunnel", &["of=noise-tunnel"]), "around itself"),
            (build("input-x-gradient", &["abs=true"]), "it has none"),
            (build("salience", &[]), "the nearest are saliency"),
        ];
        for (result, expected) in errors {
            let message = result.unwrap_err();
            assert!(message.contains(expected), "{message:?} lacks {expected:?}");
        }
    }

    #[test]
    fn the_inner_methods_parameters_are_set_beside() {
        let set = [
            "of=integrated-gradients",
            "n_steps=7",
            "nt_samples=3",
            "stdevs=0.1,0.2",
        ];
        assert_eq!(build("noise-tunnel", &set), Ok(()));
        assert!(build("noise-tunnel", &["n_steps=7"]).is_err());
    }
}
