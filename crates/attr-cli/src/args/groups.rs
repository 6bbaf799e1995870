//! The arguments of `attrx crp prototypes`, `outliers`, `strategies` and `split`.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};

use super::{GalleryArguments, ModeName};

/// Parses a number from 1.
fn positive() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// How prototypes are fitted.
#[derive(Args)]
pub struct FitArguments {
    /// The layer.
    #[arg(long, value_name = "LAYER")]
    pub layer: String,

    /// What strength is measured by.
    #[arg(long, value_enum, default_value_t = ModeName::Relevance)]
    pub mode: ModeName,

    /// The number of prototypes of each class. There should be many samples for each: a sample that
    /// gets a prototype of its own counts as usual.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub prototypes: usize,

    /// What the covariances of a prototype's concepts may be.
    #[arg(long, value_enum, default_value_t = CovarianceName::Full)]
    pub covariance: CovarianceName,

    /// What is added to each variance.
    #[arg(long, value_name = "VARIANCE", default_value_t = 1e-6)]
    pub reg_covar: f64,

    /// How many fits are tried, of which the most likely is taken.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive())]
    pub n_init: usize,

    /// The most iterations of a fit.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub max_iter: usize,

    /// The gain of the mean log-likelihood below which a fit ends.
    #[arg(long, value_name = "GAIN", default_value_t = 1e-3)]
    pub tol: f64,

    /// The seed of the fits.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// What covariances may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CovarianceName {
    /// Any.
    Full,
    /// Concepts independent of each other; takes fewer samples.
    Diagonal,
}

/// Finds the usual ways in which each class is predicted, by which concepts (PCX).
///
/// A Gaussian mixture describes the relevance vectors of a class; each of its components is a
/// prototype. The index must have been made with --vectors.
///
/// Example:
///
///   attrx crp index --model net.onnx --data photos/ --layers conv3 --out photos.index --vectors
///   attrx crp merge photos.index
///   attrx crp prototypes photos.index --layer conv3 --target 2 --prototypes 4
///   attrx crp prototypes photos.index --layer conv3 --target 2 --image prototypes.png \
///       --model net.onnx --data photos/
#[derive(Args)]
#[command(verbatim_doc_comment, mut_arg("view", |arg| arg.default_value("sample")))]
pub struct PrototypesArguments {
    /// The folder of the index.
    pub index: PathBuf,

    #[command(flatten)]
    pub fit: FitArguments,

    /// Shows only this class.
    #[arg(long, value_name = "CLASS")]
    pub target: Option<usize>,

    /// The number of samples that show each prototype, those nearest to its mean.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive())]
    pub top: usize,

    /// The number of concepts listed for each prototype, the strongest.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub concepts: usize,

    #[command(flatten)]
    pub gallery: GalleryArguments,

    /// Prints a JSON array with one object per prototype.
    #[arg(long)]
    pub json: bool,

