//! Runs `attrx lrp`.

use std::fmt::Write;

use attr_core::walk::Rule;
use attr_lrp_crp::LrpConfig;
use serde::Serialize;

use crate::args::{LrpArguments, LrpCommand, PlanArguments};
use crate::error::Error;
use crate::model::Opened;
use crate::parameters::{self, Given};
use crate::{input, json, print};

/// Runs the subcommand.
pub fn run(arguments: &LrpArguments) -> Result<(), Error> {
    match &arguments.command {
        LrpCommand::Plan(arguments) => plan(arguments),
    }
}

/// A layer and its rule.
#[derive(Serialize)]
struct Line {
    layer: String,
    operation: String,
    rule: String,
}

/// Prints which rule each layer gets.
fn plan(arguments: &PlanArguments) -> Result<(), Error> {
    let mut given = Given::parse(&arguments.set)?;
    let config: LrpConfig = given.config()?;
    given.finish("lrp", &parameters::of::<LrpConfig>())?;
    let composite = config.composite()?;

    let opened = Opened::new(&arguments.model)?;
    let named = !arguments.model.input.is_empty() || !arguments.model.constant.is_empty();
    let inputs = if named {
        opened.read(&arguments.model)?.values
    } else {
        input::placeholder(opened.ports(), &opened.device)?
    };
    let model = opened.trace(&arguments.model, &inputs)?;
    let plan = model.fold_batch_norm().plan(&composite, &inputs)?;
    let plan = plan.reaching_all();
    let lines = plan.nodes().map(|(node, rule)| Line {
        layer: node.name().into(),
        operation: node
            .group()
            .map_or_else(|| node.op().name(), ToString::to_string),
        rule: rule.map_or_else(|| "derivative".into(), Rule::name),
    });
    let lines: Vec<Line> = lines.collect();
    if arguments.json {
        return json::print(&lines);
    }
    let width = |of: &dyn Fn(&Line) -> &str| {
        let widths = lines.iter().map(|line| of(line).chars().count());
        widths.max().unwrap_or(0)
    };
    let layers = width(&|line| &line.layer).max("layer".len());
    let operations = width(&|line| &line.operation).max("operation".len());
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{:<layers$}  {:<operations$}  {}",
        "layer",
        "operation",
        plan.composite()
    );
    for line in &lines {
        let _ = writeln!(
            text,
            "{:<layers$}  {:<operations$}  {}",
            line.layer, line.operation, line.rule
        );
    }
    print(&text)
}
