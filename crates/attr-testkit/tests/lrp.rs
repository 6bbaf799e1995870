//! Tests layer-wise relevance propagation: each rule on each kind of layer against its formula on
//! the layer as a dense matrix, composites on whole networks, errors.

use std::collections::HashMap;
use std::sync::Arc;

use attr_core::walk::{Composite, NodeInfo, Rule};
use attr_core::{Error, Inputs, Method, Target, Traced, Value};
use attr_lrp_crp::rules::{
    AlphaBeta, Epsilon, Flat, Gamma, Pass, SignalTakesAll, WSquare, ZBox, ZPlus,
};
use attr_lrp_crp::{
    ByKind, ByName, LayerKind, Lrp, LrpConfig, Mixed, Preset, bilrp, epsilon, epsilon_alpha2_beta1,
    epsilon_alpha2_beta1_flat, epsilon_gamma_box, epsilon_plus, epsilon_plus_flat, w_square,
};
use attr_testkit::compare::assert_close_slices;
use attr_testkit::device;
use attr_testkit::golden::{fill, path};
use attr_testkit::models::{Cnn, Conv1dNet, Mlp, ResNet18, Residual, TwoInputs, input, seeded};
use burn::module::{Module, ModuleMapper, Param};
use burn::nn::conv::{
    Conv1dConfig, Conv2dConfig, Conv3dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig,
    ConvTranspose3dConfig,
};
use burn::nn::{
    BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig1d, PaddingConfig2d,
    PaddingConfig3d,
};
use burn::tensor::{DType, Tensor, TensorData, activation};

use crate::captum::Case;

/// A layer as a dense matrix, `[input][output]`, with its bias.
struct Dense {
    weight: Vec<Vec<f64>>,
    bias: Vec<f64>,
}

fn doubles(value: &Value) -> Vec<f64> {
    value.to_data().unwrap().iter().collect()
}

/// Casts every parameter.
struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        Param::from_mapped_value(id, tensor.cast(self.0), mapper)
    }
}

/// Double precision where the device has it, and how close results must come to the formulas.
fn precision() -> (DType, f64) {
    if device().supports_dtype(DType::F64) {
        (DType::F64, 1e-6)
    } else {
        (DType::F32, 2e-4)
    }
}

/// Compares in units of the largest expected number.
fn assert_close_doubles(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-12f64, |m, v| m.max(v.abs()));
    let pairs = got.iter().zip(expected);
    let off = pairs.fold(0f64, |m, (a, b)| m.max((a - b).abs())) / largest;
    assert!(
        off <= tolerance,
        "{what}: off by {off:e}\n{got:?}\n{expected:?}"
    );
}

impl Dense {
    /// Finds the matrix of a layer by unit vectors.
    fn of<const D: usize, const E: usize>(
        layer: &dyn Fn(Tensor<D>) -> Tensor<E>,
        shape: [usize; D],
    ) -> Self {
        let (dtype, _) = precision();
        let run = |x: Vec<f64>| {
            let x = TensorData::new(x, shape).convert_dtype(dtype);
            doubles(&layer(Tensor::<D>::from_data(x, (&device(), dtype))).into())
        };
        let inputs: usize = shape.iter().product();
        let bias = run(vec![0.0; inputs]);
        let weight = (0..inputs).map(|i| {
            let mut unit = vec![0.0; inputs];
            // Large, so that the bias does not cost digits.
            unit[i] = 1024.0;
            let column = run(unit).into_iter().zip(&bias);
            column.map(|(y, b)| (y - b) / 1024.0).collect()
        });
        Self {
            weight: weight.collect(),
            bias,
        }
    }

    /// Returns `Σ_i w(i, j) x_i + b_j` for changed weights and biases.
    fn output(&self, x: &[f64], w: &dyn Fn(f64) -> f64, b: &dyn Fn(f64) -> f64) -> Vec<f64> {
        let column = |j: usize| -> f64 {
            let terms = self.weight.iter().zip(x);
            terms.map(|(row, x)| w(row[j]) * x).sum::<f64>() + b(self.bias[j])
        };
        (0..self.bias.len()).map(column).collect()
    }

