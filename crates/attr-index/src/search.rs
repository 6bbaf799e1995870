//! Measures how strong each concept is in some samples.

use attr_core::build::ask;
use attr_core::walk::{Composite, Keep, Walk};
use attr_core::{Error, Inputs, LayerNames, Model, Run, Target, Value};
use attr_lrp_crp::{canonized, channel_dim};
use burn::tensor::{DType, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::Mode;
use crate::strengths::{LayerStrengths, Strengths};

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

/// Measures how strong the channels of layers are in samples, by relevance and by activation, so that
/// the samples in which they are strongest can be found (Achtibat et al., 2023,
/// <https://doi.org/10.1038/s42256-023-00711-8>).
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
    max_target: MaxTarget,
    abs_norm: bool,
}

impl<C: Composite> ReferenceSearch<C> {
    /// Creates a search in some layers, with sums, normalised (zennit-crp's defaults).
    pub fn new(composite: C, layers: impl Into<LayerNames>) -> Self {
        Self {
            composite,
            layers: layers.into().into_vec(),
            max_target: MaxTarget::default(),
            abs_norm: true,
        }
    }

    /// The layers that are searched.
    pub fn layers(&self) -> &[String] {
        &self.layers
    }

    /// How values at all positions become one.
    pub fn max_target(&self) -> MaxTarget {
        self.max_target
    }

    /// Whether strengths are fractions of all channels' absolute strengths.
    pub fn abs_norm(&self) -> bool {
        self.abs_norm
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

    /// Measures a batch. `samples` are the numbers of its rows in the data set; `target` is a class,
    /// one class per row, or the predicted one.
    ///
    /// # Errors
    /// [`Error::NotTraced`] for a closure; [`Error::UnknownLayer`]; [`Error::Parameter`] for more or
    /// fewer samples than rows; [`Error::Method`] for a target that is no class; [`Error::Rule`] as
    /// [`Lrp`](attr_lrp_crp::Lrp).
    pub fn measure<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        samples: &[u64],
        target: impl Into<Target>,
    ) -> Result<Strengths, Error> {
        self.measure_with(model, inputs, samples, target, &Run::new())
    }

    /// As [`measure`](Self::measure), with a memory budget and progress reports.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    pub fn measure_with<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        samples: &[u64],
        target: impl Into<Target>,
        run: &Run<'_>,
    ) -> Result<Strengths, Error> {
        let target = target.into();
        ask(
            model,
            inputs,
            std::slice::from_ref(&target),
            run,
            |question, _| {
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
                let mut found = Strengths {
                    samples: samples.to_vec(),
                    targets: Vec::with_capacity(rows),
                    layers: Vec::new(),
                };
                question.for_rows(1, |rows| {
                    let pass = question.pass(&rows, None, &plan)?;
                    let output = pass.output()?;
                    let chosen = question.chosen(&output, &rows)?.into_iter().next();
                    let chosen = chosen.ok_or(Error::Internal("a question without a target"))?;
                    found.targets.extend(classes(&chosen.seed, &target)?);
                    let start = chosen.seed.zip(&output, |seed, output| seed * output)?;
                    let walk = Walk::from_output(start).keep(Keep::Layers(&names));
                    let relevance = pass.walk(walk)?.reached(&self.layers)?;
                    let mut each = 0;
                    for (layer, relevance) in self.layers.iter().zip(relevance) {
                        let activation = pass.activation(layer)?;
                        let dim = channel_dim(plan.node(layer)?, activation.shape().len());
                        let both = [relevance, activation];
                        for (mode, values) in Mode::ALL.into_iter().zip(both) {
                            let own = self.strengths(layer, mode, &values, dim)?;
                            match found.layers.get_mut(each) {
                                Some(first) => {
                                    first.scores.extend(own.scores);
                                    first.neurons.extend(own.neurons);
                                }
                                None => found.layers.push(own),
                            }
                            each += 1;
                        }
                    }
                    Ok(())
                })?;
                Ok(found)
            },
        )
    }

    /// The strength of each channel in each row, and its strongest neuron.
    fn strengths(
        &self,
        layer: &str,
        mode: Mode,
        values: &Value,
        dim: usize,
    ) -> Result<LayerStrengths, Error> {
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
        let neurons = Value::from(neurons).to_vec()?;
        Ok(LayerStrengths {
            layer: layer.into(),
            mode,
            concepts: channels,
            scores: Value::from(scores).to_vec()?,
            neurons: neurons.into_iter().map(|neuron| neuron as usize).collect(),
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
