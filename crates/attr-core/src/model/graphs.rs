//! The graphs of a model, one per input shape: each is traced once, edited once and cached.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use burn::backend::DispatchDevice;
use burn::tensor::Device;

use super::parameters::Replacements;
use crate::graph::{self, Graph, Recorder, SlotId, Spec};
use crate::{Error, Value};

/// The graphs of one model and one list of edits; clones share them.
#[derive(Clone)]
pub(crate) struct Graphs {
    origin: Arc<Origin>,
    steps: Vec<Step>,
    edited: Arc<Mutex<Cache>>,
    /// The graph of the example, edited.
    example: Arc<OnceLock<Arc<Graph>>>,
    /// The same graphs with BatchNorm folded.
    folded: Arc<OnceLock<Graphs>>,
    /// The same graphs with attention expanded.
    expanded: Arc<OnceLock<Graphs>>,
}

/// The number of cached graphs, limited so that many input shapes, such as texts of different
/// lengths, do not fill the memory.
const REMEMBERED: usize = 64;

/// The most recently used graphs by the inputs that they fit; the most recent is last.
#[derive(Default)]
struct Cache(Vec<(Key, Arc<Graph>)>);

impl Cache {
    /// Returns the graph of the first of `keys` that is in the cache.
    fn find(&mut self, keys: &[Key]) -> Option<(Key, Arc<Graph>)> {
        let at = keys
            .iter()
            .find_map(|key| self.0.iter().rposition(|(own, _)| own == key))?;
        if at + 1 < self.0.len() {
            let entry = self.0.remove(at);
            self.0.push(entry);
        }
        self.0.last().cloned()
    }

    fn insert(&mut self, key: Key, graph: Arc<Graph>) {
        if self.0.len() == REMEMBERED {
            self.0.remove(0);
        }
        self.0.push((key, graph));
    }
}

/// Where graphs come from.
enum Origin {
    Module {
        recorder: Box<dyn Recorder>,
        inputs: usize,
        graphs: Mutex<Cache>,
        /// The graph of the example that the model was traced with.
        first: OnceLock<Arc<Graph>>,
        traces: AtomicUsize,
        device: DispatchDevice,
    },
    /// One graph, cut from another.
    Graph(Arc<Graph>),
}

/// One edit of a graph.
#[derive(Clone, PartialEq)]
pub(crate) enum Step {
    ToLayer(String),
    Logits,
    FoldBatchNorm,
    ExpandAttention,
    Parameters(Replacements),
    ShiftInputs(f64),
}

/// What inputs that share a graph have in common: shapes without the batch, types, and the batch
/// size where it matters.
type Key = (Vec<Spec>, Option<usize>);

impl Graphs {
    /// Creates the graphs of a module on `device` with `inputs` inputs.
    pub fn of_module(recorder: Box<dyn Recorder>, inputs: usize, device: DispatchDevice) -> Self {
        Self::new(Origin::Module {
            recorder,
            inputs,
            graphs: Mutex::default(),
            first: OnceLock::new(),
            traces: AtomicUsize::new(0),
            device,
        })
    }

    /// Wraps one graph, cut from another.
    pub fn of_graph(graph: Graph) -> Self {
        Self::new(Origin::Graph(Arc::new(graph)))
    }

    fn new(origin: Origin) -> Self {
        Self {
            origin: Arc::new(origin),
            steps: Vec::new(),
            edited: Arc::default(),
            example: Arc::default(),
            folded: Arc::default(),
            expanded: Arc::default(),
        }
    }

    /// Returns the same graphs with one more edit.
    pub fn with_step(&self, step: Step) -> Self {
        let mut graphs = self.clone();
        graphs.steps.push(step);
        graphs.edited = Arc::default();
        graphs.example = Arc::default();
        graphs.folded = Arc::default();
        graphs.expanded = Arc::default();
        graphs
    }

    /// Returns the same graphs with BatchNorm folded. They are made once: methods ask for them with
    /// every question.
    pub fn folded(&self) -> &Self {
        self.with_step_once(Step::FoldBatchNorm, &self.folded)
    }

    /// Returns the graph for such inputs with BatchNorm folded wherever the outputs of `layers`
    /// stay what they are. It shares its weights with the graph where all are folded.
    pub fn folded_around<S: AsRef<str>>(
        &self,
        layers: &[S],
        values: &[Value],
    ) -> Result<Arc<Graph>, Error> {
        let graph = self.get(values)?;
        let kept = layers.iter().map(|layer| graph.layer(layer.as_ref()));
        let kept: Vec<SlotId> = kept.collect::<Result<_, _>>()?;
        let folded = self.folded().get(values)?;
        // In a folded graph a name may mean another output, or may be ambiguous.
        let stay = |graph: &Graph| {
            let mut pairs = layers.iter().zip(&kept);
            pairs.all(|(layer, &slot)| graph.layer(layer.as_ref()).ok() == Some(slot))
        };
        if stay(&folded) {
            return Ok(folded);
        }
        let around = graph.fold_batch_norm(&kept, Some(&folded))?;
        Ok(if stay(&around) {
            Arc::new(around)
        } else {
            graph
        })
    }

    /// Returns the same graphs with attention expanded, made once.
    pub fn expanded(&self) -> &Self {
        self.with_step_once(Step::ExpandAttention, &self.expanded)
    }

