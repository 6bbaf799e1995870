//! What a condition keeps at a layer.

use attr_core::op::{GroupKind, Op};
use attr_core::walk::{Directions, NodeInfo, Through};
use attr_core::{Error, Value};
use burn::tensor::{Tensor, TensorData};

/// Concepts of one layer.
#[derive(Clone, Debug)]
pub enum Concepts {
    /// Channels by number; none of them lets nothing through.
    Channels(Vec<usize>),
    /// Neurons, by their index in the layer's output without the batch: `[channel, y, x]` in a
    /// convolution's, `[token, unit]` in a transformer's.
    Neurons(Vec<Vec<usize>>),
    /// Directions in the space of channels.
    Directions(Box<Dictionary>),
}

/// Directions in the space of a layer's channels, `[directions, channels]` both.
#[derive(Clone, Debug)]
pub struct Dictionary {
    /// Reads how strongly each direction is present.
    pub encoder: Value,
    /// Says what each direction adds to the activation.
    pub decoder: Value,
}

impl Concepts {
    /// Returns directions that are orthogonal to each other and of length 1, such as principal
    /// components, `[directions, channels]`.
    pub fn orthonormal(directions: Tensor<2>) -> Self {
        Self::dictionary(directions.clone(), directions)
    }

    /// Returns the atoms of a dictionary, `[directions, channels]` both: the decoder holds what each
    /// atom adds to the activation, the encoder what reads its coefficient. For a non-negative
    /// factorisation or other atoms that are not orthogonal, the encoder is the pseudoinverse of
    /// the decoder; a sparse autoencoder brings its own.
    pub fn dictionary(encoder: Tensor<2>, decoder: Tensor<2>) -> Self {
        Self::Directions(Box::new(Dictionary {
            encoder: encoder.into(),
            decoder: decoder.into(),
        }))
    }
}

impl From<usize> for Concepts {
    fn from(channel: usize) -> Self {
        Self::Channels(vec![channel])
    }
}

impl<const N: usize> From<[usize; N]> for Concepts {
    fn from(channels: [usize; N]) -> Self {
        Self::Channels(channels.to_vec())
    }
}

impl From<Vec<usize>> for Concepts {
    fn from(channels: Vec<usize>) -> Self {
        Self::Channels(channels)
    }
}

/// The concepts through which relevance must flow: those of one layer, or of several behind each
/// other.
///
/// ```
/// use attr_lrp_crp::{Concepts, Condition};
///
/// let channel = Condition::at("layer4.0.conv2", 17);
/// let chain = Condition::at("layer4.0.conv2", [17, 40]).and("layer3.1.conv1", 5);
/// let neuron = Condition::at("layer4.0.conv2", Concepts::Neurons(vec![vec![17, 3, 3]]));
/// # let _ = (channel, chain, neuron);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Condition {
    pub(super) layers: Vec<(String, Concepts)>,
}

impl Condition {
    /// Creates a condition that lets everything through.
    pub fn none() -> Self {
        Self::default()
    }

    /// Creates a condition on the concepts of a layer, named as
    /// [`Traced::layers`](attr_core::Traced::layers) lists it.
    pub fn at(layer: impl Into<String>, concepts: impl Into<Concepts>) -> Self {
        Self::none().and(layer, concepts)
    }

    /// Adds the concepts of another layer. The order does not matter: relevance meets the layers as
    /// the model has them.
    pub fn and(mut self, layer: impl Into<String>, concepts: impl Into<Concepts>) -> Self {
        self.layers.push((layer.into(), concepts.into()));
        self
    }

    /// The layers, and which of them are conditions on directions: conditions with the same key flow
    /// back together.
    pub(super) fn key(&self) -> Vec<(&str, bool)> {
        let layers = self.layers.iter();
        layers
            .map(|(layer, concepts)| {
                let directions = matches!(concepts, Concepts::Directions(_));
                (layer.as_str(), directions)
            })
            .collect()
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        for (i, (layer, _)) in self.layers.iter().enumerate() {
            if self.layers[..i].iter().any(|(other, _)| other == layer) {
                return Err(Error::Layer {
                    name: layer.clone(),
                    reason: "one condition names it twice; give all its concepts at once".into(),
                });
            }
        }
        Ok(())
    }
}

/// A layer's activation, as conditions need to know it.
pub(super) struct Space<'a> {
    pub layer: &'a str,
    /// The shape, with the batch.
    pub shape: Vec<usize>,
    /// The dimension of channels.
    pub dim: usize,
    /// A value of the right type on the right device.
    pub like: &'a Value,
}

