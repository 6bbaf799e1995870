//! Turns recordings into a graph. Recordings at different batch sizes tell which numbers follow the
//! batch, so that one graph works for any number of rows.
//!
//! ```text
//! record.rs   runs the forward on the capture device of Burn
//! lower.rs    turns each recorded operation into an Op; modules.rs: those of layers
//! lowered.rs  a recorded operation in our terms
//! linear.rs   recognises the linear layer of Burn, which records itself as a product and a sum
//! merge.rs    what two recordings have in common
//! names.rs    names the nodes
//! ```

mod linear;
mod lower;
mod lowered;
mod merge;
mod modules;
mod names;
mod record;

use std::collections::HashMap;

use burn::backend::DispatchDevice;
use burn::backend::ir::{TensorId, TensorIr};
use burn::tensor::Device;

use lowered::Lowered;
use merge::merge;
pub(in crate::graph) use names::Names;
use record::Recording;
pub(crate) use record::{FunctionRecorder, ModuleRecorder, Recorder, Spec, panic_message, tracing};
pub use record::{tap, tap_value};

use super::{Dim, Graph, Node, Op, Place, Slot, SlotId, Source, run};
use crate::{Error, Value};

/// Traces a model for inputs like `specs`.
pub(crate) fn trace(
    recorder: &dyn Recorder,
    specs: &[Spec],
    device: &DispatchDevice,
) -> Result<Graph, Error> {
    let rows = specs.first().map_or(1, |s| s.shape[0]);
    let (mut graph, taps) = assemble(&recorder.record(specs)?, device, rows)?;
    // A model bound to its batch size is still explained, one size at a time.
    let with_more = |more: usize| {
        let mut specs = specs.to_vec();
        specs.iter_mut().for_each(|spec| spec.shape[0] += more);
        let recording = recorder.record(&specs).ok()?;
        let (other, _) = assemble(&recording, device, rows + more).ok()?;
        Some(other)
    };
    let (one, three) = (with_more(1), with_more(3));
    let joined = |other: &Option<Graph>, more: usize| {
        let other = other.as_ref()?;
        join(&graph, other, (rows, rows + more))
    };
    // The second pair checks the first: sizes that do not follow the batch in a straight line (its
    // square, its half) lie on different lines.
    if let (Some(joined), Some(check)) = (joined(&one, 1), joined(&three, 3))
        && agree(&joined, &check)
    {
        graph = joined;
    } else if let Some(one) = one {
        follow(&mut graph, &one, (rows, rows + 1));
    }
    names::assign(&mut graph, &taps);
    fold_constants(&mut graph)?;
    graph.prune(&[graph.output], &[]);
    Ok(graph)
}

/// Turns a recording into a graph bound to its batch size, and returns the tapped slots.
fn assemble(
    recording: &Recording,
    device: &DispatchDevice,
    rows: usize,
) -> Result<(Graph, Vec<(SlotId, String)>), Error> {
    let mut graph = Graph {
        nodes: Vec::new(),
        slots: Vec::new(),
        inputs: Vec::new(),
        output: 0,
        rows: Some(rows),
        device: device.clone(),
        readers: Vec::new(),
        groups: Vec::new(),
        rows_apart: false,
        kernels: Default::default(),
    };
    let mut known: HashMap<TensorId, SlotId> = HashMap::new();
    let parameters: HashMap<TensorId, usize> = recording
        .parameters
        .iter()
        .enumerate()
        .map(|(i, parameter)| (parameter.id, i))
        .collect();
    for operation in &recording.operations {
        let Lowered {
            op,
            operands,
            outputs,
        } = match lower::lower(operation) {
            Ok(Some(lowered)) => lowered,
            Ok(None) => continue,
            Err(operation_name) => {
                return Err(unsupported(graph, &known, operation, operation_name));
            }
        };
        let mut slots = Vec::with_capacity(operands.len());
        for tensor in &operands {
            slots.push(slot_of(tensor, &mut known, &mut graph, recording)?);
        }
        // The operations that made the placeholders: their outputs are inputs and parameters.
        if let [out] = &outputs[..] {
            let input = recording.inputs.iter().position(|id| *id == out.id);
            let source = match (input, parameters.get(&out.id)) {
                (Some(i), _) => Some(Source::Input(i)),
                (None, Some(&i)) => {
                    let parameter = &recording.parameters[i];
                    let path = parameter.path.clone();
                    Some(Source::Parameter(path, parameter.value.clone()))
                }
                (None, None) => None,
            };
            if let Some(source) = source {
                known.insert(out.id, new_slot(&mut graph, out, source));
                continue;
            }
        }
        let node = graph.nodes.len();
        let outputs = outputs
            .iter()
            .map(|out| {
                let slot = new_slot(&mut graph, out, Source::Node(node));
                known.insert(out.id, slot);
                slot
            })
            .collect();
        graph.nodes.push(Node {
            name: String::new(),
            aliases: Vec::new(),
            op,
            operands: slots,
            outputs,
        });
    }
    let find = |id: &TensorId| known.get(id).copied();
    let inputs: Option<Vec<SlotId>> = recording.inputs.iter().map(find).collect();
    graph.inputs = inputs.ok_or(Error::Internal("an input was not recorded"))?;
    graph.output = find(&recording.output).ok_or_else(|| {
        Error::Trace("the model's output is a constant: it does not depend on any input".into())
    })?;
    let taps = recording.taps.iter();
    let mut taps: Vec<(SlotId, String)> = taps
        .filter_map(|(id, name)| Some((find(id)?, name.clone())))
        .collect();
    let wanted: Vec<SlotId> = taps.iter().map(|tap| tap.0).chain([graph.output]).collect();
    linear::recognise(&mut graph, &wanted);
    graph.prune(&wanted, &[]);
    let numbers = renumber(&mut graph);
    taps.retain_mut(|tap| match numbers[tap.0] {
        Some(slot) => {
            tap.0 = slot;
            true
        }
        None => false,
    });
    Ok((graph, taps))
}

