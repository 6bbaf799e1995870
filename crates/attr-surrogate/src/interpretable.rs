//! Simple models that people can read: linear regression, ridge and lasso, with sample weights.
//!
//! As scikit-learn's `LinearRegression`, `Ridge` and `Lasso` with `sample_weight`. Lasso: Tibshirani,
//! 1996; solved by coordinate descent (Friedman, Hastie, Tibshirani, 2010).

use attr_core::Error;
use nalgebra::{DMatrix, DVector};

/// Samples in interpretable space: a row each, a column for each feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    rows: usize,
    columns: usize,
    data: Vec<f64>,
}

impl Design {
    /// A design from its elements, row by row.
    ///
    /// # Errors
    /// [`Error::Shape`] for a number of elements that does not fit.
    pub fn new(columns: usize, data: Vec<f64>) -> Result<Self, Error> {
        if columns == 0 || !data.len().is_multiple_of(columns) {
            return Err(Error::Shape {
                what: "the samples in interpretable space".into(),
                got: vec![data.len()],
                expected: format!("a multiple of {columns} elements, which is the columns,"),
            });
        }
        Ok(Self {
            rows: data.len() / columns,
            columns,
            data,
        })
    }

    /// How many samples there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many features there are.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// A sample.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.data[row * self.columns..(row + 1) * self.columns]
    }

    /// The same samples with some features only, in this order.
    ///
    /// Features that do not exist are left out.
    pub fn with_columns(&self, columns: &[usize]) -> Self {
        let columns: Vec<usize> = columns
            .iter()
            .copied()
            .filter(|&c| c < self.columns)
            .collect();
        let columns = &columns[..];
        let rows = (0..self.rows).flat_map(|row| columns.iter().map(move |&c| self.row(row)[c]));
        Self {
            rows: self.rows,
            columns: columns.len(),
            data: rows.collect(),
        }
    }
}

/// A fitted model: `y ≈ intercept + Σ coefficients · features`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// One for each feature.
    pub coefficients: Vec<f64>,
    /// What is predicted where all features are 0.
    pub intercept: f64,
    /// The weighted coefficient of determination, 1 at best; of constant labels 1 if they are
    /// predicted exactly and 0 if not.
    pub r_squared: f64,
    /// Standard errors of the coefficients, robust to labels that are no linear function (sandwich
    /// estimator, HC1); none where there are not more samples than coefficients.
    pub standard_errors: Option<Vec<f64>>,
}

/// A simple model that is fitted to weighted samples; every closure of this form is one.
pub trait InterpretableModel: Send + Sync {
    /// Fits labels, one for each sample, with a weight that is not negative for each.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a penalty that is none, [`Error::Method`] for samples that cannot be
    /// fitted.
    fn fit(&self, features: &Design, labels: &[f64], weights: &[f64]) -> Result<Fit, Error>;
}

impl<F> InterpretableModel for F
where
    F: Fn(&Design, &[f64], &[f64]) -> Result<Fit, Error> + Send + Sync,
{
    fn fit(&self, features: &Design, labels: &[f64], weights: &[f64]) -> Result<Fit, Error> {
        self(features, labels, weights)
    }
}

/// Weighted least squares, `Σ w (y - c₀ - c·z)²` at its least; of equally good coefficients those of
/// smallest norm.
#[derive(Clone, Copy, Debug)]
pub struct LinearRegression {
    /// Whether there is an intercept; true, as in scikit-learn.
    pub fit_intercept: bool,
}

impl Default for LinearRegression {
    fn default() -> Self {
        Self {
            fit_intercept: true,
        }
    }
}

/// `Σ w (y - c₀ - c·z)² + alpha ‖c‖²` at its least.
#[derive(Clone, Copy, Debug)]
pub struct Ridge {
    /// The penalty; 1, as in scikit-learn and in the `lime` package.
    pub alpha: f64,
    /// Whether there is an intercept; true, as in scikit-learn.
    pub fit_intercept: bool,
}

impl Default for Ridge {
    fn default() -> Self {
        Self {
            alpha: 1.0,
            fit_intercept: true,
        }
    }
}

/// `Σ w (y - c₀ - c·z)² / (2 Σ w) + alpha ‖c‖₁` at its least: many coefficients are exactly 0.
///
/// Standard errors are those of least squares on the features that are left, as in Tibshirani, 1996.
#[derive(Clone, Copy, Debug)]
pub struct Lasso {
    /// The penalty; 1, as in scikit-learn.
    pub alpha: f64,
    /// Whether there is an intercept; true, as in scikit-learn.
    pub fit_intercept: bool,
}

impl Default for Lasso {
    fn default() -> Self {
        Self {
            alpha: 1.0,
            fit_intercept: true,
        }
    }
}

/// Samples centred at their weighted means, or as they are without an intercept.
struct Centred {
    x: DMatrix<f64>,
    y: DVector<f64>,
    weights: Vec<f64>,
    x_means: Vec<f64>,
    y_mean: f64,
    fit_intercept: bool,
}

