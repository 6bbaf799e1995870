//! Everything that can go wrong, with the value that was wrong and what would be right.

use crate::Kind;

/// Why a model could not be traced or explained.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
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
    /// A NaN or an infinity.
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
        /// What would fit.
        expected: String,
    },
    /// A tensor has another rank than asked for.
    #[error("the tensor has rank {got}, but rank {expected} was asked for")]
    Rank {
        /// The rank asked for.
        expected: usize,
        /// The rank it has.
        got: usize,
    },
    /// A tensor has another element kind than asked for.
    #[error("the tensor holds {got:?} elements, but {expected:?} was asked for")]
    ElementKind {
        /// The kind asked for.
        expected: Kind,
        /// The kind it has.
        got: Kind,
    },
    /// A tensor has another element type, or lives on another device, than what it meets.
    #[error("{what} is {got}, but {expected} is needed")]
    Unlike {
        /// Which tensor.
        what: String,
        /// Its element type and device.
        got: String,
        /// What would fit.
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
    /// Inputs live on another device than the model.
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
        "target {target} is out of range for output of shape {output:?} (dimension 0 is the batch)"
    )]
    TargetOutOfRange {
        /// The target.
        target: String,
        /// Shape of the model's output.
        output: Vec<usize>,
    },
    /// A target given per row has another number of rows than the input.
    #[error("{got} targets were given for {expected} rows; give one per row")]
    TargetRows {
        /// Rows of the input.
        expected: usize,
        /// Targets given.
        got: usize,
    },
    /// The target does not pick one number per row of this output.
    #[error("target {target} does not fit output of shape {output:?}: {needs}")]
    TargetShape {
        /// The target.
        target: String,
        /// Shape of the model's output.
        output: Vec<usize>,
        /// What would fit.
        needs: String,
    },
    /// No layer of that name.
    #[error("no layer is called {name:?}; the nearest names are {nearest:?}")]
    UnknownLayer {
        /// The name given.
        name: String,
        /// Existing names that look like it, best first.
        nearest: Vec<String>,
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
        /// The number that is wrong, or missing.
        number: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// The forward function gave one output for several perturbed copies of the batch.
    #[error(
        "the forward function gives an output of shape {output:?} for {rows} rows, so one value for \
         the whole batch: evaluate one perturbation at a time, with `perturbations_per_eval` = 1"
    )]
    WholeBatch {
        /// Shape of the output.
        output: Vec<usize>,
        /// Rows that went in.
        rows: usize,
    },
    /// A closure was given to a method that looks inside the model.
    #[error(
        "this method looks inside the model, and a closure has no inside; explain \
         `Traced::new(&module, ...)` instead"
    )]
    NotTraced,
    /// The output does not depend, in a differentiable way, on any input that gets an attribution.
    #[error(
        "the model has no gradient to its input {input}: it is not floating point, or no \
         differentiable path leads from it to the output. For integer inputs such as tokens, \
         explain the embedding with a method of layers, or from there on: \
         `model.from_layer(\"embedding\", &tokens)`"
    )]
    NoGradient {
        /// Which input.
        input: usize,
    },
    /// The forward function looked at a tensor's values while it was being traced.
    #[error(
        "the forward function reads a tensor's value (into_data, into_scalar, to_vec, ...), so its \
         operations depend on the data and cannot be traced; use tensor operations instead, or \
         explain it as a closure"
    )]
    ReadsValue,
    /// An operation that cannot be replayed.
    #[error("operation {operation} (in layer {layer:?}) is not supported")]
    UnsupportedOperation {
        /// Burn's name of the operation.
        operation: String,
        /// The layer it stands in or after.
        layer: String,
    },
    /// A convolution or a pooling whose window cannot be computed with.
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
    /// A layer of a traced model met values that it cannot work on, such as an index outside a
    /// table.
    #[error("layer {layer:?} cannot work on these values: {message}")]
    LayerPanicked {
        /// The layer.
        layer: String,
        /// The panic's message.
        message: String,
    },
    /// The forward function returned an error.
    #[error("the forward function failed: {message}")]
    ForwardFailed {
        /// The error, as it prints.
        message: String,
    },
    /// A rule handed back what does not fit the node.
    #[error("rule {rule} cannot serve layer {layer:?}: {reason}")]
    Rule {
        /// The rule.
        rule: String,
        /// The layer.
        layer: String,
        /// What is wrong.
        reason: String,
    },
    /// A walk stands on a row that the forward pass does not have.
    #[error("the walk stands on row {row}, but the forward pass has {rows} rows")]
    Rows {
        /// The row.
        row: usize,
        /// How many there are.
        rows: usize,
    },
    /// The caller cancelled the work.
    #[error("the work was cancelled")]
    Cancelled,
    /// A closure behaves differently under autodiff: some module is in training mode.
    #[error(
        "the model predicts differently under autodiff (by up to {difference:e}): a BatchNorm or \
         Dropout is in training mode. Explain `model.valid()` instead, or trace the model"
    )]
    TrainingMode {
        /// Largest difference of an output.
        difference: f32,
    },
    /// The recording could not be completed.
    #[error("tracing failed: {0}")]
    Trace(String),
    /// Reading from or writing to the device failed.
    #[error("the device failed: {0}")]
    Device(String),
    /// A method did not reach its tolerance.
    #[error(
        "the convergence delta is still {delta:e} after {steps} steps, over the tolerance \
         {tolerance:e}; allow more steps or a larger tolerance"
    )]
    NotConverged {
        /// Largest delta of a row.
        delta: f32,
        /// Steps taken.
        steps: usize,
        /// The tolerance asked for.
        tolerance: f64,
    },
    /// A method cannot do what was asked of it.
    #[error("{method} cannot be used here: {reason}")]
    Method {
        /// The method.
        method: &'static str,
        /// Why not, and what to do.
        reason: String,
    },
    /// An invariant of this library was broken; please report it.
    #[error("internal error: {0}; please report it")]
    Internal(&'static str),
}
