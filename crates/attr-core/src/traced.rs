//! A model recorded once and replayed: the heart of this library.

use std::cell::Cell;
use std::collections::HashMap;

use burn::module::Module;

use crate::graph::{
    FunctionRecorder, Keep, ModuleRecorder, Place, SlotId, Walk, WalkSeeds, Walked, Walker, Walks,
};
use crate::graphs::{Graphs, Step, shape_at};
use crate::{Cut, Error, Gradients, Inputs, Kind, Layer, Model, Near, Seeds, Value, Values};

/// A Burn module as a graph of named layers that can be run forwards and backwards, whole or in
/// part.
///
/// [`Traced::new`] runs the module's own forward on Burn's capture device, at three batch sizes to
/// see which numbers follow the batch: no change to the module, no hooks, no training mode (a
/// recording is inference). Weights stay where they are and are not copied. Inputs of another shape
/// are traced when they come and remembered; another number of rows costs nothing.
///
/// ```
/// use attr_core::Traced;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor, activation};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let layer: Linear = LinearConfig::new(3, 2).init(&device);
/// let x = Tensor::<2>::from_floats([[1.0, 2.0, 3.0]], &device);
///
/// let model = Traced::new(&layer, |m: &Linear, x: Tensor<2>| activation::relu(m.forward(x)), &x)?;
/// for layer in model.layers() {
///     println!("{layer}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Traced {
    graphs: Graphs,
    /// What a cut model still needs of the layers before the cut.
    constants: Vec<Value>,
}

impl Traced {
    /// Traces `forward` of `model` for inputs like `example`, whose values play no part.
    ///
    /// # Errors
    /// [`Error::UnsupportedOperation`], [`Error::ReadsValue`], [`Error::ForwardPanicked`] for an
    /// example that does not fit the model, [`Error::EmptyBatch`], [`Error::DeviceMismatch`].
    pub fn new<M, I, O>(
        model: &M,
        forward: impl Fn(&M, I) -> O + Send + Sync + 'static,
        example: &I,
    ) -> Result<Self, Error>
    where
        M: Module + 'static,
        I: Inputs,
        O: Into<Value> + 'static,
    {
        let values = example.to_values();
        values.check()?;
        let count = values.values().len();
        let attributed = (0..count).map(|i| values.attributed(i)).collect();
        let device = match model.devices().first() {
            Some(device) => device.clone().inner(),
            None => values.values()[0].device().inner(),
        };
        let recorder = Box::new(ModuleRecorder::new(
            model,
            forward,
            attributed,
            device.settings(),
        ));
        let traced = Self {
            graphs: Graphs::of_module(recorder, count, device.as_dispatch().clone()),
            constants: Vec::new(),
        };
        traced.graphs.get(values.values())?;
        Ok(traced)
    }

