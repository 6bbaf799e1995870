//! Who the samples of an index are, and which were left out.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::types::UInt64Type;
use arrow_array::{StringArray, UInt64Array};

use crate::Error;
use crate::table::{self, Rows};

/// A sample of the data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its number in the data set.
    pub number: u64,
    /// Its name, such as that of its file.
    pub name: String,
    /// Its class, if the data set has labels.
    pub label: Option<usize>,
}

/// A sample that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its number in the data set.
    pub number: u64,
    /// Its name, such as that of its file.
    pub name: String,
    /// Why it was left out.
    pub reason: String,
}

/// Samples in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Samples(Vec<Sample>);

impl Samples {
    /// Adds samples, which may be there already.
    pub fn extend(&mut self, more: impl IntoIterator<Item = Sample>) {
        let before = self.0.len();
        self.0.extend(more);
        if !self.0[before.saturating_sub(1)..].is_sorted_by(|a, b| a.number < b.number) {
            self.0.sort_by_key(|sample| sample.number);
            self.0.dedup_by_key(|sample| sample.number);
        }
    }

    /// Forgets all but some.
    pub fn retain(&mut self, kept: &BTreeSet<u64>) {
        self.0.retain(|sample| kept.contains(&sample.number));
        self.0.shrink_to_fit();
    }

    pub fn into_vec(self) -> Vec<Sample> {
        self.0
    }

    /// Returns a table: `sample`, `name` and `label`, which may be null.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let all = self.0.iter();
        let numbers = all.clone().map(|one| one.number);
        let labels = all.clone().map(|one| one.label);
        let names = all.map(|one| one.name.as_str());
        table::encode(vec![
            ("sample", Arc::new(UInt64Array::from_iter_values(numbers))),
            ("name", Arc::new(StringArray::from_iter_values(names))),
            ("label", table::small_numbers("label", labels)?),
        ])
    }

    pub fn decode(rows: &Rows) -> Result<Self, Error> {
        let names = rows.texts("name")?.into_iter().zip(rows.optional("label")?);
        let all = rows.numbers::<UInt64Type>("sample")?.into_iter().zip(names);
        let mut samples = Self::default();
        samples.extend(all.map(|(number, (name, label))| Sample {
            number,
            name: name.into(),
            label,
        }));
        Ok(samples)
    }
}

impl Skipped {
    /// Returns a table: `sample`, `name` and `reason`.
    pub(crate) fn encode(all: &[Self]) -> Result<Vec<u8>, Error> {
        let numbers = all.iter().map(|one| one.number);
        table::encode(vec![
            ("sample", Arc::new(UInt64Array::from_iter_values(numbers))),
            (
                "name",
                Arc::new(StringArray::from_iter_values(
                    all.iter().map(|one| &one.name),
                )),
            ),
            (
                "reason",
                Arc::new(StringArray::from_iter_values(
                    all.iter().map(|one| &one.reason),
                )),
            ),
        ])
    }

    pub(crate) fn decode(rows: &Rows) -> Result<Vec<Self>, Error> {
        let texts = rows.texts("name")?.into_iter().zip(rows.texts("reason")?);
        let all = rows.numbers::<UInt64Type>("sample")?.into_iter().zip(texts);
        let skipped = |(number, (name, reason)): (u64, (&str, &str))| Self {
            number,
            name: name.into(),
            reason: reason.into(),
        };
        Ok(all.map(skipped).collect())
    }
}
