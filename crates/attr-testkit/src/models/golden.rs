//! The models that `tools/golden/gradient_family.py` runs in Captum, except `TwoInputs` and
//! `LstmClassifier`.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv1d, Conv1dConfig, Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool1d, MaxPool1dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear,
    LinearConfig, PaddingConfig2d,
};
use burn::tensor::{Device, Int, Tensor, activation};

/// ReLU, tanh and sigmoid between linear layers.
#[derive(Module, Debug)]
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
    fc4: Linear,
}

impl Mlp {
    /// 6 inputs, 3 outputs.
    pub fn new(device: &Device) -> Self {
        Self {
            fc1: LinearConfig::new(6, 8).init(device),
            fc2: LinearConfig::new(8, 7).init(device),
            fc3: LinearConfig::new(7, 5).init(device),
            fc4: LinearConfig::new(5, 3).init(device),
        }
    }

    /// `[batch, 6]` to `[batch, 3]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = activation::relu(self.fc1.forward(x));
        let x = self.fc2.forward(x).tanh();
        let x = activation::sigmoid(self.fc3.forward(x));
        self.fc4.forward(x)
    }
}

/// Two convolutions with max pooling in between.
#[derive(Module, Debug)]
pub struct Cnn {
    conv1: Conv2d,
    pool: MaxPool2d,
    conv2: Conv2d,
    fc: Linear,
}

impl Cnn {
    /// One channel of 8x8, 3 classes.
    pub fn new(device: &Device) -> Self {
        Self {
            conv1: Conv2dConfig::new([1, 3], [3, 3]).init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            conv2: Conv2dConfig::new([3, 4], [2, 2]).init(device),
            fc: LinearConfig::new(16, 3).init(device),
        }
    }

    /// `[batch, 1, 8, 8]` to `[batch, 3]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(activation::relu(self.conv1.forward(x)));
        let x = activation::relu(self.conv2.forward(x));
        self.fc.forward(x.flatten(1, 3))
    }
}

/// A residual block with BatchNorm, pooled and classified.
#[derive(Module, Debug)]
pub struct Residual {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    fc: Linear,
}

impl Residual {
    /// Two channels of any size, 3 classes.
    pub fn new(device: &Device) -> Self {
        let conv = |channels, bias| {
            Conv2dConfig::new(channels, [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .with_bias(bias)
                .init(device)
        };
        Self {
            conv1: conv([2, 3], false),
            bn1: BatchNormConfig::new(3).init(device),
            conv2: conv([3, 2], true),
            bn2: BatchNormConfig::new(2).init(device),
            fc: LinearConfig::new(2, 3).init(device),
        }
    }

    /// `[batch, 2, height, width]` to `[batch, 3]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let inner = activation::relu(self.bn1.forward(self.conv1.forward(x.clone())));
        let inner = self.bn2.forward(self.conv2.forward(inner));
        let x: Tensor<3> = activation::relu(inner + x).flatten(2, 3);
        self.fc.forward(x.mean_dim(2).squeeze_dim::<2>(2))
    }
}

/// Two 1-D convolutions with max pooling in between.
#[derive(Module, Debug)]
pub struct Conv1dNet {
    conv1: Conv1d,
    pool: MaxPool1d,
    conv2: Conv1d,
    fc: Linear,
}

impl Conv1dNet {
    /// Three channels of length 9, 3 classes.
    pub fn new(device: &Device) -> Self {
        Self {
            conv1: Conv1dConfig::new(3, 4, 3).init(device),
            pool: MaxPool1dConfig::new(2).with_stride(2).init(),
            conv2: Conv1dConfig::new(4, 3, 2).init(device),
            fc: LinearConfig::new(6, 3).init(device),
        }
    }

    /// `[batch, 3, 9]` to `[batch, 3]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let x = self.pool.forward(activation::relu(self.conv1.forward(x)));
        let x = activation::relu(self.conv2.forward(x));
        self.fc.forward(x.flatten(1, 2))
    }
}

/// A vision transformer of one block: four patches and a class token, width 8, two heads.
#[derive(Module, Debug)]
pub struct Vit {
    patch: Conv2d,
    class_token: Param<Tensor<3>>,
    position: Param<Tensor<3>>,
    norm1: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    norm: LayerNorm,
    head: Linear,
}

impl Vit {
    /// One channel of 8x8, 3 classes.
    pub fn new(device: &Device) -> Self {
        let norm = || LayerNormConfig::new(8).init(device);
        let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        Self {
            patch: Conv2dConfig::new([1, 8], [4, 4])
                .with_stride([4, 4])
                .init(device),
            class_token: Param::from_tensor(Tensor::zeros([1, 1, 8], device)),
            position: Param::from_tensor(Tensor::zeros([1, 5, 8], device)),
            norm1: norm(),
            query: linear(8, 8),
            key: linear(8, 8),
            value: linear(8, 8),
            out: linear(8, 8),
            norm2: norm(),
            fc1: linear(8, 16),
            fc2: linear(16, 8),
            norm: norm(),
            head: linear(8, 3),
        }
    }

    /// `[batch, 1, 8, 8]` to `[batch, 3]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let patches: Tensor<3> = self.patch.forward(x).flatten(2, 3);
        let patches = patches.swap_dims(1, 2);
        let [batch, _, _] = patches.dims();
        let class_token = self.class_token.val().expand([batch, 1, 8]);
        let x = Tensor::cat(vec![class_token, patches], 1) + self.position.val();
        let x = x.clone() + self.attention(self.norm1.forward(x));
        let hidden = activation::gelu(self.fc1.forward(self.norm2.forward(x.clone())));
        let x = x + self.fc2.forward(hidden);
        let class_token = self.norm.forward(x).narrow(1, 0, 1);
        self.head.forward(class_token.squeeze_dim::<2>(1))
    }

    fn attention(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, _, _] = x.dims();
        let heads = |x: Tensor<3>| x.reshape([batch, 5, 2, 4]).swap_dims(1, 2);
        let query = heads(self.query.forward(x.clone()));
        let key = heads(self.key.forward(x.clone()));
        let value = heads(self.value.forward(x));
        let scores = query.matmul(key.swap_dims(2, 3)) / 2.0;
        let mixed = activation::softmax(scores, 3).matmul(value);
        self.out
            .forward(mixed.swap_dims(1, 2).reshape([batch, 5, 8]))
    }
}

/// Embedded tokens, each through a linear layer, averaged and classified.
#[derive(Module, Debug)]
pub struct EmbeddingClassifier {
    embedding: Embedding,
    fc1: Linear,
    fc2: Linear,
}

impl EmbeddingClassifier {
    /// Twelve tokens, 3 classes.
    pub fn new(device: &Device) -> Self {
        Self {
            embedding: EmbeddingConfig::new(12, 6).init(device),
            fc1: LinearConfig::new(6, 7).init(device),
            fc2: LinearConfig::new(7, 3).init(device),
        }
    }

    /// `[batch, sequence]` tokens to `[batch, 3]`.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let x = activation::relu(self.fc1.forward(self.embedding.forward(tokens)));
        self.fc2.forward(x.mean_dim(1).squeeze_dim::<2>(1))
    }
}
