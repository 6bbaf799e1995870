//! Measures how strong each concept is in some samples.

use attr_core::build::ask;
use attr_core::walk::{Composite, Keep, Walk};
use attr_core::{Error, Inputs, LayerNames, Model, Run, Target, Value};
use attr_lrp_crp::{canonized, channel_dim};
use burn::tensor::{DType, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Mode, References};

/// How a concept's values at all positions become its strength.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTarget {
    /// Their sum.
    #[default]
    Sum,
    /// The largest.
    Max,
}

/// Searches samples for those in which the channels of layers are strongest, by relevance and by
/// activation (Achtibat et al., 2023, <https://doi.org/10.1038/s42256-023-00711-8>).
///
/// The relevance of a channel is what arrives at it when a class's score is passed back by the rules
/// of a composite. Its strength is the sum or the largest of its values at all positions, divided by
/// `Σ|strength| + 1e-10` over all channels of the layer in this sample unless
/// [`with_abs_norm(false)`](Self::with_abs_norm) says otherwise.
///
/// BatchNorms are folded into the layers before them, as for [`Lrp`](attr_lrp_crp::Lrp). One forward
/// pass and one walk back per sample, for both modes together.
#[derive(Clone, Debug)]
pub struct ReferenceSearch<C> {
    composite: C,
    layers: Vec<String>,
    sample_size: usize,
    max_target: MaxTarget,
    abs_norm: bool,
    by_target: bool,
}

impl<C: Composite> ReferenceSearch<C> {
    /// Creates a search of some layers for 40 samples of each concept, with sums, normalised, of all
    /// classes and of each (zennit-crp's defaults).
    pub fn new(composite: C, layers: impl Into<LayerNames>) -> Self {
        Self {
            composite,
            layers: layers.into().into_vec(),
            sample_size: 40,
            max_target: MaxTarget::default(),
            abs_norm: true,
            by_target: true,
        }
    }

    /// Sets how many samples are kept for each concept, and for each concept and class.
    pub fn with_sample_size(mut self, sample_size: usize) -> Self {
        self.sample_size = sample_size;
        self
    }

    /// Sets how values at all positions become one.
    pub fn with_max_target(mut self, max_target: MaxTarget) -> Self {
        self.max_target = max_target;
        self
    }

    /// Sets whether strengths are fractions of all channels' absolute strengths.
    pub fn with_abs_norm(mut self, abs_norm: bool) -> Self {
        self.abs_norm = abs_norm;
        self
    }

    /// Sets whether the strongest samples of each class are kept, too. They take as much memory again
    /// for each class.
    pub fn with_each_target(mut self, by_target: bool) -> Self {
        self.by_target = by_target;
        self
    }

    /// Returns a table without samples, to merge others into.
    pub fn empty(&self) -> References {
        References::new(self.sample_size)
    }

