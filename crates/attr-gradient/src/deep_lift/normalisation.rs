//! Softmax and layer normalisation, decomposed into steps that have rules.

use attr_core::walk::{NodeView, Rule, Shares, in_pieces};
use attr_core::{Error, Value};
use burn::tensor::Tensor;

use super::parts::{larger, reference};

/// Softmax `s = exp(u)` with `u = x - L` and `L = log Σ exp(x)`: the rescale rule for the
/// exponential and for the logarithm of the sum of exponentials.
///
/// With `Λ(a, b) = (a - b) / (log a - log b)`, the logarithmic mean, the multipliers are
/// `m_u = m Λ(s, s₀)` and `m_x = m_u - w Σ m_u`, where `w_j = Λ(e_j, e₀_j) / Λ(Σe, Σe₀)` with
/// `e = exp(x)`. Sums are never larger than 1, so nothing overflows.
///
/// Captum 0.9.0 subtracts a mean over the whole batch instead, so a row's result depends on the
/// other rows and the sum is wrong.
pub(super) struct Softmax {
    dim: usize,
    negated: bool,
    logarithmic: bool,
}

impl Softmax {
    pub fn new(dim: usize) -> Self {
        Self {
            dim,
            negated: false,
            logarithmic: false,
        }
    }

    /// Softmin: the softmax of `-x`.
    pub fn negated(mut self) -> Self {
        self.negated = true;
        self
    }

    /// Log-softmax: `u` itself.
    pub fn logarithmic(mut self) -> Self {
        self.logarithmic = true;
        self
    }
}

