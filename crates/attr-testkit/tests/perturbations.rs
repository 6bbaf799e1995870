//! Tests perturbed copies of rows: masks, fixed batch sizes, batches, data sets in batches.

use attr_core::perturb::mixed;
use attr_core::{
    AtLayers, Budget, Error, FeatureMask, LayerMethod, Method, Run, Traced, Value, Values,
};
use attr_gradient::NoiseTunnel;
use attr_perturb::{
    DataAttribution, FeatureAblation, FeaturePermutation, HsicAttribution, OverData, PartitionShap,
    Reduction, ShapleyValues, SobolAttribution, scores,
};
use attr_surrogate::{KernelShap, Lime, LinearRegression};
use attr_testkit::compare::assert_close_slices;
use attr_testkit::device;
use attr_testkit::models::input;
use burn::module::Param;
use burn::tensor::{Int, Tensor};

fn nothing() -> Param<Tensor<1>> {
    Param::from_tensor(Tensor::<1>::zeros([1], &device()))
}

pub(crate) fn numbers(value: &Option<Value>) -> Vec<f32> {
    value.as_ref().unwrap().to_vec().unwrap()
}

#[test]
fn a_model_bound_to_its_rows_gets_as_many() {
    for rows in [1usize, 2, 4] {
        let x = input([rows, 4], 1);
        let literal = move |_: &Param<Tensor<1>>, x: Tensor<2>| {
            let x = x.reshape([rows, 4]).narrow(1, 0, 3);
            x.powi_scalar(2).sum_dim(1)
        };
        let model = Traced::new(&nothing(), literal, &x).unwrap();
        assert_eq!(model.rows(), Some(rows));
        let free = |x: Tensor<2>| x.narrow(1, 0, 3).powi_scalar(2).sum_dim(1);
        for budget in [Budget::default(), Budget::Rows(3)] {
            let run = Run::new().with_budget(budget);
            let with = |x: &Tensor<2>| {
                let shapley = ShapleyValues::new();
                let got = shapley.attribute_with(&model, x, 0, &run).unwrap();
                let expected = shapley.attribute(&free, x, 0).unwrap();
                let what = format!("{rows} rows, {budget:?}");
                assert_close_slices(
                    &what,
                    &numbers(&got.values()[0]),
                    &numbers(&expected.values()[0]),
                    1e-6,
                );
            };
            with(&x);
        }
    }
}

/// All elements interact.
fn product(x: Tensor<2>) -> Tensor<2> {
    (x + 2.0).prod_dim(1)
}

