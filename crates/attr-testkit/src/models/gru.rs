//! A GRU over integer tokens; the mean hidden state is classified.

use burn::module::Module;
use burn::nn::gru::{Gru, GruConfig};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor};

/// Classifies texts of 15 different tokens.
#[derive(Module, Debug)]
pub struct TextGru {
    embedding: Embedding,
    gru: Gru,
    head: Linear,
}

impl TextGru {
    /// Width 6, eight hidden units, 3 classes.
    pub fn new(device: &Device) -> Self {
        Self {
            embedding: EmbeddingConfig::new(15, 6).init(device),
            gru: GruConfig::new(6, 8, true).init(device),
            head: LinearConfig::new(8, 3).init(device),
        }
    }

    /// `[batch, sequence]` tokens to `[batch, classes]`.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let hidden = self.gru.forward(self.embedding.forward(tokens), None);
        self.head.forward(hidden.mean_dim(1).squeeze_dim::<2>(1))
    }
}
