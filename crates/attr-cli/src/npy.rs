//! Reads and writes NumPy arrays.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use attr_core::Kind;
use attr_data::{Array, Elements};
use npyz::{DType, NpyFile, Order, TypeChar, WriterBuilder};
use zip::ZipArchive;

use crate::error::Error;

/// The maximum number of elements of an array: 256 Mi, or 1 GiB of floats.
const MOST_ELEMENTS: usize = 1 << 28;

/// Reads a `.npy` file for values of `kind`; `check` sees its shape before its data is read.
pub fn read(
    path: &Path,
    kind: Kind,
    check: impl FnOnce(&[usize]) -> Result<(), String>,
) -> Result<Array, Error> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| Error::input(format!("cannot read {shown}: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    decode(BufReader::new(file), size, kind, check)
        .map_err(|reason| Error::input(format!("{shown}: {reason}")))
}

/// Archives above this many bytes are rejected if compressed by more than this ratio.
const LARGEST_UNPACKED: u64 = 1 << 28;
const LARGEST_RATIO: u64 = 100;

/// Reads all arrays of a `.npz` file, with their names.
pub fn read_archive(path: &Path) -> Result<Vec<(String, Array)>, Error> {
    let shown = path.display();
    let broken = |reason: String| Error::input(format!("{shown}: {reason}"));
    let file =
        File::open(path).map_err(|error| Error::input(format!("cannot read {shown}: {error}")))?;
    let mut archive = ZipArchive::new(BufReader::new(file))
        .map_err(|error| broken(format!("not an .npz archive: {error}")))?;
    let names = archive.file_names();
    let names = names.collect::<Result<Vec<_>, _>>();
    let names = names.map_err(|error| broken(error.to_string()))?;
    let names = names.iter().filter_map(|name| name.strip_suffix(".npy"));
    let names: Vec<String> = names.map(str::to_string).collect();
    let (mut all, mut packed) = (0u64, 0u64);
    for name in &names {
        let array = archive.by_name(&format!("{name}.npy"));
        let array = array.map_err(|error| broken(error.to_string()))?;
        all = all.saturating_add(array.size());
        packed = packed.saturating_add(array.compressed_size());
    }
    if all > LARGEST_UNPACKED && all / LARGEST_RATIO > packed {
        return Err(broken(format!(
            "it would grow from {packed} to {all} bytes; give a .npy instead"
        )));
    }
    let mut arrays = Vec::with_capacity(names.len());
    for name in names {
        let array = archive.by_name(&format!("{name}.npy"));
        let mut array = array.map_err(|error| broken(error.to_string()))?;
        let size = array.size();
        let decoded = decode(&mut array, size, Kind::Int, |_| Ok(()));
        let decoded = decoded.map_err(|e| broken(format!("array {name:?}: {e}")))?;
        // The checksum is compared at the end of the entry.
        std::io::copy(&mut array, &mut std::io::sink())
            .map_err(|error| broken(format!("array {name:?}: {error}")))?;
        arrays.push((name, decoded));
    }
    Ok(arrays)
}

/// The maximum length of a header, in bytes.
const LONGEST_HEADER: u64 = 1 << 20;

/// The most brackets around anything in a header: a dictionary with a tuple has two.
const DEEPEST_HEADER: i32 = 4;

/// Decodes an array of `size` bytes for values of `kind`; a header that declares more, or a shape
/// that `check` refuses, is rejected before reading data.
fn decode(
    mut reader: impl Read,
    size: u64,
    kind: Kind,
    check: impl FnOnce(&[usize]) -> Result<(), String>,
) -> Result<Array, String> {
    let not_npy = |error: std::io::Error| format!("not a .npy array: {error}");
    // Magic, version, and the length of the header that follows.
    let mut start = [0; 12];
    reader.read_exact(&mut start).map_err(not_npy)?;
    let length = match start[6] {
        0 | 1 => u64::from(u16::from_le_bytes([start[8], start[9]])),
        _ => u64::from(u32::from_le_bytes([
            start[8], start[9], start[10], start[11],
        ])),
    };
    if length > size.min(LONGEST_HEADER) {
        return Err(format!("not a .npy array: a header of {length} bytes"));
    }
    // The parser's time doubles with each level of brackets.
    let rest = match start[6] {
        0 | 1 => length.saturating_sub(2),
        _ => length,
    };
    let mut text = vec![0; rest as usize];
    reader.read_exact(&mut text).map_err(not_npy)?;
    let levels = text.iter().scan(0i32, |level, byte| {
        *level += match byte {
            b'(' | b'[' | b'{' => 1,
            b')' | b']' | b'}' => -1,
            _ => 0,
        };
        Some(*level)
    });
    if levels.max().unwrap_or(0) > DEEPEST_HEADER {
        return Err("not a .npy array: its header is nested too deeply".into());
    }
    let mut reader = (&start[..]).chain(&text[..]).chain(reader);
    let header = npyz::NpyHeader::from_reader(&mut reader).map_err(not_npy)?;
    let DType::Plain(element) = header.dtype() else {
        return Err("arrays of records are not supported".into());
    };
    let width = element.num_bytes().unwrap_or(1) as u64;
    let announced = header
        .shape()
        .iter()
        .try_fold(width, |n, &d| n.checked_mul(d));
    if announced.is_none_or(|bytes| bytes > size) {
        return Err(format!(
            "its header declares shape {:?}, but the file has only {size} bytes",
            header.shape()
        ));
    }
    let shape: Vec<usize> = header.shape().iter().map(|&d| d as usize).collect();
    check(&shape)?;
    if shape.iter().product::<usize>() > MOST_ELEMENTS {
        return Err(format!(
            "its shape {shape:?} has more than {MOST_ELEMENTS} elements; give fewer rows"
        ));
    }
    let fortran = header.order() == Order::Fortran;
    let array = NpyFile::with_header(header, reader);
    let float = kind == Kind::Float;
    let elements = match (element.type_char(), width) {
        (TypeChar::Float, 2) => Elements::Float(each(array, half::f16::to_f32)?),
        (TypeChar::Float, 4) => Elements::Float(each(array, |v: f32| v)?),
        (TypeChar::Float, 8) => Elements::Float(each(array, |v: f64| v as f32)?),
        // Small numbers are read as floats at once: integers would take up to eight times as much.
        (TypeChar::Int, 1) if float => Elements::Float(each::<i8, _>(array, f32::from)?),
        (TypeChar::Int, 2) if float => Elements::Float(each::<i16, _>(array, f32::from)?),
        (TypeChar::Uint, 1) if float => Elements::Float(each::<u8, _>(array, f32::from)?),
        (TypeChar::Uint, 2) if float => Elements::Float(each::<u16, _>(array, f32::from)?),
        (TypeChar::Int, 1) => Elements::Int(each::<i8, _>(array, i64::from)?),
        (TypeChar::Int, 2) => Elements::Int(each::<i16, _>(array, i64::from)?),
        (TypeChar::Int, 4) => Elements::Int(each::<i32, _>(array, i64::from)?),
        (TypeChar::Int, 8) => Elements::Int(each(array, |v: i64| v)?),
        (TypeChar::Uint, 1) => Elements::Int(each::<u8, _>(array, i64::from)?),
        (TypeChar::Uint, 2) => Elements::Int(each::<u16, _>(array, i64::from)?),
        (TypeChar::Uint, 4) => Elements::Int(each::<u32, _>(array, i64::from)?),
        (TypeChar::Uint, 8) => Elements::Int(each(array, |v: u64| v as i64)?),
        (TypeChar::Bool, _) => Elements::Bool(each(array, |v: bool| v)?),
        _ => return Err(format!("elements of type {element} are not supported")),
    };
    Ok(if fortran {
        row_major(Array { shape, elements })
    } else {
        Array { shape, elements }
    })
}

/// Reads all elements and converts each.
fn each<T: npyz::Deserialize, U>(
    array: NpyFile<impl Read>,
    convert: impl Fn(T) -> U,
) -> Result<Vec<U>, String> {
    let count = array.len() as usize;
    let mut values = Vec::new();
    let memory = |_| format!("there is no memory for its {count} elements");
    values.try_reserve_exact(count).map_err(memory)?;
    let data = array.data::<T>().map_err(|error| error.to_string())?;
    for value in data {
        let value = value.map_err(|error| format!("its data cannot be read: {error}"))?;
        values.push(convert(value));
    }
    Ok(values)
}

/// Converts an array from column-major to row-major order.
fn row_major(array: Array) -> Array {
    let shape = array.shape;
    let count = shape.iter().product();
    let mut places = Vec::with_capacity(count);
    for flat in 0..count {
        let (mut rest, mut place) = (flat, 0);
        let mut stride: usize = shape.iter().product();
        for &size in shape.iter().rev() {
            stride /= size.max(1);
            place += rest % size * stride;
            rest /= size;
        }
        places.push(place);
    }
    fn pick<T: Copy>(values: &[T], places: &[usize]) -> Vec<T> {
        places.iter().map(|&i| values[i]).collect()
    }
    let elements = match &array.elements {
        Elements::Float(values) => Elements::Float(pick(values, &places)),
        Elements::Int(values) => Elements::Int(pick(values, &places)),
        Elements::Bool(values) => Elements::Bool(pick(values, &places)),
    };
    Array { shape, elements }
}

/// Returns the content of a `.npy` file: float32, row-major.
pub fn encode(shape: &[usize], values: &[f32]) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let shape: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
    let written = npyz::WriteOptions::new()
        .default_dtype()
        .shape(&shape)
        .writer(&mut bytes as &mut dyn Write)
        .begin_nd()
        .and_then(|mut writer| {
            writer.extend(values.iter().copied())?;
            writer.finish()
        });
    written.map_err(|error| Error::other(format!("cannot encode an array: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_come_back() {
        let bytes = encode(&[2, 1, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let array = decode(&bytes[..], bytes.len() as u64, Kind::Float, |_| Ok(())).unwrap();
        assert_eq!(array.shape, [2, 1, 3]);
        assert_eq!(array.elements.into_floats(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn column_major_arrays_are_turned() {
        // [[0, 1, 2], [3, 4, 5]] in column-major order.
        let elements = Elements::Int(vec![0, 3, 1, 4, 2, 5]);
        let shape = vec![2, 3];
        let turned = row_major(Array { shape, elements });
        assert_eq!(turned.elements, Elements::Int(vec![0, 1, 2, 3, 4, 5]));
    }

    #[test]
    fn a_header_that_announces_too_much_is_refused() {
        let mut bytes = encode(&[2, 5], &[1.0; 10]).unwrap();
        let text = bytes.windows(4).position(|part| part == b"2, 5").unwrap();
        bytes[text..text + 4].copy_from_slice(b"9, 9");
        assert!(decode(&bytes[..], bytes.len() as u64, Kind::Float, |_| Ok(())).is_err());
        let cut = &bytes[..bytes.len() - 5];
        assert!(decode(cut, cut.len() as u64, Kind::Float, |_| Ok(())).is_err());
    }
}
