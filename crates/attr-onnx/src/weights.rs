//! Reads, converts and uploads tensors stored in the model file or in files beside it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use attr_core::{Kind, Value};
use burn::tensor::{Device, TensorData};
use half::{bf16, f16};
use ndarray::{ArrayD, IxDyn};
use onnx_ir::TensorProto;

use crate::Error;
use crate::graph::{Attribute, Constant, Graph};
use crate::host::{Host, count};

/// Float tensors up to this many elements are also kept on the host, where shapes are computed.
const SMALL: usize = 4096;
/// The maximum number of elements of a stored tensor: 4 Gi.
const LARGEST: usize = 1 << 32;
/// How many times the size of an external file is read from it at most.
const MOST_READS: u64 = 4;

/// The model's parameters: every stored float tensor, by name, on the model's device.
pub(crate) struct Weights {
    folder: PathBuf,
    device: Device,
    /// The external files, with the bytes that were read from each.
    files: HashMap<PathBuf, (File, u64)>,
    /// The name and value of each parameter.
    pub parameters: Vec<(String, Value)>,
}

impl Weights {
    /// Creates an empty set of weights; external weights files are looked up in `folder`.
    pub fn new(folder: &Path, device: &Device) -> Self {
        Self {
            folder: folder.to_path_buf(),
            device: device.clone(),
            files: HashMap::new(),
            parameters: Vec::new(),
        }
    }

    /// Adds a stored tensor.
    pub fn add(&mut self, tensor: TensorProto) -> Result<Constant, Error> {
        let name = tensor.name.clone();
        if kind_of(tensor.data_type).is_none() {
            // Text, such as class names, is an error only if a node that runs reads it.
            let (host, parameter) = (None, None);
            return Ok(Constant { host, parameter });
        }
        let broken = |reason: String| Error::Tensor {
            name: name.clone(),
            reason,
        };
        let external = match tensor.data_location.value() {
            // EXTERNAL
            1 => Some(self.external(&tensor).map_err(broken)?),
            _ => None,
        };
        let (shape, elements) = decode(tensor, external).map_err(broken)?;
        let Elements::Float(values) = elements else {
            let host = Some(Arc::new(elements.host(&shape).map_err(broken)?));
            let parameter = None;
            return Ok(Constant { host, parameter });
        };
        let host = if values.len() <= SMALL {
            Some(Arc::new(
                Host::floats(&shape, values.clone()).map_err(broken)?,
            ))
        } else {
            None
        };
        if values.is_empty() || shape.is_empty() {
            let parameter = None;
            return Ok(Constant { host, parameter });
        }
        let value = Value::from_data(TensorData::new(values, shape), &self.device);
        self.parameters.push((name.clone(), value.clone()));
        let parameter = Some((self.parameters.len() - 1, value));
        Ok(Constant { host, parameter })
    }

