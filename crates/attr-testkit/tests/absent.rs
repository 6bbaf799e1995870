//! What stands for an absent part: blurred and inpainted images, and data sets seen batch by batch.

use attr_core::perturb::inpainted;
use attr_core::{Baseline, Baselines, Budget, Error, FeatureMask, Inputs, Method, Run, Value};
use attr_perturb::{
    FeatureAblation, FeaturePermutation, Occlusion, OverData, Reduction, ShapleyValues,
};
use attr_testkit::compare::{assert_close, assert_close_slices};
use attr_testkit::device;
use attr_testkit::models::input;
use burn::tensor::{Int, Tensor, TensorData};

fn numbers(value: &Value) -> Vec<f32> {
    value.to_vec().unwrap()
}

fn absent(baseline: Baseline, x: &Tensor<4>) -> Vec<f32> {
    let baselines = Baselines::from(baseline);
    let found = baselines.absent(&x.to_values()).unwrap();
    numbers(&found.values()[0])
}

#[test]
fn a_blur_is_a_weighted_mean_of_what_is_there() {
    let x = input([2, 3, 7, 5], 1);
    let sigma = 1.3;
    let got = absent(Baseline::Blur(sigma), &x);
    let pixels = numbers(&x.clone().into());
    let radius = (4.0 * sigma + 0.5) as i64;
    let weight = |d: i64| {
        if d.abs() <= radius {
            (-0.5 * (d as f64 / sigma).powi(2)).exp()
        } else {
            0.0
        }
    };
    let mut expected = Vec::new();
    for image in pixels.chunks(35) {
        for at in 0..35i64 {
            let (mut sum, mut total) = (0.0, 0.0);
            for (other, value) in image.iter().enumerate() {
                let other = other as i64;
                let w = weight(at / 5 - other / 5) * weight(at % 5 - other % 5);
                sum += w * f64::from(*value);
                total += w;
            }
            expected.push((sum / total) as f32);
        }
    }
    assert_close_slices("blur", &got, &expected, 1e-5);
    let flat = absent(
        Baseline::Blur(2.0),
        &Tensor::full([1, 1, 4, 9], 0.7, &device()),
    );
    assert_close_slices("a flat image", &flat, &[0.7; 36], 1e-6);
}

#[test]
fn blurs_and_fillings_that_cannot_be() {
    let table = input([2, 4], 2);
    let image = input([1, 1, 4, 4], 3);
    let sum = |x: Tensor<2>| x.sum_dim(1);
    let ablate = |baseline: Baseline| FeatureAblation::new().with_baseline(baseline);
    for baseline in [Baseline::Blur(1.0), Baseline::Inpaint] {
        let refused = ablate(baseline).attribute(&sum, &table, 0).unwrap_err();
        assert!(matches!(refused, Error::Shape { .. }), "{refused}");
    }
    let sums = |x: Tensor<4>| x.flatten::<2>(1, 3).sum_dim(1);
    for sigma in [0.0, -1.0, f64::NAN, 1e9] {
        let refused = ablate(Baseline::Blur(sigma)).attribute(&sums, &image, 0);
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, Error::Parameter { name: "sigma", .. }),
            "{refused}"
        );
    }
    let tokens = Tensor::<2, Int>::from_ints([[1, 2]], &device());
    let count = |x: Tensor<2, Int>| x.float().sum_dim(1);
    for baseline in [Baseline::Min, Baseline::Scalar(0.5), Baseline::Blur(1.0)] {
        let refused = ablate(baseline).attribute(&count, &tokens, 0).unwrap_err();
        assert!(matches!(refused, Error::Method { .. }), "{refused}");
    }
    let one = ablate(Baseline::Scalar(3.0))
        .attribute(&count, &tokens, 0)
        .unwrap();
    assert_eq!(numbers(one.values()[0].as_ref().unwrap()), [-2.0, -1.0]);
}

#[test]
fn inpainting_keeps_what_is_known_and_continues_it() {
    for shape in [[1, 1, 8, 8], [2, 3, 7, 5], [1, 2, 1, 9], [1, 1, 1, 1]] {
        let image = input(shape, 4);
        let elements: usize = shape[1..].iter().product();
        let mask: Vec<f32> = (0..shape[0] * elements)
            .map(|i| f32::from(i % 3 > 0))
            .collect();
        let known = Tensor::<2>::from_data(
            TensorData::new(mask.clone(), [shape[0], elements]),
            &device(),
        );
        let filled = numbers(&inpainted(&image.clone().into(), known.clone()).unwrap());
        let pixels = numbers(&image.into());
        let (low, high) = pixels
            .iter()
            .zip(&mask)
            .filter(|(_, known)| **known == 1.0)
            .fold((0f32, 0f32), |(l, h), (v, _)| (l.min(*v), h.max(*v)));
        for ((got, pixel), known) in filled.iter().zip(&pixels).zip(&mask) {
            if *known == 1.0 {
                assert_eq!(got, pixel, "{shape:?}");
            } else {
                assert!(*got >= low - 1e-6 && *got <= high + 1e-6, "{shape:?}");
            }
        }
        let flat = Tensor::<4>::full(shape, 0.4, &device());
        if elements > 1 {
            let flat = numbers(&inpainted(&flat.into(), known).unwrap());
            assert_close_slices("flat", &flat, &vec![0.4; flat.len()], 1e-6);
        }
    }
    let nothing = Tensor::<2>::zeros([1, 16], &device());
    let dark = inpainted(&input([1, 1, 4, 4], 5).into(), nothing).unwrap();
    assert_eq!(numbers(&dark), [0.0; 16]);
}

#[test]
fn a_flat_image_is_not_changed_by_filling_a_window() {
    let flat = Tensor::<4>::full([1, 2, 6, 6], 0.3, &device());
    let model = |x: Tensor<4>| x.powi_scalar(3).flatten::<2>(1, 3).sum_dim(1);
    let windows = Occlusion::new([vec![2, 3, 3]]).with_baseline(Baseline::Inpaint);
    let found = windows.attribute(&model, &flat, 0).unwrap();
    let zeros = Value::from(Tensor::<4>::zeros([1, 2, 6, 6], &device()));
    let found = found.values()[0].clone().unwrap().tensor::<4>().unwrap();
    assert_close("windows", &Value::from(found + 1.0), &ones(&zeros), 1e-5);
    // Everything at once leaves nothing to continue: zero, so the sum is the whole output.
    let cells = ShapleyValues::new()
        .with_feature_mask(FeatureMask::Grid(vec![2, 1]))
        .with_baseline(Baseline::Inpaint);
    let found = cells.attribute(&model, &flat, 0).unwrap();
    assert!(found.delta().unwrap()[0].abs() < 1e-6);
    let values = numbers(found.values()[0].as_ref().unwrap());
    assert!((values[0] + values[35] - found.scores()[0]).abs() < 1e-5);
}

fn ones(zeros: &Value) -> Value {
    Value::from(zeros.tensor::<4>().unwrap() + 1.0)
}

type Pair = (Tensor<2>, Tensor<2>);

/// The mean over the data set of the output times a number known of each row.
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
        let inputs = found.iter().map(|value| numbers(value.as_ref().unwrap()));
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
            assert_close_slices("ablation", &numbers(got), &expected, 1e-5);
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
            &numbers(got.as_ref().unwrap()),
            &expected,
            1e-5,
        );
    }
}
