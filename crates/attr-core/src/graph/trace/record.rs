//! Runs a module's own forward on Burn's capture device and keeps what it recorded.
//!
//! The user's model is never touched: the recording runs on `model.valid()`, whose running
//! statistics are its own (a plain clone shares them, and moving the clone would move the
//! original's). Parameters are replaced by empty placeholders on the capture device, so weights
//! are neither copied nor moved, and neither a weight nor an input has a value that the forward
//! could read by mistake.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::{Mutex, Once, PoisonError};

use burn::backend::ir::{OperationIr, TensorId};
use burn::backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn::backend::{
    BackendTensor, DeviceSettings, Dispatch, DispatchDevice, DispatchTensor, DispatchTensorKind,
    TensorMetadata,
};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::kind::Basic;
use burn::tensor::{Bool, BoolStore, DType, Device, Int, Shape, Tensor, TensorData};

use crate::{Error, Inputs, Kind, Output, Value, Values};

/// Shape (rows included) and type of one input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Spec {
    pub shape: Vec<usize>,
    pub dtype: DType,
}

/// What one run of the forward function recorded.
pub(crate) struct Recording {
    pub operations: Vec<OperationIr>,
    pub values: BTreeMap<TensorId, TensorData>,
    pub inputs: Vec<TensorId>,
    pub parameters: Vec<Parameter>,
    pub output: TensorId,
    pub taps: Vec<(TensorId, String)>,
}

pub(crate) struct Parameter {
    pub id: TensorId,
    pub path: String,
    pub value: Value,
}

/// A model that can be recorded for inputs of any shape.
pub(crate) trait Recorder: Send + Sync {
    fn record(&self, inputs: &[Spec]) -> Result<Recording, Error>;
}

/// A Burn module with the function that runs it.
pub(crate) struct ModuleRecorder<M, F, I> {
    // A module need not be Sync.
    model: Mutex<M>,
    forward: F,
    attributed: Vec<bool>,
    settings: DeviceSettings,
    inputs: std::marker::PhantomData<fn(I)>,
}

impl<M: Module, F, I: Inputs> ModuleRecorder<M, F, I> {
    pub fn new(model: &M, forward: F, attributed: Vec<bool>, settings: DeviceSettings) -> Self {
        Self {
            model: Mutex::new(model.valid()),
            forward,
            attributed,
            settings,
            inputs: std::marker::PhantomData,
        }
    }
}

impl<M, F, I, O> Recorder for ModuleRecorder<M, F, I>
where
    M: Module,
    F: Fn(&M, I) -> O + Send + Sync,
    I: Inputs,
    O: Output,
{
    fn record(&self, inputs: &[Spec]) -> Result<Recording, Error> {
        let model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        record(inputs, &self.settings, |device, parameters, values| {
            let mut placeholders = Placeholders {
                device: device.as_dispatch(),
                settings: &self.settings,
                path: Vec::new(),
                parameters: Vec::new(),
            };
            // `valid` again: mapping and moving change running statistics in place.
            let model = model.valid().map(&mut placeholders).to_device(device);
            *parameters = placeholders.parameters;
            let values = Values::new(values, self.attributed.clone());
            (self.forward)(&model, I::from_values(values)?).into_output()
        })
    }
}

/// A function of named parameters and inputs, all untyped.
pub(crate) struct FunctionRecorder<F> {
    pub parameters: Vec<(String, Value)>,
    pub forward: F,
    pub settings: DeviceSettings,
}

impl<F> Recorder for FunctionRecorder<F>
where
    F: Fn(&[Value], &[Value]) -> Result<Value, Error> + Send + Sync,
{
    fn record(&self, inputs: &[Spec]) -> Result<Recording, Error> {
        record(inputs, &self.settings, |device, parameters, values| {
            let mut placeholders = Vec::with_capacity(self.parameters.len());
            for (path, value) in &self.parameters {
                let dtype = recorded(value.dtype(), &self.settings);
                let placeholder = empty(&value.shape(), dtype, device.as_dispatch());
                parameters.push(Parameter {
                    id: id(placeholder.clone())?,
                    path: path.clone(),
                    value: value.clone(),
                });
                placeholders.push(placeholder);
            }
            (self.forward)(&placeholders, &values)
        })
    }
}

