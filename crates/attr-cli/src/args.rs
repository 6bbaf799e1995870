//! The command-line arguments of `attrx`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::device::DeviceName;

/// Explains the predictions of an ONNX model: which inputs support a prediction, and which oppose
/// it.
///
/// To get started with an unknown model:
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
    Lrp(LrpArguments),
    Crp(CrpArguments),
    Methods(MethodsArguments),
    Report(Box<ReportArguments>),
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

/// The model and its inputs.
#[derive(Args, Clone)]
pub struct ModelArguments {
    /// The model: an ONNX file.
    #[arg(long, value_name = "M.onnx")]
    pub model: PathBuf,

    /// The output to explain. Default: the first floating-point output.
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,

    /// An input to attribute: a .npy or .npz array, passed unchanged (dimension 0 is the rows), or
    /// a .png or .jpg image. NAME= selects the model input; without it, files are assigned in the
    /// model's order. Repeatable.
    #[arg(long, value_name = "[NAME=]FILE")]
    pub input: Vec<String>,

    /// An input that the model needs but that is not attributed, such as a mask. Repeatable.
    #[arg(long, value_name = "NAME=FILE")]
    pub constant: Vec<String>,

    /// Size to resize images to: HEIGHTxWIDTH, or one number for both. Default: the model's input
    /// size.
    #[arg(long, value_name = "SIZE")]
    pub size: Option<String>,

    /// Mean to subtract from an image's colours, which lie in 0..1: one number, or one per channel.
    #[arg(
        long,
        value_name = "MEAN",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub mean: Vec<f32>,

    /// Value to divide an image's colours by, after --mean: one number, or one per channel.
    #[arg(long, value_name = "STD", value_delimiter = ',')]
    pub std: Vec<f32>,

    /// The device to run the model on.
    #[arg(long, value_enum, default_value_t)]
    pub device: DeviceName,

    /// Drops a final softmax or sigmoid. Probabilities saturate, so their gradients vanish where
    /// the model is confident.
    #[arg(long)]
    pub logits: bool,

    /// Prints only errors, and output requested explicitly on standard output.
    #[arg(long, short)]
    pub quiet: bool,

    /// Reports each step on standard error.
    #[arg(long, short)]
    pub verbose: bool,
}

/// The question: a model, its inputs, the methods and their settings.
#[derive(Args, Clone)]
pub struct QuestionArguments {
    #[command(flatten)]
    pub model: ModelArguments,

    /// The method, named as in `attrx methods`, or several, separated by commas.
    #[arg(long, value_name = "NAME,...")]
    pub method: String,

    /// The output element to explain: a class, `predicted`, an index i,j,... for outputs with more
    /// than two dimensions, or a .npy of integers with one class (or one index) per row.
    /// Default: the predicted class, or the only element if each row has just one.
    #[arg(long, value_name = "TARGET", allow_hyphen_values = true)]
    pub target: Option<String>,

    /// Attributes to this layer's output instead of the model's input; NAME@input attributes to the
    /// layer's input. Repeatable. Default for class activation maps: the last layer whose output
    /// has height and width. With several methods, only those that need a layer use it.
    #[arg(long, value_name = "NAME[@input]")]
    pub layer: Vec<String>,

    /// Explains this unit of a layer instead of the model's output. For neuron-conductance, the
    /// unit whose conductance is computed.
    #[arg(long, value_name = "LAYER:i,j,k")]
    pub neuron: Option<String>,

    /// The baseline, which represents absent features: a number, min or max of each row, blur:SIGMA
    /// for a blurred image, inpaint to fill from the surroundings, or a .npy with one row or one
    /// per input row (any number of rows for methods that average over a distribution). Default: 0.
    /// Given once for all inputs, or with NAME= for each. Repeatable.
    #[arg(long, value_name = "[NAME=]VALUE|FILE.npy", allow_hyphen_values = true)]
    pub baseline: Vec<String>,

