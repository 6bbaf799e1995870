//! The kernels of `attr-kernels` on tensors.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use attr_kernels::{
    Boxes, Direction, Geometry, Layer, Matrix, MaxPool, Packed, PackedMatrix, Packing, Right, Scene,
};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{BackendTensor, DispatchDevice, DispatchTensor, DispatchTensorKind};
use burn::tensor::{Bytes, DType, Shape};

use super::Boxed;
use super::prepared::Prepared;
use crate::Value;
use crate::graph::op::{ConvGeometry, Number, Op, PoolGeometry, number};

/// How many threads work on parts of a batch at once on a device.
pub(crate) fn threads(device: &DispatchDevice) -> usize {
    match device {
        DispatchDevice::Flex(_) => attr_kernels::threads(),
        _ => 1,
    }
}

/// Applies `f` to each item, on threads of their own where a device has them.
pub(crate) fn in_parallel<T: Send, R: Send>(
    device: &DispatchDevice,
    items: Vec<T>,
    f: impl Fn(T) -> R + Send + Sync,
) -> Vec<R> {
    if threads(device) == 1 {
        return items.into_iter().map(f).collect();
    }
    attr_kernels::in_parallel(items, f)
}

/// Runs work in many steps where each step reaches the threads of a device soonest.
pub(crate) fn on_threads<R: Send>(device: &DispatchDevice, f: impl FnOnce() -> R + Send) -> R {
    if threads(device) == 1 {
        return f();
    }
    attr_kernels::on_threads(f)
}

/// The kernels, and the weights that they prepared.
#[derive(Default)]
pub(crate) struct Kernels {
    layers: Prepared<Packing, Packed>,
    /// Right factors, as they are or transposed.
    matrices: Prepared<bool, PackedMatrix>,
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kernels")
    }
}

impl Kernels {
    /// The output of an operation with one.
    pub fn run(&self, op: &Op, operands: &[Value]) -> Option<Value> {
        // Before anything else, because most operations end here.
        match op {
            Op::Conv(_) | Op::ConvTranspose(_) | Op::Linear => {
                return self.within(op, operands, None);
            }
            Op::Gelu | Op::LayerNorm { .. } | Op::MatMul => {}
            Op::Softmax { .. } | Op::MaxPool { indices: false, .. } | Op::Clamp { .. } => {}
            _ => return None,
        }
        let operands = operands.iter().map(flex).collect::<Option<Vec<_>>>()?;
        let x = *operands.first()?;
        let shape = x.layout().shape();
        Some(match op {
            Op::MatMul => {
                let right = operands.get(1)?;
                let one = matrices(right)?.len() == 1;
                match one.then(|| self.product(x, right, false, None, None)) {
                    Some(product) => product?,
                    None => products(x, right)?,
                }
            }
            Op::Gelu => value(attr_kernels::gelu(&numbers(x)), shape),
            Op::Clamp { min, max } => {
                let [min, max] = limits(min.as_ref(), max.as_ref())?;
                value(attr_kernels::clamp(&numbers(x), min, max), shape)
            }
            Op::Softmax { dim } => {
                let length = last(shape, *dim)?;
                value(attr_kernels::softmax(&numbers(x), length), shape)
            }
            Op::LayerNorm { epsilon } => {
                let (gamma, beta) = (numbers(operands.get(1)?), operands.get(2).copied());
                let beta = beta.map(numbers);
                let y =
                    attr_kernels::layer_norm(&numbers(x), &gamma, beta.as_deref(), *epsilon as f32);
                value(y, shape)
            }
            Op::MaxPool { geometry, .. } => {
                let (pool, shape) = max_pool(geometry, shape, None)?;
                value(pool.run(&numbers(x)), &shape)
            }
            _ => return None,
        })
    }

    /// What an activation makes of the output of an operation before it.
    ///
    /// The numbers of a large layer would leave the cache before an activation of its own.
    pub fn run_with_activation(
        &self,
        op: &Op,
        operands: &[Value],
        activation: &Op,
    ) -> Option<Value> {
        let limits = match activation {
            Op::Relu => [0.0, f32::INFINITY],
            Op::Clamp { min, max } => limits(min.as_ref(), max.as_ref())?,
            _ => return None,
        };
        self.within(op, operands, Some(limits))
    }

