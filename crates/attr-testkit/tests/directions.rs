//! Tests directions of concepts, and models from whose files they were removed.

use attr_core::{Traced, Value, Values};
use attr_index::DirectionSearch;
use attr_onnx::{DirectionRemoval, Error, OnnxModel};
use attr_testkit::compare::relative_difference;
use attr_testkit::device;
use burn::nn::conv::{Conv1d, Conv1dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Distribution, Tensor, TensorData};

use crate::onnx::{files, folder, load};

#[test]
fn a_direction_is_that_in_which_examples_differ() {
    let device = device();
    let linear: Linear = LinearConfig::new(3, 5).init(&device);
    let x = Tensor::<2>::random([7, 3], Distribution::Default, &device);
    let model = Traced::new(&linear, |m: &Linear, x: Tensor<2>| m.forward(x), &x).unwrap();
    let layer = model.layers()[0].name.clone();
    let mut search = DirectionSearch::new(&layer);
    search.add(&model, &x.clone(), false).unwrap();
    assert!(
        matches!(search.find(), Err(attr_index::Error::Examples(_))),
        "one kind of examples"
    );
    // Two batches of one kind.
    let step = Tensor::<2>::from_floats([[0.5, -1.0, 2.0]], &device);
    let moved = x.clone() + step.clone();
    search
        .add(&model, &moved.clone().narrow(0, 0, 3), true)
        .unwrap();
    search.add(&model, &moved.narrow(0, 3, 4), true).unwrap();
    let found = search.find().unwrap();
    assert_eq!((found.rank, found.channel_dim), (2, 1));
    // The layer is linear, so that all outputs move by the same vector.
    let by = linear.forward(step) - linear.forward(Tensor::zeros([1, 3], &device));
    let by = by.into_data().try_into_vec::<f32>().unwrap();
    let length = by.iter().map(|v| v * v).sum::<f32>().sqrt();
    for (got, by) in found.direction.iter().zip(&by) {
        assert!((got - by / length).abs() <= 1e-5, "{found:?}");
    }
    assert!((found.with - found.without - length).abs() <= 1e-4 * length);

    let mut same = DirectionSearch::new(&layer);
    same.add(&model, &x.clone(), false).unwrap();
    same.add(&model, &x.clone(), true).unwrap();
    assert!(
        matches!(same.find(), Err(attr_index::Error::Examples(_))),
        "no difference"
    );
    let unknown = DirectionSearch::new("fc9").add(&model, &x, true);
    assert!(matches!(
        unknown,
        Err(attr_index::Error::Core(
            attr_core::Error::UnknownLayer { .. }
        ))
    ));
}

#[test]
fn channels_of_convolutions_are_averaged_over_positions() {
    let device = device();
    let conv: Conv1d = Conv1dConfig::new(2, 3, 1).with_bias(false).init(&device);
    let x = Tensor::<3>::random([2, 2, 4], Distribution::Default, &device);
    let model = Traced::new(&conv, |m: &Conv1d, x: Tensor<3>| m.forward(x), &x).unwrap();
    let mut search = DirectionSearch::new(model.layers()[0].name.clone());
    search.add(&model, &x.clone(), true).unwrap();
    search.add(&model, &x.zeros_like(), false).unwrap();
    let found = search.find().unwrap();
    assert_eq!((found.rank, found.channel_dim), (3, 1));
    let mean = conv.forward(x).mean_dim(2).mean_dim(0);
    let mean = mean.into_data().try_into_vec::<f32>().unwrap();
    let length = mean.iter().map(|v| v * v).sum::<f32>().sqrt();
    assert!((found.with - length).abs() <= 1e-5);
    assert_eq!(found.without, 0.0);
    assert!((found.direction[2] - mean[2] / length).abs() <= 1e-5);
}

/// A direction without symmetries.
fn direction(channels: usize) -> Vec<f32> {
    (0..channels)
        .map(|i| ((i * 7919 % 101) as f32 - 50.0) / 20.0)
        .collect()
}

/// The activation with the component along the direction set to a value.
fn corrected(activation: &Value, dim: usize, direction: &[f32], to: f32) -> Value {
    let shape = activation.shape();
    let after: usize = shape[dim + 1..].iter().product();
    let length = direction.iter().map(|v| v * v).sum::<f32>().sqrt();
    let mut values = activation.to_vec().unwrap();
    for block in values.chunks_exact_mut(direction.len() * after) {
        for at in 0..after {
            let own = direction.iter().enumerate();
            let component: f32 = own.map(|(c, v)| block[c * after + at] * v / length).sum();
            for (c, v) in direction.iter().enumerate() {
                block[c * after + at] += (to - component) * v / length;
            }
        }
    }
    let count = values.len();
    let flat = Tensor::<1>::from_data(TensorData::new(values, [count]), &device());
    Value::from(flat).reshape(&shape)
}