    /// How elements are grouped into features: slic:SEGMENTS for superpixels of an image,
    /// grid:HEIGHTxWIDTH for cells, pixels for all channels of a pixel together, or a .npy of
    /// feature numbers, starting at 0, shaped like the input (the channels of an image may be
    /// omitted); elements with a negative number are never perturbed. Repeatable: one per explained
    /// input. Default: each element is its own feature.
    #[arg(long, value_name = "FEATURES|FILE.npy")]
    pub feature_mask: Vec<String>,

    /// A .npy of training rows with the same features as the input, for methods that need them.
    #[arg(long, value_name = "FILE.npy")]
    pub training: Option<PathBuf>,

    /// One class for each row, in place of --target.
    #[arg(skip)]
    pub classes: Option<Vec<usize>>,

    /// A parameter of the method, named as in `attrx methods`; lists are written 1,2,3. With several
    /// methods, it goes to all that have it, or to one: METHOD.KEY=VALUE. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Seed for all random numbers.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Memory for activations and gradients, in MiB. Default: what suits the device, at most 1024.
    /// With 0, rows are evaluated one at a time, whatever each needs. Does not affect the results.
    #[arg(long, value_name = "MIB")]
    pub memory: Option<usize>,

    /// A text file with the classes' names, one for each line in order; they appear beside the
    /// classes' numbers.
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,

    /// A text file with the features' names, one for each line in order, or a .csv whose first line
    /// has them.
    #[arg(long, value_name = "FILE")]
    pub features: Option<PathBuf>,

    /// An ONNX file that encodes images, for latent-shift: one input like the model's, one output,
    /// the code.
    #[arg(long, value_name = "FILE.onnx")]
    pub encoder: Option<PathBuf>,

    /// An ONNX file that decodes what --encoder returns to images.
    #[arg(long, value_name = "FILE.onnx")]
    pub decoder: Option<PathBuf>,
}

/// Explains a prediction.
///
/// Example: integrated gradients for the predicted class of a digit, as an array and an image:
///
///   attrx explain --model digits.onnx --input seven.png --method integrated-gradients \
///       --target predicted --set n_steps=100 --out attr.npy --image why.png
///
/// At a hidden layer (named as in `attrx layers`), and for one unit of a layer:
///
///   attrx explain --model net.onnx --input x.npy --method gradcam --layer /conv2/Conv
///   attrx explain --model net.onnx --input x.npy --method saliency --neuron /conv2/Conv:3,0,0
///
/// Without gradients: LIME on the superpixels of an image, and occlusion by a sliding window:
///
///   attrx explain --model net.onnx --input cat.png --method lime --set n_samples=500 \
///       --feature-mask slic:50 --image why.png
///   attrx explain --model net.onnx --input cat.png --method occlusion \
///       --set sliding_window_shapes=3,15,15 --set strides=3,8,8 --baseline blur:5
///
/// By several methods side by side:
///
///   attrx explain --model net.onnx --input cat.png --method saliency,gradcam,lrp --image why.png
///
/// By an autoencoder: a video of the image with less and more of class 1:
///
///   attrx explain --model net.onnx --input cat.png --method latent-shift --target 1 \
///       --encoder encoder.onnx --decoder decoder.onnx --video shift.gif
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct ExplainArguments {
    #[command(flatten)]
    pub question: QuestionArguments,

    /// Writes the attribution: .npy (float32, shaped like the input or layer) or, for several
    /// inputs, layers or methods, .safetensors with one entry each.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Writes each row's convergence delta, for methods that have one.
    #[arg(long, value_name = "FILE.npy")]
    pub delta: Option<PathBuf>,

    /// Writes each value's standard error, for methods that sample. Same formats as --out.
    #[arg(long, value_name = "FILE")]
    pub standard_error: Option<PathBuf>,

    /// Draws the attribution: an image's beside the input (the first, if there are several), a
    /// table's as bars, or as a beeswarm of many rows.
    #[arg(long, value_name = "FILE.png|FILE.svg")]
    pub image: Option<PathBuf>,

    /// Writes the video of latent-shift's first row: the image between less and more of the
    /// prediction, back and forth. An .mp4 needs the program ffmpeg.
    #[arg(long, value_name = "FILE.gif|FILE.png|FILE.mp4")]
    pub video: Option<PathBuf>,

    /// Writes all of latent-shift's images with their lambdas and predictions, as `images` (rows x
    /// steps x image), `lambdas` and `predictions` (rows x steps).
    #[arg(long, value_name = "FILE.safetensors")]
    pub sweep: Option<PathBuf>,

    /// Writes a JSON summary: prediction, target, delta, time, evaluations. Without FILE, prints it
    /// to standard output.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
}

