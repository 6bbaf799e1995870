//! Shifts a four towards a nine with an autoencoder, and writes the video.
//!
//! `cargo run --release --example shift` writes `shift.gif` in the current folder; give a path to
//! write it elsewhere.

use attr::gradient::LatentShift;
use attr::onnx::OnnxModel;
use attr::viz::{Animation, Picture};
use attr::{Target, Traced, Value, Values};
use attr_examples::{Digits, DigitsNet, asset};
use burn::tensor::{Device, Tensor, activation};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).unwrap_or("shift.gif".into());
    let device = Device::default();
    let net = DigitsNet::trained(&device)?;
    let (_, held_out) = Digits::load()?.split();
    let fours: Vec<usize> = (0..held_out.len())
        .filter(|&i| held_out.labels()[i] == 4)
        .collect();
    let (images, _) = held_out.batch(&fours, &device);
    // Of all fours, the one that the network takes for a nine most readily.
    let scores = net.forward(images.clone());
    let doubt = scores.clone().narrow(1, 9, 1) - scores.narrow(1, 4, 1);
    let image = images.select(0, doubt.argmax(0).squeeze_dim(1));

    // Half an autoencoder is any function, a Burn module or, as here, an ONNX file.
    let open = |name: &str, example: &Value| {
        let file = OnnxModel::open(asset(name), &device)?;
        file.trace(&Values::new(vec![example.clone()], vec![true]), None)
    };
    let encoder = open("encoder.onnx", &image.clone().into())?;
    let codes = encoder.forward(&Values::new(vec![image.clone().into()], vec![true]))?;
    let decoder = open("decoder.onnx", &codes)?;

    // The network is sure of its four: the sigmoid of a score would hardly change. The difference
    // of two scores does.
    let model = Traced::new(&net, |net: &DigitsNet, x: Tensor<4>| net.forward(x), &image)?;
    let nine_not_four = Target::function(|scores: Tensor<2>| {
        (scores.clone().narrow(1, 9, 1) - scores.narrow(1, 4, 1)).squeeze_dim(1)
    });
    let shift = LatentShift::traced(encoder, decoder).without_sigmoid();
    let shift = shift.with_range(0.0, 12.0).with_steps(15);
    let shift = shift.shifts(&model, &image, nine_not_four)?.remove(0);
    let probabilities = activation::softmax(net.forward(shift.images.tensor()?), 1);
    let nine: Vec<f32> = probabilities.narrow(1, 9, 1).into_data().iter().collect();
    println!("lambda  score of 9 - score of 4  probability of 9");
    for ((lambda, difference), nine) in shift.lambdas.iter().zip(&shift.predictions).zip(&nine) {
        println!("{lambda:6.2}  {difference:23.2}  {nine:16.3}");
    }
    let pictures =
        (0..shift.images.rows()).map(|i| Picture::from_value(&shift.images, i, 0.0..1.0));
    let pictures = pictures.collect::<Result<Vec<_>, _>>()?;
    let video = Animation::new(pictures).with_predictions(nine)?;
    video.save(&path)?;
    println!("wrote {path}");
    Ok(())
}