#[test]
fn elements_with_negative_numbers_are_never_perturbed() {
    let x = input([2, 4], 3);
    // Element 1 keeps its value; elements 2 and 3 are one feature.
    let mask = Tensor::<2, Int>::from_ints([[0, -1, 1, 1]], &device());
    let fixed = x.clone().narrow(1, 1, 1);
    let rest = Tensor::cat(
        vec![x.clone().narrow(1, 0, 1), x.clone().narrow(1, 2, 2)],
        1,
    );
    let rest_mask = Tensor::<2, Int>::from_ints([[0, 1, 1]], &device());
    // The same model of the other elements alone; rows are told apart by their fixed element.
    let fixed = numbers(&Some(fixed.into()));
    type Make = fn(FeatureMask) -> Box<dyn Method>;
    let methods: [(&str, Make); 7] = [
        ("ablation", |mask| {
            Box::new(FeatureAblation::new().with_feature_mask(mask))
        }),
        ("shapley", |mask| {
            Box::new(ShapleyValues::new().with_feature_mask(mask))
        }),
        ("owen", |mask| {
            Box::new(PartitionShap::new().with_feature_mask(mask))
        }),
        ("kernel", |mask| {
            Box::new(KernelShap::new().with_feature_mask(mask))
        }),
        ("sobol", |mask| {
            Box::new(SobolAttribution::new().with_feature_mask(mask))
        }),
        ("hsic", |mask| {
            Box::new(HsicAttribution::new().with_feature_mask(mask))
        }),
        ("lime", |mask| Box::new(Lime::new().with_feature_mask(mask))),
    ];
    for (name, method) in methods {
        for (row, &own) in fixed.iter().enumerate() {
            let seen = move |x: Tensor<2>| {
                let column = Value::from(x.clone().narrow(1, 1, 1)).to_vec().unwrap();
                assert!(column.iter().all(|&value| value == own), "{column:?}");
                product(x)
            };
            let one = x.clone().narrow(0, row, 1);
            let found = method(mask.clone().into());
            let got = Method::attribute(&found, &seen, &one, 0).unwrap();
            let got = numbers(&got.values()[0]);
            assert_eq!(got[1], 0.0, "{name}");
            assert!(got[0] != 0.0 && got[2] == got[3], "{name}: {got:?}");
            if name == "lime" {
                // The fixed element counts in LIME's distances.
                continue;
            }
            let without = move |x: Tensor<2>| product(x) * (own + 2.0);
            let found = method(rest_mask.clone().into());
            let expected = Method::attribute(&found, &without, &rest.clone().narrow(0, row, 1), 0);
            let expected = numbers(&expected.unwrap().values()[0]);
            assert_close_slices(name, &[got[0], got[2]], &expected[..2], 1e-5);
        }
    }
    // A mask of its own for each row; permuted features.
    let each = Tensor::<2, Int>::from_ints([[0, -1, 1, 1], [-7, 0, 1, -1]], &device());
    let own = numbers(&Some(Value::from(x.clone())));
    let kept = move |x: Tensor<2>| {
        let rows = Value::from(x.clone()).to_vec().unwrap();
        for row in rows.chunks(4) {
            let first = row[1] == own[1];
            let second = row[0] == own[4] && row[3] == own[7];
            assert!(first || second, "{row:?}");
        }
        product(x)
    };
    let found = ShapleyValues::new()
        .with_feature_mask(each)
        .attribute(&kept, &x, 0)
        .unwrap();
    let got = numbers(&found.values()[0]);
    assert_eq!([got[1], got[4], got[7]], [0.0; 3]);
    let permuted = FeaturePermutation::new().with_feature_mask(mask);
    let found = permuted
        .attribute(&|x: Tensor<2>| product(x), &x, 0)
        .unwrap();
    assert_eq!(numbers(&found.values()[0])[1], 0.0);
    let none = Tensor::<2, Int>::from_ints([[-1, -1, -1, -1]], &device());
    let error = ShapleyValues::new().with_feature_mask(none);
    let error = error
        .attribute(&|x: Tensor<2>| product(x), &x, 0)
        .unwrap_err();
    assert!(error.to_string().contains("no feature is left"), "{error}");
    let half = Tensor::<2, Int>::from_ints([[0, -1, -1, 0], [-1, -1, -1, -1]], &device());
    let error = ShapleyValues::new().with_feature_mask(half);
    let error = error
        .attribute(&|x: Tensor<2>| product(x), &x, 0)
        .unwrap_err();
    assert!(error.to_string().contains("row 1"), "{error}");
}

#[test]
fn copies_of_rows_keep_their_masks_at_a_layer() {
    let x = input([2, 4], 2);
    let model = |_: &Param<Tensor<1>>, x: Tensor<2>| (x * 2.0).powi_scalar(2).sum_dim(1);
    let model = Traced::new(&nothing(), model, &x).unwrap();
    let layer = model.layers()[0].name.clone();
    let masks = Tensor::<2, Int>::from_ints([[0, 0, 1, 2], [2, 1, 0, 0]], &device());
    let ablation = FeatureAblation::new().with_feature_mask(masks);
    let at = AtLayers::new([layer.clone()], ablation);
    let expected = at.attribute(&model, &x, 0).unwrap();
    let tunnel = NoiseTunnel::new(at).with_samples(2).with_stdevs([0.0]);
    for rows in [1, 2, 1000] {
        let run = Run::new().with_budget(Budget::Rows(rows));
        let got = LayerMethod::attribute_with(&tunnel, &model, &x, 0, &run).unwrap();
        assert_close_slices(
            &format!("{rows} rows at once"),
            &got.value(&layer).unwrap().to_vec().unwrap(),
            &expected.value(&layer).unwrap().to_vec().unwrap(),
            1e-6,
        );
    }
}