impl Rule for Softmax {
    fn backward(&self, node: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error> {
        let Some(Some(arriving)) = arriving.into_iter().next() else {
            return Ok(node.nothing());
        };
        let (before, after) = reference(node)?;
        let shape = arriving.shape();
        let classes = shape[self.dim];
        let inner: usize = shape[self.dim + 1..].iter().product();
        let values = [
            &node.operands()[0],
            &before[0],
            &node.outputs()[0],
            &after[0],
            &arriving,
        ];
        let share = in_pieces(&values, classes * inner, |values| {
            let sizes = [values[0].rows(), classes, inner];
            let blocks = |value: &Value| value.clone().reshape(&sizes).tensor::<3>();
            let blocks: Vec<Tensor<3>> = values.iter().map(blocks).collect::<Result<_, _>>()?;
            Ok(Value::from(self.share(blocks)?))
        })?;
        Ok(vec![Some(share)].into())
    }
}

impl Softmax {
    /// What arrives at the input, of `[outer, classes, inner]`: `values` are input and output, each
    /// followed by the reference's, and what arrives at the output.
    fn share(&self, values: Vec<Tensor<3>>) -> Result<Tensor<3>, Error> {
        let values: Result<[Tensor<3>; 5], _> = values.try_into();
        let Ok([x, x0, y, y0, multiplier]) = values else {
            return Err(Error::Internal("a softmax without its values"));
        };
        let sign = if self.negated { -1.0 } else { 1.0 };
        let (x, x0) = (x * sign, x0 * sign);
        let (s, s0) = if self.logarithmic {
            (y.exp(), y0.exp())
        } else {
            (y, y0)
        };
        // `s = exp(x - L)`, most precisely where it is largest.
        let log_sum =
            |x: &Tensor<3>, s: &Tensor<3>| x.clone().max_dim(1) - s.clone().max_dim(1).log();
        let (l, l0) = (log_sum(&x, &s), log_sum(&x0, &s0));
        // Shifting all logarithms equally cancels in the quotient.
        let shift = l.clone().max_pair(l0.clone());
        let (a, b) = (l.clone() - shift.clone(), l0.clone() - shift);
        let (whole, whole0) = (a.clone().exp(), b.clone().exp());
        let parts = log_mean(
            x.clone() - x0.clone(),
            s.clone() * whole.clone(),
            s0.clone() * whole0.clone(),
        );
        let at_u = if self.logarithmic {
            multiplier
        } else {
            multiplier * log_mean((x - l) - (x0 - l0), s, s0)
        };
        let weight = parts / log_mean(a - b, whole, whole0);
        let share = at_u.clone() - weight * at_u.sum_dim(1);
        Ok(share * sign)
    }
}

/// `(exp a - exp b) / (a - b)` of `a - b`, `exp a` and `exp b`.
fn log_mean(difference: Tensor<3>, a: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    // The logarithms of masked values are infinite, and their difference NaN where both are; there
    // `a` and `b` are 0, and so is what this multiplies.
    let distance = difference.clone().mask_fill(difference.is_nan(), 0.0).abs();
    let near = distance.clone().lower_elem(1e-2);
    // `(1 - exp(-d)) / d` near 0, its series, whose next term is below 1e-9.
    let series = distance.clone() * (-1.0 / 24.0) + 1.0 / 6.0;
    let series = (series * distance.clone() - 0.5) * distance.clone() + 1.0;
    let direct = (a.clone() - b.clone()).abs() / distance.mask_fill(near.clone(), 1.0);
    direct.mask_where(near, series * larger(a, b))
}

/// Layer normalisation `y = γ c / σ + β` with `c = x - mean(x)` and `σ = √(mean(c²) + ε)`: the
/// midpoint rule for the product and the square, the rescale rule for `1/σ`.
///
/// `m_c = m γ mean(1/σ, 1/σ₀) + m_v (c + c₀) / n` with
/// `m_v = -Σ(m γ (c + c₀) / 2) / (σ σ₀ (σ + σ₀))`, and `m_x = m_c - mean(m_c)`.
pub(super) struct LayerNorm {
    pub epsilon: f64,
}

impl Rule for LayerNorm {
    fn backward(&self, node: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error> {
        let Some(Some(arriving)) = arriving.into_iter().next() else {
            return Ok(node.nothing());
        };
        let (before, _) = reference(node)?;
        let x = &node.operands()[0];
        let width = x.shape().last().copied().unwrap_or(1);
        let gamma = node.operands()[1]
            .clone()
            .reshape(&[1, width])
            .tensor::<2>()?;
        let share = in_pieces(&[x, &before[0], &arriving], width, |values| {
            let lines: Vec<Tensor<2>> =
                values.iter().map(Value::tensor).collect::<Result<_, _>>()?;
            let lines: Result<[Tensor<2>; 3], _> = lines.try_into();
            let Ok([x, before, arriving]) = lines else {
                return Err(Error::Internal("a normalisation without its values"));
            };
            Ok(Value::from(self.share(x, before, arriving * gamma.clone())))
        })?;
        let mut shares = vec![None; node.operands().len()];
        shares[0] = Some(share);
        Ok(shares.into())
    }
}

impl LayerNorm {
    /// What arrives at the lines of the input, from what arrives at `c / σ`.
    fn share(&self, x: Tensor<2>, before: Tensor<2>, multiplier: Tensor<2>) -> Tensor<2> {
        let width = x.dims()[1];
        let centred = |x: Tensor<2>| {
            let mean = x.clone().mean_dim(1);
            x - mean
        };
        let (c, c0) = (centred(x), centred(before));
        let deviation = |c: &Tensor<2>| {
            let variance = (c.clone() * c.clone()).mean_dim(1);
            (variance + self.epsilon).sqrt()
        };
        let (s, s0) = (deviation(&c), deviation(&c0));
        let sum = c + c0;
        let inverse = (s.clone().recip() + s0.clone().recip()) * 0.5;
        let at_variance = (multiplier.clone() * sum.clone() * 0.5).sum_dim(1).neg()
            / (s.clone() * s0.clone() * (s + s0));
        let at_c = multiplier * inverse + sum * at_variance * (1.0 / width as f64);
        centred(at_c)
    }
}
