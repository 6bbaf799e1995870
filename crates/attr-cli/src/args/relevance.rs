//! The arguments of `attrx lrp` and `attrx crp`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    CompareArguments, DirectionArguments, ExportArguments, IndexArguments, MergeArguments,
    ModelArguments, OutliersArguments, PrototypesArguments, RemoveArguments, ShowArguments,
    SplitArguments, StatusArguments, StrategiesArguments,
};

/// Looks at layer-wise relevance propagation on a model: which rule each layer gets, and where
/// relevance is lost.
#[derive(Args)]
pub struct LrpArguments {
    #[command(subcommand)]
    pub command: LrpCommand,
}

#[derive(Subcommand)]
pub enum LrpCommand {
    Plan(Box<PlanArguments>),
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
    Index(Box<IndexArguments>),
    Merge(MergeArguments),
    Status(StatusArguments),
    Show(Box<ShowArguments>),
    Compare(CompareArguments),
    Prototypes(Box<PrototypesArguments>),
    Outliers(Box<OutliersArguments>),
    Strategies(Box<StrategiesArguments>),
    Split(Box<SplitArguments>),
    Export(ExportArguments),
    Direction(Box<DirectionArguments>),
    Remove(RemoveArguments),
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

/// Computes a map for each condition: what some channels of hidden layers look at.
///
/// Relevance flows back as with lrp, but at the condition's layers only that of its channels flows on.
/// Transformers need --set composite=auto or attnlrp.
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

/// Ranks the channels of a layer by how much they contribute to a prediction.
///
/// A channel's share is its relevance as a fraction of the sum of all channels' absolute relevance.
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

/// Shows which concepts a prediction rests on, and what those rest on in turn.
///
/// Explains the first row.
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
