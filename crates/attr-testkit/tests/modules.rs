//! Checks that every layer of burn-nn traces, replays and has Burn's own gradients.

use attr_core::walk::{GradientEverywhere, Walk};
use attr_core::{Traced, Value};
use attr_testkit::check::check_traced;
use attr_testkit::compare::assert_close;
use attr_testkit::device;
use attr_testkit::models::{input, seeded};
use burn::module::Module;
use burn::nn::activation::{Activation, ActivationConfig};
use burn::nn::attention::{
    CrossAttentionConfig, MhaInput, MultiHeadAttentionConfig, generate_autoregressive_mask,
};
use burn::nn::conv::{
    Conv1dConfig, Conv2dConfig, Conv3dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig,
    ConvTranspose3dConfig, DeformConv2dConfig,
};
use burn::nn::interpolate::{Interpolate1dConfig, Interpolate2dConfig, InterpolateMode};
use burn::nn::pool::{
    AdaptiveAvgPool1dConfig, AdaptiveAvgPool2dConfig, AdaptiveAvgPool3dConfig, AvgPool1dConfig,
    AvgPool2dConfig, MaxPool1dConfig, MaxPool2dConfig,
};
use burn::nn::transformer::{TransformerDecoderConfig, TransformerDecoderInput};
use burn::nn::*;
use burn::tensor::{Bool, Int, Tensor};

fn check<const D: usize, const E: usize, M: Module + 'static>(
    name: &str,
    module: M,
    forward: fn(&M, Tensor<D>) -> Tensor<E>,
    shape: [usize; D],
) {
    check_traced(name, &seeded(module, 5), forward, &input(shape, 6));
}

#[test]
fn convolutions() {
    let d = &device();
    let same = PaddingConfig2d::Same;
    check(
        "conv1d",
        Conv1dConfig::new(4, 6, 3)
            .with_stride(2)
            .with_groups(2)
            .init(d),
        |m, x| m.forward(x),
        [2, 4, 9],
    );
    check(
        "conv2d",
        Conv2dConfig::new([4, 6], [3, 2])
            .with_dilation([2, 1])
            .init(d),
        |m, x| m.forward(x),
        [2, 4, 7, 6],
    );
    check(
        "conv2d, padded",
        Conv2dConfig::new([2, 3], [3, 3])
            .with_padding(same)
            .with_bias(false)
            .init(d),
        |m, x| m.forward(x),
        [2, 2, 5, 5],
    );
    check(
        "conv2d, padded on one side",
        Conv2dConfig::new([2, 3], [3, 3])
            .with_padding(PaddingConfig2d::Explicit(1, 0, 2, 1))
            .init(d),
        |m, x| m.forward(x),
        [2, 2, 5, 5],
    );
    check(
        "conv3d",
        Conv3dConfig::new([2, 3], [2, 2, 2]).init(d),
        |m, x| m.forward(x),
        [2, 2, 4, 3, 5],
    );
    check(
        "conv_transpose1d",
        ConvTranspose1dConfig::new([4, 2], 3).with_stride(2).init(d),
        |m, x| m.forward(x),
        [2, 4, 5],
    );
    check(
        "conv_transpose2d",
        ConvTranspose2dConfig::new([3, 2], [3, 3])
            .with_stride([2, 2])
            .with_padding([1, 1])
            .with_padding_out([1, 1])
            .init(d),
        |m, x| m.forward(x),
        [2, 3, 4, 4],
    );
    check(
        "conv_transpose3d",
        ConvTranspose3dConfig::new([2, 2], [2, 2, 2]).init(d),
        |m, x| m.forward(x),
        [2, 2, 3, 3, 3],
    );
}

#[test]
fn deformable_convolution() {
    let module = seeded(DeformConv2dConfig::new([2, 3], [2, 2]).init(&device()), 5);
    let inputs = (input([2, 2, 4, 4], 6), input([2, 8, 3, 3], 7));
    check_traced(
        "deform_conv2d",
        &module,
        |m: &conv::DeformConv2d, (x, offset): (Tensor<4>, Tensor<4>)| m.forward(x, offset, None),
        &inputs,
    );
}

#[test]
fn normalisations() {
    let d = &device();
    check(
        "batch_norm",
        BatchNormConfig::new(4).init(d),
        |m, x| m.forward(x),
        [3, 4, 5],
    );
    check(
        "layer_norm",
        LayerNormConfig::new(5).init(d),
        |m, x| m.forward(x),
        [3, 4, 5],
    );
    check(
        "group_norm",
        GroupNormConfig::new(2, 4).init(d),
        |m, x| m.forward(x),
        [3, 4, 5],
    );
    check(
        "instance_norm",
        InstanceNormConfig::new(4).init(d),
        |m, x| m.forward(x),
        [3, 4, 5],
    );
    check(
        "rms_norm",
        RmsNormConfig::new(5).init(d),
        |m, x| m.forward(x),
        [3, 4, 5],
    );
    check(
        "local_response",
        LocalResponseNormConfig::new(3).init(),
        |m, x| m.forward(x),
        [3, 4, 5, 5],
    );
}

