//! A model recorded as a graph and replayed: the core of this library.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use burn::module::Module;

use super::graphs::{Graphs, Step};
use super::side_by_side;
use crate::build::{Gradients, Seeds};
use crate::graph::{FunctionRecorder, Graph, LayerGroup, ModuleRecorder, NearRow, Place, SlotId};
use crate::method::Counter;
use crate::walk::{Composite, GradientEverywhere, Pass, Plan, Walk};
use crate::{Error, Inputs, Kind, Layer, Model, Output, Value, Values};

/// A Burn module as a graph of named layers that can be run forward and backward, whole or in part.
///
/// [`Traced::new`] runs the module's own forward function on Burn's capture device, at three batch
/// sizes to see which numbers depend on the batch size. The module needs no changes, no hooks and
/// no training mode (the trace is recorded in inference mode). Weights are not copied or moved.
/// A new input shape is traced when it first occurs and then remembered; a new number of rows needs
/// no new trace.
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
    pub(super) graphs: Graphs,
    /// Values from before the cut that a cut model still reads.
    constants: Vec<Value>,
    /// How much a row's output changes with the row beside it, once that was tried.
    pub(super) mixing: Arc<OnceLock<f32>>,
}

impl Traced {
    /// Traces `forward` of `model` for inputs like `example`, whose values do not matter.
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
        O: Output + 'static,
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
            mixing: Arc::default(),
        };
        traced.graphs.get(values.values())?;
        Ok(traced)
    }

    /// Traces a function of named parameters and inputs whose ranks are known only at run time,
    /// such as a model read from a file.
    ///
    /// `forward` is given a placeholder without values for each of `parameters` and for each input.
    /// It computes with [`Op::run`](crate::op::Op::run) or with typed tensors, and names layers
    /// with [`tap_value`](crate::op::tap_value). It runs again for every new input shape.
    ///
    /// # Errors
    /// As [`Traced::new`], and whatever `forward` reports.
    ///
    /// ```
    /// use attr_core::op::{Binary, Op};
    /// use attr_core::{Traced, Value, Values};
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
            mixing: Arc::default(),
        };
        traced.graphs.get(example.values())?;
        Ok(traced)
    }

    /// Returns all layers in execution order, with the shapes of the traced example. Each prints as
    /// one line of a model summary.
    pub fn layers(&self) -> Vec<Layer> {
        self.graphs
            .example()
            .map(|graph| graph.layers())
            .unwrap_or_default()
    }

    /// Computes the model's output.
    ///
    /// # Errors
    /// [`Error::Shape`] and similar errors when the inputs do not fit.
    pub fn forward(&self, inputs: &impl Inputs) -> Result<Value, Error> {
        let values = self.complete_values(inputs)?;
        let graph = self.graphs.folded().get(values.values())?;
        side_by_side::forward(&graph, &values)
    }

    /// Computes the output with some layers' activations replaced (activation patching). Also
    /// returns the activations of the layers in `keep`, in the order given.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`]; [`Error::Shape`] or [`Error::Unlike`] for a replacement whose
    /// shape, type or device differs from the activation's.
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
            let expected = graph.shape_at(slot, rows);
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
        let run = graph.replay(&values, &replacements, &kept)?;
        Ok((run.get(graph.output)?.clone(), run.all(&kept)?))
    }

    /// Computes the activations of some layers.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`] with the nearest names.
    pub fn activations(&self, inputs: &impl Inputs, layers: &[&str]) -> Result<Vec<Value>, Error> {
        Ok(self.forward_with(inputs, &[], layers)?.1)
    }

    /// Assigns a rule of `composite` to each node, for walks from the output or a layer to the
    /// inputs that get an attribution. [`Plan::to_layers`] ends walks earlier. A plan can be used
    /// for any inputs of the same shape, with any number of rows.
    ///
    /// # Errors
    /// The composite's own, for a node without a rule; [`Error::Shape`] and similar errors when the
    /// inputs do not fit.
    pub fn plan(&self, composite: &dyn Composite, inputs: &impl Inputs) -> Result<Plan, Error> {
        let inputs = self.complete_values(inputs)?;
        plan_on(self.graphs.get(inputs.values())?, composite, &inputs)
    }

    /// As [`plan`](Self::plan), on the graph with BatchNorms folded where that keeps `layers`.
    pub(crate) fn plan_at<S: AsRef<str>>(
        &self,
        composite: &dyn Composite,
        layers: &[S],
        inputs: &Values,
    ) -> Result<Plan, Error> {
        let inputs = self.complete_values(inputs)?;
        let graph = self.graphs.folded_around(layers, inputs.values())?;
        plan_on(graph, composite, &inputs)
    }

    /// Runs one forward pass, which can be walked backward any number of times.
    ///
    /// # Errors
    /// [`Error::Shape`] and similar errors when the inputs do not fit the model, or their shapes
    /// differ from those that the plan was made for.
    pub fn pass(&self, inputs: &impl Inputs, plan: &Plan) -> Result<Pass, Error> {
        self.run_pass(&inputs.to_values(), None, plan, Counter::default())
    }

    /// As [`pass`](Self::pass), with a second forward pass on a reference with as many rows. Rules
    /// see it as [`NodeView::reference`](crate::walk::NodeView::reference).
    ///
    /// # Errors
    /// As [`pass`](Self::pass); [`Error::Shape`] for a reference not shaped like the inputs.
    pub fn pass_with_reference(
        &self,
        inputs: &impl Inputs,
        reference: &impl Inputs,
        plan: &Plan,
    ) -> Result<Pass, Error> {
        let reference = reference.to_values();
        self.run_pass(
            &inputs.to_values(),
            Some(&reference),
            plan,
            Counter::default(),
        )
    }

    /// Runs a pass that counts its own work and that of its walks in `work`.
    pub(crate) fn run_pass(
        &self,
        inputs: &Values,
        reference: Option<&Values>,
        plan: &Plan,
        work: Counter,
    ) -> Result<Pass, Error> {
        let inputs = self.complete_values(inputs)?;
        plan.check(inputs.values())?;
        let reference = match reference {
            Some(reference) => {
                let reference = self.complete_values(reference)?;
                check_like(&reference, &inputs)?;
                Some(reference)
            }
            None => None,
        };
        Pass::new(plan, inputs, reference, work)
    }

    /// Returns the model from the output of `layer` on; its only input is that activation.
    ///
    /// Other values that later layers read (a skip connection around `layer`, a mask made from the
    /// tokens) are computed from `inputs` and held constant. Explain activations with as many rows.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`]; [`Error::Layer`] when dimension 0 of such a value is not the batch,
    /// or the output does not depend on the layer.
    pub fn from_layer(&self, layer: &str, inputs: &impl Inputs) -> Result<Self, Error> {
        let (mut model, _, constants) = self.cut_at(&[layer], &self.complete(inputs)?)?;
        model.constants = constants;
        Ok(model)
    }

    /// Returns the model from the outputs of `layers` on, and its inputs, computed from `inputs`:
    /// the activations there, which get an attribution, and other values that later layers read.
    ///
    /// # Errors
    /// As [`from_layer`](Self::from_layer); [`Error::Layer`] for a layer given twice, or one that
    /// influences the output only through another.
    pub fn cut(&self, layers: &[&str], inputs: &Values) -> Result<(Traced, Values), Error> {
        let inputs = self.complete_values(inputs)?;
        let (model, activations, constants) = self.cut_at(layers, inputs.values())?;
        let attributed = [vec![true; layers.len()], vec![false; constants.len()]].concat();
        let values = [activations, constants].concat();
        Ok((model, inputs.replaced(values, attributed)))
    }

    /// Refuses layers whose rows are not along dimension 0, where methods look for them.
    pub(crate) fn check_batch_first(
        &self,
        layers: &[String],
        inputs: &Values,
    ) -> Result<(), Error> {
        let inputs = self.complete_values(inputs)?;
        let graph = self.graphs.get(inputs.values())?;
        for layer in layers {
            graph.check_batch_first(graph.layer(layer)?, layer)?;
        }
        Ok(())
    }

    /// Returns the values from before the cut that a model made by
    /// [`from_layer`](Self::from_layer) still reads, with one row per row of the activation.
    pub fn constants(&self) -> &[Value] {
        &self.constants
    }

    /// Prepares cheaper forward passes for rows that differ from `row` only in a window of `size`
    /// (per spatial dimension) of an input; `None` where they would not be cheaper.
    ///
    /// # Errors
    /// Any error that the model reports for this row.
    pub fn near(
        &self,
        row: &Values,
        input: usize,
        size: &[usize],
    ) -> Result<Option<NearRow>, Error> {
        let row = self.complete_values(row)?;
        let graph = self.graphs.folded().get(row.values())?;
        graph.nearby(row.values(), input, size)
    }

    /// Returns the model from the outputs of `layers` on, the activations there, and the other
    /// values that it reads.
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
        for (&slot, name) in slots.iter().zip(layers) {
            whole.check_batch_first(slot, name)?;
        }
        for &slot in &side {
            let free = whole.rows.is_none();
            let fits = match whole.batch(slot) {
                Ok(dim) => dim == Some(0) || (dim.is_none() && !free),
                Err(_) => !free,
            };
            if !fits {
                return Err(Error::Layer {
                    name: layers.join(", "),
                    reason: "dimension 0 of an activation that later layers need is not the batch"
                        .into(),
                });
            }
        }
        let kept = [&slots[..], &side].concat();
        let run = whole.replay(values, &HashMap::new(), &kept)?;
        let model = Self {
            graphs: Graphs::of_graph(graph),
            constants: Vec::new(),
            mixing: Arc::default(),
        };
        Ok((model, run.all(&slots)?, run.all(&side)?))
    }

    /// Returns the model up to the output of `layer`; explain one unit of it with [`Target::unit`].
    ///
    /// [`Target::unit`]: crate::Target::unit
    ///
    /// # Errors
    /// [`Error::UnknownLayer`] with the nearest names.
    pub fn to_layer(&self, layer: &str) -> Result<Self, Error> {
        self.graphs.example()?.layer(layer)?;
        Ok(self.with_step(Step::ToLayer(layer.into())))
    }

    /// Returns the model without its final softmax, log-softmax or sigmoid; the same model if it
    /// has none.
    ///
    /// Recommended for explanations: probabilities saturate, so their gradients vanish where the
    /// model is confident, and they mix evidence for a class with evidence against all others.
    pub fn logits(&self) -> Self {
        self.with_step(Step::Logits)
    }

    /// Returns the model with BatchNorm folded into the preceding convolution or linear layer: the
    /// same function in fewer operations. The folded layer has the BatchNorm's name and keeps the
    /// other layer's name as an alias. The activation between the two no longer exists, so both
    /// names mean the BatchNorm's output.
    pub fn fold_batch_norm(&self) -> Self {
        self.on(self.graphs.folded().clone())
    }

    /// Returns the model with every fused attention operation expanded into matrix products, a
    /// softmax and the steps between them: the same function, with its activations accessible.
    ///
    /// For an attention `NAME`, `NAME.scores` is the softmax's input and `NAME.softmax` its output.
    /// Where a mask may hide a whole row, `NAME.weights` is the softmax's output with zeros at
    /// hidden positions. `NAME` itself, or `NAME.output`, is the last product.
    pub fn expand_attention(&self) -> Self {
        self.on(self.graphs.expanded().clone())
    }

    /// Returns groups of layers that act as one, such as the sigmoid and the product of a SiLU, in
    /// execution order.
    pub fn groups(&self) -> Vec<LayerGroup> {
        self.graphs
            .example()
            .map(|graph| graph.layer_groups())
            .unwrap_or_default()
    }

    /// Returns the fixed number of rows that the model requires, for example because it reshapes to
    /// a literal batch size. `None` for a model that takes any number.
    pub fn rows(&self) -> Option<usize> {
        self.graphs.example().ok()?.rows
    }

    /// Returns how many input shapes have been traced so far.
    pub fn traces(&self) -> usize {
        self.graphs.traces()
    }

    pub(super) fn with_step(&self, step: Step) -> Self {
        self.on(self.graphs.with_step(step))
    }

    fn on(&self, graphs: Graphs) -> Self {
        Self {
            graphs,
            constants: self.constants.clone(),
            mixing: Arc::default(),
        }
    }

    /// Returns the inputs without gradient tracking and with the constants of a cut model, unless
    /// these were already appended when a method asked its question.
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

/// Plans walks to the inputs that get an attribution.
fn plan_on(graph: Arc<Graph>, composite: &dyn Composite, inputs: &Values) -> Result<Plan, Error> {
    let explained = (0..graph.inputs.len()).filter(|&i| inputs.attributed(i));
    let explained = explained.map(|i| graph.inputs[i]).collect();
    Plan::new(graph, composite, explained)
}

/// Refuses a reference whose shapes or types differ from those of the explained inputs.
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
        let model = self.fold_batch_norm();
        let pass = model.pass(&inputs, &model.plan(&GradientEverywhere, &inputs)?)?;
        let output = pass.output()?;
        if output.kind() != Kind::Float {
            return Err(Error::NoGradient { input: 0 });
        }
        let walked = seeds(&output)?.into_iter();
        let walked = walked.map(|seed| Ok(pass.walk(Walk::from_output(seed))?.inputs));
        Ok(Gradients {
            inputs: walked.collect::<Result<_, Error>>()?,
            forward_passes: 1,
            output,
        })
    }

    /// Does nothing: the trace was recorded in inference mode.
    fn verify(&self, _: &Values) -> Result<usize, Error> {
        Ok(0)
    }

    fn traced(&self) -> Option<&Traced> {
        Some(self)
    }
}