    /// The output of an operation with a weight, within limits.
    fn within(&self, op: &Op, operands: &[Value], limits: Option<[f32; 2]>) -> Option<Value> {
        let x = flex(operands.first()?)?;
        let weight = flex(operands.get(1)?)?;
        let bias = match operands.get(2) {
            Some(bias) => Some(flex(bias)?),
            None => None,
        };
        let shape = x.layout().shape();
        match op {
            Op::Conv(g) => {
                let layer = layer(weight, g, shape, Direction::Forward)?;
                self.convolution(layer, weight, x, bias, limits)
            }
            Op::ConvTranspose(g) => {
                let output = transposed_shape(shape, weight.layout().shape(), g)?;
                let layer = layer(weight, g, &output, Direction::Backward)?;
                self.convolution(layer, weight, x, bias, limits)
            }
            Op::Linear => self.product(x, weight, false, bias, limits),
            _ => None,
        }
    }

    /// Boxes of an image `[1, channels, ...]` with `before` elements of padding, one per row. Each
    /// row's patch covers the image in its own box, in coordinates without padding.
    pub fn boxes(
        &self,
        image: &Value,
        before: &[usize],
        padding: f32,
        (starts, size): Boxed<'_>,
        patches: Option<(&Value, Boxed<'_>)>,
    ) -> Option<Value> {
        let image = flex(image)?;
        let [1, channels, spatial @ ..] = &image.layout().shape()[..] else {
            return None;
        };
        if *channels == 0 || spatial.contains(&0) || size.contains(&0) {
            return None;
        }
        let boxes = |(starts, size): Boxed<'_>| {
            let starts = starts.iter().map(|start| solid(start, 0));
            Some(Boxes {
                starts: starts.collect::<Option<_>>()?,
                size: solid(size, 1)?,
            })
        };
        let patches = match patches {
            Some((patches, covered)) => Some((numbers(flex(patches)?), boxes(covered)?)),
            None => None,
        };
        let scene = Scene {
            image: &numbers(image),
            size: solid(spatial, 1)?,
            before: solid(before, 0)?,
            padding,
        };
        let patches = patches
            .as_ref()
            .map(|(numbers, boxes)| (&numbers[..], boxes));
        let found = attr_kernels::cut(&scene, &boxes((starts, size))?, patches);
        Some(value(found, &[&[starts.len(), *channels], size].concat()))
    }

    /// What `grad`, arriving at an operation's only output, passes to its first operand.
    pub fn derivative(
        &self,
        op: &Op,
        operands: &[Value],
        outputs: &[Value],
        grad: &Value,
    ) -> Option<Value> {
        match op {
            Op::Conv(_) | Op::ConvTranspose(_) | Op::Gelu | Op::LayerNorm { .. } => {}
            Op::Softmax { .. } | Op::MaxPool { .. } | Op::Clamp { .. } | Op::Linear => {}
            _ => return None,
        }
        let (x, grad) = (flex(operands.first()?)?, flex(grad)?);
        let shape = x.layout().shape();
        Some(match op {
            Op::Conv(g) => {
                let weight = flex(operands.get(1)?)?;
                let layer = layer(weight, g, shape, Direction::Backward)?;
                self.convolution(layer, weight, grad, None, None)?
            }
            Op::ConvTranspose(g) => {
                let weight = flex(operands.get(1)?)?;
                let layer = layer(weight, g, grad.layout().shape(), Direction::Forward)?;
                self.convolution(layer, weight, grad, None, None)?
            }
            Op::Linear => self.product(grad, flex(operands.get(1)?)?, true, None, None)?,
            Op::Gelu => value(
                attr_kernels::gelu_backward(&numbers(x), &numbers(grad)),
                shape,
            ),
            Op::Clamp { min, max } => {
                let [min, max] = limits(min.as_ref(), max.as_ref())?;
                let (x, grad) = (numbers(x), numbers(grad));
                value(attr_kernels::clamp_backward(&x, &grad, min, max), shape)
            }
            Op::Softmax { dim } => {
                let length = last(shape, *dim)?;
                let y = numbers(flex(outputs.first()?)?);
                value(
                    attr_kernels::softmax_backward(&y, &numbers(grad), length),
                    shape,
                )
            }
            Op::LayerNorm { epsilon } => {
                let gamma = numbers(flex(operands.get(1)?)?);
                let (x, grad) = (numbers(x), numbers(grad));
                let slope = attr_kernels::layer_norm_backward(&x, &grad, &gamma, *epsilon as f32);
                value(slope, shape)
            }
            Op::MaxPool { geometry, .. } => {
                let (pool, _) = max_pool(geometry, shape, Some(grad.layout().shape()))?;
                value(pool.backward(&numbers(x), &numbers(grad)), shape)
            }
            _ => return None,
        })
    }

