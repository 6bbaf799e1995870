//! Feature masks: which elements of the input form a feature.

use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData};

use crate::{Error, Kind, Value, Values};

/// Groups elements of the input into features, which are perturbed together.
///
/// Features are numbered across inputs: elements with the same number form one feature, even in
/// different inputs.
#[derive(Clone, Debug, Default)]
pub enum FeatureMask {
    /// Each element is a feature, Captum's default.
    #[default]
    Elements,
    /// Each position of `[batch, channels, ...]` is a feature, with all its channels; each element
    /// where there are no channels, `[batch, features]`.
    Pixels,
    /// Each cell of a regular grid is a feature, with all its channels. The numbers are the cells
    /// along each of the last dimensions.
    Grid(Vec<usize>),
    /// Feature numbers for all elements: integers from 0 on without gaps. One tensor per explained
    /// input, shaped like it, with one row for all or one per row. Elements with a negative number
    /// belong to no feature: they are never perturbed, and their attribution is 0.
    Each(Vec<Value>),
}

impl From<Value> for FeatureMask {
    fn from(mask: Value) -> Self {
        Self::Each(vec![mask])
    }
}

impl From<Vec<Value>> for FeatureMask {
    fn from(masks: Vec<Value>) -> Self {
        Self::Each(masks)
    }
}

impl<const D: usize> From<Tensor<D, Int>> for FeatureMask {
    fn from(mask: Tensor<D, Int>) -> Self {
        Self::Each(vec![mask.into()])
    }
}

/// A [`FeatureMask`] resolved for particular inputs: the feature of each of their elements.
#[derive(Clone, Debug)]
pub struct Features {
    inputs: Vec<Option<Numbers>>,
    count: usize,
    /// Whether some elements are never perturbed.
    fixed: bool,
}

/// The feature of each element of one input, with one row for all or one per caller's row. Elements
/// that are never perturbed have the number after the last feature's.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    pub ids: Vec<usize>,
    pub elements: usize,
}

impl Numbers {
    /// Returns the features of a caller's row.
    fn row(&self, row: usize) -> &[usize] {
        if self.ids.len() == self.elements {
            &self.ids
        } else {
            &self.ids[row * self.elements..(row + 1) * self.elements]
        }
    }

    /// Returns whether all rows share one mask.
    pub fn shared(&self) -> bool {
        self.ids.len() == self.elements
    }
}

impl FeatureMask {
    /// Resolves the features of these inputs.
    ///
    /// # Errors
    /// [`Error::FeatureMask`] for numbers that leave gaps, or a row without any; [`Error::InputCount`],
    /// [`Error::Shape`], [`Error::ElementKind`] for masks that do not fit.
    pub fn resolve(&self, inputs: &Values) -> Result<Features, Error> {
        let explained = (0..inputs.values().len()).filter(|&i| inputs.explained(i));
        let explained: Vec<usize> = explained.collect();
        let mut numbered: Vec<Option<Numbers>> = vec![None; inputs.values().len()];
        if let Self::Each(masks) = self {
            if masks.len() != explained.len() {
                return Err(Error::InputCount {
                    expected: explained.len(),
                    got: masks.len(),
                });
            }
            for (mask, &i) in masks.iter().zip(&explained) {
                numbered[i] = Some(given(mask, inputs, i)?);
            }
            let count = consecutive(&numbered)?;
            let ids = numbered.iter_mut().flatten().flat_map(|n| &mut n.ids);
            let fixed = ids.filter(|id| **id == FIXED);
            let fixed = fixed.map(|id| *id = count).count() > 0;
            let features = Features {
                inputs: numbered,
                count,
                fixed,
            };
            return features.in_each_row(inputs.caller_rows());
        }
        let mut count = 0;
        for i in explained {
            let shape = &inputs.values()[i].shape()[1..];
            let mut numbers = match self {
                Self::Grid(cells) => grid(cells, shape, i)?,
                Self::Pixels if shape.len() > 1 => grid(&shape[1..], shape, i)?,
                _ => (0..shape.iter().product()).collect(),
            };
            for number in &mut numbers {
                *number += count;
            }
            count = numbers.iter().max().map_or(count, |most| most + 1);
            numbered[i] = Some(Numbers {
                elements: numbers.len(),
                ids: numbers,
            });
        }
        Ok(Features {
            inputs: numbered,
            count,
            fixed: false,
        })
    }
}

