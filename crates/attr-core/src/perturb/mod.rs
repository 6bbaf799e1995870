//! Building blocks of perturbation methods: copies of rows, and features present to some degree.
//!
//! ```text
//! mask.rs       FeatureMask: which elements form a feature
//! perturbed.rs  Perturbed: the model on perturbed copies of its rows
//! blend.rs      Blend: inputs with each feature present to some degree
//! masked.rs     Masked: the model on blended inputs
//! products.rs   Products: distances between blended inputs
//! student.rs    standard errors of few samples
//! ```

mod blend;
mod mask;
mod masked;
mod perturbed;
mod products;
mod student;

pub use blend::{Blend, mixed};
pub use mask::{FeatureMask, Features};
pub use masked::{Masked, Present, without};
pub use perturbed::{MakeRows, Perturbation, Perturbed, Windows};
pub use products::Products;
pub use student::widened;

pub use crate::baseline::{LONGEST_BLUR, gaussian, inpainted, separable};
pub use crate::graph::NearRow;
