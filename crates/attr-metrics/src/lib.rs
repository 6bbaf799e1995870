//! Measures of explanations.
#![doc = include_str!("../README.md")]

mod axioms;
mod case;
mod comparison;
mod complexity;
mod evaluation;
mod explainer;
mod faithfulness;
mod localisation;
mod metric;
mod options;
mod randomisation;
mod references;
mod robustness;
mod rows;
mod similarity;
mod statistics;
mod tuning;

pub use axioms::{Completeness, InputInvariance, NonSensitivity, laws};
pub use case::{Case, TakeExplained, TakeOutput};
pub use comparison::{Agreement, Column, Comparison, Disagreement, EDGE_DETECTOR, RANDOM};
pub use complexity::{Complexity, EffectiveComplexity, Mstc, Sparseness};
pub use evaluation::Evaluation;
pub use explainer::{ByFunction, Explainer, Given, explained_by};
pub use faithfulness::{
    Abpc, AverageDrop, AverageGain, AverageIncrease, Comprehensiveness, Deletion,
    EraserSufficiency, FaithfulnessCorrelation, FaithfulnessEstimate, Infidelity,
    InfidelityPerturbation, Insertion, Irof, Monotonicity, MonotonicityBaseline,
    MonotonicityCorrelation, MuFidelity, Perturb, PerturbedRows, PixelFlipping, RegionPerturbation,
    Road, Selectivity, SensitivityN, Sufficiency, SufficiencyDistance,
};
pub use localisation::{
    AttributionLocalisation, Auc, Focus, PointingGame, RelevanceMassAccuracy,
    RelevanceRankAccuracy, TopKIntersection,
};
pub use metric::{About, Family, Measured, Metric, Needs, Score};
pub use options::{Order, Variant};
pub use randomisation::{EfficientMprt, LayerOrder, Mprt, RandomLogit, Randomised, SmoothMprt};
pub use references::{EdgeDetector, RandomMap};
pub use robustness::{
    AvgSensitivity, Consistency, Continuity, Discretise, LocalLipschitzEstimate, Norm,
    RelativeInputStability, RelativeOutputStability, RelativeRepresentationStability,
    SensitivityMax,
};
pub use rows::Absent;
pub use similarity::Similarity;
pub use tuning::{Halving, Round, Tuned};
