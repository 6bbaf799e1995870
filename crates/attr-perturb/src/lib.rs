//! Attribution by perturbation: for any forward function, no gradients needed.
#![doc = include_str!("../README.md")]

mod feature_ablation;
mod feature_permutation;
mod grid;
mod hierarchy;
mod hsic_attribution;
mod occlusion;
mod over_data;
mod partition_shap;
mod permutation_shap;
mod permutations;
mod rise;
pub mod scores;
mod setters;
mod shapley_value_sampling;
mod shapley_values;
mod sobol_attribution;

pub use feature_ablation::{FeatureAblation, FeatureAblationConfig};
pub use feature_permutation::{FeaturePermutation, FeaturePermutationConfig};
pub use hierarchy::Hierarchy;
pub use hsic_attribution::{HsicAttribution, HsicAttributionConfig};
pub use occlusion::{Occlusion, OcclusionConfig};
pub use over_data::{DataAttribution, OverData, Reduction};
pub use partition_shap::{PartitionShap, PartitionShapConfig};
pub use permutation_shap::{PermutationShap, PermutationShapConfig};
pub use rise::{Rise, RiseConfig};
pub use shapley_value_sampling::{ShapleyValueSampling, ShapleyValueSamplingConfig};
pub use shapley_values::{ShapleyValues, ShapleyValuesConfig};
pub use sobol_attribution::{SobolAttribution, SobolAttributionConfig, SobolOrder};
