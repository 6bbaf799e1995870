//! Gates: what a walk lets through at a layer.

use burn::tensor::Tensor;

use super::stand::Stand;
use super::traverse::{Flow, producer};
use crate::graph::SlotId;
use crate::{Error, Value};

/// What happens to flow that bypasses a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Around {
    /// It is dropped: only what passes the gate reaches the inputs (`exclude_parallel` in
    /// zennit-crp).
    Drop,
    /// It flows on: the gate is a mask.
    Keep,
}

/// What a gate lets through.
#[derive(Clone, Debug)]
pub enum Through {
    /// What arrives, times a mask. The mask has the rank of the layer's output, and one row or as
    /// many as the walk; sizes of 1 are broadcast.
    Mask(Value),
    /// What arrives along directions in the layer's activation. The plan must
    /// [record](super::Plan::recording) the layer.
    Directions(Directions),
}

impl From<Value> for Through {
    fn from(mask: Value) -> Self {
        Self::Mask(mask)
    }
}

impl From<Directions> for Through {
    fn from(directions: Directions) -> Self {
        Self::Directions(directions)
    }
}

/// Directions in the activation of a layer: principal components, the atoms of a dictionary or a
/// sparse autoencoder, concept activation vectors.
///
/// The encoder `e` reads how strongly a direction is present at each position of an activation `a`,
/// `c = e · a`; the decoder `d` says what that adds to the activation, `c d`. Of what arrives, `R`,
/// the share `c d · (R / a)` belongs to the direction; it flows on as `a ⊙ e (d · (R / a))`, summed
/// over directions. The unit vector of a channel, as both, gives the mask of that channel.
///
/// Chormai et al., "Disentangled Explanations of Neural Network Predictions by Finding Relevant
/// Subspaces", 2022 (<https://arxiv.org/abs/2212.14855>).
#[derive(Clone, Debug)]
pub struct Directions {
    /// `[rows, directions, channels]`; one row serves all.
    encoder: Value,
    decoder: Value,
    dim: usize,
}

impl Directions {
    /// Creates directions along dimension `dim` of an activation. `encoder` and `decoder` have the
    /// shape `[rows, directions, channels]`, with one row or as many as the walk.
    ///
    /// # Errors
    /// [`Error::Shape`] for other shapes; [`Error::Layer`] for dimension 0, the batch.
    pub fn new(encoder: Value, decoder: Value, dim: usize) -> Result<Self, Error> {
        let shape = encoder.shape();
        if shape.len() != 3 || decoder.shape() != shape {
            return Err(Error::Shape {
                what: "the decoder of directions".into(),
                got: decoder.shape(),
                expected: format!("[rows, directions, channels], like the encoder's {shape:?},"),
            });
        }
        Ok(Self {
            encoder,
            decoder,
            dim,
        })
    }

    fn rows(&self) -> usize {
        self.encoder.rows()
    }

    /// Returns the part of `arriving` along the directions in `activation`.
    fn part(&self, arriving: &Value, activation: &Value, layer: &str) -> Result<Value, Error> {
        let shape = arriving.shape();
        let [rows, _, channels] = self.encoder.shape()[..] else {
            return Err(Error::Internal("directions have three dimensions"));
        };
        let fits = self.dim >= 1
            && shape.get(self.dim) == Some(&channels)
            && (rows == 1 || rows == shape[0]);
        if !fits {
            return Err(Error::Shape {
                what: format!("the directions for layer {layer:?}"),
                got: self.encoder.shape(),
                expected: format!(
                    "[1 or {}, directions, size of dimension {}] for an activation of {shape:?}",
                    shape[0], self.dim
                ),
            });
        }
        let before: usize = shape[1..self.dim].iter().product();
        let after: usize = shape[self.dim + 1..].iter().product();
        let sizes = [shape[0], before, channels, after];
        let columns = |value: &Value| -> Result<Tensor<3>, Error> {
            let value = value.clone().reshape(&sizes).tensor::<4>()?;
            let value = value.permute([0, 2, 1, 3]);
            Ok(value.reshape([shape[0], channels, before * after]))
        };
        let (a, r) = (columns(activation)?, columns(arriving)?);
        // Nothing that is absent from the activation lies along a direction.
        let absent = a.clone().equal_elem(0.0);
        let quotient = r.mask_fill(absent.clone(), 0.0) / a.clone().mask_fill(absent, 1.0);
        let decoder = self.decoder.tensor::<3>()?;
        let encoder = self.encoder.tensor::<3>()?;
        let back = encoder.swap_dims(1, 2).matmul(decoder.matmul(quotient)) * a;
        let back = back.reshape([shape[0], channels, before, after]);
        Ok(Value::from(back.permute([0, 2, 1, 3])).reshape(&shape))
    }
}

