//! The arguments of `attrx crp index`, `merge`, `status`, `show`, `compare` and `export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ModelArguments;

/// A data set.
#[derive(Args, Clone)]
pub struct DataArguments {
    /// The data set: a folder of images, with a sub-folder for each class if there are labels; a .npy
    /// of rows; a WebDataset .tar or a folder of them; a .parquet, or a folder of them, with images in
    /// a column; or a .txt that lists files, each with a tab and its label if there are labels. Builds
    /// with the features s3, gs and az take URLs, too: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX and
    /// az://CONTAINER/PREFIX.
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,

    /// The class of each sample: a .npy of integers, or its URL. Default: as the data set has them.
    #[arg(long, value_name = "FILE.npy")]
    pub labels: Option<PathBuf>,

    /// The column of a .parquet that holds images.
    #[arg(long, value_name = "NAME", default_value = "image")]
    pub image_column: String,

    /// The column of a .parquet that holds labels.
    #[arg(long, value_name = "NAME", default_value = "label")]
    pub label_column: String,
}

/// Finds the samples of a data set in which each channel of some layers is strongest.
///
/// Strength is measured by relevance and by activation; there are sums over all samples and each class,
/// too.
///
/// A data set can be split into shards that separate processes work on, on one machine or many; the
/// numbers do not depend on how many, nor on their order. (Other processors, numbers of threads, a
/// --device or --memory may change last digits.) A process that was stopped goes on at its last
/// checkpoint when it is started again, and has nothing to do for a shard that is done. `attrx crp
/// merge` joins them.
///
/// Example:
///
///   attrx crp index --model net.onnx --data photos/ --layers 'conv*' --out photos.index
///   attrx crp index --model net.onnx --data photos/ --layers 'conv*' --out photos.index \
///       --shard 3/16
///   attrx crp merge photos.index
///   attrx crp show photos.index --model net.onnx --data photos/ --layer conv3 --image conv3.png
#[derive(Args)]
#[command(verbatim_doc_comment, mut_arg("input", |arg| arg.hide(true)))]
pub struct IndexArguments {
    #[command(flatten)]
    pub model: ModelArguments,

    #[command(flatten)]
    pub data: DataArguments,

    /// The layers, named as in `attrx layers`; * stands for any text and ? for any character.
    /// Separated by commas, or repeated.
    #[arg(long, value_name = "NAMES", required = true, value_delimiter = ',')]
    pub layers: Vec<String>,

    /// The class that each sample is explained for: its label, the predicted class, or one class for
    /// all. Default: labels if the data set has them, else predicted.
    #[arg(long, value_name = "labels|predicted|CLASS")]
    pub targets: Option<String>,

    /// The folder of the index, or a URL as for --data. It is created, or joined if it is one of the
    /// same model, data and settings.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,

    /// The part of the data set to work on: part I, counted from 0, of N. In a Slurm array, an indexed
    /// Kubernetes Job or an AWS Batch array job, /N is enough: I is that of the job.
    #[arg(long, value_name = "[I]/N", default_value = "0/1")]
    pub shard: String,

    /// How many seconds to wait for another process that writes this shard, such as one on a machine
    /// that was lost, whose lock a network file system keeps for some minutes. Object stores have no
    /// locks: there, of two processes that write one shard, one fails at its next checkpoint.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub wait: u64,

    /// How values at all positions of a channel become its strength.
    #[arg(long, value_enum, default_value_t = Reduction::Sum)]
    pub max_target: Reduction,

    /// Whether strengths are divided by the sum of all channels' absolute strengths.
    #[arg(long, value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set)]
    pub abs_norm: bool,

    /// How many samples are kept for each channel.
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub sample_size: usize,

    /// Whether samples are ranked and summed up in each class, too; tables take as much memory again
    /// for each class.
    #[arg(long, value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set)]
    pub each_target: bool,

    /// Also keeps the strengths of all channels for every sample, as 16-bit numbers.
    #[arg(long)]
    pub vectors: bool,

    /// The number of samples that are measured together.
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub batch_size: u64,

    /// After how many samples what was found is written. With --vectors, each time in files of their
    /// own.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub checkpoint: u64,

    /// A parameter of LRP, named as in `attrx methods lrp`. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Memory for activations and relevance, in MiB, as for `attrx explain`; tables come on top.
    #[arg(long, value_name = "MIB")]
    pub memory: Option<usize>,

    /// Memory that tables may take when all their lists are full, in MiB; more is refused at once.
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub table_memory: usize,

    /// Prints a JSON object about the shard.
    #[arg(long)]
    pub json: bool,
}

/// How values at all positions become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// The largest.
    Max,
}

