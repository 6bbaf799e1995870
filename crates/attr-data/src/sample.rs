//! A sample, and what every format offers.

use std::ops::Range;

use crate::error::Error;

/// One sample of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its number, from 0.
    pub number: u64,
    /// Its name: the path of its file, its key in an archive, or its file and row.
    pub name: String,
    /// Its label, if it has one.
    pub label: Option<usize>,
    /// Its image or array.
    pub content: Content,
}

/// What a sample holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// The bytes of a PNG or JPEG file, undecoded and unchecked.
    Encoded(Vec<u8>),
    /// An array.
    Array(Array),
    /// Nothing, for the reason given; the samples after it can still be read.
    Unreadable(String),
}

/// An array with its shape and elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its shape; that of a sample has no dimension of the samples.
    pub shape: Vec<usize>,
    /// Its elements in row-major order.
    pub elements: Elements,
}

/// An array's elements.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// From any float type.
    Float(Vec<f32>),
    /// From any integer type.
    Int(Vec<i64>),
    /// From booleans.
    Bool(Vec<bool>),
}

impl Elements {
    /// Converts the elements to floats.
    pub fn into_floats(self) -> Vec<f32> {
        match self {
            Self::Float(values) => values,
            Self::Int(values) => values.into_iter().map(|v| v as f32).collect(),
            Self::Bool(values) => values.into_iter().map(|v| f32::from(u8::from(v))).collect(),
        }
    }

    /// Returns the elements as integers, or none if one is a fraction.
    pub fn to_ints(&self) -> Option<Vec<i64>> {
        match self {
            Self::Float(values) => {
                let whole = |v: &f32| (*v == v.trunc() && v.abs() < 1e15).then_some(*v as i64);
                values.iter().map(whole).collect()
            }
            Self::Int(values) => Some(values.clone()),
            Self::Bool(values) => Some(values.iter().map(|&v| i64::from(v)).collect()),
        }
    }
}

/// A sample as its format reads it.
pub struct Raw {
    pub name: String,
    /// Its label, or why that is invalid.
    pub label: Result<Option<usize>, String>,
    pub content: Content,
}

/// Samples one after the other; an error ends them.
pub type Stream<'a> = Box<dyn Iterator<Item = Result<Raw, Error>> + Send + 'a>;

/// The listing of a data set.
pub trait Format: Send + Sync {
    /// The name of the format.
    fn kind(&self) -> &'static str;

    /// The number of samples.
    fn len(&self) -> u64;

    /// Whether any sample may have a label.
    fn has_labels(&self) -> bool;

    /// The names of the classes.
    fn classes(&self) -> &[String] {
        &[]
    }

    /// Streams the samples of a range that lies within the data set.
    fn stream(&self, range: Range<u64>) -> Stream<'_>;
}
