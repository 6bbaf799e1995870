//! The arguments of `attrx crp direction` and `attrx crp remove`.

use std::path::PathBuf;

use clap::Args;

use super::ModelArguments;

/// Finds the direction of a concept in a layer, from samples with it and samples without it.
///
/// It is the difference of their mean activations by channel. Samples should differ in the concept
/// alone, such as pictures into which an artefact was pasted, and the same pictures without it.
///
/// Example:
///
///   attrx crp direction --model net.onnx --layer relu1 --with tagged/ --without clean/ --out tag.json
///   attrx crp remove --model net.onnx --direction tag.json --out corrected.onnx
#[derive(Args)]
#[command(verbatim_doc_comment, mut_arg("input", |arg| arg.hide(true)))]
pub struct DirectionArguments {
    #[command(flatten)]
    pub model: ModelArguments,

    /// The layer, named as in `attrx layers`.
    #[arg(long, value_name = "LAYER")]
    pub layer: String,

    /// Samples with the concept, in any format of `attrx crp index --data`.
    #[arg(long, value_name = "PATH")]
    pub with: PathBuf,

    /// Samples without it.
    #[arg(long, value_name = "PATH")]
    pub without: PathBuf,

    /// The column of a .parquet that holds images.
    #[arg(long, value_name = "NAME", default_value = "image")]
    pub image_column: String,

    /// Writes the direction.
    #[arg(long, value_name = "FILE.json")]
    pub out: PathBuf,
}

/// Writes the model without a concept.
///
/// The component of a layer's activations along the concept's direction becomes the same everywhere,
/// that of samples without the concept (projective Class Artifact Compensation). Measure the model
/// again; some of what it knew may be lost, too.
///
/// Example:
///
///   attrx crp remove --model net.onnx --direction tag.json --out corrected.onnx
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct RemoveArguments {
    /// The model: an ONNX file.
    #[arg(long, value_name = "M.onnx")]
    pub model: PathBuf,

    /// The direction, as `attrx crp direction` writes it.
    #[arg(long, value_name = "FILE.json")]
    pub direction: PathBuf,

    /// The component that is left. Default: the mean of samples without the concept.
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub to: Option<f32>,

    /// Writes the changed model. Weights that the model keeps in other files are not copied: write it
    /// into the same folder.
    #[arg(long, value_name = "M.onnx")]
    pub out: PathBuf,

    /// Prints only errors.
    #[arg(long, short)]
    pub quiet: bool,
}
