//! Lowers Burn's recorded layers (convolutions, pools, norms, attention) to [`Op`].

use burn::backend::ir::ModuleOperationIr as Module;

use super::lowered::{Lowered, interpolation, node, with_optional};
use crate::graph::op::{ConvGeometry, Op, PoolGeometry, number};

fn conv(
    stride: &[usize],
    padding: &[(usize, usize)],
    padding_out: &[usize],
    dilation: &[usize],
    groups: usize,
) -> ConvGeometry {
    ConvGeometry {
        stride: stride.to_vec(),
        padding: padding.to_vec(),
        padding_out: padding_out.to_vec(),
        dilation: dilation.to_vec(),
        groups,
    }
}

fn both(padding: &[usize]) -> Vec<(usize, usize)> {
    padding.iter().map(|&p| (p, p)).collect()
}

/// The convolution of one rank; the recorded options differ only in their array lengths.
macro_rules! convolution {
    ($op:expr, $padding:expr) => {{
        let p = &$op.options;
        let no_padding_out = [0; 3];
        let padding_out = &no_padding_out[..p.stride.len()];
        let geometry = conv(&p.stride, &$padding, padding_out, &p.dilation, p.groups);
        let lowered = node(Op::Conv(geometry), [&$op.x, &$op.weight], [&$op.out]);
        with_optional(lowered, &$op.bias)
    }};
}

/// The transposed convolution of one rank.
macro_rules! transposed {
    ($op:expr) => {{
        let p = &$op.options;
        let padding = both(&p.padding);
        let geometry = conv(&p.stride, &padding, &p.padding_out, &p.dilation, p.groups);
        let lowered = node(
            Op::ConvTranspose(geometry),
            [&$op.x, &$op.weight],
            [&$op.out],
        );
        with_optional(lowered, &$op.bias)
    }};
}

fn max_pool(
    kernel: &[usize],
    stride: &[usize],
    padding: &[usize],
    dilation: &[usize],
    ceil_mode: bool,
    indices: bool,
) -> Op {
    Op::MaxPool {
        geometry: PoolGeometry {
            kernel: kernel.to_vec(),
            stride: stride.to_vec(),
            padding: padding.to_vec(),
            dilation: dilation.to_vec(),
            ceil_mode,
            count_include_pad: false,
        },
        indices,
    }
}

fn avg_pool(
    kernel: &[usize],
    stride: &[usize],
    padding: &[usize],
    count_include_pad: bool,
    ceil_mode: bool,
) -> Op {
    Op::AvgPool(PoolGeometry {
        kernel: kernel.to_vec(),
        stride: stride.to_vec(),
        padding: padding.to_vec(),
        dilation: vec![1; kernel.len()],
        ceil_mode,
        count_include_pad,
    })
}

