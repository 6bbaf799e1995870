//! All rows of a data set, feature by feature.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::axis::{Frame, around, finite};
use crate::figure::{Area, Draw, draw_error, text};
use crate::{Error, Palette};

/// A beeswarm: for each feature, one point per row at its attribution, coloured by the feature's
/// value from low (dark) to high (bright). The features with the largest mean magnitude are on top.
///
/// ```
/// use attr_viz::{Beeswarm, Figure};
///
/// # fn main() -> Result<(), attr_viz::Error> {
/// let attributions = [[0.5, -0.1], [-0.4, 0.2], [0.6, 0.0]];
/// let values = [[39.0, 1.0], [18.0, 3.0], [55.0, 2.0]];
/// let rows = attributions.iter().zip(&values).map(|(a, v)| (a.as_slice(), v.as_slice()));
/// let chart = Beeswarm::new(&["age", "rooms"], rows)?;
/// assert!(chart.to_svg()?.contains("age"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Beeswarm {
    title: String,
    axis: String,
    features: Vec<Swarm>,
}

/// The height of a feature's line in pixels.
const ROW: i32 = 42;

#[derive(Clone, Debug)]
struct Swarm {
    name: String,
    /// Attribution, and the feature's value between 0 and 1.
    points: Vec<(f64, f32)>,
}

impl Swarm {
    fn mean_magnitude(&self) -> f64 {
        let sum: f64 = self.points.iter().map(|point| point.0.abs()).sum();
        sum / self.points.len().max(1) as f64
    }
}

impl Beeswarm {
    /// Creates a chart from the features' names and, for each row, its attributions and its values.
    /// The twenty largest features are shown.
    ///
    /// # Errors
    /// [`Error::Columns`] for a row with another number of features, [`Error::NonFinite`] for NaN.
    pub fn new<'r>(
        names: &[impl AsRef<str>],
        rows: impl IntoIterator<Item = (&'r [f32], &'r [f32])>,
    ) -> Result<Self, Error> {
        let mut columns: Vec<Vec<(f32, f32)>> = vec![Vec::new(); names.len()];
        for (attributions, values) in rows {
            for got in [attributions.len(), values.len()] {
                if got != names.len() {
                    return Err(Error::Columns {
                        expected: names.len(),
                        got,
                    });
                }
            }
            for (i, column) in columns.iter_mut().enumerate() {
                column.push((attributions[i], values[i]));
            }
        }
        let all = columns.iter().flatten();
        finite(all.flat_map(|&(a, v)| [f64::from(a), f64::from(v)]))?;
        let features = names.iter().zip(columns).map(|(name, column)| {
            let ranks = ranks(&column);
            let points = column.iter().zip(ranks);
            Swarm {
                name: name.as_ref().into(),
                points: points.map(|(p, rank)| (f64::from(p.0), rank)).collect(),
            }
        });
        let mut features: Vec<Swarm> = features.collect();
        features.sort_by(|a, b| b.mean_magnitude().total_cmp(&a.mean_magnitude()));
        features.truncate(20);
        Ok(Self {
            title: String::new(),
            axis: "attribution".into(),
            features,
        })
    }

    /// Sets the title.
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Sets what the horizontal axis says; "attribution" by default.
    pub fn with_axis(mut self, axis: impl Into<String>) -> Self {
        self.axis = axis.into();
        self
    }

    fn frame(&self) -> Frame<'_> {
        let points = self.features.iter().flat_map(|feature| &feature.points);
        Frame {
            title: &self.title,
            axis: &self.axis,
            names: self.features.iter().map(|f| f.name.clone()).collect(),
            range: around(points.map(|point| point.0)),
            row: ROW,
        }
    }
}

/// The rank of each value between 0 and 1, so that one extreme value does not make all others look
/// alike; equal values share a rank.
fn ranks(column: &[(f32, f32)]) -> Vec<f32> {
    let mut sorted: Vec<f32> = column.iter().map(|point| point.1).collect();
    sorted.sort_by(f32::total_cmp);
    let most = sorted.len().saturating_sub(1).max(1) as f32;
    let rank = |value: f32| {
        let below = sorted.partition_point(|&other| other < value);
        let up_to = sorted.partition_point(|&other| other <= value);
        (below + up_to - 1) as f32 / 2.0 / most
    };
    let constant = sorted.first() == sorted.last();
    let ranks = column.iter().map(|point| point.1);
    ranks
        .map(|v| if constant { 0.5 } else { rank(v) })
        .collect()
}

impl Draw for Beeswarm {
    fn size(&self) -> Result<(u32, u32), Error> {
        self.frame().size()
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), Error> {
        let plot = self.frame().draw(area)?;
        let ends = [0, self.features.len()].map(|line| (plot.x(0.0), plot.edge(line)));
        let line = PathElement::new(ends, BLACK);
        area.draw(&line).map_err(draw_error)?;
        let palette = Palette::viridis();
        for (i, feature) in self.features.iter().enumerate() {
            let mut stacks = std::collections::HashMap::<i32, i32>::new();
            for &(value, level) in &feature.points {
                let x = plot.x(value);
                // Points at the same place go up and down in turn, as far as the line is high.
                let stack = stacks.entry(x / 4).or_default();
                let offset = (*stack + 1) / 2 * if *stack % 2 == 0 { 4 } else { -4 };
                *stack += 1;
                let y = plot.y(i) + offset % (ROW / 2 - 3);
                let [r, g, b] = palette.at(0.95 * level);
                let point = Circle::new((x, y), 3, RGBColor(r, g, b).filled());
                area.draw(&point).map_err(draw_error)?;
            }
        }
        // The legend of the colours, beside the plot.
        let (width, _) = area.dim_in_pixel();
        let x = width as i32 - 30;
        let (top, bottom) = (ends[0].1 + 16, ends[1].1 - 16);
        for y in top..bottom {
            let level = 1.0 - (y - top) as f32 / (bottom - top).max(1) as f32;
            let [r, g, b] = palette.at(0.95 * level);
            let part = Rectangle::new([(x, y), (x + 8, y + 1)], RGBColor(r, g, b).filled());
            area.draw(&part).map_err(draw_error)?;
        }
        for (label, y) in [("high", top - 9), ("low", bottom + 9)] {
            area.draw_text(label, &text(HPos::Center), (x + 4, y))
                .map_err(draw_error)?;
        }
        Ok(())
    }
}
