//! Runs `attrx lrp`.

use std::collections::BTreeMap;
use std::fmt::Write;

use attr_core::walk::{Entry, Ledger, Plan, Rule};
use attr_core::{Kind, Traced, Values};
use attr_lrp_crp::{CompositeName, LrpConfig, canonized};
use serde::Serialize;

use crate::args::{CheckArguments, LrpArguments, LrpCommand, PlanArguments};
use crate::asked::{Asked, config};
use crate::error::Error;
use crate::layout::table;
use crate::model::Opened;
use crate::{input, json, print};

/// Runs the subcommand.
pub fn run(arguments: &LrpArguments) -> Result<(), Error> {
    match &arguments.command {
        LrpCommand::Plan(arguments) => plan(arguments),
        LrpCommand::Check(arguments) => check(arguments),
    }
}

/// A layer and its rule.
#[derive(Serialize)]
struct Line {
    layer: String,
    operation: String,
    rule: String,
}

/// Assigns rules to all nodes that depend on an input.
fn planned(config: &LrpConfig, model: &Traced, inputs: &Values) -> Result<Plan, Error> {
    let plan = canonized(model, true).plan(&config.composite()?, inputs)?;
    Ok(plan.reaching_all())
}

/// The nodes of a plan with their rules.
fn lines(plan: &Plan) -> Vec<Line> {
    let lines = plan.nodes().map(|(node, rule)| Line {
        layer: match node.aliases() {
            [] => node.name().into(),
            // A convolution that a BatchNorm was folded into.
            aliases => format!("{} ({})", node.name(), aliases.join(", ")),
        },
        operation: node
            .group()
            .map_or_else(|| node.op().name(), ToString::to_string),
        rule: rule.map_or_else(|| "gradient".into(), Rule::name),
    });
    lines.collect()
}

/// Prints which rule each layer gets.
fn plan(arguments: &PlanArguments) -> Result<(), Error> {
    let config = config("lrp", &arguments.set)?;
    let opened = Opened::new(&arguments.model)?;
    let named = opened.has_inputs(&arguments.model);
    let inputs = if named {
        opened.read(&arguments.model)?.values
    } else {
        input::placeholder(opened.ports(), None, &opened.device)?
    };
    let model = opened.trace(&arguments.model, &inputs)?;
    let plan = planned(&config, &model, &inputs)?;
    let lines = lines(&plan);
    if arguments.json {
        return json::print(&lines);
    }
    let mut rows = vec![vec![
        "layer".to_string(),
        "operation".into(),
        plan.composite().into(),
    ]];
    rows.extend(
        lines
            .into_iter()
            .map(|line| vec![line.layer, line.operation, line.rule]),
    );
    print(&table(&rows, &[]))
}

/// What `attrx lrp check` finds.
#[derive(Serialize)]
struct Report {
    composite: String,
    /// How many layers each rule serves.
    rules: BTreeMap<String, usize>,
    rows: Vec<Row>,
    suggestion: Option<Suggestion>,
    /// Whether so much is lost or grows that other settings were tried.
    #[serde(skip)]
    doubtful: bool,
}

/// One row's ledger.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    ledger: Ledger,
    bias: f64,
    stabilizer: f64,
    stopped: f64,
    rounding: f64,
    /// How far the ledger is from closing.
    error: f64,
    /// The sum of absolute relevance at the inputs, as a multiple of the score's.
    growth: f64,
}

/// Another setting, and what it would change.
#[derive(Clone, Serialize)]
struct Suggestion {
    set: Vec<String>,
    lost: f64,
    growth: f64,
}

impl Row {
    fn of(ledger: Ledger) -> Self {
        Self {
            bias: ledger.bias(),
            stabilizer: ledger.stabilizer(),
            stopped: ledger.stopped(),
            rounding: ledger.rounding(),
            error: ledger.error(),
            growth: growth(&ledger),
            ledger,
        }
    }
}

fn growth(ledger: &Ledger) -> f64 {
    ledger.arrived_absolute / ledger.started.abs().max(f64::MIN_POSITIVE)
}

