//! Opens and traces an ONNX model file.

use std::cell::Cell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use attr_core::op::{Dim, Number, Op};
use attr_core::{Kind, Traced, Value, Values};
use burn::tensor::{DType, Device};

use crate::Error;
use crate::batch::Batch;
use crate::file::{self, Parsed};
use crate::graph::{Graph, Port, PortDim};
use crate::item::Item;
use crate::limits::{Limits, MOST_STEPS};
use crate::plan;
use crate::run::{Runner, Scope};

/// An ONNX model: its weights on a device and its graph ready to be traced.
///
/// Tracing gives an ordinary [`Traced`] model that works with every method. Its layers are named
/// after the file's nodes. Weights and computation are `f32`, whatever float type the file uses.
///
/// ```
/// use attr_core::{Method, Value, Values};
/// use attr_onnx::OnnxModel;
/// use burn::tensor::{Device, Tensor};
///
/// fn outputs(path: &str, image: Tensor<4>) -> Result<Vec<f32>, attr_onnx::Error> {
///     let model = OnnxModel::open(path, &image.device())?;
///     let inputs = Values::new(vec![Value::from(image)], vec![true]);
///     let traced = model.trace(&inputs, None)?;
///     for layer in traced.layers() {
///         println!("{layer}");
///     }
///     Ok(traced.forward(&inputs)?.to_vec()?)
/// }
/// # let missing = outputs("no.onnx", Tensor::zeros([1, 1, 8, 8], &Device::default()));
/// # assert!(missing.unwrap_err().to_string().starts_with("cannot read no.onnx"));
/// ```
#[derive(Debug)]
pub struct OnnxModel {
    pub(crate) graph: Arc<Graph>,
    pub(crate) parameters: Vec<(String, Value)>,
    pub(crate) device: Device,
}

impl OnnxModel {
    /// Reads a file, and the external weights files it names, onto `device`.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Format`], [`Error::Tensor`], [`Error::Graph`].
    pub fn open(path: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        Self::new(file::read(path.as_ref(), device)?, device)
    }

