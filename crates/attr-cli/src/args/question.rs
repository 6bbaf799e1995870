//! The arguments of `attrx explain` and `attrx report`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{ModelArguments, PartsArguments, read_files};

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

impl QuestionArguments {
    /// The files that are read: no output may overwrite them.
    pub fn read_files(&self) -> Vec<&Path> {
        let texts = [&self.baseline, &self.feature_mask].into_iter().flatten();
        let others = [
            &self.training,
            &self.encoder,
            &self.decoder,
            &self.labels,
            &self.features,
        ];
        read_files(&self.model, texts.chain(&self.target), others)
    }
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
/// Of a whole data set, in shards that any number of processes explain:
///
///   attrx explain --model net.onnx --data photos/ --method lrp --target labels --out maps \
///       --shard 3/16
///   attrx merge maps
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

    #[command(flatten)]
    pub parts: PartsArguments,

    /// Writes the attribution: .npy (float32, shaped like the input or layer) or, for several
    /// inputs, layers or methods, .safetensors with one entry each. With --data, a folder.
    #[arg(long, value_name = "FILE|FOLDER")]
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

    /// Runs the method this often again and takes the median time. The JSON summary has all `times`,
    /// in seconds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub repeat: Option<u32>,

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
///   attrx report --model net.onnx --input cat.png --method lrp,saliency --metrics deletion,abpc \
///       --out why.html
///   attrx report --model net.onnx --input cat.png --method lrp --index photos.index --data photos/ \
///       --out why.html
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

    /// Metrics of each attribution, named as in `attrx metrics`, separated by commas: those that need
    /// neither masks nor the method again, such as deletion and sparseness.
    #[arg(long, value_name = "NAME,...")]
    pub metrics: Option<String>,

    /// Also shows the concepts that speak most for or against each class, with the samples of this index
    /// (`attrx crp index`) in which they are strongest. It must be one of the same model.
    #[arg(long, value_name = "FOLDER", requires = "data")]
    pub index: Option<PathBuf>,

    /// The data set of the index.
    #[arg(long, value_name = "PATH", requires = "index")]
    pub data: Option<PathBuf>,

    /// The --labels of the index, if it was made with any.
    #[arg(long, value_name = "FILE.npy", requires = "index")]
    pub data_labels: Option<PathBuf>,

    /// The layer of the concepts. Default: the last one of the index.
    #[arg(long, value_name = "LAYER", requires = "index")]
    pub concept_layer: Option<String>,

    /// The number of concepts shown for each class of a sample.
    #[arg(long, value_name = "N", default_value_t = 3, requires = "index")]
    pub concepts: usize,

    /// The number of reference samples shown for each concept.
    #[arg(long, value_name = "N", default_value_t = 8, requires = "index")]
    pub references: usize,

    /// The report's title. Default: the model's file name.
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,

    /// The largest report in MB. What does not fit is left out, and the report says so.
    #[arg(long, value_name = "MB", default_value_t = 20)]
    pub limit: usize,
}