/// The number of elements that are never perturbed, until the number of features is known.
const FIXED: usize = usize::MAX;

/// Checks a given mask against its input.
fn given(mask: &Value, inputs: &Values, i: usize) -> Result<Numbers, Error> {
    let (input, shape) = (inputs.values()[i].shape(), mask.shape());
    if mask.kind() != Kind::Int {
        return Err(Error::ElementKind {
            expected: Kind::Int,
            got: mask.kind(),
        });
    }
    let rows_fit = shape
        .first()
        .is_some_and(|&r| r == 1 || r == inputs.caller_rows());
    if shape.len() != input.len() || shape[1..] != input[1..] || !rows_fit {
        return Err(Error::Shape {
            what: format!("the feature mask of input {i}"),
            got: shape,
            expected: format!("{input:?}, or one row of it,"),
        });
    }
    let data = mask.to_data()?;
    let ids = data
        .iter::<i64>()
        .map(|id| usize::try_from(id).unwrap_or(FIXED));
    Ok(Numbers {
        ids: ids.collect(),
        elements: input[1..].iter().product(),
    })
}

/// Returns how many features there are, if their numbers leave no gap.
fn consecutive(inputs: &[Option<Numbers>]) -> Result<usize, Error> {
    let all = || inputs.iter().flatten().flat_map(|numbers| &numbers.ids);
    let ids = || all().filter(|&&id| id != FIXED);
    let elements = all().count();
    if elements > 0 && ids().next().is_none() {
        return Err(Error::FeatureMask {
            number: 0,
            reason: "all numbers are negative, so no feature is left to perturb".into(),
        });
    }
    let mut seen = vec![false; elements];
    let mut most = 0;
    for &id in ids() {
        most = most.max(id);
        // A number not below the number of elements always leaves a gap.
        if let Some(seen) = seen.get_mut(id) {
            *seen = true;
        }
    }
    match seen.iter().take(most + 1).position(|&seen| !seen) {
        None if most < elements => Ok(most + 1),
        gap => Err(Error::FeatureMask {
            number: gap.unwrap_or(elements) as i64,
            reason: format!(
                "no element has this number, but {most} occurs; number features from 0 on without \
                 gaps"
            ),
        }),
    }
}

/// Numbers grid cells along the last dimensions of an input without its batch. The numbers repeat
/// over all earlier dimensions.
fn grid(cells: &[usize], shape: &[usize], i: usize) -> Result<Vec<usize>, Error> {
    let fits = !cells.is_empty() && cells.len() <= shape.len() && {
        let sides = &shape[shape.len() - cells.len()..];
        cells
            .iter()
            .zip(sides)
            .all(|(&n, &side)| n > 0 && n <= side)
    };
    if !fits {
        return Err(Error::Shape {
            what: format!("the grid of features of input {i}"),
            got: cells.to_vec(),
            expected: format!("at least one and at most as many cells as elements in {shape:?}"),
        });
    }
    let sides = &shape[shape.len() - cells.len()..];
    let number = |mut flat: usize| {
        let (mut number, mut scale) = (0, 1);
        for (&cells, &side) in cells.iter().zip(sides).rev() {
            number += scale * (flat % side * cells / side);
            scale *= cells;
            flat /= side;
        }
        number
    };
    Ok((0..shape.iter().product()).map(number).collect())
}

impl Features {
    /// Returns how many features there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns whether some elements are never perturbed.
    pub(crate) fn fixed(&self) -> bool {
        self.fixed
    }

