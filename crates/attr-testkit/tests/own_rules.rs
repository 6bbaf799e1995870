//! Tests rules of LRP written with only the rule interface, as users write their own: each is a few
//! lines, computes its forward part once, and relevance is conserved on a ResNet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use attr_core::op::{Binary, Op};
use attr_core::walk::{Composite, Keep, NodeInfo, NodeView, Reads, Rule, Shares, Walk};
use attr_core::{Error, Traced, Value};
use attr_testkit::device;
use attr_testkit::models::{ResNet18, input, seeded};
use burn::tensor::Tensor;

fn stabilised(z: Tensor<2>) -> Tensor<2> {
    let sign = z.clone().greater_equal_elem(0.0).float() * 2.0 - 1.0;
    z + sign * 1e-6
}

fn positive(value: &Value) -> Result<Value, Error> {
    value.map(|value| value.clamp_min(0.0))
}

fn negative(value: &Value) -> Result<Value, Error> {
    value.map(|value| value.clamp_max(0.0))
}

/// Returns what arrives at the only output.
fn relevance(arriving: &[Option<Value>]) -> Result<&Value, Error> {
    arriving[0]
        .as_ref()
        .ok_or(Error::Internal("nothing arrives"))
}

/// `R_in = x ⊙ Wᵀ (R / z)` with `z = W x`, without the bias.
struct Epsilon;

impl Rule for Epsilon {
    fn forward(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        node.rerun(&node.operands()[..2])
    }

    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        let s = relevance(&r)?.zip(&node.computed()[0], |r, z| r / stabilised(z))?;
        node.times_operands(node.pull_back_here(vec![Some(s)])?)
    }
}

/// The number of convolutions that ran for [`ZPlus`], forwards and backwards.
static PASSES: AtomicUsize = AtomicUsize::new(0);

/// `R_in = x⁺ ⊙ W⁺ᵀ (R / z) + x⁻ ⊙ W⁻ᵀ (R / z)` with `z = W⁺ x⁺ + W⁻ x⁻`.
struct ZPlus;

impl ZPlus {
    /// Returns inputs and weights of the positive contributions: one pair where `x` is never
    /// negative, otherwise two.
    fn pairs(node: &NodeView<'_>) -> Result<Vec<[Value; 2]>, Error> {
        let (x, weights) = (&node.operands()[0], node.prepared());
        let mut pairs = vec![[positive(x)?, weights[0].clone()]];
        if !node.info().non_negative(0) {
            pairs.push([negative(x)?, weights[1].clone()]);
        }
        PASSES.fetch_add(pairs.len(), Ordering::Relaxed);
        Ok(pairs)
    }
}

impl Rule for ZPlus {
    fn prepare(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        let weight = &node.operands()[1];
        Ok(vec![positive(weight)?, negative(weight)?])
    }

    fn forward(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        let pairs = Self::pairs(node)?;
        Ok(vec![Value::sum(pairs.iter().map(|p| node.output_at(p)))?])
    }

    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        let s = relevance(&r)?.zip(&node.computed()[0], |r, z| r / stabilised(z))?;
        let pairs = Self::pairs(node)?;
        let shares = pairs.iter().map(|pair| node.contribution(pair, s.clone()));
        Ok(node.only_first(Value::sum(shares)?))
    }
}

/// `R_in = 1ᵀ (R / Σ 1)`: every input of a unit gets the same share, regardless of its value.
struct Flat;

impl Rule for Flat {
    fn reads(&self, _: &NodeInfo<'_>) -> Reads {
        Reads::NOTHING
    }

    fn prepare(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        let ones = |value: &Value| value.map(|value| value.ones_like());
        let operands = [ones(&node.operands()[0])?, ones(&node.operands()[1])?];
        Ok(vec![node.output_at(&operands)?, operands[1].clone()])
    }

    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        let count = node.prepared()[0].matrix()?;
        let s = relevance(&r)?.map(|r| r / count)?;
        let operands = [node.operands()[0].clone(), node.prepared()[1].clone()];
        Ok(node.only_first(node.pull_back_first(&operands, s)?))
    }
}

