//! Matches patterns of nodes, backwards from the node that produces a pattern's output.

use crate::graph::op::{Binary, Op, Reduce, Unary, number};
use crate::graph::{Dim, Graph, Node, SlotId, Source};

/// A match in progress: the graph, and the nodes that belong to the pattern so far.
pub(super) struct Pattern<'a> {
    pub graph: &'a Graph,
    /// Per slot, the node that produces it. Slots that are inputs have none, whatever they were
    /// before the graph was cut.
    producers: &'a [Option<usize>],
    pub nodes: Vec<usize>,
}

/// Per slot, the node that produces it.
pub(super) fn producers(graph: &Graph) -> Vec<Option<usize>> {
    let mut producers = vec![None; graph.slots.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        for &slot in &node.outputs {
            producers[slot] = Some(i);
        }
    }
    for &input in &graph.inputs {
        producers[input] = None;
    }
    producers
}

/// Whether two recorded numbers are the same constant. Files and code give constants with six
/// digits or more.
pub(super) fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-5 * b.abs()
}

impl<'a> Pattern<'a> {
    pub fn new(graph: &'a Graph, producers: &'a [Option<usize>]) -> Self {
        Self {
            graph,
            producers,
            nodes: Vec::new(),
        }
    }

    /// Tries a part of a pattern; if it does not match, its nodes do not count.
    pub fn attempt<T>(&mut self, part: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let before = self.nodes.len();
        let result = part(self);
        if result.is_none() {
            self.nodes.truncate(before);
        }
        result
    }

