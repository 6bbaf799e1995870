//! Models exported for one batch size, run at any.
//!
//! An exporter that is not told that the batch is dynamic writes its size into the targets of
//! reshapes and into constants that are joined with activations. The shapes at the exported size
//! tell where in each tensor the batch is; a reshape then keeps the batch where the row-major order
//! of the elements has it, and a constant is repeated for every row. Whoever uses this compares
//! the result with runs at the exported size: see [`OnnxModel::trace`](crate::OnnxModel::trace).

use std::collections::HashMap;

use attr_core::{Dim, Op};

use crate::call::Call;
use crate::host::Host;
use crate::item::Item;

/// Shapes at the exported batch size, by name, and the size run now.
pub(crate) struct Batch {
    pub exported: usize,
    pub rows: usize,
    pub shapes: HashMap<String, Vec<usize>>,
}

impl Batch {
    /// Changes the inputs of a node that has the exported size written into it.
    pub fn adapt(&self, call: &mut Call<'_>) -> Result<(), String> {
        match &call.node.op[..] {
            "Reshape" => self.reshape(call),
            "Concat" => self.concat(call),
            _ => Ok(()),
        }
    }

    fn exported_shape(&self, call: &Call<'_>, i: usize) -> Option<&Vec<usize>> {
        self.shapes.get(call.node.inputs.get(i)?)
    }

    /// The dimension that the batch leads, and how many elements follow each row there.
    fn place(&self, now: &[usize], exported: &[usize]) -> Option<(usize, usize)> {
        let grows = |d: usize| {
            exported[d]
                .checked_mul(self.rows)
                .is_some_and(|n| n == now[d] * self.exported)
                && exported[d] % self.exported == 0
        };
        // At the exported size nothing grows: then the first dimension that could is taken.
        let dim = match self.rows == self.exported {
            true => return None,
            false => (0..now.len()).find(|&d| grows(d) && now[d] != exported[d])?,
        };
        let after = exported[dim] / self.exported * exported[dim + 1..].iter().product::<usize>();
        Some((dim, after))
    }

    fn reshape(&self, call: &mut Call<'_>) -> Result<(), String> {
        let Some(x) = call
            .optional(0)
            .filter(|x| x.active && call.inputs.len() > 1)
        else {
            return Ok(());
        };
        let (Some(before), Some(output)) = (
            self.exported_shape(call, 0),
            call.node
                .outputs
                .first()
                .and_then(|name| self.shapes.get(name)),
        ) else {
            return Ok(());
        };
        if x.rank() != before.len() {
            return Ok(());
        }
        let Some((_, after)) = self.place(&x.shape, before) else {
            return Ok(());
        };
        let mut target = output.clone();
        // The first dimension at which as many elements remain as follow each row, and that row.
        let dim = (0..target.len()).find(|&d| {
            target[d] % self.exported == 0
                && target[d] / self.exported * target[d + 1..].iter().product::<usize>() == after
        });
        let Some(dim) = dim else {
            return Err(format!(
                "it was exported for a batch of {} and cannot be run at {}",
                self.exported, self.rows
            ));
        };
        target[dim] = target[dim] / self.exported * self.rows;
        let target = target.iter().map(|&d| d as i64).collect();
        call.inputs[1] = Some(Host::ints(target).into());
        Ok(())
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
        let Some(exported) = self.exported_shape(call, active) else {
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
