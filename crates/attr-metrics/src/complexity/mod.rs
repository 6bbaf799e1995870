//! Complexity: is the explanation concise?
//!
//! ```text
//! sparseness.rs             the Gini coefficient
//! entropy.rs                the entropy
//! effective_complexity.rs   how many features matter
//! mst_c.rs                  how compact the most relevant pixels lie
//! ```

mod effective_complexity;
mod entropy;
mod mst_c;
mod sparseness;

pub use effective_complexity::EffectiveComplexity;
pub use entropy::Complexity;
pub use mst_c::Mstc;
pub use sparseness::Sparseness;
