//! Parquet files in the layout of Hugging Face: a column of images, a column of labels.

mod chunks;
mod footer;

use std::iter;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow_schema::DataType;
use attr_store::Folder;

use self::footer::Columns;
pub use self::footer::LABEL;
use crate::error::Error;
use crate::listing::{Fingerprint, Shards, guarded, label};
use crate::sample::{Content, Format, Raw, Stream};

/// Files of rows.
pub struct Parquets {
    shards: Shards,
    columns: Columns,
    labels: bool,
}

/// Some rows.
struct Batch {
    /// The number of the first row in its file.
    first: u64,
    rows: usize,
    image: ArrayRef,
    bytes: BinaryArray,
    paths: Option<StringArray>,
    labels: Option<ArrayRef>,
}

impl Parquets {
    /// Reads the footers of files.
    pub fn open(
        folder: &Folder,
        names: &[String],
        image: &str,
        label: &str,
        fingerprint: &mut Fingerprint,
    ) -> Result<Self, Error> {
        fingerprint.text(image);
        fingerprint.text(label);
        let columns = Columns {
            image: image.into(),
            label: label.into(),
        };
        let (mut shards, mut labels) = (Shards::new(folder), false);
        for name in names {
            labels |= shards.push(name, fingerprint, |path, file| {
                let footer = columns.footer(path, file)?;
                Ok((footer.rows, footer.has_label))
            })?;
        }
        Ok(Self {
            shards,
            columns,
            labels,
        })
    }

    /// Reads rows of one file, some at a time.
    fn batches(
        &self,
        shard: usize,
        mut rows: Range<u64>,
    ) -> Result<impl Iterator<Item = Result<Batch, Error>> + use<'_>, Error> {
        let file = self.shards.open(shard)?;
        let path = self.shards.path(shard);
        let footer = self.columns.footer(&path, &file)?;
        let batches = footer.reader(file, &rows);
        let mut batches = batches.map_err(|reason| Error::Parquet {
            path: path.clone(),
            reason,
        })?;
        Ok(iter::from_fn(move || {
            if rows.is_empty() {
                return None;
            }
            let batch = guarded(|| batches.next().transpose());
            let batch = batch.and_then(|batch| match batch {
                Some(batch) => Batch::new(&batch, &self.columns, rows.start),
                None => Err("it has fewer rows than its footer declares".into()),
            });
            let batch = batch.map_err(|reason| Error::Parquet {
                path: path.clone(),
                reason,
            });
            rows.start += batch.as_ref().map_or(0, |batch| batch.rows as u64);
            Some(batch)
        }))
    }
}

impl Batch {
    /// Takes the columns of some rows.
    fn new(batch: &RecordBatch, columns: &Columns, first: u64) -> Result<Self, String> {
        let taken = || {
            let image = batch.column_by_name(&columns.image)?;
            let (bytes, paths) = match image.as_struct_opt() {
                Some(image) => (image.column_by_name("bytes")?, image.column_by_name("path")),
                None => (image, None),
            };
            Some(Self {
                first,
                rows: batch.num_rows(),
                image: image.clone(),
                bytes: bytes.as_binary_opt::<i32>()?.clone(),
                paths: paths.and_then(|paths| paths.as_string_opt::<i32>().cloned()),
                labels: batch.column_by_name(&columns.label).cloned(),
            })
        };
        taken().ok_or_else(|| "its columns are not of the types it declares".into())
    }

    /// Returns a row; its name is the path of the image, or else the file and the row.
    fn row(&self, file: &str, row: usize) -> Raw {
        let has_image = !self.image.is_null(row);
        let path = self
            .paths
            .as_ref()
            .filter(|paths| has_image && !paths.is_null(row));
        let path = path
            .map(|paths| paths.value(row))
            .filter(|path| !path.is_empty());
        let content = if !has_image || self.bytes.is_null(row) {
            Content::Unreadable(match path {
                Some(_) => "its image has a path, but no bytes".into(),
                None => "its image is null".into(),
            })
        } else {
            Content::Encoded(self.bytes.value(row).to_vec())
        };
        let number = self.first + row as u64;
        let labels = self.labels.as_ref().filter(|labels| !labels.is_null(row));
        let value = labels.and_then(|labels| integer(labels, row));
        // Hugging Face's mark for the rows of a test set, whose labels are kept secret.
        let value = value.filter(|&value| value != -1);
        Raw {
            name: path.map_or_else(|| format!("{file}#{number}"), str::to_string),
            label: value
                .map(label)
                .transpose()
                .map(|label| label.map(|l| l as usize)),
            content,
        }
    }
}

/// Returns a number of a column of integers.
fn integer(column: &dyn Array, row: usize) -> Option<i128> {
    fn at<T: ArrowPrimitiveType<Native: Into<i128>>>(
        column: &dyn Array,
        row: usize,
    ) -> Option<i128> {
        Some(column.as_primitive_opt::<T>()?.value(row).into())
    }
    match column.data_type() {
        DataType::Int8 => at::<Int8Type>(column, row),
        DataType::Int16 => at::<Int16Type>(column, row),
        DataType::Int32 => at::<Int32Type>(column, row),
        DataType::Int64 => at::<Int64Type>(column, row),
        DataType::UInt8 => at::<UInt8Type>(column, row),
        DataType::UInt16 => at::<UInt16Type>(column, row),
        DataType::UInt32 => at::<UInt32Type>(column, row),
        DataType::UInt64 => at::<UInt64Type>(column, row),
        _ => None,
    }
}

impl Format for Parquets {
    fn kind(&self) -> &'static str {
        "Parquet"
    }

    fn len(&self) -> u64 {
        self.shards.len()
    }

    fn has_labels(&self) -> bool {
        self.labels
    }

    fn stream(&self, range: Range<u64>) -> Stream<'_> {
        self.shards.stream(range, move |shard, rows| {
            let file = self.shards.name(shard);
            let batches = self.batches(shard, rows)?;
            Ok(Box::new(batches.flat_map(move |batch| {
                let (batch, error) = match batch {
                    Ok(batch) => (Some(batch), None),
                    Err(error) => (None, Some(Err(error))),
                };
                let rows = batch.into_iter().flat_map(move |batch| {
                    (0..batch.rows).map(move |row| Ok(batch.row(file, row)))
                });
                rows.chain(error)
            })))
        })
    }
}
