//! Randomisation: does the explanation change with the model's parameters and the target?
//!
//! ```text
//! parameters.rs      the models of a randomisation test, layer by layer
//! mprt.rs            the model parameter randomisation test
//! smooth_mprt.rs     the same, with smoothed explanations
//! efficient_mprt.rs  the rise of complexity with all parameters random
//! random_logit.rs    the explanation of another class
//! ```

mod efficient_mprt;
mod mprt;
mod parameters;
mod random_logit;
mod smooth_mprt;

pub use efficient_mprt::EfficientMprt;
pub use mprt::Mprt;
pub use parameters::{LayerOrder, Randomised};
pub use random_logit::RandomLogit;
pub use smooth_mprt::SmoothMprt;
