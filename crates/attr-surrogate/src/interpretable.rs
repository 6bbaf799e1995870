//! Interpretable models: linear regression, ridge and lasso, with sample weights.
//!
//! They follow scikit-learn's `LinearRegression`, `Ridge` and `Lasso` with `sample_weight`. Lasso:
//! Tibshirani, 1996; solved by coordinate descent (Friedman, Hastie, Tibshirani, 2010).

use attr_core::Error;
use nalgebra::{DMatrix, DVector};

/// Samples in interpretable space: one row per sample, one column per feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    rows: usize,
    columns: usize,
    data: Vec<f64>,
}

impl Design {
    /// Creates a design from its elements, row by row.
    ///
    /// # Errors
    /// [`Error::Shape`] for a number of elements that is not a multiple of `columns`.
    pub fn new(columns: usize, data: Vec<f64>) -> Result<Self, Error> {
        if columns == 0 || !data.len().is_multiple_of(columns) {
            return Err(Error::Shape {
                what: "the samples in interpretable space".into(),
                got: vec![data.len()],
                expected: format!("a multiple of {columns} elements, the number of columns,"),
            });
        }
        Ok(Self {
            rows: data.len() / columns,
            columns,
            data,
        })
    }

    /// Returns the number of samples.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of features.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Returns a sample.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.data[row * self.columns..(row + 1) * self.columns]
    }

    /// Returns the same samples with only the given features, in the given order.
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
    /// The prediction when all features are 0.
    pub intercept: f64,
    /// The weighted coefficient of determination, 1 at best. For constant labels, 1 if they are
    /// predicted exactly and 0 if not.
    pub r_squared: f64,
    /// Standard errors of the coefficients, robust to labels that are not a linear function
    /// (sandwich estimator, HC3); `None` unless there are more samples than coefficients.
    pub standard_errors: Option<Vec<f64>>,
}

/// A simple model fitted to weighted samples; any closure with the signature of `fit` is one.
pub trait InterpretableModel: Send + Sync {
    /// Fits one label per sample, each with a non-negative weight.
    ///
    /// # Errors
    /// [`Error::Parameter`] for an invalid penalty, [`Error::Method`] for samples that cannot be
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

/// Weighted least squares: minimises `Σ w (y - c₀ - c·z)²`; of equally good coefficients, those of
/// smallest norm are returned.
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

/// Ridge regression: minimises `Σ w (y - c₀ - c·z)² + alpha ‖c‖²`.
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

/// The lasso: minimises `Σ w (y - c₀ - c·z)² / (2 Σ w) + alpha ‖c‖₁`; many coefficients become 0.
///
/// Standard errors are those of least squares on the remaining features, as in Tibshirani, 1996.
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

/// Samples centred at their weighted means, or unchanged without an intercept.
struct Centred {
    x: DMatrix<f64>,
    y: DVector<f64>,
    weights: Vec<f64>,
    x_means: Vec<f64>,
    y_mean: f64,
    fit_intercept: bool,
}

/// Rejects samples that cannot be fitted.
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

    /// Returns the samples times the square roots of their weights.
    fn scaled(&self) -> (DMatrix<f64>, DVector<f64>) {
        let (mut x, mut y) = (self.x.clone(), self.y.clone());
        for (i, weight) in self.weights.iter().enumerate() {
            x.row_mut(i).scale_mut(weight.sqrt());
            y[i] *= weight.sqrt();
        }
        (x, y)
    }

    /// Returns the fit with these coefficients. `penalty` applies to their squares; `active` lists
    /// the free ones.
    fn fit(&self, coefficients: DVector<f64>, penalty: f64, active: &[usize]) -> Fit {
        let residuals = &self.y - &self.x * &coefficients;
        let total: f64 = self.weights.iter().sum();
        let weighted = |of: &dyn Fn(usize) -> f64| {
            let rows = self.weights.iter().enumerate();
            rows.map(|(i, w)| w * of(i)).sum::<f64>()
        };
        // Around the weighted mean, even without an intercept, as in scikit-learn's score.
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

    /// `A⁻¹ (Σ w² r² / (1 - h)² x xᵀ) A⁻¹` with `A = XᵀWX + penalty` and the leverages
    /// `h = w xᵀ A⁻¹ x`: the spread of the coefficients over draws of the samples (HC3). `None` where
    /// a coefficient follows from one sample alone.
    fn errors(&self, residuals: &DVector<f64>, penalty: f64, active: &[usize]) -> Option<Vec<f64>> {
        let mut errors = vec![0.0; self.x.ncols()];
        let samples = self.weights.iter().filter(|&&weight| weight > 0.0).count();
        let coefficients = active.len() + usize::from(self.fit_intercept);
        let free = samples.checked_sub(coefficients)?;
        // If a few samples carry all the weight, only those few count.
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
        for (i, weight) in self.weights.iter().enumerate() {
            scaled.row_mut(i).scale_mut(weight.sqrt());
        }
        let mut gram = scaled.tr_mul(&scaled);
        for i in 0..active.len() {
            gram[(i, i)] += penalty;
        }
        let inverse = gram.cholesky()?.inverse();
        let mut influence = &x * inverse;
        for (i, weight) in self.weights.iter().enumerate() {
            let intercept = if self.fit_intercept { 1.0 / total } else { 0.0 };
            let leverage = weight * (influence.row(i).dot(&x.row(i)) + intercept);
            if leverage > 1.0 - 1e-9 {
                return None;
            }
            let pull = weight * residuals[i] / (1.0 - leverage);
            influence.row_mut(i).scale_mut(pull);
        }
        for (j, &column) in active.iter().enumerate() {
            errors[column] = influence.column(j).norm();
        }
        Some(errors)
    }
}

/// Returns `1 - left / spread`. For labels that are constant up to rounding: 1 if they are
/// predicted up to rounding, else 0.
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
            expected: "a penalty must be finite and not negative",
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

/// Solves least squares through singular values: `Σ σ / (σ² + alpha) (u·y) v`, without those that
/// are zero up to rounding.
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

/// Largest number of sweeps over the coefficients; a sweep costs as much as one product with the
/// samples.
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
            // Non-zero coefficients converge among themselves first.
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
                        "it did not converge within {SWEEPS} sweeps; try a larger penalty than \
                         {alpha}, fewer features or more samples"
                    ),
                });
            }
        }
        let active = (0..x.ncols()).filter(|&j| coefficients[j] != 0.0);
        let active: Vec<usize> = active.collect();
        Ok(centred.fit(coefficients, 0.0, &active))
    }
}