    /// Traces a function of named parameters and inputs whose ranks are known at run time only,
    /// such as a model read from a file.
    ///
    /// `forward` is given a placeholder for each of `parameters` and for each input, without
    /// values; it computes with [`Op::run`](crate::Op::run) or with typed tensors, and names layers
    /// with [`tap_value`](crate::tap_value). It runs anew for every shape of inputs.
    ///
    /// # Errors
    /// As [`Traced::new`], and whatever `forward` reports.
    ///
    /// ```
    /// use attr_core::{Binary, Op, Traced, Value, Values};
    /// use burn::tensor::{Device, Tensor};
    ///
    /// # fn main() -> Result<(), attr_core::Error> {
    /// let device = Device::default();
    /// let scale = Value::from(Tensor::<2>::from_floats([[2.0, 3.0]], &device));
    /// let x = Value::from(Tensor::<2>::from_floats([[1.0, 1.0]], &device));
    /// let model = Traced::from_function(
    ///     vec![("scale".to_string(), scale)],
    ///     |parameters, inputs| {
    ///         let operands = vec![inputs[0].clone(), parameters[0].clone()];
    ///         Ok(Op::Binary(Binary::Mul).run(operands, &inputs[0].device())?.remove(0))
    ///     },
    ///     &Values::new(vec![x.clone()], vec![true]),
    /// )?;
    /// assert_eq!(model.forward(&Values::new(vec![x], vec![true]))?.to_vec()?, [2.0, 3.0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_function(
        parameters: Vec<(String, Value)>,
        forward: impl Fn(&[Value], &[Value]) -> Result<Value, Error> + Send + Sync + 'static,
        example: &Values,
    ) -> Result<Self, Error> {
        example.check()?;
        let device = example.values()[0].device().inner();
        let recorder = Box::new(FunctionRecorder {
            parameters,
            forward,
            settings: device.settings(),
        });
        let count = example.values().len();
        let traced = Self {
            graphs: Graphs::of_module(recorder, count, device.as_dispatch().clone()),
            constants: Vec::new(),
        };
        traced.graphs.get(example.values())?;
        Ok(traced)
    }

    /// All layers in execution order, with shapes as for the traced example; each prints as a line
    /// of a model summary.
    pub fn layers(&self) -> Vec<Layer> {
        self.graphs
            .example()
            .map(|graph| graph.layers())
            .unwrap_or_default()
    }

    /// The model's output.
    ///
    /// # Errors
    /// [`Error::Shape`] and its like when the inputs do not fit.
    pub fn forward(&self, inputs: &impl Inputs) -> Result<Value, Error> {
        let values = self.complete(inputs)?;
        let graph = self.graphs.get(&values)?;
        let run = graph.replay(&values, &HashMap::new(), Keep::Slots(&[]))?;
        run.get(graph.output).cloned()
    }

    /// The output with some layers' activations replaced (activation patching), and the
    /// activations of the layers in `keep`, by their order.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`]; [`Error::Shape`] or [`Error::Unlike`] for a replacement of another
    /// shape, type or device than the activation.
    pub fn forward_with(
        &self,
        inputs: &impl Inputs,
        replace: &[(&str, Value)],
        keep: &[&str],
    ) -> Result<(Value, Vec<Value>), Error> {
        let values = self.complete(inputs)?;
        let graph = self.graphs.get(&values)?;
        let rows = values.first().map_or(1, Value::rows);
        let place = Place::new(graph.device.clone(), rows);
        let mut replacements = HashMap::new();
        for (name, value) in replace {
            let slot = graph.layer(name)?;
            let expected = shape_at(&graph, slot, rows);
            if value.shape() != expected {
                return Err(Error::Shape {
                    what: format!("the activation for layer {name:?}"),
                    got: value.shape(),
                    expected: format!("{expected:?}"),
                });
            }
            let dtype = place.dtype(graph.slots[slot].dtype);
            let what = format!("the activation for layer {name:?}");
            replacements.insert(slot, value.clone().checked(what, dtype, &graph.device)?);
        }
        let kept = keep.iter().map(|name| graph.layer(name));
        let kept: Vec<SlotId> = kept.collect::<Result<_, _>>()?;
        let run = graph.replay(&values, &replacements, Keep::Slots(&kept))?;
        Ok((run.get(graph.output)?.clone(), run.all(&kept)?))
    }

    /// The activations of some layers.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`] with the nearest names.
    pub fn activations(&self, inputs: &impl Inputs, layers: &[&str]) -> Result<Vec<Value>, Error> {
        Ok(self.forward_with(inputs, &[], layers)?.1)
    }

    /// Walks back from the output to the inputs, once for each of `seeds` (shaped like the output)
    /// over one forward pass, with rules, edits, a reference and layers to report as `walk` says.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`]; [`Error::Shape`] or [`Error::Unlike`] for a seed unlike the output or
    /// a reference unlike the inputs; whatever the rules report.
    pub fn walk_back(
        &self,
        inputs: &impl Inputs,
        seeds: &Seeds<'_>,
        walk: &Walk<'_>,
    ) -> Result<Vec<Walked>, Error> {
        let seeds: &WalkSeeds<'_> = &|output, _| seeds(output);
        Ok(self.walk(&inputs.to_values(), seeds, walk)?.walked)
    }

    fn walk(
        &self,
        inputs: &Values,
        seeds: &WalkSeeds<'_>,
        walk: &Walk<'_>,
    ) -> Result<Walks, Error> {
        let inputs = self.complete_values(inputs)?;
        let graph = self.graphs.get(inputs.values())?;
        let kept = walk.layers.iter().map(|name| graph.layer(name));
        let kept: Vec<SlotId> = kept.collect::<Result<_, _>>()?;
        let through = walk
            .through
            .map(|(name, gate)| Ok::<_, Error>((graph.layer(name)?, gate)))
            .transpose()?;
        let wanted = match walk.stop {
            true => kept.clone(),
            // Layers between constant inputs and the output are reported, too.
            false => (0..graph.inputs.len())
                .filter(|&i| !kept.is_empty() || inputs.attributed(i))
                .map(|i| graph.inputs[i])
                .collect(),
        };
        let active = graph.dependents(&wanted);
        // Rules and edits may look at anything; the derivative alone reads little.
        let keep = || match (walk.rules, walk.edit) {
            (None, None) => Keep::Gradient {
                active: &active,
                also: &kept,
            },
            _ => Keep::All,
        };
        let forward = graph.replay(inputs.values(), &HashMap::new(), keep())?;
        let reference = match walk.reference {
            Some(reference) => {
                let reference = self.complete_values(reference)?;
                check_like(&reference, &inputs)?;
                Some(graph.replay(reference.values(), &HashMap::new(), keep())?)
            }
            None => None,
        };
        let output = forward.get(graph.output)?;
        let reference_output = match &reference {
            Some(reference) => Some(reference.get(graph.output)?.clone()),
            None => None,
        };
        let walker = Walker {
            graph: &graph,
            forward: &forward,
            reference: reference.as_ref(),
            rules: walk.rules,
            edit: walk.edit,
            through,
            keep: &kept,
            active: &active,
            varies: &graph.dependents(&graph.inputs),
        };
        let seeds = seeds(output, reference_output.as_ref())?;
        let walked = seeds.into_iter().map(|seed| {
            if seed.shape() != output.shape() {
                return Err(Error::Shape {
                    what: "the seed".into(),
                    got: seed.shape(),
                    expected: format!("{:?}, as the output has,", output.shape()),
                });
            }
            walker.run(seed.checked("the seed".into(), output.dtype(), &graph.device)?)
        });
        let walked = walked.collect::<Result<_, _>>()?;
        Ok(Walks {
            activations: forward.all(&kept)?,
            reference_activations: match &reference {
                Some(reference) => reference.all(&kept)?,
                None => Vec::new(),
            },
            output: output.clone(),
            reference: reference_output,
            walked,
        })
    }

    /// The model from the output of `layer` on: its only input is that activation.
    ///
    /// What later layers read besides (a skip connection around `layer`, a mask made from the
    /// tokens) is taken from `inputs` and held: explain activations with as many rows.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`]; [`Error::Layer`] when dimension 0 of such a value is not the batch, or
    /// the output does not depend on the layer.
    pub fn from_layer(&self, layer: &str, inputs: &impl Inputs) -> Result<Self, Error> {
        let (mut model, _, constants) = self.cut_at(&[layer], &self.complete(inputs)?)?;
        model.constants = constants;
        Ok(model)
    }

    /// The model from the outputs of `layers` on, the activations there, and what else it takes.
    fn cut_at(
        &self,
        layers: &[&str],
        values: &[Value],
    ) -> Result<(Self, Vec<Value>, Vec<Value>), Error> {
        let whole = self.graphs.get(values)?;
        let slots = layers.iter().map(|layer| whole.layer(layer));
        let slots: Vec<SlotId> = slots.collect::<Result<_, _>>()?;
        if let Some(i) = (1..slots.len()).find(|&i| slots[..i].contains(&slots[i])) {
            return Err(Error::Layer {
                name: layers[i].into(),
                reason: "it is given twice".into(),
            });
        }
        let (graph, side) = whole.from(&slots).map_err(|i| Error::Layer {
            name: layers[i].into(),
            reason: "the model's output does not depend on its (first) output".into(),
        })?;
        for &slot in slots.iter().chain(&side) {
            let batch = whole.slots[slot].shape.first();
            if whole.rows.is_none() && batch.is_none_or(|d| d.fixed != 0 || d.per_row != 1) {
                return Err(Error::Layer {
                    name: layers.join(", "),
                    reason: "dimension 0 of an activation that later layers need is not the batch"
                        .into(),
                });
            }
        }
        let kept = [&slots[..], &side].concat();
        let run = whole.replay(values, &HashMap::new(), Keep::Slots(&kept))?;
        let model = Self {
            graphs: Graphs::of_graph(graph),
            constants: Vec::new(),
        };
        Ok((model, run.all(&slots)?, run.all(&side)?))
    }

    /// The model up to the output of `layer`: explain one unit of it with [`Target::unit`].
    ///
    /// [`Target::unit`]: crate::Target::unit
    ///
    /// # Errors
    /// [`Error::UnknownLayer`] with the nearest names.
    pub fn to_layer(&self, layer: &str) -> Result<Self, Error> {
        self.graphs.example()?.layer(layer)?;
        Ok(self.with_step(Step::ToLayer(layer.into())))
    }

    /// The model without its final softmax, log-softmax or sigmoid; the same model if it has none.
    ///
    /// Recommended for explanations: probabilities saturate, so their gradients vanish where the
    /// model is sure, and they mix evidence for a class with evidence against all others.
    pub fn logits(&self) -> Self {
        self.with_step(Step::Logits)
    }

    /// The model with BatchNorm folded into the convolution or linear layer before it: the same
    /// function in fewer operations. The folded layer has the BatchNorm's name; the activation between
    /// the two no longer exists.
    pub fn fold_batch_norm(&self) -> Self {
        self.with_step(Step::FoldBatchNorm)
    }

    /// The number of rows that the model insists on, where its forward fixes it (a reshape to a
    /// literal batch, say): explain that many at a time. None for a model that takes any number.
    pub fn rows(&self) -> Option<usize> {
        self.graphs.example().ok()?.rows
    }

    /// How many shapes of inputs have been traced so far.
    pub fn traces(&self) -> usize {
        self.graphs.traces()
    }

    fn with_step(&self, step: Step) -> Self {
        Self {
            graphs: self.graphs.with_step(step),
            constants: self.constants.clone(),
        }
    }

    /// Inputs without gradient tracking, with the constants of a cut model, which the driver of a
    /// method has appended already.
    fn complete_values(&self, inputs: &impl Inputs) -> Result<Values, Error> {
        let given = inputs.to_values();
        let given = given.with(|_, value| Some(value.clone().detached()));
        for (i, value) in given.values().iter().enumerate() {
            let shape = value.shape();
            if shape.is_empty() || shape.contains(&0) {
                return Err(Error::EmptyBatch { input: i, shape });
            }
            if shape[0] != given.rows() {
                return Err(Error::Shape {
                    what: format!("input {i}"),
                    got: shape,
                    expected: format!("{} rows, as input 0 has,", given.rows()),
                });
            }
        }
        let (expected, got) = (self.graphs.inputs(), given.values().len());
        if got == expected {
            Ok(given)
        } else if got + self.constants.len() == expected {
            given.with_constants(&self.constants)
        } else {
            Err(Error::InputCount {
                expected: expected - self.constants.len(),
                got,
            })
        }
    }

    fn complete(&self, inputs: &impl Inputs) -> Result<Vec<Value>, Error> {
        Ok(self.complete_values(inputs)?.into_values())
    }
}

