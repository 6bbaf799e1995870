//! A small convolutional network: an ordinary Burn module that does not use attr.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d, Relu};
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::{Device, Tensor};

use crate::onnx::{Setting, Writer};

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
    /// Creates the network with random weights.
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

    /// Loads the network with the weights of `assets/digits/model.safetensors`.
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

    /// Maps `[batch, 1, 8, 8]` grey levels from 0 to 1 to `[batch, 10]` logits.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.relu.forward(self.bn1.forward(self.conv1.forward(x)));
        let x = self.relu.forward(self.bn2.forward(self.conv2.forward(x)));
        let x = self.pool.forward(x);
        let x = self.relu.forward(self.bn3.forward(self.conv3.forward(x)));
        self.fc.forward(x.flatten(1, 3))
    }

    /// Returns the network as an ONNX file. Nodes have the names of the modules they come from.
    pub fn to_onnx(&self) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let mut file = Writer::new("digits", ("image", &[1, 8, 8]), ("logits", &[10]));
        let blocks = [
            ("1", &self.conv1, &self.bn1, "image"),
            ("2", &self.conv2, &self.bn2, "relu1"),
            ("3", &self.conv3, &self.bn3, "pool"),
        ];
        for (number, conv, bn, input) in blocks {
            let name = |part: &str| format!("{part}{number}");
            let stored = |part: &str, of: &str| format!("{part}{number}.{of}");
            file.tensor(&stored("conv", "weight"), conv.weight.val());
            let mut convolved = vec![input.to_string(), stored("conv", "weight")];
            if let Some(bias) = &conv.bias {
                file.tensor(&stored("conv", "bias"), bias.val());
                convolved.push(stored("conv", "bias"));
            }
            file.tensor(&stored("bn", "gamma"), bn.gamma.val());
            file.tensor(&stored("bn", "beta"), bn.beta.val());
            file.tensor(&stored("bn", "running_mean"), bn.running_mean.value());
            file.tensor(&stored("bn", "running_var"), bn.running_var.value());
            let same = [1, 1, 1, 1];
            let convolved: Vec<&str> = convolved.iter().map(String::as_str).collect();
            file.node(
                "Conv",
                &convolved,
                &name("conv"),
                &[("pads", Setting::Ints(&same))],
            );
            let normal =
                ["gamma", "beta", "running_mean", "running_var"].map(|of| stored("bn", of));
            let mut normal: Vec<&str> = normal.iter().map(String::as_str).collect();
            let before = name("conv");
            normal.insert(0, &before);
            let epsilon = Setting::Float(bn.epsilon as f32);
            file.node(
                "BatchNormalization",
                &normal,
                &name("bn"),
                &[("epsilon", epsilon)],
            );
            file.node("Relu", &[&name("bn")], &name("relu"), &[]);
            if number == "2" {
                let two = || Setting::Ints(&[2, 2]);
                let window = [("kernel_shape", two()), ("strides", two())];
                file.node("MaxPool", &["relu2"], "pool", &window);
            }
        }
        file.node(
            "Flatten",
            &["relu3"],
            "flatten",
            &[("axis", Setting::Int(1))],
        );
        file.tensor("fc.weight", self.fc.weight.val());
        let mut operands = vec!["flatten", "fc.weight"];
        if let Some(bias) = &self.fc.bias {
            file.tensor("fc.bias", bias.val());
            operands.push("fc.bias");
        }
        file.node("Gemm", &operands, "logits", &[]);
        file.finish()
    }
}

#[cfg(test)]
mod tests {
    use attr::onnx::OnnxModel;
    use attr::{Value, Values};

    use super::*;
    use crate::Digits;

    #[test]
    fn the_committed_onnx_file_is_the_trained_network() {
        let device = Device::default();
        let net = DigitsNet::trained(&device).unwrap();
        let committed = std::fs::read(crate::asset("digits.onnx")).unwrap();
        assert!(
            net.to_onnx().unwrap() == committed,
            "run `cargo xtask train`"
        );

        let (images, _) = Digits::load().unwrap().batch(&[0, 1, 2], &device);
        let expected = Value::from(net.forward(images.clone())).to_vec().unwrap();
        let inputs = Values::new(vec![Value::from(images)], vec![true]);
        let model = OnnxModel::open(crate::asset("digits.onnx"), &device).unwrap();
        let traced = model.trace(&inputs, None).unwrap();
        let got = traced.forward(&inputs).unwrap().to_vec().unwrap();
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() < 1e-4, "{got} {expected}");
        }
    }
}
