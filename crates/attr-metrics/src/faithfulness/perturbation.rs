//! The perturbations of infidelity: random changes of a row, and what they changed.

use std::fmt;
use std::sync::Arc;

use attr_core::build::Random;
use attr_core::perturb::Perturbation;
use attr_core::{Error, Value, Values};
use burn::tensor::TensorData;
use serde::{Deserialize, Serialize};

use super::Infidelity;
use crate::Case;

/// The perturbations of infidelity that need no closure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum InfidelityPerturbation {
    /// The input becomes the baseline plus Gaussian noise: is the explanation complete?
    NoisyBaseline,
    /// Gaussian noise is subtracted from the input: is the explanation right nearby?
    Gaussian,
    /// A square at a random place becomes the baseline; where inputs have no space, as many random
    /// features.
    #[default]
    Square,
}

/// PerturbedRows copies of rows, and how they differ from them.
#[derive(Clone, Debug)]
pub struct PerturbedRows {
    /// The perturbed copies.
    pub inputs: Values,
    /// The perturbation `I` of each input, which is multiplied by the attribution; `None` for inputs
    /// that do not change.
    pub differences: Vec<Option<Value>>,
}

/// A perturbation of one's own: from copies of rows, and which copies these are, to perturbed ones.
#[derive(Clone)]
pub struct Perturb(Arc<PerturbFunction>);

type PerturbFunction =
    dyn Fn(&Values, &[Perturbation]) -> Result<PerturbedRows, Error> + Send + Sync;

impl Perturb {
    /// Wraps a closure.
    pub fn new(
        function: impl Fn(&Values, &[Perturbation]) -> Result<PerturbedRows, Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self(Arc::new(function))
    }

    pub(super) fn call(
        &self,
        copies: &Values,
        part: &[Perturbation],
    ) -> Result<PerturbedRows, Error> {
        (self.0)(copies, part)
    }
}

impl fmt::Debug for Perturb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Perturb")
    }
}

impl PartialEq for Perturb {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Infidelity {
    /// Perturbs copies of the rows of a case. Draws depend on the copy's number only: they are the
    /// same for all rows, and regardless of chunks.
    pub(super) fn perturbed(
        &self,
        case: &Case<'_>,
        absent: &Values,
        part: &[Perturbation],
    ) -> Result<PerturbedRows, Error> {
        let inputs = case.question().inputs();
        let rows: Vec<usize> = part.iter().map(|copy| copy.row).collect();
        let copies = inputs.select(&rows);
        if let Some(perturb) = &self.perturb {
            return perturb.call(&copies, part);
        }
        let baselines = absent.select(&rows);
        let count = inputs.values().len();
        let (mut changed, mut differences) = (vec![None; count], vec![None; count]);
        let mut draws: Vec<Random> = part
            .iter()
            .map(|copy| Random::stream(self.seed, copy.number as u64))
            .collect();
        for i in (0..count).filter(|&i| inputs.attributed(i)) {
            let value = &copies.values()[i];
            let (x, b) = (value.to_vec()?, baselines.values()[i].to_vec()?);
            let width = x.len() / part.len();
            let shape = &value.shape()[1..];
            let mut new = x.clone();
            for (k, random) in draws.iter_mut().enumerate() {
                let at = k * width..(k + 1) * width;
                self.change(&mut new[at.clone()], &b[at], shape, random);
            }
            let mut difference: Vec<f32> = x.iter().zip(&new).map(|(x, new)| x - new).collect();
            if self.multiply_by_inputs {
                for ((difference, x), b) in difference.iter_mut().zip(&x).zip(&b) {
                    let scale = x - b;
                    *difference /= if scale == 0.0 { 1.0 } else { scale };
                }
            }
            let tensor = |data: Vec<f32>| {
                let data = TensorData::new(data, value.shape()).convert_dtype(value.dtype());
                Some(Value::from_data(data, &value.device()))
            };
            (changed[i], differences[i]) = (tensor(new), tensor(difference));
        }
        Ok(PerturbedRows {
            inputs: copies.with(|i, _| changed[i].clone()),
            differences,
        })
    }

    /// Changes one copy of a row, given its baseline.
    fn change(&self, x: &mut [f32], baseline: &[f32], shape: &[usize], random: &mut Random) {
        let stdev = self.stdev as f32;
        match self.perturbation {
            InfidelityPerturbation::NoisyBaseline => {
                for ((x, b), noise) in x
                    .iter_mut()
                    .zip(baseline)
                    .zip(random.normal(baseline.len()))
                {
                    *x = b + stdev * noise;
                }
            }
            InfidelityPerturbation::Gaussian => {
                for (x, noise) in x.iter_mut().zip(random.normal(baseline.len())) {
                    *x -= stdev * noise;
                }
            }
            InfidelityPerturbation::Square if shape.len() < 2 => {
                for at in random
                    .permutation(x.len())
                    .into_iter()
                    .take(self.patch_size)
                {
                    x[at] = baseline[at];
                }
            }
            InfidelityPerturbation::Square => {
                // It lies along all dimensions after the channels.
                let sides = &shape[1..];
                let corner: Vec<usize> = sides
                    .iter()
                    .map(|&side| random.index(side.saturating_sub(self.patch_size) + 1))
                    .collect();
                for (flat, (x, &b)) in x.iter_mut().zip(baseline).enumerate() {
                    let mut rest = flat;
                    let inside = sides.iter().zip(&corner).rev().all(|(&side, &corner)| {
                        let at = rest % side;
                        rest /= side;
                        (corner..corner + self.patch_size).contains(&at)
                    });
                    if inside {
                        *x = b;
                    }
                }
            }
        }
    }
}
