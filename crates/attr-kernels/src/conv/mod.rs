//! Convolutions: which algorithm suits which sizes.

mod depthwise;
mod gather;
mod scatter;
mod shape;
mod winograd;

use std::mem::MaybeUninit;

pub use shape::Geometry;

use crate::memory::filled;
use depthwise::Depthwise;
use gather::Gather;
use scatter::Scatter;
use shape::Sizes;
use winograd::Winograd;

/// What a [`Convolution`] computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The output of the convolution, from its input.
    Forward,
    /// The gradient of its input, from that of its output. It is also the output of the transposed
    /// convolution.
    Backward,
}

/// A convolution of one size, for any number of rows, and the algorithm that suits it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layer {
    sizes: Sizes,
    algorithm: Algorithm,
    /// Whether `sizes` are those of the reversed convolution.
    reversed: bool,
    /// Spatial dimensions.
    rank: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Algorithm {
    Winograd,
    Gather,
    Scatter,
    DepthwiseForward,
    DepthwiseBackward,
}

impl Layer {
    /// Chooses the algorithm for a weight `[out, in/groups, kernel...]` and inputs
    /// `[rows, in, size...]` of 1 to 3 spatial dimensions; in both directions, `input` is the shape
    /// of the convolution's input.
    ///
    /// Returns `None` where no algorithm of this crate is faster than a plain implementation, or
    /// where the sizes do not fit each other.
    pub fn choose(
        weight: &[usize],
        geometry: &Geometry,
        input: &[usize],
        direction: Direction,
    ) -> Option<Self> {
        let [rows, channels, ref image @ ..] = *input else {
            return None;
        };
        if rows == 0 {
            return None;
        }
        let (sizes, rank) = (Sizes::new(weight, geometry, channels, image)?, image.len());
        if direction == Direction::Backward {
            // Few channels make a narrow product of the reversed convolution.
            let reversed = sizes.reversed();
            let wide = |s: &Sizes| s.outputs >= 8 || is_depthwise(s);
            if let Some(sizes) = reversed.filter(wide) {
                let algorithm = forward(&sizes, rows)?;
                return Some(Self {
                    sizes,
                    algorithm,
                    reversed: true,
                    rank,
                });
            }
            let algorithm = if is_depthwise(&sizes) {
                Algorithm::DepthwiseBackward
            } else if Scatter::suits(&sizes) {
                Algorithm::Scatter
            } else {
                return None;
            };
            return Some(Self {
                sizes,
                algorithm,
                reversed: false,
                rank,
            });
        }
        let algorithm = forward(&sizes, rows)?;
        Some(Self {
            sizes,
            algorithm,
            reversed: false,
            rank,
        })
    }

    /// The shape of what [`Convolution::run`] takes, and of what it returns.
    pub fn taken(&self, rows: usize) -> Vec<usize> {
        let s = &self.sizes;
        if self.takes_output() {
            self.shape(rows, s.groups * s.outputs, &s.result)
        } else {
            self.shape(rows, s.groups * s.inputs, &s.image)
        }
    }

    /// See [`taken`](Self::taken).
    pub fn returned(&self, rows: usize) -> Vec<usize> {
        let s = &self.sizes;
        if self.takes_output() {
            self.shape(rows, s.groups * s.inputs, &s.image)
        } else {
            self.shape(rows, s.groups * s.outputs, &s.result)
        }
    }

    fn shape(&self, rows: usize, channels: usize, spatial: &[usize; 3]) -> Vec<usize> {
        [&[rows, channels], &spatial[3 - self.rank..]].concat()
    }

    /// Whether it computes an input's gradient as such.
    fn takes_output(&self) -> bool {
        matches!(
            self.algorithm,
            Algorithm::Scatter | Algorithm::DepthwiseBackward
        )
    }

    /// Prepares the weight, which has the chosen size.
    ///
    /// # Panics
    /// If it has another size.
    pub fn prepare(&self, weight: &[f32]) -> Convolution {
        let sizes = &self.sizes;
        let elements = sizes.groups * sizes.outputs * sizes.inputs * sizes.taps();
        assert_eq!(weight.len(), elements, "elements of the weight");
        let reversed = self.reversed.then(|| sizes.reversed_weight(weight));
        let weight = reversed.as_deref().unwrap_or(weight);
        let prepared = match self.algorithm {
            Algorithm::Winograd => Prepared::Winograd(Winograd::new(sizes, weight)),
            Algorithm::Gather => Prepared::Gather(Gather::new(sizes, weight)),
            Algorithm::Scatter => Prepared::Scatter(Scatter::new(sizes, weight)),
            Algorithm::DepthwiseForward => Prepared::Depthwise(Depthwise::forward(sizes, weight)),
            Algorithm::DepthwiseBackward => Prepared::Depthwise(Depthwise::backward(sizes, weight)),
        };
        let returned = self.returned(1);
        Convolution {
            prepared,
            taken: self.taken(1).iter().product(),
            returned: returned.iter().product(),
            channels: returned[1],
        }
    }
}

fn is_depthwise(sizes: &Sizes) -> bool {
    sizes.groups > 1 && sizes.inputs == 1 && sizes.outputs == 1
}

/// The algorithm for a convolution as it stands.
fn forward(sizes: &Sizes, rows: usize) -> Option<Algorithm> {
    if is_depthwise(sizes) {
        return Some(Algorithm::DepthwiseForward);
    }
    if Winograd::suits(sizes, rows) {
        return Some(Algorithm::Winograd);
    }
    Gather::suits(sizes).then_some(Algorithm::Gather)
}

/// A convolution with a prepared weight.
pub struct Convolution {
    prepared: Prepared,
    /// Elements of a row of what [`run`](Self::run) takes, and of what it returns.
    taken: usize,
    returned: usize,
    /// Channels of what it returns.
    channels: usize,
}

enum Prepared {
    Winograd(Winograd),
    Gather(Gather),
    Scatter(Scatter),
    Depthwise(Depthwise),
}

impl Convolution {
    /// Runs the convolution on whole rows, and adds a bias per channel.
    ///
    /// # Panics
    /// If `x` is not a number of rows, or the bias does not have an element per channel.
    pub fn run(&self, x: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        assert!(x.len().is_multiple_of(self.taken), "whole rows");
        let bias_fits = bias.is_none_or(|bias| bias.len() == self.channels);
        assert!(bias_fits, "one bias per channel");
        let rows = x.len() / self.taken;
        if rows == 0 {
            return Vec::new();
        }
        let run = |out: &mut [MaybeUninit<f32>]| match &self.prepared {
            Prepared::Winograd(winograd) => winograd.run(x, bias, out),
            Prepared::Gather(gather) => gather.run(x, bias, out),
            Prepared::Scatter(scatter) => scatter.run(x, bias, out),
            Prepared::Depthwise(depthwise) => depthwise.run(x, bias, out),
        };
        // SAFETY: each algorithm writes every element of its output.
        unsafe { filled(rows * self.returned, run) }
    }
}
