//! Infidelity: how well the explanation, as a linear model, predicts the effect of perturbations.
//!
//! Yeh et al., 2019 (<https://arxiv.org/abs/1901.09392>). Captum: `infidelity`. Quantus' `Infidelity`
//! removes patches one after another without putting them back; with a [`Perturb`] of one's own, any
//! perturbation is possible.

use attr_core::perturb::Perturbation;
use attr_core::{Error, Values};
use serde::{Deserialize, Serialize};

use super::perturbation::{InfidelityPerturbation, Perturb, PerturbedRows};
use crate::options::{at_least, positive};
use crate::{About, Case, Family, Measured, Metric, Needs};

/// Computes `E[(⟨a, I⟩ - (f(x) - f(x̃)))²]` over random perturbations `x̃` of `x`, where `I` is the
/// perturbation: `x - x̃`, or that divided by `x - b` (`multiply_by_inputs`).
///
/// With `normalize`, the dot product is scaled by the `β` that makes the error smallest,
/// `β = E[⟨a, I⟩ (f(x) - f(x̃))] / E[⟨a, I⟩²]`, so that only the direction of the explanation counts.
/// The value has the units of the output, squared. Constant and zero attributions are as good as
/// their error. The standard error is that of the mean over perturbations; with `normalize`, it
/// takes `β` as known.
///
/// Built-in perturbations depend on the seed only, so all explainers share their evaluations.
///
/// # Errors
/// [`Error::Parameter`] for no samples, a deviation that is negative, or squares of no pixels;
/// [`Error::NoGradient`] where no input is floating point.
///
/// ```
/// use attr_core::Method;
/// use attr_metrics::{Infidelity, Metric, explained_by};
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let x = Tensor::<2>::from_floats([[1.0, 2.0]], &Device::default());
/// let model = |x: Tensor<2>| (x * 3.0).sum_dim(1);
/// // The gradient of a linear model predicts every change.
/// let gradient = explained_by(|x: Tensor<2>, _: &[usize]| x.ones_like() * 3.0);
/// let score = Infidelity::default().evaluate(&model, &x, 0, &gradient)?;
/// assert!(score.mean() < 1e-9);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Infidelity {
    /// Number of perturbations; default 10, as in Captum.
    pub n_perturb_samples: usize,
    /// Whether the explanation is scaled to the smallest error; default false, as in Captum.
    pub normalize: bool,
    /// How the input is perturbed; default square, as in Quantus.
    pub perturbation: InfidelityPerturbation,
    /// Standard deviation of Gaussian noise, in units of the input; default 0.1.
    pub stdev: f64,
    /// Pixels along each side of a square, or features of a table; default 4, as in Quantus.
    pub patch_size: usize,
    /// Whether attributions already contain the factor `x - b`, so that perturbations are divided by
    /// it, as Captum's `infidelity_perturb_func_decorator` does; default false.
    pub multiply_by_inputs: bool,
    /// Seed of the perturbations.
    pub seed: u64,
    /// A perturbation of one's own.
    #[serde(skip)]
    pub perturb: Option<Perturb>,
}

impl Default for Infidelity {
    fn default() -> Self {
        Self {
            n_perturb_samples: 10,
            normalize: false,
            perturbation: InfidelityPerturbation::Square,
            stdev: 0.1,
            patch_size: 4,
            multiply_by_inputs: false,
            seed: 0,
            perturb: None,
        }
    }
}

/// Per row and copy.
type Numbers = Vec<Vec<f64>>;

impl Metric for Infidelity {
    fn about(&self) -> About {
        About {
            name: "infidelity",
            summary: "the squared error of the explanation as a linear model of perturbations",
            paper: "https://arxiv.org/abs/1901.09392",
            higher_is_better: false,
            family: Family::Faithfulness,
            needs: Needs {
                seed: true,
                ..Needs::default()
            },
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        positive("n_perturb_samples", self.n_perturb_samples)?;
        positive("patch_size", self.patch_size)?;
        at_least(
            "stdev",
            self.stdev,
            0.0,
            "a standard deviation is at least 0",
        )?;
        case.question().check_attributed()?;
        let (dots, outputs) = if self.perturb.is_some() {
            self.products(case, None)?
        } else {
            self.shared_products(case)?
        };
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for (row, score) in case.scores().into_iter().enumerate() {
            let changes = outputs[row].iter().map(|output| score - output);
            let pairs: Vec<(f64, f64)> = dots[row].iter().copied().zip(changes).collect();
            let (value, error) = self.error(&pairs);
            values.push(value);
            errors.push(error);
        }
        let measured = Measured::new(values);
        Ok(if self.n_perturb_samples > 1 {
            measured.with_standard_errors(errors)
        } else {
            measured
        })
    }
}

impl Infidelity {
    /// Returns the mean squared error of products and changes, and its standard error.
    fn error(&self, pairs: &[(f64, f64)]) -> (f64, f64) {
        let n = pairs.len() as f64;
        let scale = if self.normalize {
            let mixed: f64 = pairs.iter().map(|(dot, change)| dot * change).sum();
            let square: f64 = pairs.iter().map(|(dot, _)| dot * dot).sum();
            if square == 0.0 { 0.0 } else { mixed / square }
        } else {
            1.0
        };
        let squares = pairs
            .iter()
            .map(|(dot, change)| (scale * dot - change).powi(2));
        let squares: Vec<f64> = squares.collect();
        let mean = squares.iter().sum::<f64>() / n;
        let spread: f64 = squares.iter().map(|square| (square - mean).powi(2)).sum();
        (mean, (spread / (n - 1.0) / n).sqrt())
    }

