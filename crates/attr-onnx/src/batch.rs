//! Adapts models exported for one batch size to run at any.
//!
//! Unless told that the batch is dynamic, an exporter writes its size into the targets of reshapes
//! and into constants that are concatenated with activations. The shapes at the exported size show
//! where each tensor has its batch. A reshape then keeps the batch at its position in the row-major
//! order of the elements, and a constant is repeated for every row. The caller compares the result
//! with runs at the exported size: see [`OnnxModel::trace`](crate::OnnxModel::trace).

use std::cell::RefCell;
use std::collections::HashMap;

use attr_core::op::{Dim, Op};

use crate::call::Call;
use crate::host::Host;
use crate::item::Item;

/// The shapes at the exported batch size, by name, and the current number of rows.
pub(crate) struct Batch {
    pub exported: usize,
    pub rows: usize,
    pub shapes: HashMap<String, Vec<usize>>,
    /// For a dimension that holds more than the batch: how much of it varies faster than the batch.
    /// Without an entry, the batch varies slowest in its dimension.
    inner: RefCell<HashMap<String, usize>>,
}

impl Batch {
    pub fn new(exported: usize, rows: usize, shapes: HashMap<String, Vec<usize>>) -> Self {
        Self {
            exported,
            rows,
            shapes,
            inner: RefCell::default(),
        }
    }

    /// Adapts the inputs of a node that contains the exported batch size.
    pub fn adapt(&self, call: &mut Call<'_>) -> Result<(), String> {
        match &call.node.op[..] {
            "Reshape" => self.reshape(call),
            "Concat" => self.concat(call),
            _ => Ok(()),
        }
    }

    /// Records where the outputs of a node have the batch, from where its inputs have it.
    ///
    /// It is an error if a value depends on the input but does not grow with the batch: it uses
    /// only some rows, through indices fixed for the exported batch size.
    pub fn follow(&self, call: &Call<'_>, outputs: &[Item]) -> Result<(), String> {
        let mut inner = self.inner.borrow_mut();
        for (name, output) in call.node.outputs.iter().zip(outputs) {
            let Some(dim) = self.grown(name, &output.shape) else {
                if output.active && self.rows != self.exported {
                    return Err(self.refusal());
                } else {
                    continue;
                }
            };
            if call.node.op == "Reshape" {
                continue;
            }
            let inputs = call.node.inputs.iter().zip(&call.inputs);
            let from = inputs.filter_map(|(input, item)| {
                let shape = &item.as_ref()?.shape;
                let grown = self.grown(input, shape)?;
                (shape[grown] == output.shape[dim]).then_some(inner.get(input).copied()?)
            });
            if let Some(found) = from.last() {
                inner.insert(name.clone(), found);
            }
        }
        Ok(())
    }

    fn refusal(&self) -> String {
        format!(
            "it was exported for a batch of {} and cannot be run at {}",
            self.exported, self.rows
        )
    }

    /// Returns the dimension that grows with the batch, or none at the exported size.
    fn grown(&self, name: &str, now: &[usize]) -> Option<usize> {
        let exported = self
            .shapes
            .get(name)
            .filter(|shape| shape.len() == now.len())?;
        (0..now.len()).find(|&d| {
            let scaled = exported[d].checked_mul(self.rows);
            now[d] != exported[d] && scaled == now[d].checked_mul(self.exported)
        })
    }