    /// Runs a convolution on its input, or on its output's gradient.
    fn convolution(
        &self,
        layer: Layer,
        weight: &FlexTensor,
        x: &FlexTensor,
        bias: Option<&FlexTensor>,
        limits: Option<[f32; 2]>,
    ) -> Option<Value> {
        let rows = *x.layout().shape().first()?;
        if layer.taken(rows) != **x.layout().shape() {
            return None;
        }
        let output = layer.returned(rows);
        let weight = self.layers.get(weight, layer.packing(), |packing| {
            packing.prepare(&numbers(weight))
        });
        let y = layer.run(&weight, &numbers(x), bias.map(numbers).as_deref(), limits);
        Some(value(y, &output))
    }

    /// Multiplies the rows of `x` by a matrix, or by its transpose.
    fn product(
        &self,
        x: &FlexTensor,
        matrix: &FlexTensor,
        transposed: bool,
        bias: Option<&FlexTensor>,
        limits: Option<[f32; 2]>,
    ) -> Option<Value> {
        let mut shape = x.layout().shape().to_vec();
        let numbers_of = matrices(matrix).filter(|all| all.len() == 1)?;
        let right = if transposed {
            numbers_of[0].transposed()
        } else {
            numbers_of[0]
        };
        let [inputs, outputs] = right.shape();
        if shape.pop()? != inputs || shape.contains(&0) || inputs == 0 || outputs == 0 {
            return None;
        }
        let bias = bias.map(numbers);
        if bias.as_ref().is_some_and(|bias| bias.len() != outputs) {
            return None;
        }
        let x = numbers(x);
        let left = Matrix::of_rows(&x, inputs)?;
        let (rows, elements) = (left.shape()[0], inputs * outputs);
        let short = rows * elements < THREADED && (rows > 64 || outputs > 128);
        // A large matrix as it is takes Burn two thirds of the time.
        let large = elements > *PACKED.end() && !transposed && rows > 1;
        if short || large {
            return None;
        }
        let mut y = if PACKED.contains(&elements) {
            let packed = self
                .matrices
                .get(matrix, transposed, |_| PackedMatrix::new(right));
            attr_kernels::product(left, Right::Packed(&packed), bias.as_deref())
        } else {
            attr_kernels::product(left, Right::Plain(right), bias.as_deref())
        };
        if let Some([min, max]) = limits {
            attr_kernels::clamp_in_place(&mut y, min, max);
        }
        shape.push(outputs);
        Some(value(y, &shape))
    }
}

/// Multiplications below which a product that several threads would share had better not be.
const THREADED: usize = 1 << 17;

/// Elements of a matrix that pays for its preparation. A larger one would take as much memory again.
const PACKED: RangeInclusive<usize> = 1 << 14..=1 << 22;

fn layer(
    weight: &FlexTensor,
    g: &ConvGeometry,
    input: &[usize],
    direction: Direction,
) -> Option<Layer> {
    let geometry = Geometry {
        stride: g.stride.clone(),
        padding: g.padding.clone(),
        dilation: g.dilation.clone(),
        groups: g.groups,
    };
    Layer::choose(weight.layout().shape(), &geometry, input, direction)
}

/// The shape of a transposed convolution's output; `None` if the numbers do not fit each other.
fn transposed_shape(x: &[usize], weight: &[usize], g: &ConvGeometry) -> Option<Vec<usize>> {
    let mut shape = vec![*x.first()?, weight.get(1)? * g.groups];
    for (i, size) in x.get(2..)?.iter().enumerate() {
        let (stride, (before, after)) = (g.stride.get(i)?, g.padding.get(i)?);
        let reach = g.dilation.get(i)? * weight.get(i + 2)?.checked_sub(1)?;
        let full = size.checked_sub(1)? * stride + reach + 1 + g.padding_out.get(i)?;
        shape.push(full.checked_sub(before + after)?);
    }
    Some(shape)
}

/// Spatial sizes or places in three dimensions, with `fill` for those that are missing in front.
fn solid(sides: &[usize], fill: usize) -> Option<[usize; 3]> {
    let mut all = [fill; 3];
    all.get_mut(3usize.checked_sub(sides.len())?..)?
        .copy_from_slice(sides);
    Some(all)
}

/// The limits of a clamp, infinite where there is none; `None` if they are not in order.
fn limits(min: Option<&Number>, max: Option<&Number>) -> Option<[f32; 2]> {
    let min = min.map_or(f32::NEG_INFINITY, |min| number(min) as f32);
    let max = max.map_or(f32::INFINITY, |max| number(max) as f32);
    (min <= max).then_some([min, max])
}

/// The length of the last dimension, if it is this one.
fn last(shape: &[usize], dim: usize) -> Option<usize> {
    let length = *shape.last()?;
    (dim + 1 == shape.len() && length > 0).then_some(length)
}