impl Through {
    /// The number of rows: 1, or as many as the walk.
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Mask(mask) => mask.rows(),
            Self::Directions(directions) => directions.rows(),
        }
    }

    /// Applies `f` to what it consists of, where that has one row for each of the walk.
    pub(super) fn each(&self, f: impl Fn(&Value) -> Result<Value, Error>) -> Result<Self, Error> {
        if self.rows() == 1 {
            return Ok(self.clone());
        }
        Ok(match self {
            Self::Mask(mask) => Self::Mask(f(mask)?),
            Self::Directions(directions) => Self::Directions(Directions {
                encoder: f(&directions.encoder)?,
                decoder: f(&directions.decoder)?,
                dim: directions.dim,
            }),
        })
    }

    fn checked(self, stand: Stand<'_>, slot: SlotId, layer: &str) -> Result<Self, Error> {
        let graph = &stand.choices().graph;
        let check = |value: Value, what: &str| {
            let what = format!("{what} for layer {layer:?}");
            value.checked(what, graph.slots[slot].dtype, &graph.device)
        };
        Ok(match self {
            Self::Mask(mask) => Self::Mask(check(mask, "the mask")?),
            Self::Directions(directions) => Self::Directions(Directions {
                encoder: check(directions.encoder, "the encoder of directions")?,
                decoder: check(directions.decoder, "the decoder of directions")?,
                dim: directions.dim,
            }),
        })
    }
}

/// A gate at a slot.
pub(super) struct Gate<'a> {
    pub slot: SlotId,
    pub layer: &'a str,
    through: Through,
    around: Around,
}

impl<'a> Gate<'a> {
    /// Whether a gate drops what bypasses it.
    pub fn drops(&self) -> bool {
        self.around == Around::Drop
    }

    /// Creates a gate at `layer` of a walk that starts at `start`.
    pub fn new(
        stand: Stand<'_>,
        layer: &'a str,
        through: &Through,
        around: Around,
        start: SlotId,
    ) -> Result<Self, Error> {
        let graph = &stand.choices().graph;
        let slot = stand.choices().layer(layer)?;
        if producer(graph, slot) > producer(graph, start) {
            return Err(Error::Layer {
                name: layer.into(),
                reason: "a gate there lies after the layer at which the walk starts".into(),
            });
        }
        Ok(Self {
            slot,
            layer,
            through: through.clone().checked(stand, slot, layer)?,
            around,
        })
    }

    /// Applies the gate to all that has arrived so far.
    pub fn apply(&self, stand: Stand<'_>, arriving: &mut [Flow]) -> Result<(), Error> {
        let flow = std::mem::take(&mut arriving[self.slot]);
        if self.drops() {
            // Nodes are in execution order, so all that can arrive here has arrived, and what has
            // arrived elsewhere bypassed this layer.
            arriving.fill_with(Flow::default);
        }
        let Some(value) = flow.value else {
            return Ok(());
        };
        arriving[self.slot] = match &self.through {
            Through::Mask(mask) => {
                let masked = |value: Value| value.times(mask, "the mask of a gate");
                let parts = flow.parts.into_iter().map(masked);
                Flow {
                    parts: parts.collect::<Result<_, _>>()?,
                    value: Some(masked(value)?),
                    shares: flow.shares,
                }
            }
            Through::Directions(directions) => {
                let activation = stand.activation(self.slot, self.layer)?;
                let part = directions.part(&value, &activation, self.layer)?;
                Flow {
                    parts: Vec::new(),
                    value: Some(part),
                    shares: flow.shares,
                }
            }
        };
        Ok(())
    }
}
