//! Tests walks: rules, references, gates, chosen rows, kept values, and walks recorded as models.

use std::sync::Arc;

use attr_core::op::Op;
use attr_core::walk::{
    Around, Composite, Gradient, GradientEverywhere, Keep, NodeInfo, NodeView, Pass, Role, Rule,
    Shares, Walk,
};
use attr_core::{Error, Inputs, Target, Traced, Value};
use attr_gradient::{DeepLiftConfig, DeepLiftRule};
use attr_lrp_crp::{
    attnlrp, cp_lrp, deep_taylor_bounded, epsilon, epsilon_alpha2_beta1, epsilon_gamma_box,
    epsilon_plus_flat, w_square,
};
use attr_testkit::compare::assert_close;
use attr_testkit::device;
use attr_testkit::models::{FunctionalRelu, ResNet18, SmallCnn, Vit, input, seeded};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::MaxPool2dConfig;
use burn::tensor::{Tensor, TensorData, activation};

/// Passes everything on, as LRP does at activations.
struct PassThrough;

impl Rule for PassThrough {
    fn backward(&self, _: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error> {
        Ok(arriving.into())
    }
}

/// The derivative of the layer with its weight squared: the building block of LRP's rules.
struct Squared;

impl Rule for Squared {
    fn backward(&self, node: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error> {
        assert_eq!(node.role(0), Role::Input);
        assert_eq!(node.role(1), Role::Parameter("second.weight"));
        assert!(node.reference().is_none());
        let mut operands = node.operands().to_vec();
        operands[1] = operands[1].map(|weight| weight.powi_scalar(2))?;
        Ok(node.pull_back(&operands, arriving, node.wanted())?.into())
    }
}

fn traced() -> (FunctionalRelu, Tensor<2>, Traced) {
    let model = seeded(FunctionalRelu::new(&device()), 1);
    let x = input([3, 4], 2);
    let traced = Traced::new(&model, |m: &FunctionalRelu, x| m.forward(x), &x).unwrap();
    (model, x, traced)
}

fn seed(pass: &Pass, class: usize) -> Value {
    let output = pass.output().unwrap();
    Target::Class(class)
        .choose(&output, &pass.inputs())
        .unwrap()
        .seed
}

#[test]
fn a_rule_by_kind_and_a_rule_by_name() {
    let (model, x, traced) = traced();
    let rules = |node: &NodeInfo<'_>| -> Result<Option<Arc<dyn Rule>>, Error> {
        Ok(match node.op() {
            Op::Relu => Some(Arc::new(PassThrough)),
            _ if node.name() == "second" => Some(Arc::new(Squared)),
            _ => None,
        })
    };
    let plan = traced
        .plan(&rules, &x)
        .unwrap()
        .recording(&["hidden"])
        .unwrap();
    let table = plan.to_string();
    for expected in ["custom", "second", "Squared", "PassThrough", "gradient"] {
        assert!(table.contains(expected), "{expected} in {table}");
    }
    let pass = traced.pass(&x, &plan).unwrap();
    let seed = seed(&pass, 1);
    let walk = Walk::from_output(seed.clone()).keep(Keep::Layers(&["hidden"]));
    let walked = pass.walk(walk).unwrap();

    // By hand: seed @ (W2 ⊙ W2)ᵀ at the hidden layer, then past the ReLU through W1ᵀ.
    let parameters = parameters(&model);
    let hidden = seed.matrix().unwrap();
    let hidden = hidden.matmul(parameters[1].clone().powi_scalar(2).transpose());
    let expected = hidden.clone().matmul(parameters[0].clone().transpose());
    let found = |value: &Option<Value>| value.clone().unwrap();
    assert_close(
        "at the hidden layer",
        &found(&walked.layers[0]),
        &hidden.into(),
        1e-6,
    );
    assert_close(
        "at the input",
        &found(&walked.inputs[0]),
        &expected.into(),
        1e-6,
    );
}

/// DeepLIFT's rescale rule: what arrives, times the ratio of differences from the reference.
struct Rescale;

impl Rule for Rescale {
    fn backward(&self, node: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error> {
        let (before, after) = node.reference().expect("a reference was given");
        let change_in = node.operands()[0].matrix()? - before[0].matrix()?;
        let change_out = node.outputs()[0].matrix()? - after[0].matrix()?;
        let arriving = arriving[0].as_ref().expect("something arrives").matrix()?;
        Ok(vec![Some((arriving * change_out / change_in).into())].into())
    }
}

#[test]
fn a_rule_sees_a_reference_pass() {
    let (model, x, traced) = traced();
    let reference = input([3, 4], 3);
    let rules = |node: &NodeInfo<'_>| -> Result<Option<Arc<dyn Rule>>, Error> {
        Ok(matches!(node.op(), Op::Relu).then(|| Arc::new(Rescale) as Arc<dyn Rule>))
    };
    let plan = traced.plan(&rules, &x).unwrap();
    let pass = traced.pass_with_reference(&x, &reference, &plan).unwrap();
    let walked = pass.walk(Walk::from_output(seed(&pass, 2))).unwrap();
    let multipliers = walked.inputs[0].as_ref().unwrap().matrix().unwrap();
    // Completeness holds exactly for the rescale rule, without any steps.
    let sums: Value = ((x.clone() - reference.clone()) * multipliers)
        .sum_dim(1)
        .into();
    let at = |x: &Tensor<2>| model.forward(x.clone()).narrow(1, 2, 1);
    assert_close(
        "completeness",
        &sums,
        &(at(&x) - at(&reference)).into(),
        1e-5,
    );

