//! Times an input gradient by attr's walk back against Burn's plain autodiff, in one run.
//!
//! Then times 64 conditions at one layer, walked together and one by one.
//!
//! `cargo xtask bench` prints medians and their ratio for ResNet-18 at 224x224, batch 1 and 8.
//! Both sides compute the gradient of one class with respect to the input on the frozen network,
//! alternately, so that a change in the machine's speed affects both.

use std::time::{Duration, Instant};

use attr_core::build::Seeds;
use attr_core::walk::{Around, GradientEverywhere, Keep, Pass, Walk, Walked};
use attr_core::{Inputs, Model, Target, Traced, Value, Values};
use attr_testkit::device;
use attr_testkit::models::{ResNet18, input, seeded};
use burn::module::Module;
use burn::tensor::{Tensor, TensorData};

/// What is timed, with its name.
type Side<'a> = (&'static str, Box<dyn Fn() + 'a>);

fn main() {
    let device = device();
    let network = seeded(ResNet18::new(1000, &device), 1).valid();
    for (batch, runs) in [(1, 31), (8, 15)] {
        let x = input([batch, 3, 224, 224], 2);
        let start = Instant::now();
        let traced = Traced::new(&network, |m: &ResNet18, x| m.forward(x), &x).expect("it traces");
        let trace = start.elapsed();
        let folded = traced.fold_batch_norm();
        let values = x.to_values();

        let plain = || {
            let x = Tensor::<4>::from_inner(x.clone()).require_grad();
            let output = network.forward(x.clone());
            let gradients = output.slice([0..batch, 281..282]).sum().backward();
            read(x.grad(&gradients).expect("the input has a gradient").into());
        };
        let walk = |model: &Traced| read(gradient(model, &values));
        let forward = || read(traced.forward(&x).expect("it replays"));
        let sides: Vec<Side<'_>> = vec![
            ("Burn autodiff", Box::new(plain)),
            ("walk back", Box::new(|| walk(&traced))),
            ("walk back, BatchNorm folded", Box::new(|| walk(&folded))),
            ("forward", Box::new(forward)),
            (
                "forward, BatchNorm folded",
                Box::new(|| read(folded.forward(&x).expect("it replays"))),
            ),
        ];
        let mut times = vec![Vec::new(); sides.len()];
        for run in 0..=runs {
            for (side, times) in sides.iter().zip(&mut times) {
                let start = Instant::now();
                side.1();
                if run > 0 {
                    times.push(start.elapsed());
                }
            }
        }
        println!(
            "ResNet-18, 224x224, batch {batch}; trace {:.0} ms; medians of {runs}",
            ms(trace)
        );
        for ((name, _), own) in sides.iter().zip(&times) {
            // Run by run, so that a change in the machine's speed cancels.
            let ratios = own
                .iter()
                .zip(&times[0])
                .map(|(own, plain)| ms(*own) / ms(*plain));
            let time = median(own.iter().map(|time| ms(*time)));
            let ratio = median(ratios);
            println!("  {name:<30} {time:>9.1} ms   {ratio:.3} of Burn autodiff");
        }
        let folding = times[2].iter().zip(&times[1]).map(|(a, b)| ms(*a) / ms(*b));
        println!(
            "  folding BatchNorm: {:.3} of the walk back without",
            median(folding)
        );
    }
    conditions(&network);
}

/// Times 64 masks of channels at one layer for one image, as concept relevance propagation needs:
/// one pass and one walk of 64 rows against 64 calls of a forward pass and a walk each.
fn conditions(network: &ResNet18) {
    const LAYER: &str = "layer3.0.conv2";
    const COUNT: usize = 64;
    let x = input([1, 3, 224, 224], 2);
    let traced = Traced::new(network, |m: &ResNet18, x| m.forward(x), &x).expect("it traces");
    let plan = traced.plan(&GradientEverywhere, &x).expect("it has a plan");
    let plan = plan.recording(&[LAYER]).expect("the layer is there");
    let pass = || traced.pass(&x, &plan).expect("it runs");
    let seed = |pass: &Pass| {
        let output = pass.output().expect("it has an output");
        let chosen = Target::Class(281).choose(&output, &pass.inputs());
        chosen.expect("the class is there").seed
    };
    let channels = pass().shape(LAYER).expect("the layer is there")[1];
    let mut masks = vec![0f32; COUNT * channels];
    (0..COUNT).for_each(|row| masks[row * channels + row] = 1.0);
    let masks = TensorData::new(masks, [COUNT, channels, 1, 1]);
    let masks = Value::from_data(masks, &device());
    let found = |walked: Walked| walked.inputs.into_iter().flatten().for_each(read);

    let together = || {
        let pass = pass();
        let walk = Walk::from_output(seed(&pass)).keep(Keep::Layers(&[LAYER]));
        let mut arriving = pass.walk(walk).expect("it walks").layers;
        let arriving = arriving.remove(0).expect("something arrives");
        let rows = [0; COUNT];
        let walk = Walk::from_layer(LAYER, arriving.select_rows(&rows))
            .on_rows(&rows)
            .gate(LAYER, masks.clone(), Around::Drop);
        found(pass.walk(walk).expect("it walks"));
    };
    let one_by_one = || {
        for row in 0..COUNT {
            let pass = pass();
            let mask = masks.slice_rows(row..row + 1);
            let walk = Walk::from_output(seed(&pass)).gate(LAYER, mask, Around::Drop);
            found(pass.walk(walk).expect("it walks"));
        }
    };
    let mut times = [Vec::new(), Vec::new()];
    for run in 0..=5 {
        for (side, times) in [&together as &dyn Fn(), &one_by_one].iter().zip(&mut times) {
            let start = Instant::now();
            side();
            if run > 0 {
                times.push(ms(start.elapsed()));
            }
        }
    }
    let ratios = times[1]
        .iter()
        .zip(&times[0])
        .map(|(apart, once)| apart / once);
    println!(
        "{COUNT} conditions at {LAYER} for one image: one pass and one walk {:.0} ms, one by one \
         {:.0} ms, {:.1} times as fast; medians of 5",
        median(times[0].iter().copied()),
        median(times[1].iter().copied()),
        median(ratios)
    );
}

fn gradient(model: &Traced, values: &Values) -> Value {
    let seeds: &Seeds<'_> = &|output| Ok(vec![Target::Class(281).choose(output, values)?.seed]);
    let found = Model::<Tensor<4>>::gradients(model, values.clone(), seeds);
    let mut found = found.expect("it has a gradient").inputs;
    found.remove(0).remove(0).expect("the input has a gradient")
}

/// Waits for the device by reading one number.
fn read(value: Value) {
    let first = value.matrix().expect("floats").slice([0..1, 0..1]);
    let _: f32 = first.into_scalar();
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
