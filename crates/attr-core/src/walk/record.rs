//! Records an explanation as a graph by walking over placeholders.

use std::sync::Arc;

use super::pass::Pass;
use super::plan::Plan;
use crate::graph::{Graph, SlotId, Source};
use crate::{Error, Traced, Value, Values};

impl Plan {
    /// Records what `explain` computes from a pass as a model. The model takes the inputs, followed
    /// by the reference if there is one, and returns what `explain` returned.
    ///
    /// The pass and its walks run on Burn's capture device, which records operations instead of
    /// computing them, so no value may be read on the host. `inputs` and `reference` serve as
    /// examples of shapes and types only.
    ///
    /// # Errors
    /// [`Error::Rule`] for a plan with a rule that reads values to refine itself; [`Error::Trace`]
    /// for an operation whose derivative is not written out in operations (sampling on a grid,
    /// deformable convolution, running extremes, shares for a convolution's weights); as
    /// [`Traced::from_function`], and whatever `explain` reports.
    ///
    /// ```
    /// use attr_core::walk::{GradientEverywhere, Walk};
    /// use attr_core::{Error, Inputs, Traced};
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::tensor::{Device, Tensor, activation};
    ///
    /// # fn main() -> Result<(), Error> {
    /// let device = Device::default();
    /// let net: Linear = LinearConfig::new(3, 1).init(&device);
    /// let x = Tensor::<2>::ones([2, 3], &device);
    /// let model = Traced::new(&net, |n: &Linear, x| activation::relu(n.forward(x)), &x)?;
    /// let plan = model.plan(&GradientEverywhere, &x)?;
    /// let saliency = plan.record(&x.to_values(), None, |pass| {
    ///     let seed = pass.output()?.map(|output| output.ones_like())?;
    ///     let walked = pass.walk(Walk::from_output(seed))?;
    ///     walked.inputs[0].clone().ok_or(Error::NoGradient { input: 0 })
    /// })?;
    /// assert_eq!(saliency.forward(&x)?.shape(), [2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn record(
        &self,
        inputs: &Values,
        reference: Option<&Values>,
        explain: impl Fn(&Pass) -> Result<Value, Error> + Send + Sync + 'static,
    ) -> Result<Traced, Error> {
        if let Some((rule, layer)) = self.reads_values() {
            return Err(Error::Rule {
                rule,
                layer,
                reason: "it reads values to refine itself, so its walk cannot be recorded".into(),
            });
        }
        self.check(inputs.values())?;
        let graph = &self.choices.graph;
        let (slots, parameters) = given(graph);
        let count = inputs.values().len();
        let attributed: Vec<bool> = (0..count).map(|i| inputs.attributed(i)).collect();
        let mut example = inputs.values().to_vec();
        example.extend(reference.iter().flat_map(|r| r.values().to_vec()));
        let example = Values::new(example.clone(), vec![true; example.len()]);
        let (plan, referred) = (self.clone(), reference.is_some());
        let forward = move |parameters: &[Value], inputs: &[Value]| {
            let mut graph = (*plan.choices.graph).clone();
            graph.device = inputs[0].device().as_dispatch().clone();
            for (&slot, value) in slots.iter().zip(parameters) {
                match &mut graph.slots[slot].source {
                    Source::Parameter(_, own) | Source::Constant(own) => *own = value.clone(),
                    Source::Input(_) | Source::Node(_) => {}
                }
            }
            let plan = plan.moved(Arc::new(graph));
            let (inputs, reference) = inputs.split_at(count);
            let values = |values: &[Value]| Values::new(values.to_vec(), attributed.clone());
            let reference = referred.then(|| values(reference));
            explain(&Pass::new(
                &plan,
                values(inputs),
                reference,
                Default::default(),
            )?)
        };
        Traced::from_function(parameters, forward, &example)
    }
}

/// The slots that have a value before anything runs, and their values by name.
fn given(graph: &Graph) -> (Vec<SlotId>, Vec<(String, Value)>) {
    let slots = graph.slots.iter().enumerate();
    let given = slots.filter_map(|(slot, of)| match &of.source {
        Source::Parameter(path, value) => Some((slot, (path.clone(), value.clone()))),
        Source::Constant(value) => Some((slot, (format!("constant {slot}"), value.clone()))),
        Source::Input(_) | Source::Node(_) => None,
    });
    given.unzip()
}
