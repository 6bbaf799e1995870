//! The models of Captum's own tests, with their weights, so that the numbers those tests expect can
//! be asserted here.
//!
//! Fields are named as in Captum; activations are functions here and modules there. Linear weights
//! are `[in, out]`, PyTorch's transposed.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool1d, MaxPool1dConfig, MaxPool2d, MaxPool2dConfig};
use burn::tensor::activation::{relu, softmax, tanh};
use burn::tensor::{Device, Tensor, TensorData};

fn linear<const I: usize, const O: usize>(
    weight: [[f32; O]; I],
    bias: Option<[f32; O]>,
    device: &Device,
) -> Linear {
    Linear {
        weight: Param::from_tensor(Tensor::from_floats(weight, device)),
        bias: bias.map(|bias| Param::from_tensor(Tensor::from_floats(bias, device))),
    }
}

/// A 3x3 convolution without padding; `weight` is `[out, in, 3, 3]`, flat.
fn conv<const O: usize>(
    inputs: usize,
    weight: Vec<f32>,
    bias: [f32; O],
    device: &Device,
) -> Conv2d {
    let mut conv = Conv2dConfig::new([inputs, O], [3, 3]).init(device);
    let weight = TensorData::new(weight, [O, inputs, 3, 3]);
    conv.weight = Param::from_tensor(Tensor::from_data(weight, device));
    conv.bias = Some(Param::from_tensor(Tensor::from_floats(bias, device)));
    conv
}

/// `BasicModel`: `1 - relu(1 - x)`.
#[derive(Module, Debug, Default)]
pub struct Basic;

impl Basic {
    /// Element by element.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        1.0 - relu(1.0 - x)
    }
}

/// `BasicModel2`, the first example of Sundararajan et al., 2017.
#[derive(Module, Debug, Default)]
pub struct Basic2;

impl Basic2 {
    /// `relu(relu(x1) - 1 - relu(x2))`.
    pub fn forward<const D: usize>(&self, x1: Tensor<D>, x2: Tensor<D>) -> Tensor<D> {
        relu(relu(x1) - 1.0 - relu(x2))
    }
}

/// `BasicModel3`, the second example of Sundararajan et al., 2017: the same function for
/// non-negative inputs, computed differently.
#[derive(Module, Debug, Default)]
pub struct Basic3;

impl Basic3 {
    /// `relu(relu(x1 - 1) - relu(x2))`.
    pub fn forward<const D: usize>(&self, x1: Tensor<D>, x2: Tensor<D>) -> Tensor<D> {
        relu(relu(x1 - 1.0) - relu(x2))
    }
}

/// `BasicModel4_MultiArgs`.
#[derive(Module, Debug, Default)]
pub struct Basic4;

impl Basic4 {
    /// `relu(relu(x1 - 1) - relu(x2) / divisor)[:, column]`.
    pub fn forward(
        &self,
        x1: Tensor<2>,
        x2: Tensor<2>,
        divisor: Tensor<2>,
        column: usize,
    ) -> Tensor<1> {
        let all = relu(relu(x1 - 1.0) - relu(x2) / divisor);
        all.narrow(1, column, 1).squeeze_dim(1)
    }
}

/// `BasicModel5_MultiArgs`.
#[derive(Module, Debug, Default)]
pub struct Basic5;

impl Basic5 {
    /// `relu(relu(x1 - 1) * factors[0] - relu(x2) * factors[1])[:, column]`.
    pub fn forward(
        &self,
        x1: Tensor<2>,
        x2: Tensor<2>,
        factors: [f32; 2],
        column: usize,
    ) -> Tensor<1> {
        let all = relu(relu(x1 - 1.0) * factors[0] - relu(x2) * factors[1]);
        all.narrow(1, column, 1).squeeze_dim(1)
    }
}

/// `BasicModel6_MultiTensor`.
#[derive(Module, Debug, Default)]
pub struct Basic6;

impl Basic6 {
    /// `1 - relu(1 - (x1 + x2))[:, 1]`.
    pub fn forward(&self, x1: Tensor<2>, x2: Tensor<2>) -> Tensor<1> {
        let all: Tensor<2> = 1.0 - relu(1.0 - (x1 + x2));
        all.narrow(1, 1, 1).squeeze_dim(1)
    }
}

/// `ReLUDeepLiftModel`.
#[derive(Module, Debug, Default)]
pub struct ReluDeepLift;

impl ReluDeepLift {
    /// `2 relu(x1) + 2 relu(x2 - 1.5)`.
    pub fn forward<const D: usize>(&self, x1: Tensor<D>, x2: Tensor<D>) -> Tensor<D> {
        relu(x1) * 2.0 + relu(x2 - 1.5) * 2.0
    }
}

/// `TanhDeepLiftModel`.
#[derive(Module, Debug, Default)]
pub struct TanhDeepLift;

