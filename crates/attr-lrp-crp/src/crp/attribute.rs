//! Conditional heat maps, and relevance at layers under conditions.

use attr_core::build::ask;
use attr_core::walk::{Composite, Keep, Pass, Plan, Walk};
use attr_core::{
    Attribution, Error, Explanation, Inputs, Kind, Model, Question, Run, Target, Value, Values,
};

use super::condition::{Space, channel_dim};
use super::{Condition, Crp, Start};
use crate::canonized;
use crate::lrp::plan_to_floats;

/// The result of [`Crp::attribute`]: one map for each condition.
pub struct ConditionalAttribution<I: Inputs> {
    maps: Vec<Attribution<I>>,
    recorded: Vec<Vec<Value>>,
}

impl<I: Inputs> ConditionalAttribution<I> {
    /// Returns the maps, in the order of the conditions.
    pub fn maps(&self) -> &[Attribution<I>] {
        &self.maps
    }

    /// Returns the relevance at the recorded layers, `[condition][layer]`, each shaped like the
    /// layer's output.
    pub fn recorded(&self) -> &[Vec<Value>] {
        &self.recorded
    }
}

/// What arrived under one condition: at the inputs, and at the recorded layers.
pub(crate) struct Found {
    pub inputs: Vec<Option<Value>>,
    pub layers: Vec<Value>,
    pub scores: Vec<f32>,
}

impl<C: Composite> Crp<C> {
    /// Computes one map for each condition; without conditions, that of LRP. Inputs that hold
    /// integers, such as tokens, have no map; [record](Self::recording) their embedding.
    ///
    /// # Errors
    /// [`Error::NotTraced`] for a closure; [`Error::UnknownLayer`]; [`Error::Layer`] for a concept
    /// that a layer does not have, a layer that relevance does not reach, and layers beside each
    /// other in one condition; [`Error::Rule`] as [`Lrp`](crate::Lrp).
    pub fn attribute<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
    ) -> Result<ConditionalAttribution<I>, Error> {
        self.attribute_with(model, inputs, target, &Run::new())
    }

    /// As [`attribute`](Self::attribute), with a memory budget and progress reports.
    ///
    /// # Errors
    /// As [`attribute`](Self::attribute).
    pub fn attribute_with<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
        run: &Run<'_>,
    ) -> Result<ConditionalAttribution<I>, Error> {
        let target = target.into();
        let targets = std::slice::from_ref(&target);
        ask(model, inputs, targets, run, |question, given| {
            let (mut maps, mut recorded) = (Vec::new(), Vec::new());
            for found in self.explain(question, &self.recorded)? {
                let explanation = Explanation::new(found.inputs, found.scores);
                maps.push(Attribution::new(
                    explanation,
                    given,
                    &target,
                    question.work(),
                )?);
                recorded.push(found.layers);
            }
            Ok(ConditionalAttribution { maps, recorded })
        })
    }

    /// Answers a question about the model with what arrived under each condition, at the inputs and
    /// at `layers`.
    pub(crate) fn explain(
        &self,
        question: &Question<'_>,
        layers: &[String],
    ) -> Result<Vec<Found>, Error> {
        let model = canonized(question.traced()?, self.fold);
        let question = &question.about(&model, question.inputs().clone());
        let conditions = if self.conditions.is_empty() {
            vec![Condition::none()]
        } else {
            self.conditions.clone()
        };
        conditions.iter().try_for_each(Condition::check)?;
        let mut kept: Vec<&str> = layers.iter().map(String::as_str).collect();
        for condition in &conditions {
            kept.extend(condition.layers.iter().map(|(layer, _)| layer.as_str()));
        }
        kept.extend(self.start.layer());
        // Tokens have no relevance of their own: it ends where they are looked up.
        let plan = plan_to_floats(question, &self.composite)?.recording(&kept)?;
        let mut found: Vec<Vec<Found>> = conditions.iter().map(|_| Vec::new()).collect();
        question.for_rows(1, |rows| {
            let pass = question.pass(&rows, None, &plan)?;
            let start = self.start(question, &pass, &rows)?;
            for group in groups(&conditions, question.bound().is_some()) {
                let own: Vec<&Condition> = group.iter().map(|&i| &conditions[i]).collect();
                let parts = self.walk(&pass, &plan, &rows, &start, &own, layers)?;
                for (i, part) in group.into_iter().zip(parts) {
                    found[i].push(part);
                }
            }
            Ok(())
        })?;
        found.into_iter().map(joined).collect()
    }

    /// Returns the relevance that sets out, and a score for each row.
    fn start(
        &self,
        question: &Question<'_>,
        pass: &Pass,
        rows: &Values,
    ) -> Result<(Value, Vec<f32>), Error> {
        let relevance = match &self.start {
            Start::Target => {
                let output = pass.output()?;
                let chosen = question.chosen(&output, rows)?.into_iter().next();
                let chosen = chosen.ok_or(Error::Internal("a question without a target"))?;
                let seed = chosen.seed.zip(&output, |seed, output| seed * output)?;
                return Ok((seed, chosen.scores));
            }
            Start::Activation(layer) => pass.activation(layer)?,
            Start::Relevance(layer, relevance) => {
                let shape = pass.shape(layer)?;
                let given = relevance.rows();
                if given != 1 && given != rows.caller_rows() {
                    return Err(Error::Shape {
                        what: format!("the relevance at layer {layer:?}"),
                        got: relevance.shape(),
                        expected: format!("{shape:?} with 1 or {} rows", rows.caller_rows()),
                    });
                }
                match given {
                    1 => relevance.select_rows(&vec![0; rows.rows()]),
                    _ => relevance.select_rows(rows.origin()),
                }
            }
        };
        let scores = Value::from(relevance.matrix()?.sum_dim(1)).to_vec()?;
        Ok((relevance, scores))
    }

    /// Walks back once under conditions with the same key. All rows under the first condition come
    /// first.
    fn walk(
        &self,
        pass: &Pass,
        plan: &Plan,
        rows: &Values,
        (relevance, scores): &(Value, Vec<f32>),
        conditions: &[&Condition],
        layers: &[String],
    ) -> Result<Vec<Found>, Error> {
        let count = rows.rows();
        let each: Vec<usize> = conditions.iter().flat_map(|_| 0..count).collect();
        let seed = relevance.select_rows(&each);
        let mut walk = match self.start.layer() {
            None => Walk::from_output(seed),
            Some(layer) => Walk::from_layer(layer, seed),
        };
        if conditions.len() > 1 {
            walk = walk.on_rows(&each);
        }
        let mut kept: Vec<&str> = layers.iter().map(String::as_str).collect();
        let first = conditions.first().map_or(&[][..], |first| &first.layers);
        for (i, (layer, _)) in first.iter().enumerate() {
            let activation = pass.activation(layer)?;
            let shape = activation.shape();
            let space = Space {
                layer,
                dim: channel_dim(plan.node(layer)?, shape.len()),
                shape,
                like: &activation,
            };
            let concepts = conditions.iter().map(|condition| &condition.layers[i].1);
            let through = space.through(&concepts.collect::<Vec<_>>(), count)?;
            walk = walk.gate(layer, through, self.around());
            kept.push(layer);
        }
        let walked = pass.walk(walk.keep(Keep::Layers(&kept)))?;
        for ((layer, _), value) in first.iter().zip(&walked.layers[layers.len()..]) {
            if value.is_none() {
                return Err(Error::Layer {
                    name: layer.clone(),
                    reason: "no relevance reaches it: nothing leads from it to where relevance \
                             sets out or to another layer of the condition. Conditions on layers \
                             beside each other need `with_exclude_parallel(false)`"
                        .into(),
                });
            }
        }
        let part = |value: &Value, i: usize| value.slice_rows(i * count..(i + 1) * count);
        let parts = (0..conditions.len()).map(|i| {
            let inputs = rows.values().iter().zip(&walked.inputs).enumerate();
            let inputs = inputs.map(|(k, (input, value))| match value {
                Some(value) if rows.attributed(k) => Some(part(value, i)),
                // Rules may pass nothing to an input.
                None if rows.attributed(k) && input.kind() == Kind::Float => {
                    Some(input.zeros_like())
                }
                _ => None,
            });
            let at = layers
                .iter()
                .zip(&walked.layers)
                .map(|(layer, value)| match value {
                    Some(value) => Ok(part(value, i)),
                    None => Ok(pass.activation(layer)?.zeros_like()),
                });
            Ok(Found {
                inputs: inputs.collect(),
                layers: at.collect::<Result<_, Error>>()?,
                scores: scores.clone(),
            })
        });
        parts.collect()
    }
}