/// Lowers the operation of a layer.
pub(crate) fn lower(op: &Module) -> Option<Lowered> {
    Some(match op {
        Module::Linear(o) => with_optional(node(Op::Linear, [&o.x, &o.weight], [&o.out]), &o.bias),
        Module::Conv1d(o) => convolution!(o, o.options.padding),
        Module::Conv2d(o) => convolution!(o, o.options.padding),
        Module::Conv3d(o) => convolution!(o, both(&o.options.padding)),
        Module::ConvTranspose1d(o) => transposed!(o),
        Module::ConvTranspose2d(o) => transposed!(o),
        Module::ConvTranspose3d(o) => transposed!(o),
        Module::DeformableConv2d(o) => {
            let p = &o.options;
            let padding = both(&p.padding);
            let op = Op::DeformConv {
                geometry: conv(&p.stride, &padding, &[0; 2], &p.dilation, p.weight_groups),
                offset_groups: p.offset_groups,
                mask: o.mask.is_some(),
            };
            let lowered = node(op, [&o.x, &o.offset, &o.weight], [&o.out]);
            with_optional(with_optional(lowered, &o.mask), &o.bias)
        }
        Module::BatchNorm(o) => {
            let epsilon = number(&o.epsilon);
            let operands = [&o.x, &o.gamma, &o.beta, &o.mean, &o.variance];
            node(Op::BatchNorm { epsilon }, operands, [&o.out])
        }
        Module::LayerNorm(o) => {
            let epsilon = number(&o.epsilon);
            let lowered = node(Op::LayerNorm { epsilon }, [&o.input, &o.gamma], [&o.out]);
            with_optional(lowered, &o.beta)
        }
        Module::Embedding(o) => node(Op::Embedding, [&o.weights, &o.indices], [&o.out]),
        Module::Attention(o) => {
            let op = Op::Attention {
                scale: o.options.scale.as_ref().map(number),
                softcap: o.options.softcap.as_ref().map(number),
                causal: o.options.is_causal,
                mask: o.mask.is_some(),
                bias: o.attn_bias.is_some(),
            };
            let lowered = node(op, [&o.query, &o.key, &o.value], [&o.out]);
            with_optional(with_optional(lowered, &o.mask), &o.attn_bias)
        }
        Module::MaxPool1d(o) => {
            let (k, s, p, d) = ([o.kernel_size], [o.stride], [o.padding], [o.dilation]);
            node(
                max_pool(&k, &s, &p, &d, o.ceil_mode, false),
                [&o.x],
                [&o.out],
            )
        }
        Module::MaxPool1dWithIndices(o) => {
            let (k, s, p, d) = ([o.kernel_size], [o.stride], [o.padding], [o.dilation]);
            let op = max_pool(&k, &s, &p, &d, o.ceil_mode, true);
            node(op, [&o.x], [&o.out, &o.out_indices])
        }
        Module::MaxPool2d(o) => {
            let (k, s, p, d) = (&o.kernel_size, &o.stride, &o.padding, &o.dilation);
            node(max_pool(k, s, p, d, o.ceil_mode, false), [&o.x], [&o.out])
        }
        Module::MaxPool2dWithIndices(o) => {
            let (k, s, p, d) = (&o.kernel_size, &o.stride, &o.padding, &o.dilation);
            let op = max_pool(k, s, p, d, o.ceil_mode, true);
            node(op, [&o.x], [&o.out, &o.out_indices])
        }
        Module::AvgPool1d(o) => {
            let (k, s, p) = ([o.kernel_size], [o.stride], [o.padding]);
            let op = avg_pool(&k, &s, &p, o.count_include_pad, o.ceil_mode);
            node(op, [&o.x], [&o.out])
        }
        Module::AvgPool2d(o) => {
            let (k, s, p) = (&o.kernel_size, &o.stride, &o.padding);
            let op = avg_pool(k, s, p, o.count_include_pad, o.ceil_mode);
            node(op, [&o.x], [&o.out])
        }
        Module::AdaptiveAvgPool1d(o) => {
            let size = vec![o.output_size];
            node(Op::AdaptiveAvgPool { size }, [&o.x], [&o.out])
        }
        Module::AdaptiveAvgPool2d(o) => {
            let size = o.output_size.to_vec();
            node(Op::AdaptiveAvgPool { size }, [&o.x], [&o.out])
        }
        Module::AdaptiveAvgPool3d(o) => {
            let size = o.output_size.to_vec();
            node(Op::AdaptiveAvgPool { size }, [&o.x], [&o.out])
        }
        Module::Interpolate(o) => {
            let op = Op::Interpolate {
                size: o.output_size,
                mode: interpolation(&o.options.mode),
                align_corners: o.options.align_corners,
            };
            node(op, [&o.x], [&o.out])
        }
        Module::Unfold4d(o) => {
            let op = Op::Unfold4d {
                kernel: o.kernel_size,
                stride: o.options.stride,
                padding: o.options.padding,
                dilation: o.options.dilation,
            };
            node(op, [&o.x], [&o.out])
        }
        // Losses and backward operations: no model's forward pass records them.
        _ => return None,
    })
}