/// Runs `forward` on the capture device with a placeholder for each input; `forward` adds the
/// parameters it declares to the list it is given.
fn record(
    inputs: &[Spec],
    settings: &DeviceSettings,
    forward: impl FnOnce(&Device, &mut Vec<Parameter>, Vec<Value>) -> Result<Value, Error>,
) -> Result<Recording, Error> {
    let device = capture_device();
    let device = device.lock().unwrap_or_else(PoisonError::into_inner);
    let mut declared = Vec::new();
    let mut parameters = Vec::new();
    let mut output = Err(Error::Internal("a recording ended without an output"));
    TAPS.with_borrow_mut(|taps| *taps = Some(Vec::new()));
    let captured = quietly(AssertUnwindSafe(|| {
        device.capture_scope(|scope| {
            let values = inputs.iter().map(|spec| {
                let dtype = recorded(spec.dtype, settings);
                empty(&spec.shape, dtype, device.as_dispatch())
            });
            let values: Vec<Value> = values.collect();
            declared = values.iter().map(|v| id(v.clone())).collect();
            output = forward(&device, &mut parameters, values).and_then(id);
            scope.complete([], [])
        })
    }));
    let taps = TAPS.with_borrow_mut(Option::take).unwrap_or_default();
    let captured = match captured {
        Ok(captured) => captured.map_err(|error| Error::Trace(error.to_string()))?,
        Err(panic) => return Err(explain_panic(panic.as_ref())),
    };
    let inputs = declared.into_iter().collect::<Result<_, _>>()?;
    Ok(Recording {
        operations: captured.graph.operations,
        values: captured.values,
        inputs,
        parameters,
        output: output?,
        taps,
    })
}

/// Whether a trace runs on this thread. Another one must not start inside it: there is only one
/// capture device.
pub(crate) fn tracing() -> bool {
    TAPS.with_borrow(Option::is_some)
}

/// The process's only capture device: capture devices are numbered and never recycled.
fn capture_device() -> &'static Mutex<Device> {
    static DEVICE: std::sync::OnceLock<Mutex<Device>> = std::sync::OnceLock::new();
    DEVICE.get_or_init(|| Mutex::new(Device::capture()))
}

/// The error for a panic. Burn panics with one of these texts if a recording does not have a value.
fn explain_panic(panic: &(dyn std::any::Any + Send)) -> Error {
    let message = panic_message(panic);
    if message.contains("has no concrete value") || message.contains("no initialized value") {
        return Error::ReadsValue;
    }
    Error::ForwardPanicked { message }
}

pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").to_string()
}

