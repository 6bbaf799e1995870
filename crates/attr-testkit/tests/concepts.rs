//! Tests concept relevance propagation: zennit-crp's results, directions, rankings, graphs of
//! concepts, receptive fields, errors.

use std::collections::HashMap;

use attr_core::{Error, Target, Traced, Value};
use attr_lrp_crp::{
    Concepts, Condition, Crp, LrpConfig, Mixed, attnlrp, bounding_box, epsilon_plus,
    epsilon_plus_flat,
};
use attr_testkit::compare::assert_close_slices;
use attr_testkit::device;
use attr_testkit::golden::{fill, path};
use attr_testkit::models::{Cnn, ResNet18, Residual, input, seeded};
use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Tensor, TensorData};
use serde::Deserialize;

use crate::captum::Case;
use crate::ledger::attributed;
use crate::onnx::{folder, load};

/// zennit-crp 0.6.0's results; `tools/concepts/concepts.py` writes them.
#[derive(Deserialize)]
struct Golden {
    toy: Toy,
    cases: Vec<Conditional>,
}

#[derive(Deserialize)]
struct Toy {
    weights: HashMap<String, Vec<Vec<f32>>>,
    input: Vec<Vec<f32>>,
    tests: Vec<ToyTest>,
}

#[derive(Deserialize)]
struct ToyTest {
    conditions: Vec<HashMap<String, Vec<usize>>>,
    exclude_parallel: bool,
    relevance: Vec<Vec<f32>>,
    recorded: HashMap<String, Vec<Vec<f32>>>,
}

#[derive(Deserialize)]
struct Conditional {
    model: String,
    composite: String,
    what: String,
    conditions: Vec<HashMap<String, Vec<usize>>>,
    exclude_parallel: bool,
    start_layer: Option<String>,
    record: Vec<String>,
    relevance: Vec<f32>,
    recorded: HashMap<String, Recorded>,
    importance: HashMap<String, Vec<Vec<f32>>>,
}

#[derive(Deserialize)]
struct Recorded {
    values: Vec<f32>,
}

