//! Compares composites of LRP by perturbation curves: pixels are replaced one by one, the most
//! relevant first (MoRF) or the least relevant first (LeRF). The larger the area between the two
//! curves of the predicted class's probability, the better the relevance ranks pixels.
//!
//! `cargo run --release --example curves`
//!
//! Samek et al., "Evaluating the Visualization of What a Deep Neural Network has Learned", 2017
//! (<https://doi.org/10.1109/TNNLS.2016.2599820>).

use attr::gradient::InputXGradient;
use attr::lrp::LrpConfig;
use attr::prelude::*;
use attr_examples::{Digits, DigitsNet};
use burn::tensor::{Device, Tensor, TensorData, activation};
use rand::{RngExt, SeedableRng};

/// The number of held-out digits.
const DIGITS: usize = 200;
const PIXELS: usize = 64;

/// The composites, and the bounds of pixels for those that need them.
const COMPOSITES: [&str; 17] = [
    "epsilon",
    "epsilon_plus",
    "epsilon_plus_flat",
    "epsilon_alpha2_beta1",
    "epsilon_alpha2_beta1_flat",
    "epsilon_gamma_box",
    "alpha1_beta0",
    "alpha2_beta1",
    "w_square",
    "flat",
    "deep_taylor",
    "deep_taylor_bounded",
    "attnlrp",
    "excitation_backprop",
    "deconvnet",
    "guided_backprop",
    "beta_smooth",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default();
    let (training, held_out) = Digits::load()?.split();
    let (images, _) = held_out.batch(&Vec::from_iter(0..DIGITS), &device);
    let net = DigitsNet::trained(&device)?;
    let model = Traced::new(&net, |net: &DigitsNet, x| net.forward(x), &images)?;
    // What replaces a pixel is its mean over the training images.
    let (all, _) = training.batch(&Vec::from_iter(0..training.labels().len()), &device);
    let mean: Vec<f32> = Value::from(all.mean_dim(0)).to_vec()?;
    let data: Vec<f32> = Value::from(images.clone()).to_vec()?;
    let classes = net.forward(images.clone()).argmax(1);
    let classes: Vec<i64> = classes.into_data().iter::<i64>().collect();

    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let noise: Vec<f32> = (0..data.len()).map(|_| random.random()).collect();
    let gradient = InputXGradient::new().attribute(&model, &images, Target::Predicted)?;
    let gradient = Value::from(gradient.attribution()).to_vec()?;
    let mut measured = vec![
        ("random".to_string(), noise),
        ("input x gradient".to_string(), gradient),
    ];
    for composite in COMPOSITES {
        let config = serde_json::json!({"composite": composite, "low": 0.0, "high": 1.0});
        let lrp = serde_json::from_value::<LrpConfig>(config)?.build()?;
        let found = lrp.attribute(&model, &images, Target::Predicted)?;
        let values = Value::from(found.attribution()).to_vec()?;
        measured.push((format!("`{composite}`"), values));
    }
    println!("| Relevance by | Area between LeRF and MoRF |");
    println!("|---|---|");
    for (name, relevance) in measured {
        let area = |most_first: bool| -> f32 {
            let mut sum = 0.0;
            for (i, own) in relevance.chunks(PIXELS).enumerate() {
                let mut order: Vec<usize> = (0..PIXELS).collect();
                order.sort_by(|a, b| own[*a].total_cmp(&own[*b]));
                if most_first {
                    order.reverse();
                }
                // One image for each number of replaced pixels.
                let mut image = data[i * PIXELS..(i + 1) * PIXELS].to_vec();
                let mut steps = image.clone();
                for pixel in order {
                    image[pixel] = mean[pixel];
                    steps.extend(&image);
                }
                let steps = TensorData::new(steps, [PIXELS + 1, 1, 8, 8]);
                let steps = Tensor::<4>::from_data(steps, &device);
                let class = classes[i] as usize;
                let curve = activation::softmax(net.forward(steps), 1).narrow(1, class, 1);
                sum += curve.mean().into_scalar::<f32>();
            }
            sum / DIGITS as f32
        };
        println!("| {name} | {:.3} |", area(false) - area(true));
    }
    Ok(())
}