    let refused = traced.pass_with_reference(&x, &input([2, 4], 3), &plan);
    assert!(matches!(refused, Err(Error::Shape { .. })));
}

#[test]
fn a_gate_masks_what_arrives_in_each_row() {
    let (model, x, traced) = traced();
    let plan = traced.plan(&GradientEverywhere, &x).unwrap();
    let plan = plan.recording(&["hidden"]).unwrap();
    let pass = traced.pass(&x, &plan).unwrap();
    let mask = |unit: usize| {
        let mut mask = [0f32; 6];
        mask[unit] = 1.0;
        Tensor::<1>::from_floats(mask, &device()).reshape([1, 6])
    };
    let masks: Value = Tensor::cat(vec![mask(1), mask(4), mask(0)], 0).into();
    let walk = Walk::from_output(seed(&pass, 0))
        .gate("hidden", masks.clone(), Around::Keep)
        .keep(Keep::Layers(&["hidden"]));
    let walked = pass.walk(walk).unwrap();
    // What arrives at the layer is reported as it arrives; what goes on is masked.
    let arriving = walked.layers[0].as_ref().unwrap().matrix().unwrap();
    let active = pass
        .activation("hidden")
        .unwrap()
        .matrix()
        .unwrap()
        .greater_elem(0.0)
        .float();
    let on = arriving * masks.matrix().unwrap() * active;
    let expected: Value = on.matmul(parameters(&model)[0].clone().transpose()).into();
    assert_close(
        "masked",
        walked.inputs[0].as_ref().unwrap(),
        &expected,
        1e-6,
    );
    let narrow: Value = mask(1).narrow(1, 0, 5).into();
    let refused = pass.walk(Walk::from_output(seed(&pass, 0)).gate("hidden", narrow, Around::Keep));
    assert!(matches!(refused, Err(Error::Shape { .. })));
}

#[test]
fn nothing_leaks_around_a_gate_that_nothing_reaches() {
    // The only way through the layer is an index, through which nothing flows.
    let forward = |_: &burn::nn::Relu, x: Tensor<2>| {
        let layer = attr_core::tap("layer", x.clone().tanh());
        x.powi_scalar(2).sum_dim(1) + layer.argmax(1).float()
    };
    let x = input([2, 4], 1);
    let traced = Traced::new(&burn::nn::Relu::new(), forward, &x).unwrap();
    let plan = traced.plan(&GradientEverywhere, &x).unwrap();
    let pass = traced.pass(&x, &plan).unwrap();
    let ones = || Value::from(Tensor::<2>::ones([2, 1], &device()));
    let mask = || Value::from(Tensor::<2>::ones([1, 4], &device()));
    let all = pass.walk(Walk::from_output(ones())).unwrap();
    assert!(all.inputs[0].is_some());
    let kept = Walk::from_output(ones()).gate("layer", mask(), Around::Keep);
    assert!(pass.walk(kept).unwrap().inputs[0].is_some());
    let dropped = Walk::from_output(ones()).gate("layer", mask(), Around::Drop);
    assert!(pass.walk(dropped).unwrap().inputs[0].is_none());
}

#[test]
fn walks_stand_on_chosen_rows_and_start_at_layers() {
    let model = seeded(ResNet18::new(10, &device()), 3);
    let x = input([2, 3, 32, 32], 4);
    let traced = Traced::new(&model, |m: &ResNet18, x| m.forward(x), &x).unwrap();
    let plan = traced.plan(&GradientEverywhere, &x).unwrap();
    let plan = plan
        .recording(&["layer3.1.bn2.relu", "layer2.1.bn2.relu"])
        .unwrap();
    let pass = traced.pass(&x, &plan).unwrap();
    let shape = pass.shape("layer3.1.bn2.relu").unwrap();
    let rows = [1, 0, 1, 1];
    let at_layer = input([4, shape[1], shape[2], shape[3]], 5);
    let walk = Walk::from_layer("layer3.1.bn2.relu", at_layer.clone().into())
        .on_rows(&rows)
        .keep(Keep::Layers(&["layer2.1.bn2.relu"]));
    let walked = pass.walk(walk).unwrap();
    assert_eq!(pass.work().forward_rows, 2);
    assert_eq!(pass.work().backward_rows, 4);

    // The same one by one, each on a pass of its own.
    let mut single = Vec::new();
    for (i, &row) in rows.iter().enumerate() {
        let one = x.clone().narrow(0, row, 1);
        let pass = traced.pass(&one, &plan).unwrap();
        let seed = at_layer.clone().narrow(0, i, 1);
        let walked = pass
            .walk(Walk::from_layer("layer3.1.bn2.relu", seed.into()))
            .unwrap();
        single.push(walked.inputs[0].clone().unwrap());
    }
    let expected = Value::cat_rows(single).unwrap();
    assert_close("rows", walked.inputs[0].as_ref().unwrap(), &expected, 1e-4);
    assert_eq!(walked.layers[0].as_ref().unwrap().rows(), 4);

    let beyond = Walk::from_layer("layer3.1.bn2.relu", at_layer.into()).on_rows(&[0, 1, 2, 0]);
    assert!(matches!(
        pass.walk(beyond),
        Err(Error::Rows { row: 2, rows: 2 })
    ));
    let late = Walk::from_layer("layer2.1.bn2.relu", input([2, 128, 4, 4], 1).into());
    let mask = Value::from(Tensor::<4>::ones([1, shape[1], 1, 1], &device()));
    let refused = pass.walk(late.gate("layer3.1.bn2.relu", mask, Around::Drop));
    assert!(
        matches!(refused, Err(Error::Layer { .. })),
        "a gate behind the start"
    );
}

/// Many conditions on one image, as in concept relevance propagation, in several groups of rows.
#[test]
fn sixty_four_channels_of_a_layer_are_one_walk() {
    let model = seeded(ResNet18::new(10, &device()), 3);
    let x = input([1, 3, 64, 64], 4);
    let traced = Traced::new(&model, |m: &ResNet18, x| m.forward(x), &x).unwrap();
    let plan = traced.plan(&GradientEverywhere, &x).unwrap();
    let layer = "layer2.0.conv2";
    let plan = plan.recording(&[layer, "layer1.1.bn2.relu"]).unwrap();
    let pass = traced.pass(&x, &plan).unwrap();
    let arriving = pass.walk(Walk::from_output(seed(&pass, 3)).keep(Keep::Layers(&[layer])));
    let arriving = arriving.unwrap().layers[0].clone().unwrap();
    let before = pass.work();

    let channels = arriving.shape()[1];
    let mut masks = vec![0f32; 64 * channels];
    (0..64).for_each(|row| masks[row * channels + row] = 1.0);
    let masks = Tensor::<4>::from_data(TensorData::new(masks, [64, channels, 1, 1]), &device());
    let rows = [0; 64];
    let walk = Walk::from_layer(layer, arriving.select_rows(&rows))
        .on_rows(&rows)
        .gate(layer, Value::from(masks.clone()), Around::Drop)
        .keep(Keep::Layers(&["layer1.1.bn2.relu"]));
    let walked = pass.walk(walk).unwrap();
    let maps = walked.inputs[0].clone().unwrap();
    let earlier = walked.layers[0].clone().unwrap();
    assert_eq!(maps.shape(), [64, 3, 64, 64]);
    let work = pass.work();
    assert_eq!((work.forward_rows, work.passes), (1, 1));
    assert_eq!(work.backward_rows - before.backward_rows, 64);
    for channel in [0, 17, 63] {
        let mask = masks.clone().narrow(0, channel, 1);
        let walk = Walk::from_output(seed(&pass, 3)).gate(layer, Value::from(mask), Around::Drop);
        let alone = pass
            .walk(walk.keep(Keep::Layers(&["layer1.1.bn2.relu"])))
            .unwrap();
        for (all, alone) in [(&maps, &alone.inputs[0]), (&earlier, &alone.layers[0])] {
            let row = all.slice_rows(channel..channel + 1);
            let what = format!("channel {channel}");
            assert_close(&what, &row, alone.as_ref().unwrap(), 1e-4);
        }
    }
}

#[test]
fn a_walk_keeps_or_shows_every_node() {
    let (_, x, traced) = traced();
    let plan = traced.plan(&GradientEverywhere, &x).unwrap();
    let pass = traced.pass(&x, &plan).unwrap();
    let kept = pass
        .walk(Walk::from_output(seed(&pass, 0)).keep(Keep::All))
        .unwrap()
        .nodes;
    let names: Vec<&str> = kept.iter().map(|(name, _)| &name[..]).collect();
    assert_eq!(names, ["second", "hidden", "first"]);
    let mut seen = Vec::new();
    let mut visit = |info: &NodeInfo<'_>, value: &Value| -> Result<(), Error> {
        seen.push((info.name().to_string(), value.to_vec()?));
        Ok(())
    };
    let walk = Walk::from_output(seed(&pass, 0)).keep(Keep::Visit(&mut visit));
    pass.walk(walk).unwrap();
    let kept: Vec<(String, Vec<f32>)> = kept
        .into_iter()
        .map(|(name, value)| (name, value.to_vec().unwrap()))
        .collect();
    assert_eq!(seen, kept);
}