/// Refuses samples that cannot be fitted.
pub(crate) fn check(features: &Design, labels: &[f64], weights: &[f64]) -> Result<(), Error> {
    let rows = features.rows();
    if rows == 0 || labels.len() != rows || weights.len() != rows {
        return Err(Error::Shape {
            what: "the labels and weights".into(),
            got: vec![labels.len(), weights.len()],
            expected: format!("one for each of {rows} samples, at least one,"),
        });
    }
    let total: f64 = weights.iter().sum();
    let bad = |w: &f64| !(*w >= 0.0 && w.is_finite());
    if weights.iter().any(bad) || total <= 0.0 || !total.is_finite() {
        return Err(Error::Method {
            method: "an interpretable model",
            reason: "all samples have weight 0, or one is negative or not finite; for LIME a \
                         larger kernel width gives distant samples more weight"
                .into(),
        });
    }
    let finite = |numbers: &[f64]| numbers.iter().all(|number| number.is_finite());
    if !finite(labels) || !finite(&features.data) {
        return Err(Error::NonFinite {
            what: "a sample of the interpretable model".into(),
        });
    }
    Ok(())
}

impl Centred {
    fn new(
        features: &Design,
        labels: &[f64],
        weights: &[f64],
        fit_intercept: bool,
    ) -> Result<Self, Error> {
        check(features, labels, weights)?;
        let rows = features.rows();
        let total: f64 = weights.iter().sum();
        let mean = |of: &dyn Fn(usize) -> f64| {
            if fit_intercept {
                (0..rows).map(|i| weights[i] * of(i)).sum::<f64>() / total
            } else {
                0.0
            }
        };
        let y_mean = mean(&|i| labels[i]);
        let x_means: Vec<f64> = (0..features.columns())
            .map(|column| mean(&|i| features.row(i)[column]))
            .collect();
        let x = DMatrix::from_fn(rows, features.columns(), |i, j| {
            features.row(i)[j] - x_means[j]
        });
        Ok(Self {
            x,
            y: DVector::from_fn(rows, |i, _| labels[i] - y_mean),
            weights: weights.to_vec(),
            x_means,
            y_mean,
            fit_intercept,
        })
    }

    /// The samples times the square roots of their weights.
    fn scaled(&self) -> (DMatrix<f64>, DVector<f64>) {
        let (mut x, mut y) = (self.x.clone(), self.y.clone());
        for (i, weight) in self.weights.iter().enumerate() {
            x.row_mut(i).scale_mut(weight.sqrt());
            y[i] *= weight.sqrt();
        }
        (x, y)
    }

    /// A fit from its coefficients. `penalty` is that of their squares, `active` which of them are
    /// free.
    fn fit(&self, coefficients: DVector<f64>, penalty: f64, active: &[usize]) -> Fit {
        let residuals = &self.y - &self.x * &coefficients;
        let total: f64 = self.weights.iter().sum();
        let weighted = |of: &dyn Fn(usize) -> f64| {
            let rows = self.weights.iter().enumerate();
            rows.map(|(i, w)| w * of(i)).sum::<f64>()
        };
        // Around the weighted mean, also without an intercept, as scikit-learn scores.
        let labels: Vec<f64> = self.y.iter().map(|y| y + self.y_mean).collect();
        let mean = weighted(&|i| self.y[i]) / total;
        let spread = weighted(&|i| (self.y[i] - mean).powi(2));
        let left = weighted(&|i| residuals[i].powi(2));
        let means = self.x_means.iter().zip(coefficients.iter());
        Fit {
            intercept: self.y_mean - means.map(|(mean, c)| mean * c).sum::<f64>(),
            r_squared: r_squared(left, spread, &labels, total),
            standard_errors: self.errors(&residuals, penalty, active),
            coefficients: coefficients.iter().copied().collect(),
        }
    }

    /// `A⁻¹ (Σ w² r² x xᵀ) A⁻¹ n / (n - p)` with `A = XᵀWX + penalty`: the spread of the coefficients
    /// over draws of the samples.
    fn errors(&self, residuals: &DVector<f64>, penalty: f64, active: &[usize]) -> Option<Vec<f64>> {
        let mut errors = vec![0.0; self.x.ncols()];
        let samples = self.weights.iter().filter(|&&weight| weight > 0.0).count();
        let coefficients = active.len() + usize::from(self.fit_intercept);
        let free = samples.checked_sub(coefficients)?;
        // A few samples that carry all weight are no more than those few.
        let total: f64 = self.weights.iter().sum();
        let squares: f64 = self.weights.iter().map(|weight| weight * weight).sum();
        if free == 0 || total * total / squares <= coefficients as f64 {
            return None;
        }
        if active.is_empty() {
            return Some(errors);
        }
        let x = self.x.select_columns(active);
        let mut scaled = x.clone();
        let mut spread = x;
        for (i, weight) in self.weights.iter().enumerate() {
            scaled.row_mut(i).scale_mut(weight.sqrt());
            spread.row_mut(i).scale_mut(weight * residuals[i]);
        }
        let mut gram = scaled.tr_mul(&scaled);
        for i in 0..active.len() {
            gram[(i, i)] += penalty;
        }
        let inverse = gram.cholesky()?.inverse();
        let influence = spread * inverse;
        let scale = samples as f64 / free as f64;
        for (j, &column) in active.iter().enumerate() {
            errors[column] = (influence.column(j).norm_squared() * scale).sqrt();
        }
        Some(errors)
    }
}

