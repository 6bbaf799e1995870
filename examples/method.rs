//! A method of your own: its parameters, and one function from a question to explanations.
//!
//! `cargo run --release --example method`

use attr::prelude::*;
use attr::{Error, Explanation, Question};
use burn::tensor::{Device, Tensor};

/// The squared gradient times the input.
struct SquaredGradient;

impl Method for SquaredGradient {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let mut found = question.explained_by_gradients()?;
        for one in &mut found {
            for (value, x) in one.values.iter_mut().zip(question.inputs().values()) {
                if let Some(gradient) = value {
                    *gradient = gradient.zip(x, |gradient, x| gradient.powi_scalar(2) * x)?;
                }
            }
        }
        Ok(found)
    }
}

fn main() -> Result<(), Error> {
    let x = Tensor::<2>::from_floats([[1.0, -2.0]], &Device::default());
    let model = |x: Tensor<2>| x.powi_scalar(2).sum_dim(1);
    for row in SquaredGradient.attribute(&model, &x, 0)?.rows()? {
        println!("{row}");
    }
    // What takes a method takes yours.
    let smooth = NoiseTunnel::new(SquaredGradient)
        .with_samples(100)
        .with_stdevs([0.1]);
    for row in smooth.attribute(&model, &x, 0)?.rows()? {
        println!("smoothed: {row}");
    }
    Ok(())
}
