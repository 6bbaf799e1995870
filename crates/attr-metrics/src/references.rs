//! Two explanations that know nothing of the model: every table of methods shows how they fare.

use attr_core::build::Random;
use attr_core::{Error, Explanation, Method, Question, Value};
use burn::tensor::TensorData;

/// Random relevance: independent normal numbers, seeded by the row's own values. The same row has
/// the same map, whatever the model and the target; a row with any change has another.
///
/// ```
/// use attr_core::Method;
/// use attr_metrics::RandomMap;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let x = Tensor::<2>::from_floats([[1.0, 2.0], [1.0, 2.0]], &Device::default());
/// let map = RandomMap::new(0).attribute(&|x: Tensor<2>| x.sum_dim(1), &x, 0)?;
/// let map = map.values()[0].as_ref().unwrap().to_vec()?;
/// assert_eq!(map[..2], map[2..]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RandomMap {
    seed: u64,
}

impl RandomMap {
    /// Creates the method with a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }
}

impl Method for RandomMap {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        of_inputs(question, |shape, row| {
            let mut random = Random::stream(self.seed, fingerprint(row));
            random.normal(shape.iter().product()).collect()
        })
    }
}

/// Returns a number that rows with different values do not share: their FNV-1a hash, which no version
/// of a library changes.
fn fingerprint(row: &[f32]) -> u64 {
    let bytes = row.iter().flat_map(|value| value.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The edges of an image: the magnitude of Sobel's gradient of each channel, or of the difference of
/// neighbours of a signal `[batch, channels, length]`. Many methods are no better on many metrics
/// (Clark et al., 2023, XAI-TRIS, <https://arxiv.org/abs/2306.12816>).
///
/// # Errors
/// [`Error::Method`] for inputs without space.
#[derive(Clone, Debug, Default)]
pub struct EdgeDetector {}

impl EdgeDetector {
    /// Creates the method.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Method for EdgeDetector {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let inputs = question.inputs();
        let shape = inputs.values()[inputs.first_explained()].shape();
        if shape.len() < 3 {
            return Err(Error::Method {
                method: "the edge detector",
                reason: format!("an input of shape {shape:?} has no space, so it has no edges"),
            });
        }
        of_inputs(question, |shape, row| {
            let (height, width) = match shape {
                // An input without space beside the image.
                [] | [_] => return vec![0.0; row.len()],
                [_, width] => (1, *width),
                [.., height, width] => (*height, *width),
            };
            row.chunks(height * width)
                .flat_map(|plane| edges(plane, height, width))
                .collect()
        })
    }
}

/// Returns the magnitude of Sobel's gradient; the border is repeated outwards.
fn edges(plane: &[f32], height: usize, width: usize) -> Vec<f32> {
    let at = |y: isize, x: isize| {
        let y = y.clamp(0, height as isize - 1) as usize;
        let x = x.clamp(0, width as isize - 1) as usize;
        plane[y * width + x]
    };
    let magnitude = |pixel: usize| {
        let (y, x) = ((pixel / width) as isize, (pixel % width) as isize);
        let weights = [(-1, 1.0), (0, 2.0), (1, 1.0)];
        let along = |step: &dyn Fn(isize) -> f32| -> f32 {
            weights.iter().map(|&(by, weight)| weight * step(by)).sum()
        };
        let right = along(&|by| at(y + by, x + 1) - at(y + by, x - 1));
        let down = along(&|by| at(y + 1, x + by) - at(y - 1, x + by));
        right.hypot(down)
    };
    (0..plane.len()).map(magnitude).collect()
}

/// Explains every row by a function of its values, given a row's shape.
fn of_inputs(
    question: &Question<'_>,
    map: impl Fn(&[usize], &[f32]) -> Vec<f32>,
) -> Result<Vec<Explanation>, Error> {
    let inputs = question.inputs();
    let values = inputs.values().iter().enumerate().map(|(i, value)| {
        if !inputs.explained(i) {
            return Ok(None);
        }
        let shape = value.shape();
        let data = value.to_vec()?;
        let width = data.len() / value.rows();
        let maps = data.chunks(width).flat_map(|row| map(&shape[1..], row));
        let data = TensorData::new(maps.collect::<Vec<f32>>(), shape.clone());
        Ok(Some(Value::from_data(data, &value.device())))
    });
    let values = values.collect::<Result<Vec<_>, Error>>()?;
    let scores = question.quiet().scores()?.into_iter();
    Ok(scores
        .map(|scores| Explanation::new(values.clone(), scores))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_an_edge() {
        let plane = [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0];
        assert_eq!(
            edges(&plane, 2, 4),
            [0.0, 4.0, 4.0, 0.0, 0.0, 4.0, 4.0, 0.0]
        );
    }
}
