//! Rows that run side by side: on a CPU, parts of a batch go through the whole graph on threads of
//! their own, which also keeps those operations busy that use one thread only.

use std::ops::Range;
use std::sync::Arc;

use super::{Gradients, Seeds, Traced};
use crate::graph::{Graph, in_parallel, parts};
use crate::walk::{GradientEverywhere, Pass, Walk};
use crate::{Error, Kind, Value, Values};

/// Computes a graph's output for all rows.
pub(super) fn forward(graph: &Arc<Graph>, values: &Values) -> Result<Value, Error> {
    let run = |values: &Values| {
        let run = graph.replay(values.values(), &Default::default(), &[])?;
        run.get(graph.output).cloned()
    };
    let parts = parts(graph, values.rows());
    if parts.len() == 1 {
        return run(values);
    }
    let outputs = in_parallel(&graph.device, parts, |rows| run(&values.slice(rows)));
    Value::cat_rows(outputs.into_iter().collect::<Result<_, _>>()?)
}

/// Computes the gradients of a model's output for all rows.
pub(super) fn gradients(
    model: &Traced,
    values: &Values,
    seeds: &Seeds<'_>,
) -> Result<Gradients, Error> {
    let plan = model.plan(&GradientEverywhere, values)?;
    let parts = parts(plan.graph(), values.rows());
    let device = &plan.graph().device;
    let passes = in_parallel(device, parts, |rows| {
        let pass = model.pass(&values.slice(rows.clone()), &plan)?;
        Ok((rows, pass))
    });
    let passes: Vec<(Range<usize>, Pass)> = passes.into_iter().collect::<Result<_, Error>>()?;
    let outputs = passes.iter().map(|(_, pass)| pass.output());
    let output = Value::cat_rows(outputs.collect::<Result<_, _>>()?)?;
    if output.kind() != Kind::Float {
        return Err(Error::NoGradient { input: 0 });
    }
    let seeds = seeds(&output)?;
    let walked = in_parallel(device, passes, |(rows, pass)| {
        let walk = |seed: &Value| {
            let seed = if seed.rows() == values.rows() {
                seed.slice_rows(rows.clone())
            } else {
                seed.clone()
            };
            Ok(pass.walk(Walk::from_output(seed))?.inputs)
        };
        seeds.iter().map(walk).collect::<Result<Vec<_>, Error>>()
    });
    let walked: Vec<Vec<Vec<Option<Value>>>> = walked.into_iter().collect::<Result<_, Error>>()?;
    let joined = |seed: usize, input: usize| {
        let of_parts = walked.iter().map(|part| part[seed][input].clone());
        // Whether anything arrives depends on the graph, not on the rows.
        let of_parts: Option<Vec<Value>> = of_parts.collect();
        of_parts.map(Value::cat_rows).transpose()
    };
    let of_seed = |seed: usize| (0..walked[0][seed].len()).map(move |input| (seed, input));
    let inputs = (0..seeds.len()).map(|seed| {
        let each = of_seed(seed).map(|(seed, input)| joined(seed, input));
        each.collect::<Result<Vec<_>, Error>>()
    });
    Ok(Gradients {
        inputs: inputs.collect::<Result<_, Error>>()?,
        forward_passes: 1,
        output,
    })
}
