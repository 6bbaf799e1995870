//! The methods of attr-surrogate.

use attr_surrogate::{
    KernelShap, KernelShapConfig, Lime, LimeConfig, LimeTabular, LimeTabularConfig,
};

use super::{Entry, LayerUse, Needs, PERTURBED};
use crate::parameters;

/// Methods that fit a simple model around the input.
pub const ALL: &[Entry] = &[
    Entry {
        name: "lime",
        krate: "attr-surrogate",
        summary: "a sparse linear model of feature presence, fitted around the input",
        paper: "https://arxiv.org/abs/1602.04938",
        needs: Needs {
            errors: true,
            seed: true,
            ..PERTURBED
        },
        parameters: parameters::of::<LimeConfig>,
        build: |given, setup| {
            let method = Lime::new()
                .with_config(given.config::<LimeConfig>()?)
                .with_feature_mask(setup.mask());
            setup.at(method)
        },
    },
    Entry {
        name: "kernel-shap",
        krate: "attr-surrogate",
        summary: "Shapley values from a weighted regression on coalitions of features",
        paper: "https://arxiv.org/abs/1705.07874",
        needs: Needs {
            delta: true,
            errors: true,
            seed: true,
            ..PERTURBED
        },
        parameters: parameters::of::<KernelShapConfig>,
        build: |given, setup| {
            let method = KernelShap::new()
                .with_config(given.config::<KernelShapConfig>()?)
                .with_feature_mask(setup.mask());
            setup.at(method)
        },
    },
    Entry {
        name: "lime-tabular",
        krate: "attr-surrogate",
        summary: "a linear model of features in the row's bin, on samples drawn like --training",
        paper: "https://arxiv.org/abs/1602.04938",
        needs: Needs {
            errors: true,
            baseline: false,
            averaged: false,
            mask: false,
            training: true,
            seed: true,
            layer: LayerUse::Refused,
            ..PERTURBED
        },
        parameters: parameters::of::<LimeTabularConfig>,
        build: |given, setup| {
            let config = given.config::<LimeTabularConfig>()?;
            setup.at(LimeTabular::new(setup.training.clone()).with_config(config))
        },
    },
];
