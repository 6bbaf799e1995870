//! The footers of Parquet files: rows, row groups and columns.

use std::ops::Range;
use std::path::Path;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelectionPolicy,
};
use ::parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use arrow_schema::DataType;
use attr_store::File;

use super::chunks::Chunks;
use crate::error::Error;
use crate::listing::guarded;

/// The maximum number of rows decoded at once, and about that of bytes.
const BATCH_ROWS: u64 = 64;
const BATCH_BYTES: u64 = 1 << 26;

/// The name of the column of labels that a file may lack.
pub const LABEL: &str = "label";

/// The names of the columns.
pub struct Columns {
    pub image: String,
    pub label: String,
}

/// What is known of a file without its rows.
pub struct Footer {
    metadata: ArrowReaderMetadata,
    projection: ProjectionMask,
    pub rows: u64,
    pub has_label: bool,
}

impl Columns {
    /// Reads a footer and checks that it fits the file and has the columns.
    pub fn footer(&self, path: &Path, file: &File) -> Result<Footer, Error> {
        let broken = |reason: String| Error::Parquet {
            path: path.into(),
            reason,
        };
        // The types of Parquet are enough; those of Arrow, if there are any, have more variants.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let chunks = Chunks(file.clone());
        let metadata = guarded(|| ArrowReaderMetadata::load(&chunks, options)).map_err(broken)?;
        let rows = count(metadata.metadata(), file.size()).map_err(broken)?;
        let column = |name: &str| metadata.schema().field_with_name(name).ok();
        let refused = |name: &str, expected| Error::Column {
            path: path.into(),
            column: name.into(),
            found: column(name).map_or("missing".into(), |field| field.data_type().to_string()),
            expected,
        };
        let image = column(&self.image).map(|field| field.data_type());
        let has_bytes = match image {
            Some(DataType::Struct(fields)) => {
                let bytes = fields.iter().find(|field| field.name() == "bytes");
                bytes.is_some_and(|field| field.data_type() == &DataType::Binary)
            }
            other => other == Some(&DataType::Binary),
        };
        if !has_bytes {
            let expected = "binary or struct<bytes: binary, path: string> is needed";
            return Err(refused(&self.image, expected));
        }
        let label = column(&self.label).map(|field| field.data_type());
        if label.map_or(self.label != LABEL, |label| !label.is_integer()) {
            return Err(refused(&self.label, "a column of integers is needed"));
        }
        let schema = metadata.parquet_schema();
        let roots = schema.root_schema().get_fields().iter().enumerate();
        let chosen = roots.filter(|(_, root)| [&*self.image, &*self.label].contains(&root.name()));
        Ok(Footer {
            projection: ProjectionMask::roots(schema, chosen.map(|(at, _)| at)),
            rows,
            has_label: label.is_some(),
            metadata,
        })
    }
}

/// Returns the number of rows, if all lies within a file of `size` bytes.
fn count(metadata: &ParquetMetaData, size: u64) -> Result<u64, String> {
    let mut rows = 0i64;
    for group in metadata.row_groups() {
        for column in group.columns() {
            let start = column.dictionary_page_offset();
            let start = start.unwrap_or(column.data_page_offset());
            let inside = |start: i64, length: i64| {
                let end = u64::try_from(start)
                    .ok()?
                    .checked_add(length.try_into().ok()?)?;
                Some(end <= size)
            };
            if inside(start, column.compressed_size()) != Some(true) {
                return Err(format!(
                    "its footer places column {:?} beyond the end of the file",
                    column.column_path().string()
                ));
            }
        }
        let more = Some(group.num_rows()).filter(|&more| more >= 0);
        let all = more.and_then(|more| rows.checked_add(more));
        rows = all.ok_or_else(|| format!("a row group of {} rows", group.num_rows()))?;
    }
    let declared = metadata.file_metadata().num_rows();
    if rows != declared {
        return Err(format!(
            "its footer declares {declared} rows, but its row groups {rows}"
        ));
    }
    Ok(rows as u64)
}

impl Footer {
    /// Begins to read rows; row groups without any of them are skipped.
    pub fn reader(self, file: File, rows: &Range<u64>) -> Result<ParquetRecordBatchReader, String> {
        let (mut groups, mut skipped, mut widest) = (Vec::new(), 0, 1);
        let mut end = 0;
        for (at, group) in self.metadata.metadata().row_groups().iter().enumerate() {
            let start = end;
            end += group.num_rows() as u64;
            if end <= rows.start {
                skipped = end;
            } else if start < rows.end {
                groups.push(at);
                widest = widest.max(row_bytes(group));
            }
        }
        let batch = (BATCH_BYTES / widest).clamp(1, BATCH_ROWS);
        let builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(Chunks(file), self.metadata)
                .with_projection(self.projection)
                .with_row_groups(groups)
                // A mask would have one bit for each row that a footer declares.
                .with_row_selection_policy(RowSelectionPolicy::Selectors)
                .with_offset((rows.start - skipped) as usize)
                .with_limit((rows.end - rows.start) as usize)
                .with_batch_size(batch as usize);
        guarded(|| builder.build())
    }
}

/// Returns about how many bytes a row has.
fn row_bytes(group: &RowGroupMetaData) -> u64 {
    (group.total_byte_size().max(0) / group.num_rows().max(1)) as u64
}