/// Refuses a reference whose inputs are shaped otherwise than those explained.
fn check_like(reference: &Values, inputs: &Values) -> Result<(), Error> {
    let pairs = reference.values().iter().zip(inputs.values()).enumerate();
    for (i, (reference, input)) in pairs {
        if reference.shape() != input.shape() || reference.dtype() != input.dtype() {
            return Err(Error::Shape {
                what: format!("the reference of input {i}"),
                got: reference.shape(),
                expected: format!("{:?}, as the input has,", input.shape()),
            });
        }
    }
    Ok(())
}

impl<I: Inputs> Model<I> for Traced {
    fn forward(&self, inputs: Values) -> Result<Value, Error> {
        Traced::forward(self, &inputs)
    }

    fn gradients(&self, inputs: Values, seeds: &Seeds<'_>) -> Result<Gradients, Error> {
        let seen = Cell::new(None);
        let recorded: &Seeds<'_> = &|output| {
            if output.kind() != Kind::Float {
                return Err(Error::NoGradient { input: 0 });
            }
            seen.set(Some(output.clone()));
            seeds(output)
        };
        let walked = self.walk_back(&inputs, recorded, &Walk::new())?;
        let output = seen
            .take()
            .ok_or(Error::Internal("a walk without an output"))?;
        Ok(Gradients {
            output,
            forward_passes: 1,
            inputs: walked.into_iter().map(|walked| walked.inputs).collect(),
        })
    }

    fn walk(
        &self,
        inputs: &Values,
        seeds: &WalkSeeds<'_>,
        walk: &Walk<'_>,
    ) -> Result<Walks, Error> {
        Traced::walk(self, inputs, seeds, walk)
    }

    fn cut(&self, layers: &[&str], inputs: &Values) -> Result<Cut<'_>, Error> {
        let inputs = self.complete_values(inputs)?;
        let (model, activations, constants) = self.cut_at(layers, inputs.values())?;
        let attributed = [vec![true; layers.len()], vec![false; constants.len()]].concat();
        let values = [activations, constants].concat();
        Ok(Cut {
            model: Box::new(model),
            inputs: inputs.replaced(values, attributed),
        })
    }

    /// A recording is inference: nothing to verify.
    fn verify(&self, _: &Values) -> Result<usize, Error> {
        Ok(0)
    }

    fn constants(&self) -> &[Value] {
        &self.constants
    }

    fn near(
        &self,
        row: &Values,
        input: usize,
        size: &[usize],
    ) -> Result<Option<Box<dyn Near + '_>>, Error> {
        let row = self.complete_values(row)?;
        let graph = self.fold_batch_norm().graphs.get(row.values())?;
        let near = graph.nearby(row.values(), input, size)?;
        Ok(near.map(|near| Box::new(near) as Box<dyn Near>))
    }

    fn rows(&self) -> Option<usize> {
        Traced::rows(self)
    }

    fn bytes_per_row(&self, inputs: &Values) -> Option<usize> {
        Some(self.graphs.get(inputs.values()).ok()?.bytes_per_row())
    }
}
