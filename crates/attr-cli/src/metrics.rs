//! The metrics of `attrx`: one line each. `attrx metrics`, `--metric-set` and the error messages use
//! them automatically.

use attr_metrics::{
    About, Abpc, AttributionLocalisation, Auc, AverageDrop, AverageGain, AverageIncrease,
    AvgSensitivity, Completeness, Complexity, Comprehensiveness, Consistency, Continuity, Deletion,
    EffectiveComplexity, EfficientMprt, EraserSufficiency, FaithfulnessCorrelation,
    FaithfulnessEstimate, Focus, Infidelity, InputInvariance, Insertion, Irof,
    LocalLipschitzEstimate, Metric, Monotonicity, MonotonicityCorrelation, Mprt, Mstc, MuFidelity,
    NonSensitivity, PixelFlipping, PointingGame, RandomLogit, RegionPerturbation,
    RelativeInputStability, RelativeOutputStability, RelativeRepresentationStability,
    RelevanceMassAccuracy, RelevanceRankAccuracy, Road, Selectivity, SensitivityMax, SensitivityN,
    SmoothMprt, Sparseness, Sufficiency, TopKIntersection,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::parameters::{self, Given, Parameter};

/// A metric of the command line.
pub struct Entry {
    /// What it is.
    pub about: fn() -> About,
    /// Its parameters, with defaults.
    pub parameters: fn() -> Vec<Parameter>,
    build: fn(&mut Given) -> Result<Box<dyn Metric>, Error>,
}

const fn entry<M>() -> Entry
where
    M: Metric + Default + Serialize + DeserializeOwned + JsonSchema + 'static,
{
    Entry {
        about: || M::default().about(),
        parameters: parameters::of::<M>,
        build: |given| Ok(Box::new(given.config::<M>()?)),
    }
}

/// All metrics, by what they ask about.
pub const ALL: &[Entry] = &[
    entry::<Abpc>(),
    entry::<AverageDrop>(),
    entry::<AverageGain>(),
    entry::<AverageIncrease>(),
    entry::<Comprehensiveness>(),
    entry::<Deletion>(),
    entry::<EraserSufficiency>(),
    entry::<FaithfulnessCorrelation>(),
    entry::<FaithfulnessEstimate>(),
    entry::<Infidelity>(),
    entry::<Insertion>(),
    entry::<Irof>(),
    entry::<Monotonicity>(),
    entry::<MonotonicityCorrelation>(),
    entry::<MuFidelity>(),
    entry::<PixelFlipping>(),
    entry::<RegionPerturbation>(),
    entry::<Road>(),
    entry::<Selectivity>(),
    entry::<SensitivityN>(),
    entry::<Sufficiency>(),
    entry::<AvgSensitivity>(),
    entry::<Consistency>(),
    entry::<Continuity>(),
    entry::<LocalLipschitzEstimate>(),
    entry::<RelativeInputStability>(),
    entry::<RelativeOutputStability>(),
    entry::<RelativeRepresentationStability>(),
    entry::<SensitivityMax>(),
    entry::<AttributionLocalisation>(),
    entry::<Auc>(),
    entry::<Focus>(),
    entry::<PointingGame>(),
    entry::<RelevanceMassAccuracy>(),
    entry::<RelevanceRankAccuracy>(),
    entry::<TopKIntersection>(),
    entry::<Complexity>(),
    entry::<EffectiveComplexity>(),
    entry::<Mstc>(),
    entry::<Sparseness>(),
    entry::<EfficientMprt>(),
    entry::<Mprt>(),
    entry::<RandomLogit>(),
    entry::<SmoothMprt>(),
    entry::<Completeness>(),
    entry::<InputInvariance>(),
    entry::<NonSensitivity>(),
];

/// The metrics of a table, unless others are named.
pub const USUAL: &str = "infidelity,sensitivity-max,faithfulness-correlation,deletion,insertion,\
                         abpc,sparseness,random-logit";

/// Their parameters, unless others are given: methods have different units, so infidelity scales each
/// to its smallest error.
const USUAL_SET: &str = "infidelity.normalize=true";

/// Those that are added where ground-truth masks are given.
pub const USUAL_WITH_MASKS: &str = "relevance-rank-accuracy,pointing-game";

/// Returns the parameters of the usual metrics: those given, and the usual ones for the others.
pub fn usual_set(given: &[String]) -> Vec<String> {
    let mut set = given.to_vec();
    let key = |text: &str| {
        text.split('=')
            .next()
            .unwrap_or_default()
            .trim()
            .to_string()
    };
    let usual = key(USUAL_SET);
    let short = usual.split('.').next_back().unwrap_or_default();
    if !set
        .iter()
        .any(|text| key(text) == usual || key(text) == short)
    {
        set.push(USUAL_SET.into());
    }
    set
}

/// Other names of metrics.
const ALIASES: [(&str, &str); 4] = [
    ("max-sensitivity", "sensitivity-max"),
    ("local-lipschitz", "local-lipschitz-estimate"),
    ("model-parameter-randomisation", "mprt"),
    ("gini", "sparseness"),
];

/// Returns the entry with this name.
pub fn find(name: &str) -> Result<&'static Entry, Error> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    let wanted = alias.map_or(name, |(_, name)| *name);
    if let Some(entry) = ALL.iter().find(|entry| (entry.about)().name == wanted) {
        return Ok(entry);
    }
    let mut nearest: Vec<&str> = ALL.iter().map(|entry| (entry.about)().name).collect();
    nearest.sort_by(|a, b| strsim::jaro_winkler(name, b).total_cmp(&strsim::jaro_winkler(name, a)));
    nearest.truncate(3);
    Err(Error::input(format!(
        "there is no metric {name:?}; the nearest are {} (`attrx metrics` lists all)",
        nearest.join(", ")
    )))
}