/// Numbers slots in order of first use, so that recordings that differ only in what was pruned
/// agree. Returns the new number of each old one.
fn renumber(graph: &mut Graph) -> Vec<Option<SlotId>> {
    let mut numbers: Vec<Option<SlotId>> = vec![None; graph.slots.len()];
    let mut slots = Vec::new();
    let mut number = |slot: &mut SlotId| {
        let new = *numbers[*slot].get_or_insert_with(|| {
            slots.push(graph.slots[*slot].clone());
            slots.len() - 1
        });
        *slot = new;
    };
    graph.inputs.iter_mut().for_each(&mut number);
    for node in &mut graph.nodes {
        node.operands.iter_mut().for_each(&mut number);
        node.outputs.iter_mut().for_each(&mut number);
    }
    number(&mut graph.output);
    graph.slots = slots;
    graph.connect();
    numbers
}

fn new_slot(graph: &mut Graph, tensor: &TensorIr, source: Source) -> SlotId {
    graph.slots.push(Slot {
        shape: tensor
            .shape
            .iter()
            .map(|&d| Dim::fixed(d as isize))
            .collect(),
        dtype: tensor.dtype,
        source,
    });
    graph.slots.len() - 1
}

fn slot_of(
    tensor: &TensorIr,
    known: &mut HashMap<TensorId, SlotId>,
    graph: &mut Graph,
    recording: &Recording,
) -> Result<SlotId, Error> {
    if let Some(&slot) = known.get(&tensor.id) {
        return Ok(slot);
    }
    // A tensor that the forward function, or a plain tensor field of the module, brought along.
    let data = recording.values.get(&tensor.id).cloned();
    let data = data.ok_or(Error::Internal("a recorded tensor has no origin"))?;
    let dtype = Place::new(graph.device.clone(), 1).dtype(data.dtype());
    let value = Value::from_data(
        data.convert_dtype(dtype),
        &Device::new(graph.device.clone()),
    );
    let slot = new_slot(graph, tensor, Source::Constant(value));
    known.insert(tensor.id, slot);
    Ok(slot)
}

/// The error for an operation outside the set, naming the layer whose output it reads.
fn unsupported(
    mut graph: Graph,
    known: &HashMap<TensorId, SlotId>,
    operation: &burn::backend::ir::OperationIr,
    operation_name: String,
) -> Error {
    graph.inputs = (0..graph.slots.len())
        .filter(|&slot| matches!(graph.slots[slot].source, Source::Input(_)))
        .collect();
    names::assign(&mut graph, &[]);
    let before = operation
        .inputs()
        .filter_map(|tensor| known.get(&tensor.id));
    let layer = before
        .filter_map(|&slot| match &graph.slots[slot].source {
            Source::Node(node) => Some(graph.nodes[*node].name.clone()),
            Source::Input(_) => Some("input".into()),
            Source::Parameter(path, _) => Some(path.clone()),
            Source::Constant(_) => None,
        })
        .next();
    Error::UnsupportedOperation {
        operation: operation_name,
        layer: layer.unwrap_or_else(|| "constant".into()),
    }
}

