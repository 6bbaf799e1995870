//! Setters that many methods share.

/// Defines setters for the named fields: `mask`, and `config`'s `seed` and
/// `perturbations_per_eval`.
macro_rules! setters {
    ($($field:ident),+) => { $($crate::setters::setter!($field);)+ };
}

macro_rules! setter {
    (mask) => {
        /// Sets which elements form one feature.
        pub fn with_feature_mask(mut self, mask: impl Into<attr_core::FeatureMask>) -> Self {
            self.mask = mask.into().into();
            self
        }
    };
    (seed) => {
        /// Sets the seed of all random numbers.
        pub fn with_seed(mut self, seed: u64) -> Self {
            self.config.seed = seed;
            self
        }
    };
    (perturbations_per_eval) => {
        /// Sets how many perturbed copies of the batch are evaluated together, instead of as many
        /// rows as the memory budget allows. Use 1 for a forward that gives one value for the
        /// whole batch.
        pub fn with_perturbations_per_eval(mut self, count: usize) -> Self {
            self.config.perturbations_per_eval = Some(count);
            self
        }
    };
}

pub(crate) use setter;
pub(crate) use setters;
