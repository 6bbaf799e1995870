//! Reads a model file. Only this file, `weights.rs` and `edit.rs` know ONNX's protobuf messages.
//!
//! The messages come from onnx-ir. Its own graph is not used: it renames every node, fuses some,
//! and infers types ahead of time, while layers here keep the file's names, and shapes are known
//! exactly once the model is traced.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use attr_core::Kind;
use burn::tensor::Device;
use bytes::Bytes;
use onnx_ir::{AttributeProto, GraphProto, Message, ModelProto, NodeProto, ValueInfoProto};

use crate::Error;
use crate::functions::{self, Function, Functions};
use crate::graph::{Attribute, Constant, Graph, Node, Port, PortDim};
use crate::host::Host;
use crate::plan;
use crate::weights::{Weights, host_tensor, kind_of};

/// A model's graph and weights.
pub(crate) struct Parsed {
    pub graph: Graph,
    pub weights: Weights,
}

/// Reads the file and uploads its weights to `device`.
pub(crate) fn read(path: &Path, device: &Device) -> Result<Parsed, Error> {
    let unreadable = |reason: String| Error::Read {
        path: path.to_path_buf(),
        reason,
    };
    let metadata = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if !metadata.is_file() {
        return Err(unreadable("it is not a file".into()));
    }
    let bytes = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    parse(bytes, path, device)
}

/// Parses a model from memory; external weights files are looked up beside `path`.
pub(crate) fn parse(bytes: Vec<u8>, path: &Path, device: &Device) -> Result<Parsed, Error> {
    let invalid = |reason: String| Error::Format {
        path: path.to_path_buf(),
        reason,
    };
    if bytes.is_empty() {
        return Err(invalid("the file is empty".into()));
    }
    let mut model = ModelProto::parse_from_tokio_bytes(&Bytes::from(bytes))
        .map_err(|error| invalid(error.to_string()))?;
    let Some(graph) = model.graph.take() else {
        return Err(invalid("it has no graph".into()));
    };
    if graph.output.is_empty() {
        return Err(invalid("its graph has no outputs".into()));
    }
    let opsets = model.opset_import.iter();
    let opsets: HashMap<String, i64> = opsets
        .map(|import| (domain(&import.domain), import.version))
        .collect();

    let mut functions = Functions::new();
    for function in std::mem::take(&mut model.functions) {
        let imports = function.opset_import.iter();
        let own: HashMap<String, i64> = imports
            .map(|import| (domain(&import.domain), import.version))
            .collect();
        let defaults = function.attribute_proto.into_iter();
        let defaults = defaults.map(|a| attribute(a, &own, 0));
        let nodes = function.node.into_iter().enumerate();
        let key = (domain(&function.domain), function.name.clone());
        let body = Function {
            nodes: nodes
                .map(|(i, n)| node(n, i, &own, 0))
                .collect::<Result<_, _>>()?,
            inputs: function.input,
            outputs: function.output,
            defaults: defaults.collect::<Result<_, _>>()?,
        };
        functions.insert(key, body);
    }

    let folder = path.parent().unwrap_or(Path::new("."));
    let mut weights = Weights::new(folder, device);
    let mut graph = convert(graph, &opsets, &mut weights)?;
    functions::inline(&mut graph, &functions)?;
    weights.orient(&mut graph);
    Ok(Parsed { graph, weights })
}

/// Normalises a domain: ONNX's default domain has two names.
fn domain(name: &str) -> String {
    match name {
        "ai.onnx" => String::new(),
        other => other.to_string(),
    }
}

/// Converts the model's graph.
fn convert(
    proto: GraphProto,
    opsets: &HashMap<String, i64>,
    weights: &mut Weights,
) -> Result<Graph, Error> {
    if let Some(sparse) = proto.sparse_initializer.first() {
        return Err(Error::Tensor {
            name: sparse.values.name.clone(),
            reason: "sparse tensors are not supported".into(),
        });
    }
    let nodes = proto.node.into_iter().enumerate();
    let nodes: Vec<Node> = nodes
        .map(|(i, n)| node(n, i, opsets, 0))
        .collect::<Result<_, _>>()?;
    // Tensors that nothing reads may take any memory.
    let mut read: HashSet<String> = nodes.iter().flat_map(plan::reads).collect();
    read.extend(proto.output.iter().map(|output| output.name.clone()));
    let mut constants = HashMap::new();
    for tensor in proto.initializer {
        let name = tensor.name.clone();
        let constant = if read.contains(&name) {
            weights.add(tensor)?
        } else {
            Constant::default()
        };
        constants.insert(name, constant);
    }
    // Old files also list initializers among the inputs.
    let inputs = proto.input.iter().map(port);
    let inputs = inputs.filter(|port| !constants.contains_key(&port.name));
    Ok(Graph {
        nodes,
        inputs: inputs.collect(),
        outputs: proto.output.iter().map(port).collect(),
        constants,
        repeated: Vec::new(),
    })
}