#[test]
fn pools() {
    check(
        "max_pool1d",
        MaxPool1dConfig::new(3).with_stride(2).init(),
        |m, x| m.forward(x),
        [2, 3, 9],
    );
    check(
        "max_pool2d",
        MaxPool2dConfig::new([3, 2]).with_strides([2, 1]).init(),
        |m, x| m.forward(x),
        [2, 3, 7, 6],
    );
    check(
        "avg_pool1d",
        AvgPool1dConfig::new(3).with_stride(2).init(),
        |m, x| m.forward(x),
        [2, 3, 9],
    );
    check(
        "avg_pool2d",
        AvgPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        |m, x| m.forward(x),
        [2, 3, 6, 6],
    );
    check(
        "adaptive1d",
        AdaptiveAvgPool1dConfig::new(4).init(),
        |m, x| m.forward(x),
        [2, 3, 9],
    );
    check(
        "adaptive2d",
        AdaptiveAvgPool2dConfig::new([2, 3]).init(),
        |m, x| m.forward(x),
        [2, 3, 5, 7],
    );
    check(
        "adaptive3d",
        AdaptiveAvgPool3dConfig::new([2, 2, 2]).init(),
        |m, x| m.forward(x),
        [2, 3, 4, 4, 4],
    );
}

#[test]
fn recurrent() {
    let d = &device();
    check(
        "gru",
        GruConfig::new(5, 4, true).init(d),
        |m: &Gru, x| m.forward(x, None),
        [2, 3, 5],
    );
    check(
        "rnn",
        RnnConfig::new(5, 4, true).init(d),
        |m: &Rnn, x| m.forward(x, None).0,
        [2, 3, 5],
    );
    check(
        "lstm",
        LstmConfig::new(5, 4, true).init(d),
        |m: &Lstm, x| m.forward(x, None).0,
        [2, 3, 5],
    );
    check(
        "bilstm",
        BiLstmConfig::new(5, 4, true).init(d),
        |m: &BiLstm, x| m.forward(x, None).0,
        [2, 3, 5],
    );
}

#[test]
fn attention() {
    let d = &device();
    check(
        "multi-head attention with a causal mask",
        MultiHeadAttentionConfig::new(8, 2).init(d),
        |m: &burn::nn::attention::MultiHeadAttention, x: Tensor<3>| {
            let [batch, time, _] = x.dims();
            let mask = generate_autoregressive_mask(batch, time, &x.device());
            m.forward(MhaInput::self_attn(x).mask_attn(mask)).context
        },
        [2, 5, 8],
    );
    let module = seeded(CrossAttentionConfig::new(8, 6, 2, 2, 4).init(d), 5);
    check_traced(
        "cross attention",
        &module,
        |m: &burn::nn::attention::CrossAttention, (x, y): (Tensor<3>, Tensor<3>)| {
            m.forward(x, y, None)
        },
        &(input([2, 4, 8], 6), input([2, 3, 6], 7)),
    );
    let module = seeded(TransformerDecoderConfig::new(8, 16, 2, 1).init(d), 5);
    check_traced(
        "transformer decoder",
        &module,
        |m: &burn::nn::transformer::TransformerDecoder, (x, memory): (Tensor<3>, Tensor<3>)| {
            m.forward(TransformerDecoderInput::new(x, memory))
        },
        &(input([2, 4, 8], 6), input([2, 3, 8], 7)),
    );
}

#[test]
fn scaled_dot_product_attention_as_one_operation() {
    let inputs = (
        input([2, 2, 4, 3], 1),
        input([2, 2, 5, 3], 2),
        input([2, 2, 5, 3], 3),
    );
    check_traced(
        "attention",
        &Relu::new(),
        |_: &Relu, (q, k, v): (Tensor<4>, Tensor<4>, Tensor<4>)| {
            burn::tensor::module::attention(q, k, v, None, None, Default::default())
        },
        &inputs,
    );
}

#[test]
fn embeddings_and_positions() {
    let d = &device();
    let tokens = Tensor::<2, Int>::from_ints([[0, 3, 2], [1, 1, 4]], d);
    check_traced(
        "embedding",
        &seeded(EmbeddingConfig::new(5, 4).init(d), 5),
        |m: &Embedding, x: Tensor<2, Int>| m.forward(x),
        &tokens,
    );
    check(
        "positional encoding",
        PositionalEncodingConfig::new(6)
            .with_max_sequence_size(10)
            .init(d),
        |m: &PositionalEncoding, x: Tensor<3>| m.forward(x),
        [2, 4, 6],
    );
    check(
        "rotary encoding",
        RotaryEncodingConfig::new(10, 6).init(d),
        |m: &RotaryEncoding, x: Tensor<4>| m.forward(x),
        [2, 2, 4, 6],
    );
}

