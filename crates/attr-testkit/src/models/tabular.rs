//! A perceptron for tables.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, activation::relu};

/// 30 features, two hidden layers of 64, two classes.
#[derive(Module, Debug)]
pub struct Tabular {
    layer0: Linear,
    layer1: Linear,
    layer2: Linear,
}

impl Tabular {
    /// The network with random weights.
    pub fn new(device: &Device) -> Self {
        Self {
            layer0: LinearConfig::new(30, 64).init(device),
            layer1: LinearConfig::new(64, 64).init(device),
            layer2: LinearConfig::new(64, 2).init(device),
        }
    }

    /// `[batch, 30]` to `[batch, 2]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = relu(self.layer0.forward(x));
        self.layer2.forward(relu(self.layer1.forward(x)))
    }
}
