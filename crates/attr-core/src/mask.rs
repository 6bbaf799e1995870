//! Which elements of the input are one feature.

use burn::tensor::{Device, TensorData};

use crate::{Error, Kind, Value, Values};

/// Groups of input elements that are perturbed together: an integer per element, equal integers
/// (also across inputs) being one feature.
#[derive(Clone, Debug)]
pub struct FeatureMask {
    masks: Vec<Option<Value>>,
    features: usize,
}

impl FeatureMask {
    /// Every element of every attributed input is a feature of its own, numbered across inputs.
    pub fn elements(inputs: &Values) -> Self {
        let mut next = 0i64;
        let values = inputs.values().iter().enumerate();
        let masks = values
            .map(|(i, value)| {
                inputs.attributed(i).then(|| {
                    let mut shape = value.shape();
                    shape[0] = 1;
                    let count = shape.iter().product::<usize>() as i64;
                    let ids: Vec<i64> = (next..next + count).collect();
                    next += count;
                    Value::from_data(TensorData::new(ids, shape), &value.device())
                })
            })
            .collect();
        Self {
            masks,
            features: next as usize,
        }
    }

    /// Given masks, one per attributed input in order: integers shaped like the input, with one
    /// row for all or one per row. Numbers need not be consecutive; they are renumbered from 0.
    ///
    /// # Errors
    /// [`Error::InputCount`], [`Error::Shape`], [`Error::ElementKind`] for masks that do not fit.
    pub fn new(masks: &[Value], inputs: &Values) -> Result<Self, Error> {
        let wanted: Vec<usize> = (0..inputs.values().len())
            .filter(|&i| inputs.attributed(i))
            .collect();
        if masks.len() != wanted.len() {
            return Err(Error::InputCount {
                expected: wanted.len(),
                got: masks.len(),
            });
        }
        let mut hosted: Vec<(usize, Vec<usize>, Vec<i64>, Device)> = Vec::new();
        for (mask, &i) in masks.iter().zip(&wanted) {
            let (input, given) = (inputs.values()[i].shape(), mask.shape());
            if mask.kind() != Kind::Int {
                return Err(Error::ElementKind {
                    expected: Kind::Int,
                    got: mask.kind(),
                });
            }
            let rows_fit = given
                .first()
                .is_some_and(|&r| r == 1 || r == inputs.caller_rows());
            if given.len() != input.len() || given[1..] != input[1..] || !rows_fit {
                return Err(Error::Shape {
                    what: format!("the feature mask of input {i}"),
                    got: given,
                    expected: format!("{input:?}, or one row of it,"),
                });
            }
            let ids = mask.to_data()?.iter::<i64>().collect();
            hosted.push((i, given, ids, mask.device()));
        }
        let mut numbers: Vec<i64> = hosted.iter().flat_map(|h| h.2.iter().copied()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut result = vec![None; inputs.values().len()];
        for (i, shape, ids, device) in hosted {
            let renumbered: Vec<i64> = ids
                .iter()
                .map(|id| numbers.partition_point(|n| n < id) as i64)
                .collect();
            let data = TensorData::new(renumbered, shape);
            result[i] = Some(Value::from_data(data, &device));
        }
        Ok(Self {
            masks: result,
            features: numbers.len(),
        })
    }

    /// How many features there are.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Per input, the feature number of each element; none for inputs without attribution.
    pub fn masks(&self) -> &[Option<Value>] {
        &self.masks
    }
}
