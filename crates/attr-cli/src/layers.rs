//! Runs `attrx layers`.

use std::fmt::Write;

use attr_onnx::Port;

use crate::args::LayersArguments;
use crate::error::Error;
use crate::model::Opened;
use crate::{input, json, print};

/// Lists a model's layers.
pub fn run(arguments: &LayersArguments) -> Result<(), Error> {
    let opened = Opened::new(&arguments.model)?;
    let given = opened.has_inputs(&arguments.model);
    let inputs = if given {
        opened.read(&arguments.model)?.values
    } else {
        input::placeholder(opened.ports(), &opened.device)?
    };
    let guessed = !given && input::is_guessed(opened.ports());
    let traced = opened.trace(&arguments.model, &inputs);
    let traced = traced.map_err(|error| {
        if !guessed {
            return error;
        }
        Error::input(format!(
            "{error} (some input sizes are not in the file and were guessed; give an --input)"
        ))
    })?;
    let layers = traced.layers();
    if arguments.json {
        return json::print(&layers);
    }
    let mut text = String::new();
    let ports = |text: &mut String, what: &str, ports: &[Port]| {
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
    ports(&mut text, "input", opened.ports());
    ports(&mut text, "output", opened.file.outputs());
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
