//! A model recorded once and replayed: the heart of this library.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::DispatchDevice;
use burn::module::Module;
use burn::tensor::Device;

use crate::graph::{
    self, Graph, Keep, ModuleRecorder, NodeView, Recorder, Rule, SlotId, Spec, Walk,
};
use crate::{Error, Gradients, Inputs, Kind, Layer, Model, Seeds, Value, Values};

/// A Burn module as a graph of named layers that can be run forwards and backwards, whole or in
/// part.
///
/// [`Traced::new`] runs the module's own forward once on Burn's capture device: no change to the
/// module, no hooks, no training mode (a recording is inference). Weights stay where they are and
/// are not copied. Inputs of another shape are traced when they come and remembered; another
/// number of rows costs nothing.
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
/// for layer in model.layers(&x)? {
///     println!("{layer}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Traced {
    origin: Arc<Origin>,
    steps: Vec<Step>,
    edited: Arc<Mutex<HashMap<Key, Arc<Graph>>>>,
    /// What a cut model still needs of the layers before the cut.
    constants: Vec<Value>,
}

/// Where graphs come from.
enum Origin {
    Module {
        recorder: Box<dyn Recorder>,
        attributed: Vec<bool>,
        graphs: Mutex<HashMap<Key, Arc<Graph>>>,
        traces: AtomicUsize,
        device: DispatchDevice,
    },
    /// One graph, cut from another.
    Graph(Arc<Graph>),
}

/// How a graph is edited, in order.
#[derive(Clone)]
enum Step {
    ToLayer(String),
    Logits,
    FoldBatchNorm,
}

