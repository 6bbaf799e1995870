//! What a rule sees of its node during a walk.

use super::info::{NodeInfo, Role};
use super::pass::Stand;
use super::rule::Shares;
use crate::graph::{self, Op, Place, Run};
use crate::{Error, Value};

/// A node with its values, for the rows of one walk.
pub struct NodeView<'a> {
    pub(super) info: NodeInfo<'a>,
    pub(super) operands: Vec<Value>,
    pub(super) outputs: Vec<Value>,
    pub(super) reference: Option<(Vec<Value>, Vec<Value>)>,
    pub(super) wanted: Vec<bool>,
    pub(super) prepared: &'a [Value],
    pub(super) computed: Vec<Value>,
    pub(super) parts: Vec<Value>,
    pub(super) place: Place,
    /// Where the values came from; none while a rule prepares.
    pub(super) stand: Option<Stand<'a>>,
}

/// The operands of a linear layer; see [`NodeView::linear`].
#[derive(Clone, Debug)]
pub struct LinearParts {
    /// What the layer is given.
    pub x: Value,
    /// Its weight.
    pub weight: Value,
    /// Its bias, where it has one.
    pub bias: Option<Value>,
}

impl<'a> NodeView<'a> {
    /// What was known of the node before anything ran.
    pub fn info(&self) -> NodeInfo<'a> {
        self.info
    }

    /// The node's name, as [`Traced::layers`](crate::Traced::layers) lists it.
    pub fn name(&self) -> &'a str {
        self.info.name()
    }

    /// What the node computes; of a group, what its last node does.
    pub fn op(&self) -> &'a Op {
        self.info.op()
    }

    /// What operand `i` is.
    pub fn role(&self, i: usize) -> Role<'a> {
        self.info.role(i)
    }

    /// Which operands get a share: those through which the walk goes on.
    pub fn wanted(&self) -> &[bool] {
        &self.wanted
    }

    /// The operands' values in the forward pass, in the order that [`Op`] documents.
    pub fn operands(&self) -> &[Value] {
        &self.operands
    }

    /// The outputs' values in the forward pass.
    pub fn outputs(&self) -> &[Value] {
        &self.outputs
    }

    /// Operand and output values of the reference pass, where there is one.
    pub fn reference(&self) -> Option<(&[Value], &[Value])> {
        self.reference.as_ref().map(|(o, r)| (&o[..], &r[..]))
    }

    /// What the rule made once for the graph.
    pub fn prepared(&self) -> &[Value] {
        self.prepared
    }

    /// What the rule made once for the forward pass, for the rows of this walk.
    pub fn computed(&self) -> &[Value] {
        &self.computed
    }

    /// The parts that the rule of the only reader sent along with what arrives; see
    /// [`Shares::with_parts`].
    pub fn parts(&self) -> &[Value] {
        &self.parts
    }

    /// The operands of a linear layer (fully connected or convolution), whose weights are given;
    /// none for other nodes.
    pub fn linear(&self) -> Option<LinearParts> {
        let layer = matches!(self.op(), Op::Linear | Op::Conv(_) | Op::ConvTranspose(_));
        if !layer || !self.info.is_linear() {
            return None;
        }
        Some(LinearParts {
            x: self.operands.first()?.clone(),
            weight: self.operands.get(1)?.clone(),
            bias: self.operands.get(2).cloned(),
        })
    }

    /// The node that produced operand `i`, with its values, if no other node reads it: what a rule
    /// needs that serves two nodes as one. Its rule must read what is asked of it.
    ///
    /// # Errors
    /// [`Error::Internal`] while a rule prepares.
    pub fn producer(&self, i: usize) -> Result<Option<NodeView<'a>>, Error> {
        let Some(producer) = self.info.producer(i) else {
            return Ok(None);
        };
        let only = producer.only_reader();
        if only.is_none_or(|reader| reader.position() != self.info.position()) {
            return Ok(None);
        }
        let stand = self.stand.as_ref();
        let stand = stand.ok_or(Error::Internal("a rule asked for values while preparing"))?;
        stand.view(producer.position()).map(Some)
    }

    /// Runs the node's operation on other operands: clamped, squared. A linear layer runs without
    /// its bias when it is given two operands.
    ///
    /// # Errors
    /// Whatever the operation reports; operands must fit as the recorded ones did.
    pub fn rerun(&self, operands: &[Value]) -> Result<Vec<Value>, Error> {
        graph::caught(self.name(), || {
            self.info.body().run(operands.to_vec(), &self.place)
        })
    }

    /// The derivative of such a run: `arriving` at its outputs (one entry each), pulled back to
    /// every operand `i` with `wanted[i]`. The operation runs again only if its derivative reads
    /// the result.
    ///
    /// # Errors
    /// As [`rerun`](Self::rerun); [`Error::Internal`] for as many entries of `wanted` as there are
    /// not operands.
    pub fn pull_back(
        &self,
        operands: &[Value],
        arriving: Vec<Option<Value>>,
        wanted: &[bool],
    ) -> Result<Vec<Option<Value>>, Error> {
        if operands.is_empty() || wanted.len() != operands.len() {
            return Err(Error::Internal("a derivative for other than each operand"));
        }
        let outputs = if self.info.body().reads(wanted).1 {
            self.rerun(operands)?
        } else {
            Vec::new()
        };
        graph::caught(self.name(), || {
            let run = Run {
                body: self.info.body(),
                operands,
                outputs: &outputs,
                place: &self.place,
            };
            graph::vjp(&run, arriving, wanted)
        })
    }

    /// The derivative at the forward pass itself, pulled back to the [`wanted`](Self::wanted)
    /// operands. Nothing runs again. Rules of the form `x ⊙ Jᵀ(R / z)` need no more.
    ///
    /// # Errors
    /// As [`rerun`](Self::rerun).
    pub fn pull_back_here(
        &self,
        arriving: Vec<Option<Value>>,
    ) -> Result<Vec<Option<Value>>, Error> {
        graph::caught(self.name(), || {
            let run = Run {
                body: self.info.body(),
                operands: &self.operands,
                outputs: &self.outputs,
                place: &self.place,
            };
            graph::vjp(&run, arriving, &self.wanted)
        })
    }

    /// Each share times the operand that it is for.
    ///
    /// # Errors
    /// [`Error::Shape`] for a share shaped unlike its operand.
    pub fn times_operands(&self, shares: Vec<Option<Value>>) -> Result<Shares, Error> {
        let pairs = shares.into_iter().zip(&self.operands);
        let products = pairs.map(|(share, operand)| {
            share
                .map(|share| share.zip(operand, |share, x| share * x))
                .transpose()
        });
        Ok(products.collect::<Result<Vec<_>, Error>>()?.into())
    }

    /// No share for any operand.
    pub fn nothing(&self) -> Shares {
        vec![None; self.operands.len()].into()
    }
}
