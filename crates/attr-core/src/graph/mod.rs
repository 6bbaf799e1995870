//! A traced model as a graph: nodes in execution order over numbered slots.
//!
//! ```text
//! record.rs  runs the user's forward on Burn's capture device        (knows Burn's recordings)
//! lower.rs   turns each recorded operation into an Op                (knows Burn's recordings)
//!            modules.rs  those of layers: convolutions, pools, norms  (knows Burn's recordings)
//! build.rs   joins recordings into one graph for every batch size
//! linear.rs  recognises Burn's linear layer, which records itself as a product and a sum
//! names.rs   names the nodes
//! edit.rs    cuts and folds graphs: from a layer, up to a layer, BatchNorm into convolutions
//! exec.rs    runs one node, with elementwise.rs, reduce.rs, conv.rs, pool.rs
//! vjp.rs     pulls one node's gradient back
//! replay.rs  runs a graph             rule.rs   walks a graph backwards by rules
//! nearby.rs  runs a graph on what a window of the input reaches: boxes of region.rs
//! ```

mod build;
mod conv;
mod dim;
pub(crate) mod edit;
mod elementwise;
mod exec;
mod linear;
mod lower;
mod modules;
mod names;
mod nearby;
mod op;
mod pool;
mod record;
mod reduce;
mod region;
mod replay;
mod rule;
mod vjp;

use std::collections::HashSet;

use burn::backend::DispatchDevice;
use burn::tensor::DType;

pub(crate) use build::trace;
pub use dim::{Dim, SliceDim};
pub(crate) use exec::Place;
pub use op::{
    Binary, Compare, ConvGeometry, Cumulative, GridPadding, Interpolation, Number, Op, Padding,
    PoolGeometry, Reduce, Unary,
};
pub(crate) use record::{FunctionRecorder, ModuleRecorder, Recorder, Spec, panic_message, tracing};
pub use record::{tap, tap_value};
pub(crate) use replay::{Activations, Keep};
pub(crate) use rule::Walker;
pub use rule::{Edit, Gate, Gradient, NodeView, Role, Rule, Rules, Walk, WalkSeeds, Walked, Walks};
pub(crate) use vjp::{backward, leaf};

use crate::Value;

pub(crate) type SlotId = usize;

/// Where a slot's value comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The model's input of that number.
    Input(usize),
    /// A parameter of the module, by path.
    Parameter(String, Value),
    /// A tensor that depends on no input.
    Constant(Value),
    /// An output of that node.
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
    pub op: Op,
    pub operands: Vec<SlotId>,
    pub outputs: Vec<SlotId>,
}

/// A model's computation. Slot numbers are stable under edits: cutting a graph removes nodes and
/// changes what its inputs are, and leaves every other number alone.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    pub nodes: Vec<Node>,
    pub slots: Vec<Slot>,
    pub inputs: Vec<SlotId>,
    pub output: SlotId,
    /// The number of rows it is bound to; none when it serves every number.
    pub rows: Option<usize>,
    pub device: DispatchDevice,
}

impl Graph {
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

    /// Tells every slot that a node produces which node that is.
    pub fn connect(&mut self) {
        for (i, node) in self.nodes.iter().enumerate() {
            for &slot in &node.outputs {
                self.slots[slot].source = Source::Node(i);
            }
        }
    }

    /// The value of a slot that is a parameter or a constant.
    pub fn value_of(&self, slot: SlotId) -> Option<&Value> {
        match &self.slots[slot].source {
            Source::Parameter(_, value) | Source::Constant(value) => Some(value),
            Source::Input(_) | Source::Node(_) => None,
        }
    }

    /// Bytes of all float activations for one further row.
    pub fn bytes_per_row(&self) -> usize {
        let depends = self.dependents(&self.inputs);
        self.slots
            .iter()
            .zip(depends)
            .filter(|(slot, depends)| *depends && slot.dtype.is_float())
            .map(|(slot, _)| {
                let elements =
                    |rows| -> isize { slot.shape.iter().map(|d| d.at(rows).max(0)).product() };
                // A graph bound to its batch size shares its activations among those rows.
                let each = match self.rows {
                    Some(rows) => elements(rows) / (rows.max(1) as isize),
                    None => elements(2) - elements(1),
                };
                each.max(0) as usize * slot.dtype.size()
            })
            .sum()
    }
}
