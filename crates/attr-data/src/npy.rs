//! NumPy arrays: the rows of one as samples, one as a single sample, labels.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use attr_store::{File, Folder};
use npyz::half::f16;
use npyz::{DType, Deserialize, NpyHeader, Order, TypeChar, TypeRead};

use crate::error::Error;
use crate::listing::{Fingerprint, Shards, guarded, label};
use crate::sample::{Array, Content, Elements, Format, Raw, Stream};

/// The maximum length of a header, in bytes.
const LONGEST_HEADER: usize = 1 << 16;

/// The most brackets around anything in a header: a dictionary with a tuple has two.
const DEEPEST_HEADER: i32 = 4;

/// The maximum number of elements of a sample: 1 GiB of `i64`.
const MOST_ELEMENTS: u64 = 1 << 27;

/// The number of labels read at once.
const LABELS_AT_ONCE: u64 = 1 << 16;

/// What an array's header tells.
struct Header {
    dtype: DType,
    shape: Vec<u64>,
    order: Order,
    /// Where the elements start, in bytes.
    start: u64,
    /// The size of an element, in bytes.
    width: u64,
}

impl Header {
    /// Reads the header of a file of `size` bytes, which must hold all the elements it declares.
    fn read(mut reader: impl Read, size: u64) -> Result<Self, String> {
        let not_npy = |error: io::Error| format!("not a .npy array: {error}");
        // Magic, version, and the length of the text that follows.
        let mut bytes = vec![0; 10];
        reader.read_exact(&mut bytes).map_err(not_npy)?;
        let mut length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        if bytes[6] > 1 {
            bytes.resize(12, 0);
            reader.read_exact(&mut bytes[10..]).map_err(not_npy)?;
            length |= usize::from(u16::from_le_bytes([bytes[10], bytes[11]])) << 16;
        }
        if length > LONGEST_HEADER {
            return Err(format!("not a .npy array: a header of {length} bytes"));
        }
        let text = bytes.len();
        bytes.resize(text + length, 0);
        reader.read_exact(&mut bytes[text..]).map_err(not_npy)?;
        // The parser's time doubles with each level of brackets.
        let levels = bytes[text..].iter().scan(0i32, |level, byte| {
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
        let header = guarded(|| NpyHeader::from_reader(&bytes[..]));
        let header = header.map_err(|reason| format!("not a .npy array: {reason}"))?;
        let dtype = header.dtype();
        let header = Self {
            width: dtype.num_bytes().unwrap_or(0) as u64,
            // No elements are enough to tell whether their type is supported.
            dtype: elements(&dtype, &[]).map(|_| dtype)?,
            shape: header.shape().to_vec(),
            order: header.order(),
            start: bytes.len() as u64,
        };
        let needed = header.bytes(&header.shape);
        let needed = needed.and_then(|bytes| bytes.checked_add(header.start));
        if needed.is_none_or(|bytes| bytes > size) {
            return Err(format!(
                "its header declares shape {:?} of {}, but the file has only {size} bytes",
                header.shape,
                header.dtype.descr(),
            ));
        }
        Ok(header)
    }

    /// Returns the size of an array of elements, in bytes.
    fn bytes(&self, shape: &[u64]) -> Option<u64> {
        shape.iter().try_fold(self.width, |n, &d| n.checked_mul(d))
    }

    /// Reads a sample of a shape.
    fn array(&self, mut reader: impl Read, shape: &[u64]) -> io::Result<Result<Array, String>> {
        let bytes = self.bytes(shape).unwrap_or(u64::MAX);
        if bytes / self.width > MOST_ELEMENTS {
            return Ok(Err(format!(
                "its shape {shape:?} has more than {MOST_ELEMENTS} elements"
            )));
        }
        let mut data = vec![0; bytes as usize];
        reader.read_exact(&mut data)?;
        let elements = elements(&self.dtype, &data);
        Ok(elements.map(|elements| Array {
            shape: shape.iter().map(|&d| d as usize).collect(),
            elements,
        }))
    }
}

/// Reads a whole array of a file of `size` bytes.
pub fn array(mut reader: impl Read, size: u64) -> Result<Array, String> {
    let header = Header::read(&mut reader, size)?;
    if header.order == Order::Fortran {
        return Err("it is in Fortran order; save it in C order".into());
    }
    let array = header.array(reader, &header.shape);
    array.map_err(|error| format!("its elements cannot be read: {error}"))?
}

/// Converts the bytes of elements.
fn elements(dtype: &DType, bytes: &[u8]) -> Result<Elements, String> {
    let DType::Plain(element) = dtype else {
        return Err("arrays of records are not supported".into());
    };
    Ok(match (element.type_char(), element.size_field()) {
        (TypeChar::Float, 2) => Elements::Float(each(dtype, bytes, f16::to_f32)?),
        (TypeChar::Float, 4) => Elements::Float(each(dtype, bytes, |v: f32| v)?),
        (TypeChar::Float, 8) => Elements::Float(each(dtype, bytes, |v: f64| v as f32)?),
        (TypeChar::Int, 1) => Elements::Int(each::<i8, _>(dtype, bytes, i64::from)?),
        (TypeChar::Int, 2) => Elements::Int(each::<i16, _>(dtype, bytes, i64::from)?),
        (TypeChar::Int, 4) => Elements::Int(each::<i32, _>(dtype, bytes, i64::from)?),
        (TypeChar::Int, 8) => Elements::Int(each(dtype, bytes, |v: i64| v)?),
        (TypeChar::Uint, 1) => Elements::Int(each::<u8, _>(dtype, bytes, i64::from)?),
        (TypeChar::Uint, 2) => Elements::Int(each::<u16, _>(dtype, bytes, i64::from)?),
        (TypeChar::Uint, 4) => Elements::Int(each::<u32, _>(dtype, bytes, i64::from)?),
        (TypeChar::Uint, 8) => {
            let values = each(dtype, bytes, |v: u64| i64::try_from(v))?;
            let values: Result<_, _> = values.into_iter().collect();
            Elements::Int(values.map_err(|_| "a value of it exceeds 63 bits")?)
        }
        (TypeChar::Bool, 1) => Elements::Bool(each(dtype, bytes, |v: bool| v)?),
        _ => return Err(format!("elements of type {element} are not supported")),
    })
}

fn each<T: Deserialize, U>(
    dtype: &DType,
    mut bytes: &[u8],
    convert: impl Fn(T) -> U,
) -> Result<Vec<U>, String> {
    let reader = T::reader(dtype).map_err(|error| error.to_string())?;
    let mut values = Vec::with_capacity(bytes.len() / size_of::<T>());
    while !bytes.is_empty() {
        let value = reader.read_one(&mut bytes);
        values.push(convert(value.map_err(|error| error.to_string())?));
    }
    Ok(values)
}

/// Reads a header and refuses column-major order.
fn row_major(path: &Path, file: &File) -> Result<Header, Error> {
    let header = Header::read(BufReader::new(file.clone()), file.size());
    let header = header.map_err(|reason| Error::Npy {
        path: path.into(),
        reason,
    })?;
    if header.order == Order::Fortran && header.shape.len() > 1 {
        return Err(Error::Fortran { path: path.into() });
    }
    Ok(header)
}

/// Reads one label for each of `samples` samples.
pub fn labels(path: &Path, samples: u64) -> Result<Vec<u32>, Error> {
    let mut file = File::open(path)?;
    let header = row_major(path, &file)?;
    if header.shape != [samples] {
        return Err(Error::Labels {
            path: path.into(),
            shape: header.shape,
            samples,
        });
    }
    let broken = |reason: String| Error::Npy {
        path: path.into(),
        reason,
    };
    let from = file.seek(SeekFrom::Start(header.start));
    from.map_err(Error::read(path))?;
    let mut labels = Vec::with_capacity(samples as usize);
    while (labels.len() as u64) < samples {
        let count = LABELS_AT_ONCE.min(samples - labels.len() as u64);
        let part = header.array(&mut file, &[count]);
        let part = part.map_err(Error::read(path))?.map_err(broken)?;
        let Elements::Int(values) = part.elements else {
            let found = header.dtype.descr();
            return Err(broken(format!(
                "labels are of type {found}; integers are needed"
            )));
        };
        for value in values {
            let label = label(value.into()).map_err(|_| Error::Label {
                path: path.into(),
                number: labels.len() as u64,
                value,
            })?;
            labels.push(label);
        }
    }
    Ok(labels)
}

/// The rows of an array as samples.
pub struct Rows {
    file: Shards,
    header: Header,
}

impl Rows {
    /// Lists the rows of a file.
    pub fn open(folder: &Folder, name: &str, fingerprint: &mut Fingerprint) -> Result<Self, Error> {
        let mut file = Shards::new(folder);
        let header = file.push(name, fingerprint, |path, file| {
            let header = row_major(path, file)?;
            let refused = |reason: String| Error::Npy {
                path: path.into(),
                reason,
            };
            let Some((&rows, row)) = header.shape.split_first() else {
                return Err(refused("it is a single number; rows are needed".into()));
            };
            let elements = row.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
            // Rows without elements could be any number in a small file.
            if !elements.is_some_and(|n| (1..=MOST_ELEMENTS).contains(&n)) {
                return Err(refused(format!(
                    "its rows are of shape {row:?}, but from 1 to {MOST_ELEMENTS} elements are \
                     needed"
                )));
            }
            Ok((rows, header))
        })?;
        Ok(Self { file, header })
    }
}

impl Format for Rows {
    fn kind(&self) -> &'static str {
        "array"
    }

    fn len(&self) -> u64 {
        self.file.len()
    }

    fn has_labels(&self) -> bool {
        false
    }

    fn stream(&self, range: Range<u64>) -> Stream<'_> {
        self.file.stream(range, move |shard, rows| {
            let mut file = self.file.open(shard)?;
            let path = self.file.path(shard);
            let shape = self.header.shape.get(1..).unwrap_or_default();
            let bytes = self.header.bytes(shape).unwrap_or(0);
            let start = SeekFrom::Start(self.header.start + bytes * rows.start);
            file.seek(start).map_err(Error::read(&path))?;
            let mut file = BufReader::new(file);
            Ok(Box::new(rows.map(move |row| {
                let array = self.header.array(&mut file, shape);
                let array = array.map_err(Error::read(&path))?;
                Ok(Raw {
                    name: format!("{}#{row}", self.file.name(shard)),
                    label: Ok(None),
                    content: array.map_or_else(Content::Unreadable, Content::Array),
                })
            })))
        })
    }
}