impl TanhDeepLift {
    /// `2 tanh(x1) + 2 tanh(x2 - 1.5)`.
    pub fn forward<const D: usize>(&self, x1: Tensor<D>, x2: Tensor<D>) -> Tensor<D> {
        tanh(x1) * 2.0 + tanh(x2 - 1.5) * 2.0
    }
}

/// `ReLULinearModel`.
#[derive(Module, Debug)]
pub struct ReluLinear {
    l1: Linear,
    l2: Linear,
    l3: Linear,
}

impl ReluLinear {
    /// With the published weights.
    pub fn new(device: &Device) -> Self {
        Self {
            l1: linear([[3.0], [1.0], [0.0]], None, device),
            l2: linear([[2.0], [3.0], [0.0]], None, device),
            l3: linear([[1.0], [1.0]], None, device),
        }
    }

    /// `[batch, 3]` twice to `[batch, 1]`; Captum's `x3` is 1.
    pub fn forward(&self, x1: Tensor<2>, x2: Tensor<2>) -> Tensor<2> {
        self.forward_scaled(x1, x2, 1.0)
    }

    /// With Captum's `x3`, which scales the second branch.
    pub fn forward_scaled(&self, x1: Tensor<2>, x2: Tensor<2>, x3: f32) -> Tensor<2> {
        let both = vec![self.l1.forward(x1), self.l2.forward(x2) * x3];
        self.l3.forward(relu(Tensor::cat(both, 1)))
    }
}

/// `LinearMaxPoolLinearModel`: the largest of four inputs.
#[derive(Module, Debug)]
pub struct LinearMaxPoolLinear {
    lin1: Linear,
    pool1: MaxPool1d,
    lin2: Linear,
}

impl LinearMaxPoolLinear {
    /// With the published weights.
    pub fn new(device: &Device) -> Self {
        let mut identity = [[0.0; 4]; 4];
        for (i, row) in identity.iter_mut().enumerate() {
            row[i] = 1.0;
        }
        Self {
            lin1: linear(identity, None, device),
            pool1: MaxPool1dConfig::new(4).init(),
            lin2: linear([[1.0]], None, device),
        }
    }

    /// `[batch, 4]` to `[batch, 1]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.lin1.forward(x.unsqueeze_dim::<3>(1));
        let x = self.pool1.forward(x).squeeze_dim::<2>(1);
        self.lin2.forward(x)
    }
}

/// `BasicModel_MaxPool_ReLU`.
#[derive(Module, Debug)]
pub struct MaxPoolRelu {
    maxpool: MaxPool1d,
}

impl MaxPoolRelu {
    /// A window of three.
    pub fn new() -> Self {
        Self {
            maxpool: MaxPool1dConfig::new(3).init(),
        }
    }

    /// `[batch, channels, 3 n]` to `[batch, n]`, summed over channels.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let x = relu(self.maxpool.forward(x));
        x.sum_dim(1).squeeze_dim(1)
    }
}

impl Default for MaxPoolRelu {
    fn default() -> Self {
        Self::new()
    }
}

/// `BasicModel_MultiLayer`.
#[derive(Module, Debug)]
pub struct MultiLayer {
    linear0: Linear,
    linear1: Linear,
    linear1_alt: Linear,
    linear2: Linear,
}

impl MultiLayer {
    /// With the published weights; `linear0` is the identity.
    pub fn new(device: &Device) -> Self {
        let first = || {
            let bias = [-10.0, 1.0, 1.0, 1.0];
            linear([[1.0; 4]; 3], Some(bias), device)
        };
        let identity = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        Self {
            linear0: linear(identity, Some([0.0; 3]), device),
            linear1: first(),
            linear1_alt: first(),
            linear2: linear([[1.0; 2]; 4], Some([-1.0, 1.0]), device),
        }
    }

    /// `[batch, 3]` to `[batch, 2]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.linear1.forward(self.linear0.forward(x));
        self.linear2.forward(relu(x))
    }

    /// Captum's `multi_input_module=True`: two branches are added, one of which skips `linear0`.
    pub fn forward_multi(&self, x: Tensor<2>) -> Tensor<2> {
        let one = self.linear1.forward(self.linear0.forward(x.clone()));
        let two = self.linear1_alt.forward(x);
        self.linear2.forward(relu(one) + relu(two))
    }
}

/// `BasicModel_MultiLayer_MultiInput`.
#[derive(Module, Debug)]
pub struct MultiLayerMultiInput {
    model: MultiLayer,
}

impl MultiLayerMultiInput {
    /// With the published weights.
    pub fn new(device: &Device) -> Self {
        Self {
            model: MultiLayer::new(device),
        }
    }

