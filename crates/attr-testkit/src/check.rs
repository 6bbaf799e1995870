//! Checks that every traced model must pass.

use attr_core::build::Gradients;
use attr_core::walk::{GradientEverywhere, Pass, Walk};
use attr_core::{Error, Inputs, Kind, Model, Output, Traced, Value};
use burn::module::Module;
use burn::tensor::TensorData;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::compare::assert_close;

/// Traces a module and checks that the trace computes what the module's inference computes.
///
/// Forward and backward passes are compared at the traced batch size and at another one, from one
/// trace. The original must still compute the same afterwards. Gradients are compared with Burn's
/// autodiff on the frozen module, for inputs that have one.
///
/// # Panics
/// When anything differs.
pub fn check_traced<I: Inputs, M: Module + 'static, O: Output + 'static>(
    name: &str,
    module: &M,
    forward: fn(&M, I) -> O,
    inputs: &I,
) -> Traced {
    let traced = match Traced::new(module, forward, inputs) {
        Ok(traced) => traced,
        Err(error) => panic!("{name} does not trace: {error}"),
    };
    let run = move |module: &M, x: I| forward(module, x).into_output().expect("it runs");
    let frozen = module.valid();
    let closure = move |x: I| -> Value { run(&frozen, x) };
    let given = inputs.to_values();
    let more: Vec<usize> = (0..given.rows()).chain([0, given.rows() - 1]).collect();
    for rows in [given.clone(), given.select(&more)] {
        let case = format!("{name}, {} rows", rows.rows());
        let expected = Model::<I>::forward(&closure, rows.clone()).expect("the module runs");
        let got = Model::<I>::forward(&traced, rows.clone());
        let got = got.unwrap_or_else(|error| panic!("{case} does not replay: {error}"));
        if got.kind() != Kind::Float {
            assert_eq!(got.to_vec(), expected.to_vec(), "{case}");
            continue;
        }
        assert_close(&case, &got, &expected, 1e-6);
        match (
            gradients::<I>(&closure, &rows),
            gradients::<I>(&traced, &rows),
        ) {
            (Ok(expected), Ok(got)) => {
                for (got, expected) in got.inputs[0].iter().zip(&expected.inputs[0]) {
                    match (got, expected) {
                        (Some(got), Some(expected)) => {
                            let tolerance = gradient_tolerance(&traced);
                            assert_close(&format!("gradient of {case}"), got, expected, tolerance);
                        }
                        (None, None) => {}
                        _ => panic!("{case}: one side has a gradient, the other has none"),
                    }
                }
            }
            // The backend lacks a derivative that attr computes in another way.
            (Err(Error::Device(_)), Ok(_)) => {}
            (Err(_), got) => {
                let none =
                    got.is_err() || got.is_ok_and(|g| g.inputs[0].iter().all(Option::is_none));
                assert!(none, "{case}: a gradient where autodiff has none");
            }
            (Ok(_), Err(error)) => panic!("{case} has no gradient: {error}"),
        }
    }
    assert_eq!(
        traced.traces(),
        1,
        "{name}: another batch size paid for another trace"
    );
    check_recorded(name, &traced, inputs);
    let after = run(module, inputs.clone());
    let again = Model::<I>::forward(&traced, given).expect("the model replays");
    assert_close(
        &format!("{name}: the original after tracing"),
        &again,
        &after,
        1e-6,
    );
    traced
}

/// Operations whose derivative cannot be recorded.
const UNRECORDED: [&str; 4] = ["CumMax", "CumMin", "DeformConv2d", "GridSample"];

/// Checks that gradient walks recorded as models give what the walks give.
fn check_recorded<I: Inputs>(name: &str, traced: &Traced, inputs: &I) {
    let plan = traced.plan(&GradientEverywhere, inputs);
    let plan = plan.unwrap_or_else(|error| panic!("{name} has no plan: {error}"));
    let pass = traced.pass(inputs, &plan).expect("it runs");
    let output = pass.output().expect("it has an output");
    if output.kind() != Kind::Float {
        return;
    }
    // Not the output itself: after a normalisation its gradient would vanish.
    let seed = |pass: &Pass| pass.output()?.map(|output| output.cos());
    let walked = pass.walk(Walk::from_output(seed(&pass).expect("it is of floats")));
    let walked = walked.unwrap_or_else(|error| panic!("{name} cannot be walked: {error}"));
    for (i, direct) in walked.inputs.into_iter().enumerate() {
        let Some(direct) = direct else { continue };
        let recorded = plan.record(&inputs.to_values(), None, move |pass| {
            let mut walked = pass.walk(Walk::from_output(seed(pass)?))?;
            walked.inputs[i]
                .take()
                .ok_or(Error::NoGradient { input: i })
        });
        let unrecorded = |operation: &&str| plan.to_string().contains(*operation);
        match recorded {
            Ok(recorded) => {
                let replayed = Model::<I>::forward(&recorded, inputs.to_values());
                let replayed = replayed.unwrap_or_else(|error| panic!("{name}: {error}"));
                let what = format!("recorded gradient of {name}, input {i}");
                assert_close(&what, &replayed, &direct, 1e-4);
            }
            Err(error) => {
                let known = UNRECORDED.iter().any(unrecorded);
                assert!(known, "{name} cannot be recorded: {error}");
            }
        }
    }
}

/// Returns the gradients of a fixed random combination of all outputs.
///
/// # Errors
/// Those of the model.
pub fn gradients<I: Inputs>(
    model: &impl Model<I>,
    inputs: &attr_core::Values,
) -> Result<Gradients, Error> {
    model.gradients(inputs.clone(), &|output| {
        let mut random = ChaCha8Rng::seed_from_u64(11);
        let shape = output.shape();
        let count: usize = shape.iter().product();
        let weights: Vec<f32> = (0..count).map(|_| random.random_range(-1.0..1.0)).collect();
        let data = TensorData::new(weights, shape);
        Ok(vec![Value::from_data(data, &output.device().inner())])
    })
}

/// Returns the tolerance for a gradient compared with Burn's own.
///
/// It covers rounding and Burn's derivative of GELU: on all backends but flex, that is the
/// derivative of the tanh approximation. attr's is exact.
pub fn gradient_tolerance(traced: &Traced) -> f32 {
    let approximate = std::env::var("ATTR_DEVICE").is_ok_and(|device| device != "flex");
    let gelu = traced
        .layers()
        .iter()
        .any(|layer| layer.operation == "Gelu");
    if approximate && gelu { 1e-3 } else { 1e-5 }
}