/// Builds the metrics that the command line names, with their parameters: METRIC.KEY=VALUE, or
/// KEY=VALUE for all that have it.
pub fn build(
    names: &str,
    set: &[String],
    seed: Option<u64>,
) -> Result<Vec<Box<dyn Metric>>, Error> {
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    if names.contains(&"") {
        return Err(Error::input("--metrics has an empty name"));
    }
    let entries = names.iter().map(|name| find(name));
    let entries: Vec<&Entry> = entries.collect::<Result<_, _>>()?;
    let own_name = |entry: &Entry| (entry.about)().name;
    let twice = (1..entries.len()).find(|&i| {
        entries[..i]
            .iter()
            .any(|e| own_name(e) == own_name(entries[i]))
    });
    if let Some(i) = twice {
        return Err(Error::input(format!(
            "--metrics: {} is named twice",
            names[i]
        )));
    }
    let mut sets: Vec<Vec<String>> = vec![Vec::new(); entries.len()];
    for text in set {
        let key = text.split('=').next().unwrap_or_default().trim();
        let mut taken = false;
        for ((entry, name), own) in entries.iter().zip(&names).zip(&mut sets) {
            let known = |key: &str| (entry.parameters)().iter().any(|p| p.name == key);
            let prefixes = [own_name(entry), *name];
            let named = prefixes
                .iter()
                .find_map(|name| text.strip_prefix(&format!("{name}.")));
            if let Some(rest) = named {
                own.push(rest.to_string());
                taken = true;
            } else if known(key) {
                own.push(text.clone());
                taken = true;
            }
        }
        if !taken {
            return Err(Error::input(format!(
                "--metric-set {text}: none of these metrics has such a parameter; write \
                 METRIC.KEY=VALUE, with a metric of --metrics"
            )));
        }
    }
    let built = entries.iter().zip(sets).map(|(entry, set)| {
        let about = (entry.about)();
        let mut given = Given::parse_flag("--metric-set", &set)?;
        if let (true, Some(seed)) = (about.needs.seed, seed) {
            given.default("seed", seed);
        }
        let metric = (entry.build)(&mut given)?;
        given.finish(about.name, &(entry.parameters)())?;
        Ok(metric)
    });
    built.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_built_with_each_default_written_out() {
        for entry in ALL {
            let name = (entry.about)().name;
            for parameter in (entry.parameters)() {
                assert!(
                    !parameter.description.is_empty(),
                    "{name} {}",
                    parameter.name
                );
                let text = match &parameter.default {
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let set = vec![format!("{name}.{}={text}", parameter.name)];
                let built = build(name, &set, None).map(drop).map_err(|e| e.to_string());
                assert_eq!(built, Ok(()), "{set:?}");
            }
            assert!((entry.about)().paper.starts_with("https://"), "{name}");
        }
    }

    #[test]
    fn names_are_unique_and_wrong_ones_get_advice() {
        let mut names: Vec<&str> = ALL.iter().map(|entry| (entry.about)().name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        let error = find("deletions")
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default();
        assert!(error.contains("the nearest are deletion"), "{error}");
        for (_, name) in ALIASES {
            assert!(find(name).is_ok(), "{name}");
        }
        for (set, expected) in [
            ("deletion.step=3", "did you mean steps?"),
            ("stepps=3", "none of these metrics"),
            ("deletion.steps=many", "it takes an integer"),
        ] {
            let error = build("deletion", &[set.into()], None).err();
            let error = error.map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(expected), "{error}");
        }
    }
}
