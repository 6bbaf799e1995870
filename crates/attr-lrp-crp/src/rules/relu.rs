//! Rules for ReLUs that are no LRP rules, but part of zennit's composites.

use attr_core::walk::{NodeInfo, NodeView, Reads, Rule, Shares};
use attr_core::{Error, Value};

use super::relevance;

/// `R_in = max(R, 0)`, whatever the ReLU did. Zeiler, Fergus, "Visualizing and Understanding
/// Convolutional Networks", 2014 (<https://arxiv.org/abs/1311.2901>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReLUDeconvNet;

impl Rule for ReLUDeconvNet {
    fn reads(&self, _: &NodeInfo<'_>) -> Reads {
        Reads::NOTHING
    }

    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        Ok(node.only_first(relevance(&r)?.map(|r| r.clamp_min(0.0))?))
    }
}

/// `R_in = max(R, 0)` where the ReLU was active, else 0. Springenberg et al., "Striving for
/// Simplicity", 2014 (<https://arxiv.org/abs/1412.6806>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReLUGuidedBackprop;

impl Rule for ReLUGuidedBackprop {
    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        let positive = relevance(&r)?.map(|r| r.clamp_min(0.0))?;
        Ok(node.pull_back_here(vec![Some(positive)])?.into())
    }
}

/// `R_in = σ(β x) R`: the derivative of a smooth ReLU. Dombrowski et al., "Explanations Can Be
/// Manipulated and Geometry Is to Blame", 2019 (<https://arxiv.org/abs/1906.07983>).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReLUBetaSmooth {
    beta_smooth: f64,
}

impl Default for ReLUBetaSmooth {
    /// `β = 10`, as in zennit.
    fn default() -> Self {
        Self::new(10.0)
    }
}

impl ReLUBetaSmooth {
    /// Creates the rule.
    pub fn new(beta_smooth: f64) -> Self {
        Self { beta_smooth }
    }
}

impl Rule for ReLUBetaSmooth {
    fn reads(&self, _: &NodeInfo<'_>) -> Reads {
        Reads::OPERANDS
    }

    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        let smooth = |r, x: burn::tensor::Tensor<2>| {
            burn::tensor::activation::sigmoid(x * self.beta_smooth) * r
        };
        Ok(node.only_first(relevance(&r)?.zip(&node.operands()[0], smooth)?))
    }
}