/// Writes a report on predictions: one HTML file that works without a network.
///
/// Pick a sample, a class and methods, hover for values, and change the saturation while you look.
///
/// Example:
///
///   attrx report --model net.onnx --input cat.png --method saliency,gradcam,lrp --out why.html
///   attrx report --model net.onnx --input cat.png --method lime --top 3 --out why.html
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct ReportArguments {
    #[command(flatten)]
    pub question: QuestionArguments,

    /// Writes the report.
    #[arg(long, value_name = "FILE.html")]
    pub out: PathBuf,

    /// Explains this many classes of each row, from the predicted one down, in place of --target.
    #[arg(long, value_name = "N", conflicts_with_all = ["target", "neuron"])]
    pub top: Option<usize>,

    /// The report's title. Default: the model's file name.
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,

    /// The largest report in MB. What does not fit is left out, and the report says so.
    #[arg(long, value_name = "MB", default_value_t = 20)]
    pub limit: usize,
}

/// Lists a model's inputs, outputs and layers.
///
/// Layers are named after the nodes in the file. Use these names with --layer and --neuron.
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

    /// Prints a JSON array with one object per layer.
    #[arg(long)]
    pub json: bool,
}

/// Looks at layer-wise relevance propagation on a model: which rule each layer gets, and where
/// relevance is lost.
#[derive(Args)]
pub struct LrpArguments {
    #[command(subcommand)]
    pub command: LrpCommand,
}

#[derive(Subcommand)]
pub enum LrpCommand {
    Plan(PlanArguments),
    Check(Box<CheckArguments>),
}

/// Checks where the relevance of a prediction goes: how much reaches the input, which layers lose it
/// to biases, to stabilisers of denominators, because a rule stops it, or to rounding, and where the
/// sum of its absolute values grows. Suggests a better composite for all rows.
///
/// Example:
///
///   attrx lrp check --model net.onnx --input cat.png
///   attrx lrp check --model net.onnx --input x.npy --target 3 --set composite=auto --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct CheckArguments {
    #[command(flatten)]
    pub common: RelevanceArguments,

    /// The number of layers listed under each heading.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub top: usize,

    /// Prints a JSON object with the whole ledger.
    #[arg(long)]
    pub json: bool,
}

/// Explains a prediction by the concepts of hidden layers: channels, or single neurons.
#[derive(Args)]
pub struct CrpArguments {
    #[command(subcommand)]
    pub command: CrpCommand,
}

#[derive(Subcommand)]
pub enum CrpCommand {
    Explain(Box<ConditionalArguments>),
    Concepts(Box<ConceptsArguments>),
    Graph(Box<GraphArguments>),
}

/// What the commands that propagate relevance share.
#[derive(Args)]
pub struct RelevanceArguments {
    #[command(flatten)]
    pub model: ModelArguments,

    /// The output element to explain, as for `attrx explain`.
    #[arg(long, value_name = "TARGET", allow_hyphen_values = true)]
    pub target: Option<String>,

    /// A parameter of LRP, named as in `attrx methods lrp`. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Memory for activations and relevance, in MiB, as for `attrx explain`.
    #[arg(long, value_name = "MIB")]
    pub memory: Option<usize>,
}