    /// Returns `x_i Σ_j w(i, j) s_j`.
    fn back(&self, x: &[f64], w: &dyn Fn(f64) -> f64, s: &[f64]) -> Vec<f64> {
        let rows = self.weight.iter().zip(x);
        rows.map(|(row, x)| x * row.iter().zip(s).map(|(v, s)| w(*v) * s).sum::<f64>())
            .collect()
    }
}

fn sum(terms: &[Vec<f64>]) -> Vec<f64> {
    let at = |i: usize| terms.iter().map(|term| term[i]).sum();
    (0..terms[0].len()).map(at).collect()
}

fn divided(r: &[f64], z: &[f64]) -> Vec<f64> {
    let stabilised = |z: f64| z + if z >= 0.0 { 1e-6 } else { -1e-6 };
    r.iter().zip(z).map(|(r, z)| r / stabilised(*z)).collect()
}

fn plus(v: f64) -> f64 {
    v.max(0.0)
}

fn minus(v: f64) -> f64 {
    v.min(0.0)
}

fn same(v: f64) -> f64 {
    v
}

fn none(_: f64) -> f64 {
    0.0
}

type Oracle = fn(&Dense, &[f64], &[f64]) -> Vec<f64>;

/// The share of `α` (or of minus `β`) of LRP-αβ.
fn part(d: &Dense, x: &[f64], r: &[f64], w: [fn(f64) -> f64; 2], b: fn(f64) -> f64) -> Vec<f64> {
    let (p, n): (Vec<f64>, Vec<f64>) = x.iter().map(|&x| (plus(x), minus(x))).unzip();
    let z = sum(&[d.output(&p, &w[0], &b), d.output(&n, &w[1], &none)]);
    let s = divided(r, &z);
    sum(&[d.back(&p, &w[0], &s), d.back(&n, &w[1], &s)])
}

fn gamma(d: &Dense, x: &[f64], r: &[f64]) -> Vec<f64> {
    let (up, down) = (|w: f64| w + 0.25 * plus(w), |w: f64| w + 0.25 * minus(w));
    let z = d.output(x, &same, &same);
    let side = |positive: bool| -> Vec<f64> {
        let kept = r.iter().zip(&z);
        kept.map(|(r, z)| {
            if (*z > 0.0) == positive && *z != 0.0 {
                *r
            } else {
                0.0
            }
        })
        .collect()
    };
    let above = part(d, x, &side(true), [up, down], up);
    let below = part(d, x, &side(false), [down, up], down);
    sum(&[above, below])
}

/// Each rule with its formula, from the papers and zennit's documentation.
fn rules() -> Vec<(&'static str, Arc<dyn Rule>, Oracle)> {
    vec![
        ("epsilon", Arc::new(Epsilon::default()), |d, x, r| {
            d.back(x, &same, &divided(r, &d.output(x, &same, &same)))
        }),
        (
            "epsilon without bias",
            Arc::new(Epsilon::new(1e-6).without_bias()),
            |d, x, r| d.back(x, &same, &divided(r, &d.output(x, &same, &none))),
        ),
        ("zplus", Arc::new(ZPlus::new()), |d, x, r| {
            part(d, x, r, [plus, minus], plus)
        }),
        ("alpha2 beta1", Arc::new(AlphaBeta::default()), |d, x, r| {
            let alpha = part(d, x, r, [plus, minus], plus);
            let beta = part(d, x, r, [minus, plus], minus);
            alpha.iter().zip(beta).map(|(a, b)| 2.0 * a - b).collect()
        }),
        ("gamma", Arc::new(Gamma::default()), gamma),
        ("zbox", Arc::new(ZBox::new(-1.5, 2.0)), |d, x, r| {
            let (l, h) = (vec![-1.5; x.len()], vec![2.0; x.len()]);
            let minus_of = |v: Vec<f64>| v.into_iter().map(|v| -v).collect::<Vec<f64>>();
            let z = sum(&[
                d.output(x, &same, &none),
                minus_of(d.output(&l, &plus, &none)),
                minus_of(d.output(&h, &minus, &none)),
            ]);
            let s = divided(r, &z);
            sum(&[
                d.back(x, &same, &s),
                minus_of(d.back(&l, &plus, &s)),
                minus_of(d.back(&h, &minus, &s)),
            ])
        }),
        ("wsquare", Arc::new(WSquare::new()), |d, x, r| {
            let (ones, square) = (vec![1.0; x.len()], |w: f64| w * w);
            d.back(
                &ones,
                &square,
                &divided(r, &d.output(&ones, &square, &square)),
            )
        }),
        ("flat", Arc::new(Flat::new()), |d, x, r| {
            let ones = vec![1.0; x.len()];
            let there = |w: f64| f64::from(u8::from(w != 0.0));
            d.back(&ones, &there, &divided(r, &d.output(&ones, &there, &none)))
        }),
    ]
}

