//! Tests baselines: values, distributions, blurred and inpainted images.

use attr_core::perturb::inpainted;
use attr_core::{
    AtLayers, Baseline, Baselines, Error, FeatureMask, Inputs, LayerMethod, Method, Traced, Value,
    WithBaseline,
};
use attr_gradient::{
    Conductance, DeepLift, DeepLiftShap, GradientShap, IntegratedGradients, Saliency, Xrai,
};
use attr_perturb::{FeatureAblation, Occlusion, ShapleyValues};
use attr_testkit::compare::{assert_close, assert_close_slices};
use attr_testkit::device;
use attr_testkit::models::{Cnn, EmbeddingClassifier, SmallCnn, TextGru, input, seeded};
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

fn ones(zeros: &Value) -> Value {
    Value::from(zeros.tensor::<4>().unwrap() + 1.0)
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
    // Hiding everything leaves nothing to inpaint from: zero, so the sum is the whole output.
    let cells = ShapleyValues::new()
        .with_feature_mask(FeatureMask::Grid(vec![2, 1]))
        .with_baseline(Baseline::Inpaint);
    let found = cells.attribute(&model, &flat, 0).unwrap();
    assert!(found.delta().unwrap()[0].abs() < 1e-6);
    let values = numbers(found.values()[0].as_ref().unwrap());
    assert!((values[0] + values[35] - found.scores()[0]).abs() < 1e-5);
}

#[test]
fn a_distribution_follows_a_method_to_a_layer() {
    let module = seeded(Cnn::new(&device()), 2);
    let x = input([4, 1, 8, 8], 3);
    let model = Traced::new(&module, |m: &Cnn, x: Tensor<4>| m.forward(x), &x).unwrap();
    // On a chain, cutting the model and walking back to the layer are the same.
    let known = input([3, 1, 8, 8], 5);
    for baseline in [Baseline::Scalar(0.2), Baseline::Distribution(known.into())] {
        let at = DeepLiftShap::new()
            .with_baseline(baseline.clone())
            .at_layers(["conv2"]);
        let at = at.attribute(&model, &x, 1).unwrap();
        let absent = match &baseline {
            Baseline::Distribution(rows) => rows.tensor::<4>().unwrap(),
            _ => Tensor::full([1, 1, 8, 8], 0.2, &device()),
        };
        let here = |x: &Tensor<4>| model.activations(x, &["conv2"]).unwrap().remove(0);
        let rest = model.from_layer("conv2", &x).unwrap();
        let cut = DeepLiftShap::new().with_baseline(Baseline::Distribution(here(&absent)));
        let activation = here(&x).tensor::<4>().unwrap();
        let cut = cut.attribute(&rest, &activation, 1).unwrap();
        assert_close(
            "conv2",
            &cut.attribution().into(),
            at.value("conv2").unwrap(),
            1e-5,
        );
        let count = if matches!(baseline, Baseline::Scalar(_)) {
            1
        } else {
            3
        };
        assert_eq!(
            cut.work().backward_rows,
            4 * count,
            "a pair for each row and baseline"
        );
        let shap = GradientShap::new().with_samples(40).with_baseline(baseline);
        let shap = AtLayers::new(["conv2"], shap)
            .attribute(&model, &x, 1)
            .unwrap();
        assert_eq!(shap.work().backward_rows, 4 * 40);
    }
}

#[test]
fn integrated_gradients_from_several_baselines_are_their_mean() {
    let module = seeded(SmallCnn::new(&device()), 1);
    let x = input([2, 1, 6, 6], 2);
    let model = Traced::new(&module, |m: &SmallCnn, x: Tensor<4>| m.forward(x), &x).unwrap();
    let ig = || IntegratedGradients::new().with_steps(9);
    let of = |ig: WithBaseline<IntegratedGradients>| ig.attribute(&model, &x, 1).unwrap();
    let known = input([3, 1, 6, 6], 5);
    let whole = of(ig().with_baseline(Baseline::Distribution(known.clone().into())));
    let each = |row| of(ig().with_baseline(known.clone().narrow(0, row, 1)));
    let mean = (each(0).attribution() + each(1).attribution() + each(2).attribution()) / 3.0;
    assert_close("rows", &whole.attribution().into(), &mean.into(), 1e-5);
    let delta = |row: usize, i: usize| each(i).delta().unwrap()[row];
    for (row, found) in whole.delta().unwrap().iter().enumerate() {
        let mean = (delta(row, 0) + delta(row, 1) + delta(row, 2)) / 3.0;
        assert!((found - mean).abs() < 1e-6, "{found} {mean}");
    }
    // The darkest and the brightest value of each row.
    let extremes = of(ig().with_baseline(Baseline::Several(vec![Baseline::Min, Baseline::Max])));
    let flat = x.clone().flatten::<2>(1, 3);
    let constant = |value: Tensor<2>| {
        let filled = value.expand([2, 36]).reshape([2, 1, 6, 6]);
        of(ig().with_baseline(filled)).attribution()
    };
    let mean = (constant(flat.clone().min_dim(1)) + constant(flat.max_dim(1))) / 2.0;
    assert_close(
        "extremes",
        &extremes.attribution().into(),
        &mean.into(),
        1e-5,
    );
}

