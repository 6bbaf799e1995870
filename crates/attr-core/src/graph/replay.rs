//! Runs a graph, keeping or replacing any activation.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::exec::{self, Place};
use super::{Graph, SlotId, Source, panic_message, vjp};
use crate::{Error, Value};

/// Which activations outlive their last use.
pub(crate) enum Keep<'a> {
    /// These, and the output.
    Slots(&'a [SlotId]),
    /// Everything: a walk back with rules follows.
    All,
    /// What the true derivative reads, for a walk back to the `active` slots. Of the rest only
    /// the shapes remain, so that Burn may work in place, as it does on its own tape. The slots in
    /// `also` stay as they are.
    Gradient {
        active: &'a [bool],
        also: &'a [SlotId],
    },
}

/// The values of a run's slots, as far as they were kept.
pub(crate) struct Activations {
    values: Vec<Option<Value>>,
    pub place: Place,
}

impl Activations {
    pub fn get(&self, slot: SlotId) -> Result<&Value, Error> {
        self.values[slot]
            .as_ref()
            .ok_or(Error::Internal("an activation was not kept"))
    }

    /// All of several slots.
    pub fn all(&self, slots: &[SlotId]) -> Result<Vec<Value>, Error> {
        slots.iter().map(|&s| self.get(s).cloned()).collect()
    }
}

impl Graph {
    /// Runs the graph on `inputs`. An activation in `replace` takes the place of the computed one
    /// for everything after it.
    pub fn replay(
        &self,
        inputs: &[Value],
        replace: &HashMap<SlotId, Value>,
        keep: Keep<'_>,
    ) -> Result<Activations, Error> {
        let rows = inputs.first().map_or(1, Value::rows);
        let place = Place::new(self.device.clone(), rows);
        let mut values: Vec<Option<Value>> = vec![None; self.slots.len()];
        for (slot, value) in values.iter_mut().enumerate() {
            *value = match &self.slots[slot].source {
                Source::Input(i) => inputs.get(*i).cloned(),
                Source::Parameter(_, value) | Source::Constant(value) => Some(value.clone()),
                Source::Node(_) => None,
            };
            if let Some(replacement) = replace.get(&slot) {
                *value = Some(replacement.clone());
            }
        }
        let (last_use, shapes_remain) = match keep {
            Keep::All => (None, false),
            Keep::Slots(kept) => (Some(self.last_uses(kept)), false),
            Keep::Gradient { active, also } => {
                let mut kept = self.read_back(active);
                kept.extend(also);
                (Some(self.last_uses(&kept)), true)
            }
        };
        for (i, node) in self.nodes.iter().enumerate() {
            if node.outputs.iter().all(|slot| values[*slot].is_some()) {
                continue;
            }
            let mut operands = Vec::with_capacity(node.operands.len());
            for (position, &slot) in node.operands.iter().enumerate() {
                // At its last use a value is handed over, so that Burn may work in place.
                let again = node.operands[position + 1..].contains(&slot);
                let value = match &last_use {
                    Some(last) if last[slot] == Some(i) && !again => {
                        let value = values[slot].take();
                        if shapes_remain {
                            values[slot] = value.as_ref().map(Value::shape_only);
                        }
                        value
                    }
                    _ => values[slot].clone(),
                };
                operands.push(value.ok_or(Error::Internal("a node ran before its operands"))?);
            }
            // Burn checks some values, such as indices, only when it meets them.
            let run = || exec::run(&node.op, operands, &place);
            let outputs = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
                Err(Error::LayerPanicked {
                    layer: node.name.clone(),
                    message: panic_message(panic.as_ref()),
                })
            })?;
            for (&slot, output) in node.outputs.iter().zip(outputs) {
                if values[slot].is_none() {
                    values[slot] = Some(output);
                }
            }
        }
        Ok(Activations { values, place })
    }

    /// The slots whose values the derivative reads, besides parameters and constants.
    fn read_back(&self, active: &[bool]) -> Vec<SlotId> {
        let mut read = Vec::new();
        for node in &self.nodes {
            if !node.outputs.iter().any(|&slot| active[slot]) {
                continue;
            }
            let wanted: Vec<bool> = node.operands.iter().map(|&slot| active[slot]).collect();
            let (operands, outputs) = vjp::reads(&node.op, &wanted);
            // A weight that the model computes itself is read like a parameter.
            let computed = node
                .operands
                .iter()
                .filter(|&&slot| operands || !active[slot]);
            read.extend(computed);
            if outputs {
                read.extend(&node.outputs);
            }
        }
        read
    }

    /// The last node that reads each slot; none for slots that are kept or never read, and for
    /// inputs, parameters and constants, which others hold anyway.
    fn last_uses(&self, kept: &[SlotId]) -> Vec<Option<usize>> {
        let mut last = vec![None; self.slots.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            for &slot in &node.operands {
                last[slot] = Some(i);
            }
        }
        for (slot, last) in last.iter_mut().enumerate() {
            if !matches!(self.slots[slot].source, Source::Node(_)) {
                *last = None;
            }
        }
        for &slot in kept {
            last[slot] = None;
        }
        last[self.output] = None;
        last
    }
}
