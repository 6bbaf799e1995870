//! A rule of your own for the backward walk, as a method.
//!
//! `cargo run --release --example rule`

use std::sync::Arc;

use attr::prelude::*;
use attr::walk::{NodeInfo, NodeView, Rule, Shares};
use attr::{ByRules, Error};
use attr_examples::{DigitsNet, net_and_digits};
use burn::tensor::Device;

/// Passes on half of what arrives at a ReLU that was off, and all where it was on.
struct LeakyBackward;

impl Rule for LeakyBackward {
    fn backward(&self, node: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error> {
        let Some(arriving) = arriving.into_iter().next().flatten() else {
            return Ok(node.nothing());
        };
        let on = node.outputs()[0].map(|y| y.greater_elem(0.0).float())?;
        let share = arriving.zip(&on, |arriving, on| arriving * (on * 0.5 + 0.5))?;
        Ok(node.only_first(share))
    }
}

fn leaky_at_relus(node: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
    Ok(node
        .op()
        .is_relu()
        .then(|| Arc::new(LeakyBackward) as Arc<dyn Rule>))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default();
    let (net, image) = net_and_digits(1, &device)?;
    let model = Traced::new(&net, |net: &DigitsNet, x| net.forward(x), &image)?;

    println!("{}", model.plan(&leaky_at_relus, &image)?); // which rule each node gets
    let found = ByRules::new(leaky_at_relus).attribute(&model, &image, Target::Predicted)?;
    for row in found.rows()? {
        println!("{}", row.top(5));
    }
    Ok(())
}
