//! Noisy copies of rows, and how far they and their explanations are from the rows'.

use std::rc::Rc;

use attr_core::build::Random;
use attr_core::perturb::Perturbation;
use attr_core::{Error, Value, Values};
use burn::tensor::TensorData;

use crate::Case;
use crate::case::predicted;
use crate::options::positive;

/// How neighbours are drawn.
#[derive(Clone, Debug)]
pub(super) enum Noise<'a> {
    /// Uniform noise between two numbers.
    Uniform(f64, f64),
    /// Normal noise with a mean and a standard deviation.
    Normal(f64, f64),
    /// Given noise of the first explained inputs, `[samples, rows, ...]` each; others have none.
    Given(&'a [Value]),
}

/// Which neighbours are explained, and what is measured of them.
#[derive(Clone, Debug)]
pub(super) struct Neighbourhood<'a> {
    pub noise: Noise<'a>,
    pub samples: usize,
    /// The parameter that sets the number of samples.
    pub name: &'static str,
    pub seed: u64,
    /// Whether explanations are divided by their largest magnitude.
    pub normalise: bool,
    /// Whether magnitudes are compared.
    pub abs: bool,
    /// Whether the model's outputs are compared.
    pub outputs: bool,
    /// The layers whose activations are compared.
    pub layers: &'a [String],
    /// What takes the place of zeros in relative changes.
    pub eps_min: f64,
}

/// How far a neighbour is from its row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Neighbour {
    pub input: Distance,
    pub explanation: Distance,
    /// The norms of the row's own explanation.
    pub own: Distance,
    /// The Euclidean distance of the outputs.
    pub output: f64,
    /// The Euclidean norm of the relative change of the layers' activations.
    pub representation: f64,
    /// Whether the model predicts the same class.
    pub same_class: bool,
}

/// Norms of a difference.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Distance {
    pub manhattan: f64,
    pub euclidean: f64,
    pub largest: f64,
    /// The Euclidean norm of the difference divided, element by element, by the row's own values.
    pub relative: f64,
}

impl Distance {
    /// Measures `x - y`, relative to `x`.
    fn of(x: &[f32], y: &[f32], eps_min: f64) -> Self {
        let (mut found, mut relative) = (Self::default(), 0.0);
        let mut squares = 0.0;
        for (&x, &y) in x.iter().zip(y) {
            let (x, difference) = (f64::from(x), f64::from(x) - f64::from(y));
            found.manhattan += difference.abs();
            found.largest = found.largest.max(difference.abs());
            squares += difference * difference;
            relative += (difference / if x == 0.0 { eps_min } else { x }).powi(2);
        }
        found.euclidean = squares.sqrt();
        found.relative = relative.sqrt();
        found
    }
}