    /// The node whose only output is `slot`, if `accept` accepts its operation, with the result of
    /// `accept`.
    pub fn node<T>(
        &mut self,
        slot: SlotId,
        accept: impl FnOnce(&'a Op) -> Option<T>,
    ) -> Option<(T, &'a Node)> {
        let i = self.producers[slot]?;
        let node = &self.graph.nodes[i];
        if node.outputs.len() != 1 {
            return None;
        }
        let found = accept(&node.op)?;
        self.nodes.push(i);
        Some((found, node))
    }

    /// As [`node`](Self::node), for a node of one operand; returns the operand.
    pub fn map<T>(
        &mut self,
        slot: SlotId,
        accept: impl FnOnce(&'a Op) -> Option<T>,
    ) -> Option<(T, SlotId)> {
        self.attempt(|p| {
            let (found, node) = p.node(slot, accept)?;
            match node.operands[..] {
                [x] => Some((found, x)),
                _ => None,
            }
        })
    }

    /// The operand of `op`.
    pub fn exactly(&mut self, slot: SlotId, op: &Op) -> Option<SlotId> {
        Some(self.map(slot, |own| (own == op).then_some(()))?.1)
    }

    pub fn unary(&mut self, slot: SlotId, f: Unary) -> Option<SlotId> {
        self.exactly(slot, &Op::Unary(f))
    }

    /// Arithmetic with a number: the number and the operand.
    pub fn scalar(&mut self, slot: SlotId, f: Binary) -> Option<(f64, SlotId)> {
        self.map(slot, |op| match op {
            Op::BinaryScalar(own, value) if *own == f => Some(number(value)),
            _ => None,
        })
    }

    /// A product with a number, or a quotient by one.
    pub fn times(&mut self, slot: SlotId) -> Option<(f64, SlotId)> {
        self.scalar(slot, Binary::Mul).or_else(|| {
            let (divisor, x) = self.scalar(slot, Binary::Div)?;
            Some((1.0 / divisor, x))
        })
    }

    /// The operand of a product with `factor`.
    pub fn scaled(&mut self, slot: SlotId, factor: f64) -> Option<SlotId> {
        self.attempt(|p| {
            let (own, x) = p.times(slot)?;
            near(own, factor).then_some(x)
        })
    }

    /// A sum with a number, or a difference.
    pub fn plus(&mut self, slot: SlotId) -> Option<(f64, SlotId)> {
        self.scalar(slot, Binary::Add).or_else(|| {
            let (less, x) = self.scalar(slot, Binary::Sub)?;
            Some((-less, x))
        })
    }

    /// The operand of a sum with `term`.
    pub fn shifted(&mut self, slot: SlotId, term: f64) -> Option<SlotId> {
        self.attempt(|p| {
            let (own, x) = p.plus(slot)?;
            near(own, term).then_some(x)
        })
    }

    /// Both operands of arithmetic.
    pub fn binary(&mut self, slot: SlotId, f: Binary) -> Option<(SlotId, SlotId)> {
        self.attempt(|p| {
            let (_, node) = p.node(slot, |op| (*op == Op::Binary(f)).then_some(()))?;
            match node.operands[..] {
                [a, b] => Some((a, b)),
                _ => None,
            }
        })
    }

    /// A sum or product in which `part` matches one operand, given the other: `part(p, this,
    /// other)`.
    pub fn either<T>(
        &mut self,
        slot: SlotId,
        f: Binary,
        part: impl Fn(&mut Self, SlotId, SlotId) -> Option<T>,
    ) -> Option<T> {
        self.attempt(|p| {
            let (a, b) = p.binary(slot, f)?;
            p.attempt(|p| part(p, a, b))
                .or_else(|| p.attempt(|p| part(p, b, a)))
        })
    }

    /// The operand of a square, in whichever form.
    pub fn square(&mut self, slot: SlotId) -> Option<SlotId> {
        self.power(slot, 2.0).or_else(|| {
            self.attempt(|p| {
                let (a, b) = p.binary(slot, Binary::Mul)?;
                (a == b).then_some(a)
            })
        })
    }

    /// The operand of a cube, in whichever form.
    pub fn cube(&mut self, slot: SlotId) -> Option<SlotId> {
        self.power(slot, 3.0).or_else(|| {
            self.either(slot, Binary::Mul, |p, square, x| {
                (p.square(square)? == x).then_some(x)
            })
        })
    }

    /// The operand of a power with that exponent.
    pub fn power(&mut self, slot: SlotId, exponent: f64) -> Option<SlotId> {
        let accept = |op: &'a Op| match op {
            Op::BinaryScalar(Binary::Pow | Binary::PowInt, own) => {
                (number(own) == exponent).then_some(())
            }
            _ => None,
        };
        Some(self.map(slot, accept)?.1)
    }

    /// The operand of a mean that keeps its reduced dimensions, and these in ascending order.
    pub fn mean(&mut self, slot: SlotId) -> Option<(SlotId, Vec<usize>)> {
        let (mut x, mut dims) = self.mean_over_one(slot).map(|(dim, x)| (x, vec![dim]))?;
        while let Some((dim, before)) = self.mean_over_one(x) {
            if dims.contains(&dim) {
                break;
            }
            dims.push(dim);
            x = before;
        }
        dims.sort_unstable();
        Some((x, dims))
    }

    fn mean_over_one(&mut self, slot: SlotId) -> Option<(usize, SlotId)> {
        let over = |f: Reduce| {
            move |op: &'a Op| match op {
                Op::Reduce(own, Some(dim)) if *own == f => Some(*dim),
                _ => None,
            }
        };
        self.map(slot, over(Reduce::Mean)).or_else(|| {
            self.attempt(|p| {
                let (factor, sum) = p.times(slot)?;
                let (dim, x) = p.map(sum, over(Reduce::Sum))?;
                let size = p.size(x, dim)?;
                near(factor, 1.0 / size as f64).then_some((dim, x))
            })
        })
    }

    /// The operand of a change of the element type; `slot` itself if it comes from none.
    pub fn uncast(&mut self, slot: SlotId) -> SlotId {
        let float = |op: &'a Op| match op {
            Op::Cast(dtype) if dtype.is_float() => Some(()),
            _ => None,
        };
        let cast = self.attempt(|p| {
            let (_, x) = p.map(slot, float)?;
            p.graph.slots[x].dtype.is_float().then_some(x)
        });
        cast.unwrap_or(slot)
    }

    pub fn shape(&self, slot: SlotId) -> &'a [Dim] {
        &self.graph.slots[slot].shape
    }

    /// The length of a dimension, if it does not follow the batch.
    pub fn size(&self, slot: SlotId, dim: usize) -> Option<usize> {
        let size = self.shape(slot).get(dim)?;
        if size.per_row != 0 {
            return None;
        }
        usize::try_from(size.fixed).ok()
    }

    /// Whether the slot is a parameter or a constant.
    pub fn is_given(&self, slot: SlotId) -> bool {
        let source = &self.graph.slots[slot].source;
        matches!(source, Source::Parameter(..) | Source::Constant(_))
    }
}