/// Compares every rule with its formula on one layer, for inputs of either sign and for the output
/// of a ReLU.
fn check_layer<M, const D: usize, const E: usize>(
    name: &str,
    layer: M,
    forward: fn(&M, Tensor<D>) -> Tensor<E>,
    shape: [usize; D],
) where
    M: Module + Sync + 'static,
{
    let (dtype, tolerance) = precision();
    let layer = seeded(layer, 7).map(&mut Cast(dtype));
    let mut one = shape;
    one[0] = 1;
    let dense = Dense::of(&|x| forward(&layer, x), one);
    let x = (input::<D>(shape, 11) * 2.0).cast(dtype);
    for rectified in [false, true] {
        let seen = if rectified {
            activation::relu(x.clone())
        } else {
            x.clone()
        };
        let rows: Vec<Vec<f64>> = (0..shape[0])
            .map(|row| doubles(&Value::from(seen.clone()).slice_rows(row..row + 1)))
            .collect();
        let run = move |m: &M, x: Tensor<D>| {
            let x = if rectified { activation::relu(x) } else { x };
            forward(m, x).flatten::<2>(1, E - 1)
        };
        let model = Traced::new(&layer, run, &x).unwrap();
        let outputs = dense.bias.len();
        let weights = input::<2>([shape[0], outputs], 13).cast(dtype);
        let seeds = doubles(&weights.clone().into());
        for (rule_name, rule, oracle) in rules() {
            let composite = ByKind::new()
                .with(LayerKind::Dense, rule.clone())
                .with(LayerKind::Convolution, rule)
                .with(LayerKind::Activation, Arc::new(Pass));
            let target = Target::weights(weights.clone());
            let found = Lrp::new(composite).attribute(&model, &x, target).unwrap();
            let got = doubles(&found.attribution().into());
            let expected = rows.iter().enumerate().flat_map(|(row, x)| {
                let y = dense.output(x, &same, &same);
                let seeds = &seeds[row * outputs..(row + 1) * outputs];
                let r: Vec<f64> = y.iter().zip(seeds).map(|(y, seed)| y * seed).collect();
                oracle(&dense, x, &r)
            });
            let expected: Vec<f64> = expected.collect();
            let what = format!("{name}, {rule_name}, rectified {rectified}");
            assert_close_doubles(&what, &got, &expected, tolerance);
        }
    }
}

