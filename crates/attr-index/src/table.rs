//! Tables as Parquet files.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float32Type, Float64Type, UInt32Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, Float32Array, Float64Array, ListArray, PrimitiveArray, RecordBatch,
    StringArray, UInt32Array, UInt64Array,
};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::statistics::{ExactSum, Total};
use crate::strengths::Key;
use crate::{Error, Mode, Reference, References, Statistics};

/// Returns the content of a Parquet file with some columns. The same columns give the same bytes.
pub fn encode(columns: Vec<(&str, ArrayRef)>) -> Result<Vec<u8>, Error> {
    let nullable = |(name, column): (&str, ArrayRef)| {
        let nulls = column.null_count() > 0 || NULLABLE.contains(&name);
        (name.to_string(), column, nulls)
    };
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(nullable));
    let batch = batch.map_err(|error| Error::Encode(error.to_string()))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let write = || {
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
        writer.write(&batch)?;
        writer.into_inner()
    };
    write().map_err(|error: ParquetError| Error::Encode(error.to_string()))
}

/// A column of numbers below 2^32, some of which may be missing.
pub fn small_numbers(
    name: &str,
    numbers: impl Iterator<Item = Option<usize>>,
) -> Result<ArrayRef, Error> {
    let small = |number: Option<usize>| number.map(u32::try_from).transpose();
    let small = numbers.map(small).collect::<Result<UInt32Array, _>>();
    match small {
        Ok(column) => Ok(Arc::new(column)),
        Err(_) => Err(Error::Encode(format!(
            "column {name:?} takes numbers below 4294967296"
        ))),
    }
}

/// Columns that may hold nothing in a row, whether a table has such rows or not.
const NULLABLE: [&str; 3] = ["class", "target", "label"];

/// The rows of a Parquet file.
pub struct Rows {
    path: std::path::PathBuf,
    batches: Vec<RecordBatch>,
}

impl Rows {
    /// Reads a file's content.
    pub fn decode(path: &Path, content: Vec<u8>) -> Result<Self, Error> {
        // The decoder panics at some damaged files.
        let read = AssertUnwindSafe(|| {
            let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(content))?.build()?;
            reader
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| ParquetError::External(Box::new(error)))
        });
        let damaged = |reason: String| Error::Damaged {
            path: path.into(),
            reason: format!("it is no table: {reason}"),
        };
        let batches = catch_unwind(read).map_err(|_| damaged("its decoder panicked".into()))?;
        Ok(Self {
            path: path.into(),
            batches: batches.map_err(|error| damaged(error.to_string()))?,
        })
    }

    /// An error of this file.
    pub fn damaged(&self, reason: impl Into<String>) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            reason: reason.into(),
        }
    }

    pub fn column<'a, A: 'a>(
        &'a self,
        name: &str,
        typed: impl Fn(&'a ArrayRef) -> Option<&'a A>,
    ) -> Result<Vec<&'a A>, Error> {
        let column = |batch: &'a RecordBatch| {
            let column = batch.column_by_name(name);
            let complete =
                |column: &&ArrayRef| column.null_count() == 0 || NULLABLE.contains(&name);
            let column = column.filter(complete).and_then(&typed);
            column.ok_or_else(|| {
                self.damaged(format!(
                    "its column {name:?} is missing, of another type, or not complete"
                ))
            })
        };
        self.batches.iter().map(column).collect()
    }

    /// A column of numbers.
    pub fn numbers<T: ArrowPrimitiveType>(&self, name: &str) -> Result<Vec<T::Native>, Error> {
        let columns = self.column(name, |column| column.as_primitive_opt::<T>())?;
        let values = |column: &PrimitiveArray<T>| column.values().to_vec();
        Ok(columns.into_iter().flat_map(values).collect())
    }

    /// A column of numbers, some of which may be missing.
    pub fn optional(&self, name: &str) -> Result<Vec<Option<usize>>, Error> {
        let columns = self.column(name, |column| column.as_primitive_opt::<UInt32Type>())?;
        let values = columns.into_iter().flat_map(|column| column.iter());
        Ok(values
            .map(|value| value.map(|value| value as usize))
            .collect())
    }

    /// A column of texts.
    pub fn texts(&self, name: &str) -> Result<Vec<&str>, Error> {
        let columns = self.column(name, |column| column.as_string_opt::<i32>())?;
        let values = columns.into_iter().flat_map(|column| column.iter());
        Ok(values.map(Option::unwrap_or_default).collect())
    }

    /// A column of lists of numbers.
    fn lists(&self, name: &str) -> Result<Vec<Vec<f64>>, Error> {
        let columns = self.column(name, |column| column.as_list_opt::<i32>())?;
        let mut found = Vec::new();
        for list in columns
            .into_iter()
            .flat_map(|column: &ListArray| column.iter())
        {
            let numbers = list
                .as_ref()
                .and_then(|list| list.as_primitive_opt::<Float64Type>());
            let numbers = numbers.filter(|numbers| numbers.null_count() == 0);
            let numbers = numbers.ok_or_else(|| {
                self.damaged(format!(
                    "its column {name:?} does not hold lists of numbers"
                ))
            })?;
            found.push(numbers.values().to_vec());
        }
        Ok(found)
    }

    /// The lists that rows belong to: columns `layer`, `mode`, `class` and `concept`.
    fn keys(&self) -> Result<Vec<(Rc<Key>, usize)>, Error> {
        let layers = self.texts("layer")?.into_iter().zip(self.texts("mode")?);
        let classes = self.optional("class")?.into_iter();
        let concepts = self.numbers::<UInt32Type>("concept")?.into_iter();
        let mut keys: Vec<(Rc<Key>, usize)> = Vec::with_capacity(concepts.len());
        for (((layer, mode), class), concept) in layers.zip(classes).zip(concepts) {
            let mode = Mode::ALL.into_iter().find(|own| own.name() == mode);
            let mode = mode.ok_or_else(|| {
                self.damaged("its column \"mode\" holds another text than relevance and activation")
            })?;
            // Rows are sorted, so that most share the key of the one before.
            let same = |(last, _): &&(Rc<Key>, usize)| {
                (&last.layer[..], last.mode, last.class) == (layer, mode, class)
            };
            let key = keys.last().filter(same).map(|(last, _)| Rc::clone(last));
            let key = key.unwrap_or_else(|| {
                let layer = layer.into();
                Rc::new(Key { layer, mode, class })
            });
            keys.push((key, concept as usize));
        }
        Ok(keys)
    }
}