    /// Prints only errors, and output requested explicitly on standard output.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Finds the samples whose predictions are the least usual (PCX).
///
/// How usual a sample is for its class is the log-likelihood of its relevance vector in the mixture
/// that `attrx crp prototypes` fits. Its quantile is the share of the fitted samples of the class
/// that are less usual: at 0 %, none is.
///
/// Example:
///
///   attrx crp outliers photos.index --layer conv3
///   attrx crp outliers photos.index today.index --layer conv3 --top 20 --data today/
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct OutliersArguments {
    /// The folder of the index that prototypes are fitted to.
    pub index: PathBuf,

    /// The folder of an index of other samples, made with the same model and layer. Default: the
    /// same samples.
    pub other: Option<PathBuf>,

    #[command(flatten)]
    pub fit: FitArguments,

    /// Looks only at samples of this class.
    #[arg(long, value_name = "CLASS")]
    pub target: Option<usize>,

    /// The number of samples that are listed.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = positive())]
    pub top: usize,

    /// The number of concepts listed for each sample, those that differ most from the nearest
    /// prototype.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub concepts: usize,

    #[command(flatten)]
    pub gallery: GalleryArguments,

    /// Prints a JSON array with one object per sample.
    #[arg(long)]
    pub json: bool,

    /// Prints only errors, and output requested explicitly on standard output.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Groups explanations of one class, so that an unexpected strategy of the model shows as a group
/// of its own (SpRAy).
///
/// Explanations are heat maps, as `attrx explain` writes them, or the concept vectors of an index
/// that was made with --vectors. They are joined to a graph of nearest neighbors; the largest gap
/// between its smallest eigenvalues suggests the number of groups.
///
/// Example:
///
///   attrx crp strategies photos.index --layer conv3 --target 2 --image strategies.png \
///       --model net.onnx --data photos/
///   attrx crp strategies --attributions maps.npy --labels labels.npy --target 2 --image groups.png
#[derive(Args)]
#[command(verbatim_doc_comment, mut_arg("view", |arg| arg.default_value("heatmap")))]
pub struct StrategiesArguments {
    /// The folder of the index.
    #[arg(conflicts_with = "attributions", requires = "layer")]
    pub index: Option<PathBuf>,

    /// Heat maps in place of an index: [rows, channels, height, width], [rows, height, width] or [rows,
    /// features]. Each is divided by the sum of its absolute values.
    #[arg(long, value_name = "FILE.npy", conflicts_with_all = ["layer", "model", "data"])]
    pub attributions: Option<PathBuf>,

    /// The side to which heat maps are scaled down, by the means of their pixels.
    #[arg(
        long,
        value_name = "PIXELS",
        default_value_t = 16,
        requires = "attributions"
    )]
    pub side: usize,

    /// The layer.
    #[arg(long, value_name = "LAYER")]
    pub layer: Option<String>,

    /// What strength is measured by.
    #[arg(long, value_enum, default_value_t = ModeName::Relevance)]
    pub mode: ModeName,

    /// Groups only explanations of this class.
    #[arg(long, value_name = "CLASS")]
    pub target: Option<usize>,

    /// The number of neighbors that each explanation is joined with.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub n_neighbors: usize,

    /// How many eigenvalues are looked at.
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub n_eigval: usize,

    /// The number of groups. Default: where the largest gap between eigenvalues is.
    #[arg(long, value_name = "N")]
    pub n_clusters: Option<usize>,

    /// The seed of k-means.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// The number of samples that are drawn for each group, the most central.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive())]
    pub top: usize,

    #[command(flatten)]
    pub gallery: GalleryArguments,

    /// Prints a JSON object.
    #[arg(long)]
    pub json: bool,

    /// Prints only errors, and output requested explicitly on standard output.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Splits a channel that stands for several things, by what activates it in its reference samples
/// (PURE).
///
/// In each sample, the channel's activation is passed back to a lower layer. Samples are sorted by
/// which of its channels receive it.
///
/// Example:
///
///   attrx crp split photos.index --model net.onnx --data photos/ --layer conv3 --concept 5 \
///       --lower conv2 --image split.png
#[derive(Args)]
#[command(verbatim_doc_comment, mut_arg("image", |arg| arg.help("Draws the samples of each part")))]
pub struct SplitArguments {
    /// The folder of the index.
    pub index: PathBuf,

    /// The layer.
    #[arg(long, value_name = "LAYER")]
    pub layer: String,

    /// The channel.
    #[arg(long, value_name = "CHANNEL")]
    pub concept: usize,

    /// A lower layer, whose channels tell parts apart.
    #[arg(long, value_name = "LAYER")]
    pub lower: String,

    /// What the channel's reference samples are chosen by.
    #[arg(long, value_enum, default_value_t = ModeName::Activation)]
    pub mode: ModeName,

    /// The number of parts.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub parts: usize,

    /// How often k-means starts.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = positive())]
    pub n_init: usize,

    /// The seed of k-means.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// A parameter of LRP, named as in `attrx methods lrp`. Default: those of the index. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// The number of samples that are drawn for each part, the most central.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive())]
    pub top: usize,

    /// The number of lower channels listed for each part, those that activate it most.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub concepts: usize,

    #[command(flatten)]
    pub gallery: GalleryArguments,

    /// Prints a JSON object.
    #[arg(long)]
    pub json: bool,

    /// Prints only errors, and output requested explicitly on standard output.
    #[arg(long, short)]
    pub quiet: bool,
}
