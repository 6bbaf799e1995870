//! A small convolutional autoencoder of the digits.

use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::tensor::{Device, Tensor, activation};

use crate::onnx::{Setting, Writer};

/// The size of a code.
const CODE: usize = 12;

/// Maps 8x8 digits to codes of 12 numbers and back. Both halves are committed as ONNX files.
#[derive(Module, Debug)]
pub struct DigitsAutoencoder {
    conv1: Conv2d,
    conv2: Conv2d,
    to_code: Conv2d,
    from_code: ConvTranspose2d,
    up: ConvTranspose2d,
    to_image: Conv2d,
}

impl DigitsAutoencoder {
    /// Creates the networks with random weights.
    pub fn new(device: &Device) -> Self {
        let same = PaddingConfig2d::Explicit(1, 1, 1, 1);
        let conv = |inputs, outputs, kernel| Conv2dConfig::new([inputs, outputs], [kernel, kernel]);
        let up =
            |inputs, outputs, kernel| ConvTranspose2dConfig::new([inputs, outputs], [kernel; 2]);
        Self {
            conv1: conv(1, 16, 3)
                .with_stride([2, 2])
                .with_padding(same.clone())
                .init(device),
            conv2: conv(16, 32, 3).with_padding(same.clone()).init(device),
            to_code: conv(32, CODE, 4).init(device),
            from_code: up(CODE, 32, 4).init(device),
            up: up(32, 16, 2).with_stride([2, 2]).init(device),
            to_image: conv(16, 1, 3).with_padding(same).init(device),
        }
    }

    /// Maps `[batch, 1, 8, 8]` grey levels from 0 to 1 to codes `[batch, 12, 1, 1]`.
    pub fn encode(&self, x: Tensor<4>) -> Tensor<4> {
        let x = activation::relu(self.conv1.forward(x));
        let x = activation::relu(self.conv2.forward(x));
        self.to_code.forward(x)
    }

    /// Maps codes back to images.
    pub fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        let x = activation::relu(self.from_code.forward(z));
        let x = activation::relu(self.up.forward(x));
        activation::sigmoid(self.to_image.forward(x))
    }

    /// Returns encoder and decoder as ONNX files.
    pub fn to_onnx(&self) -> Result<[Vec<u8>; 2], Box<dyn std::error::Error>> {
        let ones = || Setting::Ints(&[1, 1, 1, 1]);
        let twos = || Setting::Ints(&[2, 2]);
        let mut encoder = Writer::new(
            "digits",
            ("image", &[1, 8, 8]),
            ("code", &[CODE as i64, 1, 1]),
        );
        let first = [("pads", ones()), ("strides", twos())];
        encoder.convolution(&self.conv1, ["image", "conv1"], &first);
        encoder.node("Relu", &["conv1"], "relu1", &[]);
        encoder.convolution(&self.conv2, ["relu1", "conv2"], &[("pads", ones())]);
        encoder.node("Relu", &["conv2"], "relu2", &[]);
        encoder.convolution(&self.to_code, ["relu2", "code"], &[]);

        let mut decoder = Writer::new(
            "digits",
            ("code", &[CODE as i64, 1, 1]),
            ("image", &[1, 8, 8]),
        );
        transposed(&mut decoder, &self.from_code, ["code", "from_code"], &[]);
        decoder.node("Relu", &["from_code"], "relu1", &[]);
        transposed(
            &mut decoder,
            &self.up,
            ["relu1", "up"],
            &[("strides", twos())],
        );
        decoder.node("Relu", &["up"], "relu2", &[]);
        decoder.convolution(&self.to_image, ["relu2", "grey"], &[("pads", ones())]);
        decoder.node("Sigmoid", &["grey"], "image", &[]);
        Ok([encoder.finish()?, decoder.finish()?])
    }
}

fn transposed(
    file: &mut Writer,
    conv: &ConvTranspose2d,
    ports: [&str; 2],
    settings: &[(&str, Setting)],
) {
    let (weight, bias) = (conv.weight.val(), conv.bias.as_ref().map(|bias| bias.val()));
    file.layer("ConvTranspose", weight, bias, ports, settings);
}

#[cfg(test)]
mod tests {
    use attr::onnx::OnnxModel;
    use attr::{Value, Values};

    use super::*;
    use crate::Digits;

    #[test]
    fn the_committed_halves_reconstruct_digits() {
        let device = Device::default();
        let (_, held_out) = Digits::load().unwrap().split();
        let (images, _) = held_out.batch(&Vec::from_iter(0..held_out.len()), &device);
        let mut value = Value::from(images.clone());
        for (half, shape) in [("encoder.onnx", [CODE, 1, 1]), ("decoder.onnx", [1, 8, 8])] {
            let inputs = Values::new(vec![value], vec![true]);
            let file = OnnxModel::open(crate::asset(half), &device).unwrap();
            value = file.trace(&inputs, None).unwrap().forward(&inputs).unwrap();
            assert_eq!(value.shape()[1..], shape);
        }
        let squared = |difference: Tensor<4>| {
            let mean = (difference.clone() * difference).mean();
            mean.into_scalar::<f32>()
        };
        let lost = squared(value.tensor().unwrap() - images.clone());
        let spread = squared(images.clone() - images.mean_dim(0));
        assert!(lost < 0.2 * spread, "{lost} of {spread} is lost");
    }
}
