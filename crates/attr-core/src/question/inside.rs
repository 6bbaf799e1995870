//! Access to a model that is a graph: plans, passes, activations and cuts.

use super::{Question, own};
use crate::graph::NearRow;
use crate::walk::{Composite, Pass, Plan};
use crate::{Error, Traced, Value, Values};

impl<'a> Question<'a> {
    /// Refuses layers of a graph whose rows are not along dimension 0.
    pub(crate) fn check_layers(&self, layers: &[String]) -> Result<(), Error> {
        let Some(traced) = self.model.traced() else {
            return Ok(());
        };
        let padded = self.padded(&self.inputs);
        traced.check_batch_first(layers, padded.as_ref().unwrap_or(&self.inputs))
    }

    /// Returns the model as a graph.
    ///
    /// # Errors
    /// [`Error::NotTraced`] for a model without a graph, such as a closure.
    pub fn traced(&self) -> Result<&'a Traced, Error> {
        self.model.traced().ok_or(Error::NotTraced)
    }

    /// Assigns a composite's rules to the model's nodes, for inputs like these.
    ///
    /// # Errors
    /// [`Error::NotTraced`]; as [`Traced::plan`].
    pub fn plan(&self, composite: &dyn Composite) -> Result<Plan, Error> {
        self.traced()?.plan(composite, &self.planned())
    }

    /// As [`plan`](Self::plan), for rules that treat a BatchNorm and the layer before it as they
    /// treat the two in one, where no activation matters but those of `layers`: BatchNorms are folded,
    /// which is faster.
    ///
    /// # Errors
    /// As [`plan`](Self::plan); [`Error::UnknownLayer`] with the nearest names.
    pub fn plan_at<S: AsRef<str>>(
        &self,
        composite: &dyn Composite,
        layers: &[S],
    ) -> Result<Plan, Error> {
        self.traced()?.plan_at(composite, layers, &self.planned())
    }

    /// Inputs that plans are made for. If the model requires a fixed number of rows, it is that.
    fn planned(&self) -> Values {
        self.padded(&self.inputs).unwrap_or_else(|| {
            let rows = self.bound().unwrap_or(1).min(self.inputs.rows());
            self.inputs.slice(0..rows)
        })
    }

    /// Runs one forward pass over some rows, and over a reference if one is given.
    ///
    /// # Errors
    /// [`Error::NotTraced`]; as [`Traced::pass`].
    pub fn pass(
        &self,
        rows: &Values,
        reference: Option<&Values>,
        plan: &Plan,
    ) -> Result<Pass, Error> {
        let traced = self.traced()?;
        let work = self.work.clone();
        let Some(padded) = self.padded(rows) else {
            return traced.run_pass(rows, reference, plan, work);
        };
        let reference = reference.and_then(|reference| self.padded(reference));
        let pass = traced.run_pass(&padded, reference.as_ref(), plan, work)?;
        Ok(pass.padded_from(rows.rows()))
    }

    /// Computes the activations of some layers for all rows of the inputs.
    ///
    /// # Errors
    /// [`Error::NotTraced`], [`Error::UnknownLayer`], and the model's own.
    pub fn activations<S: AsRef<str>>(&self, layers: &[S]) -> Result<Vec<Value>, Error> {
        let names: Vec<&str> = layers.iter().map(AsRef::as_ref).collect();
        let traced = self.traced()?;
        let mut parts: Vec<Vec<Value>> = vec![Vec::new(); layers.len()];
        self.quiet().for_rows(1, |rows| {
            self.count(rows.rows(), 1, 0);
            let padded = self.padded(&rows);
            let all = padded.as_ref().unwrap_or(&rows);
            let found = traced.activations(all, &names)?;
            for (parts, value) in parts.iter_mut().zip(found) {
                parts.push(own(value, &rows, all));
            }
            Ok(())
        })?;
        parts.into_iter().map(Value::cat_rows).collect()
    }

    /// Returns the model from the outputs of `layers` on, and its inputs for all rows of the
    /// question's inputs.
    ///
    /// # Errors
    /// [`Error::NotTraced`]; as [`Traced::cut`].
    pub fn cut<S: AsRef<str>>(&self, layers: &[S]) -> Result<(Traced, Values), Error> {
        let names: Vec<&str> = layers.iter().map(AsRef::as_ref).collect();
        let traced = self.traced()?;
        let mut rest = None;
        let mut parts = Vec::new();
        self.quiet().for_rows(1, |rows| {
            self.count(rows.rows(), 1, 0);
            let padded = self.padded(&rows);
            let (model, values) = traced.cut(&names, padded.as_ref().unwrap_or(&rows))?;
            parts.push(values.slice(0..rows.rows()));
            rest.get_or_insert(model);
            Ok(())
        })?;
        let rest = rest.ok_or(Error::Internal("a model was not cut"))?;
        Ok((rest, Values::cat(parts)?))
    }

    pub(crate) fn near(
        &self,
        row: &Values,
        input: usize,
        size: &[usize],
    ) -> Result<Option<NearRow>, Error> {
        let Some(traced) = self.model.traced() else {
            return Ok(None);
        };
        let near = traced.near(row, input, size)?;
        if near.is_some() {
            self.count(row.rows(), 1, 0);
        }
        Ok(near)
    }
}
