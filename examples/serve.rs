//! Explains on several threads over one model, and gives up when a deadline has passed.
//!
//! `cargo run --release --example serve`

use std::thread;
use std::time::{Duration, Instant};

use attr::Error;
use attr::prelude::*;
use attr_examples::{Digits, DigitsNet};
use burn::tensor::Device;

/// Cancels what runs longer.
struct Deadline(Instant);

impl Progress for Deadline {
    fn cancelled(&self) -> bool {
        Instant::now() > self.0
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default();
    let net = DigitsNet::trained(&device)?;
    let (_, held_out) = Digits::load()?.split();
    let (images, _) = held_out.batch(&[0, 1, 2, 3], &device);
    let model = Traced::new(&net, |net: &DigitsNet, x| net.forward(x), &images)?;

    // A traced model is shared by all threads; it is traced once, for all batch sizes.
    let answers: Vec<Result<String, Error>> = thread::scope(|scope| {
        let requests = (0..4).map(|i| {
            let image = images.clone().narrow(0, i, 1);
            let model = &model;
            scope.spawn(move || {
                let deadline = Deadline(Instant::now() + Duration::from_secs(60));
                let run = Run::new().with_progress(&deadline);
                let method = IntegratedGradients::new();
                let found = method.attribute_with(model, &image, Target::Predicted, &run)?;
                Ok(serde_json::to_string(&found.rows()?[0].clone().top(1)).unwrap_or_default())
            })
        });
        let requests: Vec<_> = requests.collect();
        let join = |request: thread::ScopedJoinHandle<'_, _>| {
            let panicked = |_| Err(Error::Cancelled);
            request.join().unwrap_or_else(panicked)
        };
        requests.into_iter().map(join).collect()
    });
    for answer in answers {
        println!("{}", answer?);
    }

    let passed = Deadline(Instant::now());
    let run = Run::new().with_progress(&passed);
    let late = Saliency::new().attribute_with(&model, &images, Target::Predicted, &run);
    println!(
        "too late: {}",
        late.err().map_or("no".into(), |error| error.to_string())
    );
    Ok(())
}
