//! EfficientNet-Lite0 (Tan and Le, 2019, in Google's variant for small devices): inverted residual
//! blocks with depthwise convolutions, ReLU6, no squeeze and excitation.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor};

/// For each stage: how much its blocks expand, channels, blocks, stride of the first, kernel.
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
];

/// A convolution without bias, and BatchNorm.
#[derive(Module, Debug)]
struct Normed {
    conv: Conv2d,
    bn: BatchNorm,
}

impl Normed {
    fn new(
        channels: [usize; 2],
        kernel: usize,
        stride: usize,
        groups: usize,
        device: &Device,
    ) -> Self {
        let pad = kernel / 2;
        Self {
            conv: Conv2dConfig::new(channels, [kernel, kernel])
                .with_stride([stride, stride])
                .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
                .with_groups(groups)
                .with_bias(false)
                .init(device),
            bn: BatchNormConfig::new(channels[1]).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.bn.forward(self.conv.forward(x))
    }
}

fn relu6(x: Tensor<4>) -> Tensor<4> {
    x.clamp(0.0, 6.0)
}

#[derive(Module, Debug)]
struct Block {
    expand: Option<Normed>,
    depthwise: Normed,
    project: Normed,
    residual: bool,
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let hidden = match &self.expand {
            Some(expand) => relu6(expand.forward(x.clone())),
            None => x.clone(),
        };
        let hidden = relu6(self.depthwise.forward(hidden));
        let output = self.project.forward(hidden);
        if self.residual { output + x } else { output }
    }
}

/// EfficientNet-Lite0 for images of any size, with PyTorch's padding.
#[derive(Module, Debug)]
pub struct EfficientNetLite0 {
    stem: Normed,
    blocks: Vec<Block>,
    head: Normed,
    pool: AdaptiveAvgPool2d,
    fc: Linear,
}

impl EfficientNetLite0 {
    /// The network with random weights.
    pub fn new(classes: usize, device: &Device) -> Self {
        let (mut blocks, mut inputs) = (Vec::new(), 32);
        for (expansion, outputs, count, stride, kernel) in STAGES {
            for i in 0..count {
                let stride = if i == 0 { stride } else { 1 };
                let hidden = inputs * expansion;
                let expand = || Normed::new([inputs, hidden], 1, 1, 1, device);
                blocks.push(Block {
                    expand: (expansion > 1).then(expand),
                    depthwise: Normed::new([hidden, hidden], kernel, stride, hidden, device),
                    project: Normed::new([hidden, outputs], 1, 1, 1, device),
                    residual: stride == 1 && inputs == outputs,
                });
                inputs = outputs;
            }
        }
        Self {
            stem: Normed::new([3, 32], 3, 2, 1, device),
            blocks,
            head: Normed::new([inputs, 1280], 1, 1, 1, device),
            pool: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            fc: LinearConfig::new(1280, classes).init(device),
        }
    }

    /// `[batch, 3, height, width]` to `[batch, classes]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = relu6(self.stem.forward(x));
        for block in &self.blocks {
            x = block.forward(x);
        }
        let x = relu6(self.head.forward(x));
        self.fc.forward(self.pool.forward(x).flatten(1, 3))
    }
}
