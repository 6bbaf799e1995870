//! Explains a function of plain numbers that may fail, such as a call to a remote model.
//!
//! `cargo run --release --example remote`

use std::cell::Cell;

use attr::Error;
use attr::prelude::*;
use burn::tensor::{Device, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default();
    let calls = Cell::new(0);
    let service = by_rows(|rows: &[&[f32]]| {
        calls.set(calls.get() + 1);
        if calls.get() == 3 {
            return Err("503: service unavailable");
        }
        Ok(rows
            .iter()
            .map(|row| row[0] * 3.0 + row[1].max(0.0))
            .collect())
    });
    let x = Tensor::<2>::from_floats([[1.0, 2.0, 4.0]], &device);

    // The service takes at most 4 rows at a time.
    let run = Run::new().with_budget(Budget::Rows(4));
    let shapley = ShapleyValues::new();
    match shapley.attribute_with(&service, &x, 0, &run) {
        Err(Error::ForwardFailed { message }) => println!("the service failed: {message}; again"),
        other => println!("unexpected: {:?}", other.map(|found| found.work())),
    }
    let found = shapley.attribute_with(&service, &x, 0, &run)?;
    for row in found.rows()? {
        println!("{row}");
    }
    Ok(())
}