/// The part of the score that does not arrive, or arrives too much.
fn lost(ledger: &Ledger) -> f64 {
    (ledger.started - ledger.arrived).abs() / ledger.started.abs().max(f64::MIN_POSITIVE)
}

/// The largest number of any row; NaN counts as the largest of all.
fn worst(ledgers: &[Ledger], of: fn(&Ledger) -> f64) -> f64 {
    let each = ledgers.iter().map(of);
    each.fold(0.0, |most, own| {
        if own.is_nan() {
            f64::MAX
        } else {
            most.max(own)
        }
    })
}

/// How bad a set of ledgers is: the part of the score that is lost, and orders of magnitude by which
/// relevance grows.
fn badness(ledgers: &[Ledger]) -> f64 {
    let each = ledgers.iter().map(|ledger| {
        let bad = lost(ledger) + growth(ledger).max(1.0).log10();
        if bad.is_finite() { bad } else { f64::MAX }
    });
    each.fold(0.0, f64::max)
}

/// Checks where relevance goes.
fn check(arguments: &CheckArguments) -> Result<(), Error> {
    let Asked {
        config,
        model,
        inputs,
        target,
        ..
    } = Asked::new("lrp", &arguments.common)?;
    let inputs = inputs.values;
    let lrp = config.build()?;
    let ledgers = lrp.ledgers(&model, &inputs, target.clone())?;
    let plan = planned(&config, &model, &inputs)?;
    let mut rules = BTreeMap::new();
    for line in lines(&plan) {
        *rules.entry(line.rule).or_insert(0) += 1;
    }

    // Other settings are tried only where something is lost or grows.
    let mut suggestion = None;
    let mut best = badness(&ledgers);
    let doubtful = best > 0.1;
    if doubtful {
        for other in others(&config) {
            let Ok(found) = other
                .build()
                .and_then(|lrp| lrp.ledgers(&model, &inputs, target.clone()))
            else {
                // The composite has no rule for one of the layers.
                continue;
            };
            // A remedy for one must not make the other worse.
            let worse = worst(&found, lost) > worst(&ledgers, lost) + 0.01
                || worst(&found, growth) > 1.1 * worst(&ledgers, growth);
            if !worse && worst(&found, lost) < 0.5 && badness(&found) < 0.8 * best {
                best = badness(&found);
                suggestion = Some(Suggestion {
                    set: differences(&LrpConfig::default(), &other),
                    lost: worst(&found, lost),
                    growth: worst(&found, growth),
                });
            }
        }
    }
    let report = Report {
        composite: plan.composite().into(),
        rules,
        rows: ledgers.into_iter().map(Row::of).collect(),
        suggestion,
        doubtful,
    };
    if arguments.json {
        return json::print(&report);
    }
    let tokens = (0..inputs.values().len()).all(|i| inputs.values()[i].kind() != Kind::Float);
    print(&described(&report, arguments.top, tokens))
}

/// Returns settings to try instead of these.
fn others(config: &LrpConfig) -> Vec<LrpConfig> {
    let bounded = config.low.is_some() && config.high.is_some();
    let names = [
        Some(config.composite),
        Some(CompositeName::EpsilonPlusFlat),
        Some(CompositeName::EpsilonPlus),
        bounded.then_some(CompositeName::EpsilonGammaBox),
        Some(CompositeName::Attnlrp),
        Some(CompositeName::CpLrp),
        Some(CompositeName::Epsilon),
    ];
    let names: Vec<CompositeName> = names.into_iter().flatten().collect();
    let each = names.iter().enumerate().flat_map(|(i, &composite)| {
        let transformer = matches!(composite, CompositeName::Attnlrp | CompositeName::CpLrp);
        let uses_gamma = transformer || composite == CompositeName::EpsilonGammaBox;
        let kept = LrpConfig {
            composite,
            gamma: config.gamma.filter(|_| uses_gamma),
            ..config.clone()
        };
        let free = LrpConfig {
            zero_bias: true,
            ..kept.clone()
        };
        let steady = LrpConfig {
            gamma: Some(0.25),
            ..kept.clone()
        };
        let steady = Some(steady).filter(|_| transformer);
        let repeated = names[..i].contains(&composite);
        let settings = [Some(kept), Some(free), steady].into_iter().flatten();
        settings.filter(move |_| !repeated)
    });
    each.filter(|other| other != config).collect()
}