    /// Refuses masks that leave a row without a feature.
    fn in_each_row(self, caller_rows: usize) -> Result<Self, Error> {
        if !self.fixed || self.shared() {
            return Ok(self);
        }
        let empty = |&row: &usize| {
            let mut ids = self.row(row).into_iter().flatten().flatten();
            ids.all(|&id| id >= self.count)
        };
        match (0..caller_rows).find(empty) {
            Some(row) => Err(Error::FeatureMask {
                number: 0,
                reason: format!("all numbers of row {row} are negative, so it has no feature"),
            }),
            None => Ok(self),
        }
    }

    /// Returns whether all rows share one mask.
    pub fn shared(&self) -> bool {
        self.inputs.iter().flatten().all(Numbers::shared)
    }

    /// Returns, per input, its features; `None` for inputs that are not explained.
    pub(crate) fn numbers(&self) -> &[Option<Numbers>] {
        &self.inputs
    }

    /// Returns, per input, the feature number of each element of a caller's row; `None` for inputs
    /// that are not explained. Elements that are never perturbed have the number
    /// [`count`](Self::count).
    pub fn row(&self, caller_row: usize) -> Vec<Option<&[usize]>> {
        let inputs = self.inputs.iter();
        let row = inputs.map(|numbers| Some(numbers.as_ref()?.row(caller_row)));
        row.collect()
    }

    /// Returns the only input that is explained, and the smallest box around each feature, a range
    /// per spatial dimension (those after batch and channels); `None` where several inputs are
    /// explained, rows have masks of their own, or there are no such dimensions.
    pub(super) fn boxes(&self, inputs: &Values) -> Option<(usize, Vec<Vec<Range<usize>>>)> {
        let mut explained = self.inputs.iter().enumerate();
        let mut explained = explained.by_ref().filter(|(_, numbers)| numbers.is_some());
        let (input, numbers) = explained.next()?;
        let numbers = numbers.as_ref()?;
        let shape = inputs.values()[input].shape();
        let sizes = shape.get(2..).filter(|sizes| !sizes.is_empty())?;
        if explained.next().is_some() || !numbers.shared() {
            return None;
        }
        let mut boxes: Vec<Option<Vec<Range<usize>>>> = vec![None; self.count];
        for (element, &id) in numbers.row(0).iter().enumerate() {
            let Some(found) = boxes.get_mut(id) else {
                continue;
            };
            let (mut rest, mut place) = (element, vec![0..0; sizes.len()]);
            for (range, size) in place.iter_mut().zip(sizes).rev() {
                *range = rest % size..rest % size + 1;
                rest /= size;
            }
            match found {
                Some(found) => {
                    for (range, here) in found.iter_mut().zip(place) {
                        *range = range.start.min(here.start)..range.end.max(here.end);
                    }
                }
                None => *found = Some(place),
            }
        }
        let boxes: Option<Vec<_>> = boxes.into_iter().collect();
        Some((input, boxes?))
    }

    /// Writes a number per feature, `[row][feature]`, to the feature's elements. The results are
    /// shaped like the inputs, and have their types where these are floating point.
    pub fn spread(&self, inputs: &Values, values: &[Vec<f64>]) -> Vec<Option<Value>> {
        let spread = inputs.values().iter().zip(&self.inputs);
        let spread = spread.map(|(input, numbers)| {
            let numbers = numbers.as_ref()?;
            let mut shape = input.shape();
            shape[0] = values.len();
            let rows = values.iter().zip(inputs.origin());
            let data = rows.flat_map(|(values, &row)| {
                let ids = numbers.row(row).iter();
                ids.map(|&id| values.get(id).map_or(0.0, |&value| value as f32))
            });
            let data = TensorData::new(data.collect::<Vec<f32>>(), shape);
            let data = match input.kind() {
                Kind::Float => data.convert_dtype(input.dtype()),
                _ => data,
            };
            Some(Value::from_data(data, &input.device()))
        });
        spread.collect()
    }
}
