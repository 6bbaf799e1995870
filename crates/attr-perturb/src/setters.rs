//! What the user says of every method that takes features away.

/// Setters of the fields `baselines`, `mask` and `config.perturbations_per_eval`.
macro_rules! setters {
    () => {
        /// Sets what stands for an absent feature; zero unless set, as in Captum. Over a
        /// [`Baseline::Distribution`](attr_core::Baseline::Distribution) the output is averaged, at
        /// as many times the forward passes as it has rows.
        pub fn with_baseline(mut self, baselines: impl Into<attr_core::Baselines>) -> Self {
            self.baselines = baselines.into();
            self
        }

        /// Sets which elements are one feature; every element by itself unless set.
        pub fn with_feature_mask(mut self, mask: impl Into<attr_core::FeatureMask>) -> Self {
            self.mask = mask.into();
            self
        }

        $crate::setters::per_eval!();
    };
}

/// Setter of the field `config.perturbations_per_eval`.
macro_rules! per_eval {
    () => {
        /// Sets how many perturbed copies of the batch go through the model together, instead of
        /// as many rows as the memory budget allows. 1 serves a forward that gives one value for
        /// the whole batch.
        pub fn with_perturbations_per_eval(mut self, count: usize) -> Self {
            self.config.perturbations_per_eval = Some(count);
            self
        }
    };
}

pub(crate) use per_eval;
pub(crate) use setters;
