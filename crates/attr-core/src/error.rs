//! Errors of this library: each says which value was wrong and what would be right.

use std::fmt;

use crate::Kind;

/// Why a model could not be traced or explained.
#[derive(Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An input has no rows.
    #[error("input {input} has no rows (shape {shape:?}); pass at least one")]
    EmptyBatch {
        /// Which input.
        input: usize,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A tensor holds NaN or infinity.
    #[error("{what} holds NaN or infinity; attributions of it would be meaningless")]
    NonFinite {
        /// Where it was found.
        what: String,
    },
    /// A tensor's shape is not what the model or the method needs.
    #[error("{what} has shape {got:?}, but {expected} is needed")]
    Shape {
        /// Which tensor.
        what: String,
        /// Its shape.
        got: Vec<usize>,
        /// The shape needed.
        expected: String,
    },
    /// A tensor's rank differs from the requested rank.
    #[error("the tensor has rank {got}, but rank {expected} was requested")]
    Rank {
        /// The requested rank.
        expected: usize,
        /// The tensor's rank.
        got: usize,
    },
    /// A tensor's element kind differs from the requested kind.
    #[error("the tensor holds {got:?} elements, but {expected:?} was requested")]
    ElementKind {
        /// The requested kind.
        expected: Kind,
        /// The tensor's kind.
        got: Kind,
    },
    /// A tensor's element type or device differs from that of the tensors it is used with.
    #[error("{what} is {got}, but {expected} is needed")]
    Unlike {
        /// Which tensor.
        what: String,
        /// Its element type and device.
        got: String,
        /// The element type and device needed.
        expected: String,
    },
    /// The number of inputs is wrong.
    #[error("{got} inputs were given, but {expected} are needed")]
    InputCount {
        /// How many are needed.
        expected: usize,
        /// How many were given.
        got: usize,
    },
    /// An input is not on the model's device.
    #[error("input {input} is on {got}, but the model is on {expected}; move it with `to_device`")]
    DeviceMismatch {
        /// Which input.
        input: usize,
        /// The model's device.
        expected: String,
        /// The input's device.
        got: String,
    },
    /// A target names an output that does not exist.
    #[error(
        "target {target} is out of range for an output of shape {output:?} (dimension 0 is the \
         batch)"
    )]
    TargetOutOfRange {
        /// The target.
        target: String,
        /// Shape of the model's output.
        output: Vec<usize>,
    },
    /// The number of per-row targets differs from the number of input rows.
    #[error("{got} targets were given for {expected} rows; give one per row")]
    TargetRows {
        /// Rows of the input.
        expected: usize,
        /// Targets given.
        got: usize,
    },
    /// The target does not pick one number per row of this output.
    #[error("target {target} does not fit an output of shape {output:?}: {needs}")]
    TargetShape {
        /// The target.
        target: String,
        /// Shape of the model's output.
        output: Vec<usize>,
        /// What the target needs.
        needs: String,
    },
    /// No layer has this name.
    #[error("no layer is called {name:?}; the nearest names are {nearest:?}")]
    UnknownLayer {
        /// The name given.
        name: String,
        /// Similar names that exist, best match first.
        nearest: Vec<String>,
    },
    /// No parameter has this path.
    #[error("no parameter is called {name:?}; the nearest paths are {nearest:?}")]
    UnknownParameter {
        /// The path given.
        name: String,
        /// Similar paths that exist, best match first.
        nearest: Vec<String>,
    },
    /// The name is a module's, and the trace does not show at which node the module ends:
    /// operations without parameters follow it and may or may not belong to it.
    #[error(
        "{name:?} is a module, and the trace does not show where it ends; name the layer: \
         {candidates:?}"
    )]
    AmbiguousLayer {
        /// The name given.
        name: String,
        /// The layers that the name may refer to, in execution order.
        candidates: Vec<String>,
    },
    /// A layer cannot serve as the start or end of a model.
    #[error("layer {name:?} cannot be used here: {reason}")]
    Layer {
        /// The layer.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A parameter of a method is out of range.
    #[error("{name} = {value} is invalid; {expected}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// The numbers of a feature mask are not 0, 1, 2, ... without gaps.
    #[error("the feature mask is invalid at feature {number}: {reason}")]
    FeatureMask {
        /// The number that is invalid or missing.
        number: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// The forward function returned one output for several perturbed copies of the batch.
    #[error(
        "the forward function returns an output of shape {output:?} for {rows} rows: one value for \
         the whole batch; evaluate one perturbation at a time, with `perturbations_per_eval` = 1"
    )]
    WholeBatch {
        /// Shape of the output.
        output: Vec<usize>,
        /// Number of input rows.
        rows: usize,
    },
    /// A closure was given to a method that looks inside the model.
    #[error(
        "this method looks inside the model, which is not possible for a closure; explain \
         `Traced::new(&module, ...)` instead"
    )]
    NotTraced,
    /// The output does not depend differentiably on an input that gets an attribution.
    #[error(
        "the model has no gradient with respect to input {input}: the input is not floating point, \
         or no differentiable path leads from it to the output. For integer inputs such as tokens, \
         explain the embedding with a layer method, or explain the model from there on: \
         `model.from_layer(\"embedding\", &tokens)`"
    )]
    NoGradient {
        /// Which input.
        input: usize,
    },
    /// The forward function read a tensor's values while it was being traced.
    #[error(
        "the forward function reads a tensor's values (into_data, into_scalar, to_vec, ...), so \
         its operations depend on the data and cannot be traced; use tensor operations instead, \
         or explain the function as a closure"
    )]
    ReadsValue,
    /// An operation that cannot be replayed.
    #[error("operation {operation} (in layer {layer:?}) is not supported")]
    UnsupportedOperation {
        /// Burn's name for the operation.
        operation: String,
        /// The layer that it is in or follows.
        layer: String,
    },
    /// An operation does not exist for this kind of elements.
    #[error("operation {operation} is not defined for {kind:?} elements")]
    Operation {
        /// The operation.
        operation: String,
        /// The kind of its operand's elements.
        kind: Kind,
    },
    /// A convolution or pooling layer has an unsupported window.
    #[error("{layer} with {got} is not supported; {supported}")]
    Geometry {
        /// The kind of layer.
        layer: &'static str,
        /// What is wrong with its window.
        got: String,
        /// What is supported.
        supported: &'static str,
    },
    /// The forward function panicked.
    #[error("the forward function panicked: {message}")]
    ForwardPanicked {
        /// The panic's message.
        message: String,
    },
    /// A layer of a traced model panicked on its operands, such as an index outside a table.
    #[error("layer {layer:?} cannot process these values: {message}")]
    LayerPanicked {
        /// The layer.
        layer: String,
        /// The panic's message.
        message: String,
    },
    /// The forward function returned an error.
    #[error("the forward function failed: {message}")]
    ForwardFailed {
        /// The error's message.
        message: String,
    },
    /// A rule returned a result that does not fit the node.
    #[error("rule {rule} cannot be applied to layer {layer:?}: {reason}")]
    Rule {
        /// The rule.
        rule: String,
        /// The layer.
        layer: String,
        /// What is wrong.
        reason: String,
    },
    /// A walk refers to a row that the forward pass does not have.
    #[error("the walk refers to row {row}, but the forward pass has {rows} rows")]
    Rows {
        /// The row.
        row: usize,
        /// Rows of the forward pass.
        rows: usize,
    },
    /// The caller cancelled the work.
    #[error("the work was cancelled")]
    Cancelled,
    /// A closure predicts differently from pass to pass, or under autodiff, because some module is in
    /// training mode.
    #[error(
        "the model predicts differently from pass to pass (by up to {difference:e}): a BatchNorm or \
         Dropout is in training mode. Explain `model.valid()` instead, or trace the model"
    )]
    TrainingMode {
        /// Largest difference in an output value.
        difference: f32,
    },
    /// A traced model takes any number of rows, but a row's output depends on the others.
    #[error(
        "the model mixes rows: the first row's output changes by {difference:e} with another row \
         beside it, so attributions would depend on which rows go together. Evaluate one row at a \
         time, with a budget of one row"
    )]
    MixesRows {
        /// Largest difference in an output value.
        difference: f32,
    },
    /// The trace could not be completed.
    #[error("tracing failed: {0}")]
    Trace(String),
    /// Reading from or writing to the device failed.
    #[error("the device failed: {0}")]
    Device(String),
    /// A method did not reach its tolerance.
    #[error(
        "the convergence delta is still {delta:e} after {steps} steps, above the tolerance \
         {tolerance:e}; allow more steps or a larger tolerance"
    )]
    NotConverged {
        /// Largest delta of any row.
        delta: f32,
        /// Steps taken.
        steps: usize,
        /// The requested tolerance.
        tolerance: f64,
    },
    /// A method cannot do what was requested.
    #[error("{method} cannot be used here: {reason}")]
    Method {
        /// The method.
        method: &'static str,
        /// Why not, and what to do.
        reason: String,
    },
    /// An invariant of this library was violated; please report it.
    #[error("internal error: {0}; please report it")]
    Internal(&'static str),
}

/// The message: it is what `main` prints when it returns the error.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