#[test]
fn rules_are_their_formulas_on_every_kind_of_layer() {
    let d = device();
    check_layer(
        "linear",
        LinearConfig::new(5, 3).init(&d),
        |m, x: Tensor<2>| m.forward(x),
        [2, 5],
    );
    let config = Conv1dConfig::new(2, 4, 3)
        .with_stride(2)
        .with_dilation(2)
        .with_groups(2)
        .with_padding(PaddingConfig1d::Explicit(1, 1));
    check_layer(
        "conv1d",
        config.init(&d),
        |m, x: Tensor<3>| m.forward(x),
        [2, 2, 9],
    );
    let config = Conv2dConfig::new([2, 3], [3, 2])
        .with_stride([2, 1])
        .with_padding(PaddingConfig2d::Explicit(1, 0, 1, 0));
    check_layer(
        "conv2d",
        config.init(&d),
        |m, x: Tensor<4>| m.forward(x),
        [2, 2, 5, 4],
    );
    let config = Conv2dConfig::new([4, 4], [3, 3])
        .with_groups(4)
        .with_dilation([1, 2]);
    check_layer(
        "depthwise",
        config.init(&d),
        |m, x: Tensor<4>| m.forward(x),
        [2, 4, 5, 6],
    );
    let config = Conv3dConfig::new([2, 2], [2, 2, 2])
        .with_stride([1, 2, 1])
        .with_padding(PaddingConfig3d::Explicit(1, 0, 0));
    check_layer(
        "conv3d",
        config.init(&d),
        |m, x: Tensor<5>| m.forward(x),
        [2, 2, 2, 4, 3],
    );
    let config = ConvTranspose1dConfig::new([4, 2], 3)
        .with_stride(2)
        .with_groups(2)
        .with_padding(1)
        .with_padding_out(1);
    check_layer(
        "transposed 1d",
        config.init(&d),
        |m, x: Tensor<3>| m.forward(x),
        [2, 4, 4],
    );
    let config = ConvTranspose2dConfig::new([2, 3], [2, 3]).with_dilation([2, 1]);
    check_layer(
        "transposed 2d",
        config.init(&d),
        |m, x: Tensor<4>| m.forward(x),
        [2, 2, 3, 2],
    );
    let config = ConvTranspose3dConfig::new([1, 2], [2, 2, 2]).with_stride([2, 1, 2]);
    check_layer(
        "transposed 3d",
        config.init(&d),
        |m, x: Tensor<5>| m.forward(x),
        [2, 1, 2, 2, 2],
    );
}

#[test]
fn bounds_of_the_box_may_differ_between_channels() {
    let layer = seeded(Conv2dConfig::new([2, 3], [2, 2]).init(&device()), 1);
    let x = input::<4>([2, 2, 3, 3], 2);
    let forward =
        |m: &burn::nn::conv::Conv2d, x: Tensor<4>| m.forward(x).flatten::<2>(1, 3).sum_dim(1);
    let model = Traced::new(&layer, forward, &x).unwrap();
    let of = |low: Tensor<4>| {
        let method = Lrp::new(epsilon_gamma_box(low, 1.5));
        let found = method.attribute(&model, &x, 0)?;
        Value::from(found.attribution().clone()).to_vec()
    };
    let same = of(Tensor::full([1, 2, 1, 1], -1.0, &device())).unwrap();
    let number = Lrp::new(epsilon_gamma_box(-1.0, 1.5))
        .attribute(&model, &x, 0)
        .unwrap();
    let number = Value::from(number.attribution().clone()).to_vec().unwrap();
    assert_close_slices("one number", &same, &number, 1e-6);
    let own = of(Tensor::from_floats([[[[-1.0]], [[-3.0]]]], &device())).unwrap();
    assert_ne!(own, same);
    let error = of(Tensor::full([1, 3, 1, 1], -1.0, &device())).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error}");
}

/// Returns the sum of the relevance in each row, and the scores.
fn sums(found: &attr_core::Attribution<Tensor<4>>) -> (Vec<f32>, Vec<f32>) {
    let rows = found.attribution().dims()[0];
    let sums = found
        .attribution()
        .clone()
        .reshape([rows as i32, -1])
        .sum_dim(1);
    (Value::from(sums).to_vec().unwrap(), found.scores().to_vec())
}

#[test]
fn relevance_is_conserved_on_a_resnet() {
    let model = seeded(ResNet18::new(10, &device()), 3);
    let x = input([2, 3, 32, 32], 4);
    let model = Traced::new(&model, |m: &ResNet18, x| m.forward(x), &x).unwrap();
    let conserving: [Preset; 5] = [
        epsilon_plus().without_bias(),
        epsilon_plus_flat().without_bias(),
        epsilon_alpha2_beta1().without_bias(),
        epsilon_alpha2_beta1_flat().without_bias(),
        epsilon_gamma_box(-1.0, 1.0).without_bias(),
    ];
    for composite in conserving {
        let name = composite.name();
        // Residual sums of either sign amplify relevance where alpha is 2.
        let amplified = name.contains("alpha2") || name.contains("gamma");
        let found = Lrp::new(composite).attribute(&model, &x, 0).unwrap();
        let (sums, scores) = sums(&found);
        let bound = if amplified { 0.05 } else { 1e-3 };
        for (sum, score) in sums.iter().zip(&scores) {
            let off = (sum - score).abs() / score.abs();
            assert!(off < bound, "{name}: {sum} of {score} arrives");
        }
    }
}

