//! Layers on the CPU, faster than the tensor library's own, on plain slices of `f32`: convolutions of
//! 1 to 3 dimensions, matrix products, max pooling, softmax, layer normalisation, GELU, and their input
//! gradients; and boxes cut out of images.
//!
//! The crate knows nothing of tensors or models. Convolutions have one door: [`Layer::choose`] looks at sizes
//! and says whether one of its algorithms suits them; [`Packing::prepare`] prepares a weight once, and
//! [`Layer::run`] does the work for any number of rows. Where none suits, the caller uses its
//! own implementation.
//!
//! ```text
//! shape.rs           sizes of a convolution or a pooling window
//! planes.rs          a padded channel, split by the stride
//! conv/winograd.rs   3x3 with stride 1: fewer multiplications
//! conv/gather.rs     any other: a matrix product over windows
//! conv/scatter.rs    input gradients with a stride: a matrix product, added up where windows overlap
//! conv/depthwise.rs  one channel per group
//! conv/finish.rs     the bias and the limits of each result
//! product.rs         matrix products
//! pool.rs            max pooling
//! along.rs           softmax and layer normalisation along the last dimension
//! elementwise.rs     GELU, limits, and their gradients
//! boxes.rs           parts of an image with patches laid over it
//! parallel.rs        independent work on all threads
//! ```
//!
//! All of them run on rayon's threads, and choose their instructions when the program runs.
//!
//! ```
//! use attr_kernels::{Direction, Geometry, Layer};
//!
//! let geometry = Geometry {
//!     stride: vec![1, 1],
//!     padding: vec![(1, 1), (1, 1)],
//!     dilation: vec![1, 1],
//!     groups: 1,
//! };
//! // Two 8x8 images of one channel, and sixteen 3x3 kernels.
//! let layer = Layer::choose(&[16, 1, 3, 3], &geometry, &[2, 1, 8, 8], Direction::Forward)
//!     .expect("these sizes are common");
//! let weight = layer.packing().prepare(&[0.5; 16 * 3 * 3]);
//! let y = layer.run(&weight, &[1.0; 2 * 8 * 8], None, None);
//! assert_eq!(y.len(), 2 * 16 * 8 * 8);
//! assert_eq!(y[9], 4.5);
//! ```

mod along;
mod boxes;
mod conv;
mod elementwise;
mod memory;
mod parallel;
mod planes;
mod pool;
mod product;
mod shape;

pub use along::{layer_norm, layer_norm_backward, softmax, softmax_backward};
pub use boxes::{Boxes, Scene, cut};
pub use conv::{Direction, Layer, Packed, Packing};
pub use elementwise::{clamp, clamp_backward, clamp_in_place, gelu, gelu_backward};
pub use parallel::{in_parallel, on_threads, threads};
pub use pool::MaxPool;
pub use product::{Matrix, PackedMatrix, Right, product, products};
pub use shape::Geometry;
