//! Runs `attrx layers`.

use std::fmt::Write;

use attr_core::Traced;
use attr_onnx::Port;
use serde::Serialize;

use crate::args::LayersArguments;
use crate::error::Error;
use crate::layout::table;
use crate::model::Opened;
use crate::{input, json, print};

/// Sizes that are tried where a file leaves them open.
const SIZES: [usize; 5] = [64, 256, 512, 1024, 16000];

/// Traces the model for inputs of guessed sizes.
fn guessed(opened: &Opened, arguments: &LayersArguments) -> Result<Traced, Error> {
    let trace = |size: Option<usize>| {
        let inputs = input::placeholder(opened.ports(), size, &opened.device)?;
        opened.trace(&arguments.model, &inputs)
    };
    let first = trace(None);
    if first.is_ok() || !input::is_guessed(opened.ports()) {
        return first;
    }
    let more = SIZES.into_iter().find_map(|size| trace(Some(size)).ok());
    more.map_or(first, Ok)
}

/// The inputs and outputs.
fn ports(opened: &Opened) -> String {
    let mut text = String::new();
    let mut list = |what: &str, ports: &[Port]| {
        for port in ports {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{what:<7} {} {} ({:?})",
                port.name,
                port.describe(),
                port.kind
            );
        }
    };
    list("input", opened.ports());
    list("output", opened.file.outputs());
    text
}

/// A node of a file whose sizes are not known, as JSON.
#[derive(Serialize)]
struct Node<'a> {
    name: &'a str,
    operation: String,
}

/// Lists nodes without shapes, and why they have none.
fn nodes(opened: &Opened, arguments: &LayersArguments, error: &Error) -> Result<(), Error> {
    let nodes = opened.file.nodes();
    let nodes: Vec<Node<'_>> = nodes
        .map(|(name, operation)| Node { name, operation })
        .collect();
    if arguments.json {
        return json::print(&nodes);
    }
    let mut lines = vec![["layer", "operation"].map(String::from).to_vec()];
    for node in &nodes {
        lines.push(vec![node.name.into(), node.operation.clone()]);
    }
    print(&format!(
        "{}\n{}\nShapes are not known: {error}. Give an --input, and a --constant for each setting.\n",
        ports(opened),
        table(&lines, &[])
    ))
}

/// Lists a model's layers.
pub fn run(arguments: &LayersArguments) -> Result<(), Error> {
    let opened = Opened::new(&arguments.model)?;
    let given = opened.has_inputs(&arguments.model);
    let traced = if given {
        let inputs = opened.read(&arguments.model)?.values;
        opened.trace(&arguments.model, &inputs)
    } else {
        guessed(&opened, arguments)
    };
    let traced = match traced {
        Ok(traced) => traced,
        Err(error) if !given && input::is_guessed(opened.ports()) => {
            return nodes(&opened, arguments, &error);
        }
        Err(error) => return Err(error),
    };
    let layers = traced.layers();
    if arguments.json {
        return json::print(&layers);
    }
    let mut text = ports(&opened);
    let explained = opened.file.output(arguments.model.output.as_deref())?;
    let width = layers
        .iter()
        .map(|layer| layer.name.chars().count())
        .max()
        .unwrap_or(0);
    let width = width.max("layer".len());
    let _ = writeln!(
        text,
        "\n{:<width$}  {:<18} {:<26} {:>10}",
        "layer", "operation", "output shape", "parameters"
    );
    for layer in &layers {
        let _ = writeln!(
            text,
            "{:<width$}  {:<18} {:<26} {:>10}",
            layer.name, layer.operation, layer.output_shape, layer.parameters
        );
    }
    let _ = writeln!(
        text,
        "\n{} layers lead to the output {}.",
        layers.len(),
        explained.name
    );
    print(&text)
}
