//! Tables as Parquet files.

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
use parquet::file::properties::WriterProperties;

use crate::statistics::{ExactSum, Total};
use crate::strengths::Key;
use crate::{Error, Mode, Reference, References, Statistics};

/// Returns the content of a Parquet file with some columns. The same columns give the same bytes.
pub fn encode(columns: Vec<(&str, ArrayRef)>) -> Result<Vec<u8>, String> {
    let nullable = |(name, column): (&str, ArrayRef)| {
        let nulls = column.null_count() > 0 || NULLABLE.contains(&name);
        (name.to_string(), column, nulls)
    };
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(nullable));
    let batch = batch.map_err(|error| error.to_string())?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let write = || {
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
        writer.write(&batch)?;
        writer.into_inner()
    };
    write().map_err(|error: parquet::errors::ParquetError| error.to_string())
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
        let read = || {
            let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(content))?.build()?;
            reader
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| parquet::errors::ParquetError::External(Box::new(error)))
        };
        let damaged = |error: parquet::errors::ParquetError| Error::Damaged {
            path: path.into(),
            reason: format!("it is no table: {error}"),
        };
        Ok(Self {
            path: path.into(),
            batches: read().map_err(damaged)?,
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
            let column = batch.column_by_name(name).and_then(&typed);
            column.ok_or_else(|| {
                self.damaged(format!("its column {name:?} is missing or of another type"))
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
        let lists = columns
            .into_iter()
            .flat_map(|column: &ListArray| column.iter());
        let numbers = |list: Option<ArrayRef>| {
            let list = list
                .as_ref()
                .and_then(|list| list.as_primitive_opt::<Float64Type>());
            list.map_or_else(Vec::new, |list| list.values().to_vec())
        };
        Ok(lists.map(numbers).collect())
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
) -> Vec<(&'static str, ArrayRef)> {
    let layers = keys.clone().map(|(key, _)| key.layer.as_str());
    let modes = keys.clone().map(|(key, _)| key.mode.name());
    let classes = keys
        .clone()
        .map(|(key, _)| key.class.map(|class| class as u32));
    let concepts = keys.map(|(_, concept)| concept as u32);
    vec![
        ("layer", Arc::new(StringArray::from_iter_values(layers))),
        ("mode", Arc::new(StringArray::from_iter_values(modes))),
        ("class", Arc::new(UInt32Array::from_iter(classes))),
        ("concept", Arc::new(UInt32Array::from_iter_values(concepts))),
    ]
}

/// Returns a table of references: `layer`, `mode`, `class` (the class whose samples are ranked; null
/// for all), `concept`, `rank` (from 0), `sample`, `target` (the class that was explained), `score` and
/// `neuron`.
pub fn encode_references(references: &References) -> Result<Vec<u8>, String> {
    let rows = references.lists().flat_map(|(key, concept, list)| {
        let ranked = list.iter().enumerate();
        ranked.map(move |(rank, reference)| (key, concept, rank, reference))
    });
    let mut columns = key_columns(rows.clone().map(|(key, concept, _, _)| (key, concept)));
    let ranks = rows.clone().map(|(_, _, rank, _)| rank as u32);
    let each = rows.map(|(_, _, _, reference)| reference);
    let targets = each
        .clone()
        .map(|one| one.target.map(|target| target as u32));
    columns.extend::<[(&str, ArrayRef); 5]>([
        ("rank", Arc::new(UInt32Array::from_iter_values(ranks))),
        (
            "sample",
            Arc::new(UInt64Array::from_iter_values(
                each.clone().map(|one| one.sample),
            )),
        ),
        ("target", Arc::new(UInt32Array::from_iter(targets))),
        (
            "score",
            Arc::new(Float32Array::from_iter_values(
                each.clone().map(|one| one.score),
            )),
        ),
        (
            "neuron",
            Arc::new(UInt32Array::from_iter_values(
                each.map(|one| one.neuron as u32),
            )),
        ),
    ]);
    encode(columns)
}

/// Adds the rows of a table of references.
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
        references.insert(&key, concept, reference);
    }
    Ok(())
}

/// Returns a table of statistics: `layer`, `mode`, `class` (null for all), `concept`, `count`, `sum`,
/// `sum_of_squares` and `largest`. With `exact`, also the parts of both sums, to go on adding.
pub fn encode_statistics(statistics: &Statistics, exact: bool) -> Result<Vec<u8>, String> {
    let rows = statistics.totals();
    let mut columns = key_columns(rows.map(|(key, concept, _)| (key, concept)));
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
        statistics.set(&key, concept, total);
    }
    Ok(statistics)
}
