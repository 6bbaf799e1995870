//! ViT-Ti/16 (Dosovitskiy et al., 2021; Touvron et al., 2021): patches of 16x16 and a class token,
//! twelve blocks of width 192 with three heads.

use burn::module::{Module, Param};
use burn::nn::attention::{MhaInput, MultiHeadAttention, MultiHeadAttentionConfig};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor, activation::gelu};

const WIDTH: usize = 192;

/// Layer normalisation comes first, residual additions around it.
#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    attention: MultiHeadAttention,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Block {
    fn new(device: &Device) -> Self {
        Self {
            norm1: LayerNormConfig::new(WIDTH).init(device),
            attention: MultiHeadAttentionConfig::new(WIDTH, 3).init(device),
            norm2: LayerNormConfig::new(WIDTH).init(device),
            fc1: LinearConfig::new(WIDTH, 4 * WIDTH).init(device),
            fc2: LinearConfig::new(4 * WIDTH, WIDTH).init(device),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let normed = MhaInput::self_attn(self.norm1.forward(x.clone()));
        let x = x + self.attention.forward(normed).context;
        let hidden = gelu(self.fc1.forward(self.norm2.forward(x.clone())));
        x + self.fc2.forward(hidden)
    }
}

/// ViT-Ti/16 for images of 224x224.
#[derive(Module, Debug)]
pub struct VitTiny {
    patch: Conv2d,
    class_token: Param<Tensor<3>>,
    position: Param<Tensor<3>>,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl VitTiny {
    /// The network with random weights.
    pub fn new(classes: usize, device: &Device) -> Self {
        Self {
            patch: Conv2dConfig::new([3, WIDTH], [16, 16])
                .with_stride([16, 16])
                .init(device),
            class_token: Param::from_tensor(Tensor::zeros([1, 1, WIDTH], device)),
            position: Param::from_tensor(Tensor::zeros([1, 197, WIDTH], device)),
            blocks: (0..12).map(|_| Block::new(device)).collect(),
            norm: LayerNormConfig::new(WIDTH).init(device),
            head: LinearConfig::new(WIDTH, classes).init(device),
        }
    }

    /// `[batch, 3, 224, 224]` to `[batch, classes]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let patches: Tensor<3> = self.patch.forward(x).flatten(2, 3);
        let patches = patches.swap_dims(1, 2);
        let [batch, _, _] = patches.dims();
        let class_token = self.class_token.val().expand([batch, 1, WIDTH]);
        let mut x = Tensor::cat(vec![class_token, patches], 1) + self.position.val();
        for block in &self.blocks {
            x = block.forward(x);
        }
        let class_token = self.norm.forward(x).narrow(1, 0, 1);
        self.head.forward(class_token.squeeze_dim::<2>(1))
    }
}
