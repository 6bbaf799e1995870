//! A small BERT (Devlin et al., 2019), from the embeddings on.

use burn::module::Module;
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

/// Six layers of width 256 with four heads, and a classifier of the first token.
#[derive(Module, Debug)]
pub struct SmallBert {
    encoder: TransformerEncoder,
    pooler: Linear,
    classifier: Linear,
}

impl SmallBert {
    /// The network with random weights, two classes.
    pub fn new(device: &Device) -> Self {
        Self {
            encoder: TransformerEncoderConfig::new(256, 1024, 4, 6).init(device),
            pooler: LinearConfig::new(256, 256).init(device),
            classifier: LinearConfig::new(256, 2).init(device),
        }
    }

    /// `[batch, tokens, 256]`, embeddings that know their positions, to `[batch, 2]`.
    pub fn forward(&self, embedded: Tensor<3>) -> Tensor<2> {
        let encoded = self.encoder.forward(TransformerEncoderInput::new(embedded));
        let first = encoded.narrow(1, 0, 1).squeeze_dim::<2>(1);
        self.classifier.forward(self.pooler.forward(first).tanh())
    }
}
