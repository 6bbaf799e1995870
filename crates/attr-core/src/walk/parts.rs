//! A forward pass in parts of the batch that run side by side, on threads of their own.

use std::ops::Range;
use std::sync::OnceLock;

use super::plan::Plan;
use super::stand::{Forward, Stand};
use super::stretches;
use super::traverse::{Walk, Walked, traverse};
use crate::graph::{self, Activations, SlotId};
use crate::method::Counter;
use crate::{Error, Value, Values};

/// The parts of a forward pass, in the order of their rows.
pub(super) struct Parts {
    /// All rows.
    pub inputs: Values,
    pub reference: Option<Values>,
    /// At least one. Where there are several, every value that depends on an input has the batch
    /// first.
    parts: Vec<Forward>,
    whole: OnceLock<Forward>,
}

/// What a walk does on one part.
struct Piece<'p, 'w> {
    forward: &'p Forward,
    /// Rows of the part.
    rows: Vec<usize>,
    walk: Walk<'w>,
}

impl Parts {
    /// Runs the plan's graph on `inputs`, which have been checked, and on the reference.
    pub fn new(
        plan: &Plan,
        inputs: Values,
        reference: Option<Values>,
        work: &Counter,
    ) -> Result<Self, Error> {
        let graph = &plan.choices.graph;
        let parts = graph::by_parts(graph, inputs.rows(), |rows: Range<usize>| {
            let reference = reference.as_ref().map(|values| values.slice(rows.clone()));
            Forward::new(plan, inputs.slice(rows), reference, work.clone())
        });
        work.count(inputs.rows(), 1 + usize::from(reference.is_some()), 0);
        Ok(Self {
            parts: parts.into_iter().collect::<Result<_, _>>()?,
            whole: OnceLock::new(),
            inputs,
            reference,
        })
    }

    pub fn plan(&self) -> &Plan {
        &self.parts[0].plan
    }

    pub fn work(&self) -> &Counter {
        &self.parts[0].work
    }

    /// An activation of the inputs, if it was kept.
    pub fn activation(&self, slot: SlotId) -> Result<Value, Error> {
        let each = self.parts.iter().map(|part| part.run.get(slot).cloned());
        self.joined(slot, each.collect::<Result<_, _>>()?)
    }

    /// An activation of the reference, if it was kept; `None` if there is no reference.
    pub fn reference_activation(&self, slot: SlotId) -> Result<Option<Value>, Error> {
        let each = self.parts.iter().map(|part| part.reference.as_ref());
        let each = each.map(|one| one.map(|(_, run)| run.get(slot).cloned()).transpose());
        let each: Vec<Option<Value>> = each.collect::<Result<_, _>>()?;
        let each: Option<Vec<Value>> = each.into_iter().collect();
        each.map(|each| self.joined(slot, each)).transpose()
    }

    fn joined(&self, slot: SlotId, mut each: Vec<Value>) -> Result<Value, Error> {
        if self.plan().choices.facts.varies[slot] {
            Value::cat_rows(each)
        } else {
            Ok(each.swap_remove(0))
        }
    }

    /// The parts as one, for walks whose rows run together.
    pub fn whole(&self) -> Result<&Forward, Error> {
        if let [part] = &self.parts[..] {
            return Ok(part);
        }
        if let Some(whole) = self.whole.get() {
            return Ok(whole);
        }
        let varies = &self.plan().choices.facts.varies;
        let runs = self.parts.iter().map(|part| &part.run).collect();
        let run = Activations::joined(runs, varies)?;
        let reference = match &self.reference {
            Some(values) => {
                let each = self.parts.iter().filter_map(|part| part.reference.as_ref());
                let runs = each.map(|(_, run)| run).collect();
                Some((values.clone(), Activations::joined(runs, varies)?))
            }
            None => None,
        };
        let whole = Forward::of(
            self.plan(),
            (self.inputs.clone(), run),
            reference,
            self.work(),
        );
        Ok(self.whole.get_or_init(|| whole))
    }

    /// Walks on `rows`, or on all of them.
    pub fn walk(&self, rows: Option<&[usize]>, walk: Walk<'_>) -> Result<Walked, Error> {
        // What rules computed for the whole pass is not computed again for its parts.
        let apart = self.whole.get().is_none();
        if apart && let Some(pieces) = self.pieces(rows, &walk)? {
            let device = &self.plan().graph().device;
            let walked = graph::in_parallel(device, pieces, |piece| {
                let Piece {
                    forward,
                    rows,
                    walk,
                } = piece;
                walk_on(forward, Some(&rows), walk)
            });
            return Walked::joined(walked.into_iter().collect::<Result<_, _>>()?);
        }
        let whole = self.whole()?;
        let count = rows.map_or(self.inputs.rows(), <[usize]>::len);
        graph::together(self.plan().graph(), count, || walk_on(whole, rows, walk))
    }

    /// What a walk does on each part; `None` if its rows run together.
    fn pieces<'w>(
        &self,
        rows: Option<&[usize]>,
        walk: &Walk<'w>,
    ) -> Result<Option<Vec<Piece<'_, 'w>>>, Error> {
        let count = rows.map_or(self.inputs.rows(), <[usize]>::len);
        let (Some(layers), true) = (walk.separable(), walk.fits(count)) else {
            return Ok(None);
        };
        let mut pieces = Vec::with_capacity(self.parts.len());
        let (mut first, mut taken) = (0, 0);
        for forward in &self.parts {
            let own = first..first + forward.inputs.rows();
            let here: Vec<usize> = match rows {
                Some(rows) => {
                    let here = rows[taken..].iter().take_while(|row| own.contains(row));
                    here.map(|row| row - own.start).collect()
                }
                None => (0..own.len()).collect(),
            };
            let part = taken..taken + here.len();
            (first, taken) = (own.end, part.end);
            if !here.is_empty() {
                pieces.push(Piece {
                    forward,
                    walk: walk.part(part, layers)?,
                    rows: here,
                });
            }
        }
        // Rows that are not in the order of the parts run together.
        Ok((pieces.len() > 1 && taken == count).then_some(pieces))
    }
}

/// Walks on `rows` of a part, or on all of them.
fn walk_on(forward: &Forward, rows: Option<&[usize]>, walk: Walk<'_>) -> Result<Walked, Error> {
    let total = forward.inputs.rows();
    match rows.filter(|rows| !rows.iter().copied().eq(0..total)) {
        Some(rows) => stretches::walk(forward, rows, walk),
        None => traverse(Stand::on_all(forward), walk),
    }
}
