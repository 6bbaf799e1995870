//! Any method, at layers: the method on the model from there on.

use crate::{
    Baseline, Baselines, Error, Explanation, LayerMethod, Method, Model, Run, Target, Value,
    Values, activations, fix_targets,
};

/// A method of inputs, applied to the activations of layers: integrated gradients between
/// activations, noise on an embedding.
///
/// The model is cut behind the layers; what it reads besides, such as a skip connection around
/// them, is held. Baselines are said of the *inputs*, as in Captum: their activations are the
/// method's baselines, and tokens have token 0 as theirs. With several layers the method explains
/// their activations together, as it does several inputs; each has a share.
/// Baselines of a method that perturbs, and feature masks, are those of the layers themselves.
///
/// This is Captum's `LayerIntegratedGradients` for integrated gradients.
///
/// Shapes: the layers'. One forward pass for the activations, one for those of the baselines, and
/// the method's own work from the layers on.
///
/// # Errors
/// [`Error::NotTraced`] for a closure; [`Error::Layer`] where the model cannot be cut: one of the
/// layers has its effect through another alone, or dimension 0 is not the batch; the method's own.
#[derive(Clone, Debug)]
pub struct AtLayers<M> {
    layers: Vec<String>,
    method: M,
}

impl<M: Method> AtLayers<M> {
    /// `method` at the outputs of these layers.
    pub fn new<S: Into<String>>(layers: impl IntoIterator<Item = S>, method: M) -> Self {
        Self {
            layers: layers.into_iter().map(Into::into).collect(),
            method,
        }
    }
}

impl<M: Method> LayerMethod for AtLayers<M> {
    fn layers(&self) -> &[String] {
        &self.layers
    }

    fn explain_layers(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        run: &Run<'_>,
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        let targets = fix_targets(model, inputs, targets, run)?;
        let layers = self
            .layers
            .iter()
            .map(|layer| &layer[..])
            .collect::<Vec<_>>();
        let (rows, at_once) = (inputs.rows(), run.rows_at_once(model, inputs));
        let mut rest: Option<Box<dyn Model + '_>> = None;
        let mut parts = Vec::new();
        for start in (0..rows).step_by(at_once) {
            let cut = model.cut(&layers, &inputs.slice(start..(start + at_once).min(rows)))?;
            rest.get_or_insert(cut.model);
            parts.push(cut.inputs);
        }
        let rest = rest.ok_or(Error::Internal("a model was not cut"))?;
        let here = Values::cat(parts)?;
        let rebased = self.method.rebased(&|own| {
            let (absent, drawn) = match own.is_drawn() {
                true => (pool(own, inputs)?, true),
                false => (own.absent(inputs)?, false),
            };
            let found = activations(model, &absent, &layers, run)?.into_iter();
            Ok(Baselines::each(match drawn {
                true => found.map(Baseline::Distribution).collect(),
                false => found.map(Baseline::Tensor).collect(),
            }))
        })?;
        let found = match rebased {
            // Each row has a baseline of its own, whichever of the caller's rows it stands for.
            Some(method) => {
                let targets = targets.iter().map(|target| target.select(inputs.origin()));
                let targets: Vec<Target> = targets.collect();
                method.explain(&*rest, &here.renumbered(), &targets, run)?
            }
            None => self.method.explain(&*rest, &here, &targets, run)?,
        };
        let each = found.into_iter().map(|whole| {
            let errors = whole.standard_error.unwrap_or_default().into_iter();
            let errors = errors.map(|error| error.map(|error| vec![Some(error)]));
            let errors = errors.chain(std::iter::repeat(None));
            let values = whole.values.into_iter().take(layers.len()).zip(errors);
            let layers = values.map(|(value, standard_error)| Explanation {
                values: vec![value],
                scores: whole.scores.clone(),
                delta: whole.delta.clone(),
                standard_error,
                r_squared: whole.r_squared.clone(),
            });
            layers.collect()
        });
        Ok(each.collect())
    }
}

/// The rows that a method draws baselines from, as inputs of the model.
fn pool(baselines: &Baselines, inputs: &Values) -> Result<Values, Error> {
    let pools = baselines.pools(inputs, true)?;
    if pools.iter().any(Option::is_none) {
        return Err(Error::Method {
            method: "a distribution of baselines at a layer",
            reason: "each row has a constant of its own; give one baseline per row instead".into(),
        });
    }
    let count = pools.iter().flatten().map(Value::rows).max().unwrap_or(1);
    let mut rows = inputs.select(&vec![0; count]);
    let mut together = Vec::with_capacity(pools.len());
    for pool in pools.iter().flatten() {
        together.push(match pool.rows() {
            1 => pool.select_rows(&vec![0; count]),
            rows if rows == count => pool.clone(),
            rows => {
                return Err(Error::Method {
                    method: "a distribution of baselines at a layer",
                    reason: format!(
                        "rows belong together there, but one input has {rows} and another {count}"
                    ),
                });
            }
        });
    }
    rows = rows.with(|i, _| together.get(i).cloned());
    Ok(rows)
}
