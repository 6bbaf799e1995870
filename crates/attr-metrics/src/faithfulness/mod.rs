//! Faithfulness: does the model's output follow what the explanation calls important?
//!
//! ```text
//! infidelity.rs                 the error of the explanation as a linear model of perturbations
//! perturbation.rs               the perturbations of infidelity
//! faithfulness_correlation.rs   correlations of relevance and change: of random subsets,
//! faithfulness_estimate.rs        of single features,
//! monotonicity_correlation.rs     of ranks,
//! sensitivity_n.rs                of subsets of each size,
//! mu_fidelity.rs                  of cells of a grid
//! monotonicity.rs               does every added feature raise the output?
//! pixel_flipping.rs             curves of the output while features are removed: one by one,
//! deletion.rs                     by share (deletion, insertion),
//! abpc.rs                         most and least relevant first,
//! region_perturbation.rs          patch by patch,
//! selectivity.rs                  patch by patch, to the end,
//! irof.rs                         segment by segment,
//! road.rs                         imputed from their surroundings
//! imputation.rs                 the imputation of ROAD
//! rationale.rs                  comprehensiveness and sufficiency of the top features
//! sufficiency.rs                do equal explanations have equal predictions?
//! average_drop.rs               drop, increase and gain where only what is relevant is shown
//! ```

mod abpc;
mod average_drop;
mod deletion;
mod faithfulness_correlation;
mod faithfulness_estimate;
mod imputation;
mod infidelity;
mod irof;
mod monotonicity;
mod monotonicity_correlation;
mod mu_fidelity;
mod perturbation;
mod pixel_flipping;
mod rationale;
mod region_perturbation;
mod road;
mod selectivity;
mod sensitivity_n;
mod sufficiency;

pub use abpc::Abpc;
pub use average_drop::{AverageDrop, AverageGain, AverageIncrease};
pub use deletion::{Deletion, Insertion};
pub use faithfulness_correlation::FaithfulnessCorrelation;
pub use faithfulness_estimate::FaithfulnessEstimate;
pub use infidelity::Infidelity;
pub use irof::Irof;
pub use monotonicity::Monotonicity;
pub use monotonicity_correlation::{MonotonicityBaseline, MonotonicityCorrelation};
pub use mu_fidelity::MuFidelity;
pub use perturbation::{InfidelityPerturbation, Perturb, PerturbedRows};
pub use pixel_flipping::PixelFlipping;
pub use rationale::{Comprehensiveness, EraserSufficiency};
pub use region_perturbation::RegionPerturbation;
pub use road::Road;
pub use selectivity::Selectivity;
pub use sensitivity_n::SensitivityN;
pub use sufficiency::{Sufficiency, SufficiencyDistance};
