//! Who the samples of an index are, and which were left out.

use std::collections::BTreeMap;
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

/// Samples by their numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Samples(pub BTreeMap<u64, Sample>);

impl Samples {
    /// Returns a table: `sample`, `name` and `label`, which may be null.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let all = self.0.values();
        let names = all.clone().map(|one| one.name.as_str());
        let labels = all.clone().map(|one| one.label);
        table::encode(vec![
            (
                "sample",
                Arc::new(UInt64Array::from_iter_values(
                    all.clone().map(|one| one.number),
                )),
            ),
            ("name", Arc::new(StringArray::from_iter_values(names))),
            ("label", table::small_numbers("label", labels)?),
        ])
    }

    pub fn decode(rows: &Rows) -> Result<Self, Error> {
        let names = rows.texts("name")?.into_iter().zip(rows.optional("label")?);
        let all = rows.numbers::<UInt64Type>("sample")?.into_iter().zip(names);
        let sample = |(number, (name, label)): (u64, (&str, Option<usize>))| {
            let name = name.to_string();
            (
                number,
                Sample {
                    number,
                    name,
                    label,
                },
            )
        };
        Ok(Self(all.map(sample).collect()))
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
