//! The arguments of a data set in parts, and of `attrx merge`.

use std::path::PathBuf;

use clap::Args;

/// A data set in place of --input, and how it is divided.
#[derive(Args, Clone)]
pub struct PartsArguments {
    /// A data set in place of --input, in any format of `attrx crp index`. --out is then a folder that
    /// any number of processes may write to; `attrx merge` joins what they wrote. --target may also
    /// be `labels`.
    #[arg(long, value_name = "PATH", conflicts_with = "input", requires = "out")]
    pub data: Option<PathBuf>,

    /// The column of a .parquet that holds images.
    #[arg(long, value_name = "NAME", default_value = "image", requires = "data")]
    pub image_column: String,

    /// The column of a .parquet that holds labels.
    #[arg(long, value_name = "NAME", default_value = "label", requires = "data")]
    pub label_column: String,

    /// The part of the data set to work on: part I, counted from 0, of N; /N is enough in a Slurm
    /// array, an indexed Kubernetes Job or an AWS Batch array job. Results do not depend on N.
    #[arg(long, value_name = "[I]/N", default_value = "0/1", requires = "data")]
    pub shard: String,

    /// The number of samples that are explained together.
    #[arg(long, value_name = "N", default_value_t = 32, requires = "data")]
    pub batch_size: u64,

    /// After how many samples what was found is written. A process that was stopped goes on there.
    #[arg(long, value_name = "N", default_value_t = 128, requires = "data")]
    pub checkpoint: u64,
}

/// Joins what `attrx explain --data` or `attrx evaluate --data` has written, and says what is missing.
/// Run it again after more shards are done.
///
/// Explanations become attributions.npy (attributions-1.npy, ... for further inputs or layers), with
/// a line of rows.jsonl for each row: its sample, target, prediction, score. Samples that were left
/// out are listed in skipped.jsonl. Evaluations become the table of `attrx evaluate`; their --json
/// names the samples.
///
/// Example:
///
///   attrx explain --model net.onnx --data photos/ --method lrp --out maps --shard 0/2
///   attrx explain --model net.onnx --data photos/ --method lrp --out maps --shard 1/2
///   attrx merge maps
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct MergePartsArguments {
    /// The folder of the parts.
    pub folder: PathBuf,

    /// The folder for what is joined. Default: that of the parts.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,

    /// Writes the scores of an evaluation, or what was joined, as JSON. Without FILE, prints it to
    /// standard output in place of text.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,

    /// Writes the table of an evaluation: a line for each method and metric.
    #[arg(long, value_name = "FILE.csv")]
    pub csv: Option<PathBuf>,

    /// Draws the table of an evaluation, coloured by rank.
    #[arg(long, value_name = "FILE.png|FILE.svg")]
    pub image: Option<PathBuf>,

    /// Prints only errors, and output requested explicitly on standard output.
    #[arg(long, short)]
    pub quiet: bool,
}
