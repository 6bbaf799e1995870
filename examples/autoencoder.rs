//! Trains the digits autoencoder and writes its halves as `assets/digits/encoder.onnx` and
//! `decoder.onnx`; `cargo xtask train` runs this.
//!
//! Deterministic: the seed decides the initial weights and the order of the images.

use attr_examples::{Digits, DigitsAutoencoder, asset};
use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::Device;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

const SEED: u64 = 5;
const EPOCHS: usize = 120;
const BATCH: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default().autodiff();
    device.seed(SEED);
    let (train, held_out) = Digits::load()?.split();
    let mut net = DigitsAutoencoder::new(&device);
    let mut optimizer = AdamWConfig::new().init();
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut order: Vec<usize> = (0..train.len()).collect();
    for epoch in 0..EPOCHS {
        order.shuffle(&mut random);
        // Cosine decay from 0.003.
        let rate = 0.0015 * (1.0 + (std::f64::consts::PI * epoch as f64 / EPOCHS as f64).cos());
        for batch in order.chunks(BATCH) {
            let (images, _) = train.batch(batch, &device);
            let error = net.decode(net.encode(images.clone())) - images;
            let loss = (error.clone() * error).mean();
            let gradients = GradientsParams::from_grads(loss.backward(), &net);
            net = optimizer.step(rate, net, gradients);
        }
    }
    let net = net.valid();
    let all: Vec<usize> = (0..held_out.len()).collect();
    let (images, _) = held_out.batch(&all, &device.inner());
    let error = net.decode(net.encode(images.clone())) - images.clone();
    let error = (error.clone() * error).mean().into_scalar::<f32>();
    let spread = (images.clone() - images.mean_dim(0))
        .powi_scalar(2)
        .mean()
        .into_scalar::<f32>();
    println!(
        "held-out images: {:.1} % of the variance is lost",
        100.0 * error / spread
    );
    if error > 0.2 * spread {
        return Err("the autoencoder is worse than it should be: at most 20 % may be lost".into());
    }
    let [encoder, decoder] = net.to_onnx()?;
    std::fs::write(asset("encoder.onnx"), encoder)?;
    std::fs::write(asset("decoder.onnx"), decoder)?;
    Ok(())
}