    /// Three times `[batch, 3]` to `[batch, 2]`.
    pub fn forward(&self, x1: Tensor<2>, x2: Tensor<2>, x3: Tensor<2>, scale: f32) -> Tensor<2> {
        self.model.forward((x1 + x2 + x3) * scale)
    }
}

/// `BasicModel_ConvNet_One_Conv`.
#[derive(Module, Debug)]
pub struct OneConv {
    conv1: Conv2d,
    fc1: Linear,
}

impl OneConv {
    /// With the published weights.
    pub fn new(device: &Device) -> Self {
        let mut weight = [[1.0; 4]; 8];
        weight[5..].fill([-1.0; 4]);
        Self {
            conv1: conv(1, vec![1.0; 18], [-50.0, -75.0], device),
            fc1: linear(weight, Some([0.0; 4]), device),
        }
    }

    /// `[batch, 1, 4, 4]` to `[batch, 4]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = relu(self.conv1.forward(x));
        relu(self.fc1.forward(x.flatten(1, 3)))
    }

    /// The same for the sum of two images.
    pub fn forward_two(&self, x: Tensor<4>, x2: Tensor<4>) -> Tensor<2> {
        self.forward(x + x2)
    }
}

/// `BasicModel_ConvNet`. Captum draws its convolutions and biases at random; these are PyTorch's
/// for seed 1234, which Captum's tests set, rounded to two decimals.
///
/// All weights of `fc2` are equal, so all logits move together and the probabilities are constant.
/// Explanations of the probabilities are therefore zero; those of the logits are not.
#[derive(Module, Debug)]
pub struct ConvNet {
    conv1: Conv2d,
    pool1: MaxPool2d,
    conv2: Conv2d,
    pool2: MaxPool2d,
    fc1: Linear,
    fc2: Linear,
}

impl ConvNet {
    /// With fixed weights.
    pub fn new(device: &Device) -> Self {
        let fc1 = [0.37, -0.18, 0.29, 0.04, 0.12, -0.33, -0.11, 0.33];
        let fc2 = [
            -0.21, 0.04, -0.07, 0.08, -0.08, -0.23, 0.05, 0.24, -0.21, 0.31,
        ];
        Self {
            conv1: conv(1, CONV1.into(), [-0.17, 0.15], device),
            pool1: MaxPool2dConfig::new([2, 2]).init(),
            conv2: conv(2, CONV2.into(), [-0.19, -0.13, 0.11, -0.18], device),
            pool2: MaxPool2dConfig::new([2, 2]).init(),
            fc1: linear([[1.0; 8]; 4], Some(fc1), device),
            fc2: linear([[1.0; 10]; 8], Some(fc2), device),
        }
    }

    /// `[batch, 1, 10, 10]` to probabilities `[batch, 10]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        softmax(self.logits(x), 1)
    }

    /// `[batch, 1, 10, 10]` to logits `[batch, 10]`.
    pub fn logits(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.pool1.forward(relu(self.conv1.forward(x)));
        let x = self.pool2.forward(relu(self.conv2.forward(x)));
        let x = relu(self.fc1.forward(x.flatten(1, 3)));
        self.fc2.forward(x)
    }
}

const CONV1: [f32; 18] = [
    -0.31, -0.07, -0.16, -0.09, -0.29, 0.13, -0.3, -0.02, 0.12, -0.11, 0.19, 0.04, 0.18, 0.21,
    -0.15, 0.12, -0.14, 0.1,
];

const CONV2: [f32; 72] = [
    0.05, -0.09, -0.12, 0.06, 0.22, 0.11, -0.02, -0.01, 0.13, -0.16, 0.08, -0.08, 0.14, -0.08,
    0.01, 0.08, 0.16, -0.03, 0.22, -0.2, -0.04, -0.24, 0.02, 0.07, -0.1, 0.1, -0.04, -0.2, 0.18,
    0.15, 0.12, 0.19, 0.09, 0.13, 0.2, -0.05, -0.18, -0.12, -0.03, -0.03, 0.0, 0.14, 0.08, -0.17,
    -0.07, -0.06, 0.14, -0.09, -0.1, -0.04, -0.06, -0.06, -0.23, 0.21, 0.13, -0.11, -0.15, 0.01,
    0.13, -0.17, -0.09, 0.1, -0.15, -0.03, -0.18, 0.22, 0.13, -0.22, -0.13, 0.08, 0.01, 0.06,
];

/// `ToyModel` of Captum's tutorial on distributed attribution.
#[derive(Module, Debug)]
pub struct Toy {
    linear1: Linear,
}

impl Toy {
    /// With the published weights.
    pub fn new(device: &Device) -> Self {
        Self {
            linear1: linear([[1.0; 4]; 3], Some([-10.0, 1.0, 1.0, 1.0]), device),
        }
    }

    /// `[batch, 3]` to `[batch, 4]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        relu(self.linear1.forward(x))
    }
}
