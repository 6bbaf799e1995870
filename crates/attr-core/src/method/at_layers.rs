//! Applies any method at layers, by explaining the model from those layers on.

use crate::{
    Baseline, BaselineUse, Baselines, Error, Explanation, LayerMethod, LayerNames, Method,
    Question, Target, Value, Values,
};

/// A method for inputs, applied to the activations of layers: integrated gradients between
/// activations, noise on an embedding.
///
/// The model is cut after the layers. Other values that it reads, such as a skip connection around
/// them, are held constant. Several layers are explained together, like several inputs; each gets
/// its share. DeepLIFT and related methods instead walk the whole model back to the layers, so that
/// nothing is held constant.
///
/// Baselines are given for the model's *inputs*, not for the layer, as in Captum: their activations
/// are the method's baselines, and the default for tokens is token 0. Only perturbation methods
/// take baselines, and feature masks, for the layers themselves.
///
/// With integrated gradients, this is Captum's `LayerIntegratedGradients`.
///
/// Attributions have the shapes of the layers. The work is one forward pass for the activations,
/// one for those of the baselines, and the method's own work from the layers on.
///
/// # Errors
/// [`Error::NotTraced`] for a closure; [`Error::Layer`] where the model cannot be cut: one layer
/// influences the output only through another, or dimension 0 is not the batch; the method's own.
#[derive(Clone, Debug)]
pub struct AtLayers<M> {
    layers: Vec<String>,
    method: M,
}

impl<M: Method> AtLayers<M> {
    /// Applies `method` to the outputs of one or several layers.
    pub fn new(layers: impl Into<LayerNames>, method: M) -> Self {
        Self {
            layers: layers.into().into_vec(),
            method,
        }
    }
}

impl<M: Method> LayerMethod for AtLayers<M> {
    fn layers(&self) -> &[String] {
        &self.layers
    }

    fn explain_at(&self, question: &Question<'_>) -> Result<Vec<Vec<Explanation>>, Error> {
        self.method.explain_layers(question, &self.layers)
    }

    fn baseline_use(&self) -> BaselineUse {
        self.method.baseline_use()
    }
}

/// Applies a method to the rest of the model from `layers` on, `[target][layer]`: the default of
/// [`Method::explain_layers`].
///
/// # Errors
/// As [`AtLayers`].
pub fn on_the_rest<M: Method + ?Sized>(
    method: &M,
    question: &Question<'_>,
    layers: &[String],
) -> Result<Vec<Vec<Explanation>>, Error> {
    let question = question.with_fixed_targets()?;
    let question = match method.own_baselines() {
        Some(own) => question.with_own_baselines(own),
        None => question,
    };
    let (inputs, own) = (question.inputs(), question.baselines());
    let (rest, here) = question.cut(layers)?;
    let used = method.baseline_use();
    let activations = |absent: Values| question.with_inputs(absent).activations(layers);
    let baselines = match used {
        BaselineUse::None | BaselineUse::Perturbation => None,
        BaselineUse::Reference => {
            let each = own.each_row()?;
            let each = each.iter().map(|one| activations(one.absent(inputs)?));
            let each: Vec<Vec<Value>> = each.collect::<Result<_, _>>()?;
            let of_layer = |layer: usize| {
                let several = each
                    .iter()
                    .map(|found| Baseline::Tensor(found[layer].clone()));
                let mut several: Vec<Baseline> = several.collect();
                if several.len() == 1 {
                    several.remove(0)
                } else {
                    Baseline::Several(several)
                }
            };
            Some(Baselines::each((0..layers.len()).map(of_layer).collect()))
        }
        BaselineUse::Distribution => {
            let found = activations(pool(own, inputs)?)?.into_iter();
            Some(Baselines::each(found.map(Baseline::Distribution).collect()))
        }
    };
    let found = match baselines {
        // Each row has its own baseline, even where several stand for the same caller's row.
        Some(baselines) => {
            let targets = question.targets().iter();
            let targets: Vec<Target> = targets.map(|one| one.select(inputs.origin())).collect();
            let about = question.about(&rest, here.renumbered());
            method.explain(&about.with_targets(targets).with_baselines(baselines))?
        }
        None => method.explain(&question.about(&rest, here))?,
    };
    let each = found.into_iter().map(|mut whole| {
        whole.values.truncate(layers.len());
        whole.split()
    });
    Ok(each.collect())
}

/// Returns the rows that a method draws baselines from, as inputs of the model.
fn pool(baselines: &Baselines, inputs: &Values) -> Result<Values, Error> {
    let pools = baselines.pools(inputs, true)?;
    if pools.iter().any(Option::is_none) {
        return Err(Error::Method {
            method: "a distribution of baselines at a layer",
            reason: "the model has an input with a different constant per row; give one baseline \
                     per row instead"
                .into(),
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
                        "the rows of all inputs belong together, but one input has {rows} rows and \
                         another {count}"
                    ),
                });
            }
        });
    }
    rows = rows.with(|i, _| together.get(i).cloned());
    Ok(rows)
}
