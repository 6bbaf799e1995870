//! A small convolutional network: an ordinary Burn module, without anything of attr.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d, Relu};
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::{Device, Tensor};

/// Classifies 8x8 digits.
#[derive(Module, Debug)]
pub struct DigitsNet {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    conv3: Conv2d,
    bn3: BatchNorm,
    relu: Relu,
    pool: MaxPool2d,
    fc: Linear,
}

impl DigitsNet {
    /// The network with random weights.
    pub fn new(device: &Device) -> Self {
        let conv = |inputs, outputs| {
            Conv2dConfig::new([inputs, outputs], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .init(device)
        };
        Self {
            conv1: conv(1, 16),
            bn1: BatchNormConfig::new(16).init(device),
            conv2: conv(16, 32),
            bn2: BatchNormConfig::new(32).init(device),
            conv3: conv(32, 32),
            bn3: BatchNormConfig::new(32).init(device),
            relu: Relu::new(),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            fc: LinearConfig::new(32 * 4 * 4, 10).init(device),
        }
    }

    /// The network with the weights of `assets/digits/model.safetensors`.
    pub fn trained(device: &Device) -> Result<Self, Box<dyn std::error::Error>> {
        let mut store = SafetensorsStore::from_file(crate::asset("model.safetensors"));
        let mut net = Self::new(device);
        net.load_from(&mut store)?;
        Ok(net)
    }

    /// Writes the weights to `assets/digits/model.safetensors`.
    pub fn save(&self) -> Result<(), Box<dyn std::error::Error>> {
        let path = crate::asset("model.safetensors");
        let mut store = SafetensorsStore::from_file(path).overwrite(true);
        Ok(self.save_into(&mut store)?)
    }

    /// `[batch, 1, 8, 8]` grey levels from 0 to 1, to `[batch, 10]` logits.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.relu.forward(self.bn1.forward(self.conv1.forward(x)));
        let x = self.relu.forward(self.bn2.forward(self.conv2.forward(x)));
        let x = self.pool.forward(x);
        let x = self.relu.forward(self.bn3.forward(self.conv3.forward(x)));
        self.fc.forward(x.flatten(1, 3))
    }
}