/// Inputs that share a graph: shapes without the batch, types, and the batch where it matters.
type Key = (Vec<Spec>, Option<usize>);

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
        let attributed = (0..values.values().len())
            .map(|i| values.attributed(i))
            .collect::<Vec<_>>();
        let device = match model.devices().first() {
            Some(device) => device.clone().inner(),
            None => values.values()[0].device().inner(),
        };
        let traced = Self {
            origin: Arc::new(Origin::Module {
                recorder: Box::new(ModuleRecorder::new(model, forward, attributed.clone())),
                attributed,
                graphs: Mutex::default(),
                traces: AtomicUsize::new(0),
                device: device.as_dispatch().clone(),
            }),
            steps: Vec::new(),
            edited: Arc::default(),
            constants: Vec::new(),
        };
        traced.graph(values.values())?;
        Ok(traced)
    }

    /// All layers for inputs like these, in execution order; each prints as a line of a summary.
    ///
    /// # Errors
    /// As [`new`](Self::new), for inputs of a new shape.
    pub fn layers(&self, inputs: &impl Inputs) -> Result<Vec<Layer>, Error> {
        Ok(self.graph(&self.complete(inputs)?)?.layers())
    }

    /// The model's output.
    ///
    /// # Errors
    /// [`Error::Shape`] and its like when the inputs do not fit.
    pub fn forward(&self, inputs: &impl Inputs) -> Result<Value, Error> {
        let values = self.complete(inputs)?;
        let graph = self.graph(&values)?;
        let run = graph.replay(&values, &HashMap::new(), Keep::Slots(&[]))?;
        run.get(graph.output).cloned()
    }

    /// The output with some layers' activations replaced (activation patching), and the
    /// activations of the layers in `keep`, by their order.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`], and [`Error::Shape`] for a replacement that does not fit.
    pub fn forward_with(
        &self,
        inputs: &impl Inputs,
        replace: &[(&str, Value)],
        keep: &[&str],
    ) -> Result<(Value, Vec<Value>), Error> {
        let values = self.complete(inputs)?;
        let graph = self.graph(&values)?;
        let rows = values.first().map_or(1, Value::rows);
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
            replacements.insert(slot, value.clone());
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

    /// A walk back from the output, where `seed` (shaped like it) arrives, with a rule for each
    /// node that `rules` chooses one for and the true derivative elsewhere.
    ///
    /// Gives what arrives at each input, and at the output of each layer in `keep`.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`], [`Error::Shape`] for a seed unlike the output, the rules' own.
    #[allow(clippy::type_complexity)] // Two lists of optional values.
    pub fn walk_back(
        &self,
        inputs: &impl Inputs,
        seed: &Value,
        rules: &dyn Fn(&NodeView<'_>) -> Option<Arc<dyn Rule>>,
        keep: &[&str],
    ) -> Result<(Vec<Option<Value>>, Vec<Option<Value>>), Error> {
        let inputs = self.complete_values(inputs)?;
        let values = inputs.values();
        let graph = self.graph(values)?;
        let forward = graph.replay(values, &HashMap::new(), Keep::All)?;
        let output = forward.get(graph.output)?.shape();
        if seed.shape() != output {
            return Err(Error::Shape {
                what: "the seed".into(),
                got: seed.shape(),
                expected: format!("{output:?}, as the output has,"),
            });
        }
        let kept = keep.iter().map(|name| graph.layer(name));
        let kept: Vec<SlotId> = kept.collect::<Result<_, _>>()?;
        let active = active(&graph, &inputs, !kept.is_empty());
        let walk = Walk {
            graph: &graph,
            forward: &forward,
            reference: None,
            rules: Some(rules),
            edit: None,
            keep: &kept,
            active: &active,
        };
        let walked = walk.run(seed.clone())?;
        let at = |slot: &SlotId| walked.kept.get(slot).cloned();
        Ok((walked.inputs, kept.iter().map(at).collect()))
    }

    /// The model from the output of `layer` on: its only input is that activation.
    ///
    /// What later layers read besides (a skip connection around `layer`, a mask made from the
    /// tokens) is taken from `inputs` and held: explain activations with as many rows.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`]; [`Error::Layer`] when dimension 0 of such a value is not the batch.
    pub fn from_layer(&self, layer: &str, inputs: &impl Inputs) -> Result<Self, Error> {
        let values = self.complete(inputs)?;
        let whole = self.graph(&values)?;
        let slot = whole.layer(layer)?;
        let (graph, side) = whole.from(slot);
        for &slot in std::iter::once(&slot).chain(&side) {
            let batch = whole.slots[slot].shape.first();
            if whole.rows.is_none() && batch.is_none_or(|d| d.fixed != 0 || d.per_row != 1) {
                return Err(Error::Layer {
                    name: layer.into(),
                    reason: "dimension 0 of an activation that later layers need is not the batch"
                        .into(),
                });
            }
        }
        let constants = match side.is_empty() {
            true => Vec::new(),
            false => whole
                .replay(&values, &HashMap::new(), Keep::Slots(&side))?
                .all(&side)?,
        };
        Ok(Self {
            origin: Arc::new(Origin::Graph(Arc::new(graph))),
            steps: Vec::new(),
            edited: Arc::default(),
            constants,
        })
    }

    /// The model up to the output of `layer`: explain one unit of it with [`Target::unit`].
    ///
    /// [`Target::unit`]: crate::Target::unit
    ///
    /// # Errors
    /// [`Error::UnknownLayer`], for inputs of the traced shape.
    pub fn to_layer(&self, layer: &str) -> Result<Self, Error> {
        for graph in self.known_graphs() {
            graph.layer(layer)?;
        }
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
    /// function in fewer operations. Folded BatchNorms are no longer layers of their own.
    pub fn fold_batch_norm(&self) -> Self {
        self.with_step(Step::FoldBatchNorm)
    }

    /// How often the module's forward was recorded so far.
    pub fn traces(&self) -> usize {
        match &*self.origin {
            Origin::Module { traces, .. } => traces.load(Ordering::Relaxed),
            Origin::Graph(_) => 0,
        }
    }

    fn with_step(&self, step: Step) -> Self {
        let mut traced = self.clone();
        traced.steps.push(step);
        traced.edited = Arc::default();
        traced
    }

    /// The graphs traced so far, as this model edits them.
    fn known_graphs(&self) -> Vec<Arc<Graph>> {
        let graphs: Vec<Arc<Graph>> = match &*self.origin {
            Origin::Graph(graph) => vec![graph.clone()],
            Origin::Module { graphs, .. } => {
                let graphs = graphs.lock().unwrap_or_else(PoisonError::into_inner);
                graphs.values().cloned().collect()
            }
        };
        let edited = graphs.iter().map(|graph| self.edit(graph));
        edited.filter_map(Result::ok).map(Arc::new).collect()
    }

    fn edit(&self, graph: &Graph) -> Result<Graph, Error> {
        let mut graph = graph.clone();
        for step in &self.steps {
            graph = match step {
                Step::ToLayer(layer) => graph.up_to(graph.layer(layer)?),
                Step::Logits => graph.logits(),
                Step::FoldBatchNorm => graph.fold_batch_norm()?,
            };
        }
        Ok(graph)
    }

    /// The graph for such inputs: traced now if their shape is new, edited once.
    fn graph(&self, values: &[Value]) -> Result<Arc<Graph>, Error> {
        let rows = values.first().map_or(1, Value::rows);
        let specs: Vec<Spec> = values
            .iter()
            .map(|value| Spec {
                shape: value.shape(),
                dtype: value.dtype(),
            })
            .collect();
        let shapes: Vec<Spec> = specs
            .iter()
            .cloned()
            .map(|mut spec| {
                spec.shape[0] = 0;
                spec
            })
            .collect();
        let keys = [(shapes.clone(), None), (shapes, Some(rows))];
        let find = |map: &HashMap<Key, Arc<Graph>>| {
            keys.iter()
                .find_map(|key| map.get(key).map(|graph| (key.clone(), graph.clone())))
        };
        let lock = |map| Mutex::lock(map).unwrap_or_else(PoisonError::into_inner);
        if let Some((_, graph)) = find(&lock(&self.edited)) {
            return Ok(graph);
        }
        let (key, base) = match &*self.origin {
            Origin::Graph(graph) => {
                check_shapes(graph, values)?;
                (keys[graph.rows.is_some() as usize].clone(), graph.clone())
            }
            Origin::Module {
                recorder,
                graphs,
                traces,
                device,
                ..
            } => {
                check_devices(device, values)?;
                let mut graphs = lock(graphs);
                match find(&graphs) {
                    Some(found) => found,
                    None => {
                        traces.fetch_add(1, Ordering::Relaxed);
                        let graph = Arc::new(graph::trace(&**recorder, &specs, device)?);
                        let key = keys[graph.rows.is_some() as usize].clone();
                        graphs.insert(key.clone(), graph.clone());
                        (key, graph)
                    }
                }
            }
        };
        let graph = match self.steps.is_empty() {
            true => base,
            false => Arc::new(self.edit(&base)?),
        };
        lock(&self.edited).insert(key, graph.clone());
        Ok(graph)
    }

    fn complete_values(&self, inputs: &impl Inputs) -> Result<Values, Error> {
        let mut given = inputs.to_values();
        if let Origin::Module { attributed, .. } = &*self.origin
            && given.values().len() != attributed.len()
        {
            return Err(Error::InputCount {
                expected: attributed.len(),
                got: given.values().len(),
            });
        }
        given = given.with(|_, value| Some(value.clone().detached()));
        for (i, value) in given.values().iter().enumerate() {
            let shape = value.shape();
            if shape.is_empty() || shape.contains(&0) {
                return Err(Error::EmptyBatch { input: i, shape });
            }
        }
        let expected = match &*self.origin {
            Origin::Graph(graph) => graph.inputs.len(),
            Origin::Module { attributed, .. } => attributed.len(),
        };
        match given.values().len() == expected {
            // The driver of a method appends the constants itself.
            true => Ok(given),
            false => given.with_constants(&self.constants),
        }
    }

    fn complete(&self, inputs: &impl Inputs) -> Result<Vec<Value>, Error> {
        Ok(self.complete_values(inputs)?.into_values())
    }
}

fn shape_at(graph: &Graph, slot: SlotId, rows: usize) -> Vec<usize> {
    let dims = graph.slots[slot].shape.iter();
    dims.map(|d| d.at(rows).max(0) as usize).collect()
}

/// Refuses inputs that a cut graph was not made for.
fn check_shapes(graph: &Graph, values: &[Value]) -> Result<(), Error> {
    if values.len() != graph.inputs.len() {
        return Err(Error::InputCount {
            expected: graph.inputs.len(),
            got: values.len(),
        });
    }
    let rows = values.first().map_or(1, Value::rows);
    for (i, (value, &slot)) in values.iter().zip(&graph.inputs).enumerate() {
        let expected = shape_at(graph, slot, graph.rows.unwrap_or(rows));
        if value.shape() != expected {
            return Err(Error::Shape {
                what: format!("input {i}"),
                got: value.shape(),
                expected: format!("{expected:?}, as the layer's output has,"),
            });
        }
    }
    check_devices(&graph.device, values)
}

fn check_devices(device: &DispatchDevice, values: &[Value]) -> Result<(), Error> {
    let device = Device::new(device.clone());
    for (i, value) in values.iter().enumerate() {
        if value.device() != device {
            return Err(Error::DeviceMismatch {
                input: i,
                expected: format!("{device:?}"),
                got: format!("{:?}", value.device()),
            });
        }
    }
    Ok(())
}

/// Which slots lead back to the inputs that get an attribution, or to any where layers are kept.
fn active(graph: &Graph, inputs: &Values, all: bool) -> Vec<bool> {
    let wanted: Vec<SlotId> = (0..graph.inputs.len())
        .filter(|&i| all || inputs.attributed(i))
        .map(|i| graph.inputs[i])
        .collect();
    graph.dependents(&wanted)
}

impl<I: Inputs> Model<I> for Traced {
    fn forward(&self, inputs: Values) -> Result<Value, Error> {
        Traced::forward(self, &inputs)
    }

    fn gradients(&self, inputs: Values, seeds: &Seeds<'_>) -> Result<Gradients, Error> {
        let inputs = self.complete_values(&inputs)?;
        let values = inputs.values();
        let graph = self.graph(values)?;
        let active = active(&graph, &inputs, false);
        let keep = Keep::Gradient { active: &active };
        let forward = graph.replay(values, &HashMap::new(), keep)?;
        let output = forward.get(graph.output)?.clone();
        if output.kind() != Kind::Float {
            return Err(Error::NoGradient { input: 0 });
        }
        let mut result = Vec::new();
        for seed in seeds(&output)? {
            let walk = Walk {
                graph: &graph,
                forward: &forward,
                reference: None,
                rules: None,
                edit: None,
                keep: &[],
                active: &active,
            };
            result.push(walk.run(seed)?.inputs);
        }
        Ok(Gradients {
            output,
            inputs: result,
        })
    }

    /// A recording is inference: nothing to verify.
    fn verify(&self, _: &Values) -> Result<(), Error> {
        Ok(())
    }

    fn constants(&self) -> &[Value] {
        &self.constants
    }

    fn bytes_per_row(&self, inputs: &Values) -> Option<usize> {
        Some(self.graph(inputs.values()).ok()?.bytes_per_row())
    }
}