fn golden() -> Golden {
    let text = std::fs::read_to_string(path("crp.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Returns a condition in zennit-crp's form as one of ours; `name` gives our name of a layer.
fn condition(given: &HashMap<String, Vec<usize>>, name: &dyn Fn(&str) -> String) -> Condition {
    let layers = given.iter().filter(|(layer, _)| *layer != "y");
    layers.fold(Condition::none(), |condition, (layer, channels)| {
        condition.and(name(layer), channels.clone())
    })
}

fn elements(value: &Value) -> Vec<f32> {
    value.to_vec().unwrap()
}

#[derive(Module, Debug)]
struct Parallel {
    layer1: Linear,
    layer2: Linear,
    layer3: Linear,
}

#[test]
fn published_values_of_parallel_layers() {
    let golden = golden().toy;
    let linear = |name: &str| {
        let rows = &golden.weights[name];
        let (outputs, inputs) = (rows.len(), rows[0].len());
        let mut linear = LinearConfig::new(inputs, outputs)
            .with_bias(false)
            .init(&device());
        let weight = TensorData::new(rows.concat(), [outputs, inputs]);
        let weight = Tensor::<2>::from_data(weight, &device()).transpose();
        linear.weight = Param::from_tensor(weight);
        linear
    };
    let net = Parallel {
        layer1: linear("layer1"),
        layer2: linear("layer2"),
        layer3: linear("layer3"),
    };
    let x = Tensor::<2>::from_data(TensorData::new(golden.input.concat(), [1, 2]), &device());
    let forward = |net: &Parallel, x: Tensor<2>| {
        let both = vec![net.layer1.forward(x.clone()), net.layer2.forward(x)];
        net.layer3.forward(Tensor::cat(both, 1))
    };
    let model = Traced::new(&net, forward, &x).unwrap();
    assert_eq!(golden.tests.len(), 5);
    for test in &golden.tests {
        let crp = Crp::new(epsilon_plus())
            .with_condition(condition(&test.conditions[0], &str::to_string))
            .with_exclude_parallel(test.exclude_parallel)
            .recording("layer1")
            .recording("layer2");
        let found = crp.attribute(&model, &x, 0).unwrap();
        let what = format!("{:?}", test.conditions);
        let map = elements(&found.maps()[0].attribution().into());
        assert_close_slices(&what, &map, &test.relevance.concat(), 1e-5);
        for (value, layer) in found.recorded()[0].iter().zip(["layer1", "layer2"]) {
            let expected = test.recorded[layer].concat();
            assert_close_slices(
                &format!("{what}, {layer}"),
                &elements(value),
                &expected,
                1e-5,
            );
        }
    }
}

/// Checks every case of one model.
fn check<M: Module + Sync + 'static>(
    name: &str,
    module: M,
    forward: fn(&M, Tensor<4>) -> Tensor<2>,
    cases: &[Conditional],
) {
    let case = Case::load(name);
    let module = fill(module, &case.parameters).valid();
    let x = case.inputs().values()[0].tensor::<4>().unwrap();
    let model = Traced::new(&module, forward, &x).unwrap();
    let layers = model.layers();
    let last = layers
        .iter()
        .rev()
        .find(|layer| layer.operation == "Relu")
        .unwrap();
    let our_name = |layer: &str| match layer {
        "relu2" => last.name.clone(),
        other => other.to_string(),
    };
    let own: Vec<&Conditional> = cases.iter().filter(|case| case.model == name).collect();
    assert!(own.len() > 20, "{} cases of {name}", own.len());
    for expected in own {
        let config = serde_json::json!({"composite": expected.composite});
        let config: LrpConfig = serde_json::from_value(config).unwrap();
        let mut crp: Crp<Mixed> = Crp::new(config.composite().unwrap())
            .with_exclude_parallel(expected.exclude_parallel)
            .with_conditions(expected.conditions.iter().map(|c| condition(c, &our_name)));
        for layer in &expected.record {
            crp = crp.recording(our_name(layer));
        }
        if let Some(layer) = &expected.start_layer {
            crp = crp.starting_at(our_name(layer));
        }
        let target = Target::Classes(case.targets.clone());
        let what = format!(
            "{name}, {}, {}, exclude_parallel {}",
            expected.composite, expected.what, expected.exclude_parallel
        );
        let found = crp
            .attribute(&model, &x, target.clone())
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        // Row i under condition i.
        let paired = |value: &dyn Fn(usize) -> Value| {
            let rows = (0..expected.conditions.len()).map(|i| value(i).slice_rows(i..i + 1));
            elements(&Value::cat_rows(rows.collect()).unwrap())
        };
        let map = paired(&|i| found.maps()[i].attribution().into());
        assert_close_slices(&what, &map, &expected.relevance, 1e-4);
        for (k, layer) in expected.record.iter().enumerate() {
            let got = paired(&|i| found.recorded()[i][k].clone());
            let what = format!("{what}, at {layer}");
            assert_close_slices(&what, &got, &expected.recorded[layer].values, 1e-4);
        }
        if expected.what == "no condition" {
            for (layer, importance) in &expected.importance {
                let crp = Crp::new(config.composite().unwrap());
                let rankings = crp
                    .concepts(&model, &x, target.clone(), &our_name(layer))
                    .unwrap();
                for (ranking, expected) in rankings.iter().zip(importance) {
                    let mut shares = vec![0.0; expected.len()];
                    for concept in &ranking.concepts {
                        shares[concept.channel] = concept.share;
                    }
                    assert_close_slices(&format!("{what}, {layer}"), &shares, expected, 1e-4);
                }
            }
        }
    }
}

#[test]
fn conditional_relevance_is_zennit_crps() {
    let golden = golden();
    let cnn = Cnn::new(&device());
    check("cnn", cnn, |m, x| m.forward(x), &golden.cases);
    let residual = Residual::new(&device());
    check("residual", residual, |m, x| m.forward(x), &golden.cases);
}

/// A convolutional network whose layers are called conv1, conv2 and fc, and two images.
fn cnn() -> (Traced, Tensor<4>) {
    let case = Case::load("cnn");
    let module = fill(Cnn::new(&device()), &case.parameters).valid();
    let x = case.inputs().values()[0].tensor::<4>().unwrap();
    (
        Traced::new(&module, |m: &Cnn, x| m.forward(x), &x).unwrap(),
        x,
    )
}

fn map(found: &attr_lrp_crp::ConditionalAttribution<Tensor<4>>, i: usize) -> Vec<f32> {
    elements(&found.maps()[i].attribution().into())
}

#[test]
fn a_channel_is_the_direction_of_its_unit_vector() {
    let (model, x) = cnn();
    let unit = |rows: &[[f32; 4]]| {
        let data = TensorData::new(rows.concat(), [rows.len(), 4]);
        Tensor::<2>::from_data(data, &device())
    };
    let one = unit(&[[0.0, 1.0, 0.0, 0.0]]);
    let two = unit(&[[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]);
    let half = 0.5f32.sqrt();
    let turned = unit(&[[half, half, 0.0, 0.0], [half, -half, 0.0, 0.0]]);
    let crp = Crp::new(epsilon_plus())
        .with_condition(Condition::at("conv2", 1))
        .with_condition(Condition::at("conv2", Concepts::orthonormal(one)))
        .with_condition(Condition::at("conv2", [0, 1]))
        .with_condition(Condition::at("conv2", Concepts::orthonormal(two)))
        // Another basis of the same plane; and its vectors one by one, scaled, as a dictionary.
        .with_condition(Condition::at(
            "conv2",
            Concepts::orthonormal(turned.clone()),
        ))
        .with_condition(Condition::at(
            "conv2",
            Concepts::dictionary(
                turned.clone().narrow(0, 0, 1) / 3.0,
                turned.clone().narrow(0, 0, 1) * 3.0,
            ),
        ))
        .with_condition(Condition::at(
            "conv2",
            Concepts::orthonormal(turned.narrow(0, 1, 1)),
        ));
    let found = crp.attribute(&model, &x, 0).unwrap();
    let maps: Vec<Vec<f32>> = (0..7).map(|i| map(&found, i)).collect();
    assert_close_slices("a unit vector", &maps[1], &maps[0], 1e-5);
    assert_close_slices("two unit vectors", &maps[3], &maps[2], 1e-5);
    // What lies in the plane does not depend on its basis.
    let sum: Vec<f32> = maps[5].iter().zip(&maps[6]).map(|(a, b)| a + b).collect();
    assert_close_slices("the parts of a plane", &sum, &maps[4], 1e-4);
    assert_close_slices("another basis", &maps[4], &maps[2], 1e-4);
}

#[test]
fn conditions_share_one_forward_pass_and_add_up() {
    let (model, x) = cnn();
    let channels = (0..3).map(|channel| Condition::at("conv1", channel));
    let mixed = [
        Condition::at("conv2", 1),
        Condition::at(
            "conv1",
            Concepts::Neurons(vec![vec![0, 2, 2], vec![1, 3, 3]]),
        ),
    ];
    let crp = Crp::new(epsilon_plus_flat())
        .with_conditions(channels)
        .with_conditions(mixed);
    let found = crp.attribute(&model, &x, 1).unwrap();
    let whole = Crp::new(epsilon_plus_flat())
        .attribute(&model, &x, 1)
        .unwrap();
    let work = found.maps()[0].work();
    // Five conditions for two rows.
    assert_eq!(
        (work.forward_rows, work.passes, work.backward_rows),
        (2, 1, 10)
    );
    let sum: Vec<f32> = (0..map(&found, 0).len())
        .map(|i| (0..3).map(|condition| map(&found, condition)[i]).sum())
        .collect();
    assert_close_slices("all channels", &sum, &map(&whole, 0), 1e-4);
    // Each as if it were alone.
    let alone = Crp::new(epsilon_plus_flat()).with_condition(Condition::at("conv2", 1));
    let alone = alone.attribute(&model, &x, 1).unwrap();
    assert_close_slices("alone", &map(&found, 3), &map(&alone, 0), 1e-6);
    assert!(map(&found, 4).iter().any(|v| *v != 0.0));
    assert_ne!(map(&found, 4), map(&found, 0));
}

#[test]
fn given_relevance_sets_out_at_a_layer() {
    let (model, x) = cnn();
    let activation = model.activations(&x, &["conv2"]).unwrap().remove(0);
    let by_activation = Crp::new(epsilon_plus()).starting_at("conv2");
    let by_activation = by_activation.attribute(&model, &x, 0).unwrap();
    let given = Crp::new(epsilon_plus()).starting_with("conv2", activation.clone());
    let given = given.attribute(&model, &x, 0).unwrap();
    assert_close_slices(
        "the activation",
        &map(&given, 0),
        &map(&by_activation, 0),
        1e-6,
    );
    // One row serves all.
    let one = Crp::new(epsilon_plus()).starting_with("conv2", activation.slice_rows(0..1));
    assert_eq!(
        one.attribute(&model, &x, 0).unwrap().maps()[0]
            .scores()
            .len(),
        2
    );
    let three = Value::cat_rows(vec![activation.clone(), activation.slice_rows(0..1)]).unwrap();
    let three = Crp::new(epsilon_plus()).starting_with("conv2", three);
    assert!(matches!(
        three.attribute(&model, &x, 0).err(),
        Some(Error::Shape { .. })
    ));
}

#[test]
fn concepts_have_strongest_neurons_and_receptive_fields() {
    let (model, x) = cnn();
    let crp = Crp::new(epsilon_plus_flat());
    let rankings = crp.concepts(&model, &x, 0, "conv1").unwrap();
    assert_eq!(rankings.len(), 2);
    let concepts = &rankings[0].concepts;
    assert!(
        concepts
            .windows(2)
            .all(|pair| pair[0].relevance >= pair[1].relevance)
    );
    let shares: f32 = concepts.iter().map(|concept| concept.share.abs()).sum();
    assert!((shares - 1.0).abs() < 1e-5, "{shares}");
    let printed = rankings[0].to_string();
    assert!(
        printed.contains("conv1") && printed.contains('%'),
        "{printed}"
    );
    // A neuron of the first convolution, 3x3, sees the 9 pixels from its own place on.
    let fields = crp
        .receptive_fields(&model, &x, 0, "conv1", &[concepts[0].channel])
        .unwrap();
    let at = &concepts[0].strongest;
    let field = fields[0][0].as_ref().unwrap();
    assert_eq!(field[0], 0..1);
    assert_eq!(field[1], at[1]..at[1] + 3);
    assert_eq!(field[2], at[2]..at[2] + 3);
    let nothing = Tensor::<2>::zeros([1, 4], &device());
    assert_eq!(bounding_box(&nothing.into()).unwrap(), None);
}

#[test]
fn concepts_of_two_layers_make_a_graph() {
    let (model, x) = cnn();
    let crp = Crp::new(epsilon_plus());
    let graph = crp
        .concept_graph(&model, &x, 0, &["conv2", "conv1"], 2)
        .unwrap();
    let of = |layer: &str| {
        graph
            .nodes
            .iter()
            .filter(|node| node.layer == layer)
            .count()
    };
    assert_eq!(of("conv2"), 2);
    assert!((2..=3).contains(&of("conv1")), "{graph:?}");
    // Two edges to the target, two to each concept of conv2.
    assert_eq!(
        graph.edges.iter().filter(|edge| edge.to.is_none()).count(),
        2
    );
    assert_eq!(graph.edges.len(), 6);
    // An edge is the relevance of a channel under the condition of the other.
    let edge = graph.edges.iter().find(|edge| edge.to == Some(0)).unwrap();
    let condition = Condition::at("conv2", graph.nodes[0].channel);
    let under = Crp::new(epsilon_plus()).with_condition(condition);
    let ranking = &under.concepts(&model, &x, 0, "conv1").unwrap()[0];
    let channel = graph.nodes[edge.from].channel;
    let concept = ranking
        .concepts
        .iter()
        .find(|c| c.channel == channel)
        .unwrap();
    assert!((concept.relevance - edge.relevance).abs() < 1e-5);
    let dot = graph.to_dot();
    assert!(
        dot.starts_with("digraph") && dot.contains("c0 -> target"),
        "{dot}"
    );
    assert!(serde_json::to_string(&graph).unwrap().contains("\"edges\""));
}

#[test]
fn concepts_of_tokens_are_units_of_their_layers() {
    let exported = load(&folder("models").join("gpt_tiny_legacy13.onnx"));
    let model = exported
        .model
        .trace(&exported.inputs, Some(&exported.output))
        .unwrap();
    let inputs = attributed(&exported);
    let target = Target::Index(vec![5, 1]);
    let (embedding, block) = ("/tokens/Gather", "/blocks/blocks.0/Add_1");
    let crp = Crp::new(attnlrp());
    let ranking = &crp
        .concepts(&model, &inputs, target.clone(), block)
        .unwrap()[0];
    // The units of a token, not the tokens.
    assert_eq!(ranking.concepts.len(), 8);
    let crp = crp
        .with_condition(Condition::at(block, ranking.concepts[0].channel))
        .recording(embedding);
    let found = crp.attribute(&model, &inputs, target).unwrap();
    let relevance = elements(&found.recorded()[0][0]);
    assert!(relevance.iter().any(|v| *v != 0.0) && relevance.iter().all(|v| v.is_finite()));
}

#[test]
fn conditions_that_do_not_fit_are_named() {
    let (model, x) = cnn();
    let error = |condition: Condition| {
        let crp = Crp::new(epsilon_plus()).with_condition(condition);
        crp.attribute(&model, &x, 0)
            .err()
            .expect("it does not fit")
            .to_string()
    };
    let cases = [
        (Condition::at("conv2", 4), "no channel 4"),
        (Condition::at("conv9", 0), "nearest names"),
        (
            Condition::at("conv2", Concepts::Neurons(vec![vec![0, 9, 0]])),
            "no neuron [0, 9, 0]",
        ),
        (
            Condition::at(
                "conv2",
                Concepts::orthonormal(Tensor::ones([1, 3], &device())),
            ),
            "4 channels",
        ),
        (Condition::at("conv2", 0).and("conv2", 1), "names it twice"),
    ];
    for (condition, expected) in cases {
        let text = error(condition);
        assert!(text.contains(expected), "{expected:?} in {text:?}");
    }
    // Concepts are ranked before the layers of a condition; graphs go from the output down.
    let below = Crp::new(epsilon_plus()).with_condition(Condition::at("conv1", 0));
    let refused = below.concepts(&model, &x, 0, "conv2").unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("from the output towards the input"),
        "{refused}"
    );
    for layers in [["conv1", "conv2"], ["conv2", "conv2"]] {
        let graph = Crp::new(epsilon_plus()).concept_graph(&model, &x, 0, &layers, 2);
        assert!(matches!(graph, Err(Error::Layer { .. })), "{layers:?}");
    }
    let two = Crp::new(epsilon_plus())
        .with_condition(Condition::at("conv2", 0))
        .with_condition(Condition::at("conv2", 1));
    let refused = two.concepts(&model, &x, 0, "conv1").unwrap_err();
    assert!(matches!(refused, Error::Method { .. }), "{refused}");

    // Layers beside each other: the skip connection's convolution, and one in the branch.
    let net = seeded(ResNet18::new(10, &device()), 3);
    let x = input([1, 3, 32, 32], 4);
    let model = Traced::new(&net, |m: &ResNet18, x| m.forward(x), &x).unwrap();
    let layers = model.layers();
    let beside = layers
        .iter()
        .find(|layer| layer.name.contains("downsample"))
        .unwrap();
    let branch = beside
        .name
        .replace("downsample.0", "conv2")
        .replace("downsample.conv", "conv2");
    let condition = Condition::at(&beside.name, 0).and(&branch, 0);
    let chain = Crp::new(epsilon_plus()).with_condition(condition.clone());
    let refused = chain.attribute(&model, &x, 0).err().unwrap();
    assert!(
        refused.to_string().contains("with_exclude_parallel(false)"),
        "{refused}"
    );
    let masks = Crp::new(epsilon_plus())
        .with_condition(condition)
        .with_exclude_parallel(false);
    assert!(masks.attribute(&model, &x, 0).is_ok());
}
