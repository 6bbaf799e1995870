//! DeepLIFT SHAP: the mean of DeepLIFT over a distribution of baselines.
//!
//! Lundberg, Lee, "A Unified Approach to Interpreting Model Predictions", 2017
//! (<https://arxiv.org/abs/1705.07874>). Like Captum's `DeepLiftShap`, it uses every row of the
//! distribution. The rules are those of [`DeepLift`](crate::DeepLift).

use attr_core::{BaselineUse, Error, Explanation, Method, Question, Value};

use crate::deep_lift::{DeepLiftConfig, DeepLiftRule, Pairs};
use crate::rows::{Chunk, RowSums, samples_of};

/// Computes `A = 1/B Σ_b (x - b) ⊙ m(x, b)` over the `B` rows of a distribution of baselines.
///
/// This approximates Shapley values, assuming independent inputs. The convergence delta is
/// `Σ A - (f(x) - mean f(b))`.
///
/// Shapes: the input's, `[batch, ...]`. Two forward passes and one backward pass for each pair of a
/// row and a baseline.
///
/// # Errors
/// Those of [`DeepLift`](crate::DeepLift); [`Error::Method`] if the inputs' distributions differ in
/// length.
///
/// ```
/// use attr_core::{Baseline, Method, Traced};
/// use attr_gradient::DeepLiftShap;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor, activation};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let net: Linear = LinearConfig::new(2, 2).init(&device);
/// let x = Tensor::<2>::from_floats([[1.0, -2.0]], &device);
/// let known = Tensor::<2>::from_floats([[0.0, 0.0], [0.5, 1.0], [-1.0, 0.3]], &device);
/// let model = Traced::new(&net, |n: &Linear, x| activation::relu(n.forward(x)), &x)?;
/// let shap = DeepLiftShap::new().with_baseline(Baseline::Distribution(known.into()));
/// assert!(shap.attribute(&model, &x, 1)?.delta().unwrap()[0].abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeepLiftShap {
    config: DeepLiftConfig,
}

impl DeepLiftShap {
    /// Creates the method.
    ///
    /// It averages over the rows of the baselines: a
    /// [`Baseline::Distribution`](attr_core::Baseline::Distribution), or one per input with equally
    /// many rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: DeepLiftConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets whether multipliers are multiplied by `x - b`.
    pub fn with_multiply_by_inputs(mut self, multiply: bool) -> Self {
        self.config.multiply_by_inputs = multiply;
        self
    }

    /// Sets how nonlinearities are handled.
    pub fn with_rule(mut self, rule: DeepLiftRule) -> Self {
        self.config.rule = rule;
        self
    }

    fn explain_rows(
        &self,
        question: &Question<'_>,
        layers: Option<&[String]>,
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        let question = question.with_fixed_targets()?;
        let (inputs, targets) = (question.inputs(), question.targets().len());
        let pools = question.baselines().pools(inputs, layers.is_some())?;
        let lengths = || pools.iter().flatten().map(Value::rows);
        let count = lengths().max().ok_or(Error::NoGradient { input: 0 })?;
        if lengths().any(|length| length != 1 && length != count) {
            return Err(Error::Method {
                method: "DeepLIFT SHAP",
                reason: "the inputs' distributions need equally many rows, which are paired".into(),
            });
        }
        let rows = inputs.rows();
        let pairs = Pairs::new(&self.config, &question, layers)?;
        let columns = layers.map_or(inputs.values().len(), <[String]>::len);
        let mut sums = RowSums::new(rows, targets, columns);
        let mut shapes: Vec<Vec<usize>> = vec![Vec::new(); columns];
        let mut scores = vec![vec![0f32; rows]; targets];
        let each = if layers.is_some() { columns } else { 1 };
        let mut deltas = vec![vec![vec![0f32; rows]; each]; targets];
        question.for_items(rows * count, samples_of(rows, count), 2, |part| {
            let (of, picked): (Vec<usize>, Vec<usize>) = part.iter().copied().unzip();
            let expanded = inputs.select(&of);
            let reference = expanded.with(|i, _| {
                let pool = pools[i].as_ref()?;
                Some(match pool.rows() {
                    1 => pool.select_rows(&vec![0; picked.len()]),
                    _ => pool.select_rows(&picked),
                })
            });
            let found = pairs.walk(&question, &expanded, &reference)?;
            let chunk = Chunk::new(&of, |_| 1.0 / count as f64);
            for (t, found) in found.into_iter().enumerate() {
                for (column, value) in found.values.into_iter().enumerate() {
                    if let Some((matrix, shape)) = value {
                        shapes[column] = shape;
                        sums.add(t, column, matrix, &chunk);
                    }
                }
                for (item, &row) in of.iter().enumerate() {
                    scores[t][row] = found.scores[item];
                    for (all, here) in deltas[t].iter_mut().zip(&found.deltas) {
                        all[row] += here[item] / count as f32;
                    }
                }
            }
            Ok(())
        })?;
        let results = sums.finish().into_iter().zip(scores).zip(deltas);
        Ok(results
            .map(|((columns, scores), deltas)| {
                let values = columns.into_iter().zip(&shapes).map(|(sum, shape)| {
                    let mut shape = shape.clone();
                    sum.map(|sum| {
                        shape[0] = rows;
                        Value::from_matrix(sum, &shape)
                    })
                });
                let whole = Explanation::new(values.collect(), scores);
                self.config.split(whole, deltas, layers.is_some())
            })
            .collect())
    }
}

impl Method for DeepLiftShap {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let found = self.explain_rows(question, None)?;
        Ok(found.into_iter().flatten().collect())
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Distribution
    }

    fn explain_layers(
        &self,
        question: &Question<'_>,
        layers: &[String],
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        self.explain_rows(question, Some(layers))
    }
}
