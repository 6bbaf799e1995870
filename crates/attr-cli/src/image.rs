//! Prepares images for an input of the model: `--size`, `--mean` and `--std`.

use attr_data::{Array, Elements};
use attr_onnx::{Port, PortDim};
use attr_viz::Picture;

use crate::args::ModelArguments;
use crate::error::Error;
use crate::input;

/// How an image becomes one row of an input.
pub struct Preparation {
    layout: Layout,
    /// Width and height, where `--size` gives them.
    size: Option<(usize, usize)>,
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Preparation {
    /// Reads the flags for an input, which must be an image.
    pub fn new(port: &Port, arguments: &ModelArguments) -> Result<Self, Error> {
        let layout = Layout::of(port)?;
        let size = arguments.size.as_deref().map(parse_size).transpose()?;
        let mean = per_channel("--mean", &arguments.mean, layout.channels, 0.0)?;
        let std = per_channel("--std", &arguments.std, layout.channels, 1.0)?;
        if std.iter().any(|s| *s == 0.0 || !s.is_finite()) || mean.iter().any(|m| !m.is_finite()) {
            return Err(Error::input(
                "--mean must be finite and --std finite and not 0",
            ));
        }
        Ok(Self {
            layout,
            size,
            mean,
            std,
        })
    }

    /// Decodes an image, and returns the row and the image at the row's size.
    pub fn prepare(&self, bytes: &[u8]) -> Result<(Array, Picture), attr_viz::Error> {
        let picture = Picture::decode(bytes)?;
        let own = picture.size();
        let (height, width) = self.layout.size;
        let fitting = (width.unwrap_or(own.0), height.unwrap_or(own.1));
        let (width, height) = self.size.unwrap_or(fitting);
        let picture = picture.resized(width, height)?;
        let channels = self.layout.channels;
        let mut planes = picture.channels(channels)?;
        let area = width * height;
        let normed = self.mean.iter().zip(&self.std);
        for (plane, (mean, std)) in planes.chunks_exact_mut(area).zip(normed) {
            plane.iter_mut().for_each(|v| *v = (*v - mean) / std);
        }
        let (shape, values) = if self.layout.last {
            let pixels = (0..area).flat_map(|i| (0..channels).map(move |c| c * area + i));
            let values = pixels.map(|i| planes[i]).collect();
            (vec![1, height, width, channels], values)
        } else {
            (vec![1, channels, height, width], planes)
        };
        let elements = Elements::Float(values);
        Ok((Array { shape, elements }, picture))
    }
}

/// The layout of an image input: position and number of its channels, and its fixed size.
struct Layout {
    last: bool,
    channels: usize,
    size: (Option<usize>, Option<usize>),
}

impl Layout {
    /// Detects `[batch, channels, height, width]` or `[batch, height, width, channels]`, whichever
    /// has 1 or 3 channels.
    fn of(port: &Port) -> Result<Self, Error> {
        let fixed = |dim: &PortDim| match dim {
            PortDim::Fixed(size) => Some(*size),
            PortDim::Free(_) => None,
        };
        let colours = |dim: &PortDim| fixed(dim).filter(|n| *n == 1 || *n == 3);
        if let Some([_, a, b, c]) = port.shape.as_deref() {
            let layout = match (colours(a), colours(c)) {
                (Some(channels), _) => Some((false, channels, fixed(b), fixed(c))),
                (None, Some(channels)) => Some((true, channels, fixed(a), fixed(b))),
                (None, None) if fixed(a).is_none() => Some((false, 3, fixed(b), fixed(c))),
                _ => None,
            };
            if let Some((last, channels, height, width)) = layout {
                let size = (height, width);
                return Ok(Self {
                    last,
                    channels,
                    size,
                });
            }
        }
        Err(Error::input(format!(
            "the model's input {} is not an image of 1 or 3 channels; give a .npy",
            input::one(port)
        )))
    }
}

/// Parses `224` or `HEIGHTxWIDTH`; returns width and height.
fn parse_size(text: &str) -> Result<(usize, usize), Error> {
    let (height, width) = text.split_once(['x', ',']).unwrap_or((text, text));
    match (width.trim().parse(), height.trim().parse()) {
        (Ok(width), Ok(height)) if width > 0 && height > 0 => Ok((width, height)),
        _ => Err(Error::input(format!(
            "--size {text}: give HEIGHTxWIDTH or one number, such as 224x224"
        ))),
    }
}

fn per_channel(
    flag: &str,
    given: &[f32],
    channels: usize,
    default: f32,
) -> Result<Vec<f32>, Error> {
    match given.len() {
        0 => Ok(vec![default; channels]),
        1 => Ok(vec![given[0]; channels]),
        n if n == channels => Ok(given.to_vec()),
        n => Err(Error::input(format!(
            "{flag} has {n} numbers, but the model takes {channels} channels"
        ))),
    }
}