    /// Returns the products, and the outputs, which other explainers share.
    fn shared_products(&self, case: &Case<'_>) -> Result<(Numbers, Numbers), Error> {
        let name = format!(
            "attr:infidelity {:?} {} {} {} {}",
            self.perturbation, self.stdev, self.patch_size, self.n_perturb_samples, self.seed
        );
        let mut dots = None;
        let outputs = case.remember(name, || {
            let (found, outputs) = self.products(case, None)?;
            dots = Some(found);
            Ok(outputs)
        })?;
        let dots = match dots {
            Some(dots) => dots,
            None => self.products(case, Some(&outputs))?.0,
        };
        Ok((dots, outputs.to_vec()))
    }

    /// Computes `⟨a, I⟩` and, unless they are known, the outputs, for each perturbation of each row.
    fn products(
        &self,
        case: &Case<'_>,
        known: Option<&Numbers>,
    ) -> Result<(Numbers, Numbers), Error> {
        let question = case.question();
        let inputs = question.inputs();
        let absent = question.baselines().absent(inputs)?;
        let attributions = case.attributions()?.iter();
        let attributions = attributions.map(|value| value.as_ref().map(|v| v.to_vec()).transpose());
        let attributions = attributions.collect::<Result<Vec<_>, Error>>()?;
        let samples = self.n_perturb_samples;
        let mut dots = vec![vec![0f64; samples]; case.rows()];
        let mut outputs = match known {
            Some(outputs) => outputs.clone(),
            None => vec![vec![0f64; samples]; case.rows()],
        };
        let copies = (0..case.rows())
            .flat_map(|row| (0..samples).map(move |number| Perturbation { row, number }));
        question.for_items(case.rows() * samples, copies, 1, |part| {
            let perturbed = self.perturbed(case, &absent, part)?;
            check(&perturbed, inputs, part.len())?;
            for (value, difference) in attributions.iter().zip(&perturbed.differences) {
                let (Some(value), Some(difference)) = (value, difference) else {
                    continue;
                };
                let width = value.len() / case.rows();
                let difference = difference.to_vec()?;
                for (copy, difference) in part.iter().zip(difference.chunks(width)) {
                    let own = &value[copy.row * width..(copy.row + 1) * width];
                    let pairs = own.iter().zip(difference);
                    let dot: f64 = pairs.map(|(a, i)| f64::from(*a) * f64::from(*i)).sum();
                    dots[copy.row][copy.number] += dot;
                }
            }
            if known.is_none() {
                let output = question.forward(&perturbed.inputs)?;
                if output.shape().first() != Some(&part.len()) {
                    return Err(Error::WholeBatch {
                        output: output.shape(),
                        rows: part.len(),
                    });
                }
                let scores = case.target().scores(&output, &perturbed.inputs)?;
                for (copy, score) in part.iter().zip(scores) {
                    outputs[copy.row][copy.number] = f64::from(score);
                }
            }
            Ok(())
        })?;
        Ok((dots, outputs))
    }
}

/// Refuses what a perturbation of one's own returns, unless it has a row for each copy.
fn check(perturbed: &PerturbedRows, inputs: &Values, copies: usize) -> Result<(), Error> {
    let refuse = |what: &str, got: Vec<usize>, expected: Vec<usize>| {
        Err(Error::Shape {
            what: what.into(),
            got,
            expected: format!("{expected:?}"),
        })
    };
    if perturbed.inputs.rows() != copies {
        let got = vec![perturbed.inputs.rows()];
        return refuse("the perturbed rows", got, vec![copies]);
    }
    for (difference, input) in perturbed.differences.iter().zip(inputs.values()) {
        let mut expected = input.shape();
        expected[0] = copies;
        if let Some(difference) = difference
            && difference.shape() != expected
        {
            return refuse("a perturbation's difference", difference.shape(), expected);
        }
    }
    Ok(())
}
