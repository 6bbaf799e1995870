//! Expands fused attention into simple nodes: matrix products, a softmax, and the steps between.

use burn::tensor::{DType, Device, TensorData};

use crate::graph::op::{Binary, Compare, Number, Op, Unary};
use crate::graph::trace::{Names, fold_constants};
use crate::graph::{Dim, Graph, Node, Place, Slot, SlotId, Source};
use crate::{Error, Value};

impl Graph {
    /// Expands every fused attention into simple nodes that compute the same function.
    ///
    /// For an attention `NAME`, `NAME.scores` is the input of the softmax and `NAME.softmax` its
    /// output. If a whole row may be hidden, `NAME.weights` is that output with zeros at hidden
    /// positions. The last product is `NAME` and also answers to `NAME.output`.
    ///
    /// Hidden positions get the lowest finite score. With minus infinity, a fully hidden row would
    /// be NaN, and so would what a rule computes from the scores.
    pub fn expand_attention(&self) -> Result<Graph, Error> {
        let mut graph = self.clone();
        if !graph
            .nodes
            .iter()
            .any(|node| matches!(node.op, Op::Attention { .. }))
        {
            return Ok(graph);
        }
        let names = Names::of(&graph);
        let nodes = std::mem::take(&mut graph.nodes);
        let mut expansion = Expansion {
            nodes: Vec::with_capacity(nodes.len()),
            graph,
            names,
        };
        for node in nodes {
            match node.op {
                Op::Attention { .. } => expansion.attention(node)?,
                _ => expansion.nodes.push(node),
            }
        }
        let Expansion {
            mut graph, nodes, ..
        } = expansion;
        graph.nodes = nodes;
        // What a constant bias hides is known now.
        fold_constants(&mut graph)?;
        graph.prune(&[graph.output], &[]);
        Ok(graph)
    }
}

/// A graph under construction: its slots, and the nodes so far.
struct Expansion {
    graph: Graph,
    nodes: Vec<Node>,
    names: Names,
}

/// The sizes of an attention.
struct Sizes {
    batch: Dim,
    heads: Dim,
    queries: Dim,
    keys: Dim,
}

impl Expansion {
    /// Adds a node with one output and returns its slot.
    fn add(
        &mut self,
        name: String,
        op: Op,
        operands: Vec<SlotId>,
        shape: Vec<Dim>,
        dtype: DType,
    ) -> SlotId {
        self.graph.slots.push(Slot {
            shape,
            dtype,
            source: Source::Node(self.nodes.len()),
        });
        let output = self.graph.slots.len() - 1;
        self.nodes.push(Node {
            name: self.names.unique(name),
            aliases: Vec::new(),
            op,
            operands,
            outputs: vec![output],
        });
        output
    }

