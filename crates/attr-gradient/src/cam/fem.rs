//! FEM: channels weighted by how often they are exceptionally active, without target or gradient.
//!
//! Fuad et al., "Features Understanding in 3D CNNs for Actions Recognition in Video", 2020
//! (<https://doi.org/10.1109/IPTA50016.2020.9286629>). Matches `FEM` of pytorch-grad-cam with
//! `k = 2`.

use attr_core::Error;
use burn::tensor::Tensor;

use super::Cam;
use super::weighting::{LayerView, Weighting};

/// FEM, `L = Σ_c w_c A_c`, where `w_c` is the fraction of positions at which `A_c` exceeds its mean
/// by more than `k` standard deviations (two unless [`Cam::with_weighting`] says otherwise).
pub type Fem = Cam<ExceptionalActivation>;

/// Weights each channel by how often it is exceptionally active, as in [`Fem`].
#[derive(Clone, Copy, Debug)]
pub struct ExceptionalActivation {
    /// How many standard deviations above the mean are exceptional; default 2, as in the paper.
    pub k: f64,
}

impl Default for ExceptionalActivation {
    fn default() -> Self {
        Self { k: 2.0 }
    }
}

impl Weighting for ExceptionalActivation {
    const GRADIENT: bool = false;

    fn weigh(&self, layer: &LayerView) -> Result<Tensor<3>, Error> {
        let activation = layer.activation.clone();
        let mean = activation.clone().mean_dim(2);
        let variance = (activation.clone() - mean.clone())
            .powi_scalar(2)
            .mean_dim(2);
        let limit = mean + variance.sqrt() * self.k;
        let [rows, channels, positions] = activation.dims();
        let above = activation
            .clone()
            .greater(limit.expand([rows, channels, positions]));
        let ones = activation.zeros_like().mask_fill(above, 1.0);
        Ok(ones.mean_dim(2) * activation)
    }
}
