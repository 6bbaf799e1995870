//! A convolutional network that classifies scenes: an ordinary Burn module that does not use attr.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d, Relu};
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::{Device, Tensor};

use super::{Shape, asset};
use crate::onnx::{Setting, Writer};

/// Classifies scenes by the shape of their object.
#[derive(Module, Debug)]
pub struct ScenesNet {
    conv1: Conv2d,
    conv2: Conv2d,
    conv3: Conv2d,
    relu: Relu,
    pool: MaxPool2d,
    fc: Linear,
}

impl ScenesNet {
    /// Creates the network with random weights.
    pub fn new(device: &Device) -> Self {
        let conv = |inputs, outputs| {
            Conv2dConfig::new([inputs, outputs], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .init(device)
        };
        Self {
            conv1: conv(3, 16),
            conv2: conv(16, 32),
            conv3: conv(32, 64),
            relu: Relu::new(),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            fc: LinearConfig::new(64 * 4 * 4, Shape::ALL.len()).init(device),
        }
    }

    /// Loads the network with the weights of `assets/scenes/model.safetensors`.
    pub fn trained(device: &Device) -> Result<Self, Box<dyn std::error::Error>> {
        let mut store = SafetensorsStore::from_file(asset("model.safetensors"));
        let mut net = Self::new(device);
        net.load_from(&mut store)?;
        Ok(net)
    }

    /// Writes the weights to `assets/scenes/model.safetensors`.
    pub fn save(&self) -> Result<(), Box<dyn std::error::Error>> {
        let path = asset("model.safetensors");
        let mut store = SafetensorsStore::from_file(path).overwrite(true);
        Ok(self.save_into(&mut store)?)
    }

    /// Maps `[batch, 3, 32, 32]` colours from 0 to 1 to `[batch, 6]` logits.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(self.relu.forward(self.conv1.forward(x)));
        let x = self.pool.forward(self.relu.forward(self.conv2.forward(x)));
        let x = self.pool.forward(self.relu.forward(self.conv3.forward(x)));
        self.fc.forward(x.flatten(1, 3))
    }

    /// Returns the network as an ONNX file. Nodes have the names of the modules they come from.
    pub fn to_onnx(&self) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let classes = [Shape::ALL.len() as i64];
        let mut file = Writer::new("scenes", ("image", &[3, 32, 32]), ("logits", &classes));
        let blocks = [
            ("1", &self.conv1, "image"),
            ("2", &self.conv2, "pool1"),
            ("3", &self.conv3, "pool2"),
        ];
        for (number, conv, input) in blocks {
            let [convolved, active, pooled] =
                ["conv", "relu", "pool"].map(|part| format!("{part}{number}"));
            let same = [("pads", Setting::Ints(&[1, 1, 1, 1]))];
            file.convolution(conv, [input, &convolved], &same);
            file.node("Relu", &[&convolved], &active, &[]);
            let two = || Setting::Ints(&[2, 2]);
            let window = [("kernel_shape", two()), ("strides", two())];
            file.node("MaxPool", &[&active], &pooled, &window);
        }
        let axis = [("axis", Setting::Int(1))];
        file.node("Flatten", &["pool3"], "flatten", &axis);
        let bias = self.fc.bias.as_ref().map(|bias| bias.val());
        let weight = self.fc.weight.val();
        file.layer("Gemm", weight, bias, ["flatten", "logits"], &[]);
        file.finish()
    }
}

#[cfg(test)]
mod tests {
    use attr::onnx::OnnxModel;
    use attr::{Value, Values};

    use super::*;
    use crate::scenes::{Confounder, HELD_OUT, Scenes, images};

    #[test]
    fn the_committed_onnx_file_is_the_trained_network() {
        let device = Device::default();
        let net = ScenesNet::trained(&device).unwrap();
        let committed = std::fs::read(asset("scenes.onnx")).unwrap();
        assert!(
            net.to_onnx().unwrap() == committed,
            "run `cargo xtask train`"
        );

        let scenes = Scenes::new(HELD_OUT).first(6, Confounder::AsTrained);
        let images = images(&scenes, &device);
        let expected = Value::from(net.forward(images.clone())).to_vec().unwrap();
        let inputs = Values::new(vec![Value::from(images)], vec![true]);
        let model = OnnxModel::open(asset("scenes.onnx"), &device).unwrap();
        let traced = model.trace(&inputs, None).unwrap();
        let got = traced.forward(&inputs).unwrap().to_vec().unwrap();
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() < 1e-4, "{got} {expected}");
        }
    }
}