/// Joins the shards of an index that are done. Run it again after more of them are done.
///
/// Example:
///
///   attrx crp merge photos.index
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct MergeArguments {
    /// The folder of the index, or its URL.
    pub index: PathBuf,

    /// Prints a JSON object.
    #[arg(long)]
    pub json: bool,

    /// Prints only errors.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Says which shards of an index are done, begun, missing, damaged or of another run.
///
/// Example:
///
///   attrx crp status photos.index
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct StatusArguments {
    /// The folder of the index, or its URL.
    pub index: PathBuf,

    /// Prints a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Shows the samples in which channels are strongest, with the part of each that the channel looks at.
///
/// Example:
///
///   attrx crp show photos.index --model net.onnx --data photos/ --layer conv3 --concept 5,17 \
///       --image concepts.png
///   attrx crp show photos.index --layer conv3 --concept 5 --mode activation --target 2 --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct ShowArguments {
    /// The folder of the index, or its URL.
    pub index: PathBuf,

    /// The layer.
    #[arg(long, value_name = "LAYER")]
    pub layer: String,

    /// The channels. Default: those with the largest mean strength.
    #[arg(long, value_name = "CHANNELS", value_delimiter = ',')]
    pub concept: Vec<usize>,

    /// What strength is measured by.
    #[arg(long, value_enum, default_value_t = ModeName::Relevance)]
    pub mode: ModeName,

    /// Shows only samples of this class.
    #[arg(long, value_name = "CLASS")]
    pub target: Option<usize>,

    /// The number of samples for each channel.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub top: usize,

    /// The number of channels without --concept.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub concepts: usize,

    #[command(flatten)]
    pub gallery: GalleryArguments,

    /// Draws what the channel's strongest neuron sees, instead of all of its neurons.
    #[arg(long)]
    pub receptive_field: bool,

    /// Prints a JSON array with one object per channel.
    #[arg(long)]
    pub json: bool,

    /// Prints only errors, and output requested explicitly on standard output.
    #[arg(long, short)]
    pub quiet: bool,
}

/// How samples of an index are drawn.
#[derive(Args)]
pub struct GalleryArguments {
    /// Draws the samples; this takes the model and the data set of the index.
    #[arg(long, value_name = "FILE.png", requires_all = ["model", "data"])]
    pub image: Option<PathBuf>,

    /// How samples are drawn.
    #[arg(long, value_enum, default_value_t = Look::Opaque)]
    pub view: Look,

    /// The model of the index.
    #[arg(long, value_name = "M.onnx")]
    pub model: Option<PathBuf>,

    /// The data set of the index: a path, or a URL.
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,

    /// The --labels of the index, if it was made with any.
    #[arg(long, value_name = "FILE.npy", requires = "data")]
    pub labels: Option<PathBuf>,

    /// The --constant inputs of the index, if it was made with any. Repeatable.
    #[arg(long, value_name = "NAME=FILE", requires = "model")]
    pub constant: Vec<String>,

    /// The --batch-dim of the index. Repeatable.
    #[arg(long, value_name = "NAME=DIM", requires = "model")]
    pub batch_dim: Vec<String>,

    /// The device to run the model on.
    #[arg(long, value_enum, default_value_t)]
    pub device: crate::device::DeviceName,
}

/// Finds, for each channel of a layer, the most similar channel of another layer or model.
///
/// Two channels are similar that are strong in the same samples: Pearson's correlation of their
/// strengths. Both indexes must have been made with --vectors, from the same samples in the same order.
///
/// Example:
///
///   attrx crp compare old.index new.index --layer conv3 --other-layer conv3
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct CompareArguments {
    /// The folder of an index, or its URL.
    pub index: PathBuf,

    /// The folder of the other index, or its URL; the same one to compare two layers of a model.
    pub other: PathBuf,

    /// The layer.
    #[arg(long, value_name = "LAYER")]
    pub layer: String,

    /// The other index's layer. Default: the one of the same name.
    #[arg(long, value_name = "LAYER")]
    pub other_layer: Option<String>,

    /// What strength is measured by.
    #[arg(long, value_enum, default_value_t = ModeName::Activation)]
    pub mode: ModeName,

    /// Prints a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What strength is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeName {
    /// The channel's relevance for the explained class.
    Relevance,
    /// The channel's activation.
    Activation,
}

impl From<ModeName> for attr_index::Mode {
    fn from(mode: ModeName) -> Self {
        match mode {
            ModeName::Relevance => Self::Relevance,
            ModeName::Activation => Self::Activation,
        }
    }
}

/// How samples are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Look {
    /// The sample, dark where the channel does not look.
    Opaque,
    /// The part that the channel looks at.
    Crop,
    /// The channel's relevance at each pixel.
    Heatmap,
    /// The whole sample.
    Sample,
}

/// Writes the references of an index as the folders of zennit-crp's `FeatureVisualization`.
///
/// Example:
///
///   attrx crp export photos.index --out FeatureVisualization
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct ExportArguments {
    /// The folder of the index, or its URL.
    pub index: PathBuf,

    /// The folder to write to, or a URL.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,

    /// Prints only errors.
    #[arg(long, short)]
    pub quiet: bool,
}
