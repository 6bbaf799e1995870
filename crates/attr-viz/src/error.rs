//! The errors of drawing.

use std::fmt;

/// Why a picture could not be drawn.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The values could not be read.
    #[error(transparent)]
    Value(#[from] attr_core::Error),
    /// The number of values does not fit the size of the image.
    #[error("{got} values do not fill an image of {width} x {height} with {channels} channels")]
    Size {
        /// Number of values.
        got: usize,
        /// Requested width.
        width: usize,
        /// Requested height.
        height: usize,
        /// Requested channels.
        channels: usize,
    },
    /// The tensor is not an image.
    #[error(
        "row {row} of a tensor of shape {shape:?} is not an image; [batch, channels, height, \
         width], [batch, height, width] or [batch, width] is needed"
    )]
    Shape {
        /// Shape of the tensor.
        shape: Vec<usize>,
        /// Requested row.
        row: usize,
    },
    /// A value is NaN or infinite.
    #[error("{what} holds NaN or infinity")]
    NonFinite {
        /// What holds the value.
        what: &'static str,
    },
    /// A parameter is out of range.
    #[error("{name} = {value} is invalid; {expected}")]
    Parameter {
        /// Name of the parameter.
        name: &'static str,
        /// Value of the parameter.
        value: String,
        /// What a valid value is.
        expected: &'static str,
    },
    /// The text is no colour map.
    #[error("{text:?} is no colour map; {expected}, at character {at}")]
    Palette {
        /// The text.
        text: String,
        /// Where the error is, counted in bytes.
        at: usize,
        /// What is needed there.
        expected: &'static str,
    },
    /// A view that shows the original was requested without one.
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
    /// One colour bar cannot serve drawings of different colours.
    #[error(
        "the drawings of a panel have different colours; draw all of them with the same sign, scale and palette"
    )]
    MixedSigns,
    /// A row of a panel has the wrong number of pictures.
    #[error("a row has {got} pictures, but the panel has {expected} columns")]
    Columns {
        /// Columns of the panel.
        expected: usize,
        /// Pictures in the row.
        got: usize,
    },
    /// The bytes are not a readable image.
    #[error("not a PNG or JPEG image: {0}")]
    Decode(String),
    /// Drawing or encoding failed.
    #[error("drawing failed: {0}")]
    Draw(String),
    /// A video could not be encoded.
    #[error("{0}")]
    Video(String),
    /// The file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Path of the file.
        path: std::path::PathBuf,
        /// Cause of the failure.
        source: std::io::Error,
    },
}

/// The message: it is what `main` prints when it returns the error.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
