//! A file as the decoder of Parquet reads it: some bytes here, some bytes there.

use std::io::{BufReader, Read, Seek, SeekFrom};

use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::reader::{ChunkReader, Length};
use attr_store::File;
use bytes::Bytes;

/// A file that is read in any order.
pub struct Chunks(pub File);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.size()
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let mut file = self.0.clone();
        file.seek(SeekFrom::Start(start))?;
        Ok(BufReader::new(file))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let mut file = self.0.clone();
        file.seek(SeekFrom::Start(start))?;
        // A damaged file may declare any length.
        let rest = self.0.size().saturating_sub(start);
        let mut bytes = Vec::with_capacity(length.min(rest as usize));
        let read = file.take(length as u64).read_to_end(&mut bytes)?;
        if read != length {
            return Err(ParquetError::EOF(format!(
                "Expected to read {length} bytes, read only {read}"
            )));
        }
        Ok(bytes.into())
    }
}
