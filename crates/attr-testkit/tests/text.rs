//! Tests texts: attributions to the embeddings of integer tokens, one number per token, through
//! recurrent networks and transformers.

use attr_core::{AtLayers, Baseline, Error, Inputs, LayerMethod, Method, Model, Traced, Value};
use attr_gradient::{
    Deconvolution, DeepLift, DeepLiftShap, GradientXActivation, GuidedBackprop,
    IntegratedGradients, NoiseTunnel, Saliency,
};
use attr_testkit::compare::{assert_close, assert_close_slices};
use attr_testkit::device;
use attr_testkit::models::{EmbeddingClassifier, TextGru, TokenClassifier, seeded};
use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};

fn tokens<const N: usize>(ids: [[i64; 6]; N]) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::from(ids), &device())
}

/// Checks every way to explain a text, on one model.
fn explain<M: Module + 'static>(
    name: &str,
    module: M,
    forward: fn(&M, Tensor<2, Int>) -> Tensor<2>,
) {
    let x = tokens([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8], [7, 7, 7, 7, 7, 1]]);
    let model = Traced::new(&module, forward, &x).unwrap();
    let absent = tokens([[7; 6]; 3]);
    let score = |x: &Tensor<2, Int>| {
        let output = Model::<Tensor<2, Int>>::forward(&model, x.to_values()).unwrap();
        let output = output.tensor::<2>().unwrap();
        Value::from(output.narrow(1, 2, 1)).to_vec().unwrap()
    };
    let changes: Vec<f32> = score(&x)
        .into_iter()
        .zip(score(&absent))
        .map(|(x, b)| x - b)
        .collect();

    let ig = IntegratedGradients::new().with_steps(60);
    let ig = ig.with_baseline(Baseline::from(absent.clone()));
    let ig = AtLayers::new(["embedding"], ig)
        .attribute(&model, &x, 2)
        .unwrap();
    let lift = DeepLift::new().with_baseline(Baseline::from(absent.clone()));
    let lift = lift
        .at_layers(["embedding"])
        .attribute(&model, &x, 2)
        .unwrap();
    for (method, found, tolerance) in [("ig", &ig, 1e-3), ("deeplift", &lift, 1e-4)] {
        let per_token = found.per_token("embedding").unwrap();
        assert_eq!(per_token.dims(), [3, 6]);
        let sums = Value::from(per_token.clone().sum_dim(1)).to_vec().unwrap();
        assert_close_slices(&format!("{name}, {method}"), &sums, &changes, tolerance);
        // A token equal to the baseline's contributes nothing.
        let third = Value::from(per_token).to_vec().unwrap()[12..].to_vec();
        assert_close_slices(name, &third[..5], &[0.0; 5], 0.0);
        assert!(third[5].abs() > 1e-4, "{name}, {method}: {third:?}");
    }

    // The tokens themselves have no gradient; the error says which layer has one.
    let refused = Saliency::new()
        .attribute(&model, &x, 2)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("embedding"), "{refused}");

    // Gradients at the embedding, with noise there and none before it.
    let gradient = GradientXActivation::new(["embedding"]).with_multiply_by_inputs(false);
    let gradient = gradient.attribute(&model, &x, 2).unwrap();
    let still = NoiseTunnel::new(Saliency::new().with_abs(false)).with_stdevs([0.0]);
    let still = AtLayers::new(["embedding"], still)
        .attribute(&model, &x, 2)
        .unwrap();
    let (still, gradient) = (
        still.value("embedding").unwrap(),
        gradient.value("embedding").unwrap(),
    );
    assert_close(name, still, gradient, 1e-5);
    let before = NoiseTunnel::new(DeepLift::new().at_layers(["embedding"]));
    let refused = before.attribute(&model, &x, 2).unwrap_err().to_string();
    assert!(refused.contains("take no noise"), "{refused}");
}

#[test]
fn tokens_have_no_gradient_of_their_own() {
    let module = seeded(EmbeddingClassifier::new(&device()), 2);
    let tokens = Tensor::<2, Int>::ones([2, 5], &device());
    let forward = |m: &EmbeddingClassifier, x: Tensor<2, Int>| m.forward(x);
    let model = Traced::new(&module, forward, &tokens).unwrap();
    let methods: [&dyn Method; 6] = [
        &Saliency::new(),
        &IntegratedGradients::new(),
        &DeepLift::new(),
        &DeepLiftShap::new(),
        &GuidedBackprop::new(),
        &Deconvolution::new(),
    ];
    for method in methods {
        let refused = Method::attribute(&method, &model, &tokens, 0).map(|_| ());
        assert!(
            matches!(refused, Err(Error::NoGradient { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn a_gru() {
    explain("gru", seeded(TextGru::new(&device()), 3), |m, x| {
        m.forward(x)
    });
}

#[test]
fn a_transformer() {
    explain(
        "transformer",
        seeded(TokenClassifier::new(&device()), 3),
        |m, x| m.forward(x),
    );
}