/// Returns the relevance of an MLP with three outputs by a method.
fn relevance(lrp: &Lrp<Preset>, target: Target) -> (Traced, Tensor<2>, Vec<f32>) {
    let case = Case::load("mlp");
    let module = fill(Mlp::new(&device()), &case.parameters);
    let x = case.inputs().values()[0].tensor::<2>().unwrap();
    let model = Traced::new(&module, |m: &Mlp, x| m.forward(x), &x).unwrap();
    let found = lrp.attribute(&model, &x, target).unwrap();
    let values = Value::from(found.attribution()).to_vec().unwrap();
    (model, x, values)
}

#[test]
fn relevance_may_start_otherwise() {
    // The score of one class minus half of it at each of the two others.
    let contrast = Lrp::new(epsilon()).contrastive();
    let (model, x, got) = relevance(&contrast, 1.into());
    let lrp = Lrp::new(epsilon());
    let scores: Vec<f32> = model.forward(&x).unwrap().to_vec().unwrap();
    // By linearity: relevance per unit of each output, times what is there.
    let each: Vec<Vec<f32>> = (0..3)
        .map(|class| relevance(&lrp, class.into()).2)
        .collect();
    let size = x.dims()[1];
    let expected: Vec<f32> = (0..got.len())
        .map(|i| {
            let row = &scores[i / size * 3..][..3];
            let unit = |class: usize| each[class][i] / row[class];
            row[1] * (unit(1) - unit(0) / 2.0 - unit(2) / 2.0)
        })
        .collect();
    assert_close_slices("contrastive", &got, &expected, 1e-4);

    // A given relevance, and the difference of two scores as a target.
    let doubled = Lrp::new(epsilon())
        .starting_with(|seed, output| seed.zip(output, |seed, output| seed * output * 2.0));
    let doubled = relevance(&doubled, 0.into()).2;
    let twice: Vec<f32> = each[0].iter().map(|v| 2.0 * v).collect();
    assert_close_slices("doubled", &doubled, &twice, 1e-5);
    let difference = Target::function(|output: Tensor<2>| {
        (output.clone().narrow(1, 2, 1) - output.narrow(1, 0, 1)).squeeze_dim::<1>(1)
    });
    let got = relevance(&lrp, difference).2;
    let expected: Vec<f32> = each[2].iter().zip(&each[0]).map(|(a, b)| a - b).collect();
    assert_close_slices("a difference of scores", &got, &expected, 1e-4);
}

#[test]
fn weights_have_the_relevance_that_flows_through_them() {
    let case = Case::load("cnn");
    let module = fill(Cnn::new(&device()), &case.parameters);
    let x = case.inputs().values()[0].tensor::<4>().unwrap();
    let model = Traced::new(&module, |m: &Cnn, x| m.forward(x), &x).unwrap();
    let presets = [
        epsilon(),
        epsilon_plus(),
        epsilon_plus_flat(),
        epsilon_alpha2_beta1(),
        epsilon_gamma_box(-3.0, 3.0),
        w_square(),
    ];
    for preset in presets {
        let name = preset.name();
        let lrp = Lrp::new(preset);
        let weights = lrp.weights(&model, &x, 1).unwrap();
        let paths: Vec<&str> = weights.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            ["fc.weight", "conv2.weight", "conv1.weight"],
            "{name}"
        );
        // What flows through a layer's weight is what the layer passes on.
        let ledgers = lrp.ledgers(&model, &x, 1).unwrap();
        for (path, share) in &weights {
            let layer = path.strip_suffix(".weight").unwrap();
            let entries = ledgers.iter().flat_map(|ledger| &ledger.entries);
            let passed: f64 = entries
                .filter(|entry| entry.layer == layer)
                .map(|entry| entry.passed)
                .sum();
            let sum: f64 = doubles(share).iter().sum();
            let off = (sum - passed).abs();
            assert!(
                off < 1e-3 * passed.abs().max(0.1),
                "{name}, {path}: {sum} of {passed}"
            );
        }
    }
    // One weight by hand: R_ij = x_i w_ij R_j / z_j.
    let layer: Linear = seeded(LinearConfig::new(2, 3).with_bias(false).init(&device()), 4);
    let x = input::<2>([1, 2], 5);
    let model = Traced::new(&layer, |m: &Linear, x| m.forward(x), &x).unwrap();
    let found = Lrp::new(epsilon())
        .weights(&model, &x, 2)
        .unwrap()
        .remove(0)
        .1;
    let weight = layer.weight.val();
    let column = x.transpose() * weight.clone().narrow(1, 2, 1);
    let zeros = Tensor::<2>::zeros([2, 2], &device());
    let expected = Value::from(Tensor::cat(vec![zeros, column], 1));
    let (got, expected) = (found.to_vec().unwrap(), expected.to_vec().unwrap());
    assert_close_slices("one layer", &got, &expected, 1e-4);
}

