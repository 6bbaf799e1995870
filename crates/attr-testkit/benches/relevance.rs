//! Times LRP and CRP beside the gradient of the same network, and beside zennit.
//!
//! `cargo xtask bench` prints medians and ratios for ResNet-18 and VGG-11 at 224x224: what a
//! composite costs in gradients, and 64 conditions at one layer. `tools/bench/zennit_peer.py` runs
//! zennit's side in the Python that `ATTR_PEER_PYTHON` names, and zennit-crp's in that of
//! `ATTR_CONCEPTS_PYTHON`. Without them, only attr's own times are printed.

mod peer;

use std::time::Instant;

use attr_core::walk::GradientEverywhere;
use attr_core::{ByRules, Method, Traced, Value};
use attr_lrp_crp::{
    Condition, Crp, Lrp, Preset, epsilon, epsilon_alpha2_beta1, epsilon_gamma_box, epsilon_plus,
    epsilon_plus_flat,
};
use attr_testkit::device;
use attr_testkit::models::{ResNet18, Vgg11, input, seeded};
use burn::module::Module;
use burn::tensor::Tensor;
use serde_json::json;

use peer::{Export, Peer, compare, median, save};

fn first(value: &Option<Value>) -> Vec<f32> {
    let value = value.as_ref().expect("the input gets relevance");
    value.to_vec().expect("it can be read")
}

/// Times every composite on one network.
fn relevance(name: &str, model: &Traced, x: &Tensor<4>, peer: &mut Option<Peer>) {
    println!("{name}:");
    let model = &model.fold_batch_norm();
    let gradient = ByRules::new(GradientEverywhere);
    let gradient = || {
        let found = gradient
            .attribute(model, x, 281)
            .expect("it has a gradient");
        first(&found.values()[0])
    };
    let presets: [(&str, Preset); 5] = [
        ("epsilon", epsilon()),
        ("epsilon_plus", epsilon_plus()),
        ("epsilon_plus_flat", epsilon_plus_flat()),
        ("epsilon_alpha2_beta1", epsilon_alpha2_beta1()),
        ("epsilon_gamma_box", epsilon_gamma_box(-3.0, 3.0)),
    ];
    for (composite, preset) in presets {
        let lrp = Lrp::new(preset);
        let ours = || {
            let found = lrp.attribute(model, x, 281).expect("it is explained");
            first(&found.values()[0])
        };
        // Alternately, so that a change in the machine's speed affects both.
        let mut ratios = Vec::new();
        for run in 0..=15 {
            let times = [&ours as &dyn Fn() -> Vec<f32>, &gradient].map(|side| {
                let start = Instant::now();
                side();
                start.elapsed().as_secs_f64()
            });
            if run > 0 {
                ratios.push(times[0] / times[1]);
            }
        }
        println!("  {composite}: {:.2} gradients", median(ratios));
        let case = json!({"case": "lrp", "model": name, "composite": composite, "target": 281});
        compare(&format!("  {composite}"), 7, &ours, peer, &case);
    }
    let case = json!({"case": "gradient", "model": name, "target": 281});
    compare("  gradient", 7, &gradient, peer, &case);
}

/// Times 64 conditions at one layer.
fn conditions(name: &str, model: &Traced, x: &Tensor<4>, layer: &str, peer: &mut Option<Peer>) {
    let crp = Crp::new(epsilon_plus()).with_conditions((0..64).map(|c| Condition::at(layer, c)));
    let ours = || {
        let found = crp.attribute(model, x, 281).expect("it is explained");
        let maps = found.maps().iter();
        maps.flat_map(|map| first(&map.values()[0])).collect()
    };
    let case = json!({"case": "crp", "model": name, "layer": layer, "target": 281});
    compare(
        &format!("  64 conditions at {layer}"),
        3,
        &ours,
        peer,
        &case,
    );
}

fn main() {
    let device = device();
    let folder = std::env::temp_dir().join(format!("attr-relevance-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the peer");
    let x = input([1, 3, 224, 224], 2);
    save(&folder.join("image_x.npy"), &x.clone().into());
    let resnet = seeded(ResNet18::new(1000, &device), 1).valid();
    resnet.visit(&mut Export::new(&folder, "resnet."));
    let vgg = seeded(Vgg11::new(1000, &device), 1).valid();
    vgg.visit(&mut Export::new(&folder, "vgg."));

    let mut zennit = Peer::start("zennit_peer.py", "ATTR_PEER_PYTHON", &folder, &[]);
    let resnet = Traced::new(&resnet, |m: &ResNet18, x| m.forward(x), &x).expect("it traces");
    relevance("resnet", &resnet, &x, &mut zennit);
    let vgg = Traced::new(&vgg, |m: &Vgg11, x| m.forward(x), &x).expect("it traces");
    relevance("vgg", &vgg, &x, &mut zennit);
    drop(zennit);
    // zennit-crp needs older libraries.
    let mut peer = Peer::start("zennit_peer.py", "ATTR_CONCEPTS_PYTHON", &folder, &[]);
    for (name, model, layer) in [
        ("resnet", &resnet, "layer3.1.conv1"),
        ("vgg", &vgg, "features.8"),
    ] {
        conditions(name, model, &x, layer, &mut peer);
    }
    drop(peer);
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
}
