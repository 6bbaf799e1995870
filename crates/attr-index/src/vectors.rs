//! The strengths of all concepts of a layer in every sample.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float16Type;
use arrow_array::{
    ArrayRef, FixedSizeListArray, Float16Array, StringArray, UInt32Array, UInt64Array,
};
use arrow_schema::{DataType, Field};
use half::f16;

use crate::strengths::LayerStrengths;
use crate::table::{self, Rows};
use crate::{Error, Mode};

/// The strengths of all concepts of a layer in some samples, by one mode, as 16-bit numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct ConceptVectors {
    pub(crate) layer: String,
    pub(crate) mode: Mode,
    pub(crate) concepts: usize,
    pub(crate) samples: Vec<u64>,
    pub(crate) targets: Vec<usize>,
    pub(crate) values: Vec<f16>,
}

impl ConceptVectors {
    /// Creates vectors of samples, `values` being `[samples, concepts]`, that were measured in another way,
    /// such as those of a dictionary of concepts.
    ///
    /// # Errors
    /// [`Error::Groups`] unless there is one class and one vector for each sample, and for values that 16
    /// bits cannot hold.
    pub fn new(
        layer: impl Into<String>,
        mode: Mode,
        samples: Vec<u64>,
        targets: Vec<usize>,
        values: &[f32],
    ) -> Result<Self, Error> {
        let count = samples.len();
        if targets.len() != count || count == 0 || !values.len().is_multiple_of(count) {
            return Err(Error::Groups(format!(
                "there are {count} samples, {} classes and {} values",
                targets.len(),
                values.len()
            )));
        }
        let small: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
        let fits = |(small, value): (&f16, &f32)| small.is_finite() || !value.is_finite();
        if !small.iter().zip(values).all(fits) {
            return Err(Error::Groups("16-bit numbers reach to 65504".into()));
        }
        Ok(Self {
            layer: layer.into(),
            mode,
            concepts: values.len() / count,
            samples,
            targets,
            values: small,
        })
    }

    /// The number of concepts.
    pub fn concepts(&self) -> usize {
        self.concepts
    }

    /// The numbers of the samples.
    pub fn samples(&self) -> &[u64] {
        &self.samples
    }

    /// The class that each sample was explained for.
    pub fn targets(&self) -> &[usize] {
        &self.targets
    }

    /// The strengths, `[samples, concepts]`.
    pub fn values(&self) -> &[f16] {
        &self.values
    }

    /// Leaves only the samples that were explained for one class.
    pub fn of_target(&self, target: usize) -> Self {
        let own = || self.rows().filter(|((_, own), _)| **own == target);
        Self {
            layer: self.layer.clone(),
            mode: self.mode,
            concepts: self.concepts,
            samples: own().map(|((&sample, _), _)| sample).collect(),
            targets: own().map(|_| target).collect(),
            values: own().flat_map(|(_, values)| values).copied().collect(),
        }
    }

    /// Each sample with its class and its strengths.
    pub(crate) fn rows(&self) -> impl Iterator<Item = ((&u64, &usize), &[f16])> {
        let rows = self.samples.iter().zip(&self.targets);
        rows.zip(self.values.chunks_exact(self.concepts.max(1)))
    }

    pub(crate) fn of_layer(layer: &LayerStrengths) -> Self {
        Self {
            layer: layer.layer.clone(),
            mode: layer.mode,
            concepts: layer.concepts,
            samples: Vec::new(),
            targets: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Refuses strengths that 16 bits cannot hold.
    pub(crate) fn check(layer: &LayerStrengths) -> Result<(), Error> {
        let fits = |score: &&f32| !score.is_finite() || f16::from_f32(**score).is_finite();
        match layer.scores.iter().find(|score| !fits(score)) {
            None => Ok(()),
            Some(large) => Err(Error::Parameter {
                name: "vectors",
                value: format!("{large} in layer {:?}", layer.layer),
                expected: "16-bit numbers reach to 65504; normalise strengths (abs_norm)",
            }),
        }
    }

    /// Adds samples.
    pub(crate) fn add(&mut self, samples: &[u64], targets: &[usize], layer: &LayerStrengths) {
        self.samples.extend(samples);
        self.targets.extend(targets);
        let values = layer.scores.iter().map(|&score| f16::from_f32(score));
        self.values.extend(values);
    }

    /// Returns a table: `layer`, `mode`, `sample`, `target` and `values`, a list of a fixed size.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Error> {
        let rows = self.samples.len();
        let repeated = |text: &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values((0..rows).map(|_| text)))
        };
        let field = Arc::new(Field::new("item", DataType::Float16, false));
        let values = Arc::new(Float16Array::from_iter_values(self.values.iter().copied()));
        let values = FixedSizeListArray::try_new(field, self.concepts as i32, values, None);
        let values = values.map_err(|error| Error::Encode(error.to_string()))?;
        let targets = self.targets.iter().map(|&target| Some(target as u32));
        table::encode(vec![
            ("layer", repeated(&self.layer)),
            ("mode", repeated(self.mode.name())),
            ("sample", Arc::new(UInt64Array::from(self.samples.clone()))),
            ("target", Arc::new(UInt32Array::from_iter(targets))),
            ("values", Arc::new(values)),
        ])
    }

    /// Reads a table of one layer and mode.
    pub(crate) fn decode(rows: &Rows, layer: &str, mode: Mode) -> Result<Self, Error> {
        let mut concepts = 0;
        let mut values = Vec::new();
        for list in rows.column("values", |column| column.as_fixed_size_list_opt())? {
            concepts = list.value_length() as usize;
            let numbers = list.values().as_primitive_opt::<Float16Type>();
            let numbers = numbers.ok_or_else(|| {
                rows.damaged("its column \"values\" does not hold 16-bit numbers")
            })?;
            values.extend_from_slice(numbers.values());
        }
        let targets = rows.optional("target")?;
        let targets = targets.into_iter().map(Option::unwrap_or_default);
        Ok(Self {
            layer: layer.into(),
            mode,
            concepts,
            samples: rows.numbers::<arrow_array::types::UInt64Type>("sample")?,
            targets: targets.collect(),
            values,
        })
    }
}