    /// Reads a model from memory. External weights files are looked up in `folder`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: Vec<u8>, folder: &Path, device: &Device) -> Result<Self, Error> {
        Self::new(
            file::parse(bytes, &folder.join("model.onnx"), device)?,
            device,
        )
    }

    fn new(parsed: Parsed, device: &Device) -> Result<Self, Error> {
        let model = Self {
            parameters: parsed.weights.parameters,
            graph: Arc::new(parsed.graph),
            device: device.clone(),
        };
        // Reject a graph that is invalid anywhere, even outside the chosen output.
        let all: Vec<&str> = model
            .graph
            .outputs
            .iter()
            .map(|port| &port.name[..])
            .collect();
        plan::order(&model.graph, &all, &|_| false)?;
        Ok(model)
    }

    /// Returns the inputs, in the file's order.
    pub fn inputs(&self) -> &[Port] {
        &self.graph.inputs
    }

    /// Returns the outputs, in the file's order.
    pub fn outputs(&self) -> &[Port] {
        &self.graph.outputs
    }

    /// Returns the output with this name, or without a name the first floating-point output.
    ///
    /// # Errors
    /// [`Error::UnknownOutput`].
    pub fn output(&self, name: Option<&str>) -> Result<&Port, Error> {
        let outputs = &self.graph.outputs;
        let found = match name {
            Some(name) => outputs.iter().find(|port| port.name == name),
            None => {
                let float = outputs
                    .iter()
                    .find(|port| port.kind == Kind::Float && !port.text);
                float.or_else(|| outputs.first())
            }
        };
        found.ok_or_else(|| Error::UnknownOutput {
            name: name.unwrap_or_default().to_string(),
            outputs: outputs.iter().map(|port| port.name.clone()).collect(),
        })
    }

    /// Returns the name and the operator of each node, in the file's order: of a model that no example has
    /// been given for yet.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, String)> {
        let nodes = self.graph.nodes.iter();
        nodes.map(|node| (&node.name[..], node.operator()))
    }

    /// Returns the batch size that the file was exported for, if it was exported for only one.
    pub fn exported_batch(&self) -> Option<usize> {
        let first = |port: &Port| match port.shape.as_deref() {
            Some([PortDim::Fixed(size), ..]) => Some(*size),
            _ => None,
        };
        let size = first(self.graph.inputs.first()?)?;
        let same = self
            .graph
            .inputs
            .iter()
            .all(|port| first(port) == Some(size));
        same.then_some(size)
    }

    /// Traces the model for inputs like `example`, one for each of [`inputs`](Self::inputs), in
    /// their order; `output` selects an output, as in [`output`](Self::output).
    ///
    /// The traced model accepts any number of rows. A model exported for a single batch size is
    /// adapted by removing that size from its reshapes, and its rows are compared with runs at the
    /// exported size. If they differ, or adapting fails, the traced model only accepts the exported
    /// number of rows at a time.
    ///
    /// # Errors
    /// [`Error::UnknownOutput`]; [`Error::Inputs`] if the example does not match the file's inputs;
    /// [`Error::Unsupported`] with all unsupported operators; [`Error::Node`].
    pub fn trace(&self, example: &Values, output: Option<&str>) -> Result<Traced, Error> {
        let output = self.output(output)?.name.clone();
        self.check(example)?;
        let order = plan::order(&self.graph, &[&output], &|_| false)?;
        plan::check_operators(&self.graph, &order)?;
        let Some(exported) = self.exported_batch() else {
            return self.traced(example, &output, &order, BatchSize::Any);
        };
        if exported != example.rows() && self.repeated(example, exported) > REPEATED {
            return Err(Error::Inputs(format!(
                "the model was exported for {exported} rows at a time, but {} were given",
                example.rows()
            )));
        }
        let adapted = self.traced(example, &output, &order, BatchSize::Adapted(exported));
        if let Ok(traced) = adapted
            && self.rows_agree(&traced, example, &output, &order, exported)?
        {
            return Ok(traced);
        }
        let some = rows_of(example, exported);
        self.traced(&some, &output, &order, BatchSize::Exported(exported))
    }

    /// Returns how many elements this many rows of an example have.
    fn repeated(&self, example: &Values, rows: usize) -> usize {
        let values = example.values().iter();
        let each = values.map(|value| value.shape()[1..].iter().product::<usize>());
        each.sum::<usize>().max(1).saturating_mul(rows)
    }

    fn traced(
        &self,
        example: &Values,
        output: &str,
        order: &[usize],
        batch: BatchSize,
    ) -> Result<Traced, Error> {
        let failure: Arc<Mutex<Option<Error>>> = Arc::default();
        let run = Forward {
            graph: self.graph.clone(),
            order: order.to_vec(),
            output: output.to_string(),
            batch,
            device: self.device.clone(),
        };
        let noted = failure.clone();
        let forward = move |parameters: &[Value], inputs: &[Value]| {
            run.run(parameters, inputs).map_err(|error| match error {
                Error::Core(error) => error,
                error => {
                    let text = error.to_string();
                    *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    attr_core::Error::Trace(text)
                }
            })
        };
        Traced::from_function(self.parameters.clone(), forward, example).map_err(|error| {
            let noted = failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            match error {
                attr_core::Error::Trace(_) => noted.unwrap_or(Error::Core(error)),
                error => Error::Core(error),
            }
        })
    }

    /// Returns whether an adapted model gives the same rows at twice the exported batch size as at
    /// that size.
    fn rows_agree(
        &self,
        traced: &Traced,
        example: &Values,
        output: &str,
        order: &[usize],
        exported: usize,
    ) -> Result<bool, Error> {
        // Rows of the example, and the same rows with their elements reversed.
        let some = rows_of(example, exported);
        let reversed = some.with(|_, value| {
            let shape = value.shape();
            let flat = value.clone().reshape(&[shape.iter().product()]);
            let op = Op::Flip(vec![0]);
            let flipped = op.run(vec![flat], &value.device()).ok()?.remove(0);
            Some(flipped.reshape(&shape))
        });
        let strict = self.traced(&some, output, order, BatchSize::Exported(exported))?;
        if strict
            .memory(&some)
            .is_none_or(|memory| memory.forward > TRIED)
        {
            return Ok(false);
        }
        let mut expected = strict.forward(&some)?.to_vec()?;
        expected.extend(strict.forward(&reversed)?.to_vec()?);
        let pairs = some.values().iter().zip(reversed.values());
        let both = pairs.map(|(a, b)| Value::cat_rows(vec![a.clone(), b.clone()]));
        let both: Vec<Value> = both.collect::<Result<_, _>>()?;
        let attributed = vec![true; both.len()];
        let Ok(got) = traced.forward(&Values::new(both, attributed)) else {
            return Ok(false);
        };
        let got = got.to_vec()?;
        let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4 * largest || a == b;
        Ok(got.len() == expected.len() && got.iter().zip(&expected).all(close))
    }

    /// Rejects inputs that do not match the file's declarations.
    fn check(&self, example: &Values) -> Result<(), Error> {
        let (given, declared) = (example.values(), &self.graph.inputs);
        if declared.is_empty() {
            return Err(Error::Inputs(
                "the model has no inputs, so there is nothing to explain".into(),
            ));
        }
        if given.len() != declared.len() {
            let names: Vec<&str> = declared.iter().map(|port| &port.name[..]).collect();
            return Err(Error::Inputs(format!(
                "{} inputs were given, but the model has {}: {names:?}",
                given.len(),
                declared.len()
            )));
        }
        for (value, port) in given.iter().zip(declared) {
            if value.kind() != port.kind {
                return Err(Error::Inputs(format!(
                    "input {:?} is {:?}, but the model takes {:?}",
                    port.name,
                    value.kind(),
                    port.kind
                )));
            }
            port.check_shape(&value.shape())?;
        }
        Ok(())
    }
}

