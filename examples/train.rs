//! Trains the digits network and writes its weights; `cargo xtask train` runs this.
//!
//! Deterministic: the seed decides the initial weights and the order of the images.

use attr_examples::{Digits, DigitsNet};
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::Device;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

const SEED: u64 = 3;
const EPOCHS: usize = 20;
const BATCH: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = std::time::Instant::now();
    let device = Device::default().autodiff();
    device.seed(SEED);
    let (train, held_out) = Digits::load()?.split();
    let mut net = DigitsNet::new(&device);
    let mut optimizer = AdamWConfig::new().init();
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut order: Vec<usize> = (0..train.len()).collect();
    for epoch in 0..EPOCHS {
        order.shuffle(&mut random);
        // Cosine decay from 0.003.
        let rate = 0.0015 * (1.0 + (std::f64::consts::PI * epoch as f64 / EPOCHS as f64).cos());
        let mut total = 0.0;
        for batch in order.chunks(BATCH) {
            let (images, labels) = train.batch(batch, &device);
            let loss = CrossEntropyLossConfig::new().init(&device);
            let loss = loss.forward(net.forward(images), labels);
            total += loss.clone().into_scalar::<f32>() * batch.len() as f32;
            let gradients = GradientsParams::from_grads(loss.backward(), &net);
            net = optimizer.step(rate, net, gradients);
        }
        let loss = total / train.len() as f32;
        println!("epoch {:2}  loss {loss:.4}", epoch + 1);
    }
    let net = net.valid();
    let all: Vec<usize> = (0..held_out.len()).collect();
    let (images, labels) = held_out.batch(&all, &device.inner());
    let predicted = net.forward(images).argmax(1).squeeze_dim::<1>(1);
    let right = predicted.equal(labels).int().sum().into_scalar::<i64>();
    let accuracy = right as f64 / held_out.len() as f64;
    net.save()?;
    println!(
        "held-out accuracy {:.2} % of {} images, trained in {:.1} s",
        100.0 * accuracy,
        held_out.len(),
        start.elapsed().as_secs_f32()
    );
    if accuracy < 0.97 {
        return Err("the network is worse than it should be: at least 97 % is expected".into());
    }
    Ok(())
}
