//! The methods of `attrx`: one entry each, in one list per crate.
//!
//! To add a method, add its entry to the list of its crate. `attrx methods`, `--set` and the error
//! messages use it automatically.

mod gradient;
mod lrp;
mod perturb;
mod surrogate;

use attr_core::{Baselines, FeatureMask, LayerMethod, Method, Target, Traced, Value};
use attr_gradient::{LatentShift, NoiseTunnel, NoiseTunnelConfig};

use crate::error::Error;
use crate::parameters::{self, Given, Parameter};

/// The entry of a method.
pub struct Entry {
    /// Its name on the command line.
    pub name: &'static str,
    /// The crate it comes from.
    pub krate: &'static str,
    /// What it computes.
    pub summary: &'static str,
    /// The URL of its paper.
    pub paper: &'static str,
    /// What it needs from the model and the command line.
    pub needs: Needs,
    /// Its parameters, with defaults.
    pub parameters: fn() -> Vec<Parameter>,
    /// Builds the method.
    build: fn(&mut Given, &Setup) -> Result<Built, Error>,
}

/// A method that was built.
pub enum Built {
    /// It explains the inputs.
    Inputs(Box<dyn Method>),
    /// It explains the layers.
    Layers(Box<dyn LayerMethod>),
    /// It explains the inputs, and can show how.
    Shift(LatentShift),
}

/// What a method needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    /// Gradients of the model.
    pub gradients: bool,
    /// It takes `--baseline`.
    pub baseline: bool,
    /// `--baseline` is a distribution with any number of rows.
    pub distribution: bool,
    /// It averages over the rows of a baseline that has neither one row nor one per input row.
    pub averaged: bool,
    /// It draws random numbers, seeded by `--seed`.
    pub seed: bool,
    /// How it uses `--layer`.
    pub layer: LayerUse,
    /// It needs `--neuron` in addition to `--target`.
    pub neuron: bool,
    /// It takes features from `--feature-mask`.
    pub mask: bool,
    /// It requires `--feature-mask`.
    pub segments: bool,
    /// It requires `--training`.
    pub training: bool,
    /// It requires `--encoder` and `--decoder`.
    pub autoencoder: bool,
    /// It returns convergence deltas, unless its parameters prevent that.
    pub delta: bool,
    /// It returns standard errors, unless it draws too few samples.
    pub errors: bool,
}

/// How a method uses `--layer`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerUse {
    /// It explains the input, or the layers if given.
    #[default]
    Optional,
    /// It needs a layer.
    Required,
    /// It needs a layer with height and width: the last one by default.
    Spatial,
    /// It explains the input only.
    Refused,
}

/// The command-line settings of a method besides its parameters.
#[derive(Clone, Default)]
pub struct Setup {
    /// From `--baseline`.
    pub baselines: Option<Baselines>,
    /// From `--layer`.
    pub layers: Vec<String>,
    /// From `--neuron`.
    pub neuron: Option<(String, Target)>,
    /// From `--feature-mask`.
    pub mask: Option<FeatureMask>,
    /// The feature mask as segments of images.
    pub segments: Vec<Value>,
    /// Rows from `--training`.
    pub training: Vec<Vec<f64>>,
    /// From `--encoder` and `--decoder`.
    pub autoencoder: Option<(Traced, Traced)>,
    /// Whether no explained input is floating point, as with tokens.
    pub integers: bool,
}

impl Setup {
    /// Returns the given feature mask, or one feature per element.
    fn mask(&self) -> FeatureMask {
        self.mask.clone().unwrap_or_default()
    }

    fn layers(&self) -> Result<Vec<String>, Error> {
        if self.layers.is_empty() {
            return Err(Error::input("this method needs --layer"));
        }
        Ok(self.layers.clone())
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

    /// Builds a method for the inputs, or for the layers if any are given.
    fn at(&self, method: impl Method + 'static) -> Result<Built, Error> {
        if self.layers.is_empty() {
            return Ok(self.of_inputs(method));
        }
        Ok(self.of_layers(method.at_layers(self.layers.clone())))
    }

    /// Builds a method for the inputs, with the given baselines.
    fn of_inputs(&self, method: impl Method + 'static) -> Built {
        Built::Inputs(match &self.baselines {
            Some(baselines) => Box::new(method.with_baseline(baselines.clone())),
            None => Box::new(method),
        })
    }

    /// Builds a method for layers, with the given baselines.
    fn of_layers(&self, method: impl LayerMethod + 'static) -> Built {
        Built::Layers(match &self.baselines {
            Some(baselines) => Box::new(method.with_baseline(baselines.clone())),
            None => Box::new(method),
        })
    }
}

/// Returns all methods.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    [
        gradient::ALL,
        lrp::ALL,
        perturb::ALL,
        surrogate::ALL,
        &[NOISE],
    ]
    .into_iter()
    .flatten()
}