    fn with_step_once<'a>(&'a self, step: Step, made: &'a OnceLock<Self>) -> &'a Self {
        if self.steps.contains(&step) {
            return self;
        }
        made.get_or_init(|| self.with_step(step))
    }

    /// Returns how many inputs a graph takes.
    pub fn inputs(&self) -> usize {
        match &*self.origin {
            Origin::Module { inputs, .. } => *inputs,
            Origin::Graph(graph) => graph.inputs.len(),
        }
    }

    fn device(&self) -> &DispatchDevice {
        match &*self.origin {
            Origin::Module { device, .. } => device,
            Origin::Graph(graph) => &graph.device,
        }
    }

    /// Returns how often the forward function was traced.
    pub fn traces(&self) -> usize {
        match &*self.origin {
            Origin::Module { traces, .. } => traces.load(Ordering::Relaxed),
            Origin::Graph(_) => 0,
        }
    }

    /// Returns the edited graph of the example.
    pub fn example(&self) -> Result<Arc<Graph>, Error> {
        if let Some(graph) = self.example.get() {
            return Ok(graph.clone());
        }
        let graph = match &*self.origin {
            Origin::Graph(graph) => Some(graph),
            Origin::Module { first, .. } => first.get(),
        };
        let graph = self.edit(graph.ok_or(Error::Internal("a model without a trace"))?)?;
        Ok(self.example.get_or_init(|| Arc::new(graph)).clone())
    }

    fn edit(&self, graph: &Graph) -> Result<Graph, Error> {
        let mut graph = graph.clone();
        for step in &self.steps {
            graph = match step {
                Step::ToLayer(layer) => graph.up_to(graph.layer(layer)?),
                Step::Logits => graph.logits(),
                Step::FoldBatchNorm => graph.fold_batch_norm(&[], None)?,
                Step::ExpandAttention => graph.expand_attention()?,
                Step::Parameters(replaced) => graph.with_parameters(replaced),
                Step::ShiftInputs(shift) => graph.with_shifted_inputs(*shift),
            };
        }
        Ok(graph)
    }

    /// Returns the graph for such inputs; traces and edits it first if their shape is new.
    pub fn get(&self, values: &[Value]) -> Result<Arc<Graph>, Error> {
        check_devices(self.device(), values)?;
        if graph::tracing() {
            return Err(Error::Trace(
                "a traced model was called inside a trace".into(),
            ));
        }
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
        // Prefer a graph of exactly this batch size: it was recorded, not merged from several.
        let keys = [(shapes.clone(), Some(rows)), (shapes, None)];
        let lock = |cache| Mutex::lock(cache).unwrap_or_else(PoisonError::into_inner);
        if let Some((_, graph)) = lock(&self.edited).find(&keys) {
            return Ok(graph);
        }
        let (key, base) = match &*self.origin {
            Origin::Graph(graph) => {
                check_shapes(graph, values)?;
                (
                    keys[usize::from(graph.rows.is_none())].clone(),
                    graph.clone(),
                )
            }
            Origin::Module {
                recorder,
                graphs,
                first,
                traces,
                device,
                ..
            } => {
                let mut graphs = lock(graphs);
                match graphs.find(&keys) {
                    Some(found) => found,
                    None => {
                        traces.fetch_add(1, Ordering::Relaxed);
                        let graph = Arc::new(graph::trace(&**recorder, &specs, device)?);
                        let key = keys[usize::from(graph.rows.is_none())].clone();
                        first.get_or_init(|| graph.clone());
                        graphs.insert(key.clone(), graph.clone());
                        (key, graph)
                    }
                }
            }
        };
        let graph = if self.steps.is_empty() {
            base
        } else {
            Arc::new(self.edit(&base)?)
        };
        lock(&self.edited).insert(key, graph.clone());
        Ok(graph)
    }
}

/// Refuses inputs that do not fit a graph.
pub(crate) fn check_shapes(graph: &Graph, values: &[Value]) -> Result<(), Error> {
    if values.len() != graph.inputs.len() {
        return Err(Error::InputCount {
            expected: graph.inputs.len(),
            got: values.len(),
        });
    }
    let rows = values.first().map_or(1, Value::rows);
    for (i, (value, &slot)) in values.iter().zip(&graph.inputs).enumerate() {
        let expected = graph.shape_at(slot, graph.rows.unwrap_or(rows));
        if value.shape() != expected {
            return Err(Error::Shape {
                what: format!("input {i}"),
                got: value.shape(),
                expected: format!("{expected:?}, the shape that the graph was made for,"),
            });
        }
    }
    Ok(())
}

pub(crate) fn check_devices(device: &DispatchDevice, values: &[Value]) -> Result<(), Error> {
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

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use std::sync::Arc;

    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::{Device, Tensor};

    use crate::Traced;

    /// Methods ask for these edits with every question; a large network takes milliseconds.
    #[test]
    fn an_edit_that_methods_ask_for_is_made_once() {
        let device = Device::flex();
        let net: Linear = LinearConfig::new(3, 2).init(&device);
        let x = Tensor::<2>::ones([1, 3], &device);
        let model = Traced::new(&net, |net: &Linear, x| net.forward(x), &x).unwrap();
        for edit in [Traced::fold_batch_norm, Traced::expand_attention] {
            let [first, again, twice] =
                [edit(&model), edit(&model), edit(&edit(&model))].map(|m| m.graphs);
            assert!(Arc::ptr_eq(&first.edited, &again.edited));
            assert!(Arc::ptr_eq(&first.edited, &twice.edited));
        }
    }
}
