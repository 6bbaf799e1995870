//! Robustness: do similar inputs have similar explanations?
//!
//! ```text
//! neighbours.rs                 noisy copies of rows, and how far they and their explanations are
//! sensitivity.rs                the largest and the mean change of the explanation
//! local_lipschitz_estimate.rs   the change per distance of the input
//! relative_stability.rs         the relative change per relative change of input, output, layers
//! continuity.rs                 the change per distance while an image is shifted
//! consistency.rs                do equal explanations have equal predictions?
//! ```

mod consistency;
mod continuity;
mod local_lipschitz_estimate;
mod neighbours;
mod relative_stability;
mod sensitivity;

pub use consistency::{Consistency, Discretise};
pub use continuity::Continuity;
pub use local_lipschitz_estimate::LocalLipschitzEstimate;
pub(crate) use neighbours::{Neighbour, check_noise};
pub use relative_stability::{
    RelativeInputStability, RelativeOutputStability, RelativeRepresentationStability,
};
pub use sensitivity::{AvgSensitivity, Norm, SensitivityMax};
