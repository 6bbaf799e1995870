//! What happens to each result of a convolution before it is stored.

use multiversion::multiversion;
use rayon::prelude::*;

use crate::elementwise::limited;
use crate::parallel::TASK;

/// A bias per channel, and limits.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    pub bias: Option<&'a [f32]>,
    pub limits: Option<[f32; 2]>,
}

impl<'a> Finish<'a> {
    /// For the channels from `first` on.
    pub fn starting_at(self, first: usize) -> Self {
        Self {
            bias: self.bias.map(|bias| &bias[first..]),
            ..self
        }
    }

    pub fn bias_of(&self, channel: usize) -> f32 {
        self.bias.map_or(0.0, |bias| bias[channel])
    }

    /// Limits that change nothing, if there are none.
    pub fn limits(&self) -> [f32; 2] {
        self.limits.unwrap_or([f32::NEG_INFINITY, f32::INFINITY])
    }

    /// Finishes the products of channels, `length` numbers each.
    pub fn apply(&self, products: &mut [f32], length: usize) {
        if self.bias.is_none() && self.limits.is_none() {
            return;
        }
        let channels = products.par_chunks_exact_mut(length).enumerate();
        channels
            .with_min_len(TASK.div_ceil(length))
            .for_each(|(channel, products)| {
                finish(products, self.bias_of(channel), self.limits());
            });
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn finish(products: &mut [f32], bias: f32, [min, max]: [f32; 2]) {
    for product in products {
        *product = limited(*product + bias, min, max);
    }
}
