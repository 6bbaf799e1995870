//! The arguments of `attrx evaluate`, `attrx tune` and `attrx metrics`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{ModelArguments, PartsArguments, QuestionArguments, read_files};

/// What explanations are judged on: a model, its inputs and what absent features become.
#[derive(Args, Clone)]
pub struct GroundArguments {
    #[command(flatten)]
    pub model: ModelArguments,

    /// The output element to explain: a class, `predicted`, an index i,j,... for outputs with more
    /// than two dimensions, or a .npy of integers with one class (or one index) per row.
    /// Default: the predicted class, or the only element if each row has just one.
    #[arg(long, value_name = "TARGET", allow_hyphen_values = true)]
    pub target: Option<String>,

    /// The baseline, which represents absent features, for metrics and for the methods that have
    /// one: a number, min or max of each row, blur:SIGMA for a blurred image, inpaint to fill from
    /// the surroundings, or a .npy with one row or one per input row. Default: 0. Given once for all
    /// inputs, or with NAME= for each. Repeatable.
    #[arg(long, value_name = "[NAME=]VALUE|FILE.npy", allow_hyphen_values = true)]
    pub baseline: Vec<String>,

    /// How elements are grouped into features, for metrics and for the methods that take features:
    /// slic:SEGMENTS for superpixels of an image, grid:HEIGHTxWIDTH for cells, pixels for all
    /// channels of a pixel together, or a .npy of feature numbers. Repeatable: one per explained
    /// input. Default: pixels of images and elements of other inputs, for metrics; each method keeps
    /// its own default.
    #[arg(long, value_name = "FEATURES|FILE.npy")]
    pub feature_mask: Vec<String>,

    /// A .npy of ground truth for the first input, not 0 where it matters, for metrics of
    /// localisation: shaped like the input (an image's channels may be one, or left out).
    #[arg(long, value_name = "FILE.npy")]
    pub masks: Option<PathBuf>,

    /// The layer for methods that need one, such as class activation maps; their maps are resized to
    /// the input. Default: the last layer whose output has height and width.
    #[arg(long, value_name = "NAME[@input]")]
    pub layer: Vec<String>,

    /// A .npy of training rows with the same features as the input, for methods that need them.
    #[arg(long, value_name = "FILE.npy")]
    pub training: Option<PathBuf>,

    /// A parameter of a metric, named as in `attrx metrics`: METRIC.KEY=VALUE, or KEY=VALUE for all
    /// metrics that have it. Repeatable.
    #[arg(long, value_name = "[METRIC.]KEY=VALUE")]
    pub metric_set: Vec<String>,

    /// Seed for all random numbers, of methods and metrics.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Memory for activations and gradients, in MiB. Default: what suits the device, at most 1024.
    /// With 0, rows are evaluated one at a time, whatever each needs. Does not affect the results.
    #[arg(long, value_name = "MIB")]
    pub memory: Option<usize>,
}

impl GroundArguments {
    /// The files that are read: no output may overwrite them.
    pub fn read_files(&self) -> Vec<&Path> {
        let texts = [&self.baseline, &self.feature_mask].into_iter().flatten();
        let others = [&self.masks, &self.training];
        read_files(&self.model, texts.chain(&self.target), others)
    }

    /// The question to methods, as `attrx explain` would ask it.
    pub fn question(&self, methods: &str, set: &[String]) -> QuestionArguments {
        QuestionArguments {
            model: self.model.clone(),
            method: methods.into(),
            target: self.target.clone(),
            layer: self.layer.clone(),
            neuron: None,
            baseline: self.baseline.clone(),
            feature_mask: self.feature_mask.clone(),
            training: self.training.clone(),
            classes: None,
            set: set.to_vec(),
            seed: self.seed,
            memory: self.memory,
            labels: None,
            features: None,
            encoder: None,
            decoder: None,
        }
    }
}