#[test]
fn resampling() {
    for mode in [
        InterpolateMode::Nearest,
        InterpolateMode::Linear,
        InterpolateMode::Cubic,
    ] {
        // A function pointer cannot capture the mode; the module holds it.
        let module = Interpolate2dConfig::new()
            .with_output_size(Some([7, 5]))
            .with_mode(mode)
            .init();
        check("interpolate2d", module, |m, x| m.forward(x), [2, 3, 4, 4]);
    }
    check(
        "interpolate1d",
        Interpolate1dConfig::new().with_output_size(Some(7)).init(),
        |m, x| m.forward(x),
        [2, 3, 4],
    );
    check(
        "unfold",
        Unfold4dConfig::new([2, 2]).init(),
        |m, x| m.forward(x),
        [2, 3, 4, 5],
    );
    check(
        "pixel_shuffle",
        PixelShuffleConfig::new(2).init(),
        |m, x| m.forward(x),
        [2, 8, 3, 3],
    );
    check(
        "pixel_unshuffle",
        PixelUnshuffleConfig::new(2).init(),
        |m, x| m.forward(x),
        [2, 2, 6, 6],
    );
}

/// For a linear function, `Σ seed ⊙ f(x) = Σ x ⊙ gradient`: a check that needs no autodiff, which
/// some backends lack for interpolation.
#[test]
fn resampling_has_its_true_gradient_on_every_backend() {
    for mode in [
        InterpolateMode::Nearest,
        InterpolateMode::Linear,
        InterpolateMode::Cubic,
    ] {
        for (size, align) in [
            ([7, 5], true),
            ([7, 5], false),
            ([2, 3], false),
            ([1, 1], true),
        ] {
            let module = Interpolate2dConfig::new()
                .with_output_size(Some(size))
                .with_mode(mode.clone())
                .with_align_corners(align)
                .init();
            let x = input([2, 3, 4, 4], 3);
            let forward = |m: &burn::nn::interpolate::Interpolate2d, x| m.forward(x);
            let traced = Traced::new(&module, forward, &x).unwrap();
            let seed = input([2, 3, size[0], size[1]], 4);
            let plan = traced.plan(&GradientEverywhere, &x).unwrap();
            let pass = traced.pass(&x, &plan).unwrap();
            let found = pass.walk(Walk::from_output(seed.clone().into())).unwrap();
            let gradient = found.inputs[0].as_ref().unwrap().tensor::<4>().unwrap();
            let output = traced.forward(&x).unwrap().tensor::<4>().unwrap();
            let expected: Value = (seed * output).sum().into();
            let got: Value = (x * gradient).sum().into();
            let what = format!("{mode:?} to {size:?}, corners aligned: {align}");
            assert_close(&what, &got, &expected, 1e-4);
        }
    }
}

#[test]
fn activations() {
    let d = &device();
    let configs: Vec<ActivationConfig> = vec![
        ActivationConfig::Identity,
        ActivationConfig::Gelu,
        ActivationConfig::GeluApproximate,
        PReluConfig::new().into(),
        ActivationConfig::Relu,
        LeakyReluConfig::new().into(),
        SwiGluConfig::new(4, 4).into(),
        ActivationConfig::Selu,
        ActivationConfig::Sigmoid,
        ActivationConfig::Tanh,
        HardSigmoidConfig::new().into(),
        ActivationConfig::HardSwish,
        SoftplusConfig::new().into(),
        ActivationConfig::Softsign,
        EluConfig::new().into(),
        CeluConfig::new().into(),
        ThresholdedReluConfig::new().into(),
        HardShrinkConfig::new().into(),
        SoftShrinkConfig::new().into(),
        ShrinkConfig::new().into(),
    ];
    for config in configs {
        let name = format!("{config:?}");
        check(
            &name,
            config.init(d),
            |m: &Activation, x| m.forward(x),
            [3, 4],
        );
    }
}

#[test]
fn a_mask_rides_along_without_attribution() {
    let mask = Tensor::<2, Bool>::from_data([[true, false], [false, true]], &device());
    check_traced(
        "mask",
        &Relu::new(),
        |_: &Relu, (x, mask): (Tensor<2>, Tensor<2, Bool>)| x.mask_fill(mask, -1.0).exp(),
        &(input([2, 2], 1), mask),
    );
}
