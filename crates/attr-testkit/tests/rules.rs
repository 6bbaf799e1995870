//! Rules: another choice at a node, the true derivative elsewhere.

use std::sync::Arc;

use attr_core::{Error, Inputs, NodeView, Op, Role, Rule, Target, Traced, Value};
use attr_testkit::compare::assert_close;
use attr_testkit::device;
use attr_testkit::models::{FunctionalRelu, input, seeded};
use burn::tensor::Tensor;

/// Lets everything pass, as LRP does at activations.
struct Pass;

impl Rule for Pass {
    fn backward(
        &self,
        _: &NodeView<'_>,
        arriving: Vec<Option<Value>>,
    ) -> Result<Vec<Option<Value>>, Error> {
        Ok(arriving)
    }
}

/// The derivative of the layer with its weight squared: what LRP's rules are made of.
struct Squared;

impl Rule for Squared {
    fn backward(
        &self,
        node: &NodeView<'_>,
        arriving: Vec<Option<Value>>,
    ) -> Result<Vec<Option<Value>>, Error> {
        assert_eq!(node.role(0), Role::Input);
        assert_eq!(node.role(1), Role::Parameter("second.weight"));
        assert!(node.reference().is_none());
        let mut operands = node.operands().to_vec();
        let weight = operands[1].matrix()?;
        operands[1] = weight.powi_scalar(2).into();
        node.pull_back(&operands, arriving, &[true, false, false])
    }
}

#[test]
fn a_rule_by_kind_and_a_rule_by_name() {
    let model = seeded(FunctionalRelu::new(&device()), 1);
    let x = input([3, 4], 2);
    let traced = Traced::new(&model, |m: &FunctionalRelu, x| m.forward(x), &x).unwrap();
    let output = traced.forward(&x).unwrap();
    let chosen = Target::Class(1).choose(&output, &x.to_values()).unwrap();
    let rules = |node: &NodeView<'_>| -> Option<Arc<dyn Rule>> {
        match node.op() {
            Op::Relu => Some(Arc::new(Pass)),
            _ if node.name() == "second" => Some(Arc::new(Squared)),
            _ => None,
        }
    };
    let (inputs, kept) = traced
        .walk_back(&x, &chosen.seed, &rules, &["hidden"])
        .unwrap();

    // By hand: seed @ (W2 ⊙ W2)ᵀ at the hidden layer, then past the ReLU through W1ᵀ.
    let parameters = parameters(&model);
    let seed = chosen.seed.matrix().unwrap();
    let hidden = seed.matmul(parameters[1].clone().powi_scalar(2).transpose());
    let expected = hidden.clone().matmul(parameters[0].clone().transpose());
    assert_close(
        "at the hidden layer",
        kept[0].as_ref().unwrap(),
        &hidden.into(),
        1e-6,
    );
    assert_close(
        "at the input",
        inputs[0].as_ref().unwrap(),
        &expected.into(),
        1e-6,
    );
}

/// The two weight matrices.
fn parameters(model: &FunctionalRelu) -> Vec<Tensor<2>> {
    use burn::module::{Module, ModuleVisitor, Param};
    struct Weights(Vec<Tensor<2>>);
    impl ModuleVisitor for Weights {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Ok(weight) = Value::from(param.val()).tensor::<2>() {
                self.0.push(weight);
            }
        }
    }
    let mut weights = Weights(Vec::new());
    model.visit(&mut weights);
    weights.0
}
