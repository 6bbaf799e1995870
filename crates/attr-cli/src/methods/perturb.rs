//! The methods of attr-perturb.

use attr_perturb::{
    FeatureAblation, FeatureAblationConfig, FeaturePermutation, FeaturePermutationConfig,
    HsicAttribution, HsicAttributionConfig, Occlusion, OcclusionConfig, PartitionShap,
    PartitionShapConfig, PermutationShap, PermutationShapConfig, Rise, RiseConfig,
    ShapleyValueSampling, ShapleyValueSamplingConfig, ShapleyValues, ShapleyValuesConfig,
    SobolAttribution, SobolAttributionConfig,
};

use super::{Entry, LayerUse, Needs, PERTURBED};
use crate::parameters;

/// Methods that remove parts of the input.
pub const ALL: &[Entry] = &[
    Entry {
        name: "feature-ablation",
        krate: "attr-perturb",
        summary: "the change in the output when a feature is replaced by its baseline",
        paper: "https://arxiv.org/abs/1311.2901",
        needs: PERTURBED,
        parameters: parameters::of::<FeatureAblationConfig>,
        build: |given, setup| {
            let method = FeatureAblation::new()
                .with_config(given.config::<FeatureAblationConfig>()?)
                .with_feature_mask(setup.mask());
            setup.at(method)
        },
    },
    Entry {
        name: "feature-permutation",
        krate: "attr-perturb",
        summary: "the change in the output when a feature takes its value from another row",
        paper: "https://doi.org/10.1023/A:1010933404324",
        needs: Needs {
            baseline: false,
            averaged: false,
            seed: true,
            ..PERTURBED
        },
        parameters: parameters::of::<FeaturePermutationConfig>,
        build: |given, setup| {
            let method = FeaturePermutation::new()
                .with_config(given.config::<FeaturePermutationConfig>()?)
                .with_feature_mask(setup.mask());
            setup.at(method)
        },
    },
    Entry {
        name: "occlusion",
        krate: "attr-perturb",
        summary: "the mean change in the output over the windows that cover an element",
        paper: "https://arxiv.org/abs/1311.2901",
        needs: Needs {
            mask: false,
            averaged: false,
            ..PERTURBED
        },
        parameters: parameters::of::<OcclusionConfig>,
        build: |given, setup| {
            let method = Occlusion::default().with_config(given.config::<OcclusionConfig>()?);
            setup.at(method)
        },
    },
    Entry {
        name: "shapley-values",
        krate: "attr-perturb",
        summary: "the exact Shapley value of each feature, for at most 20 features",
        paper: "https://doi.org/10.1515/9781400881970-018",
        needs: Needs {
            delta: true,
            ..PERTURBED
        },
        parameters: parameters::of::<ShapleyValuesConfig>,
        build: |given, setup| {
            let method = ShapleyValues::new()
                .with_config(given.config::<ShapleyValuesConfig>()?)
                .with_feature_mask(setup.mask());
            setup.at(method)
        },
    },
    Entry {
        name: "shapley-value-sampling",
        krate: "attr-perturb",
        summary: "Shapley values from random orders of the features",
        paper: "https://doi.org/10.1016/j.cor.2008.04.004",
        needs: Needs {
            delta: true,
            errors: true,
            seed: true,
            ..PERTURBED
        },
        parameters: parameters::of::<ShapleyValueSamplingConfig>,
        build: |given, setup| {
            let method = ShapleyValueSampling::new()
                .with_config(given.config::<ShapleyValueSamplingConfig>()?)
                .with_feature_mask(setup.mask());
            setup.at(method)
        },
    },
    Entry {
        name: "permutation-shap",
        krate: "attr-perturb",
        summary: "Shapley values from random orders of the features and their reverses",
        paper: "https://arxiv.org/abs/2104.12199",
        needs: Needs {
            delta: true,
            errors: true,
            seed: true,
            ..PERTURBED
        },
        parameters: parameters::of::<PermutationShapConfig>,
        build: |given, setup| {
            let method = PermutationShap::new()
                .with_config(given.config::<PermutationShapConfig>()?)
                .with_feature_mask(setup.mask());
            setup.at(method)
        },
    },
    Entry {
        name: "partition-shap",
        krate: "attr-perturb",
        summary: "Owen values over a hierarchy of neighbouring features",
        paper: "https://arxiv.org/abs/1705.07874",
        needs: Needs {
            delta: true,
            ..PERTURBED
        },
        parameters: parameters::of::<PartitionShapConfig>,
        build: |given, setup| {
            let method = PartitionShap::new()
                .with_config(given.config::<PartitionShapConfig>()?)
                .with_feature_mask(setup.mask());
            setup.at(method)
        },
    },
    Entry {
        name: "rise",
        krate: "attr-perturb",
        summary: "the expected output over the random masks that show a pixel",
        paper: "https://arxiv.org/abs/1806.07421",
        needs: Needs {
            errors: true,
            mask: false,
            seed: true,
            layer: LayerUse::Refused,
            ..PERTURBED
        },
        parameters: parameters::of::<RiseConfig>,
        build: |given, setup| {
            let method = Rise::new().with_config(given.config::<RiseConfig>()?);
            setup.at(method)
        },
    },
    Entry {
        name: "sobol",
        krate: "attr-perturb",
        summary: "each feature's share of the variance of the output",
        paper: "https://arxiv.org/abs/2111.04138",
        needs: Needs {
            seed: true,
            ..PERTURBED
        },
        parameters: parameters::of::<SobolAttributionConfig>,
        build: |given, setup| {
            let method =
                SobolAttribution::new().with_config(given.config::<SobolAttributionConfig>()?);
            let method = method;
            setup.at(match &setup.mask {
                Some(mask) => method.with_feature_mask(mask.clone()),
                None => method,
            })
        },
    },
    Entry {
        name: "hsic",
        krate: "attr-perturb",
        summary: "the dependence of the output on the presence of each feature",
        paper: "https://arxiv.org/abs/2206.06219",
        needs: Needs {
            seed: true,
            ..PERTURBED
        },
        parameters: parameters::of::<HsicAttributionConfig>,
        build: |given, setup| {
            let method =
                HsicAttribution::new().with_config(given.config::<HsicAttributionConfig>()?);
            let method = method;
            setup.at(match &setup.mask {
                Some(mask) => method.with_feature_mask(mask.clone()),
                None => method,
            })
        },
    },
];