#[test]
fn a_rule_that_does_not_fit_is_an_error() {
    /// Returns shares that fit no operand's shape, or runs on operands that do not fit.
    struct Wrong(bool);

    impl Rule for Wrong {
        fn backward(
            &self,
            node: &NodeView<'_>,
            arriving: Vec<Option<Value>>,
        ) -> Result<Shares, Error> {
            if self.0 {
                let mut operands = node.operands().to_vec();
                operands[1] = operands[1].matrix()?.narrow(0, 0, 1).into();
                let shares = node.pull_back(&operands, arriving, &[true, false, false])?;
                return Ok(shares.into());
            }
            Ok(vec![arriving[0].clone(), None, None].into())
        }
    }

    let model = seeded(SmallCnn::new(&device()), 1);
    let x = input([2, 1, 6, 6], 2);
    let traced = Traced::new(&model, |m: &SmallCnn, x| m.forward(x), &x).unwrap();
    for rerun in [false, true] {
        let rules = move |node: &NodeInfo<'_>| -> Result<Option<Arc<dyn Rule>>, Error> {
            let conv = matches!(node.op(), Op::Conv(_));
            Ok(conv.then(|| Arc::new(Wrong(rerun)) as Arc<dyn Rule>))
        };
        let plan = traced.plan(&rules, &x).unwrap();
        let pass = traced.pass(&x, &plan).unwrap();
        let wrong = pass.walk(Walk::from_output(seed(&pass, 0))).map(|_| ());
        let expected = matches!(
            wrong,
            Err(Error::Rule { .. } | Error::LayerPanicked { .. } | Error::Device(_))
        );
        assert!(expected, "{wrong:?}");
    }
    let other = traced.plan(&GradientEverywhere, &x).unwrap();
    let refused = traced.pass(&input([2, 1, 8, 8], 2), &other).map(|_| ());
    assert!(matches!(refused, Err(Error::Shape { .. })), "another graph");
}

