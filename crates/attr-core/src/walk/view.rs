//! The view of a node that its rule gets during a walk.

use super::info::{NodeInfo, Role};
use super::shares::Shares;
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
    pub(super) accounting: bool,
    pub(super) place: Place,
    /// Makes the views of other nodes; `None` while a rule prepares.
    pub(super) others: Option<Box<dyn Views<'a> + Send + Sync + 'a>>,
}

/// Makes the views of nodes for the rows of one walk.
pub(super) trait Views<'a> {
    /// Returns a node with its values.
    fn view(&self, index: usize) -> Result<NodeView<'a>, Error>;
}

/// The operands of a linear layer; see [`NodeView::linear`].
#[derive(Clone, Debug)]
pub struct LinearParts {
    /// The layer's input.
    pub x: Value,
    /// The layer's weight.
    pub weight: Value,
    /// The layer's bias, if it has one.
    pub bias: Option<Value>,
}

impl<'a> NodeView<'a> {
    /// What was known about the node before anything ran.
    pub fn info(&self) -> NodeInfo<'a> {
        self.info
    }

    /// The node's name, as [`Traced::layers`](crate::Traced::layers) lists it.
    pub fn name(&self) -> &'a str {
        self.info.name()
    }

    /// What the node computes; for a group, what its last node computes.
    pub fn op(&self) -> &'a Op {
        self.info.op()
    }

    /// The role of operand `i`.
    pub fn role(&self, i: usize) -> Role<'a> {
        self.info.role(i)
    }

    /// Which operands need a share: those through which the walk continues.
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

    /// The operand and output values of the reference pass, if there is one.
    pub fn reference(&self) -> Option<(&[Value], &[Value])> {
        self.reference.as_ref().map(|(o, r)| (&o[..], &r[..]))
    }

    /// What the rule computed once for the graph.
    pub fn prepared(&self) -> &[Value] {
        self.prepared
    }

    /// What the rule computed once for the forward pass, for the rows of this walk.
    pub fn computed(&self) -> &[Value] {
        &self.computed
    }

    /// The parts that the rule of the only reader attached to its share; see
    /// [`Shares::with_parts`].
    pub fn parts(&self) -> &[Value] {
        &self.parts
    }

    /// Whether the walk keeps a [`Ledger`](super::Ledger), so that the rule should say what its
    /// stabilisers take; see [`Shares::with_stabilized`].
    pub fn accounting(&self) -> bool {
        self.accounting
    }

    /// The operands of a linear layer (fully connected or convolution) whose weight does not depend
    /// on the inputs; `None` for other nodes.
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

    /// The node that produced operand `i`, with its values, if no other node reads it. Rules that
    /// serve two nodes as one need it. The producer's rule must read the values asked for.
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
        let others = self.others.as_ref();
        let others = others.ok_or(Error::Internal("a rule asked for values while preparing"))?;
        others.view(producer.position()).map(Some)
    }

    /// Runs the node's operation on other operands, such as clamped or squared ones. A linear layer
    /// runs without its bias when it gets two operands.
    ///
    /// # Errors
    /// Whatever the operation reports; operands must fit as the recorded ones did.
    pub fn rerun(&self, operands: &[Value]) -> Result<Vec<Value>, Error> {
        graph::caught(self.name(), || {
            self.info.body().run(operands.to_vec(), &self.place)
        })
    }

    /// The first output of [`rerun`](Self::rerun).
    ///
    /// # Errors
    /// As [`rerun`](Self::rerun).
    pub fn output_at(&self, operands: &[Value]) -> Result<Value, Error> {
        let first = self.rerun(operands)?.into_iter().next();
        first.ok_or(Error::Internal("an operation without a result"))
    }

    /// Pulls `arriving` (one entry per output of such a run) back to every operand `i` with
    /// `wanted[i]`, by the derivative of the operation. The operation runs again only if its
    /// derivative reads the result.
    ///
    /// # Errors
    /// As [`rerun`](Self::rerun); [`Error::Internal`] if `wanted` does not have one entry per
    /// operand.
    pub fn pull_back(
        &self,
        operands: &[Value],
        arriving: Vec<Option<Value>>,
        wanted: &[bool],
    ) -> Result<Vec<Option<Value>>, Error> {
        if operands.is_empty() || wanted.len() != operands.len() {
            return Err(Error::Internal(
                "a derivative needs one `wanted` entry per operand",
            ));
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

    /// Pulls what arrives at the first output of such a run back to operand 0.
    ///
    /// # Errors
    /// As [`rerun`](Self::rerun).
    pub fn pull_back_first(&self, operands: &[Value], arriving: Value) -> Result<Value, Error> {
        let wanted: Vec<bool> = (0..operands.len()).map(|i| i == 0).collect();
        let shares = self.pull_back(operands, vec![Some(arriving)], &wanted)?;
        let first = shares.into_iter().next().flatten();
        first.ok_or(Error::Internal("an operation without a derivative"))
    }

    /// Pulls what arrives at the first output of such a run back to operand 0, and multiplies it
    /// by that operand: `x ⊙ Jᵀ R`, the form of most rules of LRP.
    ///
    /// # Errors
    /// As [`rerun`](Self::rerun).
    pub fn contribution(&self, operands: &[Value], arriving: Value) -> Result<Value, Error> {
        let back = self.pull_back_first(operands, arriving)?;
        back.zip(&operands[0], |back, x| back * x)
    }

    /// Pulls `arriving` back to the [`wanted`](Self::wanted) operands by the derivative at the
    /// forward pass itself. Nothing runs again. Rules of the form `x ⊙ Jᵀ(R / z)` need no more.
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

    /// Multiplies each share by its operand.
    ///
    /// # Errors
    /// [`Error::Shape`] if a share and its operand differ in shape.
    pub fn times_operands(&self, shares: Vec<Option<Value>>) -> Result<Shares, Error> {
        let pairs = shares.into_iter().zip(&self.operands);
        let products = pairs.map(|(share, operand)| {
            share
                .map(|share| share.zip(operand, |share, x| share * x))
                .transpose()
        });
        Ok(products.collect::<Result<Vec<_>, Error>>()?.into())
    }

    /// Returns a share for operand 0 alone.
    pub fn only_first(&self, share: Value) -> Shares {
        let mut shares = vec![None; self.operands.len()];
        if let Some(first) = shares.first_mut() {
            *first = Some(share);
        }
        shares.into()
    }

    /// Returns no share for any operand.
    pub fn nothing(&self) -> Shares {
        vec![None; self.operands.len()].into()
    }
}