/// The noise tunnel, which wraps any other method.
const NOISE: Entry = Entry {
    name: NOISE_TUNNEL,
    krate: "attr-gradient",
    summary: "the mean, mean square or variance of another method over noisy copies of the input",
    paper: "https://arxiv.org/abs/1706.03825",
    needs: Needs {
        baseline: true,
        seed: true,
        errors: true,
        ..GRADIENTS
    },
    parameters: noise_tunnel_parameters,
    build: noise_tunnel,
};

const GRADIENTS: Needs = Needs {
    gradients: true,
    ..FORWARDS
};

/// Needs of perturbation methods: any model, and a baseline for absent features.
const PERTURBED: Needs = Needs {
    baseline: true,
    averaged: true,
    mask: true,
    ..FORWARDS
};

const FORWARDS: Needs = Needs {
    gradients: false,
    baseline: false,
    distribution: false,
    averaged: false,
    seed: false,
    layer: LayerUse::Optional,
    neuron: false,
    mask: false,
    segments: false,
    training: false,
    autoencoder: false,
    delta: false,
    errors: false,
};

const NOISE_TUNNEL: &str = "noise-tunnel";

/// The parameter that names the method inside the noise tunnel.
const OF: &str = "of";
const OF_DEFAULT: &str = "saliency";

fn noise_tunnel_parameters() -> Vec<Parameter> {
    let of = Parameter {
        name: OF.into(),
        kind: "string".into(),
        default: OF_DEFAULT.into(),
        description: "The method to wrap; its own parameters are given with --set too.".into(),
        values: Vec::new(),
    };
    std::iter::once(of)
        .chain(parameters::of::<NoiseTunnelConfig>())
        .collect()
}

/// Builds the noise tunnel. Noise is added to the inputs, even for attributions at layers, or to
/// the layers if the inputs are integers.
fn noise_tunnel(given: &mut Given, setup: &Setup) -> Result<Built, Error> {
    let of = given.take(OF).unwrap_or_else(|| OF_DEFAULT.into());
    let inner = inner(&of)?;
    given.note(OF, of.clone());
    let config = given.config::<NoiseTunnelConfig>()?;
    let at_layers = setup.integers && inner.needs.layer == LayerUse::Optional;
    let mut within = setup.clone();
    if at_layers {
        // Layers and baselines are set on the tunnel instead.
        within.layers.clear();
        within.baselines = None;
    }
    Ok(match (inner.build)(given, &within)? {
        Built::Inputs(method) if at_layers => {
            setup.at(NoiseTunnel::new(method).with_config(config))?
        }
        Built::Inputs(method) => {
            Built::Inputs(Box::new(NoiseTunnel::new(method).with_config(config)))
        }
        Built::Layers(method) => {
            Built::Layers(Box::new(NoiseTunnel::new(method).with_config(config)))
        }
        Built::Shift(method) => {
            Built::Inputs(Box::new(NoiseTunnel::new(method).with_config(config)))
        }
    })
}

/// Returns the entry of the method inside a noise tunnel.
fn inner(of: &str) -> Result<&'static Entry, Error> {
    let inner = find(of)?;
    if inner.name == NOISE_TUNNEL {
        return Err(Error::input(
            "--set of=noise-tunnel: the noise tunnel cannot be put around itself",
        ));
    }
    Ok(inner)
}

/// Returns the entry with this name.
pub fn find(name: &str) -> Result<&'static Entry, Error> {
    if let Some(entry) = all().find(|entry| entry.name == name) {
        return Ok(entry);
    }
    let plain = name.to_lowercase().replace(['-', '_'], "");
    if matches!(&plain[..], "smoothgrad" | "smoothgradsq" | "vargrad") {
        return Err(Error::input(format!(
            "there is no method {name:?}; it is noise-tunnel, with --set of=METHOD and --set nt_type"
        )));
    }
    let mut nearest: Vec<&str> = all().map(|entry| entry.name).collect();
    nearest.sort_by(|a, b| strsim::jaro_winkler(name, b).total_cmp(&strsim::jaro_winkler(name, a)));
    nearest.truncate(3);
    Err(Error::input(format!(
        "there is no method {name:?}; the nearest are {} (`attrx methods` lists all)",
        nearest.join(", ")
    )))
}

impl Entry {
    /// Returns what this method needs: for the noise tunnel, its inner method's needs and a seed.
    pub fn needs(&self, given: &Given) -> Result<Needs, Error> {
        if self.name != NOISE_TUNNEL {
            return Ok(self.needs);
        }
        let of = given.texts().find(|(key, _)| *key == OF);
        let inner = inner(of.map_or(OF_DEFAULT, |(_, of)| of))?;
        Ok(Needs {
            seed: true,
            delta: false,
            errors: true,
            ..inner.needs
        })
    }

    /// Builds the method with the given parameters, all of which it must know.
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
            let required = matches!(entry.needs.layer, LayerUse::Required | LayerUse::Spatial);
            let setup = Setup {
                layers: if required {
                    vec!["layer".into()]
                } else {
                    Vec::new()
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
        for entry in all() {
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
            (build("SmoothGrad", &[]), "it is noise-tunnel"),
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
