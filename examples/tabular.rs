//! Explains a table: one row by Shapley values, and a whole data set by permutation.
//!
//! `cargo run --release --example tabular`

use attr::Value;
use attr::prelude::*;
use burn::tensor::{Device, Tensor, activation};

const NAMES: [&str; 4] = ["age", "income", "debt", "lottery"];

/// Any function of tensors is a model: here a formula, with an interaction and a column that it
/// ignores.
fn risk(x: Tensor<2>) -> Tensor<2> {
    let column = |i| x.clone().narrow(1, i, 1);
    activation::sigmoid(column(2) * 2.0 - column(1) - column(0) * column(2))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default();
    let people: Vec<f32> = (0..400).map(|i| (i * 37 % 101) as f32 / 100.0).collect();
    let people = Tensor::<1>::from_floats(&people[..], &device).reshape([100, 4]);
    let someone = Tensor::<2>::from_floats([[0.2, 0.3, 0.9, 0.5]], &device);

    // "Absent" means: drawn from the other people.
    let shap = KernelShap::new().with_background(people.clone());
    for row in shap.attribute(&risk, &someone, 0)?.rows()? {
        println!("KernelSHAP: {}", row.named(&NAMES)?.sorted());
    }
    let exact = ShapleyValues::new().with_background(people.clone());
    for row in exact.attribute(&risk, &someone, 0)?.rows()? {
        println!("exact: {}", row.named(&NAMES)?.top(2));
    }

    // How much worse does the model fit its own scores when a column is shuffled?
    let loss = Reduction::new(
        (0.0, 0),
        |(sum, rows), scores: &Value, truth: &Vec<f32>| {
            let scores = scores.to_vec()?;
            let errors = scores
                .iter()
                .zip(truth)
                .map(|(a, b)| f64::from((a - b).powi(2)));
            Ok((sum + errors.sum::<f64>(), rows + truth.len()))
        },
        |(sum, rows)| sum / rows as f64,
    );
    let truth = risk(people.clone()).into_data().try_to_vec::<f32>();
    let truth = truth.map_err(|error| format!("{error:?}"))?;
    let shuffled = OverData::permutation(FeaturePermutation::new());
    let importance = shuffled.attribute(&risk, [(people, truth)], &loss)?;
    if let Some(values) = &importance.values()[0] {
        for (name, value) in NAMES.iter().zip(values.to_vec()?) {
            println!("shuffling {name}: squared error {:+.4}", -value);
        }
    }
    Ok(())
}