/// Converts the graph of a branch.
fn branch(proto: GraphProto, opsets: &HashMap<String, i64>, depth: usize) -> Result<Graph, Error> {
    let mut constants = HashMap::new();
    for tensor in proto.initializer {
        let name = tensor.name.clone();
        let host = Some(Arc::new(host_tensor(tensor)?));
        let parameter = None;
        constants.insert(name, Constant { host, parameter });
    }
    let nodes = proto.node.into_iter().enumerate();
    Ok(Graph {
        nodes: nodes
            .map(|(i, n)| node(n, i, opsets, depth))
            .collect::<Result<_, _>>()?,
        inputs: proto.input.iter().map(port).collect(),
        outputs: proto.output.iter().map(port).collect(),
        constants,
        repeated: Vec::new(),
    })
}

fn port(info: &ValueInfoProto) -> Port {
    let (mut kind, mut text) = (Kind::Float, false);
    let mut shape = None;
    if let Some(tensor) = info.type_.as_ref().filter(|t| t.has_tensor_type()) {
        let tensor = tensor.tensor_type();
        kind = kind_of(tensor.elem_type).unwrap_or(Kind::Float);
        text = kind_of(tensor.elem_type).is_none();
        shape = tensor.shape.as_ref().map(|shape| {
            let dims = shape.dim.iter();
            dims.map(|dim| match usize::try_from(dim.dim_value()) {
                Ok(size) if dim.has_dim_value() && size > 0 => PortDim::Fixed(size),
                _ => PortDim::Free(dim.dim_param().to_string()),
            })
            .collect()
        });
    }
    Port {
        name: info.name.clone(),
        kind,
        shape,
        text,
    }
}

/// The maximum nesting of branches, so that recursion does not overflow the stack.
const DEEPEST: usize = 16;

fn node(
    proto: NodeProto,
    index: usize,
    opsets: &HashMap<String, i64>,
    depth: usize,
) -> Result<Node, Error> {
    let domain = domain(&proto.domain);
    // Without an import, assume the newest version.
    let opset = opsets.get(&domain).copied().unwrap_or(i64::MAX);
    let name = match (proto.name.is_empty(), proto.output.first()) {
        (false, _) => proto.name,
        (true, Some(output)) if !output.is_empty() => output.clone(),
        (true, _) => format!("{}_{index}", proto.op_type),
    };
    let attributes = proto.attribute.into_iter();
    let attributes = attributes.map(|a| attribute(a, opsets, depth));
    Ok(Node {
        name,
        op: proto.op_type,
        domain,
        opset,
        inputs: proto.input,
        outputs: proto.output,
        attributes: attributes.collect::<Result<_, _>>()?,
    })
}

fn attribute(
    mut proto: AttributeProto,
    opsets: &HashMap<String, i64>,
    depth: usize,
) -> Result<(String, Attribute), Error> {
    use onnx_ir::AttributeType as Type;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let value = match proto.type_.enum_value() {
        _ if !proto.ref_attr_name.is_empty() => Attribute::Reference(proto.ref_attr_name),
        Ok(Type::FLOAT) => Attribute::Float(proto.f),
        Ok(Type::INT) => Attribute::Int(proto.i),
        Ok(Type::STRING) => Attribute::Text(text(&proto.s)),
        Ok(Type::FLOATS) => Attribute::Floats(proto.floats),
        Ok(Type::INTS) => Attribute::Ints(proto.ints),
        Ok(Type::STRINGS) => Attribute::Texts(proto.strings.iter().map(|s| text(s)).collect()),
        Ok(Type::TENSOR) => match proto.t.take() {
            // Text, or a type that no supported operator reads.
            Some(tensor) if kind_of(tensor.data_type).is_none() => Attribute::Other,
            Some(tensor) => Attribute::Tensor(Arc::new(host_tensor(tensor)?)),
            None => Attribute::Other,
        },
        Ok(Type::GRAPH) => match proto.g.take() {
            Some(_) if depth >= DEEPEST => {
                return Err(Error::Graph(format!(
                    "branches are nested more than {DEEPEST} levels deep"
                )));
            }
            Some(graph) => Attribute::Graph(Arc::new(branch(graph, opsets, depth + 1)?)),
            None => Attribute::Other,
        },
        _ => Attribute::Other,
    };
    Ok((proto.name, value))
}

impl Attribute {
    /// Returns the stored constant of a `Constant` node.
    pub fn as_constant(&self) -> Option<Arc<Host>> {
        match self {
            Self::Tensor(host) => Some(host.clone()),
            Self::Float(value) => Some(Arc::new(Host::Float(ndarray::arr0(*value).into_dyn()))),
            Self::Floats(values) => Some(Arc::new(
                Host::floats(&[values.len()], values.clone()).ok()?,
            )),
            Self::Int(value) => Some(Arc::new(Host::int(*value))),
            Self::Ints(values) => Some(Arc::new(Host::ints(values.clone()))),
            _ => None,
        }
    }
}