impl Port {
    /// Refuses a shape that differs from the declared one in more than the number of rows.
    ///
    /// # Errors
    /// [`Error::Inputs`] with both shapes.
    pub fn check_shape(&self, shape: &[usize]) -> Result<(), Error> {
        let Some(dims) = &self.shape else {
            return Ok(());
        };
        let fits = |(i, (size, dim)): (usize, (&usize, &PortDim))| match dim {
            PortDim::Fixed(fixed) => i == 0 || size == fixed,
            PortDim::Free(_) => true,
        };
        if shape.len() == dims.len() && shape.iter().zip(dims).enumerate().all(fits) {
            return Ok(());
        }
        Err(Error::Inputs(format!(
            "input {:?} has shape {shape:?}, but the model takes {}",
            self.name,
            self.describe()
        )))
    }

    /// Formats the declared shape: `[batch, 3, 224, 224]`, with `?` for a size without a name.
    pub fn describe(&self) -> String {
        let Some(dims) = &self.shape else {
            return "any shape".into();
        };
        let dims = dims.iter().map(|dim| match dim {
            PortDim::Fixed(size) => size.to_string(),
            PortDim::Free(name) if name.is_empty() => "?".into(),
            PortDim::Free(name) => name.clone(),
        });
        format!("[{}]", dims.collect::<Vec<_>>().join(", "))
    }
}

/// Rows are repeated to fill a batch only up to this many elements.
const REPEATED: usize = 1 << 24;

/// Models whose forward pass needs more bytes than this at their exported batch size are not run to
/// compare rows, but explained at that size.
const TRIED: usize = 1 << 29;

/// Returns this many rows of an example, repeating them if it has fewer.
fn rows_of(example: &Values, count: usize) -> Values {
    let rows: Vec<usize> = (0..count).map(|i| i % example.rows()).collect();
    example.select(&rows)
}

/// The forward pass that is traced.
struct Forward {
    graph: Arc<Graph>,
    order: Vec<usize>,
    output: String,
    batch: BatchSize,
    device: Device,
}

/// The batch sizes that a model runs at.
#[derive(Clone, Copy)]
enum BatchSize {
    /// Any: the file leaves the size open.
    Any,
    /// Exported for this size, but adapted to run at others.
    Adapted(usize),
    /// Exported for this size and run only at it.
    Exported(usize),
}