/// Computes one map for each condition: relevance flows back as with lrp, but at the condition's
/// layers only that of its channels flows on. Transformers need --set composite=auto or attnlrp.
///
/// A condition is LAYER=CHANNELS, with layers named as in `attrx layers` and separated by
/// semicolons: `conv3=50,51;conv1=3`. A neuron is CHANNEL:Y:X. LAYER= lets nothing through.
///
/// Example:
///
///   attrx crp explain --model net.onnx --input cat.png --condition conv3=50 \
///       --condition conv3=51 --out maps.npy --image maps.png
///   attrx crp explain --model net.onnx --input cat.png --condition 'conv3=50;conv1=3' \
///       --condition conv3=50:2:1 --image maps.png
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct ConditionalArguments {
    #[command(flatten)]
    pub common: RelevanceArguments,

    /// A condition; each gives a map. Without any, there is one map, that of lrp. Repeatable.
    #[arg(long, value_name = "LAYER=CHANNELS;...")]
    pub condition: Vec<String>,

    /// Whether relevance that bypasses a condition's layers, such as through a skip connection, is
    /// dropped.
    #[arg(long, value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set)]
    pub exclude_parallel: bool,

    /// Starts at this layer, with its activation as relevance, instead of at the target.
    #[arg(long, value_name = "LAYER")]
    pub start_layer: Option<String>,

    /// A layer whose relevance is written to --record-out. Repeatable.
    #[arg(long, value_name = "LAYER", requires = "record_out")]
    pub record: Vec<String>,

    /// Writes the relevance at the recorded layers, by their names.
    #[arg(long, value_name = "FILE.safetensors", requires = "record")]
    pub record_out: Option<PathBuf>,

    /// Sums each map over its channels, as zennit-crp does.
    #[arg(long)]
    pub sum_channels: bool,

    /// Writes the maps, shaped like the input with one row for each row and condition; all
    /// conditions of row 0 come first. For several inputs, a .safetensors with one entry each.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Draws the maps beside the input (the first, if there are several).
    #[arg(long, value_name = "FILE.png")]
    pub image: Option<PathBuf>,
}

/// Ranks the channels of a layer by how much they contribute to a prediction. A channel's share is
/// its relevance as a fraction of the sum of all channels' absolute relevance.
///
/// Example:
///
///   attrx crp concepts --model net.onnx --input cat.png --layer conv3 --top 5
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct ConceptsArguments {
    #[command(flatten)]
    pub common: RelevanceArguments,

    /// The layer, named as in `attrx layers`.
    #[arg(long, value_name = "LAYER")]
    pub layer: String,

    /// A condition under which channels are ranked, as for `attrx crp explain`.
    #[arg(long, value_name = "LAYER=CHANNELS;...")]
    pub condition: Option<String>,

    /// The number of channels listed for each row, those with the largest absolute relevance.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,

    /// Also finds the part of the input that each channel's strongest neuron sees.
    #[arg(long)]
    pub receptive_fields: bool,

    /// Prints a JSON array with one object per row.
    #[arg(long)]
    pub json: bool,
}

/// Shows which concepts a prediction rests on, and which concepts of earlier layers those rest on in
/// turn. Explains the first row.
///
/// Example:
///
///   attrx crp graph --model net.onnx --input cat.png --layer conv3 --layer conv2 --dot graph.dot
///   dot -Tpng graph.dot -o graph.png
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct GraphArguments {
    #[command(flatten)]
    pub common: RelevanceArguments,

    /// A layer, named as in `attrx layers`. Repeatable: from the output towards the input.
    #[arg(long, value_name = "LAYER", required = true)]
    pub layer: Vec<String>,

    /// The number of channels of each layer for each channel of the layer above.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub top: usize,

    /// Writes the graph for Graphviz.
    #[arg(long, value_name = "FILE.dot")]
    pub dot: Option<PathBuf>,

    /// Prints the graph as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Prints which rule each layer gets. BatchNorms are folded into the layer before them, whose name
/// stands in parentheses, and fused attention is expanded, first. The default composite is
/// epsilon_plus_flat; transformers need composite=auto or attnlrp.
///
/// Example:
///
///   attrx lrp plan --model net.onnx --set composite=epsilon_plus_flat
///   attrx lrp plan --model net.onnx --set composite=epsilon_gamma_box --set low=0 --set high=1
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct PlanArguments {
    #[command(flatten)]
    pub model: ModelArguments,

    /// A parameter of LRP, named as in `attrx methods lrp`. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Prints a JSON array with one object per layer.
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
    /// Lists only this method.
    pub name: Option<String>,

    /// Prints a JSON array with one object per method.
    #[arg(long)]
    pub json: bool,
}