    /// Reads the bytes of a tensor stored in a file beside the model.
    fn external(&mut self, tensor: &TensorProto) -> Result<Vec<u8>, String> {
        let entry = |key: &str| {
            let mut entries = tensor.external_data.iter();
            entries
                .find(|entry| entry.key == key)
                .map(|entry| entry.value.as_str())
        };
        let number = |key: &str| match entry(key) {
            Some(text) => text
                .parse::<u64>()
                .map(Some)
                .map_err(|_| format!("the {key} of its external data is {text:?}, not a number")),
            None => Ok(None),
        };
        let location = entry("location").ok_or("its external data has no location")?;
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if location.contains('\0') || !Path::new(location).components().all(inside) {
            return Err(format!(
                "its external data is at {location:?}, outside the model's folder"
            ));
        }
        let path = self.folder.join(location);
        let unreadable = |error: std::io::Error| format!("{}: {error}", path.display());
        // A symbolic link may still lead out of the folder.
        let real = path.canonicalize().map_err(unreadable)?;
        let folder = if self.folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &self.folder
        };
        if !real.starts_with(folder.canonicalize().map_err(unreadable)?) {
            return Err(format!(
                "its external data is at {location:?}, outside the model's folder"
            ));
        }
        let (file, read) = match self.files.entry(real) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                // Opening a pipe would wait for whoever writes into it.
                if !entry.key().is_file() {
                    return Err(format!("its external data, {location:?}, is not a file"));
                }
                let file = File::open(entry.key()).map_err(unreadable)?;
                entry.insert((file, 0))
            }
        };
        let size = file.metadata().map_err(unreadable)?.len();
        let offset = number("offset")?.unwrap_or(0);
        let (shape, width) = layout(tensor)?;
        let announced = (count(&shape, LARGEST)? * width) as u64;
        let length = number("length")?.unwrap_or(announced);
        if length != announced {
            return Err(format!(
                "shape {shape:?} needs {announced} bytes, but its external data has {length}"
            ));
        }
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(format!(
                "its external data is bytes {offset} to {}, but {} has only {size}",
                offset.saturating_add(length),
                path.display()
            ));
        }
        // A weight may be stored once under several names, but not any number of times.
        *read = read.saturating_add(length);
        if *read > size.saturating_mul(MOST_READS) {
            return Err(format!(
                "the model's tensors refer to each byte of {} more than {MOST_READS} times",
                path.display()
            ));
        }
        let mut bytes = vec![0; length as usize];
        file.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
        file.read_exact(&mut bytes).map_err(unreadable)?;
        Ok(bytes)
    }

    /// Stores the weights of fully connected layers in Burn's layout, `[in, out]`: those read only
    /// by `Gemm` nodes with `transB` are transposed once.
    pub fn orient(&mut self, graph: &mut Graph) {
        let transposed = |node: &crate::graph::Node| {
            node.op == "Gemm"
                && node.domain.is_empty()
                && matches!(node.attributes.get("transB"), Some(Attribute::Int(t)) if *t != 0)
        };
        let mut readers: HashMap<String, (usize, usize)> = HashMap::new();
        for node in &graph.nodes {
            for (i, input) in node.inputs.iter().enumerate() {
                let (all, fitting) = readers.entry(input.clone()).or_default();
                *all += 1;
                *fitting += usize::from(i == 1 && transposed(node));
            }
            // A branch may read anything.
            let branches = node.attributes.values();
            if branches
                .into_iter()
                .any(|a| matches!(a, Attribute::Graph(_)))
            {
                return;
            }
        }
        for output in &graph.outputs {
            readers.entry(output.name.clone()).or_default().0 += 1;
        }
        let mut turned: HashSet<String> = HashSet::new();
        for (name, constant) in &mut graph.constants {
            let fits = readers
                .get(name)
                .is_some_and(|(all, fitting)| all == fitting);
            let Some((index, value)) = &mut constant.parameter else {
                continue;
            };
            let [rows, columns] = value.shape()[..] else {
                continue;
            };
            let (true, Ok(data)) = (fits, value.to_data()) else {
                continue;
            };
            let Ok(old) = data.try_into_vec::<f32>() else {
                continue;
            };
            let mut new = vec![0f32; old.len()];
            for (i, row) in old.chunks_exact(columns).enumerate() {
                for (j, &element) in row.iter().enumerate() {
                    new[j * rows + i] = element;
                }
            }
            *value = Value::from_data(TensorData::new(new, [columns, rows]), &self.device);
            self.parameters[*index].1 = value.clone();
            constant.host = constant.host.as_ref().map(|h| Arc::new(h.permute(&[1, 0])));
            turned.insert(name.clone());
        }
        for node in &mut graph.nodes {
            if transposed(node) && node.inputs.get(1).is_some_and(|b| turned.contains(b)) {
                node.attributes.insert("transB".into(), Attribute::Int(0));
            }
        }
    }
}

/// Returns the element kind of an ONNX type, or none for text, complex numbers and similar types.
pub(crate) fn kind_of(data_type: i32) -> Option<Kind> {
    match data_type {
        1 | 10 | 11 | 16 => Some(Kind::Float),
        2..=7 | 12 | 13 => Some(Kind::Int),
        9 => Some(Kind::Bool),
        _ => None,
    }
}

/// Reads a tensor inside the file to the host.
pub(crate) fn host_tensor(tensor: TensorProto) -> Result<Host, Error> {
    let name = tensor.name.clone();
    let broken = |reason: String| Error::Tensor {
        name: name.clone(),
        reason,
    };
    if tensor.data_location.value() == 1 {
        return Err(broken(
            "its data is in another file; only weights may be external".into(),
        ));
    }
    let (shape, elements) = decode(tensor, None).map_err(broken)?;
    elements.host(&shape).map_err(broken)
}

