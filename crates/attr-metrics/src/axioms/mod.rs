//! Axioms: does the explanation satisfy a law?
//!
//! ```text
//! completeness.rs       the attributions add up to the change of the output
//! non_sensitivity.rs    features without effect have no relevance, and no others
//! input_invariance.rs   a shift of the input that the model undoes changes nothing
//! laws.rs               laws about two models or two features, as functions
//! ```

mod completeness;
mod input_invariance;
pub mod laws;
mod non_sensitivity;

pub use completeness::Completeness;
pub use input_invariance::InputInvariance;
pub use non_sensitivity::NonSensitivity;
