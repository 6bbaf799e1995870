//! Rows that run side by side: on a CPU, parts of a batch go through the whole graph on threads of
//! their own, which also keeps those operations busy that use one thread only.

use std::sync::Arc;

use crate::graph::{Graph, by_parts};
use crate::{Error, Value, Values};

/// Computes a graph's output for all rows.
pub(super) fn forward(graph: &Arc<Graph>, values: &Values) -> Result<Value, Error> {
    let run = |values: &Values| {
        let run = graph.replay(values.values(), &Default::default(), &[])?;
        run.get(graph.output).cloned()
    };
    let outputs = by_parts(graph, values.rows(), |rows| run(&values.slice(rows)));
    Value::cat_rows(outputs.into_iter().collect::<Result<_, _>>()?)
}
