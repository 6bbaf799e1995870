//! Small models, each with one thing that trips up hook-based tools.

use attr_core::tap;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig, PaddingConfig2d,
};
use burn::tensor::{Device, Tensor, activation};

/// Activations called as functions, not modules, and an intermediate value named by the user.
#[derive(Module, Debug)]
pub struct FunctionalRelu {
    first: Linear,
    second: Linear,
}

impl FunctionalRelu {
    /// 4 inputs, 6 hidden units, 3 outputs.
    pub fn new(device: &Device) -> Self {
        Self {
            first: LinearConfig::new(4, 6).init(device),
            second: LinearConfig::new(6, 3).init(device),
        }
    }

    /// `[batch, 4]` to `[batch, 3]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = activation::relu(self.first.forward(x));
        self.second.forward(tap("hidden", hidden))
    }
}

/// One linear layer used three times.
#[derive(Module, Debug)]
pub struct Reused {
    layer: Linear,
}

impl Reused {
    /// 4 inputs and outputs.
    pub fn new(device: &Device) -> Self {
        Self {
            layer: LinearConfig::new(4, 4).init(device),
        }
    }

    /// `[batch, 4]` to `[batch, 4]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = activation::relu(self.layer.forward(x));
        let x = activation::relu(self.layer.forward(x));
        self.layer.forward(x)
    }
}

/// Two inputs of different shapes that meet in a product.
#[derive(Module, Debug)]
pub struct TwoInputs {
    left: Linear,
    right: Linear,
    head: Linear,
}

impl TwoInputs {
    /// 3 and 5 features, 2 outputs.
    pub fn new(device: &Device) -> Self {
        Self {
            left: LinearConfig::new(3, 4).init(device),
            right: LinearConfig::new(5, 4).init(device),
            head: LinearConfig::new(4, 2).init(device),
        }
    }

    /// `[batch, 3]` and `[batch, 5]` to `[batch, 2]`.
    pub fn forward(&self, left: Tensor<2>, right: Tensor<2>) -> Tensor<2> {
        let left = self.left.forward(left).tanh();
        let right = activation::sigmoid(self.right.forward(right));
        self.head.forward(left * right)
    }
}

/// Convolution, BatchNorm, Dropout, pooling, softmax: what training mode changes.
#[derive(Module, Debug)]
pub struct SmallCnn {
    conv: Conv2d,
    bn: BatchNorm,
    dropout: Dropout,
    pool: MaxPool2d,
    fc: Linear,
}

impl SmallCnn {
    /// One channel of 6x6, 3 classes.
    pub fn new(device: &Device) -> Self {
        Self {
            conv: Conv2dConfig::new([1, 4], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .init(device),
            bn: BatchNormConfig::new(4).init(device),
            dropout: DropoutConfig::new(0.5).init(),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            fc: LinearConfig::new(36, 3).init(device),
        }
    }

    /// `[batch, 1, 6, 6]` to probabilities `[batch, 3]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = activation::relu(self.bn.forward(self.conv.forward(x)));
        let x = self.pool.forward(self.dropout.forward(x));
        activation::softmax(self.fc.forward(x.flatten(1, 3)), 1)
    }
}
