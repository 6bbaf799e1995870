//! VGG-11 (Simonyan and Zisserman, 2015): convolutions and max pooling, three fully connected layers.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, activation};

/// The layers of torchvision's VGG-11, by its numbers; the rest are ReLUs and pooling.
#[derive(Module, Debug)]
pub struct Vgg11 {
    features: Vec<Option<Conv2d>>,
    pool: MaxPool2d,
    classifier: Vec<Option<Linear>>,
}

/// The channels of each convolution; 0 stands for max pooling.
const LAYERS: [usize; 13] = [64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0];

impl Vgg11 {
    /// For images of 224x224.
    pub fn new(classes: usize, device: &Device) -> Self {
        let (mut features, mut inputs) = (Vec::new(), 3);
        for outputs in LAYERS {
            if outputs == 0 {
                features.push(None);
                continue;
            }
            let conv = Conv2dConfig::new([inputs, outputs], [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
            // A ReLU follows.
            features.extend([Some(conv.init(device)), None]);
            inputs = outputs;
        }
        let linear = |inputs, outputs| Some(LinearConfig::new(inputs, outputs).init(device));
        let classifier = vec![
            linear(512 * 49, 4096),
            None,
            None,
            linear(4096, 4096),
            None,
            None,
            linear(4096, classes),
        ];
        Self {
            features,
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            classifier,
        }
    }

    /// `[batch, 3, 224, 224]` to `[batch, classes]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = x;
        let mut convolutions = self.features.iter().flatten();
        for outputs in LAYERS {
            if outputs == 0 {
                x = self.pool.forward(x);
            } else if let Some(conv) = convolutions.next() {
                x = activation::relu(conv.forward(x));
            }
        }
        let mut x: Tensor<2> = x.flatten(1, 3);
        let layers: Vec<&Linear> = self.classifier.iter().flatten().collect();
        for (i, layer) in layers.iter().enumerate() {
            x = layer.forward(x);
            if i + 1 < layers.len() {
                x = activation::relu(x);
            }
        }
        x
    }
}