impl Forward {
    fn run(&self, parameters: &[Value], inputs: &[Value]) -> Result<Value, Error> {
        let device = match inputs.first() {
            Some(input) => input.device(),
            None => self.device.clone(),
        };
        let rows = inputs.first().map_or(1, Value::rows);
        let batch = match self.batch {
            BatchSize::Any => None,
            BatchSize::Adapted(exported) => {
                Some(self.exported_shapes(parameters, inputs, exported, rows, &device)?)
            }
            BatchSize::Exported(exported) if rows == exported => None,
            BatchSize::Exported(exported) => {
                return Err(Error::Inputs(format!(
                    "the model was exported for a batch of {exported} and cannot be run at {rows}; \
                     export it with a dynamic batch, or give {exported} rows at a time"
                )));
            }
        };
        let limits = self.limits();
        let runner = Runner {
            device: &device,
            names: true,
            batch: batch.as_ref(),
            limits: &limits,
        };
        let mut scope = self.scope(parameters, inputs, rows)?;
        runner.run(&self.graph, &self.order, &[&self.output], &mut scope)?;
        let output = scope
            .get(&self.output)
            .ok_or_else(|| Error::Graph(format!("no node gives the output {:?}", self.output)))?;
        match output.live() {
            Some(value) if output.active => Ok(value.clone()),
            _ => Err(Error::Graph(format!(
                "the output {:?} does not depend on the model's input",
                self.output
            ))),
        }
    }

    /// Returns the limits of one run: enough constants for masks, position codes and a few rearranged
    /// copies of the weights.
    fn limits(&self) -> Limits {
        let parameters = self.graph.constants.values();
        let sizes = parameters.filter_map(|c| c.parameter.as_ref());
        let stored: usize = sizes
            .map(|(_, v)| v.shape().iter().product::<usize>())
            .sum();
        let integers = match DType::from(self.device.settings().int_dtype) {
            DType::I64 => i64::MIN..=i64::MAX,
            _ => i64::from(i32::MIN)..=i64::from(i32::MAX),
        };
        Limits {
            integers,
            constants: Cell::new((1 << 26) + stored.saturating_mul(8)),
            steps: Cell::new(MOST_STEPS),
        }
    }

    /// Returns the values available before the first node runs.
    fn scope(
        &self,
        parameters: &[Value],
        inputs: &[Value],
        rows: usize,
    ) -> Result<Scope<'static>, Error> {
        let mut all = HashMap::new();
        for (name, constant) in &self.graph.constants {
            let host = constant.host.clone();
            let parameter = constant.parameter.as_ref();
            let item = match (parameter.map(|(index, _)| parameters.get(*index)), host) {
                (Some(Some(value)), host) => {
                    let value = self.graph.for_rows(name, value.clone(), rows)?;
                    // What is repeated has another shape than its values on the host.
                    let host = host.filter(|host| host.shape() == value.shape());
                    Item::recorded(value, host, false)
                }
                (None, Some(host)) => host.into(),
                (Some(None), _) | (None, None) => continue,
            };
            all.insert(name.clone(), item);
        }
        for (port, value) in self.graph.inputs.iter().zip(inputs) {
            let item = Item::recorded(value.clone(), None, true);
            all.insert(port.name.clone(), item);
        }
        Ok(Scope::new(all, None))
    }

    /// Returns the shapes of all values at the exported batch size. The operations recorded here
    /// lead to no output and are dropped.
    fn exported_shapes(
        &self,
        parameters: &[Value],
        inputs: &[Value],
        exported: usize,
        rows: usize,
        device: &Device,
    ) -> Result<Batch, Error> {
        let examples = inputs.iter().map(|input| {
            let mut shape: Vec<Dim> = input
                .shape()
                .iter()
                .map(|&d| Dim::fixed(d as isize))
                .collect();
            shape[0] = Dim::fixed(exported as isize);
            let (value, dtype): (Number, DType) = (Number::Int(0), input.dtype());
            let op = Op::Full {
                shape,
                value,
                dtype,
            };
            Ok(op.run(Vec::new(), device)?.remove(0))
        });
        let examples: Vec<Value> = examples.collect::<Result<_, attr_core::Error>>()?;
        let limits = self.limits();
        let runner = Runner {
            device,
            names: false,
            batch: None,
            limits: &limits,
        };
        let mut scope = self.scope(parameters, &examples, exported)?;
        runner.run(&self.graph, &self.order, &[], &mut scope)?;
        Ok(Batch::new(exported, rows, scope.into_shapes()))
    }
}
