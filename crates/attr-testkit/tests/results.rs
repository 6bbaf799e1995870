//! Tests how results are read: rows with names and errors, tables, and messages of errors.

use attr_core::walk::GradientEverywhere;
use attr_core::{
    Budget, ByRules, Constant, Error, LayerMethod, Method, Row, Run, Target, Traced, by_rows,
};
use attr_gradient::{GradientXActivation, GuidedBackprop, InputXGradient, NoiseTunnel, Saliency};
use attr_perturb::{FeatureAblation, ShapleyValues};
use attr_surrogate::LimeTabular;
use attr_testkit::compare::assert_close_slices;
use attr_testkit::device;
use attr_testkit::models::{SmallCnn, input, seeded};
use burn::tensor::Tensor;

fn x(rows: &[[f32; 3]]) -> Tensor<2> {
    let flat: Vec<f32> = rows.concat();
    Tensor::<1>::from_floats(&flat[..], &device()).reshape([rows.len(), 3])
}

fn weighted(x: Tensor<2>) -> Tensor<2> {
    let weights = Tensor::<2>::from_floats([[2.0, -30.0, 0.0]], &x.device());
    (x * weights).sum_dim(1)
}

#[test]
fn rows_are_named_sorted_and_printed() {
    let x = x(&[[1.0, 2.0, 3.0], [4.0, 0.5, 6.0]]);
    let found = InputXGradient::new().attribute(&weighted, &x, 0).unwrap();
    let rows = found.rows().unwrap();
    let values = |row: &Row| -> Vec<f32> { row.features.iter().map(|f| f.value).collect() };
    assert_eq!(values(&rows[0]), [2.0, -60.0, 0.0]);
    assert_eq!(values(&rows[1]), [8.0, -15.0, 0.0]);
    assert_eq!(rows[1].features[2].index, [2]);

    let table = rows[0].clone().named(&["age", "income", "debt"]).unwrap();
    let table = table.sorted().to_string();
    assert_eq!(
        table,
        "score -58\nincome  -60.000\n   age  +2.000\n  debt  +0.000"
    );
    let top = rows[1].clone().top(1).to_string();
    assert_eq!(top, "score -7\n[1]  -15.000");

    let error = rows[0].clone().named(&["age"]).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error}");
}

#[test]
fn rows_have_deltas_errors_and_every_input() {
    let both = (x(&[[1.0, 2.0, 3.0]]), x(&[[1.0, 1.0, 1.0]]));
    let product = |(a, b): (Tensor<2>, Tensor<2>)| weighted(a * b);
    let found = FeatureAblation::new().attribute(&product, &both, 0);
    let row = found.unwrap().rows().unwrap().remove(0);
    let inputs: Vec<usize> = row.features.iter().map(|f| f.input).collect();
    assert_eq!(inputs, [0, 0, 0, 1, 1, 1]);
    assert!(row.to_string().contains("input 1 [2]"), "{row}");

    // A constant has no features.
    let constant = (both.0.clone(), Constant(both.1));
    let product = |(a, b): (Tensor<2>, Constant<Tensor<2>>)| weighted(a * b.0);
    let exact = ShapleyValues::new().attribute(&product, &constant, 0);
    let row = exact.unwrap().rows().unwrap().remove(0);
    assert_eq!(row.features.len(), 3);
    assert!(row.delta.is_some_and(|delta| delta.abs() < 1e-4), "{row}");

    let noisy = NoiseTunnel::new(InputXGradient::new()).with_samples(20);
    let noisy = noisy.attribute(&weighted, &both.0, 0).unwrap();
    let row = noisy.rows().unwrap().remove(0);
    assert!(
        row.features[1].standard_error.is_some_and(|e| e > 0.1),
        "{row}"
    );
    assert!(row.to_string().contains(" ± "), "{row}");

    let text = serde_json::to_string(&row).unwrap();
    assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), row);
}

#[test]
fn one_value_for_the_whole_batch_is_one_row() {
    let x = x(&[[1.0, 2.0, 3.0], [4.0, 0.5, 6.0]]);
    let sum = |x: Tensor<2>| weighted(x).sum();
    let whole = FeatureAblation::new().with_perturbations_per_eval(1);
    let rows = whole
        .attribute(&sum, &x, Target::Single)
        .unwrap()
        .rows()
        .unwrap();
    let values: Vec<f32> = rows[0].features.iter().map(|f| f.value).collect();
    assert_close_slices("the batch", &values, &[10.0, -75.0, 0.0], 1e-5);
}

