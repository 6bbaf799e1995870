//! Convolutions: which algorithm suits which sizes.

mod depthwise;
mod finish;
mod gather;
mod scatter;
mod winograd;

use std::mem::MaybeUninit;

use crate::memory::filled;
use crate::shape::{Geometry, Sizes, reversed};
use depthwise::Depthwise;
use finish::Finish;
use gather::Gather;
use rten_gemm::PackedAMatrix;
use scatter::Scatter;
use winograd::Winograd;

/// What a [`Layer`] computes.
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

    /// The shape of what [`run`](Self::run) takes, and of what it returns.
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

    /// What a weight must be prepared for; other sizes of the input need nothing else.
    pub fn packing(&self) -> Packing {
        let s = &self.sizes;
        Packing {
            algorithm: self.algorithm,
            reversed: self.reversed,
            groups: s.groups,
            inputs: s.inputs,
            outputs: s.outputs,
            taps: s.taps(),
        }
    }

    /// Runs the convolution on whole rows with a weight prepared for its packing. Adds a bias per
    /// channel, and then limits the results as [`clamp`](crate::clamp) does.
    ///
    /// # Panics
    /// If `x` is not a number of rows, the weight was prepared for another packing, or the bias does
    /// not have an element per channel.
    pub fn run(
        &self,
        weight: &Packed,
        x: &[f32],
        bias: Option<&[f32]>,
        limits: Option<[f32; 2]>,
    ) -> Vec<f32> {
        let finish = Finish { bias, limits };
        assert!(
            weight.packing == self.packing(),
            "a weight prepared for this layer"
        );
        let (taken, returned) = (self.taken(1), self.returned(1));
        let (taken, length): (usize, usize) = (taken.iter().product(), returned.iter().product());
        assert!(x.len().is_multiple_of(taken), "whole rows");
        assert!(
            bias.is_none_or(|bias| bias.len() == returned[1]),
            "one bias per channel"
        );
        let rows = x.len() / taken;
        if rows == 0 {
            return Vec::new();
        }
        let sizes = &self.sizes;
        let run = |out: &mut [MaybeUninit<f32>]| match (&weight.weight, self.algorithm) {
            (Weight::Matrices(weight), Algorithm::Winograd) => {
                Winograd { sizes, weight }.run(x, finish, out);
            }
            (Weight::Matrices(weight), Algorithm::Scatter) => {
                Scatter { sizes, weight }.run(x, finish, out);
            }
            (Weight::Matrices(weight), _) => Gather { sizes, weight }.run(x, finish, out),
            (Weight::Plain(weight), _) => {
                Depthwise::new(sizes, weight, self.takes_output()).run(x, finish, out);
            }
        };
        // SAFETY: each algorithm writes every element of its output.
        unsafe { filled(rows * length, run) }
    }
}

/// What a weight is prepared for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Packing {
    algorithm: Algorithm,
    reversed: bool,
    groups: usize,
    inputs: usize,
    outputs: usize,
    taps: usize,
}

/// A prepared weight.
pub struct Packed {
    packing: Packing,
    weight: Weight,
}

enum Weight {
    Matrices(Vec<PackedAMatrix<f32>>),
    Plain(Vec<f32>),
}

impl Packing {
    /// Prepares a weight `[out, in/groups, kernel...]`.
    ///
    /// # Panics
    /// If it has another size.
    pub fn prepare(&self, weight: &[f32]) -> Packed {
        let (inputs, outputs, taps) = (self.inputs, self.outputs, self.taps);
        let elements = self.groups * outputs * inputs * taps;
        assert_eq!(weight.len(), elements, "elements of the weight");
        let reversed = self
            .reversed
            .then(|| reversed(outputs, inputs, taps, weight));
        let weight = reversed.as_deref().unwrap_or(weight);
        let weight = match self.algorithm {
            Algorithm::Winograd => Weight::Matrices(Winograd::pack(outputs, inputs, weight)),
            Algorithm::Gather => Weight::Matrices(Gather::pack(outputs, inputs * taps, weight)),
            Algorithm::Scatter => Weight::Matrices(Scatter::pack(outputs, inputs, taps, weight)),
            Algorithm::DepthwiseForward | Algorithm::DepthwiseBackward => {
                Weight::Plain(weight.to_vec())
            }
        };
        Packed {
            packing: self.clone(),
            weight,
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