#[test]
fn explaining_leaves_the_model_as_it_was() {
    let net = seeded(ResNet18::new(10, &device()), 3);
    let x = input([2, 3, 32, 32], 4);
    let model = Traced::new(&net, |m: &ResNet18, x| m.forward(x), &x).unwrap();
    let outputs = || {
        let traced = model.forward(&x).unwrap().to_vec().unwrap();
        let own = Value::from(net.valid().forward(x.clone()))
            .to_vec()
            .unwrap();
        (traced, own)
    };
    let before = outputs();
    let lrp = Lrp::new(epsilon_gamma_box(-1.0, 1.0));
    lrp.attribute(&model, &x, 0).unwrap();
    assert_eq!(outputs(), before);
}

#[test]
fn similarity_is_explained_by_pairs_of_features() {
    let layer: Linear = LinearConfig::new(4, 3).with_bias(false).init(&device());
    let layer = seeded(layer, 2);
    let x = input::<2>([2, 4], 3);
    let forward = |m: &Linear, x: Tensor<2>| activation::relu(m.forward(x));
    let model = Traced::new(&layer, forward, &x).unwrap();
    let (a, b) = (x.clone().narrow(0, 0, 1), x.narrow(0, 1, 1));
    let pairs = bilrp(&Lrp::new(epsilon()), &model, &a.to_values(), &b.to_values()).unwrap();
    assert_eq!(pairs.dims(), [4, 4]);
    let (za, zb) = (forward(&layer, a.clone()), forward(&layer, b));
    let similarity: f32 = (za * zb).sum().into_scalar();
    let sum: f32 = pairs.sum().into_scalar();
    assert!((sum - similarity).abs() < 1e-4, "{sum} of {similarity}");
    let two = Tensor::cat(vec![a.clone(), a.clone()], 0).to_values();
    let refused = bilrp(&Lrp::new(epsilon()), &model, &two, &a.to_values());
    assert!(matches!(refused, Err(Error::Shape { .. })));
}

#[test]
fn composites_choose_rules_in_execution_order() {
    let model = seeded(ResNet18::new(10, &device()), 3);
    let x = input([1, 3, 32, 32], 4);
    let model = Traced::new(&model, |m: &ResNet18, x| m.forward(x), &x).unwrap();
    let model = model.fold_batch_norm();
    let plan = model.plan(&epsilon_plus_flat(), &x).unwrap();
    let rules = plan.nodes().map(|(_, rule)| rule.map(Rule::name));
    let rules: Vec<Option<String>> = rules.collect();
    let of = |name: &str| {
        rules
            .iter()
            .filter(|rule| rule.as_deref() == Some(name))
            .count()
    };
    assert_eq!(
        (of("Flat"), of("ZPlus"), of("Epsilon")),
        (1, 19, 1),
        "{plan}"
    );
    assert_eq!((of("Norm"), of("Pass")), (9, 17), "{plan}");
    assert_eq!(
        rules[0].as_deref(),
        Some("Flat"),
        "the first layer that runs"
    );
    let printed = plan.to_string();
    assert!(printed.contains("epsilon_plus_flat"), "{printed}");
}

/// Registered in the reverse of the order in which they run; a BatchNorm behind, a scale between.
#[derive(Module, Debug)]
struct Backwards {
    last: Linear,
    norm: BatchNorm,
    first: Linear,
}

