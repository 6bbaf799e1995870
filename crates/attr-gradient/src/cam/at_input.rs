//! A map at a layer as an explanation of the input: resized to its size.

use attr_core::{BaselineUse, Error, Explanation, LayerMethod, Method, Question, Value};

use super::Resize;

/// Explains the input by what a method finds at its first layer: the sum over channels, resized to
/// the input's size and divided evenly among its channels. So class activation maps can be compared
/// with methods that explain the input.
///
/// Shapes: the input's, `[batch, channels, ...]`, whose number of spatial dimensions must be the
/// layer's. A pixel's channels add up to the map's value there.
///
/// # Errors
/// Those of the method; [`Error::Shape`] for a layer with another number of dimensions than the
/// input; [`Error::NoGradient`] where no input is floating point.
///
/// ```
/// use attr_core::{Method, Traced};
/// use attr_gradient::{AtInput, GradCam};
/// use burn::nn::conv::{Conv2d, Conv2dConfig};
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let net: Conv2d = Conv2dConfig::new([3, 4], [3, 3]).init(&device);
/// let image = Tensor::<4>::ones([1, 3, 8, 8], &device);
/// let forward = |n: &Conv2d, x: Tensor<4>| n.forward(x).flatten::<2>(1, 3).sum_dim(1);
/// let model = Traced::new(&net, forward, &image)?;
/// let layer = model.layers()[0].name.clone();
/// let cam = AtInput::new(GradCam::new([layer])).attribute(&model, &image, 0)?;
/// assert_eq!(cam.attribution().dims(), [1, 3, 8, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AtInput<M> {
    method: M,
    interpolate_mode: Resize,
}

impl<M> AtInput<M> {
    /// Wraps a method of layers; its map is interpolated linearly.
    pub fn new(method: M) -> Self {
        Self {
            method,
            interpolate_mode: Resize::Bilinear,
        }
    }

    /// Sets how the map is interpolated.
    pub fn with_interpolation(mut self, interpolate_mode: Resize) -> Self {
        self.interpolate_mode = interpolate_mode;
        self
    }

    fn resized(&self, map: &Value, input: &Value) -> Result<Value, Error> {
        let (shape, target) = (map.shape(), input.shape());
        if shape.len() != target.len() || shape.len() < 3 {
            return Err(Error::Shape {
                what: "the map at the layer".into(),
                got: shape,
                expected: format!("as many dimensions as the input {target:?}"),
            });
        }
        let [rows, channels] = [shape[0], shape[1]];
        let pixels: usize = shape[2..].iter().product();
        let whole = map.clone().reshape(&[rows, channels, pixels]);
        let whole = whole.tensor::<3>()?.sum_dim(1) / target[1] as f64;
        let mut one = shape.clone();
        one[1] = 1;
        let whole = Value::from(whole).reshape(&one);
        let resized = self.interpolate_mode.to(&whole, &target[2..])?;
        let pixels: usize = target[2..].iter().product();
        let resized = resized.reshape(&[rows, 1, pixels]).tensor::<3>()?;
        Ok(Value::from(resized.repeat_dim(1, target[1])).reshape(&target))
    }
}

impl<M: LayerMethod> Method for AtInput<M> {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let inputs = question.inputs();
        let count = inputs.values().len();
        let first = (0..count).find(|&i| inputs.attributed(i));
        let first = first.ok_or(Error::NoGradient { input: 0 })?;
        let found = self.method.explain_at(question)?.into_iter().map(|layers| {
            let layer = layers.into_iter().next();
            let layer = layer.ok_or(Error::Internal("a method returned no layer"))?;
            let map = layer.values.first().and_then(Option::as_ref);
            let map = map.ok_or(Error::NoGradient { input: first })?;
            let mut values = vec![None; count];
            values[first] = Some(self.resized(map, &inputs.values()[first])?);
            Ok(Explanation::new(values, layer.scores).with_warnings(layer.warnings))
        });
        found.collect()
    }

    fn baseline_use(&self) -> BaselineUse {
        self.method.baseline_use()
    }
}