#[test]
fn plain_functions_are_models() {
    let x = x(&[[1.0, 2.0, 3.0], [4.0, 0.5, 6.0], [0.0, 0.0, 1.0]]);
    let most = std::cell::Cell::new(0);
    let model = by_rows(|rows: &[&[f32]]| -> Result<Vec<f32>, String> {
        most.set(most.get().max(rows.len()));
        Ok(rows.iter().map(|row| row[0] * row[1]).collect())
    });
    let run = Run::new().with_budget(Budget::Rows(2));
    let exact = ShapleyValues::new()
        .attribute_with(&model, &x, 0, &run)
        .unwrap();
    assert_eq!(most.get(), 2);
    let rows = exact.rows().unwrap();
    assert_eq!(
        (rows[0].features[0].value, rows[1].features[1].value),
        (1.0, 1.0)
    );

    let failing = by_rows(|_: &[&[f32]]| Err::<Vec<f32>, _>("503"));
    let short = by_rows(|_: &[&[f32]]| Ok::<_, String>(vec![1.0]));
    for (error, words) in [
        (ShapleyValues::new().attribute(&failing, &x, 0).err(), "503"),
        (
            ShapleyValues::new().attribute(&short, &x, 0).err(),
            "1 scores for 3 rows",
        ),
    ] {
        let message = error.as_ref().map(ToString::to_string).unwrap_or_default();
        assert!(
            matches!(error, Some(Error::ForwardFailed { .. })),
            "{message}"
        );
        assert!(message.contains(words), "{message}");
        // What `main` prints when it returns the error.
        assert_eq!(error.map(|error| format!("{error:?}")), Some(message));
    }
}

#[test]
fn rules_are_methods_at_inputs_and_layers() {
    let net = seeded(SmallCnn::new(&device()), 5);
    let x = input([3, 1, 6, 6], 6);
    let traced = Traced::new(&net, |net: &SmallCnn, x| net.forward(x), &x).unwrap();
    let rules = ByRules::new(GradientEverywhere);
    let found = rules.attribute(&traced, &x, 1).unwrap();
    let signed = Saliency::new()
        .with_abs(false)
        .attribute(&traced, &x, 1)
        .unwrap();
    let values = |found: &attr_core::Attribution<Tensor<4>>| {
        found.values()[0].as_ref().unwrap().to_vec().unwrap()
    };
    assert_close_slices("inputs", &values(&found), &values(&signed), 1e-5);

    let layers = traced.layers();
    let layer = layers
        .iter()
        .find(|layer| layer.operation == "Relu")
        .unwrap();
    let name = layer.name.clone();
    let run = Run::new().with_budget(Budget::Rows(2));
    let at = ByRules::new(GradientEverywhere).at_layers(&name[..]);
    let at = at.attribute_with(&traced, &x, 1, &run).unwrap();
    let expected = GradientXActivation::new(&name[..]).with_multiply_by_inputs(false);
    let expected = expected.attribute(&traced, &x, 1).unwrap();
    let at = at.value(&name).unwrap().to_vec().unwrap();
    let expected = expected.value(&name).unwrap().to_vec().unwrap();
    assert_close_slices("a layer", &at, &expected, 1e-5);

    let closure = |x: Tensor<4>| net.forward(x);
    let refused = GuidedBackprop::new()
        .attribute(&closure, &x, 1)
        .unwrap_err();
    assert!(matches!(refused, Error::NotTraced), "{refused}");
}

#[test]
fn bins_and_categories_are_said_in_words() {
    let training: Vec<f32> = (0..300)
        .map(|i| {
            if i % 3 == 2 {
                (i % 2) as f32
            } else {
                i as f32 / 3.0
            }
        })
        .collect();
    let training = Tensor::<1>::from_floats(&training[..], &device()).reshape([100, 3]);
    let lime = LimeTabular::from_tensor(&training).unwrap();
    let lime = lime
        .with_categorical_features([2])
        .with_kernel_width(1.0)
        .with_alpha(0.5);
    let rows = x(&[[-5.0, 30.0, 1.0], [60.0, 500.0, 0.0]]);
    let said = lime.conditions(&rows, &["age", "income", "city"]).unwrap();
    assert_eq!(
        said[0],
        ["age <= 24.75", "25.08 < income <= 49.83", "city = 1"]
    );
    assert_eq!(
        said[1],
        ["49.50 < age <= 74.25", "income > 74.58", "city = 0"]
    );
    let error = lime.conditions(&rows, &["age"]).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error}");
    let found = lime
        .with_perturbations_per_eval(7)
        .attribute(&weighted, &rows, 0)
        .unwrap();
    assert!(found.rows().unwrap()[0].features[1].value.abs() > 1.0);
}