/// The columns that say what each row is about.
fn key_columns<'a>(
    keys: impl Iterator<Item = (&'a Key, usize)> + Clone,
) -> Result<Vec<(&'static str, ArrayRef)>, Error> {
    let layers = keys.clone().map(|(key, _)| key.layer.as_str());
    let modes = keys.clone().map(|(key, _)| key.mode.name());
    let classes = keys.clone().map(|(key, _)| key.class);
    let concepts = keys.map(|(_, concept)| Some(concept));
    Ok(vec![
        ("layer", Arc::new(StringArray::from_iter_values(layers))),
        ("mode", Arc::new(StringArray::from_iter_values(modes))),
        ("class", small_numbers("class", classes)?),
        ("concept", small_numbers("concept", concepts)?),
    ])
}

/// Returns a table of references: `layer`, `mode`, `class` (the class whose samples are ranked; null
/// for all), `concept`, `rank` (from 0), `sample`, `target` (the class that was explained), `score` and
/// `neuron`.
pub fn encode_references(references: &References) -> Result<Vec<u8>, Error> {
    let rows = references.lists().flat_map(|(key, concept, list)| {
        let ranked = list.iter().enumerate();
        ranked.map(move |(rank, reference)| (key, concept, rank, reference))
    });
    let mut columns = key_columns(rows.clone().map(|(key, concept, _, _)| (key, concept)))?;
    let ranks = rows.clone().map(|(_, _, rank, _)| rank as u32);
    let each = rows.map(|(_, _, _, reference)| reference);
    let targets = each.clone().map(|one| one.target);
    columns.extend::<[(&str, ArrayRef); 5]>([
        ("rank", Arc::new(UInt32Array::from_iter_values(ranks))),
        (
            "sample",
            Arc::new(UInt64Array::from_iter_values(
                each.clone().map(|one| one.sample),
            )),
        ),
        ("target", small_numbers("target", targets)?),
        (
            "score",
            Arc::new(Float32Array::from_iter_values(
                each.clone().map(|one| one.score),
            )),
        ),
        (
            "neuron",
            small_numbers("neuron", each.map(|one| Some(one.neuron)))?,
        ),
    ]);
    encode(columns)
}

/// Adds the rows of a table of references, of concepts that there is room for.
pub fn decode_references(rows: &Rows, references: &mut References) -> Result<(), Error> {
    let samples = rows
        .numbers::<UInt64Type>("sample")?
        .into_iter()
        .zip(rows.optional("target")?);
    let scores = rows
        .numbers::<Float32Type>("score")?
        .into_iter()
        .zip(rows.numbers::<UInt32Type>("neuron")?);
    for ((key, concept), ((sample, target), (score, neuron))) in
        rows.keys()?.into_iter().zip(samples.zip(scores))
    {
        let reference = Reference {
            sample,
            target,
            score,
            neuron: neuron as usize,
        };
        if concept >= references.concept_lists(&key).len() {
            return Err(rows.damaged(format!(
                "it has concept {concept} of layer {:?}, of which there are no statistics",
                key.layer
            )));
        }
        references.insert(&key, concept, reference);
    }
    Ok(())
}

