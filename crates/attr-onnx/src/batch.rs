//! Models exported for one batch size, run at any.
//!
//! An exporter that is not told that the batch is dynamic writes its size into the targets of
//! reshapes and into constants that are joined with activations. The shapes at the exported size
//! tell where in each tensor the batch is; a reshape then keeps the batch where the row-major order
//! of the elements has it, and a constant is repeated for every row. Whoever uses this compares
//! the result with runs at the exported size: see [`OnnxModel::trace`](crate::OnnxModel::trace).

use std::cell::RefCell;
use std::collections::HashMap;

use attr_core::op::{Dim, Op};

use crate::call::Call;
use crate::host::Host;
use crate::item::Item;

/// Shapes at the exported batch size, by name, and the size run now.
pub(crate) struct Batch {
    pub exported: usize,
    pub rows: usize,
    pub shapes: HashMap<String, Vec<usize>>,
    /// Where a dimension holds more than the batch: how much of it varies faster than the batch.
    /// The batch leads its dimension unless something else is said here.
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

    /// Changes the inputs of a node that has the exported size written into it.
    pub fn adapt(&self, call: &mut Call<'_>) -> Result<(), String> {
        match &call.node.op[..] {
            "Reshape" => self.reshape(call),
            "Concat" => self.concat(call),
            _ => Ok(()),
        }
    }

    /// Notes where the outputs of a node have the batch: where its inputs had it.
    ///
    /// A value that depends on the input and does not grow with the batch was made of some rows
    /// only, by indices that the exporter worked out for its own batch size: an error.
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

    /// The dimension that follows the batch; none at the exported size, where nothing differs.
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

    /// Gives the target of a reshape the batch at the place that the order of the elements has it.
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
        // So many elements follow each step of the batch.
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

    /// The dimension of a target that takes the batch, and how much of it varies faster, when
    /// `after` elements follow each step of the batch.
    ///
    /// Between two dimensions it could be either's. It is the rows' of a matrix, which is how
    /// exporters flatten for a product, and otherwise the later one's: heads are split off so.
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

    /// A constant that is joined with activations, such as a class token, gets a row for each.
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
            // Recorded at every size, the exported one included: one graph then serves them all.
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
            // A batch that leads: flattened, split, kept.
            (&[1, 512], 512, 0),
            (&[197, 768], 197 * 768, 0),
            (&[64, 49, 96], 64 * 49 * 96, 0),
            // Behind a sequence: as rows of a matrix, before the heads, on its own.
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
