//! ROAD: remove and debias. How many predictions stay while the most relevant pixels are imputed
//! from their surroundings.
//!
//! Rong et al., 2022 (<https://arxiv.org/abs/2202.00449>). Quantus: `ROAD`.

use attr_core::build::Random;
use attr_core::perturb::Perturbation;
use attr_core::{Error, FeatureMask, Value, Values};
use burn::tensor::TensorData;
use serde::{Deserialize, Serialize};

use super::imputation::Removed;
use crate::case::predicted;
use crate::options::{Order, at_least};
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// Computes the share of percentages at which the model still predicts the explained class, while
/// that percentage of pixels, the most relevant first, is replaced by noisy linear imputation.
///
/// A good explanation has a small value. Replacing pixels by a constant draws their shape into the
/// image, from which the model may read the class; imputation does not. The curve holds 1 or 0 for
/// each percentage. With the least relevant first, the value is the share of lost predictions, so
/// that smaller is still better.
///
/// # Errors
/// [`Error::Method`] for inputs that are not images, `[batch, channels, height, width]` or
/// `[batch, channels, length]`, and for a target that is not a class; [`Error::Parameter`] for no
/// percentages, one outside 0 to 100, or negative noise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Road {
    /// The percentages of pixels that are removed; default 1, 3, ..., 99, as in Quantus.
    pub percentages: Vec<f64>,
    /// Standard deviation of the noise that is added to imputed pixels, in units of the input;
    /// default 0.01, as in Quantus.
    pub noise: f64,
    /// Which pixels are removed first; default the most relevant.
    pub order: Order,
    /// Whether pixels are ordered by magnitude; default false, as in Quantus.
    pub abs: bool,
    /// Seed of the noise, and of a random order.
    pub seed: u64,
}

impl Default for Road {
    fn default() -> Self {
        Self {
            percentages: (0..50).map(|k| f64::from(2 * k + 1)).collect(),
            noise: 0.01,
            order: Order::Morf,
            abs: false,
            seed: 0,
        }
    }
}

impl Metric for Road {
    fn about(&self) -> About {
        About {
            name: "road",
            summary: "how many predictions stay while the most relevant pixels are imputed",
            paper: "https://arxiv.org/abs/2202.00449",
            higher_is_better: false,
            family: Family::Faithfulness,
            needs: Needs {
                seed: true,
                ..Needs::default()
            },
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        at_least(
            "noise",
            self.noise,
            0.0,
            "a standard deviation is at least 0",
        )?;
        let fits = |p: &f64| (0.0..=100.0).contains(p);
        if self.percentages.is_empty() || !self.percentages.iter().all(fits) {
            return Err(Error::Parameter {
                name: "percentages",
                value: format!("{:?}", self.percentages),
                expected: "give at least one, each from 0 to 100",
            });
        }
        let classes = case.classes()?;
        let inputs = case.question().inputs();
        let image = (0..inputs.values().len()).find(|&i| inputs.attributed(i));
        let shape = image.map_or(Vec::new(), |i| inputs.values()[i].shape());
        let (Some(image), 3 | 4) = (image, shape.len()) else {
            return Err(Error::Method {
                method: "ROAD",
                reason: format!(
                    "it imputes pixels of images [batch, channels, height, width], but the input \
                     has shape {shape:?}"
                ),
            });
        };
        let width = shape[shape.len() - 1];
        let height = if shape.len() == 4 { shape[2] } else { 1 };
        let pixels = case.with_features("attr:pixels", || Ok(FeatureMask::Pixels))?;
        let mut order = pixels.most_relevant_first(self.abs)?;
        match self.order {
            Order::Morf => {}
            Order::Lerf => order.iter_mut().for_each(|order| order.reverse()),
            Order::Random => order.fill(Random::new(self.seed).permutation(pixels.features())),
        }
        let imputed = |part: &[Perturbation]| {
            let rows: Vec<usize> = part.iter().map(|copy| copy.row).collect();
            let copies = inputs.select(&rows);
            let value = &copies.values()[image];
            let mut data = value.to_vec()?;
            let elements = data.len() / part.len();
            for (copy, data) in part.iter().zip(data.chunks_mut(elements)) {
                let share = self.percentages[copy.number] / 100.0;
                let count = ((height * width) as f64 * share) as usize;
                // Features of other inputs are not pixels of this image.
                let first = pixels
                    .numbers(copy.row, image)
                    .first()
                    .copied()
                    .unwrap_or(0);
                let removed = order[copy.row].iter();
                let removed = removed.filter_map(|feature| feature.checked_sub(first));
                let removed: Vec<usize> = removed
                    .filter(|&pixel| pixel < height * width)
                    .take(count)
                    .collect();
                self.impute(data, &removed, height, width, copy.number as u64);
            }
            let data = TensorData::new(data, value.shape()).convert_dtype(value.dtype());
            let changed = Value::from_data(data, &value.device());
            Ok::<Values, Error>(copies.with(|i, _| (i == image).then(|| changed.clone())))
        };
        let count = self.percentages.len();
        let mut curves = vec![vec![0.0; count]; case.rows()];
        case.at_copies(count, &imputed, &mut |part, _, output| {
            for (copy, class) in part.iter().zip(predicted(&output)?) {
                let same = class == classes[copy.row];
                curves[copy.row][copy.number] = f64::from(u8::from(same));
            }
            Ok(())
        })?;
        let values = curves.iter().map(|curve| {
            let stays = statistics::mean(curve);
            if self.order == Order::Lerf {
                1.0 - stays
            } else {
                stays
            }
        });
        Ok(Measured::new(values.collect()).with_curves(curves))
    }
}

impl Road {
    /// Imputes the removed pixels of all channels of one image.
    fn impute(&self, data: &mut [f32], removed: &[usize], height: usize, width: usize, draw: u64) {
        let equations = Removed::new(removed, height, width);
        let mut random = Random::stream(self.seed, draw);
        for channel in data.chunks_mut(height * width) {
            equations.impute(channel);
            if self.noise > 0.0 {
                let noise: Vec<f32> = random.normal(removed.len()).collect();
                for (&pixel, noise) in removed.iter().zip(noise) {
                    channel[pixel] += self.noise as f32 * noise;
                }
            }
        }
    }
}