/// Returns a table of statistics: `layer`, `mode`, `class` (null for all), `concept`, `count`, `sum`,
/// `sum_of_squares` and `largest`. With `exact`, also the parts of both sums, to go on adding.
pub fn encode_statistics(statistics: &Statistics, exact: bool) -> Result<Vec<u8>, Error> {
    let rows = statistics.totals();
    let mut columns = key_columns(rows.map(|(key, concept, _)| (key, concept)))?;
    let totals: Vec<&Total> = statistics.totals().map(|(_, _, total)| total).collect();
    let sums = |of: fn(&Total) -> &ExactSum| -> ArrayRef {
        let rounded = totals.iter().map(|total| of(total).rounded());
        Arc::new(Float64Array::from_iter_values(rounded))
    };
    let parts = |of: fn(&Total) -> &ExactSum| -> ArrayRef {
        let parts = totals
            .iter()
            .map(|total| Some(of(total).parts.iter().copied().map(Some)));
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(parts))
    };
    let counts = totals.iter().map(|total| total.count);
    let largest = totals.iter().map(|total| total.largest);
    columns.push(("count", Arc::new(UInt64Array::from_iter_values(counts))));
    columns.push(("sum", sums(|total| &total.sum)));
    columns.push(("sum_of_squares", sums(|total| &total.sum_of_squares)));
    columns.push(("largest", Arc::new(Float32Array::from_iter_values(largest))));
    if exact {
        columns.push(("sum_parts", parts(|total| &total.sum)));
        columns.push(("sum_of_squares_parts", parts(|total| &total.sum_of_squares)));
    }
    encode(columns)
}

/// Reads a table of statistics, with the parts of its sums if it has them.
pub fn decode_statistics(rows: &Rows, exact: bool) -> Result<Statistics, Error> {
    let one = |sums: Vec<f64>| sums.into_iter().map(|sum| vec![sum]).collect();
    let parts = |name: &str| -> Result<Vec<Vec<f64>>, Error> {
        if exact {
            rows.lists(&format!("{name}_parts"))
        } else {
            rows.numbers::<Float64Type>(name).map(one)
        }
    };
    let sums = parts("sum")?.into_iter().zip(parts("sum_of_squares")?);
    let counts = rows
        .numbers::<UInt64Type>("count")?
        .into_iter()
        .zip(rows.numbers::<Float32Type>("largest")?);
    let mut statistics = Statistics::new();
    for ((key, concept), ((count, largest), (sum, squares))) in
        rows.keys()?.into_iter().zip(counts.zip(sums))
    {
        let total = Total {
            count,
            sum: ExactSum { parts: sum },
            sum_of_squares: ExactSum { parts: squares },
            largest,
        };
        if !statistics.push(&key, concept, total) {
            return Err(rows.damaged("its concepts are not in order"));
        }
    }
    Ok(statistics)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key {
            layer: "conv".into(),
            mode: Mode::Relevance,
            class: None,
        }
    }

    fn rows(content: Vec<u8>) -> Result<Rows, Error> {
        Rows::decode(Path::new("table.parquet"), content)
    }

    fn is_damage<T>(found: Result<T, Error>) -> bool {
        matches!(found, Err(Error::Damaged { .. }))
    }

    #[test]
    fn tables_of_anything_are_refused() {
        let mut references = References::new();
        let reference = Reference {
            sample: 1,
            target: None,
            score: 0.5,
            neuron: 3,
        };
        references.insert(&key(), 7, reference);
        let good = encode_references(&references).unwrap();
        let decoded = |content: Vec<u8>, room: usize| {
            let mut found = References::new();
            found.reserve(&key(), room);
            decode_references(&rows(content)?, &mut found)?;
            Ok(found)
        };
        assert_eq!(decoded(good.clone(), 8).unwrap(), references);
        assert!(
            is_damage(decoded(good.clone(), 7)),
            "a concept without room"
        );
        for at in 0..good.len() {
            let mut damaged = good.clone();
            damaged[at] ^= 0x55;
            // What it says may have changed; it must not panic or take much memory.
            let _ = decoded(damaged, 8);
            assert!(is_damage(decoded(good[..at].to_vec(), 8)), "cut at {at}");
        }
    }

    #[test]
    fn statistics_have_a_row_for_each_concept_in_order() {
        let mut statistics = Statistics::new();
        assert!(statistics.push(&key(), 0, Total::default()));
        assert!(!statistics.push(&key(), 2, Total::default()));
        let content = encode_statistics(&statistics, true).unwrap();
        assert!(decode_statistics(&rows(content.clone()).unwrap(), true).is_ok());
        // References are no statistics.
        assert!(is_damage(decode_references(
            &rows(content).unwrap(),
            &mut References::new()
        )));
        let large = small_numbers("target", std::iter::once(Some(1 << 32)));
        assert!(matches!(large, Err(Error::Encode(_))));
    }
}