/// `R_i = x_i R / Σ x`: for sums and means, residual connections among them.
struct Norm;

impl Rule for Norm {
    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        let s = relevance(&r)?.zip(&node.outputs()[0], |r, z| r / stabilised(z))?;
        node.times_operands(node.pull_back_here(vec![Some(s)])?)
    }
}

/// Passes everything on.
struct Pass;

impl Rule for Pass {
    fn reads(&self, _: &NodeInfo<'_>) -> Reads {
        Reads::NOTHING
    }

    fn backward(&self, _: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        Ok(r.into())
    }
}

struct EpsilonPlusFlat;

impl Composite for EpsilonPlusFlat {
    fn name(&self) -> String {
        "epsilon_plus_flat".into()
    }

    fn rule(&self, node: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        Ok(match node.op() {
            Op::Conv(_) if !node.follows_linear() => Some(Arc::new(Flat)),
            Op::Conv(_) => Some(Arc::new(ZPlus)),
            Op::Linear => Some(Arc::new(Epsilon)),
            Op::Binary(Binary::Add) | Op::AvgPool(_) | Op::AdaptiveAvgPool { .. } => {
                Some(Arc::new(Norm))
            }
            Op::Relu => Some(Arc::new(Pass)),
            _ => None,
        })
    }
}

#[test]
fn relevance_is_conserved_on_a_resnet() {
    let model = seeded(ResNet18::new(10, &device()), 3);
    let x = input([2, 3, 32, 32], 4);
    let traced = Traced::new(&model, |m: &ResNet18, x| m.forward(x), &x).unwrap();
    let traced = traced.fold_batch_norm();
    let plan = traced.plan(&EpsilonPlusFlat, &x).unwrap();

    let rules = plan
        .nodes()
        .map(|(info, rule)| (info, rule.map(|rule| rule.name())));
    let rules: Vec<(NodeInfo<'_>, Option<String>)> = rules.collect();
    let of = |name: &str| {
        rules
            .iter()
            .filter(|(_, rule)| rule.as_deref() == Some(name))
            .count()
    };
    assert_eq!(
        (of("Flat"), of("ZPlus"), of("Epsilon")),
        (1, 19, 1),
        "{plan}"
    );
    assert_eq!((of("Norm"), of("Pass")), (9, 17), "{plan}");
    assert_eq!(
        rules[0].1.as_deref(),
        Some("Flat"),
        "the first layer that runs"
    );
    // Every convolution but the first reads the output of a ReLU, or a maximum of such outputs.
    for (info, rule) in &rules {
        if rule.as_deref() == Some("ZPlus") {
            assert!(info.non_negative(0), "{}", info.name());
        }
    }

    let pass = traced.pass(&x, &plan).unwrap();
    let output = pass.output().unwrap();
    let seed = output.map(|output| {
        let first = output.clone().narrow(1, 0, 1);
        let [rows, classes] = output.dims();
        Tensor::cat(
            vec![first, Tensor::zeros([rows, classes - 1], &output.device())],
            1,
        )
    });
    let seed = seed.unwrap();
    PASSES.store(0, Ordering::Relaxed);
    let walked = pass
        .walk(Walk::from_output(seed.clone()).keep(Keep::All))
        .unwrap();
    // One pass forwards and one back for each of 19 convolutions, half of what both signs need.
    assert_eq!(PASSES.load(Ordering::Relaxed), 2 * 19);
    pass.walk(Walk::from_output(seed.clone())).unwrap();
    assert_eq!(
        PASSES.load(Ordering::Relaxed),
        3 * 19,
        "the forward part is computed once"
    );

    let sums = |value: &Value| value.matrix().unwrap().sum_dim(1);
    let sums = |value: &Value| Value::from(sums(value)).to_vec().unwrap();
    let expected = sums(&seed);
    let found = sums(walked.inputs[0].as_ref().unwrap());
    for (found, expected) in found.iter().zip(&expected) {
        let off = (found - expected).abs() / expected.abs();
        assert!(off < 1e-3, "{found} of {expected} arrives");
    }
}
