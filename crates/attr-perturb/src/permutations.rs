//! Shapley values by sampled permutations: the part that both samplers share.

use std::collections::HashMap;

use attr_core::build::Random;
use attr_core::perturb::{Masked, widened};
use attr_core::{Error, Explanation};

/// Units (a permutation or an antithetic pair) evaluated between checks of the tolerance.
const ROUND: usize = 10;

/// Outputs, over rows and coalitions, that are evaluated together if there is no tolerance.
const AT_ONCE: usize = 1 << 16;

/// Memory for known coalitions, in numbers of eight bytes.
const KEPT: usize = 1 << 22;

/// How permutations are sampled.
pub(crate) struct Sampling {
    /// The number of permutations or pairs.
    pub units: usize,
    /// The name of the parameter that sets this number.
    pub name: &'static str,
    /// Whether each permutation is followed by its reverse.
    pub antithetic: bool,
    /// Standard error at which a row stops.
    pub tolerance: Option<f64>,
    pub seed: u64,
}

/// A running mean and the sum of squares around it (Welford).
#[derive(Clone, Copy, Default)]
struct Running {
    mean: f64,
    squares: f64,
}

/// The estimate for each feature, for one target and row.
#[derive(Clone)]
struct Estimate {
    count: usize,
    features: Vec<Running>,
}

impl Estimate {
    fn add(&mut self, sample: &[f64]) {
        self.count += 1;
        for (running, &value) in self.features.iter_mut().zip(sample) {
            let before = value - running.mean;
            running.mean += before / self.count as f64;
            running.squares += before * (value - running.mean);
        }
    }

    fn means(&self) -> Vec<f64> {
        self.features.iter().map(|running| running.mean).collect()
    }

    /// Standard errors of the means, unless the samples are too few.
    fn errors(&self) -> Option<Vec<f64>> {
        let widened = widened(self.count)?;
        let count = self.count as f64;
        let scale = 1.0 / (count * (count - 1.0));
        let errors = self.features.iter();
        let errors = errors.map(|r| (r.squares * scale).sqrt() * widened);
        Some(errors.collect())
    }
}

/// The coalitions evaluated so far, as many as there is room for.
///
/// A coalition is identified by the combined random words of its members (Zobrist, 1970): 128 bits,
/// so that two of a billion coalitions share a word with a probability below 1e-20.
struct Known {
    /// The word of each feature.
    words: Vec<u128>,
    /// The word of each coalition.
    coalitions: Vec<u128>,
    /// The number of the coalition with a given word.
    index: HashMap<u128, usize>,
    /// `[target][row][coalition]`; zero for rows that had stopped.
    values: Vec<Vec<Vec<f64>>>,
}

/// Samples permutations, adds features one by one in their order, and returns the mean change of
/// the output that each feature causes.
pub(crate) fn sample(
    mut masked: Masked<'_>,
    sampling: &Sampling,
) -> Result<Vec<Explanation>, Error> {
    check(sampling)?;
    let (features, rows, targets) = (masked.features(), masked.rows(), masked.scores().len());
    let per_unit = if sampling.antithetic { 2 } else { 1 };
    // Coalitions that come up again are not evaluated again, so this is the most.
    let chains = sampling
        .units
        .saturating_mul(per_unit * features.saturating_sub(1));
    masked.announce(chains.saturating_add(1).saturating_mul(rows));
    let masked = &masked;
    let start = masked.at_baseline()?;
    let mut random = Random::new(sampling.seed);
    // The words have their own seed, so that they do not change the draws.
    let mut bits = Random::new(0);
    let word = |_| u128::from(bits.bits()) << 64 | u128::from(bits.bits());
    let mut known = Known {
        words: (0..features).map(word).collect(),
        coalitions: Vec::new(),
        index: HashMap::new(),
        values: vec![vec![Vec::new(); rows]; targets],
    };
    let empty = Estimate {
        count: 0,
        features: vec![Running::default(); features],
    };
    let mut estimates = vec![vec![empty; rows]; targets];
    let mut active: Vec<usize> = (0..rows).collect();
    let mut done = 0;
    while done < sampling.units && !active.is_empty() {
        let left = sampling.units - done;
        let units = left.min(match sampling.tolerance {
            Some(_) => ROUND,
            None => (AT_ONCE / (per_unit * features * rows).max(1)).max(1),
        });
        let mut orders = Vec::with_capacity(per_unit * units);
        for _ in 0..units {
            let order = random.permutation(features);
            if sampling.antithetic {
                let reverse = order.iter().rev().copied().collect();
                orders.push(order);
                orders.push(reverse);
            } else {
                orders.push(order);
            }
        }
        let chains = known.evaluate(masked, &active, &orders)?;
        for (t, estimates) in estimates.iter_mut().enumerate() {
            for &row in &active {
                let end = f64::from(masked.scores()[t][row]);
                let values = &known.values[t][row];
                let both = orders.chunks(per_unit).zip(chains.chunks(per_unit));
                for (orders, chains) in both {
                    let mut sample = vec![0.0; features];
                    for (order, chain) in orders.iter().zip(chains) {
                        let mut before = start[t][row];
                        for (i, &feature) in order.iter().enumerate() {
                            let after = chain.get(i).map_or(end, |&at| values[at]);
                            sample[feature] += (after - before) / per_unit as f64;
                            before = after;
                        }
                    }
                    estimates[row].add(&sample);
                }
            }
        }
        known.forget_latest();
        done += units;
        if let Some(tolerance) = sampling.tolerance {
            active.retain(|&row| {
                let each = estimates.iter().map(|rows| rows[row].errors());
                let known: Option<Vec<Vec<f64>>> = each.collect();
                known.is_none_or(|each| each.concat().into_iter().fold(0.0, f64::max) > tolerance)
            });
        }
    }
    let each = |of: &dyn Fn(&Estimate) -> Option<Vec<f64>>| -> Option<Vec<Vec<Vec<f64>>>> {
        let targets = estimates.iter();
        targets.map(|rows| rows.iter().map(of).collect()).collect()
    };
    let means = each(&|estimate| Some(estimate.means())).unwrap_or_default();
    Ok(masked.complete(&means, each(&Estimate::errors).as_deref(), &start))
}

