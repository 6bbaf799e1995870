//! Predictions, and which rows pass a test.

use attr_tree::{Aggregate, Branch, Node, Test, Tree, TreeEnsemble};

fn branch(test: Test, missing_passes: bool) -> Branch {
    Branch {
        feature: 0,
        test,
        missing_passes,
        pass: 1,
        fail: 2,
    }
}

fn stump(test: Test, missing_passes: bool) -> Tree {
    Tree::new(vec![
        Node::Branch(branch(test, missing_passes)),
        Node::Leaf(vec![(0, 1.0), (1, 10.0)]),
        Node::Leaf(vec![(1, 4.0)]),
    ])
}

#[test]
fn tests_pass_what_they_say() {
    let values = [-1.0, -0.0, 0.0, 1.0, f32::NAN, f32::INFINITY];
    let cases = [
        (
            Test::LessOrEqual(0.0),
            [true, true, true, false, false, false],
        ),
        (Test::Less(0.0), [true, false, false, false, false, false]),
        (
            Test::GreaterOrEqual(0.0),
            [false, true, true, true, false, true],
        ),
        (Test::Greater(0.0), [false, false, false, true, false, true]),
        (Test::Equal(0.0), [false, true, true, false, false, false]),
        // NaN is not 0, in ONNX Runtime, too.
        (Test::NotEqual(0.0), [true, false, false, true, true, true]),
        (
            Test::Member(vec![1.0, -0.0]),
            [false, true, true, true, false, false],
        ),
        (
            Test::Member(vec![0.0, -0.0, -1.0]),
            [true, true, true, false, false, false],
        ),
        (Test::Member(vec![]), [false; 6]),
    ];
    for (test, expected) in cases {
        for missing_passes in [false, true] {
            let ensemble = TreeEnsemble::new(1, 2, vec![stump(test.clone(), missing_passes)]);
            let outputs = ensemble.unwrap().predict(&values).unwrap();
            for (at, &passes) in expected.iter().enumerate() {
                let passes = passes || missing_passes && values[at].is_nan();
                let expected = if passes { [1.0, 10.0] } else { [0.0, 4.0] };
                assert_eq!(outputs[2 * at..2 * at + 2], expected, "{test:?} {at}");
            }
        }
    }
}

#[test]
fn values_are_compared_in_32_bits() {
    // 0.1 in 32 bits lies above 0.1 in 64 bits.
    let ensemble = TreeEnsemble::new(1, 2, vec![stump(Test::LessOrEqual(0.1), false)]).unwrap();
    assert_eq!(ensemble.predict(&[0.1]).unwrap(), [1.0, 10.0]);
}

#[test]
fn outputs_are_put_together() {
    let trees = vec![stump(Test::Less(0.0), false), stump(Test::Less(5.0), false)];
    let ensemble = TreeEnsemble::new(1, 2, trees).unwrap();
    assert_eq!(ensemble.predict(&[1.0]).unwrap(), [1.0, 14.0]);
    let mean = ensemble.with_aggregate("AVERAGE".parse::<Aggregate>().unwrap());
    let mean = mean.with_base(vec![100.0, 0.5]).unwrap();
    assert_eq!(
        mean.predict(&[1.0, -1.0]).unwrap(),
        [100.5, 7.5, 101.0, 10.5]
    );
    assert!(mean.predict(&[]).unwrap().is_empty());
}

#[test]
fn cover_is_counted() {
    let tree = stump(Test::Less(0.0), true);
    let ensemble = TreeEnsemble::new(1, 2, vec![tree]).unwrap();
    let ensemble = ensemble
        .with_cover_of(&[1.0, -1.0, f32::NAN, 0.0, 0.5])
        .unwrap();
    assert_eq!(ensemble.trees()[0].cover, [5.0, 2.0, 3.0]);
}