impl Neighbourhood<'_> {
    /// Explains the neighbours of each row, or returns those that were already explained:
    /// `[row][sample]`.
    pub fn of(&self, case: &Case<'_>) -> Result<Rc<Vec<Vec<Neighbour>>>, Error> {
        positive(self.name, self.samples)?;
        let question = case.question();
        question.check_attributed()?;
        if let Noise::Given(noise) = self.noise {
            check_noise(noise, question.inputs(), self.samples)?;
            return Ok(Rc::new(self.explain(case)?));
        }
        case.neighbours(format!("{self:?}"), || self.explain(case))
    }

    fn explain(&self, case: &Case<'_>) -> Result<Vec<Vec<Neighbour>>, Error> {
        let inputs = case.question().inputs();
        let rows = inputs.values().iter().enumerate();
        let own_inputs = rows.map(|(i, value)| inputs.attributed(i).then(|| value.clone()));
        let own_inputs = flat(&own_inputs.collect::<Vec<_>>())?;
        let own = self.comparable(case.attributions()?)?;
        let at_rows = self.seen(case, inputs)?;
        let mut found = vec![vec![Neighbour::default(); self.samples]; case.rows()];
        let make = |part: &[Perturbation]| self.noisy(inputs, part);
        case.explain_copies(self.samples, &make, &mut |part, copies, attributions| {
            let rows = copies.values().iter().enumerate();
            let values = rows.map(|(i, value)| inputs.attributed(i).then(|| value.clone()));
            let values = flat(&values.collect::<Vec<_>>())?;
            let explained = self.comparable(attributions)?;
            let seen = self.seen(case, copies)?;
            for (k, copy) in part.iter().enumerate() {
                let row = copy.row;
                let zeros = vec![0.0; own[row].len()];
                let mut neighbour = Neighbour {
                    input: Distance::of(&own_inputs[row], &values[k], self.eps_min),
                    explanation: Distance::of(&own[row], &explained[k], self.eps_min),
                    own: Distance::of(&own[row], &zeros, self.eps_min),
                    same_class: true,
                    ..Neighbour::default()
                };
                if let (Some(own), Some(seen)) = (&at_rows, &seen) {
                    let (output, new) = (&own.outputs[row], &seen.outputs[k]);
                    neighbour.output = Distance::of(output, new, self.eps_min).euclidean;
                    neighbour.same_class = own.classes[row] == seen.classes[k];
                    let layers = own.layers.iter().zip(&seen.layers);
                    let squares = layers.map(|(own, new)| {
                        Distance::of(&own[row], &new[k], self.eps_min)
                            .relative
                            .powi(2)
                    });
                    neighbour.representation = squares.sum::<f64>().sqrt();
                }
                found[row][copy.number] = neighbour;
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Adds noise to copies of rows. It depends on the copy's number only.
    fn noisy(&self, inputs: &Values, part: &[Perturbation]) -> Result<Values, Error> {
        let rows: Vec<usize> = part.iter().map(|copy| copy.row).collect();
        let copies = inputs.select(&rows);
        let mut draws: Vec<Random> = part
            .iter()
            .map(|copy| Random::stream(self.seed, copy.number as u64))
            .collect();
        let given = match self.noise {
            Noise::Given(noise) => noise,
            _ => &[],
        };
        let mut given = given.iter();
        let mut noisy: Vec<Option<Value>> = vec![None; inputs.values().len()];
        for (i, value) in copies.values().iter().enumerate() {
            if !inputs.attributed(i) {
                continue;
            }
            let noise = given.next().map(Value::to_vec).transpose()?;
            let mut data = value.to_vec()?;
            let width = data.len() / part.len();
            for ((data, random), copy) in data.chunks_mut(width).zip(&mut draws).zip(part) {
                match self.noise {
                    Noise::Uniform(low, high) => {
                        for x in data {
                            *x += (low + (high - low) * random.uniform()) as f32;
                        }
                    }
                    Noise::Normal(mean, std) => {
                        let noise: Vec<f32> = random.normal(width).collect();
                        for (x, noise) in data.iter_mut().zip(noise) {
                            *x += mean as f32 + std as f32 * noise;
                        }
                    }
                    Noise::Given(_) => {
                        let first = (copy.number * inputs.rows() + copy.row) * width;
                        let own = noise.iter().flatten().skip(first);
                        for (x, noise) in data.iter_mut().zip(own) {
                            *x += noise;
                        }
                    }
                }
            }
            let data = TensorData::new(data, value.shape()).convert_dtype(value.dtype());
            noisy[i] = Some(Value::from_data(data, &value.device()));
        }
        Ok(copies.with(|i, _| noisy[i].clone()))
    }

    /// Returns explanations as they are compared, `[row][element]` over all inputs.
    fn comparable(&self, attributions: &[Option<Value>]) -> Result<Vec<Vec<f32>>, Error> {
        let mut rows = flat(attributions)?;
        for row in &mut rows {
            let most = row.iter().fold(0f32, |most, a| most.max(a.abs()));
            let scale = if self.normalise && most > 0.0 {
                most
            } else {
                1.0
            };
            for value in row {
                *value /= scale;
                if self.abs {
                    *value = value.abs();
                }
            }
        }
        Ok(rows)
    }

    /// Runs the model on rows, if its outputs or activations are compared.
    fn seen(&self, case: &Case<'_>, rows: &Values) -> Result<Option<Seen>, Error> {
        if !self.outputs && self.layers.is_empty() {
            return Ok(None);
        }
        let question = case.question().with_inputs(rows.clone());
        let (mut outputs, mut classes) = (Vec::new(), Vec::new());
        question.quiet().for_rows(1, |rows| {
            let output = question.forward(&rows)?;
            classes.extend(predicted(&output)?);
            outputs.extend(flat(&[Some(output)])?);
            Ok(())
        })?;
        let layers = match self.layers {
            [] => Vec::new(),
            layers => question.activations(layers)?,
        };
        let layers = layers.into_iter().map(|layer| flat(&[Some(layer)]));
        Ok(Some(Seen {
            outputs,
            classes,
            layers: layers.collect::<Result<_, _>>()?,
        }))
    }
}

/// What the model makes of rows.
struct Seen {
    outputs: Vec<Vec<f32>>,
    classes: Vec<usize>,
    /// `[layer][row][element]`.
    layers: Vec<Vec<Vec<f32>>>,
}

/// Refuses given noise that is not shaped like `samples` copies of the explained inputs.
pub(crate) fn check_noise(noise: &[Value], inputs: &Values, samples: usize) -> Result<(), Error> {
    let explained = (0..inputs.values().len()).filter(|&i| inputs.attributed(i));
    let explained: Vec<usize> = explained.collect();
    if noise.len() > explained.len() {
        return Err(Error::InputCount {
            expected: explained.len(),
            got: noise.len(),
        });
    }
    for (noise, i) in noise.iter().zip(explained) {
        let expected = [&[samples], &inputs.values()[i].shape()[..]].concat();
        if noise.shape() != expected {
            return Err(Error::Shape {
                what: format!("the noise of input {i}"),
                got: noise.shape(),
                expected: format!("{expected:?}"),
            });
        }
    }
    Ok(())
}

/// Returns the elements of each row of several values, one value after another.
fn flat(values: &[Option<Value>]) -> Result<Vec<Vec<f32>>, Error> {
    let mut rows: Vec<Vec<f32>> = Vec::new();
    for value in values.iter().flatten() {
        let data = value.to_vec()?;
        let width = (data.len() / value.rows()).max(1);
        rows.resize(value.rows(), Vec::new());
        for (row, data) in rows.iter_mut().zip(data.chunks(width)) {
            row.extend_from_slice(data);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use crate::{Metric, SensitivityMax, explained_by};

    /// The second input is wider than the noise.
    #[test]
    fn noise_of_the_first_input_leaves_the_second_as_it_is() {
        let device = Device::default();
        let narrow = Tensor::<2>::from_floats([[1.0], [2.0]], &device);
        let wide = Tensor::<2>::from_floats([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]], &device);
        let noise = Tensor::<3>::from_floats([[[1.0], [2.0]]], &device);
        let sensitivity = SensitivityMax {
            noise: vec![noise.into()],
            ..SensitivityMax::default()
        };
        type Both = (Tensor<2>, Tensor<2>);
        let model = |(narrow, wide): Both| narrow + wide.sum_dim(1);
        let output = explained_by(move |x: Both, _: &[usize]| model(x));
        let found = sensitivity.evaluate(&model, &(narrow, wide), 0, &output);
        assert_eq!(found.unwrap().values, [0.5, 0.5]);
    }
}
