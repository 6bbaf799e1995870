//! A traced model as a graph: nodes in execution order over numbered slots.
//!
//! ```text
//! op.rs        what a node computes; dim.rs: sizes that follow the batch
//! trace/       makes a graph of a model's own forward: the only place that knows Burn's recordings
//! run/         runs one node, and a whole graph
//! nearby/      runs a graph on what a window of the input reaches
//! derivative/  pulls what arrives at one node back to its operands
//! apart.rs     whether rows are computed one by one
//! facts.rs     what is known of values and nodes before anything runs
//! memory.rs    how much memory values take
//! groups/      nodes that a rule may treat as one: SiLU, GELU, RMSNorm
//! edit/        cuts, folds and expands graphs
//! ```

mod apart;
mod derivative;
mod dim;
pub(crate) mod edit;
mod facts;
mod groups;
mod memory;
mod nearby;
mod op;
mod run;
mod trace;

use std::collections::HashSet;
use std::sync::Arc;

use burn::backend::DispatchDevice;
use burn::tensor::DType;

pub(crate) use apart::{by_parts, together};
pub(crate) use derivative::{Body, Run, backward, leaf, reads, vjp};
pub use dim::{Dim, SliceDim};
pub(crate) use groups::Group;
pub use groups::{GroupKind, LayerGroup};
pub use nearby::NearRow;
pub use op::{
    Binary, Compare, ConvGeometry, Cumulative, GridPadding, Interpolation, Number, Op, Padding,
    PoolGeometry, Reduce, Unary,
};
use run::Kernels;
pub(crate) use run::in_parallel;
pub(crate) use run::{Activations, Place, caught};
pub(crate) use trace::{
    FunctionRecorder, ModuleRecorder, Recorder, Spec, panic_message, trace, tracing,
};
pub use trace::{tap, tap_value};

use crate::{Error, Value};

pub(crate) type SlotId = usize;

/// Where a slot's value comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The model's input with that number.
    Input(usize),
    /// A parameter of the module, by path.
    Parameter(String, Value),
    /// A tensor that depends on no input.
    Constant(Value),
    /// An output of the node with that index.
    Node(usize),
}

/// A tensor of the graph.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub shape: Vec<Dim>,
    pub dtype: DType,
    pub source: Source,
}

/// An operation of the graph.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub name: String,
    /// Other names of the node: those of layers that an edit merged into it.
    pub aliases: Vec<String>,
    pub op: Op,
    pub operands: Vec<SlotId>,
    pub outputs: Vec<SlotId>,
}

/// A model's computation. Slot numbers are stable under edits: cutting a graph removes nodes and
/// changes its inputs, but leaves every other number alone.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    pub nodes: Vec<Node>,
    pub slots: Vec<Slot>,
    pub inputs: Vec<SlotId>,
    pub output: SlotId,
    /// The number of rows that the graph is bound to; `None` if it works for any number.
    pub rows: Option<usize>,
    pub device: DispatchDevice,
    /// Per slot, the nodes that read it, once each, in execution order. Reading the output from
    /// outside does not count.
    pub readers: Vec<Vec<usize>>,
    /// Groups of nodes that a rule may treat as one, in execution order of their last nodes. No
    /// node is in two groups.
    pub groups: Vec<Group>,
    /// Whether each row of a batch is known to be computed on its own.
    pub rows_apart: bool,
    /// What the kernels keep of the weights, also for the graphs that edits make of this one.
    pub kernels: Arc<Kernels>,
}

impl Graph {
    /// The only node that reads a slot, if it reads it once and the slot is not the output.
    pub fn sole_reader(&self, slot: SlotId) -> Option<usize> {
        let &[reader] = self.readers.get(slot)?.as_slice() else {
            return None;
        };
        let times = self.nodes[reader].operands.iter();
        let once = times.filter(|&&operand| operand == slot).count() == 1;
        (once && slot != self.output).then_some(reader)
    }