#[test]
fn registration_order_scales_and_reuse_do_not_matter() {
    let d = device();
    let net = Backwards {
        last: LinearConfig::new(6, 2).with_bias(false).init(&d),
        norm: BatchNormConfig::new(6).init(&d),
        first: LinearConfig::new(6, 6).with_bias(false).init(&d),
    };
    let net = seeded(net, 5);
    let x: Tensor<2> = input([3, 6], 6);
    let forward = |m: &Backwards, x: Tensor<2>| {
        // The first layer runs twice; the residual sum is made by hand.
        let h = activation::relu(m.norm.forward(m.first.forward(x)));
        let again = activation::relu(m.first.forward(h.clone()) * 0.5);
        m.last.forward(h + again)
    };
    let model = Traced::new(&net, forward, &x).unwrap();
    let folded = model.fold_batch_norm();
    let plan = folded.plan(&epsilon_plus_flat(), &x).unwrap();
    let flat: Vec<&str> = plan
        .nodes()
        .filter(|(_, rule)| rule.is_some_and(|rule| rule.name() == "Flat"))
        .map(|(node, _)| node.name())
        .collect();
    assert_eq!(flat.len(), 1, "{plan}");
    let method = Lrp::new(epsilon_plus_flat().without_bias());
    let found = method.attribute(&model, &x, 1).unwrap();
    let rows = Value::from(found.attribution().clone().sum_dim(1))
        .to_vec()
        .unwrap();
    assert_close_slices("conserved", &rows, found.scores(), 1e-3);
}

#[test]
fn gates_and_several_inputs_conserve_relevance() {
    // Squeeze and excitation: the gate gets nothing.
    let x = input::<4>([2, 3, 4, 4], 8);
    let layer = seeded(
        Conv2dConfig::new([3, 3], [1, 1])
            .with_bias(false)
            .init(&device()),
        9,
    );
    let forward = |m: &burn::nn::conv::Conv2d, x: Tensor<4>| {
        let gate = activation::sigmoid(m.forward(x.clone()).mean_dim(3).mean_dim(2));
        (m.forward(x) * gate).flatten::<2>(1, 3).sum_dim(1)
    };
    let model = Traced::new(&layer, forward, &x).unwrap();
    let plan = model.plan(&epsilon_plus(), &x).unwrap();
    assert!(
        plan.nodes()
            .any(|(_, rule)| rule.is_some_and(|r| r.name() == "SignalTakesAll"))
    );
    // The z⁺ rule loses what arrives where nothing contributes positively; LRP-ε does not.
    let epsilon = ByKind::new().with(LayerKind::Convolution, Arc::new(Epsilon::default()));
    let composite = Mixed::new(vec![Arc::new(epsilon), Arc::new(epsilon_plus())]);
    let found = Lrp::new(composite).attribute(&model, &x, 0).unwrap();
    let (sums, scores) = sums(&found);
    assert_close_slices("gated", &sums, &scores, 1e-3);

    // The second input only gates the first.
    let net = seeded(TwoInputs::new(&device()), 2);
    let x = (input([2, 3], 3), input([2, 5], 4));
    let forward = |m: &TwoInputs, (left, right): (Tensor<2>, Tensor<2>)| m.forward(left, right);
    let model = Traced::new(&net, forward, &x).unwrap();
    let method = Lrp::new(epsilon_plus().without_bias());
    let found = method.attribute(&model, &x, 0).unwrap();
    let values: Vec<Vec<f32>> = found
        .values()
        .iter()
        .map(|value| value.as_ref().unwrap().to_vec().unwrap())
        .collect();
    assert!(values[1].iter().all(|&v| v == 0.0), "{values:?}");
    for (row, score) in values[0].chunks(3).zip(found.scores()) {
        let sum: f32 = row.iter().sum();
        assert!(
            (sum - score).abs() < 1e-3 * score.abs().max(0.1),
            "{sum} of {score}"
        );
    }
}