impl Space<'_> {
    fn channels(&self) -> usize {
        self.shape.get(self.dim).copied().unwrap_or(0)
    }

    fn refused(&self, reason: String) -> Error {
        Error::Layer {
            name: self.layer.into(),
            reason,
        }
    }

    /// Returns what lets the concepts of each condition through; each serves `rows` rows of the
    /// walk. All or none of them are directions.
    pub fn through(&self, concepts: &[&Concepts], rows: usize) -> Result<Through, Error> {
        if let Some(directions) = self.directions(concepts, rows)? {
            return Ok(directions.into());
        }
        let neurons = concepts
            .iter()
            .any(|concepts| matches!(concepts, Concepts::Neurons(_)));
        // One number for each channel, or for each neuron.
        let mut shape = self.shape.clone();
        if !neurons {
            for (dim, size) in shape.iter_mut().enumerate() {
                if dim != self.dim {
                    *size = 1;
                }
            }
        }
        shape[0] = concepts.len() * rows;
        let own: usize = shape[1..].iter().product();
        let mut mask: Vec<f32> = Vec::with_capacity(concepts.len() * rows * own);
        for concepts in concepts {
            let one = self.mask(concepts, neurons, own)?;
            (0..rows).for_each(|_| mask.extend(&one));
        }
        let data = TensorData::new(mask, shape).convert_dtype(self.like.dtype());
        Ok(Value::from_data(data, &self.like.device()).into())
    }

    /// Returns ones for the concepts of one condition, and zeros for the rest.
    fn mask(&self, concepts: &Concepts, neurons: bool, size: usize) -> Result<Vec<f32>, Error> {
        let mut mask = vec![0.0; size];
        match concepts {
            Concepts::Channels(channels) => {
                let after: usize = self.shape[self.dim + 1..].iter().product();
                let count = self.channels();
                for &channel in channels {
                    if channel >= count {
                        return Err(self.refused(format!(
                            "it has {count} channels (dimension {} of {:?}), so there is no \
                             channel {channel}",
                            self.dim, self.shape
                        )));
                    }
                    if !neurons {
                        mask[channel] = 1.0;
                        continue;
                    }
                    let of_channel = |i: usize| i / after % count == channel;
                    let all = mask.iter_mut().enumerate();
                    all.filter(|(i, _)| of_channel(*i))
                        .for_each(|(_, m)| *m = 1.0);
                }
            }
            Concepts::Neurons(indices) => {
                let sizes = &self.shape[1..];
                for index in indices {
                    let fits = index.len() == sizes.len()
                        && index.iter().zip(sizes).all(|(i, size)| i < size);
                    if !fits {
                        return Err(self.refused(format!(
                            "its output has the shape {sizes:?} without the batch, so there is no \
                             neuron {index:?}"
                        )));
                    }
                    let flat = index.iter().zip(sizes);
                    mask[flat.fold(0, |flat, (i, size)| flat * size + i)] = 1.0;
                }
            }
            Concepts::Directions(_) => {
                return Err(Error::Internal("directions are no mask"));
            }
        }
        Ok(mask)
    }

    /// Returns the directions of each condition; `None` if they are conditions of other kinds.
    fn directions(&self, concepts: &[&Concepts], rows: usize) -> Result<Option<Directions>, Error> {
        let (mut encoders, mut decoders) = (Vec::new(), Vec::new());
        for concepts in concepts {
            let Concepts::Directions(directions) = concepts else {
                return Ok(None);
            };
            let Dictionary { encoder, decoder } = &**directions;
            for value in [encoder, decoder] {
                let fits = value.shape().len() == 2
                    && value.shape()[1] == self.channels()
                    && value.shape() == encoder.shape();
                if !fits {
                    return Err(Error::Shape {
                        what: format!("the directions at layer {:?}", self.layer),
                        got: value.shape(),
                        expected: format!("[directions, {} channels]", self.channels()),
                    });
                }
            }
            encoders.push(encoder.tensor::<2>()?);
            decoders.push(decoder.tensor::<2>()?);
        }
        // Conditions with fewer directions get zeros, which let nothing through.
        let most = encoders.iter().map(|e| e.dims()[0]).max().unwrap_or(0);
        let stack = |tensors: Vec<Tensor<2>>| {
            let each = tensors.into_iter().map(|tensor| {
                let [own, channels] = tensor.dims();
                let more = Tensor::<2>::zeros([most - own, channels], &tensor.device());
                let tensor = if own < most {
                    Tensor::cat(vec![tensor.clone(), more.cast(tensor.dtype())], 0)
                } else {
                    tensor
                };
                tensor.unsqueeze::<3>().expand([rows, most, channels])
            });
            Value::from(Tensor::cat(each.collect(), 0))
        };
        Directions::new(stack(encoders), stack(decoders), self.dim).map(Some)
    }
}

/// Returns the dimension along which the output of a layer's node has its channels: 1 after
/// convolutions and pooling, the last after fully connected layers, attention and LayerNorm. `rank`
/// counts the output's dimensions, the batch among them.
pub fn channel_dim(node: Option<NodeInfo<'_>>, rank: usize) -> usize {
    let last = rank.saturating_sub(1).max(1);
    let mut node = node;
    while let Some(own) = node {
        match own.ended_group() {
            Some(GroupKind::LayerNorm { .. } | GroupKind::RmsNorm { .. }) => return last,
            Some(GroupKind::GroupNorm { .. } | GroupKind::InstanceNorm { .. }) => return 1,
            _ => {}
        }
        match own.op() {
            Op::Conv(_)
            | Op::ConvTranspose(_)
            | Op::DeformConv { .. }
            | Op::BatchNorm { .. }
            | Op::MaxPool { .. }
            | Op::AvgPool(_)
            | Op::AdaptiveAvgPool { .. }
            | Op::Interpolate { .. } => return 1,
            Op::Linear | Op::MatMul | Op::LayerNorm { .. } | Op::Embedding => return last,
            // These leave every channel where it is.
            Op::Relu
            | Op::LeakyRelu { .. }
            | Op::PRelu
            | Op::Gelu
            | Op::Sigmoid
            | Op::HardSigmoid { .. }
            | Op::LogSigmoid
            | Op::Unary(_)
            | Op::Clamp { .. }
            | Op::Binary(_)
            | Op::BinaryScalar(..)
            | Op::Cast(_)
            | Op::MaskFill(_) => {
                let first = (0..own.operands()).find(|&i| own.varies(i));
                node = first.and_then(|i| own.producer(i));
            }
            _ => break,
        }
    }
    // Images have their channels first, sequences of tokens last.
    if rank == 3 { 2 } else { 1 }
}
