//! Lengths and inner products of blends, computed without creating the blends.

use super::Blend;
use crate::{Error, Values};

/// The inner products of one row's input with itself, of input and baseline, and of the baseline
/// with itself, per feature. Distances between blends need nothing else.
pub struct Products {
    /// The last entry is for elements that are never perturbed.
    features: Vec<[f64; 3]>,
}

impl Products {
    /// Computes the products for each of `results` results: the mean over a distribution of
    /// baselines, and the sum over the rows of a whole batch.
    pub(super) fn of(
        inputs: &Values,
        blend: &Blend,
        results: usize,
        backgrounds: usize,
    ) -> Result<Vec<Self>, Error> {
        let mut all = vec![vec![[0f64; 3]; blend.features().count() + 1]; results];
        let rows = inputs.rows();
        for (i, input) in inputs.values().iter().enumerate() {
            if blend.features().numbers()[i].is_none() {
                continue;
            }
            let absent = &blend.absent[i];
            let (x, b) = (input.to_vec()?, absent.rows().to_vec()?);
            let elements = x.len() / rows;
            let part = |at: usize| at * elements..(at + 1) * elements;
            let share = 1.0 / backgrounds as f64;
            for background in 0..backgrounds {
                for (row, x) in x.chunks(elements).enumerate() {
                    let ids = blend.features().row(inputs.origin()[row]);
                    let ids = ids[i].unwrap_or_default();
                    let products = &mut all[row.min(results - 1)];
                    let b = &b[part(absent.place(background, row))];
                    for ((&id, &x), &b) in ids.iter().zip(x).zip(b) {
                        let (x, b) = (f64::from(x), f64::from(b));
                        for (sum, product) in products[id].iter_mut().zip([x * x, x * b, b * b]) {
                            *sum += share * product;
                        }
                    }
                }
            }
        }
        Ok(all
            .into_iter()
            .map(|features| Products { features })
            .collect())
    }

    /// Returns, for an input and its blend with the baseline, the squared length of the input, the
    /// inner product of the two and the squared length of the blend. `present` is 0 or 1 for each
    /// of `features`.
    pub fn blended(&self, features: &[usize], present: &[f64]) -> [f64; 3] {
        let fixed = self.features.last().map_or(0.0, |[xx, ..]| *xx);
        let mut sums = [fixed; 3];
        let own = features
            .iter()
            .filter_map(|&feature| self.features.get(feature));
        for ([xx, xb, bb], present) in own.zip(present) {
            let absent = 1.0 - present;
            sums[0] += xx;
            sums[1] += present * xx + absent * xb;
            sums[2] += present * xx + absent * bb;
        }
        sums
    }
}