    /// Which slots depend on one of `from`.
    pub fn dependents(&self, from: &[SlotId]) -> Vec<bool> {
        let mut depends = vec![false; self.slots.len()];
        for &slot in from {
            depends[slot] = true;
        }
        for node in &self.nodes {
            if node.operands.iter().any(|&slot| depends[slot]) {
                for &output in &node.outputs {
                    depends[output] = true;
                }
            }
        }
        depends
    }

    /// Drops the nodes that none of `wanted` needs, taking `given` slots as they are.
    pub fn prune(&mut self, wanted: &[SlotId], given: &[SlotId]) {
        let given: HashSet<SlotId> = given.iter().copied().collect();
        let mut needed: HashSet<SlotId> = wanted.iter().copied().collect();
        let mut keep = vec![false; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate().rev() {
            let produces = |slot: &SlotId| needed.contains(slot) && !given.contains(slot);
            if node.outputs.iter().any(produces) {
                keep[i] = true;
                needed.extend(node.operands.iter().copied());
            }
        }
        let mut i = 0;
        self.nodes.retain(|_| {
            i += 1;
            keep[i - 1]
        });
        self.connect();
    }

    /// Updates what follows from the nodes: which node produces each slot, which nodes read it, and
    /// the groups. Every edit ends with this.
    pub fn connect(&mut self) {
        self.readers = vec![Vec::new(); self.slots.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            for &slot in &node.outputs {
                self.slots[slot].source = Source::Node(i);
            }
            for &slot in &node.operands {
                if self.readers[slot].last() != Some(&i) {
                    self.readers[slot].push(i);
                }
            }
        }
        self.groups = groups::find(self);
        self.rows_apart = self.keeps_rows_apart();
    }

    /// The value of a slot that is a parameter or a constant.
    pub fn value_of(&self, slot: SlotId) -> Option<&Value> {
        match &self.slots[slot].source {
            Source::Parameter(_, value) | Source::Constant(value) => Some(value),
            Source::Input(_) | Source::Node(_) => None,
        }
    }

    /// A slot's shape for the given number of rows.
    pub fn shape_at(&self, slot: SlotId, rows: usize) -> Vec<usize> {
        let dims = self.slots[slot].shape.iter();
        dims.map(|dim| dim.at(rows).max(0) as usize).collect()
    }

    /// The batch dimension of a slot, or `None` if it has none; an error if the batch is only a
    /// factor or a part of a dimension.
    pub fn batch(&self, slot: SlotId) -> Result<Option<usize>, Error> {
        let dims = self.slots[slot].shape.iter().enumerate();
        let mut follows = dims.filter(|(_, dim)| dim.per_row != 0);
        match (follows.next(), follows.next()) {
            (None, _) => Ok(None),
            (Some((at, dim)), None) if dim.fixed == 0 && dim.per_row == 1 => Ok(Some(at)),
            _ => Err(Error::Internal("the batch is not a separate dimension")),
        }
    }

    /// Refuses a layer whose rows are not along dimension 0, where methods look for them.
    ///
    /// In a graph bound to its rows it may be unknown which dimension is the batch. Then the first
    /// must have as many.
    pub fn check_batch_first(&self, slot: SlotId, name: &str) -> Result<(), Error> {
        let shape = &self.slots[slot].shape;
        let rows = self.rows.map(|rows| Dim::fixed(rows as isize));
        match self.batch(slot) {
            Ok(Some(0)) => Ok(()),
            Ok(None) if rows.is_some() && shape.first() == rows.as_ref() => Ok(()),
            _ => {
                let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
                Err(Error::Layer {
                    name: name.into(),
                    reason: format!(
                        "dimension 0 of its output [{}] is not the batch; choose a layer before or \
                         after, where it is",
                        sizes.join(", ")
                    ),
                })
            }
        }
    }
}

pub(crate) fn add(a: Value, b: Value) -> Value {
    use burn::backend::Dispatch;
    use burn::backend::ops::FloatTensorOps;
    Value::from_dispatch(Dispatch::float_add(a.into_dispatch(), b.into_dispatch()))
}