#[test]
fn a_direction_is_removed_from_the_file_behind_its_layer() {
    let (mut compared, mut off) = (0, Vec::new());
    for path in files(&folder("models"), "onnx") {
        let exported = load(&path);
        let name = exported.name.clone();
        // Their numbers are those of 32 bits only up to rounding in 16.
        if name.contains("f16") {
            continue;
        }
        let trace = |model: &OnnxModel| model.trace(&exported.inputs, Some(&exported.output));
        let model = trace(&exported.model).unwrap();
        let linear: Vec<String> = model
            .layers()
            .iter()
            .filter(|l| l.linear)
            .map(|l| l.name.clone())
            .collect();
        let Some(layer) = linear.get(linear.len() / 2) else {
            continue;
        };
        let (_, kept) = model.forward_with(&exported.inputs, &[], &[layer]).unwrap();
        let mut search = DirectionSearch::new(layer);
        let zeros = exported
            .inputs
            .values()
            .iter()
            .map(|value| value.zeros_like());
        let zeros = Values::new(zeros.collect(), vec![true; exported.inputs.values().len()]);
        search.add(&model, &exported.inputs, true).unwrap();
        search.add(&model, &zeros, false).unwrap();
        let Ok(found) = search.find() else { continue };
        let (rank, dim) = (found.rank, found.channel_dim);
        let v = direction(found.direction.len());
        let removal = DirectionRemoval {
            layer: layer.clone(),
            rank,
            channel_dim: dim,
            direction: v.clone(),
            to: 0.3,
        };
        let content = match removal.apply(&path) {
            Ok(content) => content,
            // A layer inside a recurrent operator has no node of its own.
            Err(Error::Inputs(reason)) if reason.contains("no node") => continue,
            Err(error) => panic!("{name}, {layer}: {error}"),
        };
        let changed = OnnxModel::from_bytes(content, path.parent().unwrap(), &device());
        let changed = trace(&changed.unwrap()).unwrap();
        let replaced = [(&layer[..], corrected(&kept[0], dim, &v, 0.3))];
        let (expected, _) = model
            .forward_with(&exported.inputs, &replaced, &[])
            .unwrap();
        let got = changed.forward(&exported.inputs).unwrap();
        let difference = relative_difference(&got.to_vec().unwrap(), &expected.to_vec().unwrap());
        if difference > 1e-4 {
            off.push(format!("{name}, {layer}: off by {difference:e}"));
        }
        compared += 1;
    }
    assert!(compared >= 50, "only {compared} models were compared");
    assert!(off.is_empty(), "of {compared} models:\n{}", off.join("\n"));
}

#[test]
fn what_cannot_be_removed_is_refused() {
    let path = folder("models").join("keras_cnn.onnx");
    let exported = load(&path);
    let model = exported.model.trace(&exported.inputs, None).unwrap();
    let linear = model.layers().into_iter().find(|layer| layer.linear);
    let layer = linear.unwrap().name;
    let good = DirectionRemoval {
        layer: String::new(),
        rank: 4,
        channel_dim: 1,
        direction: vec![1.0, 2.0],
        to: 0.0,
    };
    let with = |layer: &str, direction: Vec<f32>, rank, channel_dim| DirectionRemoval {
        layer: layer.into(),
        direction,
        rank,
        channel_dim,
        ..good.clone()
    };
    for (removal, expected) in [
        (with("conv9", vec![1.0], 4, 1), "no node"),
        (with(&layer, vec![0.0, 0.0], 4, 1), "no length"),
        (with(&layer, vec![f32::NAN], 4, 1), "no length"),
        (with(&layer, vec![1.0], 4, 2), "dimension 1 or the last"),
        (with(&layer, vec![1.0], 1, 0), "dimension 1 or the last"),
    ] {
        match removal.apply(&path) {
            Err(Error::Inputs(reason)) => assert!(reason.contains(expected), "{reason}"),
            other => panic!("{:?}", other.map(|content| content.len())),
        }
    }
    let other = folder("hostile");
    assert!(matches!(
        good.apply(other.join("missing")),
        Err(Error::Read { .. })
    ));
    let text = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(text.path(), "no model").unwrap();
    assert!(matches!(good.apply(text.path()), Err(Error::Format { .. })));
}
