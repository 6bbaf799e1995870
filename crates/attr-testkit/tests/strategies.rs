//! Tests prototypes, strategies and split channels by scikit-learn's results.

use attr_index::{ChannelSplit, ConceptVectors, Covariance, Mode, PrototypeSearch, StrategySearch};
use attr_lrp_crp::epsilon;
use attr_testkit::golden::path;
use serde::Deserialize;

/// scikit-learn 1.9.1's results; `tools/golden/strategies.py` writes them.
#[derive(Deserialize)]
struct Golden {
    rows: Vec<Vec<f32>>,
    full: Vec<f64>,
    diagonal: Vec<f64>,
    n_neighbors: usize,
    eigenvalues: Vec<f64>,
    groups: Vec<usize>,
    halves: Vec<usize>,
    silhouette: f64,
}

fn golden() -> Golden {
    let text = std::fs::read_to_string(path("strategies.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Whether two labelings make the same groups.
fn same(a: &[usize], b: &[usize]) -> bool {
    let pairs = |labels: &[usize]| -> Vec<bool> {
        let each = labels.iter();
        each.flat_map(|a| labels.iter().map(move |b| a == b))
            .collect()
    };
    pairs(a) == pairs(b)
}

#[test]
fn a_mixture_is_that_of_scikit_learn() {
    let golden = golden();
    let count = golden.rows.len();
    let vectors = ConceptVectors::new(
        "conv",
        Mode::Relevance,
        (0..count as u64).collect(),
        vec![4; count],
        &golden.rows.concat(),
    );
    let vectors = vectors.unwrap();
    let search = PrototypeSearch::new()
        .with_prototypes(1)
        .with_reg_covar(1e-4);
    for (covariance, expected) in [
        (Covariance::Full, golden.full),
        (Covariance::Diagonal, golden.diagonal),
    ] {
        let search = search.clone().with_covariance(covariance);
        let found = search.fit([Ok(vectors.clone())]).unwrap();
        let class = found.of(4).unwrap();
        for (row, expected) in golden.rows.iter().zip(expected) {
            let got = class.log_likelihood(row).unwrap();
            assert!(
                (got - expected).abs() < 1e-9,
                "{covariance:?}: {got} {expected}"
            );
        }
    }
}

#[test]
fn groups_and_eigenvalues_are_those_of_scikit_learn() {
    let golden = golden();
    let rows = golden.rows.concat();
    let search = StrategySearch::new()
        .with_n_neighbors(golden.n_neighbors)
        .with_n_eigval(golden.eigenvalues.len());
    let found = search.find(&rows, golden.rows[0].len()).unwrap();
    assert!(same(found.labels(), &golden.groups));
    for (got, expected) in found.eigenvalues().iter().zip(golden.eigenvalues) {
        assert!((got - expected).abs() < 1e-12, "{got} {expected}");
    }

    let split = ChannelSplit::new(epsilon(), "conv2", 0, "conv1");
    let found = split.split(&golden.rows).unwrap();
    let mut halves = vec![0; golden.rows.len()];
    for (part, one) in found.parts().iter().enumerate() {
        one.members.iter().for_each(|&row| halves[row] = part);
    }
    assert!(same(&halves, &golden.halves));
    assert!((found.silhouette() - golden.silhouette).abs() < 1e-12);
}