/// Notes which sizes of a graph that stays bound to its rows follow the batch, if a recording at
/// another batch size has the same operations.
fn follow(graph: &mut Graph, other: &Graph, rows: (usize, usize)) {
    let mut nodes = graph.nodes.iter().zip(&other.nodes);
    let alike = graph.nodes.len() == other.nodes.len() && graph.slots.len() == other.slots.len();
    if !alike || nodes.any(|(a, b)| a.op.name() != b.op.name() || a.outputs != b.outputs) {
        return;
    }
    for (slot, other) in graph.slots.iter_mut().zip(&other.slots) {
        let sizes = slot.shape.iter().zip(&other.shape);
        let lines = sizes.map(|(a, b)| Dim::through(a.fixed, b.fixed, rows));
        let lines: Option<Vec<Dim>> = lines.collect();
        if let Some(lines) = lines.filter(|lines| lines.len() == other.shape.len()) {
            slot.shape = lines;
        }
    }
}

/// The graph that fits both batch sizes and so all; `None` if they differ in more than sizes.
fn join(a: &Graph, b: &Graph, rows: (usize, usize)) -> Option<Graph> {
    if a.nodes.len() != b.nodes.len()
        || a.slots.len() != b.slots.len()
        || a.inputs != b.inputs
        || a.output != b.output
    {
        return None;
    }
    let mut joined = a.clone();
    joined.rows = None;
    for (i, (a, b)) in a.nodes.iter().zip(&b.nodes).enumerate() {
        if a.operands != b.operands || a.outputs != b.outputs {
            return None;
        }
        joined.nodes[i].op = merge(&a.op, &b.op, rows)?;
    }
    for (i, (a, b)) in a.slots.iter().zip(&b.slots).enumerate() {
        let same_source = match (&a.source, &b.source) {
            (Source::Input(a), Source::Input(b)) => a == b,
            (Source::Parameter(a, _), Source::Parameter(b, _)) => a == b,
            (Source::Node(a), Source::Node(b)) => a == b,
            (Source::Constant(a), Source::Constant(b)) => a.to_data().ok()? == b.to_data().ok()?,
            _ => false,
        };
        if !same_source || a.dtype != b.dtype || a.shape.len() != b.shape.len() {
            return None;
        }
        let dims = a.shape.iter().zip(&b.shape);
        joined.slots[i].shape = dims
            .map(|(a, b)| Dim::through(a.fixed, b.fixed, rows))
            .collect::<Option<_>>()?;
    }
    Some(joined)
}

/// Whether two joined graphs give the same sizes for every batch.
fn agree(a: &Graph, b: &Graph) -> bool {
    let nodes = a.nodes.iter().zip(&b.nodes).all(|(a, b)| a.op == b.op);
    nodes
        && a.slots
            .iter()
            .zip(&b.slots)
            .all(|(a, b)| a.shape == b.shape)
}

/// Computes once what depends on neither the inputs nor the batch: transposed weights, position
/// codes, masks. A parameter whose elements are only moved or cast stays a parameter.
pub(super) fn fold_constants(graph: &mut Graph) -> Result<(), Error> {
    let active = graph.dependents(&graph.inputs);
    let place = Place::new(graph.device.clone(), 1);
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        let values: Option<Vec<Value>> = node
            .operands
            .iter()
            .map(|&slot| graph.value_of(slot).cloned())
            .collect();
        let follows_batch = node
            .outputs
            .iter()
            .any(|&s| active[s] || graph.slots[s].shape.iter().any(|d| d.per_row != 0));
        match values {
            Some(values) if !follows_batch => {
                let outputs = run::run(&node.op, values, &place)?;
                let moved = matches!(node.op, Op::Reshape(_) | Op::Permute(_) | Op::Cast(_));
                let path = match node.operands.first().map(|&slot| &graph.slots[slot].source) {
                    Some(Source::Parameter(path, _)) if moved => Some(path.clone()),
                    _ => None,
                };
                for (&slot, value) in node.outputs.iter().zip(outputs) {
                    graph.slots[slot].source = match &path {
                        Some(path) => Source::Parameter(path.clone(), value),
                        None => Source::Constant(value),
                    };
                }
            }
            _ => nodes.push(node),
        }
    }
    graph.nodes = nodes;
    graph.connect();
    Ok(())
}
