//! Functions of plain slices as models.

use std::fmt;

use burn::tensor::{Tensor, TensorData};

/// Makes a model of a function from the rows of a batch to one score for each, such as a call to a
/// remote model or a rule written by hand.
///
/// It has no gradients; black-box methods explain it. Limit the rows of one call with
/// [`Run::with_budget`](crate::Run::with_budget).
///
/// # Errors
/// The model returns [`Error::ForwardFailed`](crate::Error::ForwardFailed) with the function's
/// message, or if the number of scores differs from that of the rows.
///
/// ```
/// use attr_core::{Inputs, Model, by_rows};
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let model = by_rows(|rows: &[&[f32]]| -> Result<Vec<f32>, std::io::Error> {
///     Ok(rows.iter().map(|row| row[0] * row[1]).collect())
/// });
/// let x = Tensor::<2>::from_floats([[2.0, 3.0], [4.0, 5.0]], &Device::default());
/// let scores = Model::<Tensor<2>>::forward(&model, x.to_values())?;
/// assert_eq!(scores.to_vec()?, [6.0, 20.0]);
/// # Ok(())
/// # }
/// ```
pub fn by_rows<E: fmt::Display>(
    f: impl Fn(&[&[f32]]) -> Result<Vec<f32>, E>,
) -> impl Fn(Tensor<2>) -> Result<Tensor<2>, String> {
    move |x| {
        let ([rows, columns], device) = (x.dims(), x.device());
        let data = x.into_data().convert::<f32>();
        let values: Vec<f32> = data.try_into_vec().map_err(|error| format!("{error:?}"))?;
        // Rows without columns are rows all the same.
        let each: Vec<&[f32]> = (0..rows)
            .map(|r| &values[r * columns..(r + 1) * columns])
            .collect();
        let scores = f(&each).map_err(|error| error.to_string())?;
        if scores.len() != rows {
            let got = scores.len();
            return Err(format!("it returned {got} scores for {rows} rows"));
        }
        let scores = TensorData::new(scores, [rows, 1]);
        Ok(Tensor::from_data(scores, &device))
    }
}
