//! What the program takes.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::device::DeviceName;

/// Explains the predictions of an ONNX model: which inputs spoke for an output, and which against
/// it.
///
/// A first look at an unknown model:
///
///   attrx layers --model net.onnx
///   attrx methods
///   attrx explain --model net.onnx --input cat.png --method saliency --image why.png
#[derive(Parser)]
#[command(name = "attrx", version, verbatim_doc_comment, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    Explain(Box<ExplainArguments>),
    Layers(LayersArguments),
    Methods(MethodsArguments),
    /// Prints a completion script for a shell.
    ///
    /// Example:
    ///
    ///   attrx completions bash > ~/.local/share/bash-completion/completions/attrx
    #[command(verbatim_doc_comment)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// The model and what it is given.
#[derive(Args)]
pub struct ModelArguments {
    /// The model: an ONNX file.
    #[arg(long, value_name = "M.onnx")]
    pub model: PathBuf,

    /// Which of the model's outputs to explain; the first that is floating point unless given.
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,

    /// An input that gets an attribution: a .npy or .npz array, fed as it is (dimension 0 is the
    /// rows), or a .png or .jpg image. NAME= says which of the model's inputs it is; without,
    /// files are taken in the model's order. Repeatable.
    #[arg(long, value_name = "[NAME=]FILE")]
    pub input: Vec<String>,

    /// An input that the model needs but that gets no attribution, such as a mask. Repeatable.
    #[arg(long, value_name = "NAME=FILE")]
    pub constant: Vec<String>,

    /// Size to which images are resized, HEIGHTxWIDTH or one number for both; the model's own
    /// unless given.
    #[arg(long, value_name = "SIZE")]
    pub size: Option<String>,

    /// Subtracted from an image's colours, which lie in 0..1: one number, or one per channel.
    #[arg(
        long,
        value_name = "MEAN",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub mean: Vec<f32>,

    /// Divides an image's colours after the mean: one number, or one per channel.
    #[arg(long, value_name = "STD", value_delimiter = ',')]
    pub std: Vec<f32>,

    /// Where the model runs.
    #[arg(long, value_enum, default_value_t)]
    pub device: DeviceName,

    /// Drops a final softmax or sigmoid: probabilities saturate, so their gradients vanish where
    /// the model is sure.
    #[arg(long)]
    pub logits: bool,

    /// Prints nothing but errors, and what was asked for on standard output.
    #[arg(long, short)]
    pub quiet: bool,

    /// Tells on standard error what is being done.
    #[arg(long, short)]
    pub verbose: bool,
}

/// Explains a prediction.
///
/// Example: integrated gradients of the predicted class of a digit, as numbers and as a picture:
///
///   attrx explain --model digits.onnx --input seven.png --method integrated-gradients \
///       --target predicted --set n_steps=100 --out attr.npy --image why.png
///
/// At a hidden layer (names as `attrx layers` prints them), and for one unit of a layer:
///
///   attrx explain --model net.onnx --input x.npy --method gradcam --layer /conv2/Conv
///   attrx explain --model net.onnx --input x.npy --method saliency --neuron /conv2/Conv:3,0,0
///
/// Without gradients: superpixels of an image by LIME, what a window hides:
///
///   attrx explain --model net.onnx --input cat.png --method lime --set n_samples=500 \
///       --feature-mask slic:50 --image why.png
///   attrx explain --model net.onnx --input cat.png --method occlusion \
///       --set sliding_window_shapes=3,15,15 --set strides=3,8,8 --baseline blur:5
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct ExplainArguments {
    #[command(flatten)]
    pub model: ModelArguments,

    /// The method, by its name in `attrx methods`.
    #[arg(long, value_name = "NAME")]
    pub method: String,

    /// The number of the output to explain: a class, `predicted`, an index i,j,... for outputs of
    /// more than two dimensions, or a .npy of integers with one class (or one index) per row.
    /// Unless given: the predicted class, or the only number of each row.
    #[arg(long, value_name = "TARGET", allow_hyphen_values = true)]
    pub target: Option<String>,

    /// Attributes to the output of this layer instead of to the input; with @input behind the
    /// name, to what the layer takes. Repeatable.
    #[arg(long, value_name = "NAME[@input]")]
    pub layer: Vec<String>,

    /// Explains this unit of a layer instead of the model's output; for neuron-conductance, the
    /// unit through which it looks.
    #[arg(long, value_name = "LAYER:i,j,k")]
    pub neuron: Option<String>,

    /// What stands for absent: a number, min or max of each row, blur:SIGMA for a blurred image,
    /// inpaint for what surrounds the absent part, or a .npy with one row or one per row (or, for
    /// methods that average over a distribution, with any number of rows); 0 unless given. Once for
    /// all inputs, or NAME= for each. Repeatable.
    #[arg(long, value_name = "[NAME=]VALUE|FILE.npy", allow_hyphen_values = true)]
    pub baseline: Vec<String>,

    /// What counts as one feature: slic:SEGMENTS for superpixels of an image, grid:HEIGHTxWIDTH for
    /// cells, pixels for all channels of a pixel together, or a .npy of integers shaped like the
    /// input (an image's channels may be left out), numbered from 0, equal numbers belonging
    /// together. Repeatable, once for each explained input. Every element by itself unless given.
    #[arg(long, value_name = "FEATURES|FILE.npy")]
    pub feature_mask: Vec<String>,

    /// A .npy of rows like those explained, for methods that learn from a training set.
    #[arg(long, value_name = "FILE.npy")]
    pub training: Option<PathBuf>,

    /// A parameter of the method, by its name in `attrx methods`; lists are written 1,2,3.
    /// Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Seed of everything random.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Memory for activations and gradients, in MiB; results do not depend on it.
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub memory: usize,

    /// Writes the attribution: .npy (float32, shaped like what it is of) or, for several inputs,
    /// .safetensors with an entry for each.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Writes the convergence delta of each row, for methods that have one.
    #[arg(long, value_name = "FILE.npy")]
    pub delta: Option<PathBuf>,

    /// Writes the standard error of each value, for methods that sample; as --out.
    #[arg(long, value_name = "FILE")]
    pub standard_error: Option<PathBuf>,

    /// Draws the attribution beside the input; of several, the first.
    #[arg(long, value_name = "FILE.png")]
    pub image: Option<PathBuf>,

    /// Writes a summary: prediction, target, delta, time, evaluations. Without FILE it goes to
    /// standard output.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
}

/// Lists a model's inputs, outputs and layers.
///
/// The layers' names are those of the file's nodes, for --layer and --neuron.
///
/// Example:
///
///   attrx layers --model net.onnx
///   attrx layers --model net.onnx --input x.npy --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct LayersArguments {
    #[command(flatten)]
    pub model: ModelArguments,

    /// Prints a JSON array with an object for each layer.
    #[arg(long)]
    pub json: bool,
}

/// Lists the methods with their parameters and defaults.
///
/// Example:
///
///   attrx methods
///   attrx methods integrated-gradients
///   attrx methods --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct MethodsArguments {
    /// Only this method.
    pub name: Option<String>,

    /// Prints a JSON array with an object for each method.
    #[arg(long)]
    pub json: bool,
}