/// Judges explanations: methods by metrics, over all rows of the input.
///
/// Two explanations that know nothing of the model are always judged, too: `random` and, for inputs
/// with space, `edge-detector`. A metric that does not tell a method from these says nothing about
/// it. Below the table stands whether the metrics agree.
///
/// Example: four methods by the usual metrics, as a table, and as data:
///
///   attrx evaluate --model digits.onnx --input digits.npy --methods \
///       saliency,integrated-gradients,gradcam,lrp --json scores.json --image scores.png
///
/// By metrics of your choice, and where objects are known to be:
///
///   attrx evaluate --model net.onnx --input images.npy --methods saliency,lrp \
///       --metrics deletion,road,pointing-game --masks objects.npy --metric-set deletion.steps=20
///
/// On a whole data set, in shards that any number of processes evaluate:
///
///   attrx evaluate --model net.onnx --data photos/ --methods saliency,lrp --out scores --shard 3/16
///   attrx merge scores --image scores.png
///
/// Attributions that were computed before:
///
///   attrx evaluate --model net.onnx --input images.npy --attributions attr.npy --metrics abpc
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct EvaluateArguments {
    #[command(flatten)]
    pub ground: GroundArguments,

    #[command(flatten)]
    pub parts: PartsArguments,

    /// With --data: the folder for what is found.
    #[arg(long, value_name = "FOLDER", requires = "data")]
    pub out: Option<PathBuf>,

    /// The methods, named as in `attrx methods`, separated by commas.
    #[arg(
        long,
        alias = "method",
        value_name = "NAME,...",
        conflicts_with = "attributions"
    )]
    #[arg(required_unless_present = "attributions")]
    pub methods: Option<String>,

    /// A .npy of attributions, shaped like the (first) input, in place of methods.
    #[arg(long, value_name = "FILE.npy")]
    pub attributions: Option<PathBuf>,

    /// The metrics, named as in `attrx metrics`, separated by commas. Default: infidelity (with
    /// normalize=true, since methods have different units), sensitivity-max, faithfulness-correlation, deletion, insertion, abpc, sparseness and
    /// random-logit; with --masks, relevance-rank-accuracy and pointing-game, too; for
    /// --attributions, those that need no method.
    #[arg(long, alias = "metric", value_name = "NAME,...")]
    pub metrics: Option<String>,

    /// A parameter of a method, named as in `attrx methods`: METHOD.KEY=VALUE, or KEY=VALUE for all
    /// methods that have it. Repeatable.
    #[arg(long, value_name = "[METHOD.]KEY=VALUE")]
    pub set: Vec<String>,

    /// Writes the scores as JSON. Without FILE, prints them to standard output in place of the table.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,

    /// Writes the table: a line for each method and metric.
    #[arg(long, value_name = "FILE.csv")]
    pub csv: Option<PathBuf>,

    /// Draws the table, coloured by rank.
    #[arg(long, value_name = "FILE.png|FILE.svg")]
    pub image: Option<PathBuf>,
}

/// Picks a method's parameters by a metric.
///
/// All combinations are tried on a few rows, the better half on twice as many, and so on. The best
/// is then compared with the method as it is, on rows held out.
///
/// Example: the window of occlusion, by what deleting its pixels does:
///
///   attrx tune --model net.onnx --input images.npy --method occlusion --metric deletion \
///       --vary 'sliding_window_shapes=1,3,3|1,5,5|1,7,7' --vary 'strides=1,2,2'
///
/// The baseline of integrated gradients, and gammas of LRP, layer by layer:
///
///   attrx tune --model net.onnx --input images.npy --method integrated-gradients --metric abpc \
///       --vary 'baseline=0|0.5|blur:3|max'
///   attrx tune --model net.onnx --input images.npy --method lrp --metric abpc \
///       --vary 'layer_gammas=conv1:0,conv2:0|conv1:0.25,conv2:0|conv1:0.25,conv2:0.25'
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct TuneArguments {
    #[command(flatten)]
    pub ground: GroundArguments,

    /// The method, named as in `attrx methods`.
    #[arg(long, value_name = "NAME")]
    pub method: String,

    /// The metric, named as in `attrx metrics`.
    #[arg(long, value_name = "NAME")]
    pub metric: String,

    /// A parameter of the method and the values to try, separated by |; `baseline` is the method's
    /// baseline. Repeatable: all combinations are tried. Default: what is usually tuned, for
    /// occlusion, integrated-gradients and lrp.
    #[arg(long, value_name = "KEY=VALUE|VALUE...")]
    pub vary: Vec<String>,

    /// A parameter of the method that stays fixed. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// The share of rows that are held out.
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    pub held_out: f64,

    /// Writes what was found as JSON. Without FILE, prints it to standard output.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
}

/// Lists the metrics with their parameters and defaults.
///
/// Example:
///
///   attrx metrics
///   attrx metrics infidelity
///   attrx metrics --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct MetricsArguments {
    /// Lists only this metric.
    pub name: Option<String>,

    /// Prints a JSON array with one object per metric.
    #[arg(long)]
    pub json: bool,
}
