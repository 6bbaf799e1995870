//! Writes networks as ONNX files.

use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, TensorData};
use onnx_ir::{
    AttributeProto, AttributeType, GraphProto, Message, ModelProto, NodeProto, TensorProto,
    ValueInfoProto,
};

/// The operator set that the file is written for: 13 is widely supported.
const OPSET: i64 = 13;
/// ONNX's number for 32-bit floats.
const FLOAT: i32 = 1;

/// Writes a graph node by node.
pub struct Writer(GraphProto);

impl Writer {
    /// Creates a graph from `input` to `output`, whose shapes have a free first dimension.
    pub fn new(name: &str, input: (&str, &[i64]), output: (&str, &[i64])) -> Self {
        let mut graph = GraphProto::new();
        graph.name = name.into();
        graph.input.push(port(input.0, input.1));
        graph.output.push(port(output.0, output.1));
        Self(graph)
    }

    /// Stores a tensor under a name.
    pub fn tensor<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) {
        let data: TensorData = tensor.into_data();
        let mut proto = TensorProto::new();
        proto.name = name.into();
        proto.data_type = FLOAT;
        proto.dims = data.shape().iter().map(|&d| d as i64).collect();
        proto.raw_data = data.iter::<f32>().flat_map(f32::to_le_bytes).collect();
        self.0.initializer.push(proto);
    }

    /// Adds a node, named after its output.
    pub fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, Setting)],
    ) {
        let mut node = NodeProto::new();
        node.name = output.into();
        node.op_type = op.into();
        node.input = inputs.iter().map(|name| name.to_string()).collect();
        node.output = vec![output.into()];
        for (name, setting) in attributes {
            let mut attribute = AttributeProto::new();
            attribute.name = name.to_string();
            match setting {
                Setting::Int(value) => {
                    attribute.type_ = AttributeType::INT.into();
                    attribute.i = *value;
                }
                Setting::Float(value) => {
                    attribute.type_ = AttributeType::FLOAT.into();
                    attribute.f = *value;
                }
                Setting::Ints(values) => {
                    attribute.type_ = AttributeType::INTS.into();
                    attribute.ints = values.to_vec();
                }
            }
            node.attribute.push(attribute);
        }
        self.0.node.push(node);
    }

    /// Adds a convolution with its parameters.
    pub fn convolution(&mut self, conv: &Conv2d, ports: [&str; 2], attributes: &[(&str, Setting)]) {
        let (weight, bias) = (conv.weight.val(), conv.bias.as_ref().map(|bias| bias.val()));
        self.layer("Conv", weight, bias, ports, attributes);
    }

    /// Adds a node with a weight and perhaps a bias.
    pub fn layer<const D: usize>(
        &mut self,
        op: &str,
        weight: Tensor<D>,
        bias: Option<Tensor<1>>,
        [input, output]: [&str; 2],
        attributes: &[(&str, Setting)],
    ) {
        let names = ["weight", "bias"].map(|part| format!("{output}.{part}"));
        self.tensor(&names[0], weight);
        let mut operands = vec![input, &names[0]];
        if let Some(bias) = bias {
            self.tensor(&names[1], bias);
            operands.push(&names[1]);
        }
        self.node(op, &operands, output, attributes);
    }

    /// Returns the file's content.
    pub fn finish(self) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let mut model = ModelProto::new();
        model.ir_version = 7;
        model.producer_name = "attr".into();
        model.opset_import.push(Default::default());
        if let Some(import) = model.opset_import.first_mut() {
            import.version = OPSET;
        }
        model.graph = Some(self.0).into();
        Ok(model.write_to_bytes()?)
    }
}

/// The value of a node's attribute.
pub enum Setting<'a> {
    /// One integer.
    Int(i64),
    /// One float.
    Float(f32),
    /// A list of integers.
    Ints(&'a [i64]),
}

fn port(name: &str, shape: &[i64]) -> ValueInfoProto {
    let mut port = ValueInfoProto::new();
    port.name = name.into();
    let tensor = port.type_.mut_or_insert_default().mut_tensor_type();
    tensor.elem_type = FLOAT;
    let dims = &mut tensor.shape.mut_or_insert_default().dim;
    dims.push(Default::default());
    if let Some(batch) = dims.first_mut() {
        batch.set_dim_param("batch".into());
    }
    for &size in shape {
        dims.push(Default::default());
        if let Some(dim) = dims.last_mut() {
            dim.set_dim_value(size);
        }
    }
    port
}
