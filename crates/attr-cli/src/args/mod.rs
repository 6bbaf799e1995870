//! The command-line arguments of `attrx`.
//!
//! ```text
//! mod.rs        the commands, the model and its inputs, the short commands
//! question.rs   explain and report: a question to one or several methods
//! evaluation.rs evaluate, tune and metrics
//! parts.rs      explain and evaluate of a data set, merge
//! relevance.rs  lrp and crp
//! index.rs      crp index, merge, status, show, compare and export
//! groups.rs     crp prototypes, outliers, strategies and split
//! direction.rs  crp direction and remove
//! ```

mod direction;
mod evaluation;
mod groups;
mod index;
mod parts;
mod question;
mod relevance;

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

pub use direction::{DirectionArguments, RemoveArguments};
pub use evaluation::{EvaluateArguments, GroundArguments, MetricsArguments, TuneArguments};
pub use groups::{
    CovarianceName, FitArguments, OutliersArguments, PrototypesArguments, SplitArguments,
    StrategiesArguments,
};
pub use index::{
    CompareArguments, DataArguments, ExportArguments, GalleryArguments, IndexArguments, Look,
    MergeArguments, ModeName, Reduction, ShowArguments, StatusArguments,
};
pub use parts::{MergePartsArguments, PartsArguments};
pub use question::{ExplainArguments, QuestionArguments, ReportArguments};
pub use relevance::{
    CheckArguments, ConceptsArguments, ConditionalArguments, CrpArguments, CrpCommand,
    GraphArguments, LrpArguments, LrpCommand, PlanArguments, RelevanceArguments,
};

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
    Evaluate(Box<EvaluateArguments>),
    Explain(Box<ExplainArguments>),
    Layers(LayersArguments),
    Lrp(LrpArguments),
    Merge(MergePartsArguments),
    Crp(CrpArguments),
    Methods(MethodsArguments),
    Metrics(MetricsArguments),
    Report(Box<ReportArguments>),
    Tune(Box<TuneArguments>),
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

    /// An input that the model needs but that is not attributed: with a row for each row of the others,
    /// such as a mask, or a setting or state without rows, such as a sampling rate. Repeatable.
    #[arg(long, value_name = "NAME=FILE")]
    pub constant: Vec<String>,

    /// The dimension of a --constant that is the batch, counted from 0 and of size 1, as in the state of
    /// a recurrent network. Default: the one that the file names as the batch, or leaves open.
    #[arg(long, value_name = "NAME=DIM")]
    pub batch_dim: Vec<String>,

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

/// The files that a model and its inputs are read from, with those that `texts` and `others` name.
fn read_files<'a>(
    model: &'a ModelArguments,
    texts: impl IntoIterator<Item = &'a String>,
    others: impl IntoIterator<Item = &'a Option<PathBuf>>,
) -> Vec<&'a Path> {
    let inputs = model.input.iter().chain(&model.constant);
    let named = files_in(inputs.chain(texts));
    let others = others.into_iter().flatten().map(|path| &**path);
    named.chain([model.model.as_path()]).chain(others).collect()
}

/// The files that texts of the form FILE or NAME=FILE name; a file's name may have an equals sign.
fn files_in<'a>(texts: impl IntoIterator<Item = &'a String>) -> impl Iterator<Item = &'a Path> {
    let texts = texts.into_iter();
    let files = texts.flat_map(|text| [Some(&text[..]), text.split_once('=').map(|pair| pair.1)]);
    files.flatten().map(Path::new)
}