/// The walk from the first class, recorded and replayed, and walked directly.
fn recorded_equals_direct<const D: usize>(
    name: &str,
    traced: &Traced,
    composite: &dyn Composite,
    (x, reference): (&Tensor<D>, Option<&Tensor<D>>),
) {
    let explain = |pass: &Pass| {
        let output = pass.output()?;
        let seed = output.map(|output| {
            let [rows, classes] = output.dims();
            let first = Tensor::<2>::ones([rows, 1], &output.device());
            let rest = Tensor::<2>::zeros([rows, classes - 1], &output.device());
            Tensor::cat(vec![first, rest], 1)
        })?;
        let walked = pass.walk(Walk::from_output(seed))?;
        walked.inputs[0]
            .clone()
            .ok_or(Error::NoGradient { input: 0 })
    };
    let plan = traced.plan(composite, x).unwrap();
    let values = reference.map(|reference| reference.to_values());
    let recorded = plan.record(&x.to_values(), values.as_ref(), explain);
    let recorded = recorded.unwrap_or_else(|error| panic!("{name}: {error}"));
    // A batch other than the example's: the explanation is a model like any other.
    for rows in [x.dims()[0], 1] {
        let x = x.clone().narrow(0, 0, rows);
        let (direct, replayed) = match reference {
            Some(reference) => {
                let reference = reference.clone().narrow(0, 0, rows);
                let pass = traced.pass_with_reference(&x, &reference, &plan).unwrap();
                (
                    explain(&pass).unwrap(),
                    recorded.forward(&(x, reference)).unwrap(),
                )
            }
            None => {
                let pass = traced.pass(&x, &plan).unwrap();
                (explain(&pass).unwrap(), recorded.forward(&x).unwrap())
            }
        };
        assert_close(&format!("{name}, {rows} rows"), &replayed, &direct, 1e-4);
    }
}

