//! Runs `attrx methods` and `attrx metrics`.

use std::fmt::Write;

use serde_json::{Value, json};

use attr_metrics::About;

use crate::args::{MethodsArguments, MetricsArguments};
use crate::error::Error;
use crate::methods::{self, Entry, LayerUse};
use crate::metrics;
use crate::parameters::Parameter;
use crate::{json, print};

/// Lists the metrics.
pub fn metrics(arguments: &MetricsArguments) -> Result<(), Error> {
    let entries: Vec<&metrics::Entry> = match &arguments.name {
        Some(name) => vec![metrics::find(name)?],
        None => metrics::ALL.iter().collect(),
    };
    if arguments.json {
        let entries: Vec<Value> = entries.iter().map(|entry| metric_as_json(entry)).collect();
        return json::print(&entries);
    }
    let entries: Vec<String> = entries.iter().map(|entry| metric_as_text(entry)).collect();
    print(&entries.join("\n"))
}

/// Lists the methods.
pub fn methods(arguments: &MethodsArguments) -> Result<(), Error> {
    let entries: Vec<&Entry> = match &arguments.name {
        Some(name) => vec![methods::find(name)?],
        None => methods::all().collect(),
    };
    if arguments.json {
        let entries: Vec<Value> = entries.iter().map(|entry| as_json(entry)).collect();
        return json::print(&entries);
    }
    let entries: Vec<String> = entries.iter().map(|entry| as_text(entry)).collect();
    print(&entries.join("\n"))
}

fn needs(entry: &Entry) -> Vec<&'static str> {
    let needs = entry.needs;
    let all = [
        (needs.gradients, "gradients"),
        (needs.baseline, "baseline"),
        (needs.seed, "seed"),
        (needs.layer == LayerUse::Required, "layer"),
        (needs.neuron, "neuron"),
        (needs.mask, "feature mask"),
        (needs.training, "training"),
        (needs.autoencoder, "autoencoder"),
    ];
    all.iter()
        .filter(|(needed, _)| *needed)
        .map(|(_, name)| *name)
        .collect()
}

fn gives(entry: &Entry) -> Vec<&'static str> {
    let all = [
        (entry.needs.delta, "convergence delta"),
        (entry.needs.errors, "standard errors"),
    ];
    let given = all.iter().filter(|(given, _)| *given);
    given.map(|(_, name)| *name).collect()
}

fn as_json(entry: &Entry) -> Value {
    json!({
        "name": entry.name,
        "crate": entry.krate,
        "summary": entry.summary,
        "needs": needs(entry),
        "gives": gives(entry),
        "paper": entry.paper,
        "parameters": (entry.parameters)(),
    })
}

fn as_text(entry: &Entry) -> String {
    let mut text = format!("{} ({})\n    {}\n", entry.name, entry.krate, entry.summary);
    // Writing to a string cannot fail.
    let lists = [("uses", needs(entry)), ("gives", gives(entry))];
    let lists = lists.iter().filter(|(_, all)| !all.is_empty());
    let lists: String = lists
        .map(|(verb, all)| format!("; {verb} {}", all.join(", ")))
        .collect();
    let _ = writeln!(text, "    paper {}{lists}", entry.paper);
    text.push_str(&parameters("--set", &(entry.parameters)()));
    text
}

/// Describes parameters, a line for each.
fn parameters(flag: &str, all: &[Parameter]) -> String {
    let mut text = String::new();
    for parameter in all {
        let default = match &parameter.default {
            Value::String(text) => text.clone(),
            Value::Null => "none".into(),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(Value::to_string).collect();
                items.join(",")
            }
            other => other.to_string(),
        };
        let _ = writeln!(
            text,
            "    {flag} {}={default}  ({}) {}",
            parameter.name, parameter.kind, parameter.description
        );
        for choice in &parameter.values {
            let _ = writeln!(text, "          {}: {}", choice.value, choice.description);
        }
    }
    text
}

fn metric_needs(about: &About) -> Vec<&'static str> {
    let needs = about.needs;
    let all = [
        (needs.masks, "masks"),
        (needs.method, "a method"),
        (needs.seed, "seed"),
    ];
    let needed = all.iter().filter(|(needed, _)| *needed);
    needed.map(|(_, name)| *name).collect()
}

fn metric_as_json(entry: &metrics::Entry) -> Value {
    let about = (entry.about)();
    json!({
        "name": about.name,
        "family": about.family,
        "summary": about.summary,
        "higher_is_better": about.higher_is_better,
        "needs": metric_needs(&about),
        "paper": about.paper,
        "parameters": (entry.parameters)(),
    })
}

fn metric_as_text(entry: &metrics::Entry) -> String {
    let about = (entry.about)();
    let family = format!("{:?}", about.family).to_lowercase();
    let better = if about.higher_is_better {
        "higher"
    } else {
        "lower"
    };
    let needs = metric_needs(&about);
    let uses = if needs.is_empty() {
        String::new()
    } else {
        format!("; uses {}", needs.join(", "))
    };
    format!(
        "{} ({family}, {better} is better)\n    {}\n    paper {}{uses}\n{}",
        about.name,
        about.summary,
        about.paper,
        parameters("--metric-set", &(entry.parameters)())
    )
}
