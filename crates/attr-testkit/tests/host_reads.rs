//! How often methods read values on the host, and so wait for the device.

use attr_core::{Budget, FeatureMask, LayerMethod, Method, Run, Traced, Value};
use attr_gradient::{
    Conductance, DeepLift, GradientShap, InputXGradient, IntegratedGradients, NoiseTunnel, Saliency,
};
use attr_lrp_crp::{Lrp, epsilon_plus};
use attr_perturb::{FeatureAblation, Rise, ShapleyValueSampling};
use attr_surrogate::{KernelShap, Lime};
use attr_testkit::device;
use attr_testkit::models::{SmallCnn, input, seeded};
use burn::tensor::Tensor;

fn model() -> Traced {
    let network = seeded(SmallCnn::new(&device()), 1);
    let example = input([1, 1, 6, 6], 2);
    let traced = Traced::new(&network, |m: &SmallCnn, x| m.forward(x), &example).unwrap();
    traced.logits()
}

/// Reads of one run; one before has checked the model and prepared it.
fn reads(mut run: impl FnMut()) -> usize {
    run();
    let before = Value::host_reads();
    run();
    Value::host_reads() - before
}

fn of(method: &dyn Method, model: &Traced, x: &Tensor<4>, budget: Budget) -> usize {
    let run = Run::new().with_budget(budget);
    reads(|| {
        Method::attribute_with(&method, model, x, 1, &run).unwrap();
    })
}

/// All rows go through the model together.
const TOGETHER: Budget = Budget::Rows(10_000);

#[test]
fn more_steps_samples_and_features_need_no_more_reads() {
    let (model, x) = (model(), input([1, 1, 6, 6], 3));
    let grid =
        |cells: usize| FeatureAblation::new().with_feature_mask(FeatureMask::Grid(vec![1, cells]));
    let pairs: [(&str, [Box<dyn Method>; 2]); 8] = [
        (
            "integrated gradients",
            [8, 32].map(|n| Box::new(IntegratedGradients::new().with_steps(n)) as _),
        ),
        (
            "GradientSHAP",
            [8, 32].map(|n| Box::new(GradientShap::new().with_samples(n)) as _),
        ),
        (
            "SmoothGrad",
            [8, 32].map(|n| Box::new(NoiseTunnel::new(Saliency::new()).with_samples(n)) as _),
        ),
        (
            "KernelSHAP",
            [40, 160].map(|n| Box::new(KernelShap::new().with_samples(n)) as _),
        ),
        (
            "LIME",
            [40, 160].map(|n| Box::new(Lime::new().with_samples(n)) as _),
        ),
        (
            "RISE",
            [40, 160].map(|n| Box::new(Rise::new().with_masks(n)) as _),
        ),
        (
            "Shapley value sampling",
            [3, 12].map(|n| Box::new(ShapleyValueSampling::new().with_samples(n)) as _),
        ),
        (
            "feature ablation",
            [2, 6].map(|cells| Box::new(grid(cells)) as _),
        ),
    ];
    for (name, [few, many]) in pairs {
        let [few, many] = [few, many].map(|method| of(&*method, &model, &x, TOGETHER));
        assert_eq!(few, many, "{name}");
    }
    let conductance = [8, 32].map(|n| {
        let method = Conductance::new("conv").with_steps(n);
        let run = Run::new().with_budget(TOGETHER);
        reads(|| {
            method.attribute_with(&model, &x, 1, &run).unwrap();
        })
    });
    assert_eq!(conductance[0], conductance[1], "conductance");
}

#[test]
fn more_rows_need_no_more_reads() {
    let model = model();
    let methods: [(&str, Box<dyn Method>); 6] = [
        ("saliency", Box::new(Saliency::new())),
        ("input x gradient", Box::new(InputXGradient::new())),
        (
            "integrated gradients",
            Box::new(IntegratedGradients::new().with_steps(8)),
        ),
        ("DeepLIFT", Box::new(DeepLift::new())),
        ("LRP", Box::new(Lrp::new(epsilon_plus()))),
        (
            "GradientSHAP",
            Box::new(GradientShap::new().with_samples(4)),
        ),
    ];
    for (name, method) in methods {
        let [few, many] =
            [2, 8].map(|rows| of(&*method, &model, &input([rows, 1, 6, 6], 3), TOGETHER));
        assert_eq!(few, many, "{name}");
    }
}

#[test]
fn each_chunk_needs_as_many_reads_as_another() {
    let (model, x) = (model(), input([1, 1, 6, 6], 3));
    let method = IntegratedGradients::new().with_steps(32);
    let [one, two, four] = [32, 16, 8].map(|rows| of(&method, &model, &x, Budget::Rows(rows)));
    assert_eq!(four - two, 2 * (two - one), "{one}, {two}, {four}");
}