    /// Searches a batch. `samples` are the numbers of its rows in the data set; `target` is a class,
    /// one class per row, or the predicted one.
    ///
    /// # Errors
    /// [`Error::NotTraced`] for a closure; [`Error::UnknownLayer`]; [`Error::Parameter`] for a
    /// sample size of 0, and for more or fewer samples than rows; [`Error::Method`] for a target that is no class; [`Error::Rule`]
    /// as [`Lrp`](attr_lrp_crp::Lrp).
    pub fn references<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        samples: &[u64],
        target: impl Into<Target>,
    ) -> Result<References, Error> {
        self.references_with(model, inputs, samples, target, &Run::new())
    }

    /// As [`references`](Self::references), with a memory budget and progress reports.
    ///
    /// # Errors
    /// As [`references`](Self::references).
    pub fn references_with<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        samples: &[u64],
        target: impl Into<Target>,
        run: &Run<'_>,
    ) -> Result<References, Error> {
        let target = target.into();
        ask(
            model,
            inputs,
            std::slice::from_ref(&target),
            run,
            |question, _| {
                if self.sample_size == 0 {
                    return Err(Error::Parameter {
                        name: "sample_size",
                        value: "0".into(),
                        expected: "at least one sample is needed for each concept",
                    });
                }
                let rows = question.inputs().rows();
                if samples.len() != rows {
                    return Err(Error::Parameter {
                        name: "samples",
                        value: format!("{} numbers", samples.len()),
                        expected: "there must be one for each row of the inputs",
                    });
                }
                let model = canonized(question.traced()?, true);
                let question = &question.about(&model, question.inputs().clone());
                let plan = question.plan(&self.composite)?.to_layers(&self.layers)?;
                let names: Vec<&str> = self.layers.iter().map(String::as_str).collect();
                let mut found = self.empty();
                let mut samples = samples.iter();
                question.for_rows(1, |rows| {
                    let pass = question.pass(&rows, None, &plan)?;
                    let output = pass.output()?;
                    let chosen = question.chosen(&output, &rows)?.into_iter().next();
                    let chosen = chosen.ok_or(Error::Internal("a question without a target"))?;
                    let classes = classes(&chosen.seed, &target)?;
                    let own: Vec<(u64, usize)> = samples.by_ref().copied().zip(classes).collect();
                    let start = chosen.seed.zip(&output, |seed, output| seed * output)?;
                    let walk = Walk::from_output(start).keep(Keep::Layers(&names));
                    let relevance = pass.walk(walk)?.reached(&self.layers)?;
                    for (layer, relevance) in self.layers.iter().zip(relevance) {
                        let activation = pass.activation(layer)?;
                        let dim = channel_dim(plan.node(layer)?, activation.shape().len());
                        for (mode, values) in [
                            (Mode::Relevance, &relevance),
                            (Mode::Activation, &activation),
                        ] {
                            let strengths = self.strengths(values, dim)?;
                            for (&row, strengths) in own.iter().zip(strengths.rows()) {
                                found.add(layer, mode, self.by_target, row, strengths);
                            }
                        }
                    }
                    Ok(())
                })?;
                Ok(found)
            },
        )
    }

    /// The strength of each channel in each row, and its strongest neuron.
    fn strengths(&self, values: &Value, dim: usize) -> Result<Strengths, Error> {
        let shape = values.shape();
        let (rows, channels) = (shape[0], shape[dim]);
        let before: usize = shape[1..dim].iter().product();
        let after: usize = shape[dim + 1..].iter().product();
        let values = values.matrix()?;
        let values = match values.dtype() {
            DType::F16 | DType::BF16 => values.cast(DType::F32),
            _ => values,
        };
        let values = values
            .reshape([rows, before, channels, after])
            .swap_dims(1, 2);
        let values = values.reshape([rows, channels, before * after]);
        let neurons: Tensor<3, Int> = values.clone().argmax(2);
        let mut scores = match self.max_target {
            MaxTarget::Sum => values.sum_dim(2),
            MaxTarget::Max => values.max_dim(2),
        };
        if self.abs_norm {
            // zennit-crp adds this small number, too.
            scores = scores.clone() / (scores.abs().sum_dim(1) + 1e-10);
        }
        Ok(Strengths {
            channels,
            scores: Value::from(scores).to_vec()?,
            neurons: Value::from(neurons).to_vec()?,
        })
    }
}

/// Of some rows, the strength of each channel and its strongest neuron.
struct Strengths {
    channels: usize,
    scores: Vec<f32>,
    neurons: Vec<f32>,
}

impl Strengths {
    fn rows(&self) -> impl Iterator<Item = impl Iterator<Item = (f32, usize)> + Clone> {
        let scores = self.scores.chunks_exact(self.channels);
        let neurons = self.neurons.chunks_exact(self.channels);
        scores.zip(neurons).map(|(scores, neurons)| {
            let neurons = neurons.iter().map(|&neuron| neuron as usize);
            scores.iter().copied().zip(neurons)
        })
    }
}

/// The class of each row: where the weights of the output are 1.
fn classes(seed: &Value, target: &Target) -> Result<Vec<usize>, Error> {
    let [_, classes] = seed.shape()[..] else {
        return Err(no_class(target));
    };
    if !matches!(
        target,
        Target::Class(_) | Target::Classes(_) | Target::Predicted
    ) {
        return Err(no_class(target));
    }
    let weights = seed.to_vec()?;
    let rows = weights.chunks_exact(classes.max(1));
    let class = |row: &[f32]| row.iter().position(|&weight| weight != 0.0);
    rows.map(|row| class(row).ok_or(Error::Internal("a class without a weight")))
        .collect()
}

fn no_class(target: &Target) -> Error {
    Error::Method {
        method: "the search for references",
        reason: format!(
            "the target {target} is no class of an output [batch, classes]; give a class, one for \
             each row, or `predicted`"
        ),
    }
}
