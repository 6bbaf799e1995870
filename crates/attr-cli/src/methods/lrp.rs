//! The methods of attr-lrp-crp.

use attr_lrp_crp::LrpConfig;

use super::{Entry, GRADIENTS};
use crate::parameters;

/// Relevance propagation.
pub const ALL: &[Entry] = &[Entry {
    name: "lrp",
    krate: "attr-lrp-crp",
    summary: "the score passed back from layer to layer, shared by a rule for each layer",
    paper: "https://doi.org/10.1371/journal.pone.0130140",
    needs: GRADIENTS,
    parameters: parameters::of::<LrpConfig>,
    build: |given, setup| setup.at(given.config::<LrpConfig>()?.build()?),
}];
