//! Owen values over a hierarchy of features: SHAP's partition explainer.
//!
//! Owen, "Values of games with a priori unions", 1977; Lundberg, Lee, 2017
//! (<https://arxiv.org/abs/1705.07874>). Follows `PartitionExplainer` of the `shap` package.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::rc::Rc;

use attr_core::perturb::{Masked, Perturbation};
use attr_core::{BaselineUse, Error, Explanation, FeatureMask, Method, Question};
use serde::{Deserialize, Serialize};

use crate::hierarchy::Hierarchy;
use crate::setters::setters;

/// Nodes opened per row before the next ones are chosen: ten evaluations, as in `shap`.
const AT_ONCE: usize = 5;

/// Parameters of [`PartitionShap`], under the `shap` package's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PartitionShapConfig {
    /// Largest number of forward passes per row, including the two with all and with no features;
    /// 500, as in `shap`.
    pub max_evals: usize,
    /// Perturbed copies of the batch evaluated together; by default, as many as memory allows.
    pub perturbations_per_eval: Option<usize>,
}

impl Default for PartitionShapConfig {
    fn default() -> Self {
        Self {
            max_evals: 500,
            perturbations_per_eval: None,
        }
    }
}

/// Computes Owen values: Shapley values of the two halves of every node of a hierarchy, from the
/// root down to the features. Neighbouring nodes are present as a whole or not at all.
///
/// A node with halves `l` and `r`, added to a context `C`, shares `v(C ∪ l ∪ r) - v(C)` between
/// them: `l` receives half of `v(C ∪ l) - v(C)` and half of `v(C ∪ l ∪ r) - v(C ∪ r)`. The node
/// with the largest change still to be shared is opened next. Once `max_evals` is reached, the
/// features of each node left share its value evenly. So large masks, such as an image's pixels,
/// cost no more than a coarse picture, refined where it matters.
///
/// Unless a [`Hierarchy`] is given, nearby features are grouped: halves along the longest side,
/// channels last, as for images in `shap`. The values add up to `f(x) - f(b)`. With several
/// targets, the node that changes any of them most is opened next.
///
/// Shapes: the input's, `[batch, ...]`, in units of the output; `[1, ...]` where the forward gives
/// one value for the whole batch. At most `max_evals` forward passes per row. For `n` features,
/// `2 + 2 (n² - 1) / 3` passes give exact values if the hierarchy splits evenly; otherwise more are
/// needed.
///
/// # Errors
/// [`Error::Parameter`] for fewer than two evaluations; [`Error::Method`] for a hierarchy with a
/// different number of features; [`Error::FeatureMask`] and [`Error::Shape`] for masks and
/// baselines that do not fit.
///
/// ```
/// use attr_core::Method;
/// use attr_perturb::PartitionShap;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let x = Tensor::<2>::from_floats([[2.0, 3.0, 1.0]], &device);
/// let model = |x: Tensor<2>| x.clone().narrow(1, 0, 1) * x.clone().narrow(1, 1, 1) + x.narrow(1, 2, 1);
/// let found = PartitionShap::new().attribute(&model, &x, 0)?;
/// assert_eq!(found.attribution().into_data().try_to_vec::<f32>().unwrap(), [3.0, 3.0, 1.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct PartitionShap {
    config: PartitionShapConfig,
    mask: FeatureMask,
    hierarchy: Option<Hierarchy>,
}

impl PartitionShap {
    /// Creates the method with elements as features, nearby ones grouped, and at most 500
    /// evaluations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: PartitionShapConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the largest number of forward passes per row.
    pub fn with_max_evals(mut self, max_evals: usize) -> Self {
        self.config.max_evals = max_evals;
        self
    }

    /// Sets the hierarchy of features.
    pub fn with_hierarchy(mut self, hierarchy: Hierarchy) -> Self {
        self.hierarchy = Some(hierarchy);
        self
    }

    setters!(mask, perturbations_per_eval);
}

/// A node whose change is to be shared between its halves.
struct Open {
    /// The largest change of any target, times the weight of this context.
    priority: f64,
    node: usize,
    /// The other nodes that are present.
    context: Option<Rc<Context>>,
    /// The output without the node, per target.
    without: Vec<f64>,
    /// The output with the node, per target.
    with: Vec<f64>,
    weight: f64,
    /// Order of creation: of equal priorities, the earlier node goes first.
    number: usize,
}

/// The nodes that are present: one, and those before it.
struct Context {
    node: usize,
    before: Option<Rc<Context>>,
}

/// A hierarchy, and the features of each of its nodes.
struct Tree {
    hierarchy: Hierarchy,
    members: Vec<Vec<usize>>,
}