/// Runs `f` and catches its panic without printing it: a forward function bound to one batch size
/// panics at others, but its trace still succeeds.
fn quietly<T>(f: impl FnOnce() -> T + UnwindSafe) -> Result<T, Box<dyn Any + Send>> {
    static HOOK: Once = Once::new();
    // Panics of other threads, and elsewhere on this one, print as they did before.
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.with(Cell::get) {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(f);
    QUIET.set(false);
    result
}

/// The capture device's equivalent of a type of the model's device. Default integers and booleans
/// become the capture device's own, so that they fit tensors that the forward function creates;
/// [`Place::dtype`](super::Place::dtype) converts back.
fn recorded(dtype: DType, settings: &DeviceSettings) -> DType {
    match dtype {
        DType::Bool(_) => DType::Bool(BoolStore::U8),
        dtype if dtype == DType::from(settings.int_dtype) => DType::I64,
        other => other,
    }
}

/// A tensor without values, standing for an input or a parameter.
fn empty(shape: &[usize], dtype: DType, device: &DispatchDevice) -> Value {
    let shape = Shape::from(shape.to_vec());
    Value::from_dispatch(match Kind::from(dtype) {
        Kind::Float => Dispatch::float_empty(shape, device, dtype.into()),
        Kind::Int => Dispatch::int_empty(shape, device, dtype.into()),
        Kind::Bool => Dispatch::bool_empty(shape, device, dtype.into()),
    })
}

/// The recording's number of a tensor on the capture device.
fn id(value: Value) -> Result<TensorId, Error> {
    tensor_id(value.into_dispatch()).ok_or_else(|| {
        Error::Trace(
            "the forward function returned a tensor that was not computed from its inputs on the \
             device it was given; create tensors on `input.device()`"
                .into(),
        )
    })
}

fn tensor_id(tensor: DispatchTensor) -> Option<TensorId> {
    match tensor.kind {
        DispatchTensorKind::Capture(
            BackendTensor::Float(t) | BackendTensor::Int(t) | BackendTensor::Bool(t),
        ) => Some(t.id()),
        _ => None,
    }
}

/// Replaces every parameter by a placeholder and remembers the original.
struct Placeholders<'a> {
    device: &'a DispatchDevice,
    settings: &'a DeviceSettings,
    path: Vec<String>,
    parameters: Vec<Parameter>,
}

impl Placeholders<'_> {
    fn replace<const D: usize, K: Basic>(&mut self, tensor: Tensor<D, K>) -> Tensor<D, K> {
        let original = tensor.into_dispatch();
        let dtype = recorded(original.dtype(), self.settings);
        let placeholder = empty(&original.shape().to_vec(), dtype, self.device);
        if let Some(id) = tensor_id(placeholder.clone().into_dispatch()) {
            self.parameters.push(Parameter {
                id,
                path: self.path.join("."),
                value: Value::from_dispatch(original),
            });
        }
        Tensor::from_dispatch(placeholder.into_dispatch())
    }
}

impl ModuleMapper for Placeholders<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        Param::from_mapped_value(id, self.replace(tensor), mapper)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let (id, tensor, mapper) = param.consume();
        Param::from_mapped_value(id, self.replace(tensor), mapper)
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        let (id, tensor, mapper) = param.consume();
        Param::from_mapped_value(id, self.replace(tensor), mapper)
    }
}

thread_local! {
    /// Whether panics on this thread are expected, and print nothing.
    static QUIET: Cell<bool> = const { Cell::new(false) };
    /// Names given to tensors during the trace on this thread, if one runs.
    static TAPS: RefCell<Option<Vec<(TensorId, String)>>> = const { RefCell::new(None) };
}

/// Names an intermediate tensor of functional code, so that it can be found among the layers.
///
/// Returns the tensor unchanged, and does nothing outside a trace.
///
/// ```
/// use attr_core::tap;
/// use burn::tensor::Tensor;
///
/// fn forward(x: Tensor<2>) -> Tensor<2> {
///     let hidden = tap("hidden", x.tanh()); // model.from_layer("hidden", ...) works
///     hidden.sum_dim(1)
/// }
/// ```
pub fn tap<const D: usize, K: Basic>(name: &str, tensor: Tensor<D, K>) -> Tensor<D, K> {
    tap_dispatch(name, tensor.clone().into_dispatch());
    tensor
}

/// As [`tap`], for a tensor whose rank is known only at run time.
pub fn tap_value(name: &str, value: &Value) {
    tap_dispatch(name, value.clone().into_dispatch());
}

fn tap_dispatch(name: &str, tensor: DispatchTensor) {
    TAPS.with_borrow_mut(|taps| {
        if let Some(taps) = taps
            && let Some(id) = tensor_id(tensor)
        {
            taps.push((id, name.to_string()));
        }
    });
}
