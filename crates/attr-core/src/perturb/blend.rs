//! Inputs with each feature present to some degree.

use burn::tensor::{Int, Tensor, TensorData};

use super::{Features, inpainted};
use crate::baseline::Absent;
use crate::{Error, FeatureMask, Kind, Value, Values};

/// Inputs with each feature present to some degree: `z ⊙ x + (1 - z) ⊙ b`, where `z` is 1 for
/// present features and 0 for absent ones, and `b` is the baseline.
pub struct Blend {
    features: Features,
    /// Per input, the rows that replace absent features.
    pub(super) absent: Vec<Absent>,
    /// Per input, whether absent features are inpainted instead.
    pub(super) inpaint: Vec<bool>,
    indices: Vec<Indices>,
}

/// Maps features to the elements of an input.
enum Indices {
    /// The input is not perturbed.
    Constant,
    /// Elements and features are the same, in order.
    Same,
    /// The feature of each element, `[elements]`, for all rows.
    Shared(Tensor<1, Int>),
    /// The feature of each element, `[caller's rows, elements]`.
    PerRow(Value),
}

impl Blend {
    /// Creates a blend of these inputs and `absent`, the rows that replace absent features, one per
    /// input row.
    ///
    /// # Errors
    /// [`Error::Method`] when no input is explained; as [`FeatureMask::resolve`].
    pub fn new(inputs: &Values, mask: &FeatureMask, absent: Values) -> Result<Self, Error> {
        let absent = absent.into_values().into_iter();
        Self::over(inputs, mask, absent.map(Absent::of_each_row).collect())
    }

    pub(super) fn over(
        inputs: &Values,
        mask: &FeatureMask,
        absent: Vec<Absent>,
    ) -> Result<Self, Error> {
        let features = mask.resolve(inputs)?;
        if features.count() == 0 {
            return Err(Error::Method {
                method: "a perturbation",
                reason: "no input is explained: all are constants or booleans".into(),
            });
        }
        let all = features.numbers().iter().zip(inputs.values());
        let indices = all.map(|(numbers, input)| {
            let Some(numbers) = numbers else {
                return Indices::Constant;
            };
            let same = features.count() == numbers.elements;
            if same && numbers.ids.iter().copied().eq(0..numbers.elements) {
                return Indices::Same;
            }
            let ids: Vec<i64> = numbers.ids.iter().map(|&id| id as i64).collect();
            let (count, device) = (ids.len(), input.device());
            if numbers.shared() {
                return Indices::Shared(Tensor::from_data(TensorData::new(ids, [count]), &device));
            }
            let shape = [count / numbers.elements.max(1), numbers.elements];
            let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, shape), &device);
            Indices::PerRow(ids.into())
        });
        Ok(Self {
            indices: indices.collect(),
            inpaint: vec![false; inputs.values().len()],
            absent,
            features,
        })
    }

    /// Sets, for each input, whether absent features are inpainted from their surroundings.
    pub fn with_inpainting(mut self, inpaint: Vec<bool>) -> Self {
        self.inpaint = inpaint;
        self
    }

    /// Returns the features.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Blends the rows of `inputs` at `rows` with the baseline's rows at `from`; `present` holds
    /// the presence of each feature in each row.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `from` and `present` have as many rows as `rows`.
    pub fn make(
        &self,
        inputs: &Values,
        rows: &[usize],
        from: &[usize],
        present: Vec<f32>,
    ) -> Result<Values, Error> {
        if present.len() != rows.len() * self.features.count() || from.len() != rows.len() {
            return Err(Error::Shape {
                what: "the presence values of a blend".into(),
                got: vec![from.len(), present.len()],
                expected: format!("one for each of {} rows and each feature", rows.len()),
            });
        }
        let binary = present.iter().all(|&z| z == 0.0 || z == 1.0);
        let columns = self.features.count();
        // What is never perturbed is a feature that is always present.
        let (present, columns) = if self.features.fixed() {
            let rows = present.chunks(columns);
            let padded = rows.flat_map(|row| row.iter().copied().chain([1.0]));
            (padded.collect(), columns + 1)
        } else {
            (present, columns)
        };
        let present = TensorData::new(present, [rows.len(), columns]);
        // The rows of one background are followed by those of the next.
        let count = inputs.rows();
        let selected = inputs.select(rows);
        let mut results = Vec::with_capacity(self.indices.len());
        for (i, indices) in self.indices.iter().enumerate() {
            let x = selected.values()[i].clone();
            if let Indices::Constant = indices {
                results.push(x);
                continue;
            }
            let z = Tensor::<2>::from_data(present.clone(), &x.device());
            let z = match indices {
                Indices::Constant | Indices::Same => z,
                Indices::Shared(ids) => z.select(1, ids.clone()),
                Indices::PerRow(ids) => {
                    let of = rows.iter().map(|&row| inputs.origin()[row]);
                    let ids = ids.select_rows(&of.collect::<Vec<_>>());
                    z.gather(1, ids.int_tensor::<2>()?)
                }
            };
            results.push(if self.inpaint[i] {
                inpainted(&x, z)?
            } else {
                let absent = &self.absent[i];
                let places = from.iter().map(|&at| absent.place(at / count, at % count));
                let places: Vec<usize> = places.collect();
                let absent = absent.rows().select_rows(&places);
                if binary {
                    chosen(x, absent, z)?
                } else {
                    mixed(x, absent, z)?
                }
            });
        }
        let explained = (0..results.len()).map(|i| inputs.explained(i)).collect();
        Ok(selected.replaced(results, explained))
    }
}

/// Computes `z ⊙ x + (1 - z) ⊙ b` for presences `[rows, elements]`; integers take the nearer of the
/// two.
///
/// # Errors
/// [`Error::Shape`] for values of different shapes.
pub fn mixed(x: Value, absent: Value, z: Tensor<2>) -> Result<Value, Error> {
    let shape = x.shape();
    let [rows, elements] = z.dims();
    let fits = |value: &Value| {
        let shape = value.shape();
        shape.first() == Some(&rows) && shape.iter().product::<usize>() == rows * elements
    };
    if !fits(&x) || !fits(&absent) {
        return Err(Error::Shape {
            what: "the value to blend".into(),
            got: if fits(&x) { absent.shape() } else { shape },
            expected: format!("{rows} rows of {elements} elements"),
        });
    }
    if x.kind() != Kind::Float {
        return chosen(x, absent, z);
    }
    let (all, none) = (
        z.clone().greater_equal_elem(1.0),
        z.clone().lower_equal_elem(0.0),
    );
    let z = z.cast(x.dtype());
    let (x, absent) = (x.matrix()?, absent.matrix()?);
    let part = x.clone() * z.clone() + absent.clone() * (z.neg() + 1.0);
    // An activation may be infinite where it is masked out, and infinity times zero is NaN.
    let mixed = part.mask_where(all, x).mask_where(none, absent);
    Ok(Value::from_matrix(mixed, &shape))
}

/// Selects `x` where its presence is at least one half, and `absent` elsewhere.
fn chosen(x: Value, absent: Value, z: Tensor<2>) -> Result<Value, Error> {
    let (shape, dims) = (x.shape(), z.dims());
    let present = z.greater_equal_elem(0.5);
    if x.kind() == Kind::Float {
        let chosen = absent.matrix()?.mask_where(present, x.matrix()?);
        return Ok(Value::from_matrix(chosen, &shape));
    }
    let x = x.reshape(&dims).int_tensor::<2>()?;
    let absent = absent.reshape(&dims).int_tensor::<2>()?;
    Ok(Value::from(absent.mask_where(present, x)).reshape(&shape))
}