/// The parameters in which `other` differs from the defaults `config`, as `--set` takes them.
fn differences(config: &LrpConfig, other: &LrpConfig) -> Vec<String> {
    let fields = |config: &LrpConfig| serde_json::to_value(config).unwrap_or_default();
    let (own, other) = (fields(config), fields(other));
    let changed = other.as_object().into_iter().flatten();
    let changed = changed.filter(|(key, value)| own.get(key) != Some(value));
    changed
        .map(|(key, value)| {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), String::from);
            format!("{key}={value}")
        })
        .collect()
}

/// Returns the report as text.
fn described(report: &Report, top: usize, tokens: bool) -> String {
    let mut text = String::new();
    let rules = report
        .rules
        .iter()
        .map(|(rule, count)| format!("{count} {rule}"));
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}: {}",
        report.composite,
        rules.collect::<Vec<_>>().join(", ")
    );
    let place = if tokens { "embeddings" } else { "inputs" };
    for (i, row) in report.rows.iter().enumerate() {
        let ledger = &row.ledger;
        let _ = writeln!(
            text,
            "row {i}: score {:.6} = {place} {:.6} + bias {:.6} + stabilizer {:.6} + stopped {:.6} \
             + rounding {:.6} (off by {:.1e})",
            ledger.started,
            ledger.arrived,
            row.bias,
            row.stabilizer,
            row.stopped,
            row.rounding,
            row.error
        );
        let _ = writeln!(
            text,
            "row {i}: absolute relevance at the {place} is {:.2} times the score",
            row.growth
        );
        let tiny = 1e-3 * ledger.started.abs();
        let mut losing: Vec<&Entry> = ledger.entries.iter().collect();
        losing.retain(|entry| entry.lost().abs() > tiny);
        losing.sort_by(|a, b| b.lost().abs().total_cmp(&a.lost().abs()));
        let mut growing: Vec<&Entry> = ledger.entries.iter().collect();
        growing.retain(|entry| entry.growth() > 1.1 && entry.passed_absolute > tiny);
        growing.sort_by(|a, b| b.growth().total_cmp(&a.growth()));
        let listed = |text: &mut String, title: &str, entries: &[&Entry]| {
            if entries.is_empty() {
                return;
            }
            let header = [
                "layer",
                "rule",
                "received",
                "bias",
                "stabilizer",
                "stopped",
                "growth",
            ];
            let mut rows = vec![header.map(String::from).to_vec()];
            for entry in entries.iter().take(top) {
                rows.push(vec![
                    entry.layer.clone(),
                    entry.rule.clone(),
                    format!("{:.5}", entry.received),
                    format!("{:.5}", entry.bias),
                    format!("{:.5}", entry.stabilizer),
                    format!("{:.5}", entry.stopped),
                    format!("{:.2}x", entry.growth()),
                ]);
            }
            let _ = writeln!(text, "row {i}: {title}");
            text.push_str(&table(&rows, &[2, 3, 4, 5, 6]));
        };
        listed(&mut text, "layers where most is lost or added", &losing);
        listed(
            &mut text,
            "layers at which absolute relevance grows most",
            &growing,
        );
    }
    match &report.suggestion {
        Some(suggestion) => {
            let set = suggestion.set.iter().map(|set| format!("--set {set}"));
            let _ = writeln!(
                text,
                "suggestion: with {}, at most {:.1}% of the score is lost, and absolute relevance \
                 is at most {:.2} times the score",
                set.collect::<Vec<_>>().join(" "),
                100.0 * suggestion.lost,
                suggestion.growth
            );
        }
        None if report.doubtful => {
            let _ = writeln!(
                text,
                "suggestion: none; no other composite that was tried does better"
            );
        }
        None => {
            let _ = writeln!(
                text,
                "suggestion: none; little is lost, and relevance does not explode"
            );
        }
    }
    text
}
