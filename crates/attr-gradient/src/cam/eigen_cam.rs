//! Eigen-CAM: the activation's first principal component, without target or gradient.
//!
//! Muhammad, Yeasin, "Eigen-CAM", 2020 (<https://arxiv.org/abs/2008.00299>). Matches `EigenCAM` of
//! pytorch-grad-cam, except for the sign, which a principal component leaves open. Here the map's
//! sign agrees with the sum over channels.

use attr_core::{Error, Value};
use burn::tensor::{Tensor, TensorData};
use nalgebra::{DMatrix, SymmetricEigen};

use super::Cam;
use super::weighting::{LayerView, Weighting};

/// Eigen-CAM, `L = (A - mean) v`, where `v` is the first right singular vector of the positions x
/// channels matrix of the activation, each channel centred.
pub type EigenCam = Cam<PrincipalComponent>;

/// The first principal component of the activation, as in [`EigenCam`].
#[derive(Clone, Copy, Debug, Default)]
pub struct PrincipalComponent;

impl Weighting for PrincipalComponent {
    const GRADIENT: bool = false;

    fn weigh(&self, layer: &LayerView) -> Result<Tensor<3>, Error> {
        project(layer.activation.clone())
    }
}

/// Projects `[batch, channels, positions]` onto its first principal component, row by row:
/// `[batch, 1, positions]`.
pub(super) fn project(maps: Tensor<3>) -> Result<Tensor<3>, Error> {
    let [rows, channels, positions] = maps.dims();
    let (device, dtype) = (maps.device(), maps.dtype());
    let numbers = Value::from(maps).to_vec()?;
    let mut result = Vec::with_capacity(rows * positions);
    for row in numbers.chunks(channels * positions) {
        let row = row.iter().map(|&v| f64::from(v));
        // Columns are channels.
        let whole = DMatrix::from_iterator(positions, channels, row);
        let mut centred = whole.clone();
        for mut column in centred.column_iter_mut() {
            let mean = column.mean();
            column.add_scalar_mut(-mean);
        }
        // `U Σ` of the centred matrix is the projection. The smaller of the two products has the
        // same singular values.
        let projection = if channels <= positions {
            let product = centred.transpose() * &centred;
            let eigen = SymmetricEigen::new(product);
            let largest = eigen.eigenvalues.imax();
            &centred * eigen.eigenvectors.column(largest)
        } else {
            let product = &centred * centred.transpose();
            let eigen = SymmetricEigen::new(product);
            let largest = eigen.eigenvalues.imax();
            let singular = eigen.eigenvalues[largest].max(0.0).sqrt();
            eigen.eigenvectors.column(largest) * singular
        };
        let agreement = projection.dot(&whole.column_sum());
        let sign = if agreement < 0.0 { -1.0 } else { 1.0 };
        result.extend(projection.iter().map(|v| (v * sign) as f32));
    }
    let data = TensorData::new(result, [rows, 1, positions]).convert_dtype(dtype);
    Ok(Tensor::from_data(data, &device))
}