#[test]
fn relevance_is_recorded_and_replayed() {
    let d = &device();
    let conv = seeded(Conv2dConfig::new([2, 3], [3, 2]).init(d), 1);
    let image = input([3, 2, 6, 5], 2);
    let forward = |m: &Conv2d, x: Tensor<4>| {
        let hidden = activation::relu(m.forward(x));
        let gate = activation::sigmoid(hidden.clone().mean_dim(2).mean_dim(3));
        let pool = MaxPool2dConfig::new([2, 2]).init();
        pool.forward(hidden * gate).flatten::<2>(1, 3)
    };
    let traced = Traced::new(&conv, forward, &image).unwrap();
    let presets = [
        epsilon(),
        epsilon_plus_flat(),
        epsilon_alpha2_beta1(),
        epsilon_gamma_box(-1.0, 1.0),
        w_square(),
        deep_taylor_bounded(-1.0, 1.0),
    ];
    for preset in presets {
        recorded_equals_direct(&preset.name(), &traced, &preset, (&image, None));
    }
    let vit = seeded(Vit::new(d), 1);
    let image = input([3, 1, 8, 8], 2);
    let traced = Traced::new(&vit, |m: &Vit, x| m.forward(x), &image).unwrap();
    let traced = traced.expand_attention();
    for composite in [attnlrp(), cp_lrp(), attnlrp().with_gamma(0.25)] {
        recorded_equals_direct(&composite.name(), &traced, &composite, (&image, None));
    }
}

#[test]
fn walks_are_recorded_and_replayed() {
    let d = &device();
    let conv = Conv2dConfig::new([2, 3], [3, 2])
        .with_stride([2, 1])
        .init(d);
    let conv = seeded(conv, 1);
    let (x, b) = (input([3, 2, 6, 5], 2), input([3, 2, 6, 5], 3));
    let forward = |m: &Conv2d, x: Tensor<4>| {
        let hidden = activation::relu(m.forward(x));
        activation::softmax(hidden.flatten::<2>(1, 3), 1)
    };
    let traced = Traced::new(&conv, forward, &x).unwrap();
    recorded_equals_direct("gradient", &traced, &GradientEverywhere, (&x, None));
    let rescale = DeepLiftConfig::default();
    recorded_equals_direct("rescale", &traced, &rescale, (&x, Some(&b)));
    let reveal = DeepLiftConfig {
        rule: DeepLiftRule::RevealCancel,
        ..DeepLiftConfig::default()
    };
    recorded_equals_direct("RevealCancel", &traced, &reveal, (&x, Some(&b)));
    let (_, x, traced) = self::traced();
    recorded_equals_direct("perceptron", &traced, &GradientEverywhere, (&x, None));

    // Every other rule of DeepLIFT that does not refine itself, one node each.
    type Forward = fn(&burn::nn::Relu, Tensor<2>) -> Tensor<2>;
    let forwards: [(&str, Forward); 14] = [
        ("relu", |_, x| activation::relu(x)),
        ("leaky relu", |_, x| activation::leaky_relu(x, 0.1)),
        ("clamp", |_, x| x.clamp(-0.5, 0.5)),
        ("tanh", |_, x| x.tanh()),
        ("gelu", |_, x| activation::gelu(x)),
        ("product", |_, x| x.clone() * x.exp()),
        ("quotient", |_, x| x.clone() / (x.powi_scalar(2) + 1.0)),
        ("softmax", |_, x| activation::softmax(x, 1)),
        ("log-softmax", |_, x| activation::log_softmax(x, 1)),
        ("maximum", |_, x| x.clone().max_dim(1) + x),
        ("minimum", |_, x| x.clone().min_dim(1) + x),
        ("sum", |_, x| x.clone().sum_dim(1) + x),
        ("matrix product", |_, x| {
            let [rows, columns] = x.dims();
            let column: Tensor<3> = x.clone().reshape([rows, columns, 1]);
            let row: Tensor<3> = x.reshape([rows, 1, columns]);
            column.matmul(row).sum_dim(2).reshape([rows, columns])
        }),
        ("mask", |_, x| {
            let mask = x.clone().greater_elem(0.0);
            x.clone().powi_scalar(2).mask_where(mask, x)
        }),
    ];
    let (x, b) = (input([3, 4], 2), input([3, 4], 3));
    for (name, forward) in forwards {
        let traced = Traced::new(&burn::nn::Relu::new(), forward, &x).unwrap();
        recorded_equals_direct(name, &traced, &rescale, (&x, Some(&b)));
    }
    let pooled = |m: &Conv2d, x: Tensor<4>| {
        let hidden = activation::relu(m.forward(x));
        let pool = MaxPool2dConfig::new([2, 2]).with_strides([1, 1]).init();
        let pooled = pool.forward(hidden);
        pooled.flatten::<2>(1, 3)
    };
    let (image, black) = (input([3, 2, 6, 5], 2), input([3, 2, 6, 5], 3));
    let traced = Traced::new(&conv, pooled, &image).unwrap();
    recorded_equals_direct("max pooling", &traced, &rescale, (&image, Some(&black)));
    let norm = burn::nn::LayerNormConfig::new(4).init(d);
    let forward = |m: &burn::nn::LayerNorm, x: Tensor<2>| m.forward(x);
    let traced = Traced::new(&norm, forward, &x).unwrap();
    recorded_equals_direct("layer norm", &traced, &rescale, (&x, Some(&b)));

    let average = |_: &burn::nn::Relu, x: Tensor<2>| x.clone().prod_dim(1) + x;
    let traced = Traced::new(&burn::nn::Relu::new(), average, &x).unwrap();
    let plan = traced.plan(&rescale, &x).unwrap();
    let refused = plan.record(&x.to_values(), Some(&b.to_values()), |pass| pass.output());
    assert!(
        matches!(refused, Err(Error::Rule { .. })),
        "a rule that refines itself"
    );
}