#[test]
fn each_row_has_the_hierarchy_of_its_own_mask() {
    let x = Tensor::<2>::ones([2, 4], &device());
    let model = |x: Tensor<2>| x.narrow(1, 0, 3).prod_dim(1);
    let masks = |rows: &[[i64; 4]]| -> FeatureMask {
        let ids: Vec<i64> = rows.concat();
        let ids = burn::tensor::TensorData::new(ids, [rows.len(), 4]);
        Tensor::<2, Int>::from_data(ids, &device()).into()
    };
    let both = [[0, 1, 2, 3], [0, 2, 1, 3]];
    let explain = |x: &Tensor<2>, mask| {
        let method = PartitionShap::new().with_feature_mask(mask);
        numbers(&method.attribute(&model, x, 0).unwrap().values()[0])
    };
    let together = explain(&x, masks(&both));
    for row in 0..2 {
        let alone = explain(&x.clone().narrow(0, row, 1), masks(&both[row..=row]));
        assert_eq!(together[4 * row..4 * row + 4], alone[..], "row {row}");
    }
}

#[test]
fn one_value_for_a_batch_is_seen_whatever_the_budget() {
    let x = input([3, 2], 4);
    let sum = |x: Tensor<2>| x.sum();
    for rows in [1, 2, 100] {
        let run = Run::new().with_budget(Budget::Rows(rows));
        let refused = FeatureAblation::new().attribute_with(&sum, &x, 0, &run);
        assert!(matches!(refused, Err(Error::WholeBatch { .. })), "{rows}");
    }
    let masks = Tensor::<2, Int>::from_ints([[0, 1], [1, 0], [0, 1]], &device());
    let permutation = FeaturePermutation::new()
        .with_feature_mask(masks)
        .with_perturbations_per_eval(1);
    let refused = permutation.attribute(&sum, &x, attr_core::Target::Single);
    assert!(matches!(refused, Err(Error::Method { .. })));
    let copies = NoiseTunnel::new(FeaturePermutation::new());
    let each = |x: Tensor<2>| x.sum_dim(1);
    let refused = Method::attribute(&copies, &each, &x, 0);
    assert!(matches!(refused, Err(Error::Method { .. })));
}

#[test]
fn what_is_hidden_may_be_infinite() {
    let x = Tensor::<2>::from_floats([[f32::NEG_INFINITY, 1.0, 2.0]], &device());
    let absent = Tensor::<2>::from_floats([[0.5, f32::INFINITY, 4.0]], &device());
    let z = Tensor::<2>::from_floats([[0.0, 1.0, 0.5]], &device());
    let got = mixed(x.into(), absent.into(), z.clone()).unwrap();
    assert_eq!(got.to_vec().unwrap(), [0.5, 1.0, 3.0]);
    let short = Tensor::<2>::zeros([1, 2], &device());
    let refused = mixed(short.clone().into(), short.into(), z);
    assert!(matches!(refused, Err(Error::Shape { .. })));
}

#[test]
fn numbers_that_a_type_does_not_hold() {
    let tokens = Tensor::<2, Int>::from_ints([[1, 2]], &device());
    let count = |x: Tensor<2, Int>| x.float().sum_dim(1);
    for number in [1e30, -1e30, 0.5] {
        let refused = FeatureAblation::new()
            .with_baseline(number)
            .attribute(&count, &tokens, 0);
        assert!(matches!(refused, Err(Error::Method { .. })), "{number}");
    }
    let x = input([1, 2], 5);
    let sum = |x: Tensor<2>| x.sum_dim(1);
    let refused = FeatureAblation::new()
        .with_baseline(1e39)
        .attribute(&sum, &x, 0);
    assert!(matches!(refused, Err(Error::NonFinite { .. })));
    let tokens_again = Tensor::<2, Int>::from_ints([[3, 3]], &device());
    let found = FeatureAblation::new()
        .with_baseline(tokens_again)
        .attribute(&count, &tokens, 0);
    assert_eq!(numbers(&found.unwrap().values()[0]), [-2.0, -1.0]);
}

