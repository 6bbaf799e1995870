//! Softmax and layer normalisation, decomposed into steps that have rules.

use attr_core::walk::{NodeView, Rule, Shares};
use attr_core::{Error, Value};
use burn::tensor::Tensor;

use super::parts::{arriving_matrix, reference};

/// Softmax `s = exp(u)` with `u = x - L` and `L = log Σ exp(x)`: the rescale rule for the
/// exponential and for the logarithm of the sum of exponentials.
///
/// With `Λ(a, b) = (a - b) / (log a - log b)`, the logarithmic mean, the multipliers are
/// `m_u = m Λ(s, s₀)` and `m_x = m_u - w Σ m_u`, where `w_j = Λ(e_j, e₀_j) / Λ(Σe, Σe₀)` with
/// `e = exp(x)`. Everything is computed from logarithms, so nothing overflows.
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
        let (before, _) = reference(node)?;
        let shape = arriving.shape();
        // `[outer, classes, inner]`
        let outer = shape[..self.dim].iter().product();
        let inner = shape[self.dim + 1..].iter().product();
        let sizes = [outer, shape[self.dim], inner];
        let blocks = |value: &Value| value.clone().reshape(&sizes).tensor::<3>();
        let sign = if self.negated { -1.0 } else { 1.0 };
        let (x, x0) = (
            blocks(&node.operands()[0])? * sign,
            blocks(&before[0])? * sign,
        );
        let (l, l0) = (log_sum_exp(x.clone()), log_sum_exp(x0.clone()));
        let multiplier = blocks(&arriving)?;
        let at_u = if self.logarithmic {
            multiplier
        } else {
            multiplier * log_mean(x.clone() - l.clone(), x0.clone() - l0.clone())
        };
        // Shifting all logarithms equally cancels in the quotient.
        let shift = l.clone().max_pair(l0.clone());
        let parts = log_mean(x - shift.clone(), x0 - shift.clone());
        let whole = log_mean(l - shift.clone(), l0 - shift);
        let share = at_u.clone() - parts / whole * at_u.sum_dim(1);
        Ok(vec![Some(Value::from(share * sign).reshape(&shape))].into())
    }
}

/// `log Σ exp(x)` over dimension 1.
fn log_sum_exp(x: Tensor<3>) -> Tensor<3> {
    let largest = x.clone().max_dim(1);
    (x - largest.clone()).exp().sum_dim(1).log() + largest
}

/// `(exp a - exp b) / (a - b)`.
fn log_mean(a: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    // Masked values are often infinite, and their difference would be NaN. Half precision holds
    // this limit, and the exponential of anything near it is 0.
    let (a, b) = (a.clamp_min(-6e4), b.clamp_min(-6e4));
    let distance = (a.clone() - b.clone()).abs();
    let near = distance.clone().lower_elem(1e-2);
    // `(1 - exp(-d)) / d`; near 0, its series, whose next term is below 1e-9.
    let series = distance.clone() * distance.clone() * (1.0 / 6.0) - distance.clone() * 0.5 + 1.0;
    let series = series - distance.clone().powi_scalar(3) * (1.0 / 24.0);
    let divisor = distance.clone().mask_fill(near.clone(), 1.0);
    let direct = (distance.neg().exp().neg() + 1.0) / divisor;
    direct.mask_where(near, series) * a.max_pair(b).exp()
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
        let mut shares = vec![None; node.operands().len()];
        if arriving_matrix(&arriving)?.is_none() {
            return Ok(shares.into());
        }
        let (before, _) = reference(node)?;
        let x = &node.operands()[0];
        let shape = x.shape();
        let width = shape.last().copied().unwrap_or(1);
        let sizes = [shape.iter().product::<usize>() / width.max(1), width];
        let lines = |value: &Value| value.clone().reshape(&sizes).tensor::<2>();
        let centred = |x: Tensor<2>| {
            let mean = x.clone().mean_dim(1);
            x - mean
        };
        let (c, c0) = (centred(lines(x)?), centred(lines(&before[0])?));
        let deviation = |c: &Tensor<2>| {
            let variance = c.clone().powi_scalar(2).mean_dim(1);
            (variance + self.epsilon).sqrt()
        };
        let (s, s0) = (deviation(&c), deviation(&c0));
        let gamma = node.operands()[1].clone().reshape(&[1, width]);
        let Some(Some(arriving)) = arriving.into_iter().next() else {
            return Ok(shares.into());
        };
        let multiplier = lines(&arriving)? * gamma.tensor::<2>()?;
        let sum = c + c0;
        let inverse = (s.clone().recip() + s0.clone().recip()) * 0.5;
        let at_variance = (multiplier.clone() * sum.clone() * 0.5).sum_dim(1).neg()
            / (s.clone() * s0.clone() * (s + s0));
        let at_c = multiplier * inverse + sum * at_variance * (1.0 / width as f64);
        shares[0] = Some(Value::from(centred(at_c)).reshape(&shape));
        Ok(shares.into())
    }
}
