//! Methods that have a form of their own at layers.

use attr_core::{Error, Explanation, LayerMethod, Model, Run, Target, Values};

/// A method that explains inputs and layers by the same steps.
pub trait ByRows {
    /// One explanation of all inputs for each target, or one for each of the layers.
    ///
    /// # Errors
    /// The method's own.
    fn explain_rows(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        layers: Option<&[String]>,
        run: &Run<'_>,
    ) -> Result<Vec<Vec<Explanation>>, Error>;
}

/// A method at some layers: what its `at_layers` gives.
#[derive(Clone, Debug)]
pub struct LayersOf<M> {
    pub(crate) method: M,
    pub(crate) layers: Vec<String>,
}

impl<M: ByRows + Send + Sync> LayerMethod for LayersOf<M> {
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
        let layers = Some(&self.layers[..]);
        self.method
            .explain_rows(model, inputs, targets, layers, run)
    }
}
