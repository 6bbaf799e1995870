//! RISE: a mean of random masks, each weighted by the output for the masked input.
//!
//! Petsiuk, Das, Saenko, "RISE: randomized input sampling for explanation of black-box models",
//! 2018 (<https://arxiv.org/abs/1806.07421>).

use std::cell::RefCell;

use attr_core::build::Random;
use attr_core::perturb::{Masked, widened};
use attr_core::{BaselineUse, Error, Explanation, FeatureMask, Method, Question, Values};
use serde::{Deserialize, Serialize};

use crate::setters::setters;

/// The largest number of cells of all masks together.
const MOST_CELLS: usize = 1 << 30;

/// Parameters of [`Rise`], under the names of the authors' code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RiseConfig {
    /// Number of random masks; 4000, as in the paper for VGG16.
    #[serde(rename = "N")]
    pub n: usize,
    /// Cells along each side of a mask before it is enlarged; 7, as in the paper.
    pub s: usize,
    /// Probability that a cell is visible; 0.5, as in the paper.
    pub p1: f64,
    /// Seed of the masks.
    pub seed: u64,
    /// Perturbed copies of the batch evaluated together; by default, as many as memory allows.
    pub perturbations_per_eval: Option<usize>,
}

impl Default for RiseConfig {
    fn default() -> Self {
        Self {
            n: 4000,
            s: 7,
            p1: 0.5,
            seed: 0,
            perturbations_per_eval: None,
        }
    }
}

/// Computes `A = 1 / (N p) Σ_k f(x ⊙ M_k) M_k` over random smooth masks `M_k`: the expected output
/// when a pixel is visible.
///
/// A mask is a grid of `s` cells per side, each visible with probability `p1`. It is enlarged
/// bilinearly to slightly more than the image and shifted at random by less than a cell. All
/// channels share a mask; each of several images has its own. The method is meant for outputs that
/// are probabilities. Hidden pixels are blended with the baseline, zero by default, as in the
/// paper.
///
/// Shapes: the input's, `[batch, channels, ...]`, equal for all channels, in units of the output.
/// `N + 1` forward passes per row. Standard errors are those of the mean over the masks.
///
/// # Errors
/// [`Error::Parameter`] for no masks or a probability outside (0, 1); [`Error::Shape`] for inputs
/// that are not images.
///
/// ```
/// use attr_core::Method;
/// use attr_perturb::Rise;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let x = Tensor::<4>::ones([1, 1, 8, 8], &device);
/// let corner = |x: Tensor<4>| x.narrow(2, 0, 1).narrow(3, 0, 1).flatten::<2>(1, 3);
/// let found = Rise::new().with_masks(500).attribute(&corner, &x, 0)?;
/// let map = found.attribution().into_data().try_to_vec::<f32>().unwrap();
/// assert!(map[0] > map[63]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Rise {
    config: RiseConfig,
}

impl Rise {
    /// Creates the method with 4000 masks of 7 by 7 cells.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: RiseConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the number of masks.
    pub fn with_masks(mut self, n: usize) -> Self {
        self.config.n = n;
        self
    }

    /// Sets the number of cells along each side of a mask.
    pub fn with_cells(mut self, s: usize) -> Self {
        self.config.s = s;
        self
    }

    /// Sets the probability that a cell is visible.
    pub fn with_probability(mut self, p1: f64) -> Self {
        self.config.p1 = p1;
        self
    }

    setters!(seed, perturbations_per_eval);

    fn check(&self, inputs: &Values) -> Result<(), Error> {
        let RiseConfig { n, s, p1, .. } = self.config;
        let bad = |name, value: String, expected| {
            Err(Error::Parameter {
                name,
                value,
                expected,
            })
        };
        if n == 0 || n > 1 << 24 {
            return bad(
                "N",
                n.to_string(),
                "the number of masks must be from 1 to 16777216",
            );
        }
        if s == 0 || s > 256 {
            return bad("s", s.to_string(), "a mask has from 1 to 256 cells a side");
        }
        if !(p1 > 0.0 && p1 < 1.0) {
            return bad("p1", p1.to_string(), "a probability lies between 0 and 1");
        }
        for (i, value) in inputs.values().iter().enumerate() {
            let dims = value.shape().len().saturating_sub(2) as u32;
            let cells = s.checked_pow(dims).and_then(|cells| cells.checked_mul(n));
            if inputs.explained(i) && cells.is_none_or(|cells| cells > MOST_CELLS) {
                return bad(
                    "s",
                    s.to_string(),
                    "all masks together have at most 2^30 cells",
                );
            }
            if inputs.explained(i) && (!inputs.attributed(i) || value.shape().len() < 3) {
                return Err(Error::Shape {
                    what: format!("input {i}"),
                    got: value.shape(),
                    expected: "a floating-point image, [batch, channels, ...],".into(),
                });
            }
        }
        Ok(())
    }
}

/// The masks of one input, drawn one after the other.
#[derive(Clone)]
struct Masks {
    lengths: Vec<usize>,
    s: usize,
    p1: f64,
    random: Random,
    /// How many masks were drawn.
    drawn: usize,
    /// Which cells of the latest mask are visible, before it is enlarged.
    seen: Vec<bool>,
    /// How far the latest mask is shifted along each dimension.
    shifts: Vec<usize>,
}