    fn attention(&mut self, node: Node) -> Result<(), Error> {
        let Op::Attention {
            scale,
            softcap,
            causal,
            mask,
            bias,
        } = node.op
        else {
            return Err(Error::Internal("not an attention"));
        };
        let lacks = Error::Internal("an attention lacks an operand");
        let [query, key, value, ref further @ ..] = node.operands[..] else {
            return Err(lacks);
        };
        let mut further = further.iter().copied();
        let mask = if mask { further.next() } else { None };
        let bias = if bias { further.next() } else { None };
        let shape = |slot: SlotId| self.graph.slots[slot].shape.clone();
        let (query_shape, key_shape) = (shape(query), shape(key));
        let ([batch, heads, queries, size], [_, _, keys, _]) = (&query_shape[..], &key_shape[..])
        else {
            return Err(Error::Internal(
                "an attention operand does not have four dimensions",
            ));
        };
        let sizes = Sizes {
            batch: *batch,
            heads: *heads,
            queries: *queries,
            keys: *keys,
        };
        let dtype = self.graph.slots[query].dtype;
        let name = node.name.clone();
        let own = |part: &str| format!("{name}.{part}");
        let fixed = |dim: Dim, what: &str| match usize::try_from(dim.fixed) {
            Ok(size) if dim.per_row == 0 => Ok(size),
            _ => Err(Error::Layer {
                name: name.clone(),
                reason: format!("its {what} depends on the batch size"),
            }),
        };
        let (key, value) = (
            self.shared_heads(key, &sizes, &own("key"))?,
            self.shared_heads(value, &sizes, &own("value"))?,
        );

        let mut transposed = self.graph.slots[key].shape.clone();
        transposed.swap(2, 3);
        let key = self.add(
            own("permute"),
            Op::Permute(vec![0, 1, 3, 2]),
            vec![key],
            transposed,
            dtype,
        );
        let scores_shape = vec![sizes.batch, sizes.heads, sizes.queries, sizes.keys];
        // The last step before the softmax is named `scores`.
        let mut steps = vec![(Op::MatMul, vec![key])];
        let scale = match scale {
            Some(scale) => scale,
            None => 1.0 / (fixed(*size, "head size")? as f64).sqrt(),
        };
        let by = |f: Binary, number: f64| Op::BinaryScalar(f, Number::Float(number));
        steps.push((by(Binary::Mul, scale), vec![]));
        if let Some(cap) = softcap {
            steps.push((by(Binary::Div, cap), vec![]));
            steps.push((Op::Unary(Unary::Tanh), vec![]));
            steps.push((by(Binary::Mul, cap), vec![]));
        }
        let mut hidden: Vec<SlotId> = mask.into_iter().collect();
        let mut may_hide_rows = mask.is_some() || bias.is_some();
        if causal {
            let queries = fixed(sizes.queries, "number of queries")?;
            let keys = fixed(sizes.keys, "number of keys")?;
            may_hide_rows |= queries > keys;
            hidden.push(self.causal_mask(queries, keys));
        }
        if let Some(bias) = bias {
            steps.push((Op::Binary(Binary::Add), vec![bias]));
            // A bias of minus infinity hides a position, as a mask does.
            let shape = self.graph.slots[bias].shape.clone();
            let place = Place::new(self.graph.device.clone(), 1);
            let boolean = DType::Bool(place.settings.bool_dtype);
            let lowest = Op::CompareScalar(Compare::Equal, Number::Float(f64::NEG_INFINITY));
            hidden.push(self.add(own("hidden"), lowest, vec![bias], shape, boolean));
        }
        let info = dtype.finfo();
        let lowest = info
            .ok_or(Error::Internal("an attention is not floating point"))?
            .min;
        let hide = Op::MaskFill(Number::Float(lowest));
        steps.extend(hidden.iter().map(|&mask| (hide.clone(), vec![mask])));

        let last = steps.len() - 1;
        let mut scores = query;
        for (i, (op, others)) in steps.into_iter().enumerate() {
            let part = if i == last {
                "scores".to_string()
            } else {
                op.name().to_lowercase()
            };
            let operands = [vec![scores], others].concat();
            scores = self.add(own(&part), op, operands, scores_shape.clone(), dtype);
        }
        let softmax = Op::Softmax { dim: 3 };
        let mut weights = self.add(
            own("softmax"),
            softmax,
            vec![scores],
            scores_shape.clone(),
            dtype,
        );
        if may_hide_rows {
            // In a fully hidden row the softmax is flat, but nothing should be attended to.
            let last = hidden.len() - 1;
            for (i, &mask) in hidden.iter().enumerate() {
                let part = if i == last { "weights" } else { "mask_fill" };
                let clear = Op::MaskFill(Number::Float(0.0));
                let operands = vec![weights, mask];
                weights = self.add(own(part), clear, operands, scores_shape.clone(), dtype);
            }
        }
        let mut aliases = node.aliases;
        aliases.push(self.names.unique(own("output")));
        self.nodes.push(Node {
            name: node.name,
            aliases,
            op: Op::MatMul,
            operands: vec![weights, value],
            outputs: node.outputs,
        });
        Ok(())
    }

    /// Keys or values with as many heads as the queries; several query heads may share one.
    fn shared_heads(&mut self, slot: SlotId, sizes: &Sizes, name: &str) -> Result<SlotId, Error> {
        let Slot { shape, dtype, .. } = self.graph.slots[slot].clone();
        let [_, own, length, size] = shape[..] else {
            return Err(Error::Internal(
                "an attention operand does not have four dimensions",
            ));
        };
        if own == sizes.heads {
            return Ok(slot);
        }
        let heads = sizes.heads;
        if own.per_row != 0 || heads.per_row != 0 || own.fixed < 1 || heads.fixed % own.fixed != 0 {
            return Err(Error::Internal("an attention's head counts do not match"));
        }
        let group = Dim::fixed(heads.fixed / own.fixed);
        let single = vec![sizes.batch, own, Dim::fixed(1), length, size];
        let shared = vec![sizes.batch, own, group, length, size];
        let joined = vec![sizes.batch, heads, length, size];
        let steps = [
            (Op::Reshape(single.clone()), single),
            (Op::Expand(shared.clone()), shared),
            (Op::Reshape(joined.clone()), joined),
        ];
        let mut slot = slot;
        for (op, shape) in steps {
            slot = self.add(name.to_string(), op, vec![slot], shape, dtype);
        }
        Ok(slot)
    }

    /// True where a key comes after the query; the last query sees all keys.
    fn causal_mask(&mut self, queries: usize, keys: usize) -> SlotId {
        let later = |i: usize| {
            let (query, key) = (i / keys, i % keys);
            key + queries > query + keys
        };
        let mask: Vec<bool> = (0..queries * keys).map(later).collect();
        let data = TensorData::new(mask, [1, 1, queries, keys]);
        let device = &self.graph.device;
        let dtype = Place::new(device.clone(), 1).dtype(data.dtype());
        let value = Value::from_data(data.convert_dtype(dtype), &Device::new(device.clone()));
        let fixed = |size: usize| Dim::fixed(size as isize);
        self.graph.slots.push(Slot {
            shape: vec![fixed(1), fixed(1), fixed(queries), fixed(keys)],
            dtype,
            source: Source::Constant(value),
        });
        self.graph.slots.len() - 1
    }
}
