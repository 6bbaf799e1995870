//! A column of LIME's training table: what is drawn from it, and how that is said in words.

use attr_core::Error;
use attr_core::build::Random;

use crate::tabular::{Discretization, Discretizer};

/// The statistics of a training column.
pub(crate) enum Column {
    /// Bins of numbers.
    Bins(Discretization),
    /// Values and how often each occurs.
    Categories(Vec<(f64, f64)>),
    /// Numbers without bins.
    Numbers { mean: f64, std: f64 },
}

impl Column {
    /// Says in words which bin or category a value is in.
    pub fn condition(&self, name: &str, value: f64) -> String {
        let bins = match self {
            Self::Bins(bins) => bins,
            Self::Categories(_) => return format!("{name} = {value}"),
            Self::Numbers { .. } => return name.into(),
        };
        let bin = bins.bin(value);
        let below = bin.checked_sub(1).and_then(|below| bins.edges.get(below));
        match (below, bins.edges.get(bin)) {
            (None, None) => name.into(),
            (None, Some(upper)) => format!("{name} <= {upper:.2}"),
            (Some(lower), None) => format!("{name} > {lower:.2}"),
            (Some(lower), Some(upper)) => format!("{lower:.2} < {name} <= {upper:.2}"),
        }
    }

    /// Counts the categories of a column.
    pub fn categories(values: &[f64]) -> Result<Self, Error> {
        // Edges at every value: the same checks as for numbers.
        Discretization::new(values, Discretizer::None)?;
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let share = 1.0 / values.len() as f64;
        let mut categories: Vec<(f64, f64)> = Vec::new();
        for value in sorted {
            match categories.last_mut() {
                Some((last, frequency)) if *last == value => *frequency += share,
                _ => categories.push((value, share)),
            }
        }
        Ok(Self::Categories(categories))
    }

    /// Draws a value, and returns it with its form in interpretable space, given the row's own
    /// value.
    pub fn draw(&self, own: f64, around: bool, random: &mut Random) -> (f64, f64) {
        match self {
            Self::Bins(bins) => {
                let bin = bins.draw(random);
                let same = f64::from(bin == bins.bin(own));
                (bins.value(bin, random), same)
            }
            Self::Categories(categories) => {
                let mut left = random.uniform();
                let mut value = own;
                for &(category, frequency) in categories {
                    value = category;
                    if left < frequency {
                        break;
                    }
                    left -= frequency;
                }
                (value, f64::from(value == own))
            }
            Self::Numbers { mean, std } => {
                let noise = f64::from(random.normal(1).next().unwrap_or_default());
                let centre = if around { own } else { *mean };
                let value = centre + std * noise;
                (value, (value - mean) / std)
            }
        }
    }

    /// Returns the row's own value in interpretable space.
    pub fn own(&self, value: f64) -> f64 {
        match self {
            Self::Bins(_) | Self::Categories(_) => 1.0,
            Self::Numbers { mean, std } => (value - mean) / std,
        }
    }
}