/// Returns the numbers of the conditions that can flow back together: those on the same layers. A
/// model with a fixed number of rows takes them one by one.
fn groups(conditions: &[Condition], one_by_one: bool) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (i, condition) in conditions.iter().enumerate() {
        let same = |group: &&mut Vec<usize>| conditions[group[0]].key() == condition.key();
        match groups.iter_mut().find(same).filter(|_| !one_by_one) {
            Some(group) => group.push(i),
            None => groups.push(vec![i]),
        }
    }
    groups
}

/// Joins what was found for chunks of rows.
fn joined(parts: Vec<Found>) -> Result<Found, Error> {
    let mut inputs: Vec<Vec<Option<Value>>> = Vec::new();
    let mut layers: Vec<Vec<Value>> = Vec::new();
    let mut scores = Vec::new();
    for part in parts {
        inputs.resize_with(part.inputs.len(), Vec::new);
        layers.resize_with(part.layers.len(), Vec::new);
        inputs
            .iter_mut()
            .zip(part.inputs)
            .for_each(|(all, one)| all.push(one));
        layers
            .iter_mut()
            .zip(part.layers)
            .for_each(|(all, one)| all.push(one));
        scores.extend(part.scores);
    }
    let inputs = inputs.into_iter().map(|parts| {
        let parts: Option<Vec<Value>> = parts.into_iter().collect();
        parts.map(Value::cat_rows).transpose()
    });
    Ok(Found {
        inputs: inputs.collect::<Result<_, _>>()?,
        layers: layers
            .into_iter()
            .map(Value::cat_rows)
            .collect::<Result<_, _>>()?,
        scores,
    })
}
