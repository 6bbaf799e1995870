//! What an index was made from, and how.

use std::collections::BTreeMap;
use std::path::Path;

use attr_core::walk::Composite;
use serde::{Deserialize, Serialize};

use crate::{Error, MaxTarget, ReferenceSearch};

/// What an index is made from, and how: `run.json`. Shards with the same run belong together; all else
/// is another index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// The version of attr.
    pub version: String,
    /// What identifies the model, such as the SHA-256 of its file.
    pub model: String,
    /// What identifies the data set, such as the SHA-256 of the names of its samples.
    pub data: String,
    /// The number of samples of the data set.
    pub samples: u64,
    /// The number of shards.
    pub shards: u64,
    /// The number of samples that are measured together; default 32, as in zennit-crp. Batches are
    /// the same however many shards there are, so that results are, too.
    pub batch: u64,
    /// The layers.
    pub layers: Vec<String>,
    /// How a concept's values at all positions become one.
    pub max_target: MaxTarget,
    /// Whether strengths are fractions of all channels' absolute strengths.
    pub abs_norm: bool,
    /// How many samples are kept for each concept; default 40, as in zennit-crp.
    pub sample_size: usize,
    /// Whether samples are ranked and summed up in each class, too; default true.
    pub each_target: bool,
    /// Whether the strengths of all concepts are kept for every sample, as concept vectors; default
    /// false.
    pub vectors: bool,
    /// Whatever else decides the results, such as the composite and how images are prepared.
    pub settings: BTreeMap<String, String>,
}

/// The most shards of an index: their folders have numbers of five digits.
const MOST_SHARDS: u64 = 100_000;

impl RunInfo {
    /// Describes an index in one shard with the defaults, of a search in `samples` samples.
    pub fn new<C: Composite>(
        search: &ReferenceSearch<C>,
        model: impl Into<String>,
        data: impl Into<String>,
        samples: u64,
    ) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            model: model.into(),
            data: data.into(),
            samples,
            shards: 1,
            batch: 32,
            layers: search.layers().to_vec(),
            max_target: search.max_target(),
            abs_norm: search.abs_norm(),
            sample_size: 40,
            each_target: true,
            vectors: false,
            settings: BTreeMap::new(),
        }
    }

    /// Checks numbers.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let counts = [
            ("samples", self.samples),
            ("shards", self.shards),
            ("batch", self.batch),
            ("sample_size", self.sample_size as u64),
        ];
        for (name, value) in counts {
            if value == 0 {
                return Err(Error::Parameter {
                    name,
                    value: value.to_string(),
                    expected: "it must be at least 1",
                });
            }
        }
        if self.shards > MOST_SHARDS {
            return Err(Error::Parameter {
                name: "shards",
                value: self.shards.to_string(),
                expected: "at most 100000 are possible",
            });
        }
        Ok(())
    }

    /// The samples of a shard: whole batches, as many as in any other or one fewer.
    pub(crate) fn samples_of(&self, shard: u64) -> Result<std::ops::Range<u64>, Error> {
        let shards = self.shards;
        if shard >= shards {
            return Err(Error::Shard { shard, shards });
        }
        let batches = u128::from(self.samples.div_ceil(self.batch));
        let first = |shard: u64| {
            let batch = batches * u128::from(shard) / u128::from(shards);
            (batch * u128::from(self.batch)).min(u128::from(self.samples)) as u64
        };
        Ok(first(shard)..first(shard + 1))
    }

    /// Refuses another run.
    pub(crate) fn check_same(&self, there: &Self, path: &Path) -> Result<(), Error> {
        if self == there {
            return Ok(());
        }
        let value = |run: &Self| {
            let value = serde_json::to_value(run);
            value.map_err(|_| attr_core::Error::Internal("plain data that is no JSON"))
        };
        let (own, other) = (value(self)?, value(there)?);
        let (what, there, here) = difference("", &other, &own);
        Err(Error::OtherRun {
            path: path.into(),
            what,
            there,
            here,
        })
    }
}

/// The first entry in which two values differ.
fn difference(
    name: &str,
    there: &serde_json::Value,
    here: &serde_json::Value,
) -> (String, String, String) {
    if let (Some(a), Some(b)) = (there.as_object(), here.as_object()) {
        let nothing = serde_json::Value::Null;
        for key in a.keys().chain(b.keys()) {
            let (a, b) = (
                a.get(key).unwrap_or(&nothing),
                b.get(key).unwrap_or(&nothing),
            );
            if a != b {
                return difference(key, a, b);
            }
        }
    }
    (name.into(), there.to_string(), here.to_string())
}