/// Max pooling of one or two dimensions, and its output's shape.
fn max_pool(
    g: &PoolGeometry,
    input: &[usize],
    output: Option<&[usize]>,
) -> Option<(MaxPool, Vec<usize>)> {
    let rank = g.kernel.len();
    if rank > 2 || input.len() != rank + 2 || input.contains(&0) {
        return None;
    }
    // Along a missing first dimension there is one window of one element.
    let two = |values: &[usize], missing: usize| {
        let mut two = [missing; 2];
        two[2 - rank..].copy_from_slice(values.get(..rank)?);
        Some(two)
    };
    let (kernel, stride) = (two(&g.kernel, 1)?, two(&g.stride, 1)?);
    let (padding, dilation) = (two(&g.padding, 0)?, two(&g.dilation, 1)?);
    let size = two(&input[2..], 1)?;
    let results = match output {
        Some(output) => two(output.get(2..)?, 1)?,
        // Burn knows which partial windows count.
        None if g.ceil_mode => return None,
        None => {
            let mut results = [1; 2];
            for i in 0..2 {
                let reach = dilation[i] * kernel[i].checked_sub(1)? + 1;
                let room = (size[i] + 2 * padding[i]).checked_sub(reach)?;
                results[i] = room.checked_div(stride[i])? + 1;
            }
            results
        }
    };
    let pool = MaxPool {
        input: size,
        output: results,
        kernel,
        stride,
        padding,
        dilation,
    };
    let shape = [&input[..2], &results[2 - rank..]].concat();
    pool.is_valid().then_some((pool, shape))
}

/// The tensor, if it is one of `f32` on a `flex` device and not on an autodiff tape.
fn flex(value: &Value) -> Option<&FlexTensor> {
    match &value.dispatch().kind {
        DispatchTensorKind::Flex(BackendTensor::Float(tensor)) => {
            (tensor.dtype() == DType::F32).then_some(tensor)
        }
        _ => None,
    }
}

/// The matrices in the last two dimensions, in order; `None` if they are no views of memory.
fn matrices(tensor: &FlexTensor) -> Option<Vec<Matrix<'_>>> {
    let layout = tensor.layout();
    let (shape, strides) = (layout.shape(), layout.strides());
    let batch = shape.len().checked_sub(2)?;
    let strides = strides.iter().map(|&stride| usize::try_from(stride).ok());
    let strides: Vec<usize> = strides.collect::<Option<_>>()?;
    let mut starts = vec![layout.start_offset()];
    for (&size, &stride) in shape[..batch].iter().zip(&strides) {
        let each = starts
            .iter()
            .flat_map(|start| (0..size).map(move |i| start + i * stride));
        starts = each.collect();
    }
    let all: &[f32] = tensor.storage();
    let sizes = [shape[batch], shape[batch + 1]];
    let steps = [strides[batch], strides[batch + 1]];
    let each = starts
        .iter()
        .map(|&start| Matrix::new(all.get(start..)?, sizes, steps));
    each.collect()
}

/// The products of as many matrices on each side.
fn products(left: &FlexTensor, right: &FlexTensor) -> Option<Value> {
    let (of_left, of_right) = (left.layout().shape(), right.layout().shape());
    let (lefts, rights) = (matrices(left)?, matrices(right)?);
    let [batch @ .., rows, inner] = &of_left[..] else {
        return None;
    };
    let [other @ .., height, columns] = &of_right[..] else {
        return None;
    };
    let empty = [rows, inner, columns].contains(&&0) || batch.contains(&0);
    // Burn is faster where the left factors lie column by column.
    let across = left.layout().strides().last() != Some(&1);
    let short = lefts.len() > 1 && lefts.len() * rows * inner * columns < THREADED;
    if batch != other || inner != height || empty || across || short {
        return None;
    }
    let shape = [batch, &[*rows, *columns]].concat();
    Some(value(attr_kernels::products(&lefts, &rights), &shape))
}

/// The elements in row-major order.
fn numbers(tensor: &FlexTensor) -> Cow<'_, [f32]> {
    if let Some(numbers) = tensor.as_slice::<f32>() {
        return Cow::Borrowed(numbers);
    }
    Cow::Owned(tensor.to_contiguous().storage::<f32>().to_vec())
}

fn value(numbers: Vec<f32>, shape: &[usize]) -> Value {
    let layout = Layout::contiguous(Shape::from(shape.to_vec()));
    let tensor = FlexTensor::new(Bytes::from_elems(numbers), layout, DType::F32);
    Value::from_dispatch(DispatchTensor {
        kind: DispatchTensorKind::Flex(BackendTensor::Float(tensor)),
        autodiff: Default::default(),
    })
}