/// Treats each group as one node, by its derivative.
struct GroupsAsOne;

impl Composite for GroupsAsOne {
    fn rule(&self, _: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        Ok(None)
    }

    fn group(&self, _: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        Ok(Some(Arc::new(Gradient)))
    }
}

#[test]
fn a_group_served_as_one_has_the_derivative_of_its_nodes() {
    type Forward = fn(&burn::nn::Relu, Tensor<2>) -> Tensor<2>;
    let forwards: [(&str, Forward); 4] = [
        ("SiLU", |_, x| activation::silu(x)),
        ("Mish", |_, x| activation::mish(x)),
        ("softsign", |_, x| x.clone() / (x.abs() + 1.0)),
        ("RMSNorm", |_, x| {
            let square = x.clone().powi_scalar(2).mean_dim(1);
            let scale = Tensor::from_floats([[1.0, 2.0, -1.0, 0.5]], &x.device());
            x / (square + 1e-5).sqrt() * scale
        }),
    ];
    let x = input([3, 4], 2);
    for (name, forward) in forwards {
        let traced = Traced::new(&burn::nn::Relu::new(), forward, &x).unwrap();
        assert_eq!(traced.groups().len(), 1, "{name}");
        let gradient = |composite: &dyn Composite| {
            let plan = traced.plan(composite, &x).unwrap();
            let pass = traced.pass(&x, &plan).unwrap();
            let walked = pass.walk(Walk::from_output(seed(&pass, 1))).unwrap();
            (plan.nodes().count(), walked.inputs[0].clone().unwrap())
        };
        let ((nodes, expected), (own, got)) =
            (gradient(&GradientEverywhere), gradient(&GroupsAsOne));
        assert!(own == 1 && own < nodes, "{name}: {own} of {nodes} nodes");
        assert_close(name, &got, &expected, 1e-5);
        recorded_equals_direct(name, &traced, &GroupsAsOne, (&x, None));
    }
}

/// The two weight matrices.
fn parameters(model: &FunctionalRelu) -> Vec<Tensor<2>> {
    use burn::module::{Module, ModuleVisitor, Param};
    struct Weights(Vec<Tensor<2>>);
    impl ModuleVisitor for Weights {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Ok(weight) = Value::from(param.val()).tensor::<2>() {
                self.0.push(weight);
            }
        }
    }
    let mut weights = Weights(Vec::new());
    model.visit(&mut weights);
    weights.0
}
