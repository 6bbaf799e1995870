//! Ready scores and losses of data sets, for [`OverData`](crate::OverData).
//!
//! Each is a [`Reduction`] whose labels are a `Vec`, one label per row of a batch. A score is larger
//! for a better model, so features that the model needs get positive values. A loss is smaller for a
//! better model, so they get negative values.

use attr_core::{Error, Value};

use crate::Reduction;

/// The mean of a number per row, from its sum and the count so far.
pub type Mean<L> = Reduction<(f64, usize), Vec<L>, Add<L>, fn((f64, usize)) -> f64>;

/// Adds the rows of a batch to the sum and the count.
type Add<L> =
    Box<dyn Fn((f64, usize), &Value, &Vec<L>) -> Result<(f64, usize), Error> + Send + Sync>;

/// Returns the accuracy, a score: the share of rows whose largest output is at the label's place.
/// Outputs have shape `[rows, classes]`; the first of equal outputs counts.
pub fn accuracy() -> Mean<usize> {
    mean(classes, |row, &label| {
        let largest = row.iter().fold(f32::MIN, |m, &v| m.max(v));
        let first = row.iter().position(|&v| v == largest);
        f64::from(u8::from(first == Some(label)))
    })
}

/// Returns the cross-entropy, a loss: the mean of `-log softmax(output)[label]`. Outputs are logits
/// of shape `[rows, classes]`.
pub fn cross_entropy() -> Mean<usize> {
    mean(classes, |row, &label| {
        let largest = row.iter().fold(f32::MIN, |m, &v| m.max(v));
        let terms = row.iter().map(|&v| f64::from(v - largest).exp());
        terms.sum::<f64>().ln() - f64::from(row[label] - largest)
    })
}

/// Returns the mean squared error, a loss. Outputs have one number per row.
pub fn mean_squared_error() -> Mean<f32> {
    mean(numbers, |row, &label| f64::from(row[0] - label).powi(2))
}

/// Returns the mean absolute error, a loss. Outputs have one number per row.
pub fn mean_absolute_error() -> Mean<f32> {
    mean(numbers, |row, &label| f64::from((row[0] - label).abs()))
}

/// Returns the coefficient of determination, a score: `1 - Σ (y - f)² / Σ (y - mean y)²` for labels
/// `y`, or 0 where all labels are the same. Outputs have one number per row.
#[allow(clippy::type_complexity)]
pub fn r_squared() -> Reduction<
    [f64; 4],
    Vec<f32>,
    impl Fn([f64; 4], &Value, &Vec<f32>) -> Result<[f64; 4], Error>,
    impl Fn([f64; 4]) -> f64,
> {
    // The number of labels, their mean, their squares around it (Welford), and the squared errors.
    Reduction::new(
        [0.0; 4],
        |mut state: [f64; 4], output: &Value, labels: &Vec<f32>| {
            let rows = numbers(output, labels.as_slice())?;
            for (row, &label) in rows.chunks(1).zip(labels) {
                let label = f64::from(label);
                state[0] += 1.0;
                let before = label - state[1];
                state[1] += before / state[0];
                state[2] += before * (label - state[1]);
                state[3] += (f64::from(row[0]) - label).powi(2);
            }
            Ok(state)
        },
        |[_, _, spread, errors]| {
            if spread == 0.0 {
                0.0
            } else {
                1.0 - errors / spread
            }
        },
    )
}

/// Returns the mean of a number per row. `check` returns the outputs, once they fit the labels.
fn mean<L: 'static>(
    check: fn(&Value, &[L]) -> Result<Vec<f32>, Error>,
    each: fn(&[f32], &L) -> f64,
) -> Mean<L> {
    Reduction::new(
        (0.0, 0),
        Box::new(move |(sum, count), output: &Value, labels: &Vec<L>| {
            let outputs = check(output, labels)?;
            let width = outputs.len() / labels.len().max(1);
            let rows = outputs.chunks(width.max(1)).zip(labels);
            let own: f64 = rows.map(|(row, label)| each(row, label)).sum();
            Ok((sum + own, count + labels.len()))
        }),
        |(sum, count)| sum / count as f64,
    )
}

/// Returns the outputs of a classifier with these labels.
fn classes(output: &Value, labels: &[usize]) -> Result<Vec<f32>, Error> {
    let shape = output.shape();
    let [rows, classes] = shape[..] else {
        return Err(unfit(shape, "[rows, classes]"));
    };
    check_labels(rows, labels.len())?;
    match labels.iter().find(|&&label| label >= classes) {
        Some(label) => Err(Error::TargetOutOfRange {
            target: format!("label {label}"),
            output: shape,
        }),
        None => output.to_vec(),
    }
}

/// Returns the outputs of a regression with these labels.
fn numbers(output: &Value, labels: &[f32]) -> Result<Vec<f32>, Error> {
    let shape = output.shape();
    let rows = shape.first().copied().unwrap_or(0);
    if shape.iter().product::<usize>() != rows {
        return Err(unfit(shape, "[rows] or [rows, 1]"));
    }
    check_labels(rows, labels.len())?;
    output.to_vec()
}

fn check_labels(rows: usize, labels: usize) -> Result<(), Error> {
    if rows == labels {
        return Ok(());
    }
    Err(Error::TargetRows {
        expected: rows,
        got: labels,
    })
}

fn unfit(got: Vec<usize>, expected: &str) -> Error {
    Error::Shape {
        what: "the output of the model".into(),
        got,
        expected: expected.into(),
    }
}