    /// Puts the batch into a reshape's target, at its position in the order of the elements.
    fn reshape(&self, call: &mut Call<'_>) -> Result<(), String> {
        let Some(x) = call
            .optional(0)
            .filter(|x| x.active && call.inputs.len() > 1)
        else {
            return Ok(());
        };
        let (Some(input), Some(output)) = (call.node.inputs.first(), call.node.outputs.first())
        else {
            return Ok(());
        };
        let (Some(dim), Some(target)) = (self.grown(input, &x.shape), self.shapes.get(output))
        else {
            return Ok(());
        };
        let exported = &self.shapes[input];
        let inner = self.inner.borrow().get(input).copied();
        let inner = inner.unwrap_or(exported[dim] / self.exported);
        // The number of elements in each step of the batch.
        let after = inner * exported[dim + 1..].iter().product::<usize>();
        let Some((dim, inner)) = self.choose(target, after) else {
            return Err(self.refusal());
        };
        let mut target = target.clone();
        target[dim] = target[dim] / self.exported * self.rows;
        self.inner.borrow_mut().insert(output.clone(), inner);
        let target = target.iter().map(|&d| d as i64).collect();
        call.inputs[1] = Some(Host::ints(target).into());
        Ok(())
    }

    /// Returns the target's dimension for the batch, and how much of it varies faster, given
    /// `after` elements in each step of the batch.
    ///
    /// If two dimensions qualify, a matrix takes the batch in its rows, because exporters flatten
    /// so for products. Other tensors take it in the later dimension, as when splitting off heads.
    fn choose(&self, target: &[usize], after: usize) -> Option<(usize, usize)> {
        let places = (0..target.len()).filter_map(|d| {
            let behind: usize = target[d + 1..].iter().product();
            let inner = after / behind.max(1);
            let whole = target[d].is_multiple_of(self.exported) && after == inner * behind;
            (whole && inner > 0 && (target[d] / self.exported).is_multiple_of(inner))
                .then_some((d, inner))
        });
        let places: Vec<(usize, usize)> = places.collect();
        let alone = places
            .iter()
            .find(|(d, inner)| *inner == 1 && target[*d] == self.exported);
        let either = match target.len() {
            2 => places.first(),
            _ => places.last(),
        };
        alone.or(either).copied()
    }

    /// Repeats a constant that is concatenated with activations, such as a class token, per row.
    fn concat(&self, call: &mut Call<'_>) -> Result<(), String> {
        let along = call.int("axis", 0);
        let Some(active) =
            (0..call.inputs.len()).find(|&i| call.optional(i).is_some_and(|x| x.active))
        else {
            return Ok(());
        };
        let rank = call.input(active)?.rank();
        let along = crate::item::axis(along, rank)?;
        let exported = call
            .node
            .inputs
            .get(active)
            .and_then(|name| self.shapes.get(name));
        let Some(exported) = exported else {
            return Ok(());
        };
        // Exporters put the batch first.
        if along == 0 || exported.first() != Some(&self.exported) {
            return Ok(());
        }
        for i in 0..call.inputs.len() {
            let item: Item = call.input(i)?.clone();
            if item.active
                || item.rank() != rank
                || item.shape[0] != self.exported
                || self.exported != 1
            {
                continue;
            }
            // Recorded at every size, including the exported one, so one graph serves all sizes.
            let mut shape: Vec<Dim> = item.shape.iter().map(|&d| Dim::fixed(d as isize)).collect();
            shape[0] = Dim::fixed(self.rows as isize);
            call.inputs[i] = Some(call.record(Op::Expand(shape), &[&item])?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batch_goes_where_the_order_of_the_elements_has_it() {
        let batch = Batch::new(1, 3, HashMap::new());
        let cases: [(&[usize], usize, usize); 6] = [
            // A leading batch: flattened, split, kept.
            (&[1, 512], 512, 0),
            (&[197, 768], 197 * 768, 0),
            (&[64, 49, 96], 64 * 49 * 96, 0),
            // A batch after a sequence: in the rows of a matrix, before the heads, by itself.
            (&[197, 768], 768, 0),
            (&[197, 12, 64], 768, 1),
            (&[197, 1, 768], 768, 1),
        ];
        for (target, after, expected) in cases {
            let chosen = batch.choose(target, after).map(|(dim, _)| dim);
            assert_eq!(chosen, Some(expected), "{target:?} after {after}");
        }
        assert_eq!(batch.choose(&[7, 5], 6), None);
    }
}
