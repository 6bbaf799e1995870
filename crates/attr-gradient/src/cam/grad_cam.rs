//! Grad-CAM: channels weighted by their mean gradient.
//!
//! Selvaraju et al., "Grad-CAM", 2016 (<https://arxiv.org/abs/1610.02391>). Matches Captum's
//! `LayerGradCam`.

use attr_core::Error;
use burn::tensor::Tensor;

use super::Cam;
use super::weighting::{LayerView, Weighting};

/// Grad-CAM, `L = Σ_c mean(G_c) A_c`.
///
/// ```
/// use attr_core::{LayerMethod, Traced};
/// use attr_gradient::{GradCam, Resize};
/// use burn::nn::conv::{Conv2d, Conv2dConfig};
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let net: Conv2d = Conv2dConfig::new([1, 4], [3, 3]).init(&device);
/// let image = Tensor::<4>::ones([1, 1, 8, 8], &device);
/// let forward = |n: &Conv2d, x: Tensor<4>| n.forward(x).flatten::<2>(1, 3).sum_dim(1);
/// let model = Traced::new(&net, forward, &image)?;
/// let layer = model.layers()[0].name.clone();
/// let cam = GradCam::new([layer.clone()]).with_interpolation(Resize::Bilinear);
/// let cam = cam.attribute(&model, &image, 0)?;
/// assert_eq!(cam.tensor::<4>(&layer)?.dims(), [1, 1, 8, 8]);
/// # Ok(())
/// # }
/// ```
pub type GradCam = Cam<MeanGradient>;

/// Weights each channel by its mean gradient, as in [`GradCam`].
#[derive(Clone, Copy, Debug, Default)]
pub struct MeanGradient;

impl Weighting for MeanGradient {
    fn weigh(&self, layer: &LayerView) -> Result<Tensor<3>, Error> {
        Ok(layer.gradient.clone().mean_dim(2) * layer.activation.clone())
    }
}
