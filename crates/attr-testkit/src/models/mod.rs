//! Models that exercise tracing: plain Burn modules that know nothing of attr.

mod bert;
mod digits;
mod efficientnet;
mod golden;
mod gru;
mod lstm;
pub mod published;
mod resnet;
mod small;
mod tabular;
mod transformer;
mod vgg;
mod vit;

pub use bert::SmallBert;
pub use digits::DigitsCnn;
pub use efficientnet::EfficientNetLite0;
pub use golden::{Cnn, Conv1dNet, EmbeddingClassifier, Mlp, Residual, Vit};
pub use gru::TextGru;
pub use lstm::LstmClassifier;
pub use resnet::ResNet18;
pub use small::{FunctionalRelu, Reused, SmallCnn, TwoInputs};
pub use tabular::Tabular;
pub use transformer::TokenClassifier;
pub use vgg::Vgg11;
pub use vit::VitTiny;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Sets every float parameter and statistic from a seed, so that models are the same on every
/// device. Variances, which must be positive, are recognised by name.
pub fn seeded<M: Module>(model: M, seed: u64) -> M {
    let mut mapper = Seeded {
        random: ChaCha8Rng::seed_from_u64(seed),
        path: Vec::new(),
    };
    model.map(&mut mapper)
}

/// Returns a tensor of the given shape with uniform numbers in `[-1, 1)` from a seed.
pub fn input<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let count = shape.iter().product();
    let numbers: Vec<f32> = (0..count).map(|_| random.random_range(-1.0..1.0)).collect();
    Tensor::from_data(TensorData::new(numbers, shape), &crate::device())
}

struct Seeded {
    random: ChaCha8Rng,
    path: Vec<String>,
}

impl ModuleMapper for Seeded {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let dims = tensor.dims();
        let name = self.path.last().map_or("", String::as_str);
        let (low, high) = match name {
            "running_var" | "gamma" => (0.5, 1.5),
            _ => {
                // Keeps activations of order one through deep networks.
                let fan_in = match D {
                    1 => 10,
                    2 => dims[0],
                    _ => dims[1..].iter().product(),
                };
                let bound = (3.0 / fan_in as f32).sqrt();
                (-bound, bound)
            }
        };
        let count = dims.iter().product();
        let numbers: Vec<f32> = (0..count)
            .map(|_| self.random.random_range(low..high))
            .collect();
        let tensor = Tensor::from_data(TensorData::new(numbers, dims), &tensor.device());
        Param::from_mapped_value(id, tensor, mapper)
    }
}