/// Returns a tensor's shape and the size of each element in bytes.
fn layout(tensor: &TensorProto) -> Result<(Vec<usize>, usize), String> {
    let dims = tensor.dims.iter();
    let shape: Option<Vec<usize>> = dims.map(|&d| usize::try_from(d).ok()).collect();
    let shape = shape.ok_or_else(|| format!("its shape {:?} has negative sizes", tensor.dims))?;
    let width = match tensor.data_type {
        2 | 3 | 9 => 1,
        4 | 5 | 10 | 16 => 2,
        1 | 6 | 12 => 4,
        7 | 11 | 13 => 8,
        8 => return Err("tensors of text are not supported".into()),
        other => return Err(format!("element type {other} is not supported")),
    };
    Ok((shape, width))
}

/// Elements in row-major order.
enum Elements {
    Float(Vec<f32>),
    Int(Vec<i64>),
    Bool(Vec<bool>),
}

impl Elements {
    fn len(&self) -> usize {
        match self {
            Self::Float(v) => v.len(),
            Self::Int(v) => v.len(),
            Self::Bool(v) => v.len(),
        }
    }

    fn host(self, shape: &[usize]) -> Result<Host, String> {
        let host = match self {
            Self::Float(v) => ArrayD::from_shape_vec(IxDyn(shape), v).map(Host::Float),
            Self::Int(v) => ArrayD::from_shape_vec(IxDyn(shape), v).map(Host::Int),
            Self::Bool(v) => ArrayD::from_shape_vec(IxDyn(shape), v).map(Host::Bool),
        };
        host.map_err(|error| error.to_string())
    }
}

/// Decodes a tensor's shape and elements.
fn decode(
    tensor: TensorProto,
    external: Option<Vec<u8>>,
) -> Result<(Vec<usize>, Elements), String> {
    let (shape, width) = layout(&tensor)?;
    let expected = count(&shape, LARGEST)?;
    let raw: Option<&[u8]> = match &external {
        Some(bytes) => Some(bytes),
        None if tensor.raw_data.is_empty() => None,
        None => Some(&tensor.raw_data),
    };
    let elements = match raw {
        Some(raw) if raw.len() != expected * width => {
            return Err(format!(
                "shape {shape:?} needs {} bytes, but there are {}",
                expected * width,
                raw.len()
            ));
        }
        Some(raw) => from_bytes(tensor.data_type, raw),
        None => from_fields(&tensor),
    };
    if elements.len() != expected {
        return Err(format!(
            "shape {shape:?} needs {expected} elements, but there are {}",
            elements.len()
        ));
    }
    Ok((shape, elements))
}

/// Decodes elements from little-endian bytes.
fn from_bytes(data_type: i32, raw: &[u8]) -> Elements {
    macro_rules! read {
        ($t:ty, $variant:ident, $convert:expr) => {{
            let words = raw.chunks_exact(size_of::<$t>());
            let words = words.map(|word| {
                let mut bytes = [0; size_of::<$t>()];
                bytes.copy_from_slice(word);
                <$t>::from_le_bytes(bytes)
            });
            Elements::$variant(words.map($convert).collect())
        }};
    }
    match data_type {
        1 => read!(f32, Float, |v| v),
        10 => read!(u16, Float, |v| f16::from_bits(v).to_f32()),
        11 => read!(f64, Float, |v| v as f32),
        16 => read!(u16, Float, |v| bf16::from_bits(v).to_f32()),
        2 => read!(u8, Int, i64::from),
        3 => read!(i8, Int, i64::from),
        4 => read!(u16, Int, i64::from),
        5 => read!(i16, Int, i64::from),
        6 => read!(i32, Int, i64::from),
        12 => read!(u32, Int, i64::from),
        7 | 13 => read!(i64, Int, |v| v),
        _ => Elements::Bool(raw.iter().map(|&b| b != 0).collect()),
    }
}

/// Decodes elements from the format's field for each type.
fn from_fields(tensor: &TensorProto) -> Elements {
    let bits = || tensor.int32_data.iter().map(|&v| v as u16);
    match tensor.data_type {
        1 => Elements::Float(tensor.float_data.clone()),
        10 => Elements::Float(bits().map(|v| f16::from_bits(v).to_f32()).collect()),
        11 => Elements::Float(tensor.double_data.iter().map(|&v| v as f32).collect()),
        16 => Elements::Float(bits().map(|v| bf16::from_bits(v).to_f32()).collect()),
        7 => Elements::Int(tensor.int64_data.clone()),
        12 | 13 => Elements::Int(tensor.uint64_data.iter().map(|&v| v as i64).collect()),
        9 => Elements::Bool(tensor.int32_data.iter().map(|&v| v != 0).collect()),
        _ => Elements::Int(tensor.int32_data.iter().map(|&v| i64::from(v)).collect()),
    }
}
