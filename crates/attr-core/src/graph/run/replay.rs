//! Runs a graph, keeping or replacing any activation.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Place, run_node};
use crate::graph::op::Op;
use crate::graph::{Graph, Node, SlotId, Source, panic_message};
use crate::{Error, Value};

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

    /// Joins the values of parts of a batch: the rows of those that vary, which have the batch
    /// first; the others are the same everywhere.
    pub fn joined(parts: Vec<&Self>, varies: &[bool]) -> Result<Self, Error> {
        let first = parts.first().ok_or(Error::Internal("no parts to join"))?;
        let mut place = first.place.clone();
        place.rows = parts.iter().map(|part| part.place.rows).sum();
        let values = first.values.iter().enumerate().map(|(slot, value)| {
            if !varies[slot] {
                return Ok(value.clone());
            }
            let each = parts.iter().map(|part| part.values[slot].clone());
            let each: Option<Vec<Value>> = each.collect();
            each.map(Value::cat_rows).transpose()
        });
        let values = values.collect::<Result<_, Error>>()?;
        Ok(Self { values, place })
    }

    /// The values of several slots.
    pub fn all(&self, slots: &[SlotId]) -> Result<Vec<Value>, Error> {
        slots.iter().map(|&s| self.get(s).cloned()).collect()
    }
}

impl Graph {
    /// Runs the graph on `inputs`. An activation in `replace` takes the place of the computed one
    /// for everything after it. The output and the slots in `keep` outlive their last use.
    pub fn replay(
        &self,
        inputs: &[Value],
        replace: &HashMap<SlotId, Value>,
        keep: &[SlotId],
    ) -> Result<Activations, Error> {
        let rows = inputs.first().map_or(1, Value::rows);
        let place = Place::of(self, rows);
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
        let last_use = self.last_uses(keep);
        for (i, node) in self.nodes.iter().enumerate() {
            if node.outputs.iter().all(|slot| values[*slot].is_some()) {
                continue;
            }
            let mut operands = Vec::with_capacity(node.operands.len());
            for (position, &slot) in node.operands.iter().enumerate() {
                // At its last use a value is moved, so that Burn may work in place.
                let again = node.operands[position + 1..].contains(&slot);
                let value = if last_use[slot] == Some(i) && !again {
                    values[slot].take()
                } else {
                    values[slot].clone()
                };
                operands.push(value.ok_or(Error::Internal("a node ran before its operands"))?);
            }
            let after = self.activation_after(i, &last_use).filter(|after| {
                let slots = node.outputs.iter().chain(&after.outputs);
                slots.copied().all(|slot| values[slot].is_none())
            });
            // Burn checks some values, such as indices, only when it reads them.
            let (slots, outputs) = caught(&node.name, || {
                run_node(node, after, &node.op, operands, &place)
            })?;
            for (&slot, output) in slots.iter().zip(outputs) {
                if values[slot].is_none() {
                    values[slot] = Some(output);
                }
            }
        }
        Ok(Activations { values, place })
    }

    /// The activation that alone reads what node `i` computes, if they may run as one: nothing in
    /// between is kept.
    pub fn activation_after(&self, i: usize, last_use: &[Option<usize>]) -> Option<&Node> {
        let [slot] = self.nodes[i].outputs[..] else {
            return None;
        };
        let reader = self.sole_reader(slot)?;
        let after = &self.nodes[reader];
        let activation = matches!(after.op, Op::Relu | Op::Clamp { .. });
        (activation && last_use[slot] == Some(reader)).then_some(after)
    }

    /// The last node that reads each slot; `None` for slots that are kept or never read, and for
    /// inputs, parameters and constants, which others hold anyway.
    pub fn last_uses(&self, kept: &[SlotId]) -> Vec<Option<usize>> {
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

/// Runs `f` and turns a panic into an error: Burn may panic on values that a layer cannot work on.
pub(crate) fn caught<T>(layer: &str, f: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        Err(Error::LayerPanicked {
            layer: layer.into(),
            message: panic_message(panic.as_ref()),
        })
    })
}
