//! Whether a traced model keeps the rows of a batch apart.

use crate::{Error, Kind, Traced, Value, Values};

impl Traced {
    /// Refuses a model that takes any number of rows but mixes them: its results would depend on
    /// which rows go through it together. It is tried until one try shows it, on the first row
    /// alone and beside a row of zeros. A pass that fails is left to whoever runs it in earnest.
    pub(crate) fn check_rows_apart(&self, inputs: &Values) -> Result<(), Error> {
        let known = self.mixing.get().copied();
        let difference = match known.or_else(|| self.difference_beside_zeros(inputs).ok()) {
            Some(difference) => *self.mixing.get_or_init(|| difference),
            None => 0.0,
        };
        if difference > 0.0 {
            return Err(Error::MixesRows { difference });
        }
        Ok(())
    }

    /// Returns how much the first row's output changes with a row of zeros beside it; 0 for no more
    /// than rounding, and for outputs that do not have one row for each of the input's.
    fn difference_beside_zeros(&self, inputs: &Values) -> Result<f32, Error> {
        let one = inputs.slice(0..1);
        let zeros = one.with(|i, value| one.attributed(i).then(|| value.zeros_like()));
        let both = Values::cat(vec![one.clone(), zeros])?;
        let alone = self.forward(&one)?.detached();
        let beside = self.forward(&both)?.detached();
        let fits = |output: &Value, rows| output.rows() == rows && output.kind() == Kind::Float;
        if !fits(&alone, 1) || !fits(&beside, 2) {
            return Ok(0.0);
        }
        let (alone, beside) = (alone.to_vec()?, beside.slice_rows(0..1).to_vec()?);
        let pairs = alone.iter().zip(&beside);
        let difference = pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        let largest = alone.iter().fold(0f32, |m, v| m.max(v.abs()));
        let rounding = difference <= 1e-3 * largest.max(1e-3);
        Ok(if rounding { 0.0 } else { difference })
    }
}