#[test]
fn batches_and_outputs_that_disagree() {
    let model = |x: Values| {
        let first = x.values()[0].tensor::<2>().unwrap();
        Value::from(first.sum_dim(1))
    };
    let batch = |inputs: usize| {
        let values = (0..inputs).map(|i| input([2, 3], i as u64).into());
        (Values::new(values.collect(), vec![true; inputs]), ())
    };
    let mean = Reduction::new(
        0.0,
        |sum, output: &Value, (): &()| Ok(sum + f64::from(output.to_vec()?[0])),
        |sum| sum,
    );
    let over = OverData::ablation(FeatureAblation::new());
    for counts in [[1, 2], [2, 1]] {
        let refused = over.attribute(&model, counts.map(batch), &mean);
        assert!(
            matches!(refused, Err(Error::InputCount { .. })),
            "{counts:?}"
        );
    }
    // The first number of the first row is the width of the output.
    let ragged = |x: Tensor<2>| {
        let width: f32 = x.clone().slice([0..1, 0..1]).into_scalar();
        x.sum_dim(1).repeat_dim(1, width as usize)
    };
    let x = Tensor::<2>::from_floats([[1.0, 0.0], [2.0, 0.0]], &device());
    let run = Run::new().with_budget(Budget::Rows(1));
    let refused = FeatureAblation::new().attribute_with(&ragged, &x, 0, &run);
    assert!(matches!(refused, Err(Error::Shape { .. })));
}

