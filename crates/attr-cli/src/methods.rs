//! The methods that the program offers: one entry each, in one list.
//!
//! To add a method, add its entry to [`ALL`]; `attrx methods`, `--set` and the errors follow.

use attr_core::{Baselines, Method};
use attr_gradient::{
    InputXGradient, IntegratedGradients, IntegratedGradientsConfig, NoiseTunnel, NoiseTunnelConfig,
    Saliency,
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
    build: fn(&mut Given, &Setup) -> Built,
}

type Built = Result<Box<dyn Method>, Error>;

/// What a method needs.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Needs {
    /// Gradients of the model.
    pub gradients: bool,
    /// It compares with `--baseline`.
    pub baseline: bool,
    /// It draws random numbers, from `--seed`.
    pub seed: bool,
    /// It perturbs the model's inputs, so it cannot begin at a layer.
    pub inputs: bool,
}

/// What the command line says besides parameters.
#[derive(Clone, Default)]
pub struct Setup {
    /// From `--baseline`.
    pub baselines: Option<Baselines>,
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
        build: |given, _| Ok(Box::new(given.config::<Saliency>()?)),
    },
    Entry {
        name: "input-x-gradient",
        krate: "attr-gradient",
        summary: "the input times the gradient, x df/dx",
        paper: "https://arxiv.org/abs/1605.01713",
        needs: GRADIENTS,
        parameters: parameters::of::<InputXGradient>,
        build: |given, _| Ok(Box::new(given.config::<InputXGradient>()?)),
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
            Ok(Box::new(match &setup.baselines {
                Some(baselines) => method.with_baseline(baselines.clone()),
                None => method,
            }))
        },
    },
    Entry {
        name: "noise-tunnel",
        krate: "attr-gradient",
        summary: "the mean, mean square or variance of another method over noisy copies of the input",
        paper: "https://arxiv.org/abs/1706.03825",
        needs: Needs {
            baseline: true,
            seed: true,
            inputs: true,
            ..GRADIENTS
        },
        parameters: noise_tunnel_parameters,
        build: |given, setup| {
            let of = given.take(OF).unwrap_or_else(|| OF_DEFAULT.into());
            let inner = find(&of)?;
            if inner.name == "noise-tunnel" {
                return Err(Error::input(
                    "--set of=noise-tunnel: it cannot be put around itself",
                ));
            }
            given.note(OF, of.clone());
            let config = given.config::<NoiseTunnelConfig>()?;
            Ok(Box::new(NoiseTunnel::from_config(
                (inner.build)(given, setup)?,
                config,
            )))
        },
    },
];

const GRADIENTS: Needs = Needs {
    gradients: true,
    baseline: false,
    seed: false,
    inputs: false,
};

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
    /// The method with the parameters given; all of them must be its own.
    pub fn build(&self, mut given: Given, setup: &Setup) -> Built {
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
        let built = find(name).and_then(|entry| entry.build(given, &Setup::default()));
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