impl Masks {
    /// Creates masks that start from the current state of `random`.
    fn new(config: &RiseConfig, lengths: &[usize], random: &Random) -> Self {
        Self {
            lengths: lengths.to_vec(),
            s: config.s,
            p1: config.p1,
            random: random.clone(),
            drawn: 0,
            seen: vec![false; config.s.pow(lengths.len() as u32)],
            shifts: Vec::new(),
        }
    }

    fn draw(&mut self) {
        let (random, p1) = (&mut self.random, self.p1);
        self.seen.fill_with(|| random.uniform() < p1);
        let shifts = self.lengths.iter();
        let shifts = shifts.map(|length| random.index(length.div_ceil(self.s)));
        self.shifts = shifts.collect();
        self.drawn += 1;
    }

    /// Writes the pixels of a mask, which must be the latest or a later one.
    fn write(&mut self, number: usize, pixels: &mut [f32]) {
        while self.drawn <= number {
            self.draw();
        }
        let mut current: Vec<f32> = self.seen.iter().map(|&seen| f32::from(seen)).collect();
        // One dimension at a time: earlier ones are enlarged, later ones still small.
        let (mut outer, mut inner) = (1, current.len());
        for (&length, &shift) in self.lengths.iter().zip(&self.shifts) {
            inner /= self.s;
            let mut next = vec![0f32; outer * length * inner];
            for at in 0..length {
                let (low, high, part) = self.between(at + shift, length.div_ceil(self.s));
                for block in 0..outer {
                    let line = |cell: usize| (block * self.s + cell) * inner;
                    let to = (block * length + at) * inner;
                    for i in 0..inner {
                        next[to + i] =
                            current[line(low) + i] * (1.0 - part) + current[line(high) + i] * part;
                    }
                }
            }
            current = next;
            outer *= length;
        }
        pixels.copy_from_slice(&current);
    }

    /// Returns the two cells between which a pixel lies, and the second one's weight: bilinear,
    /// with `s` cells enlarged to `s + 1` times a cell's pixels, half a pixel in from the edge.
    fn between(&self, pixel: usize, cell: usize) -> (usize, usize, f32) {
        let scale = self.s as f64 / ((self.s + 1) * cell) as f64;
        let most = (self.s - 1) as f64;
        let place = ((pixel as f64 + 0.5) * scale - 0.5).clamp(0.0, most);
        let low = place as usize;
        (low, (low + 1).min(self.s - 1), (place - low as f64) as f32)
    }
}

/// Writes the mask of each input, one after the other.
fn write(images: &mut [Masks], number: usize, mut pixels: &mut [f32]) {
    for image in images {
        let (own, others) = pixels.split_at_mut(image.lengths.iter().product());
        image.write(number, own);
        pixels = others;
    }
}

impl Method for Rise {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let inputs = question.inputs();
        self.check(inputs)?;
        let n = self.config.n;
        let per_eval = self.config.perturbations_per_eval;
        let masked = Masked::new(question, &FeatureMask::Pixels, per_eval)?;
        let mut random = Random::new(self.config.seed);
        let mut images: Vec<Masks> = Vec::new();
        for i in (0..inputs.values().len()).filter(|&i| inputs.explained(i)) {
            let shape = inputs.values()[i].shape();
            let own = Masks::new(&self.config, &shape[2..], &random);
            // The next input's masks are drawn after all of this one's.
            let mut last = own.clone();
            (0..n).for_each(|_| last.draw());
            random = last.random;
            images.push(own);
        }
        let again = RefCell::new(images.clone());
        let rows: Vec<usize> = (0..masked.rows()).collect();
        let found = masked.evaluate(&rows, n, &|number, present| {
            write(&mut again.borrow_mut(), number, present);
        })?;

        let features = masked.features();
        let mut sums = vec![vec![vec![0f64; features]; rows.len()]; question.targets().len()];
        let mut squares = sums.clone();
        let mut pixels = vec![0f32; features];
        for number in 0..n {
            write(&mut images, number, &mut pixels);
            for ((sums, squares), found) in sums.iter_mut().zip(&mut squares).zip(&found) {
                for ((sums, squares), found) in sums.iter_mut().zip(squares).zip(found) {
                    let output = found[number];
                    for ((sum, square), &seen) in sums.iter_mut().zip(squares).zip(&pixels) {
                        let seen = output * f64::from(seen) / self.config.p1;
                        *sum += seen / n as f64;
                        *square += seen * seen / n as f64;
                    }
                }
            }
        }
        let widened = widened(n);
        let factor = widened.unwrap_or(1.0);
        for (sums, squares) in sums.iter().flatten().zip(squares.iter_mut().flatten()) {
            for (mean, square) in sums.iter().zip(squares) {
                let variance = (*square - mean * mean).max(0.0);
                *square = (variance / (n.max(2) - 1) as f64).sqrt() * factor;
            }
        }
        Ok(masked.explanations(&sums, widened.map(|_| &squares[..])))
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Perturbation
    }
}