#[test]
fn a_row_with_fewer_features_is_explained_as_if_it_were_alone() {
    let x = input([2, 6], 6);
    let model = |x: Tensor<2>| (x.clone() * x.clone().cumsum(1)).sum_dim(1) + x.prod_dim(1);
    let rows = [[0i64, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 5]];
    let masks = |rows: &[[i64; 6]]| -> FeatureMask {
        let ids = burn::tensor::TensorData::new(rows.concat(), [rows.len(), 6]);
        Tensor::<2, Int>::from_data(ids, &device()).into()
    };
    let kernel = |mask| KernelShap::new().with_samples(20).with_feature_mask(mask);
    let lime = |mask| {
        Lime::new()
            .with_samples(40)
            .with_interpretable_model(LinearRegression::default())
            .with_feature_mask(mask)
    };
    type Make<'a> = &'a dyn Fn(FeatureMask) -> Box<dyn Method>;
    let methods: [(&str, Make<'_>); 2] = [
        ("kernel shap", &|mask| Box::new(kernel(mask))),
        ("lime", &|mask| Box::new(lime(mask))),
    ];
    for (name, method) in methods {
        let together = method(masks(&rows)).attribute(&model, &x, 0).unwrap();
        let together = numbers(&together.values()[0]);
        for row in 0..2 {
            let one = x.clone().narrow(0, row, 1);
            let alone = method(masks(&rows[row..=row])).attribute(&model, &one, 0);
            let alone = numbers(&alone.unwrap().values()[0]);
            assert_close_slices(name, &together[6 * row..6 * row + 6], &alone, 1e-6);
        }
    }
}

type Pair = (Tensor<2>, Tensor<2>);

/// The mean over the data set of the output times a label of each row.
#[allow(clippy::type_complexity)] // Closures have no names.
fn weighted() -> Reduction<
    (f64, f64),
    Vec<f32>,
    impl Fn((f64, f64), &Value, &Vec<f32>) -> Result<(f64, f64), Error>,
    impl Fn((f64, f64)) -> f64,
> {
    Reduction::new(
        (0.0, 0.0),
        |(sum, count), output: &Value, labels: &Vec<f32>| {
            let output = output.to_vec()?;
            assert_eq!(output.len(), labels.len());
            let products = output.iter().zip(labels).map(|(y, l)| f64::from(y * l));
            Ok((sum + products.sum::<f64>(), count + labels.len() as f64))
        },
        |(sum, count)| sum / count,
    )
}

#[test]
fn a_data_set_in_batches_is_the_data_set() {
    let model = |(a, b): Pair| (a.clone() * a).sum_dim(1) * b.clone().sum_dim(1) + b.sum_dim(1);
    let rows = [3usize, 1, 4];
    let whole: Pair = (input([8, 3], 6), input([8, 2], 7));
    let labels: Vec<f32> = (0..8).map(|i| i as f32 - 2.5).collect();
    let batches = |sizes: &[usize]| {
        let mut start = 0;
        let batches: Vec<(Pair, Vec<f32>)> = sizes
            .iter()
            .map(|&n| {
                let own = start..start + n;
                let part = (
                    whole.0.clone().narrow(0, start, n),
                    whole.1.clone().narrow(0, start, n),
                );
                start += n;
                (part, labels[own].to_vec())
            })
            .collect();
        batches
    };
    let masks = vec![
        Value::from(Tensor::<2, Int>::from_ints([[0, 1, 2]], &device())),
        Value::from(Tensor::<2, Int>::from_ints([[2, 0]], &device())),
    ];
    let ablation = FeatureAblation::new().with_feature_mask(masks.clone());
    let each = ablation.clone().with_baseline(0.2);
    let each = each.attribute(&model, &whole, 0).unwrap();
    let expected = |found: &[Option<Value>]| -> Vec<Vec<f32>> {
        let inputs = found
            .iter()
            .map(|value| value.as_ref().unwrap().to_vec().unwrap());
        inputs
            .map(|values| {
                let columns = values.len() / 8;
                (0..columns)
                    .map(|c| {
                        let rows = labels.iter().enumerate();
                        rows.map(|(r, l)| l * values[r * columns + c]).sum::<f32>() / 8.0
                    })
                    .collect()
            })
            .collect()
    };
    let over = OverData::ablation(ablation).with_baseline(0.2);
    for budget in [Budget::default(), Budget::Rows(1), Budget::Rows(5)] {
        let run = Run::new().with_budget(budget);
        let found = over.attribute_with(&model, batches(&rows), &weighted(), &run);
        let found = found.unwrap();
        assert_eq!(found.rows(), 8);
        for (got, expected) in found.values().iter().zip(expected(each.values())) {
            let got = got.as_ref().unwrap();
            assert_eq!(got.rows(), 1);
            assert_close_slices("ablation", &got.to_vec().unwrap(), &expected, 1e-5);
        }
    }
    let permutation = FeaturePermutation::new()
        .with_feature_mask(masks)
        .with_permutation([1, 0]);
    let over = OverData::permutation(permutation.clone());
    let found = over
        .attribute(&model, batches(&[2; 4]), &weighted())
        .unwrap();
    let mut parts: Vec<Vec<Value>> = vec![Vec::new(); 2];
    for (batch, _) in batches(&[2; 4]) {
        let own = permutation.attribute(&model, &batch, 0).unwrap();
        for (parts, value) in parts.iter_mut().zip(own.values()) {
            parts.push(value.clone().unwrap());
        }
    }
    let joined = parts.into_iter().map(|parts| Value::cat_rows(parts).ok());
    let joined: Vec<Option<Value>> = joined.collect();
    for (got, expected) in found.values().iter().zip(expected(&joined)) {
        assert_close_slices(
            "permutation",
            &got.as_ref().unwrap().to_vec().unwrap(),
            &expected,
            1e-5,
        );
    }
}

/// Batches of three columns, with the first as the label.
pub(crate) fn labelled() -> Vec<(Tensor<2>, Vec<f32>)> {
    let batches = (0..3).map(|seed| {
        let x: Tensor<2> = input([8, 3], seed);
        let labels = Value::from(x.clone().narrow(1, 0, 1)).to_vec().unwrap();
        (x, labels)
    });
    batches.collect()
}

/// Repeated permutations of [`labelled`]; the last column has no effect.
pub(crate) fn repeated(seed: u64, repeats: usize) -> DataAttribution {
    let model = |x: Tensor<2>| {
        let first = x.clone().narrow(1, 0, 1);
        first.clone() + first * x.narrow(1, 1, 1) * 0.5
    };
    let permutation = FeaturePermutation::new().with_seed(seed);
    let method = OverData::permutation(permutation).with_repeats(repeats);
    method
        .attribute(&model, labelled(), &scores::mean_squared_error())
        .unwrap()
}

#[test]
fn repeated_permutations_have_standard_errors() {
    let found = repeated(1, 6);
    let (values, errors) = (&found.values()[0], &found.standard_error().unwrap()[0]);
    let (values, errors) = (numbers(values), numbers(errors));
    assert_eq!((values[2], errors[2]), (0.0, 0.0));
    assert!(errors[0] > 0.0 && errors[1] > 0.0);
    let model = |x: Tensor<2>| x.narrow(1, 0, 1);
    assert!(repeated(0, 4).standard_error().is_none());
    let given = FeaturePermutation::new().with_permutation((0..8).rev().collect::<Vec<_>>());
    for method in [
        OverData::permutation(given).with_repeats(2),
        OverData::ablation(FeatureAblation::new()).with_repeats(2),
        OverData::permutation(FeaturePermutation::new()).with_repeats(0),
    ] {
        let error = method.attribute(&model, labelled(), &scores::mean_squared_error());
        assert!(matches!(
            error,
            Err(Error::Parameter {
                name: "repeats",
                ..
            })
        ));
    }
}

#[test]
fn ready_scores_of_data_sets() {
    let metric = |found: Result<DataAttribution, Error>| found.map(|found| found.metric());
    let over = || OverData::ablation(FeatureAblation::new());
    let table = |rows: [[f32; 3]; 2]| Tensor::<2>::from_floats(rows, &device());
    // Two batches; the last row is wrong, and in the first two outputs are equal.
    let logits = || {
        [
            table([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0]]),
            table([[0.0, 0.0, 3.0]; 2]),
        ]
    };
    let classes = |labels: [[usize; 2]; 2]| logits().into_iter().zip(labels.map(Vec::from));
    let same = |x: Tensor<2>| x;
    let labels = [[0, 1], [2, 1]];
    let accuracy = metric(over().attribute(&same, classes(labels), &scores::accuracy()));
    assert_eq!(accuracy, Ok(0.75));
    let entropy = metric(over().attribute(&same, classes(labels), &scores::cross_entropy()));
    // -ln(e / (2 e + 1)), -ln(e^2 / (1 + e^2 + e)), -ln(e^3 / (2 + e^3)), -ln(1 / (2 + e^3)).
    let e = std::f64::consts::E;
    let terms = [
        (2.0 * e + 1.0).ln() - 1.0,
        (1.0 + e * e + e).ln() - 2.0,
        (2.0 + e.powi(3)).ln() - 3.0,
        (2.0 + e.powi(3)).ln(),
    ];
    let expected = terms.iter().sum::<f64>() / 4.0;
    assert!((entropy.unwrap() - expected).abs() < 1e-6);
    for labels in [[[0, 3], [0, 0]], [[0, 1], [9, 0]]] {
        let error = over().attribute(&same, classes(labels), &scores::accuracy());
        assert!(matches!(error, Err(Error::TargetOutOfRange { .. })));
    }

    let column = |x: Tensor<2>| x.narrow(1, 0, 1);
    let values = |labels: [Vec<f32>; 2]| logits().into_iter().zip(labels);
    // The outputs are 1, 0, 0, 0.
    let labels = || values([vec![1.0, 1.0], vec![-2.0, 0.0]]);
    let squares = metric(over().attribute(&column, labels(), &scores::mean_squared_error()));
    assert_eq!(squares, Ok(5.0 / 4.0));
    let absolute = metric(over().attribute(&column, labels(), &scores::mean_absolute_error()));
    assert_eq!(absolute, Ok(3.0 / 4.0));
    let explained = metric(over().attribute(&column, labels(), &scores::r_squared()));
    // The labels' mean is 0, their squares are 1 + 1 + 4 + 0.
    assert_eq!(explained, Ok(1.0 - 5.0 / 6.0));
    let short = over().attribute(
        &column,
        values([vec![1.0], vec![0.0]]),
        &scores::r_squared(),
    );
    assert!(matches!(
        short,
        Err(Error::TargetRows {
            expected: 2,
            got: 1
        })
    ));
    let wide = over().attribute(&same, labels(), &scores::r_squared());
    assert!(matches!(wide, Err(Error::Shape { .. })));
}
