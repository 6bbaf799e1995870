//! Resizing of maps to the input's size.

use attr_core::op::{Interpolation, Op};
use attr_core::{Error, Value};
use serde::{Deserialize, Serialize};

/// How a map is interpolated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The value of the nearest point.
    #[default]
    Nearest,
    /// Linear between neighbours (in each dimension).
    Bilinear,
    /// Cubic between neighbours (in each dimension).
    Bicubic,
}

impl Resize {
    /// Resizes the up to three spatial dimensions of a map `[batch, channels, ...]` to `size`.
    ///
    /// # Errors
    /// [`Error::Shape`] if `size` has a different number of dimensions, or more than three.
    pub fn to(self, map: &Value, size: &[usize]) -> Result<Value, Error> {
        self.resize(map, size, false)
    }

    /// Resizes a map; `align` makes the corner points of both sizes coincide.
    pub(super) fn resize(self, map: &Value, size: &[usize], align: bool) -> Result<Value, Error> {
        let shape = map.shape();
        let unfit = || Error::Shape {
            what: "the map to resize".into(),
            got: shape.clone(),
            expected: format!(
                "[batch, channels, ...] with {} spatial dimensions",
                size.len()
            ),
        };
        if shape.len() != size.len() + 2 || size.contains(&0) {
            return Err(unfit());
        }
        let (rows, channels) = (shape[0], shape[1]);
        let resized = match (&shape[2..], size) {
            ([], []) => return Ok(map.clone()),
            ([length], [to]) => {
                let line = map.clone().reshape(&[rows, channels, 1, *length]);
                self.plane(line, [1, *to], align)?
            }
            ([_, _], [height, width]) => self.plane(map.clone(), [*height, *width], align)?,
            ([depth, height, width], [to, tall, wide]) => {
                // One dimension at a time gives the same result, since the weights are products.
                let planes = [rows, channels * depth, *height, *width];
                let planes = self.plane(map.clone().reshape(&planes), [*tall, *wide], align)?;
                let columns = planes.reshape(&[rows, channels, *depth, tall * wide]);
                self.plane(columns, [*to, tall * wide], align)?
            }
            _ => return Err(unfit()),
        };
        Ok(resized.reshape(&[&[rows, channels], size].concat()))
    }

    fn plane(self, map: Value, size: [usize; 2], align: bool) -> Result<Value, Error> {
        let mode = match self {
            Self::Nearest => Interpolation::Nearest,
            Self::Bilinear => Interpolation::Bilinear,
            Self::Bicubic => Interpolation::Bicubic,
        };
        let device = map.device();
        let op = Op::Interpolate {
            size,
            mode,
            align_corners: align,
        };
        let resized = op.run(vec![map], &device)?.into_iter().next();
        resized.ok_or(Error::Internal("a resized map without a value"))
    }
}
