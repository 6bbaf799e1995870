//! What can go wrong when drawing.

/// Why a picture could not be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The values could not be read.
    #[error(transparent)]
    Value(#[from] attr_core::Error),
    /// The values do not make an image of that size.
    #[error("{got} values do not make an image of {width} x {height} with {channels} channels")]
    Size {
        /// Number of values.
        got: usize,
        /// Width asked for.
        width: usize,
        /// Height asked for.
        height: usize,
        /// Channels asked for.
        channels: usize,
    },
    /// The tensor is not an image.
    #[error(
        "row {row} of a tensor of shape {shape:?} is not an image; [batch, channels, height, \
         width], [batch, height, width] or [batch, width] is needed"
    )]
    Shape {
        /// Its shape.
        shape: Vec<usize>,
        /// The row asked for.
        row: usize,
    },
    /// A value is NaN or infinite.
    #[error("{what} holds NaN or infinity")]
    NonFinite {
        /// Where.
        what: &'static str,
    },
    /// A parameter is out of range.
    #[error("{name} = {value} is invalid; {expected}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A view that shows the original was asked for without one.
    #[error("this view shows the original image, but none was given")]
    NoOriginal,
    /// The original and the attribution differ in size.
    #[error("the attribution is {map:?} (width, height), but the image is {image:?}")]
    Mismatch {
        /// Size of the attribution.
        map: (usize, usize),
        /// Size of the image.
        image: (usize, usize),
    },
    /// One colour bar cannot explain drawings of different signs.
    #[error("the drawings of a panel show different signs; one colour bar cannot explain them")]
    MixedSigns,
    /// A row of a panel has the wrong number of pictures.
    #[error("a row has {got} pictures, but the panel has {expected} columns")]
    Columns {
        /// Columns of the panel.
        expected: usize,
        /// Pictures in the row.
        got: usize,
    },
    /// The bytes are no image that can be read.
    #[error("not a PNG or JPEG image: {0}")]
    Decode(String),
    /// Drawing or encoding failed.
    #[error("drawing failed: {0}")]
    Draw(String),
    /// The file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
