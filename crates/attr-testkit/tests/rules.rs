//! Rules: another choice at a node, the true derivative elsewhere.

use std::sync::Arc;

use attr_core::{Error, Inputs, NodeView, Op, Role, Rule, Target, Traced, Value, Walk};
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
    let walk = Walk::new().with_rules(&rules).with_layers(&["hidden"]);
    let seeds = |_: &Value| Ok(vec![chosen.seed.clone()]);
    let walked = traced.walk_back(&x, &seeds, &walk).unwrap().remove(0);

    // By hand: seed @ (W2 ⊙ W2)ᵀ at the hidden layer, then past the ReLU through W1ᵀ.
    let parameters = parameters(&model);
    let seed = chosen.seed.matrix().unwrap();
    let hidden = seed.matmul(parameters[1].clone().powi_scalar(2).transpose());
    let expected = hidden.clone().matmul(parameters[0].clone().transpose());
    assert_close(
        "at the hidden layer",
        walked.layers[0].as_ref().unwrap(),
        &hidden.into(),
        1e-6,
    );
    assert_close(
        "at the input",
        walked.inputs[0].as_ref().unwrap(),
        &expected.into(),
        1e-6,
    );
}

/// DeepLIFT's rescale rule: what arrives, times the ratio of differences from the reference.
struct Rescale;

impl Rule for Rescale {
    fn backward(
        &self,
        node: &NodeView<'_>,
        arriving: Vec<Option<Value>>,
    ) -> Result<Vec<Option<Value>>, Error> {
        let (before, after) = node.reference().expect("a reference was given");
        let change_in = node.operands()[0].matrix()? - before[0].matrix()?;
        let change_out = node.outputs()[0].matrix()? - after[0].matrix()?;
        let arriving = arriving[0].as_ref().expect("something arrives").matrix()?;
        Ok(vec![Some((arriving * change_out / change_in).into())])
    }
}

#[test]
fn a_rule_sees_a_reference_pass() {
    let model = seeded(FunctionalRelu::new(&device()), 1);
    let (x, reference) = (input([3, 4], 2), input([3, 4], 3));
    let traced = Traced::new(&model, |m: &FunctionalRelu, x| m.forward(x), &x).unwrap();
    let rules = |node: &NodeView<'_>| -> Option<Arc<dyn Rule>> {
        matches!(node.op(), Op::Relu).then(|| Arc::new(Rescale) as Arc<dyn Rule>)
    };
    let held = reference.to_values();
    let walk = Walk::new().with_rules(&rules).with_reference(&held);
    let seeds = |output: &Value| Ok(vec![Target::Class(2).choose(output, &x.to_values())?.seed]);
    let walked = traced.walk_back(&x, &seeds, &walk).unwrap().remove(0);
    let multipliers = walked.inputs[0].as_ref().unwrap().matrix().unwrap();
    // Completeness holds exactly for the rescale rule, without any steps.
    let sums: Value = ((x.clone() - reference.clone()) * multipliers)
        .sum_dim(1)
        .into();
    let at = |x: &Tensor<2>| model.forward(x.clone()).narrow(1, 2, 1);
    assert_close(
        "completeness",
        &sums,
        &(at(&x) - at(&reference)).into(),
        1e-5,
    );

    let short = input([2, 4], 3).to_values();
    let refused = traced.walk_back(&x, &seeds, &Walk::new().with_reference(&short));
    assert!(matches!(refused, Err(Error::Shape { .. })));
}

#[test]
fn an_edit_masks_what_arrives() {
    let model = seeded(FunctionalRelu::new(&device()), 1);
    let x = input([3, 4], 2);
    let traced = Traced::new(&model, |m: &FunctionalRelu, x| m.forward(x), &x).unwrap();
    let mask = Tensor::<2>::from_floats([[0.0, 1.0, 0.0, 0.0, 0.0, 0.0]], &device());
    let edit = |node: &NodeView<'_>, output: usize, value: Value| {
        assert_eq!(output, 0);
        match node.name() {
            "hidden" => Ok((value.matrix()? * mask.clone()).into()),
            _ => Ok(value),
        }
    };
    let walk = Walk::new().with_edit(&edit).with_layers(&["hidden"]);
    let seeds = |output: &Value| {
        let values = x.to_values();
        let seed = |class| Ok(Target::Class(class).choose(output, &values)?.seed);
        (0..2).map(seed).collect()
    };
    let walked = traced.walk_back(&x, &seeds, &walk).unwrap();
    assert_eq!(walked.len(), 2, "one walk for each seed");
    for walked in walked {
        let hidden = walked.layers[0].as_ref().unwrap().to_vec().unwrap();
        for row in hidden.chunks(6) {
            assert!(
                row[1] != 0.0 && row[0] == 0.0 && row[2..] == [0.0; 4],
                "{row:?}"
            );
        }
    }
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