impl Tree {
    fn new(hierarchy: Hierarchy) -> Self {
        Self {
            members: hierarchy.members(),
            hierarchy,
        }
    }
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Open {}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Open {
    fn cmp(&self, other: &Self) -> Ordering {
        let priority = self.priority.total_cmp(&other.priority);
        priority.then(other.number.cmp(&self.number))
    }
}

/// The remaining work and the results so far for one row.
struct Row {
    row: usize,
    queue: BinaryHeap<Open>,
    /// `[target][feature]`.
    values: Vec<Vec<f64>>,
    evaluations: usize,
    opened: usize,
}

impl Row {
    /// Queues a node, or adds to the value of a feature.
    fn add(&mut self, hierarchy: &Hierarchy, mut open: Open) {
        if hierarchy.below(open.node).is_none() {
            for (t, values) in self.values.iter_mut().enumerate() {
                values[open.node] += (open.with[t] - open.without[t]) * open.weight;
            }
            return;
        }
        let changes = open.with.iter().zip(&open.without);
        let changes = changes.map(|(with, without)| (with - without).abs());
        open.priority = changes.fold(0.0, f64::max) * open.weight;
        open.number = self.opened;
        self.opened += 1;
        self.queue.push(open);
    }
}

impl Method for PartitionShap {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let inputs = question.inputs();
        let most = self.config.max_evals;
        if most < 2 {
            return Err(Error::Parameter {
                name: "max_evals",
                value: most.to_string(),
                expected: "at least 2 are needed: with all features and with none",
            });
        }
        let per_eval = self.config.perturbations_per_eval;
        let masked = Masked::new(question, &self.mask, per_eval)?;
        let features = masked.features();
        let trees: Vec<Tree> = match &self.hierarchy {
            Some(hierarchy) if hierarchy.features() != features => {
                return Err(Error::Method {
                    method: "partition SHAP",
                    reason: format!(
                        "the hierarchy has {} features, but there are {features}",
                        hierarchy.features()
                    ),
                });
            }
            Some(hierarchy) => vec![Tree::new(hierarchy.clone())],
            // If each row has its own mask, features lie in different places.
            None => {
                let features = self.mask.resolve(inputs)?;
                let masks = if features.shared() {
                    &inputs.origin()[..1]
                } else {
                    inputs.origin()
                };
                let of = |&row: &usize| Tree::new(Hierarchy::of_places(&features, row, inputs));
                masks.iter().map(of).collect()
            }
        };
        let tree = |row: usize| &trees[row.min(trees.len() - 1)];
        let start = masked.at_baseline()?;
        let rows = (0..masked.rows()).map(|row| {
            let mut one = Row {
                row,
                queue: BinaryHeap::new(),
                values: vec![vec![0.0; features]; question.targets().len()],
                evaluations: 2,
                opened: 0,
            };
            let whole = Open {
                priority: 0.0,
                node: tree(row).hierarchy.root(),
                context: None,
                without: start.iter().map(|start| start[row]).collect(),
                with: masked.scores().iter().map(|s| f64::from(s[row])).collect(),
                weight: 1.0,
                number: 0,
            };
            one.add(&tree(row).hierarchy, whole);
            one
        });
        let mut rows: Vec<Row> = rows.collect();
        loop {
            let mut opened: Vec<(usize, Open)> = Vec::new();
            for (r, row) in rows.iter_mut().enumerate() {
                for _ in 0..AT_ONCE {
                    if row.evaluations + 2 > most {
                        break;
                    }
                    let Some(open) = row.queue.pop() else { break };
                    row.evaluations += 2;
                    opened.push((r, open));
                }
            }
            if opened.is_empty() {
                break;
            }
            let half = |k: usize| {
                let (row, open) = &opened[k / 2];
                let halves = tree(*row).hierarchy.below(open.node);
                halves.map(|halves| halves[k % 2])
            };
            let copies = (0..2 * opened.len()).map(|number| Perturbation {
                row: rows[opened[number / 2].0].row,
                number,
            });
            let found = masked.at(copies.len(), copies, &|k, present| {
                let (row, open) = &opened[k / 2];
                let mut nodes: Vec<usize> = half(k).into_iter().collect();
                let mut context = &open.context;
                while let Some(one) = context {
                    nodes.push(one.node);
                    context = &one.before;
                }
                for node in nodes {
                    for &feature in &tree(*row).members[node] {
                        present[feature] = 1.0;
                    }
                }
            })?;
            for (k, (r, open)) in opened.into_iter().enumerate() {
                let Some(halves) = tree(r).hierarchy.below(open.node) else {
                    continue;
                };
                let alone = |side: usize| -> Vec<f64> {
                    found.iter().map(|found| found[2 * k + side]).collect()
                };
                for (side, &half) in halves.iter().enumerate() {
                    let other = halves[1 - side];
                    let beside = Some(Rc::new(Context {
                        node: other,
                        before: open.context.clone(),
                    }));
                    let contexts = [
                        (open.context.clone(), open.without.clone(), alone(side)),
                        (beside, alone(1 - side), open.with.clone()),
                    ];
                    for (context, without, with) in contexts {
                        let below = Open {
                            priority: 0.0,
                            node: half,
                            context,
                            without,
                            with,
                            weight: open.weight / 2.0,
                            number: 0,
                        };
                        rows[r].add(&tree(r).hierarchy, below);
                    }
                }
            }
        }
        let mut values: Vec<Vec<Vec<f64>>> = vec![Vec::new(); question.targets().len()];
        for mut row in rows {
            for open in std::mem::take(&mut row.queue) {
                let members = &tree(row.row).members[open.node];
                for (t, values) in row.values.iter_mut().enumerate() {
                    let change = (open.with[t] - open.without[t]) * open.weight;
                    for &feature in members {
                        values[feature] += change / members.len() as f64;
                    }
                }
            }
            for (values, own) in values.iter_mut().zip(row.values) {
                values.push(own);
            }
        }
        Ok(masked.complete(&values, None, &start))
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Perturbation
    }
}
