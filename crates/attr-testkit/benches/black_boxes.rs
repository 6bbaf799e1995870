//! Times black-box methods against Captum's, in one run on the same networks and inputs.
//!
//! `cargo xtask bench` prints medians and their ratios: KernelSHAP, exact and sampled Shapley values
//! on a tabular network, occlusion on ResNet-18 at 224x224. `tools/bench/captum_peer.py` runs
//! Captum's side in the Python that `ATTR_PEER_PYTHON` names, at the best `perturbations_per_eval`
//! for each case. Without it, only attr's own times are printed.

mod peer;

use attr_core::{FeatureMask, Method, Target, Traced, Value};
use attr_perturb::{FeatureAblation, Occlusion, ShapleyValueSampling, ShapleyValues};
use attr_surrogate::{KernelShap, Lime};
use attr_testkit::device;
use attr_testkit::models::{ResNet18, input, seeded};
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, TensorData, activation::relu};
use serde_json::json;

use peer::{Export, Peer, compare, save};

/// 30 features, two hidden layers of 64, two classes.
#[derive(Module, Debug)]
struct Tabular {
    layer0: Linear,
    layer1: Linear,
    layer2: Linear,
}

impl Tabular {
    fn new(device: &Device) -> Self {
        Self {
            layer0: LinearConfig::new(30, 64).init(device),
            layer1: LinearConfig::new(64, 64).init(device),
            layer2: LinearConfig::new(64, 2).init(device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = relu(self.layer0.forward(x));
        self.layer2.forward(relu(self.layer1.forward(x)))
    }
}

fn values(found: &[Option<Value>]) -> Vec<f32> {
    let first = found[0].as_ref().expect("an attribution");
    first.to_vec().expect("it can be read")
}

fn main() {
    let device = device();
    let folder = std::env::temp_dir().join(format!("attr-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the peer");

    let network = seeded(Tabular::new(&device), 3);
    let x = input([1, 30], 4);
    for (i, layer) in [&network.layer0, &network.layer1, &network.layer2]
        .into_iter()
        .enumerate()
    {
        save(
            &folder.join(format!("tabular_w{i}.npy")),
            &layer.weight.val().into(),
        );
        let bias = layer.bias.as_ref().expect("a bias").val();
        save(&folder.join(format!("tabular_b{i}.npy")), &bias.into());
    }
    save(&folder.join("tabular_x.npy"), &x.clone().into());
    let resnet = seeded(ResNet18::new(1000, &device), 1).valid();
    resnet.visit(&mut Export::new(&folder, "resnet."));
    let image = input([1, 3, 224, 224], 2);
    save(&folder.join("image_x.npy"), &image.clone().into());

    let model = Traced::new(&network, |m: &Tabular, x| m.forward(x), &x).expect("it traces");
    let mut peer = Peer::start("captum_peer.py", "ATTR_PEER_PYTHON", &folder, &[]);
    let groups = |count: usize| -> FeatureMask {
        let ids: Vec<i64> = (0..30).map(|i| (i * count / 30) as i64).collect();
        Tensor::<2, Int>::from_data(TensorData::new(ids, [1, 30]), &device).into()
    };
    let explain = |method: &dyn Method| {
        let found = Method::attribute(&method, &model, &x, Target::Class(0));
        values(found.expect("it is explained").values())
    };
    let kernel = KernelShap::new().with_samples(2000);
    compare(
        "KernelSHAP, 30 features, 2000 samples",
        15,
        &|| explain(&kernel),
        &mut peer,
        &json!({"case": "kernel_shap", "n_samples": 2000, "perturbations_per_eval": 750}),
    );
    let sampling = ShapleyValueSampling::new().with_samples(25);
    compare(
        "Shapley sampling, 30 features, 25 orders",
        15,
        &|| explain(&sampling),
        &mut peer,
        &json!({"case": "shapley_value_sampling", "n_samples": 25, "perturbations_per_eval": 30}),
    );
    for features in [6, 7] {
        let exact = ShapleyValues::new().with_feature_mask(groups(features));
        compare(
            &format!("exact Shapley, {features} features"),
            if features == 6 { 7 } else { 1 },
            &|| explain(&exact),
            &mut peer,
            &json!({"case": "shapley_values", "features": features,
                    "perturbations_per_eval": features}),
        );
    }
    let exact = ShapleyValues::new().with_feature_mask(groups(12));
    compare(
        "exact Shapley, 12 features; Captum 500 orders",
        7,
        &|| explain(&exact),
        &mut peer,
        &json!({"case": "shapley_value_sampling", "features": 12, "n_samples": 500,
                "perturbations_per_eval": 12}),
    );
    println!("  (Captum's exact values take 12! = 479,001,600 orders)");
    let ablation = FeatureAblation::new();
    compare(
        "feature ablation, 30 features",
        31,
        &|| explain(&ablation),
        &mut peer,
        &json!({"case": "feature_ablation", "perturbations_per_eval": 30}),
    );
    let lime = Lime::new();
    compare(
        "LIME, 30 features, 25 samples",
        15,
        &|| explain(&lime),
        &mut peer,
        &json!({"case": "lime", "perturbations_per_eval": 25}),
    );
    let windows = Occlusion::new([vec![3]]);
    compare(
        "occlusion, 30 features, 28 windows",
        31,
        &|| explain(&windows),
        &mut peer,
        &json!({"case": "occlusion_tabular", "perturbations_per_eval": 28}),
    );

    let model = Traced::new(&resnet, |m: &ResNet18, x| m.forward(x), &image).expect("it traces");
    let windows = Occlusion::new([vec![3, 15, 15]]).with_strides([vec![3, 8, 8]]);
    let occlude = |occlusion: &Occlusion| {
        let found = occlusion
            .attribute(&model, &image, 281)
            .expect("it is explained");
        values(found.values())
    };
    let case = |count: usize| json!({"case": "occlusion_resnet", "target": 281, "perturbations_per_eval": count});
    compare(
        "occlusion, ResNet-18, 784 windows",
        1,
        &|| occlude(&windows),
        &mut peer,
        &case(4),
    );
    drop(peer);
    let mut peer = Peer::start(
        "captum_peer.py",
        "ATTR_PEER_PYTHON",
        &folder,
        &["--channels-last"],
    );
    if peer.is_some() {
        compare(
            "the same, Captum channels last",
            1,
            &|| occlude(&windows),
            &mut peer,
            &case(16),
        );
    }
    drop(peer);
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
}
