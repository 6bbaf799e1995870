//! An LSTM over sequences of vectors; the last hidden state is classified.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig, Lstm, LstmConfig};
use burn::tensor::{Device, Tensor};

/// Classifies sequences of 5-vectors.
#[derive(Module, Debug)]
pub struct LstmClassifier {
    lstm: Lstm,
    head: Linear,
}

impl LstmClassifier {
    /// Eight hidden units, 3 classes.
    pub fn new(device: &Device) -> Self {
        Self {
            lstm: LstmConfig::new(5, 8, true).init(device),
            head: LinearConfig::new(8, 3).init(device),
        }
    }

    /// `[batch, time, 5]` to `[batch, classes]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let (_, state) = self.lstm.forward(x, None);
        self.head.forward(state.hidden)
    }
}
