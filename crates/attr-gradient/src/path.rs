//! The straight path from baselines to inputs, on which path methods evaluate the model.

use attr_core::{Baselines, Error, Value, Values};
use burn::tensor::{Int, Tensor, TensorData};

/// The straight path from the baselines to the inputs.
pub(crate) struct Path {
    pub inputs: Values,
    /// Per attributed input, the baseline as `[rows, elements]`.
    start: Vec<Option<Tensor<2>>>,
    /// Per attributed input, `x - b` as `[rows, elements]`.
    pub way: Vec<Option<Tensor<2>>>,
}

impl Path {
    pub fn new(inputs: &Values, baselines: &Baselines) -> Result<Self, Error> {
        let mut start = Vec::new();
        let mut way = Vec::new();
        for (input, baseline) in inputs.values().iter().zip(baselines.resolve(inputs)?) {
            let baseline = baseline.map(|b| b.matrix()).transpose()?;
            way.push(match &baseline {
                Some(baseline) => Some(input.matrix()? - baseline.clone()),
                None => None,
            });
            start.push(baseline);
        }
        Ok(Self {
            inputs: inputs.clone(),
            start,
            way,
        })
    }

    pub fn all_rows(&self) -> Vec<usize> {
        (0..self.inputs.rows()).collect()
    }

    /// Returns the path of the given rows only.
    pub fn select(&self, rows: &[usize]) -> Self {
        let pick = |parts: &[Option<Tensor<2>>]| {
            let parts = parts
                .iter()
                .map(|part| part.as_ref().map(|part| take(part, rows)));
            parts.collect()
        };
        Self {
            inputs: self.inputs.select(rows),
            start: pick(&self.start),
            way: pick(&self.way),
        }
    }

    /// Returns a point `b + α (x - b)` for each of `rows`; `alpha` maps its place there to `α`.
    pub fn at(&self, rows: &[usize], alpha: impl Fn(usize) -> f64) -> Result<Values, Error> {
        let alphas: Vec<f32> = (0..rows.len()).map(|i| alpha(i) as f32).collect();
        let selected = self.inputs.select(rows);
        Ok(selected.with(|i, value| {
            let (start, way) = (self.start[i].as_ref()?, self.way[i].as_ref()?);
            let alphas = TensorData::new(alphas.clone(), [rows.len(), 1]);
            let alphas = Tensor::<2>::from_data(alphas, &way.device()).cast(way.dtype());
            let point = take(start, rows) + take(way, rows) * alphas;
            Some(Value::from_matrix(point, &value.shape()))
        }))
    }
}

/// The error for inputs of integers, such as tokens, between which there is no path.
pub(crate) fn no_path(method: &'static str) -> Error {
    Error::Method {
        method,
        reason: "the inputs are integers, between which there is no path; explain their embedding \
                 instead, with a method's `at_layers`"
            .into(),
    }
}

/// Returns the given rows of a matrix, in that order.
pub(crate) fn take(matrix: &Tensor<2>, rows: &[usize]) -> Tensor<2> {
    let indices: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
    let indices = TensorData::new(indices, [rows.len()]);
    matrix
        .clone()
        .select(0, Tensor::<1, Int>::from_data(indices, &matrix.device()))
}
