//! The methods of attr-gradient.

use attr_core::LayerMethod;
use attr_gradient::cam::weighting;
use attr_gradient::{
    BlurIntegratedGradients, BlurIntegratedGradientsConfig, Cam, CamConfig, Conductance,
    ConductanceConfig, Counterfactual, CounterfactualConfig, Deconvolution, DeepLift,
    DeepLiftConfig, DeepLiftShap, FullGrad, GradientShap, GradientShapConfig, GradientXActivation,
    GradientXActivationConfig, GuidedBackprop, GuidedGradCam, GuidedGradCamConfig,
    GuidedIntegratedGradients, GuidedIntegratedGradientsConfig, Idgi, IdgiConfig, InputXGradient,
    IntegratedGradients, IntegratedGradientsConfig, InternalInfluence, InternalInfluenceConfig,
    LatentShift, LatentShiftConfig, LayerActivation, NeuronConductance, NeuronConductanceConfig,
    Saliency, Xrai, XraiConfig,
};

use burn::tensor::Tensor;

use super::{Built, Entry, FORWARDS, GRADIENTS, LayerUse, Needs, Setup};
use crate::error::Error;
use crate::parameters::{self, Given};

/// Methods that use gradients or layers.
pub const ALL: &[Entry] = &[
    Entry {
        name: "latent-shift",
        krate: "attr-gradient",
        summary: "what changes in the image when an autoencoder's code moves along the gradient",
        paper: "https://arxiv.org/abs/2102.09475",
        needs: Needs {
            layer: LayerUse::Refused,
            autoencoder: true,
            ..GRADIENTS
        },
        parameters: parameters::of::<LatentShiftConfig>,
        build: |given, setup| {
            let config = given.config::<LatentShiftConfig>()?;
            let method = match setup.autoencoder.clone() {
                Some((encoder, decoder)) => LatentShift::traced(encoder, decoder),
                // Only the parameters are checked.
                None => LatentShift::new(|x: Tensor<2>| x, |z: Tensor<2>| z),
            };
            Ok(Built::Shift(method.with_config(config)))
        },
    },
    Entry {
        name: "counterfactual",
        krate: "attr-gradient",
        summary: "what moves in the input on the way to another output (Wachter et al.)",
        paper: "https://arxiv.org/abs/1711.00399",
        needs: Needs {
            layer: LayerUse::Refused,
            ..GRADIENTS
        },
        parameters: parameters::of::<CounterfactualConfig>,
        build: |given, _| {
            let config = given.config::<CounterfactualConfig>()?;
            let method = Counterfactual::new(config.target_output).with_config(config);
            Ok(Built::Inputs(Box::new(method)))
        },
    },
    Entry {
        name: "saliency",
        krate: "attr-gradient",
        summary: "the absolute gradient, |df/dx|",
        paper: "https://arxiv.org/abs/1312.6034",
        needs: GRADIENTS,
        parameters: parameters::of::<Saliency>,
        build: |given, setup| setup.at(given.config::<Saliency>()?),
    },
    Entry {
        name: "input-x-gradient",
        krate: "attr-gradient",
        summary: "the input times the gradient, x df/dx",
        paper: "https://arxiv.org/abs/1605.01713",
        needs: GRADIENTS,
        parameters: parameters::of::<InputXGradient>,
        build: |given, setup| setup.at(given.config::<InputXGradient>()?),
    },
    Entry {
        name: "integrated-gradients",
        krate: "attr-gradient",
        summary: "the gradient integrated from a baseline to the input, times their difference",
        paper: "https://arxiv.org/abs/1703.01365",
        needs: Needs {
            delta: true,
            baseline: true,
            ..GRADIENTS
        },
        parameters: parameters::of::<IntegratedGradientsConfig>,
        build: |given, setup| {
            let method = IntegratedGradients::new()
                .with_config(given.config::<IntegratedGradientsConfig>()?);
            setup.at(method)
        },
    },
    Entry {
        name: "guided-integrated-gradients",
        krate: "attr-gradient",
        summary: "integrated gradients along a path that moves features with small gradients first",
        paper: "https://arxiv.org/abs/2106.09788",
        needs: Needs {
            delta: true,
            baseline: true,
            ..GRADIENTS
        },
        parameters: parameters::of::<GuidedIntegratedGradientsConfig>,
        build: |given, setup| {
            let method = GuidedIntegratedGradients::new()
                .with_config(given.config::<GuidedIntegratedGradientsConfig>()?);
            setup.at(method)
        },
    },
    Entry {
        name: "blur-integrated-gradients",
        krate: "attr-gradient",
        summary: "integrated gradients from a blurred image to the image",
        paper: "https://arxiv.org/abs/2004.03383",
        needs: Needs {
            delta: true,
            layer: LayerUse::Refused,
            ..GRADIENTS
        },
        parameters: parameters::of::<BlurIntegratedGradientsConfig>,
        build: |given, _| {
            let config = given.config::<BlurIntegratedGradientsConfig>()?;
            Ok(Built::Inputs(Box::new(
                BlurIntegratedGradients::new().with_config(config),
            )))
        },
    },
    Entry {
        name: "idgi",
        krate: "attr-gradient",
        summary: "the change in the output at each step of a path, split by squared gradients",
        paper: "https://arxiv.org/abs/2303.14242",
        needs: Needs {
            delta: true,
            baseline: true,
            ..GRADIENTS
        },
        parameters: parameters::of::<IdgiConfig>,
        build: |given, setup| {
            let method = Idgi::new().with_config(given.config::<IdgiConfig>()?);
            setup.at(method)
        },
    },
    Entry {
        name: "xrai",
        krate: "attr-gradient",
        summary: "regions ranked by integrated gradients; segments come from --feature-mask",
        paper: "https://arxiv.org/abs/1906.02825",
        needs: Needs {
            layer: LayerUse::Refused,
            mask: true,
            segments: true,
            ..GRADIENTS
        },
        parameters: parameters::of::<XraiConfig>,
        build: |given, setup| {
            let config = given.config::<XraiConfig>()?;
            let xrai = Xrai::new(setup.segments.clone()).with_config(config);
            Ok(Built::Inputs(Box::new(xrai)))
        },
    },
    Entry {
        name: "gradient-shap",
        krate: "attr-gradient",
        summary: "expected gradients at random points between random baselines and the input",
        paper: "https://arxiv.org/abs/1906.10670",
        needs: Needs {
            delta: true,
            errors: true,
            baseline: true,
            distribution: true,
            seed: true,
            ..GRADIENTS
        },
        parameters: parameters::of::<GradientShapConfig>,
        build: |given, setup| {
            let config = given.config::<GradientShapConfig>()?;
            setup.at(GradientShap::new().with_config(config))
        },
    },
    Entry {
        name: "deeplift",
        krate: "attr-gradient",
        summary: "the output's difference from that at the baseline, distributed layer by layer",
        paper: "https://arxiv.org/abs/1704.02685",
        needs: Needs {
            delta: true,
            baseline: true,
            ..GRADIENTS
        },
        parameters: parameters::of::<DeepLiftConfig>,
        build: |given, setup| {
            setup.at(DeepLift::new().with_config(given.config::<DeepLiftConfig>()?))
        },
    },
    Entry {
        name: "deeplift-shap",
        krate: "attr-gradient",
        summary: "the mean of deeplift over the baselines in --baseline",
        paper: "https://arxiv.org/abs/1705.07874",
        needs: Needs {
            delta: true,
            baseline: true,
            distribution: true,
            ..GRADIENTS
        },
        parameters: parameters::of::<DeepLiftConfig>,
        build: |given, setup| {
            let config = given.config::<DeepLiftConfig>()?;
            setup.at(DeepLiftShap::new().with_config(config))
        },
    },
    Entry {
        name: "guided-backprop",
        krate: "attr-gradient",
        summary: "the gradient, with negative gradients set to 0 at each ReLU",
        paper: "https://arxiv.org/abs/1412.6806",
        needs: GRADIENTS,
        parameters: parameters::of::<GuidedBackprop>,
        build: |given, setup| setup.at(given.config::<GuidedBackprop>()?),
    },
    Entry {
        name: "deconvolution",
        krate: "attr-gradient",
        summary: "the gradient, passing positive gradients at each ReLU regardless of its input",
        paper: "https://arxiv.org/abs/1311.2901",
        needs: GRADIENTS,
        parameters: parameters::of::<Deconvolution>,
        build: |given, setup| setup.at(given.config::<Deconvolution>()?),
    },
    class_activation_map(
        "gradcam",
        "a layer's channels weighted by their mean gradient",
        "https://arxiv.org/abs/1610.02391",
        GRADIENTS,
        map::<weighting::MeanGradient>,
    ),
    class_activation_map(
        "gradcam-plus-plus",
        "a layer's channels weighted by positive gradients, equally for several objects",
        "https://arxiv.org/abs/1710.11063",
        GRADIENTS,
        map::<weighting::AlphaWeightedGradient>,
    ),
    class_activation_map(
        "hirescam",
        "a layer's activation times its gradient, summed over channels",
        "https://arxiv.org/abs/2011.08891",
        GRADIENTS,
        map::<weighting::ElementwiseGradient>,
    ),
    class_activation_map(
        "gradcam-elementwise",
        "the positive part of a layer's activation times its gradient",
        "https://github.com/jacobgil/pytorch-grad-cam",
        GRADIENTS,
        map::<weighting::PositiveProduct>,
    ),
    class_activation_map(
        "xgradcam",
        "a layer's channels weighted by their gradients where they are active",
        "https://arxiv.org/abs/2008.02312",
        GRADIENTS,
        map::<weighting::ActivationWeightedGradient>,
    ),
    class_activation_map(
        "layercam",
        "a layer's activation times its positive gradient",
        "https://doi.org/10.1109/TIP.2021.3089943",
        GRADIENTS,
        map::<weighting::PositiveGradient>,
    ),
    class_activation_map(
        "eigencam",
        "the first principal component of a layer's activation, regardless of the target",
        "https://arxiv.org/abs/2008.00299",
        FORWARDS,
        map::<weighting::PrincipalComponent>,
    ),
    class_activation_map(
        "eigen-gradcam",
        "the first principal component of a layer's activation times gradient",
        "https://github.com/jacobgil/pytorch-grad-cam",
        GRADIENTS,
        map::<weighting::PrincipalComponentOfProduct>,
    ),
    class_activation_map(
        "ablationcam",
        "a layer's channels weighted by the drop in score without them",
        "https://doi.org/10.1109/WACV45572.2020.9093360",
        FORWARDS,
        map::<weighting::ScoreDrop>,
    ),
    class_activation_map(
        "scorecam",
        "a layer's channels weighted by the score of the input masked by them",
        "https://arxiv.org/abs/1910.01279",
        FORWARDS,
        map::<weighting::MaskedScore>,
    ),
    class_activation_map(
        "shapleycam",
        "grad-cam with a second-order term of the score",
        "https://arxiv.org/abs/2501.06261",
        GRADIENTS,
        map::<weighting::SecondOrderGradient>,
    ),
    class_activation_map(
        "fem",
        "a layer's channels weighted by how often they are exceptionally active, for any target",
        "https://doi.org/10.1109/IPTA50016.2020.9286629",
        FORWARDS,
        map::<weighting::ExceptionalActivation>,
    ),
    Entry {
        name: "guided-gradcam",
        krate: "attr-gradient",
        summary: "guided backpropagation times grad-cam at --layer",
        paper: "https://arxiv.org/abs/1610.02391",
        needs: Needs {
            layer: LayerUse::Spatial,
            ..GRADIENTS
        },
        parameters: parameters::of::<GuidedGradCamConfig>,
        build: |given, setup| {
            let config = given.config::<GuidedGradCamConfig>()?;
            let layer = setup.one_layer()?;
            Ok(Built::Inputs(Box::new(
                GuidedGradCam::new(layer).with_config(config),
            )))
        },
    },
    Entry {
        name: "fullgrad",
        krate: "attr-gradient",
        summary: "the gradients of the input and all biases, combined into one map",
        paper: "https://arxiv.org/abs/1905.00780",
        needs: Needs {
            delta: true,
            layer: LayerUse::Refused,
            ..GRADIENTS
        },
        parameters: parameters::of::<FullGrad>,
        build: |given, _| Ok(Built::Inputs(Box::new(given.config::<FullGrad>()?))),
    },
    Entry {
        name: "layer-activation",
        krate: "attr-gradient",
        summary: "the activation of the layers",
        paper: "https://captum.ai/api/layer.html#layer-activation",
        needs: Needs {
            layer: LayerUse::Required,
            ..FORWARDS
        },
        parameters: Vec::new,
        build: |_, setup| {
            Ok(Built::Layers(Box::new(LayerActivation::new(
                setup.layers()?,
            ))))
        },
    },
    Entry {
        name: "layer-gradient-x-activation",
        krate: "attr-gradient",
        summary: "the activation of the layers times its gradient",
        paper: "https://captum.ai/api/layer.html#gradient-x-activation",
        needs: Needs {
            layer: LayerUse::Required,
            ..GRADIENTS
        },
        parameters: parameters::of::<GradientXActivationConfig>,
        build: |given, setup| {
            let config = given.config::<GradientXActivationConfig>()?;
            let method = GradientXActivation::new(setup.layers()?).with_config(config);
            Ok(Built::Layers(Box::new(method)))
        },
    },
    Entry {
        name: "layer-conductance",
        krate: "attr-gradient",
        summary: "the part of integrated gradients that flows through each unit of a layer",
        paper: "https://arxiv.org/abs/1805.12233",
        needs: Needs {
            delta: true,
            baseline: true,
            layer: LayerUse::Required,
            ..GRADIENTS
        },
        parameters: parameters::of::<ConductanceConfig>,
        build: |given, setup| {
            let config = given.config::<ConductanceConfig>()?;
            let method = Conductance::new(setup.layers()?).with_config(config);
            Ok(setup.of_layers(method))
        },
    },
    Entry {
        name: "internal-influence",
        krate: "attr-gradient",
        summary: "the mean gradient at a layer along the path of integrated gradients",
        paper: "https://arxiv.org/abs/1802.03788",
        needs: Needs {
            baseline: true,
            layer: LayerUse::Required,
            ..GRADIENTS
        },
        parameters: parameters::of::<InternalInfluenceConfig>,
        build: |given, setup| {
            let config = given.config::<InternalInfluenceConfig>()?;
            let method = InternalInfluence::new(setup.layers()?).with_config(config);
            Ok(setup.of_layers(method))
        },
    },
    Entry {
        name: "neuron-conductance",
        krate: "attr-gradient",
        summary: "the part of integrated gradients that flows through the unit in --neuron",
        paper: "https://arxiv.org/abs/1805.12233",
        needs: Needs {
            baseline: true,
            neuron: true,
            layer: LayerUse::Refused,
            ..GRADIENTS
        },
        parameters: parameters::of::<NeuronConductanceConfig>,
        build: |given, setup| {
            let config = given.config::<NeuronConductanceConfig>()?;
            let (layer, unit) = setup.neuron()?;
            let method = NeuronConductance::new(layer, unit).with_config(config);
            Ok(setup.of_inputs(method))
        },
    },
];

/// Returns the entry of a class activation map: all share parameters and look at a layer.
const fn class_activation_map(
    name: &'static str,
    summary: &'static str,
    paper: &'static str,
    needs: Needs,
    build: fn(&mut Given, &Setup) -> Result<Built, Error>,
) -> Entry {
    Entry {
        name,
        krate: "attr-gradient",
        summary,
        paper,
        needs: Needs {
            layer: LayerUse::Spatial,
            ..needs
        },
        parameters: parameters::of::<CamConfig>,
        build,
    }
}

/// Builds a class activation map with the weighting `W`.
fn map<W: Default + 'static>(given: &mut Given, setup: &Setup) -> Result<Built, Error>
where
    Cam<W>: LayerMethod,
{
    let config = given.config::<CamConfig>()?;
    let map = Cam::<W>::new(setup.layers()?).with_config(config);
    Ok(Built::Layers(Box::new(map)))
}
