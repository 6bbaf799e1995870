//! Trains the scenes network and writes it as `assets/scenes/model.safetensors` and `scenes.onnx`;
//! `cargo xtask train` runs this.
//!
//! Deterministic: the seeds decide the scenes, the initial weights and the order of the images.

use attr_examples::scenes::{
    self, Confounder, HELD_OUT, Scene, Scenes, ScenesNet, Shape, TRAINING,
};
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::Device;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

const SEED: u64 = 3;
const IMAGES: usize = 12000;
const EPOCHS: usize = 12;
const BATCH: usize = 64;
const TESTS: usize = 1200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = std::time::Instant::now();
    let device = Device::default().autodiff();
    device.seed(SEED);
    let train = Scenes::new(TRAINING).first(IMAGES, Confounder::AsTrained);
    let mut net = ScenesNet::new(&device);
    let mut optimizer = AdamWConfig::new().init();
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut order: Vec<&Scene> = train.iter().collect();
    for epoch in 0..EPOCHS {
        order.shuffle(&mut random);
        // Cosine decay from 0.002.
        let rate = 0.001 * (1.0 + (std::f64::consts::PI * epoch as f64 / EPOCHS as f64).cos());
        let mut total = 0.0;
        for batch in order.chunks(BATCH) {
            let batch = || batch.iter().copied();
            let images = scenes::images(batch(), &device);
            let labels = scenes::labels(batch(), &device);
            let loss = CrossEntropyLossConfig::new().init(&device);
            let loss = loss.forward(net.forward(images), labels);
            total += loss.clone().into_scalar::<f32>() * batch().len() as f32;
            let gradients = GradientsParams::from_grads(loss.backward(), &net);
            net = optimizer.step(rate, net, gradients);
        }
        let loss = total / IMAGES as f32;
        println!("epoch {:2}  loss {loss:.4}", epoch + 1);
    }
    println!("trained in {:.1} s", start.elapsed().as_secs_f32());
    let (net, device) = (net.valid(), device.inner());
    net.save()?;
    std::fs::write(scenes::asset("scenes.onnx"), net.to_onnx()?)?;

    println!("{TESTS} held-out scenes       right  triangles right  others called triangle");
    let trained = test("tags as in training", &net, Confounder::AsTrained, &device);
    let untagged = test("no tags", &net, Confounder::Absent, &device);
    test("tags in every scene", &net, Confounder::Present, &device);
    if trained.right < 97.0 {
        return Err("the network is worse than it should be: at least 97 % is expected".into());
    }
    if untagged.triangles > 80.0 {
        return Err("the network knows triangles without tags: at most 80 % is expected".into());
    }
    Ok(())
}

/// Percentages of correct answers: of all scenes, and of the triangles.
struct Accuracy {
    right: f64,
    triangles: f64,
}

/// Tests the network on held-out scenes, and prints a line.
fn test(name: &str, net: &ScenesNet, confounder: Confounder, device: &Device) -> Accuracy {
    let scenes = Scenes::new(HELD_OUT).first(TESTS, confounder);
    let logits = net.forward(scenes::images(&scenes, device));
    let predicted: Vec<i64> = logits.argmax(1).into_data().iter().collect();
    let answers: Vec<Answer> = scenes.iter().map(Scene::label).zip(predicted).collect();
    let triangle = Shape::Triangle.label();
    let (triangles, others): (Vec<Answer>, Vec<Answer>) =
        answers.iter().partition(|(label, _)| *label == triangle);
    let right = |(label, answer): &Answer| *label as i64 == *answer;
    let accuracy = Accuracy {
        right: percent(&answers, right),
        triangles: percent(&triangles, right),
    };
    let misled = percent(&others, |(_, answer)| *answer == triangle as i64);
    println!(
        "{name:<20} {:>10.1} % {:>14.1} % {misled:>21.1} %",
        accuracy.right, accuracy.triangles
    );
    accuracy
}

/// A label and the class that was predicted.
type Answer = (usize, i64);

/// Returns the percentage of answers for which a condition holds.
fn percent(answers: &[Answer], condition: impl Fn(&Answer) -> bool) -> f64 {
    let count = answers.iter().filter(|answer| condition(answer)).count();
    100.0 * count as f64 / answers.len() as f64
}
