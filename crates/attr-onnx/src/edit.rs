//! Changes a model file: takes a concept out of a layer.

use std::collections::HashSet;
use std::path::Path;

use bytes::Bytes;
use onnx_ir::{
    AttributeProto, AttributeType, GraphProto, Message, ModelProto, NodeProto, TensorProto,
};

use crate::Error;

/// ONNX's number for 32-bit floats.
const FLOAT: i32 = 1;

/// What is taken out of a layer's output: its component along a direction of its channels, which
/// becomes the same everywhere (projective Class Artifact Compensation, Anders et al., 2022,
/// <https://doi.org/10.1016/j.inffus.2021.07.015>):
///
/// `a' = a + (to - vᵀa) v`, with `v` of length 1.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectionRemoval {
    /// The layer's name.
    pub layer: String,
    /// The number of dimensions of its output, the batch among them.
    pub rank: usize,
    /// The dimension of its channels: 1, or the last.
    pub channel_dim: usize,
    /// The direction, `[channels]`; its length does not matter.
    pub direction: Vec<f32>,
    /// The component that is left, such as the mean of examples without the concept.
    pub to: f32,
}

impl DirectionRemoval {
    /// Returns the content of the changed file: behind the layer, a convolution of size 1, or a matrix
    /// product and a sum, does it. Weights that the file keeps elsewhere are still read from there.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Format`] for the file; [`Error::Inputs`] for a layer that it does
    /// not have, and for a direction without a length or dimensions that no such operator fits.
    pub fn apply(&self, path: impl AsRef<Path>) -> Result<Vec<u8>, Error> {
        let path = path.as_ref();
        let content = std::fs::read(path).map_err(|error| Error::Read {
            path: path.into(),
            reason: error.to_string(),
        })?;
        let invalid = |reason: String| Error::Format {
            path: path.into(),
            reason,
        };
        let model = ModelProto::parse_from_tokio_bytes(&Bytes::from(content));
        let mut model = model.map_err(|error| invalid(error.to_string()))?;
        let graph = model.graph.as_mut();
        let graph = graph.ok_or_else(|| invalid("it has no graph".into()))?;
        self.insert(graph)?;
        let content = model.write_to_bytes();
        content.map_err(|error| invalid(error.to_string()))
    }

    fn insert(&self, graph: &mut GraphProto) -> Result<(), Error> {
        let refused =
            |reason: &str| Err(Error::Inputs(format!("layer {:?}: {reason}", self.layer)));
        // As layers are named when a file is read.
        let named = |node: &NodeProto| {
            let output = node.output.first();
            let own = Some(&node.name).filter(|name| !name.is_empty()).or(output);
            own == Some(&self.layer)
        };
        let Some(at) = graph.node.iter().position(named) else {
            return refused(
                "the file has no node of this name; layers inside recurrent operators have none",
            );
        };
        let channels = self.direction.len();
        let length: f64 = self.direction.iter().map(|&v| f64::from(v).powi(2)).sum();
        if !(length.is_finite() && length > 0.0 && self.to.is_finite()) {
            return refused("the direction has no length, or its numbers are not finite");
        }
        let convolution = self.channel_dim == 1 && self.rank > 2;
        if self.rank < 2 || !(convolution || self.channel_dim + 1 == self.rank) {
            return refused("its channels must be dimension 1 or the last one");
        }
        // The layer's output gets another name, and what is put behind it the old one, so that
        // everything that reads it reads the corrected values.
        let Some(output) = graph.node[at].output.first().cloned() else {
            return refused("it has no output");
        };
        let mut taken: HashSet<String> = HashSet::new();
        for node in &graph.node {
            taken.insert(node.name.clone());
            taken.extend(node.output.iter().cloned());
        }
        taken.extend(graph.initializer.iter().map(|tensor| tensor.name.clone()));
        taken.extend(graph.input.iter().map(|input| input.name.clone()));
        let mut fresh = |what: &str| {
            let first = format!("{output}_{what}");
            let others = (2..).map(|i| format!("{first}{i}"));
            let mut names = std::iter::once(first.clone()).chain(others);
            let name = names
                .find(|name| !taken.contains(name))
                .unwrap_or(first.clone());
            taken.insert(name.clone());
            name
        };
        let [before, weight, bias] = ["with_concept", "projection", "level"].map(&mut fresh);
        // Symmetric, so that it serves a convolution and a product alike.
        let unit: Vec<f64> = self
            .direction
            .iter()
            .map(|&v| f64::from(v) / length.sqrt())
            .collect();
        let entry = |i: usize| {
            let (row, column) = (i / channels, i % channels);
            let one = if row == column { 1.0 } else { 0.0 };
            (one - unit[row] * unit[column]) as f32
        };
        let size = channels as i64;
        let mut dims = vec![size, size];
        if convolution {
            dims.resize(self.rank, 1);
        }
        let level = unit.iter().map(|v| (f64::from(self.to) * v) as f32);
        graph
            .initializer
            .push(tensor(&weight, &dims, (0..channels * channels).map(entry)));
        graph.initializer.push(tensor(&bias, &[size], level));
        graph.node[at].output[0] = before.clone();
        let nodes = if convolution {
            let mut conv = node(
                "Conv",
                &[&before, &weight, &bias],
                &output,
                fresh("removal"),
            );
            let mut kernel = AttributeProto::new();
            kernel.name = "kernel_shape".into();
            kernel.type_ = AttributeType::INTS.into();
            kernel.ints = vec![1; self.rank - 2];
            conv.attribute.push(kernel);
            vec![conv]
        } else {
            let projected = fresh("projected");
            vec![
                node("MatMul", &[&before, &weight], &projected, fresh("removal")),
                node("Add", &[&projected, &bias], &output, fresh("removal_level")),
            ]
        };
        graph.node.splice(at + 1..at + 1, nodes);
        Ok(())
    }
}

fn node(op: &str, inputs: &[&str], output: &str, name: String) -> NodeProto {
    let mut node = NodeProto::new();
    node.op_type = op.into();
    node.name = name;
    node.input = inputs.iter().map(ToString::to_string).collect();
    node.output = vec![output.into()];
    node
}

fn tensor(name: &str, dims: &[i64], values: impl Iterator<Item = f32>) -> TensorProto {
    let mut tensor = TensorProto::new();
    tensor.name = name.into();
    tensor.data_type = FLOAT;
    tensor.dims = dims.to_vec();
    tensor.raw_data = values
        .flat_map(f32::to_le_bytes)
        .collect::<Vec<u8>>()
        .into();
    tensor
}
