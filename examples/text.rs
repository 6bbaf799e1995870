//! Explains a text: tokens have no gradient, so the gradient is taken at their embedding.
//!
//! `cargo run --release --example text`

use attr::prelude::*;
use burn::module::{Module, Param};
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::{Device, Int, Tensor};

const VOCABULARY: [&str; 7] = ["<pad>", "the", "film", "is", "not", "good", "bad"];

/// Scores a text: words carry a sentiment, which a negation before them turns around.
#[derive(Module, Debug)]
struct Sentiment {
    embedding: Embedding,
}

impl Sentiment {
    fn new(device: &Device) -> Self {
        // For each word, its sentiment and whether it negates.
        let [neutral, negation] = [[0.0, 0.0], [0.0, 1.0]];
        let words = [
            neutral,
            neutral,
            neutral,
            neutral,
            negation,
            [1.0, 0.0],
            [-1.0, 0.0],
        ];
        let mut embedding = EmbeddingConfig::new(VOCABULARY.len(), 2).init(device);
        embedding.weight = Param::from_tensor(Tensor::from_floats(words, device));
        Self { embedding }
    }

    /// Maps tokens `[batch, length]` to a score `[batch, 1]`.
    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let embedded = self.embedding.forward(tokens);
        let [batch, length, _] = embedded.dims();
        let part = |dim, from| {
            let part = embedded.clone().slice([0..batch, from..from + length - 1]);
            part.narrow(2, dim, 1).squeeze_dim::<2>(2)
        };
        (part(0, 1) * (part(1, 0) * -2.0 + 1.0)).sum_dim(1)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default();
    let net = Sentiment::new(&device);
    let tokens = Tensor::<2, Int>::from_ints([[1, 2, 3, 4, 5]], &device);
    let words = [1, 2, 3, 4, 5].map(|token: usize| VOCABULARY[token]);
    let model = Traced::new(&net, |net: &Sentiment, x| net.forward(x), &tokens)?;

    // Compared with a text of padding, which is token 0.
    let gradients = IntegratedGradients::new().at_layers("embedding");
    let found = gradients.attribute(&model, &tokens, 0)?;
    for row in found.token_rows("embedding")? {
        println!(
            "integrated gradients at the embedding: {}",
            row.named(&words)?
        );
    }

    // Methods without gradients take the tokens themselves. Negative numbers mark what is never
    // perturbed, here the article; "not good" is one feature.
    let features = Tensor::<2, Int>::from_ints([[-1, 0, 1, 2, 2]], &device);
    let shapley = ShapleyValues::new().with_feature_mask(features);
    for row in shapley.attribute(&model, &tokens, 0)?.rows()? {
        println!("Shapley values: {}", row.named(&words)?.sorted());
    }
    Ok(())
}
