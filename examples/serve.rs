//! Explains on several threads over one model, and gives up when a deadline has passed.
//!
//! `cargo run --release --example serve`

use std::thread;
use std::time::{Duration, Instant};

use attr::prelude::*;
use attr::{Error, Row};
use attr_examples::{DigitsNet, net_and_digits};
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
    let (net, images) = net_and_digits(4, &device)?;
    let model = Traced::new(&net, |net: &DigitsNet, x| net.forward(x), &images)?;

    // A traced model is shared by all threads; it is traced once, for all batch sizes.
    let answers: Vec<Result<Row, Error>> = thread::scope(|scope| {
        let requests = (0..4).map(|i| {
            let image = images.clone().narrow(0, i, 1);
            let model = &model;
            scope.spawn(move || {
                let deadline = Deadline(Instant::now() + Duration::from_secs(60));
                let run = Run::new().with_progress(&deadline);
                let method = IntegratedGradients::new();
                let found = method.attribute_with(model, &image, Target::Predicted, &run)?;
                Ok(found.rows()?.remove(0).top(1))
            })
        });
        let requests: Vec<_> = requests.collect();
        let requests = requests.into_iter();
        requests
            .map(|request| request.join().expect("a request panicked"))
            .collect()
    });
    for answer in answers {
        println!("{}", serde_json::to_string(&answer?)?);
    }

    let passed = Deadline(Instant::now());
    let run = Run::new().with_progress(&passed);
    let late = Saliency::new().attribute_with(&model, &images, Target::Predicted, &run);
    if let Err(error) = late {
        println!("too late: {error}");
    }
    Ok(())
}