#[test]
fn layers_without_a_rule_are_named() {
    let x = input::<2>([2, 4], 1);
    let layer: Linear = seeded(LinearConfig::new(4, 3).init(&device()), 2);
    let forward = |m: &Linear, x: Tensor<2>| activation::softmax(m.forward(x), 1);
    let model = Traced::new(&layer, forward, &x).unwrap();
    let error = Lrp::new(epsilon_plus())
        .attribute(&model, &x, 0)
        .unwrap_err();
    match &error {
        Error::Rule { layer, reason, .. } => {
            assert!(
                layer.contains("softmax") && reason.contains("model.logits()"),
                "{error}"
            );
        }
        other => panic!("{other}"),
    }
    assert!(
        Lrp::new(epsilon_plus())
            .attribute(&model.logits(), &x, 0)
            .is_ok()
    );
    // A rule of one's own for it.
    let names = ByName::new().with("softmax", Arc::new(Pass));
    let of_softmax = |node: &NodeInfo<'_>| -> Result<Option<Arc<dyn Rule>>, Error> {
        let softmax = node.name().contains("softmax");
        Ok(softmax.then(|| Arc::new(Pass) as Arc<dyn Rule>))
    };
    let mixed = Mixed::new(vec![
        Arc::new(names),
        Arc::new(of_softmax),
        Arc::new(epsilon_plus()),
    ]);
    assert!(Lrp::new(mixed).attribute(&model, &x, 0).is_ok());
    // A rule that does not fit its layer.
    let relu = |m: &Linear, x: Tensor<2>| activation::relu(m.forward(x));
    let model = Traced::new(&layer, relu, &x).unwrap();
    for rule in [
        Arc::new(ZPlus::new()) as Arc<dyn Rule>,
        Arc::new(SignalTakesAll::new(1)),
    ] {
        let kinds = ByKind::new().with(LayerKind::Activation, rule);
        let error = Lrp::new(kinds).attribute(&model, &x, 0).unwrap_err();
        assert!(matches!(error, Error::Rule { .. }), "{error}");
    }
    for (alpha, beta) in [(2.0, 0.5), (0.5, -0.5), (f64::NAN, 1.0)] {
        assert!(matches!(
            AlphaBeta::new(alpha, beta),
            Err(Error::Parameter { .. })
        ));
    }
    assert!(AlphaBeta::new(1.5, 0.5).is_ok());
    let closure = |x: Tensor<2>| x;
    let error = Lrp::new(epsilon_plus())
        .attribute(&closure, &x, 0)
        .unwrap_err();
    assert_eq!(error, Error::NotTraced);
}

/// zennit 0.5.1's results for every composite; `tools/golden/relevance.py` writes them.
#[test]
fn composites_give_zennits_relevance() {
    fn check<M: Module + Sync + 'static, const D: usize>(
        name: &str,
        module: M,
        forward: fn(&M, Tensor<D>) -> Tensor<2>,
        expected: &HashMap<String, Vec<f32>>,
    ) {
        let case = Case::load(name);
        let module = fill(module, &case.parameters).valid();
        let x = case.inputs().values()[0].tensor::<D>().unwrap();
        let model = Traced::new(&module, forward, &x).unwrap();
        assert_eq!(expected.len(), 9, "{name}");
        for (composite, expected) in expected {
            let config = serde_json::json!({"composite": composite, "low": -3.0, "high": 3.0});
            let config: LrpConfig = serde_json::from_value(config).unwrap();
            let method = config.build().unwrap();
            let target = Target::Classes(case.targets.clone());
            let found = method.attribute(&model, &x, target).unwrap();
            let got = Value::from(found.attribution().clone()).to_vec().unwrap();
            assert_close_slices(&format!("{name}, {composite}"), &got, expected, 1e-4);
        }
    }
    let text = std::fs::read_to_string(path("lrp.json")).unwrap();
    let all: HashMap<String, HashMap<String, Vec<f32>>> = serde_json::from_str(&text).unwrap();
    let d = device();
    check(
        "mlp",
        Mlp::new(&d),
        |m, x: Tensor<2>| m.forward(x),
        &all["mlp"],
    );
    check(
        "cnn",
        Cnn::new(&d),
        |m, x: Tensor<4>| m.forward(x),
        &all["cnn"],
    );
    check(
        "conv1d",
        Conv1dNet::new(&d),
        |m, x: Tensor<3>| m.forward(x),
        &all["conv1d"],
    );
    let residual = Residual::new(&d);
    check(
        "residual",
        residual,
        |m, x: Tensor<4>| m.forward(x),
        &all["residual"],
    );
}