#[test]
fn tokens_have_distributions_too() {
    let tokens = |ids: Vec<i64>| {
        let rows = ids.len() / 5;
        Tensor::<2, Int>::from_data(TensorData::new(ids, [rows, 5]), &device())
    };
    let x = tokens(vec![3, 1, 4, 1, 5, 9, 2, 6, 5, 3]);
    let known = tokens(vec![0, 0, 0, 0, 0, 7, 7, 7, 7, 7]);
    let module = seeded(EmbeddingClassifier::new(&device()), 3);
    let model = Traced::new(&module, |m: &EmbeddingClassifier, x| m.forward(x), &x).unwrap();
    let shap = DeepLiftShap::new().with_baseline(Baseline::Distribution(known.clone().into()));
    let shap = shap
        .at_layers(["embedding"])
        .attribute(&model, &x, 1)
        .unwrap();
    let one = |row| {
        let baseline = Baseline::from(known.clone().narrow(0, row, 1));
        let lift = DeepLift::new()
            .with_baseline(baseline)
            .at_layers(["embedding"]);
        lift.attribute(&model, &x, 1)
            .unwrap()
            .tensor::<3>("embedding")
            .unwrap()
    };
    let mean: Value = ((one(0) + one(1)) / 2.0).into();
    assert_close("mean", shap.value("embedding").unwrap(), &mean, 1e-5);

    // Between tokens there is no path; at their embedding there is.
    let refused = GradientShap::new().attribute(&model, &x, 1).map(drop);
    assert!(refused.unwrap_err().to_string().contains("at_layers"));
    let refused = Conductance::new(["embedding"]).attribute(&model, &x, 1);
    assert!(refused.unwrap_err().to_string().contains("at_layers"));
    let shap = GradientShap::new()
        .with_samples(9)
        .with_baseline(Baseline::Distribution(known.into()));
    let module = seeded(TextGru::new(&device()), 3);
    let model = Traced::new(&module, |m: &TextGru, x| m.forward(x), &x).unwrap();
    let found = AtLayers::new(["embedding"], shap)
        .attribute(&model, &x, 1)
        .unwrap();
    assert_eq!(found.per_token("embedding").unwrap().dims(), [2, 5]);
}

/// As many rows as the batch are one baseline per row, but background data whatever their number.
#[test]
fn background_data_is_averaged_over_whatever_its_number_of_rows() {
    let model = |x: Tensor<2>| x.powi_scalar(2).sum_dim(1);
    let (x, rows) = (input([3, 4], 5), input([3, 4], 6));
    let value = |found: &Value| found.to_vec().unwrap();
    let explain = |method: &dyn Method| {
        let found = Method::attribute(&method, &model, &x, 0).unwrap();
        value(found.values()[0].as_ref().unwrap())
    };
    let shap = || ShapleyValues::new();
    let averaged = explain(&shap().with_background(rows.clone()));
    let means = rows.clone().powi_scalar(2).mean_dim(0);
    let expected = value(&(x.clone().powi_scalar(2) - means).into());
    assert_close_slices("background", &averaged, &expected, 1e-5);
    let each = explain(&shap().with_baseline(rows.clone()));
    let expected = value(&(x.clone().powi_scalar(2) - rows.clone().powi_scalar(2)).into());
    assert_close_slices("one for each row", &each, &expected, 1e-5);
    let other = shap()
        .with_baseline(rows.narrow(0, 0, 2))
        .attribute(&model, &x, 0);
    let message = other.map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("with_background"), "{message}");
}

#[test]
fn a_baseline_for_a_method_without_one_is_refused() {
    let x = input([2, 3], 1);
    let model = |x: Tensor<2>| x;
    let refused = Saliency::new()
        .with_baseline(0.5)
        .attribute(&model, &x, 0)
        .map(drop);
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("compares nothing with a baseline"),
        "{message}"
    );
}

#[test]
fn the_outer_one_of_two_baselines_counts() {
    let x = input([2, 1, 4, 4], 3);
    let model = |x: Tensor<4>| x.powi_scalar(2).flatten::<2>(1, 3).sum_dim(1);
    let explain = |method: &dyn Method| {
        let found = Method::attribute(&method, &model, &x, 0).unwrap();
        found.values()[0].clone().unwrap()
    };
    let path = || IntegratedGradients::new().with_steps(100);
    let twice = path().with_baseline(0.0).with_baseline(0.5);
    let once = path().with_baseline(0.5);
    assert_close("twice", &explain(&twice), &explain(&once), 1e-6);

    let halves: Vec<i32> = (0..16).map(|i| i / 8).collect();
    let halves = Tensor::<4, Int>::from_data(TensorData::new(halves, [1, 1, 4, 4]), &device());
    let segments = || [Value::from(halves.clone())];
    let regions = Xrai::new(segments()).with_min_pixel_diff(1);
    let expected = Xrai::of(path().with_baseline(0.5), segments()).with_min_pixel_diff(1);
    let own = explain(&regions);
    let got = explain(&regions.with_baseline(0.5));
    assert_close("regions", &got, &explain(&expected), 1e-6);
    assert_ne!(got.to_vec().unwrap(), own.to_vec().unwrap());
}
