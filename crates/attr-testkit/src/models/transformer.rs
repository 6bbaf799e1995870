//! A Transformer encoder over integer tokens, with a padding mask made from them.

use burn::module::Module;
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor};

/// Classifies sequences of tokens; token 0 is padding.
#[derive(Module, Debug)]
pub struct TokenClassifier {
    embedding: Embedding,
    encoder: TransformerEncoder,
    head: Linear,
}

impl TokenClassifier {
    /// Two layers of width 16 over 20 tokens, 3 classes.
    pub fn new(device: &Device) -> Self {
        Self {
            embedding: EmbeddingConfig::new(20, 16).init(device),
            encoder: TransformerEncoderConfig::new(16, 32, 4, 2).init(device),
            head: LinearConfig::new(16, 3).init(device),
        }
    }

    /// `[batch, sequence]` tokens to `[batch, classes]`.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let embedded = self.embedding.forward(tokens.clone());
        self.forward_embedded(embedded, tokens)
    }

    /// From the embedding on: `[batch, sequence, width]` to `[batch, classes]`.
    pub fn forward_embedded(&self, embedded: Tensor<3>, tokens: Tensor<2, Int>) -> Tensor<2> {
        let padding = tokens.equal_elem(0);
        let input = TransformerEncoderInput::new(embedded).mask_pad(padding);
        let encoded = self.encoder.forward(input);
        self.head.forward(encoded.mean_dim(1).squeeze_dim::<2>(1))
    }

    /// The embedded tokens.
    pub fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.embedding.forward(tokens)
    }
}