/// `1 - left / spread`; of labels that are constant up to rounding, 1 if they are predicted as exactly
/// and 0 if not.
pub(crate) fn r_squared(left: f64, spread: f64, labels: &[f64], total: f64) -> f64 {
    let largest = labels
        .iter()
        .fold(0f64, |most, label| most.max(label.abs()));
    let rounding = (1e-7 * largest).powi(2) * total;
    if spread > rounding {
        1.0 - left / spread
    } else {
        f64::from(left <= rounding)
    }
}

fn penalty(alpha: f64) -> Result<f64, Error> {
    if !(alpha >= 0.0 && alpha.is_finite()) {
        return Err(Error::Parameter {
            name: "alpha",
            value: alpha.to_string(),
            expected: "a penalty is not negative",
        });
    }
    Ok(alpha)
}

impl InterpretableModel for LinearRegression {
    fn fit(&self, features: &Design, labels: &[f64], weights: &[f64]) -> Result<Fit, Error> {
        let centred = Centred::new(features, labels, weights, self.fit_intercept)?;
        Ok(least_squares(&centred, 0.0))
    }
}

impl InterpretableModel for Ridge {
    fn fit(&self, features: &Design, labels: &[f64], weights: &[f64]) -> Result<Fit, Error> {
        let alpha = penalty(self.alpha)?;
        let centred = Centred::new(features, labels, weights, self.fit_intercept)?;
        Ok(least_squares(&centred, alpha))
    }
}

/// Least squares through singular values: `Σ σ / (σ² + alpha) (u·y) v`, without those that are
/// rounding errors of zero.
fn least_squares(centred: &Centred, alpha: f64) -> Fit {
    let (x, y) = centred.scaled();
    let smallest = f64::EPSILON * x.nrows().max(x.ncols()) as f64;
    let mut coefficients = DVector::zeros(centred.x.ncols());
    if coefficients.is_empty() {
        return centred.fit(coefficients, alpha, &[]);
    }
    let svd = x.svd(true, true);
    let largest = svd.singular_values.max();
    if let (Some(u), Some(v)) = (&svd.u, &svd.v_t) {
        for (k, &sigma) in svd.singular_values.iter().enumerate() {
            if sigma > smallest * largest {
                let share = sigma / (sigma * sigma + alpha) * u.column(k).dot(&y);
                coefficients += v.row(k).transpose() * share;
            }
        }
    }
    let all: Vec<usize> = (0..coefficients.len()).collect();
    centred.fit(coefficients, alpha, &all)
}

/// Sweeps over the coefficients at most; each sweep costs as much as a product with the samples.
const SWEEPS: usize = 100_000;

impl InterpretableModel for Lasso {
    fn fit(&self, features: &Design, labels: &[f64], weights: &[f64]) -> Result<Fit, Error> {
        let alpha = penalty(self.alpha)?;
        let centred = Centred::new(features, labels, weights, self.fit_intercept)?;
        let (x, y) = centred.scaled();
        let total: f64 = weights.iter().sum();
        let norms: Vec<f64> = x.column_iter().map(|c| c.norm_squared()).collect();
        let mut coefficients = DVector::zeros(x.ncols());
        let mut residuals = y.clone();
        // Changes of the prediction below this are rounding.
        let enough = 1e-12 * y.norm();
        let all: Vec<usize> = (0..x.ncols()).collect();
        let mut sweep = |columns: &[usize], coefficients: &mut DVector<f64>| {
            let mut largest = 0f64;
            for &j in columns.iter().filter(|&&j| norms[j] > 0.0) {
                let column = x.column(j);
                let before: f64 = coefficients[j];
                let pull = column.dot(&residuals) + norms[j] * before;
                let over = (pull.abs() - alpha * total).max(0.0);
                let after = over.copysign(pull) / norms[j];
                if after != before {
                    residuals.axpy(before - after, &column, 1.0);
                    coefficients[j] = after;
                    largest = largest.max((after - before).abs() * norms[j].sqrt());
                }
            }
            largest
        };
        let mut sweeps = 0;
        while sweep(&all, &mut coefficients) > enough {
            // Those that are not zero settle among themselves first.
            let free = all.iter().copied().filter(|&j| coefficients[j] != 0.0);
            let free: Vec<usize> = free.collect();
            while sweeps < SWEEPS && sweep(&free, &mut coefficients) > enough {
                sweeps += 1;
            }
            sweeps += 1;
            if sweeps >= SWEEPS {
                return Err(Error::Method {
                    method: "the lasso",
                    reason: format!(
                        "it did not settle within {SWEEPS} sweeps; a larger penalty than {alpha}, fewer \
                         features or more samples help"
                    ),
                });
            }
        }
        let active = (0..x.ncols()).filter(|&j| coefficients[j] != 0.0);
        let active: Vec<usize> = active.collect();
        Ok(centred.fit(coefficients, 0.0, &active))
    }
}
