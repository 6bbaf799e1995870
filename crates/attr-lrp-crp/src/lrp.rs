//! LRP as a method.

use attr_core::build::ask;
use attr_core::op::Op;
use attr_core::walk::{Composite, Ledger, NodeInfo, Pass, Plan, Walk};
use attr_core::{
    ByRules, Error, Explanation, Inputs, Method, Model, Question, Run, Target, Traced, Value,
    Values,
};

use crate::crp::Found;
use crate::{Condition, Crp};

/// Propagates the target's score back to the input, by the rules of a composite.
///
/// The relevance at the output is the output where the target is, and 0 elsewhere, as in zennit: for
/// a class, its score. Rules that conserve relevance make the values sum to it, up to what biases
/// and stabilisers take.
///
/// BatchNorms are folded into the layer before them first, which zennit leaves to canonizers;
/// [`without_folding`](Self::without_folding) turns that off. Models need no other preparation: rules
/// belong to the operations that the model runs, in the order in which they run. Fused attention is
/// expanded into simple nodes.
///
/// Shapes: the input's, `[batch, ...]`; at a layer, its activation's. One forward pass per row, with
/// what rules add to it, and one walk back per row and target.
///
/// # Errors
/// [`Error::NotTraced`] for a closure; [`Error::Rule`] for a layer without a sensible rule, such as a
/// softmax, and for a rule that does not fit its layer; [`Error::NoGradient`] for tokens.
///
/// ```
/// use attr_core::{Method, Traced};
/// use attr_lrp_crp::{Lrp, epsilon_plus_flat};
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor, activation};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let net: Linear = LinearConfig::new(3, 2).with_bias(false).init(&device);
/// let x = Tensor::<2>::ones([1, 3], &device);
/// let model = Traced::new(&net, |n: &Linear, x| activation::relu(n.forward(x)), &x)?;
/// let found = Lrp::new(epsilon_plus_flat()).attribute(&model, &x, 1)?;
/// let sum: f32 = found.attribution().clone().sum().into_scalar();
/// assert!((sum - found.scores()[0]).abs() < 1e-4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Lrp<C> {
    rules: ByRules<C>,
    fold: bool,
    condition: Option<Condition>,
}

/// Returns the model in the form that rules are made for: fused attention expanded into simple nodes
/// and, if `fold` says so, BatchNorms folded into the layers before them.
pub fn canonized(model: &Traced, fold: bool) -> Traced {
    let model = if fold {
        model.fold_batch_norm()
    } else {
        model.clone()
    };
    model.expand_attention()
}

impl<C: Composite> Lrp<C> {
    /// Creates the method from a composite, such as [`epsilon_plus_flat`](crate::epsilon_plus_flat).
    pub fn new(composite: C) -> Self {
        Self {
            rules: ByRules::new(composite).from_scores(),
            fold: true,
            condition: None,
        }
    }

    /// Lets relevance flow only through the concepts of a condition, as [`Crp`] does for several.
    /// The score sets out, whatever [`starting_with`](Self::starting_with) says.
    pub fn under(mut self, condition: Condition) -> Self {
        self.condition = Some(condition);
        self
    }

    /// Starts with what a function makes of the target's seed (1 at a class, 0 elsewhere) and of the
    /// output, both `[batch, ...]`, instead of their product: other relevance at the output, such
    /// as that of a segmentation mask.
    pub fn starting_with(
        mut self,
        relevance: impl Fn(&Value, &Value) -> Result<Value, Error> + Send + Sync + 'static,
    ) -> Self {
        self.rules = self.rules.starting_with(relevance);
        self
    }

    /// Starts with the score at the target's class, and with the same amount, negative and spread
    /// evenly, at all other classes: what speaks for this class rather than for another.
    ///
    /// Gu et al., "Understanding Individual Decisions of CNNs via Contrastive Backpropagation", 2018
    /// (<https://arxiv.org/abs/1812.02100>), CLRP1 without its final ReLU. For language models, whose
    /// vocabulary is large, `Target::weights` with `-1/V` everywhere and 1 at the token is usual.
    pub fn contrastive(self) -> Self {
        self.starting_with(|seed, output| {
            seed.zip(output, |seed, output| {
                let score = (seed.clone() * output).sum_dim(1);
                let others = (seed.dims()[1].max(2) - 1) as f64;
                let rest = seed.ones_like() - seed.clone();
                seed * score.clone() - rest * score / others
            })
        })
    }

    /// Leaves BatchNorms as layers of their own.
    pub fn without_folding(mut self) -> Self {
        self.fold = false;
        self
    }

