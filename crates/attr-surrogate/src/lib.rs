//! Attribution by simple models fitted around each input: LIME and KernelSHAP.
#![doc = include_str!("../README.md")]

mod coalitions;
mod column;
mod fit_method;
mod interpretable;
mod kernel;
mod kernel_shap;
mod lars;
mod lime;
mod lime_base;
mod lime_tabular;
mod selection;
mod superpixels;
mod tabular;

pub use fit_method::FitMethod;
pub use interpretable::{Design, Fit, InterpretableModel, Lasso, LinearRegression, Ridge};
pub use kernel::DistanceMode;
pub use kernel_shap::{KernelShap, KernelShapConfig};
pub use lime::{Lime, LimeConfig, Surrogate};
pub use lime_base::{
    FromInterpretable, LimeBase, SampleFeatures, SampleInputs, Similarity, ToInterpretable,
};
pub use lime_tabular::{LimeTabular, LimeTabularConfig};
pub use selection::{FeatureSelection, select_features};
pub use superpixels::{Slic, superpixels};
pub use tabular::{Bin, Discretization, Discretizer};