impl Known {
    /// Evaluates the unknown coalitions along each order. Returns, for each order, the numbers of
    /// its coalitions, from one feature to all but one.
    fn evaluate(
        &mut self,
        masked: &Masked<'_>,
        active: &[usize],
        orders: &[Vec<usize>],
    ) -> Result<Vec<Vec<usize>>, Error> {
        let mut unknown: Vec<(usize, usize)> = Vec::new();
        let first = self.coalitions.len();
        let mut chains = Vec::with_capacity(orders.len());
        for (o, order) in orders.iter().enumerate() {
            let mut coalition = 0u128;
            let inner = &order[..order.len().saturating_sub(1)];
            let chain = inner.iter().enumerate().map(|(i, &feature)| {
                coalition ^= self.words[feature];
                let next = first + unknown.len();
                let at = *self.index.entry(coalition).or_insert(next);
                if at == next {
                    unknown.push((o, i + 1));
                    self.coalitions.push(coalition);
                }
                at
            });
            chains.push(chain.collect());
        }
        let found = masked.evaluate(active, unknown.len(), &|k, present| {
            let (order, members) = unknown[k];
            for &feature in &orders[order][..members] {
                present[feature] = 1.0;
            }
        })?;
        for (known, found) in self.values.iter_mut().zip(found) {
            for (&row, found) in active.iter().zip(found) {
                known[row].resize(first, 0.0);
                known[row].extend(found);
            }
        }
        Ok(chains)
    }

    /// Forgets the latest coalitions if there is no room for them. The first are those of few and
    /// of nearly all features, which occur most often.
    fn forget_latest(&mut self) {
        let values: usize = self.values.iter().map(Vec::len).sum();
        // A coalition's word and index entry take about as much as sixteen values.
        let room = KEPT / (values + 16);
        if self.coalitions.len() <= room {
            return;
        }
        for word in self.coalitions.drain(room..) {
            self.index.remove(&word);
        }
        for values in self.values.iter_mut().flatten() {
            values.truncate(room);
        }
    }
}

/// Rejects zero samples and a tolerance that cannot be reached.
fn check(sampling: &Sampling) -> Result<(), Error> {
    if sampling.units == 0 || sampling.units > 1 << 24 {
        return Err(Error::Parameter {
            name: sampling.name,
            value: sampling.units.to_string(),
            expected: "the number of permutations must be from 1 to 16777216",
        });
    }
    match sampling.tolerance {
        Some(tolerance) if !(tolerance > 0.0 && tolerance.is_finite()) => Err(Error::Parameter {
            name: "tolerance",
            value: tolerance.to_string(),
            expected: "a standard error must be positive and finite",
        }),
        _ => Ok(()),
    }
}