    /// Returns, for each row, where the relevance of the target's score has gone: what arrives at
    /// the inputs, and what is lost at which layer to biases, to stabilisers, or because a rule
    /// drops it. For tokens, relevance arrives at their embeddings.
    ///
    /// ```
    /// use attr_core::Traced;
    /// use attr_lrp_crp::{Lrp, epsilon};
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::tensor::{Device, Tensor, activation};
    ///
    /// # fn main() -> Result<(), attr_core::Error> {
    /// let device = Device::default();
    /// let net: Linear = LinearConfig::new(3, 2).init(&device);
    /// let x = Tensor::<2>::ones([1, 3], &device);
    /// let model = Traced::new(&net, |n: &Linear, x| n.forward(x), &x)?;
    /// let ledger = &Lrp::new(epsilon()).ledgers(&model, &x, 1)?[0];
    /// println!("{ledger}");
    /// assert!(ledger.error() < 1e-5);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`attribute`](Method::attribute).
    pub fn ledgers<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
    ) -> Result<Vec<Ledger>, Error> {
        ask(
            model,
            inputs,
            &[target.into()],
            &Run::new(),
            |question, _| {
                self.canonized(question, |question| {
                    let plan = plan_to_floats(question, self.rules.composite())?;
                    let inputs = question.inputs();
                    let mut ledgers = Vec::with_capacity(inputs.rows());
                    question.for_chunks(inputs.rows(), 0..inputs.rows(), 1, |row| {
                        let row = inputs.slice(row[0]..row[0] + 1);
                        let pass = question.pass(&row, None, &plan)?;
                        let seed = self.seed(question, &pass, &row)?;
                        let walked = pass.walk(Walk::from_output(seed).with_ledger())?;
                        ledgers.extend(walked.ledger);
                        Ok(())
                    })?;
                    Ok(ledgers)
                })
            },
        )
    }

    /// Returns how much of the target's relevance flows through each element of the weights of linear
    /// layers, by the path of the parameter: what to keep when a network is pruned. Summed over
    /// rows and positions; a weight used twice counts both uses. Where BatchNorms are folded, the
    /// folded weight's.
    ///
    /// The sum over a weight is what its layer passes on to its input. Yeom et al., "Pruning by
    /// Explaining", 2021 (<https://arxiv.org/abs/1912.08881>).
    ///
    /// # Errors
    /// As [`attribute`](Method::attribute).
    pub fn weights<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
    ) -> Result<Vec<(String, Value)>, Error> {
        ask(
            model,
            inputs,
            &[target.into()],
            &Run::new(),
            |question, _| {
                self.canonized(question, |question| {
                    let plan = plan_to_floats(question, self.rules.composite())?;
                    let mut found: Vec<(String, Value)> = Vec::new();
                    question.for_rows(1, |rows| {
                        let pass = question.pass(&rows, None, &plan)?;
                        let seed = self.seed(question, &pass, &rows)?;
                        let walked = pass.walk(Walk::from_output(seed).with_weights())?;
                        for (path, share) in walked.weights {
                            match found.iter_mut().find(|(known, _)| *known == path) {
                                Some((_, sum)) => {
                                    *sum = sum.zip(&share, |sum, share| sum + share)?
                                }
                                None => found.push((path, share)),
                            }
                        }
                        Ok(())
                    })?;
                    Ok(found)
                })
            },
        )
    }

    /// The relevance at the output for the question's first target.
    fn seed(&self, question: &Question<'_>, pass: &Pass, rows: &Values) -> Result<Value, Error> {
        let output = pass.output()?;
        let chosen = question.chosen(&output, rows)?.into_iter().next();
        let chosen = chosen.ok_or(Error::Internal("a question without a target"))?;
        self.rules.start(chosen.seed, &output)
    }

    /// Answers a question about the [canonized] model.
    fn canonized<T>(
        &self,
        question: &Question<'_>,
        answer: impl FnOnce(&Question<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let model = canonized(question.traced()?, self.fold);
        answer(&question.about(&model, question.inputs().clone()))
    }
}

/// Assigns the rules, for walks to the inputs or, if all of them are integers, to where these are
/// looked up.
pub(crate) fn plan_to_floats(
    question: &Question<'_>,
    composite: &dyn Composite,
) -> Result<Plan, Error> {
    let inputs = question.inputs();
    let plan = question.plan(composite)?;
    if (0..inputs.values().len()).any(|i| inputs.attributed(i)) {
        return Ok(plan);
    }
    let ends = embeddings(&plan.reaching_all());
    if ends.is_empty() {
        return Err(Error::NoGradient { input: 0 });
    }
    plan.to_layers(&ends)
}

/// The layers that look rows of a table up by numbers from the inputs.
fn embeddings(plan: &Plan) -> Vec<String> {
    let looks_up = |node: &NodeInfo<'_>| {
        let selects = matches!(
            node.op(),
            Op::Embedding | Op::Gather { .. } | Op::GatherNd | Op::Select { .. }
        );
        selects && !node.varies(0) && node.is_float(0) && node.varies(1)
    };
    let nodes = plan.nodes().filter(|(node, _)| looks_up(node));
    nodes.map(|(node, _)| node.name().to_string()).collect()
}

impl<C: Composite> Lrp<C> {
    /// Returns what arrives under a condition for each target, at the inputs and at `layers`.
    fn conditional(
        &self,
        condition: &Condition,
        question: &Question<'_>,
        layers: &[String],
    ) -> Result<Vec<Found>, Error> {
        let composite: &dyn Composite = self.rules.composite();
        let mut crp = Crp::new(composite).with_condition(condition.clone());
        if !self.fold {
            crp = crp.without_folding();
        }
        let each = question.targets().iter().map(|target| {
            let found = crp.explain(&question.with_targets(vec![target.clone()]), layers)?;
            let first = found.into_iter().next();
            first.ok_or(Error::Internal("a condition without a result"))
        });
        each.collect()
    }
}

impl<C: Composite> Method for Lrp<C> {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        if let Some(condition) = &self.condition {
            let found = self.conditional(condition, question, &[])?.into_iter();
            return Ok(found
                .map(|f| Explanation::new(f.inputs, f.scores))
                .collect());
        }
        self.canonized(question, |question| self.rules.explain(question))
    }

    fn explain_layers(
        &self,
        question: &Question<'_>,
        layers: &[String],
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        if let Some(condition) = &self.condition {
            let found = self.conditional(condition, question, layers)?.into_iter();
            return Ok(found
                .map(|found| {
                    let layers = found.layers.into_iter();
                    layers
                        .map(|value| Explanation::new(vec![Some(value)], found.scores.clone()))
                        .collect()
                })
                .collect());
        }
        self.canonized(question, |question| {
            self.rules.explain_layers(question, layers)
        })
    }
}
