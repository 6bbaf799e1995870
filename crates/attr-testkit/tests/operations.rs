//! Checks every operation that functional code may use, one line each.

use attr_core::op::{Binary, Op, Unary};
use attr_core::{Error, Kind, Method, Traced, Value};
use attr_gradient::Saliency;
use attr_testkit::check::check_traced;
use attr_testkit::models::input;
use burn::nn::Relu;
use burn::tensor::ops::{GridSampleOptions, GridSamplePaddingMode, InterpolateMode};
use burn::tensor::{Distribution, IndexingUpdateOp, Int, Tensor, Tolerance, activation, s};

type Function = fn(Tensor<3>) -> Value;

/// Operations on `[batch, 3, 4]`.
const OPERATIONS: &[(&str, Function)] = &[
    ("abs", |x| x.abs().into()),
    ("acos", |x| (x * 0.5).acos().into()),
    ("acosh", |x| (x.abs() + 1.5).acosh().into()),
    ("asin", |x| (x * 0.5).asin().into()),
    ("asinh", |x| x.asinh().into()),
    ("atan", |x| x.atan().into()),
    ("atanh", |x| (x * 0.5).atanh().into()),
    ("atan2", |x| x.clone().atan2(x.abs() + 1.0).into()),
    ("ceil", |x| (x * 3.0).ceil().into()),
    ("cos", |x| x.cos().into()),
    ("cosh", |x| x.cosh().into()),
    ("erf", |x| x.erf().into()),
    ("exp", |x| x.exp().into()),
    ("floor", |x| (x * 3.0).floor().into()),
    ("log", |x| (x.abs() + 0.5).log().into()),
    ("log1p", |x| x.abs().log1p().into()),
    ("neg", |x| (-x).into()),
    ("recip", |x| (x.abs() + 0.5).recip().into()),
    ("round", |x| (x * 3.0).round().into()),
    ("sign", |x| x.sign().into()),
    ("sin", |x| x.sin().into()),
    ("sinh", |x| x.sinh().into()),
    ("sqrt", |x| (x.abs() + 0.5).sqrt().into()),
    ("tan", |x| x.tan().into()),
    ("tanh", |x| x.tanh().into()),
    ("trunc", |x| (x * 3.0).trunc().into()),
    ("is_nan", |x| x.is_nan().into()),
    ("is_inf", |x| x.is_inf().into()),
    ("add", |x| (x.clone() + x.exp()).into()),
    ("add, broadcast", |x| (x.clone() + x.sum_dim(1)).into()),
    ("sub, broadcast", |x| (x.clone().mean_dim(2) - x).into()),
    ("mul, broadcast", |x| (x.clone() * x.sum_dim(1)).into()),
    ("div", |x| (x.clone() / (x.abs() + 1.0)).into()),
    ("remainder", |x| x.clone().remainder(x.abs() + 0.5).into()),
    ("hypot", |x| x.clone().hypot(x.exp()).into()),
    ("powf", |x| (x.clone().abs() + 0.5).powf(x).into()),
    ("powi", |x| x.clone().powi(x.ones_like() * 3.0).into()),
    ("add_scalar", |x| (x + 2.0).into()),
    ("sub_scalar", |x| (x - 2.0).into()),
    ("mul_scalar", |x| (x * 2.0).into()),
    ("div_scalar", |x| (x / 2.0).into()),
    ("remainder_scalar", |x| (x % 0.7).into()),
    ("powf_scalar", |x| (x.abs() + 0.5).powf_scalar(1.5).into()),
    ("powi_scalar", |x| x.powi_scalar(3).into()),
    ("clamp", |x| x.clamp(-0.5, 0.5).into()),
    ("clamp_min", |x| x.clamp_min(-0.5).into()),
    ("clamp_max", |x| x.clamp_max(0.5).into()),
    ("equal", |x| x.clone().equal(x).into()),
    ("not_equal", |x| x.clone().not_equal(x.exp()).into()),
    ("greater", |x| x.clone().greater(x.exp() - 1.2).into()),
    ("greater_equal", |x| {
        x.clone().greater_equal(x.exp() - 1.2).into()
    }),
    ("lower", |x| x.clone().lower(x.exp() - 1.2).into()),
    ("lower_equal", |x| {
        x.clone().lower_equal(x.exp() - 1.2).into()
    }),
    ("equal_elem", |x| x.equal_elem(0.0).into()),
    ("not_equal_elem", |x| x.not_equal_elem(0.0).into()),
    ("greater_elem", |x| x.greater_elem(0.1).into()),
    ("greater_equal_elem", |x| x.greater_equal_elem(0.1).into()),
    ("lower_elem", |x| x.lower_elem(0.1).into()),
    ("lower_equal_elem", |x| x.lower_equal_elem(0.1).into()),
    ("bool_and", |x| {
        x.clone()
            .greater_elem(0.1)
            .bool_and(x.lower_elem(0.6))
            .into()
    }),
    ("bool_or", |x| {
        x.clone()
            .greater_elem(0.6)
            .bool_or(x.lower_elem(0.1))
            .into()
    }),
    ("bool_xor", |x| {
        x.clone()
            .greater_elem(0.1)
            .bool_xor(x.lower_elem(0.6))
            .into()
    }),
    ("bool_not", |x| x.greater_elem(0.1).bool_not().into()),
    ("bool to float", |x| {
        (x.clone().greater_elem(0.1).float() * x).into()
    }),
    ("bool to int", |x| x.greater_elem(0.1).int().into()),
    ("all_dim", |x| x.greater_elem(-0.8).all_dim(2).into()),
    ("any_dim", |x| x.greater_elem(0.8).any_dim(2).into()),
    ("sum_dim", |x| x.sum_dim(1).into()),
    ("sum_dims", |x| x.sum_dims(&[1, 2]).into()),
    ("mean_dim", |x| x.mean_dim(2).into()),
    ("mean_dims", |x| x.mean_dims(&[1, 2]).into()),
    ("prod_dim", |x| x.prod_dim(2).into()),
    ("max_dim", |x| x.max_dim(2).into()),
    ("min_dim", |x| x.min_dim(2).into()),
    ("max_abs_dim", |x| x.max_abs_dim(2).into()),
    ("argmax", |x| x.argmax(2).into()),
    ("argmin", |x| x.argmin(2).into()),
    ("max_dim_with_indices", |x| {
        x.max_dim_with_indices(2).0.into()
    }),
    ("min_dim_with_indices", |x| {
        x.min_dim_with_indices(2).1.into()
    }),
    ("var", |x| x.var(2).into()),
    ("cumsum", |x| x.cumsum(2).into()),
    ("cumprod", |x| x.cumprod(2).into()),
    ("cummax", |x| x.cummax(2).into()),
    ("cummin", |x| x.cummin(2).into()),
    ("sort", |x| x.sort(2).into()),
    ("sort_descending", |x| x.sort_descending(1).into()),
    ("argsort", |x| x.argsort(2).into()),
    ("topk", |x| x.topk(2, 2).into()),
    ("topk_with_indices", |x| x.topk_with_indices(2, 2).1.into()),
    ("matmul", |x| x.clone().matmul(x.transpose()).into()),
    ("matmul by a constant", |x| {
        let weight = Tensor::<3>::ones([1, 4, 2], &x.device()) * 0.5;
        x.matmul(weight).into()
    }),
    ("cross", |x| x.clone().cross(x.exp(), 1).into()),
    ("reshape", |x| {
        let rows = x.dims()[0];
        x.reshape([rows, 12]).into()
    }),
    ("reshape into the batch", |x| {
        let rows = x.dims()[0];
        x.reshape([rows * 3, 4]).tanh().reshape([rows, 3, 4]).into()
    }),
    ("flatten", |x| x.flatten::<2>(1, 2).into()),
    ("unsqueeze, squeeze", |x| {
        x.unsqueeze_dim::<4>(2).squeeze_dim::<3>(2).into()
    }),
    ("swap_dims", |x| x.swap_dims(1, 2).into()),
    ("permute", |x| x.permute([0, 2, 1]).into()),
    ("flip", |x| x.flip([1, 2]).into()),
    ("expand", |x| {
        let rows = x.dims()[0];
        x.unsqueeze_dim::<4>(1).expand([rows, 2, 3, 4]).into()
    }),
    ("repeat_dim", |x| x.repeat_dim(1, 2).into()),
    ("unfold", |x| x.unfold::<4, _>(2, 2, 1).into()),
    ("slice", |x| x.slice(s![.., 1..3, 0..4;2]).into()),
    ("slice of all rows by number", |x| {
        let rows = x.dims()[0];
        x.slice([0..rows, 0..2]).into()
    }),
    ("slice_assign", |x| {
        let part = x.clone().slice(s![.., 0..1, ..]).exp();
        x.slice_assign(s![.., 1..2, ..], part).into()
    }),
    ("narrow", |x| x.narrow(2, 1, 2).into()),
    ("cat", |x| Tensor::cat(vec![x.clone(), x.exp()], 2).into()),
    ("stack", |x| {
        Tensor::stack::<4>(vec![x.clone(), x.exp()], 1).into()
    }),
    ("chunk", |x| x.chunk(2, 2).remove(1).into()),
    ("select", |x| {
        let indices = Tensor::<1, Int>::from_ints([2, 0, 2], &x.device());
        x.select(1, indices).into()
    }),
    ("select_assign", |x| {
        let indices = Tensor::<1, Int>::from_ints([2, 0], &x.device());
        let values = x.clone().slice(s![.., 0..2, ..]).exp();
        x.select_assign(1, indices, values, IndexingUpdateOp::Add)
            .into()
    }),
    ("gather", |x| x.clone().gather(2, x.argsort(2)).into()),
    ("scatter", |x| {
        let indices = x.clone().argsort(2);
        x.clone()
            .scatter(2, indices, x.exp(), IndexingUpdateOp::Add)
            .into()
    }),
    ("mask_where", |x| {
        x.clone()
            .mask_where(x.clone().lower_elem(0.0), x.exp())
            .into()
    }),
    ("mask_fill", |x| {
        x.clone().mask_fill(x.lower_elem(0.0), 0.25).into()
    }),
    ("pad", |x| x.pad((1, 1, 0, 0), 0.5).into()),
    ("triu mask", |x| {
        let mask = Tensor::<2, burn::tensor::Bool>::triu_mask([3, 4], 0, &x.device());
        let rows = x.dims()[0];
        x.mask_fill(mask.unsqueeze::<3>().expand([rows, 3, 4]), 0.0)
            .into()
    }),
    ("integer arithmetic", |x| {
        let i = (x * 10.0).int();
        let sum: Tensor<3, Int> = (i.clone() + 3) * 2 - i.clone() / 3 + i.clone().abs() % 4;
        (sum.clone() - i.clone().sum_dim(2) + i.clone().sign().mul(sum)).into()
    }),
    ("integer reductions", |x| {
        let i = (x * 10.0).int();
        (i.clone().max_dim(2) + i.clone().min_dim(2) + i.prod_dim(2)).into()
    }),
    ("bitwise", |x| {
        let i = (x * 10.0).int().abs();
        i.clone()
            .bitwise_and_scalar(3)
            .bitwise_or(i.bitwise_left_shift_scalar(1))
            .into()
    }),
    ("integers to floats", |x| {
        ((x.clone() * 10.0).int().float() + x).into()
    }),
    ("zeros, ones, full of the batch", |x| {
        let (shape, device) = (x.dims(), x.device());
        let sum = Tensor::<3>::zeros(shape, &device) + Tensor::ones(shape, &device);
        (x * (sum + Tensor::full(shape, 0.5, &device))).into()
    }),
    ("arange", |x| {
        let positions = Tensor::<1, Int>::arange(0..4, &x.device()).float();
        (x + positions.unsqueeze::<3>()).into()
    }),
    ("an in-place chain", |x| {
        (((x + 1.0) * 2.0 - 0.5).exp() / 3.0).sqrt().into()
    }),
    ("relu", |x| activation::relu(x).into()),
    ("gelu", |x| activation::gelu(x).into()),
    ("silu", |x| activation::silu(x).into()),
    ("mish", |x| activation::mish(x).into()),
    ("softmax", |x| activation::softmax(x, 2).into()),
    ("log_softmax", |x| activation::log_softmax(x, 1).into()),
    ("softmin", |x| activation::softmin(x, 2).into()),
    ("quiet_softmax", |x| activation::quiet_softmax(x, 2).into()),
    ("log_sigmoid", |x| activation::log_sigmoid(x).into()),
    ("softplus", |x| activation::softplus(x, 2.0).into()),
    ("leaky_relu", |x| activation::leaky_relu(x, 0.1).into()),
    ("hard_sigmoid", |x| {
        activation::hard_sigmoid(x, 0.2, 0.5).into()
    }),
];

#[test]
fn every_operation_replays_and_has_burns_gradient() {
    let mut failed = Vec::new();
    for (name, function) in OPERATIONS {
        // Each on its own, so that one run names every operation that fails.
        let run = std::panic::catch_unwind(|| check(name, *function));
        if run.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "operations failed: {failed:?}");
}

/// `check_traced` takes a function pointer, which cannot capture the entry: it looks it up.
fn check(name: &str, function: Function) {
    FUNCTION.with(|cell| cell.set(Some(function)));
    check_traced(
        name,
        &Relu::new(),
        |_: &Relu, x: Tensor<3>| FUNCTION.with(|cell| cell.get().expect("a function is set")(x)),
        &input([2, 3, 4], 9),
    );
}

thread_local! {
    static FUNCTION: std::cell::Cell<Option<Function>> = const { std::cell::Cell::new(None) };
}

#[test]
fn sampling_the_nearest_pixels_gives_each_what_was_sampled_there() {
    let x = input::<4>([2, 2, 3, 3], 9);
    let device = x.device();
    // The corner twice, the centre, and a place outside.
    let grid = Tensor::<4>::from_floats(
        [[[[-1.0, -1.0], [-0.9, -0.9], [0.1, 0.1], [3.0, 0.0]]]],
        &device,
    );
    let forward = move |_: &Relu, x: Tensor<4>| {
        let grid = grid.clone().to_device(&x.device());
        let grid = grid.expand([x.dims()[0] as i32, 1, 4, 2]);
        let mode = GridSampleOptions::new(InterpolateMode::Nearest);
        let sampled = x.grid_sample_2d(grid, mode.with_padding_mode(GridSamplePaddingMode::Zeros));
        let weights = Tensor::<1>::from_floats([1.0, 2.0, 4.0, 8.0], &sampled.device());
        (sampled * weights.unsqueeze::<4>())
            .flatten::<2>(1, 3)
            .sum_dim(1)
    };
    let model = Traced::new(&Relu::new(), forward, &x).unwrap();
    match Saliency::new().attribute(&model, &x, 0) {
        Ok(found) => {
            let one = [[[[3.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 0.0]]]];
            let expected = Tensor::<4>::from_floats(one, &device).repeat(&[2, 2, 1, 1]);
            let got = found.attribution().to_data();
            got.assert_approx_eq::<f32>(&expected.to_data(), Tolerance::absolute(1e-6));
        }
        // Only some backends sample the nearest pixels.
        Err(error) => assert!(matches!(error, Error::LayerPanicked { .. }), "{error}"),
    }
}

#[test]
fn an_unsupported_operation_is_named_with_its_layer() {
    let x = input([2, 3, 4], 9);
    let forward = |_: &Relu, x: Tensor<3>| {
        let noise = x.random_like(Distribution::Default);
        x.tanh() + noise
    };
    match Traced::new(&Relu::new(), forward, &x).map(|_| ()) {
        Err(Error::UnsupportedOperation { operation, .. }) => assert_eq!(operation, "Random"),
        other => panic!("expected an unsupported operation, got {other:?}"),
    }
}

#[test]
fn an_operation_on_elements_of_another_kind_is_named() {
    let x = Value::from(input::<2>([2, 3], 9));
    for op in [Op::Unary(Unary::Not), Op::Binary(Binary::And)] {
        let operands = vec![x.clone(); if matches!(op, Op::Binary(_)) { 2 } else { 1 }];
        match op.run(operands, &x.device()) {
            Err(Error::Operation { kind, .. }) => assert_eq!(kind, Kind::Float),
            other => panic!("{op:?} on floats gives {other:?}"),
        }
    }
}
