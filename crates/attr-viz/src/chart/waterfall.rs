//! From the expected output to this one, feature by feature.

use attr_core::Row;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::axis::{Frame, ROW, finite, name};
use crate::Error;
use crate::figure::{Area, Draw, LINE, by_sign, draw_error, number, text};

/// A waterfall: starts at the expected output below, ends at the row's output on top, and each
/// feature moves it, the largest on top. For attributions that sum up to the difference, such as
/// SHAP values and integrated gradients.
///
/// ```
/// use attr_core::{Feature, Row};
/// use attr_viz::{Figure, Waterfall};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let feature = |value| Feature { value, ..Feature::default() };
/// let row = Row { score: 1.75, features: vec![feature(-0.25), feature(1.5)], ..Row::default() };
/// let row = row.named(&["age", "income"])?;
/// // The output at the baseline, or the mean over the background.
/// let svg = Waterfall::new(&row, 0.5).to_svg()?;
/// assert!(svg.contains("income"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Waterfall {
    title: String,
    axis: String,
    base: f64,
    /// From top to bottom: names and contributions.
    steps: Vec<(String, f64)>,
}

impl Waterfall {
    /// Creates a chart of a row's features, from the expected output `base`; the ten largest are
    /// shown.
    pub fn new(row: &Row, base: f64) -> Self {
        let row = row.clone().sorted();
        let steps = row.features.iter();
        Self {
            title: String::new(),
            axis: "output".into(),
            base,
            steps: steps
                .map(|feature| (name(feature), f64::from(feature.value)))
                .collect(),
        }
        .with_most(10)
    }

    /// Sets the title.
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Sets what the horizontal axis says; "output" by default.
    pub fn with_axis(mut self, axis: impl Into<String>) -> Self {
        self.axis = axis.into();
        self
    }

    /// Shows the `count` largest features, and the sum of the others as one step; 10 by default.
    fn with_most(mut self, count: usize) -> Self {
        if self.steps.len() > count + 1 {
            let others = self.steps.split_off(count);
            let sum = others.iter().map(|(_, value)| value).sum();
            self.steps.push((format!("{} others", others.len()), sum));
        }
        self
    }

    /// Where each step starts and ends, from top to bottom.
    fn spans(&self) -> Vec<(f64, f64)> {
        let mut at = self.base;
        let mut spans: Vec<(f64, f64)> = Vec::with_capacity(self.steps.len());
        for (_, value) in self.steps.iter().rev() {
            spans.push((at, at + value));
            at += value;
        }
        spans.reverse();
        spans
    }

    fn frame(&self) -> Result<Frame<'_>, Error> {
        let ends = self.spans().into_iter().flat_map(|(from, to)| [from, to]);
        let ends: Vec<f64> = ends.chain([self.base]).collect();
        finite(ends.iter().copied())?;
        let low = ends.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ends.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let space = if high > low { (high - low) * 0.05 } else { 1.0 };
        Ok(Frame {
            title: &self.title,
            axis: &self.axis,
            names: std::iter::once("output".to_string())
                .chain(self.steps.iter().map(|(name, _)| name.clone()))
                .chain(["expected output".to_string()])
                .collect(),
            range: low - space..high + space,
            row: ROW,
        })
    }
}

impl Draw for Waterfall {
    fn size(&self) -> Result<(u32, u32), Error> {
        self.frame()?.size()
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), Error> {
        let plot = self.frame()?.draw(area)?;
        let spans = self.spans();
        let (half, last) = (ROW / 3, spans.len() + 1);
        for (i, (from, to)) in spans.iter().copied().enumerate() {
            plot.bar(area, i + 1, (from, to))?;
            // The step above starts where this one ends.
            let (end, y) = (plot.x(to), plot.y(i + 1));
            let line = PathElement::new([(end, y - half), (end, plot.y(i) + half)], LINE);
            area.draw(&line).map_err(draw_error)?;
            plot.contribution(area, i + 1, (end, by_sign(to - from)), to - from)?;
        }
        let total = spans.first().map_or(self.base, |span| span.1);
        let (x, y) = (plot.x(self.base), plot.y(last));
        let line = PathElement::new([(x, y - ROW + half), (x, y - half)], LINE);
        area.draw(&line).map_err(draw_error)?;
        for (value, line) in [(total, 0), (self.base, last)] {
            let (x, y) = (plot.x(value), plot.y(line));
            let point = Circle::new((x, y), 4, BLACK.filled());
            area.draw(&point).map_err(draw_error)?;
            area.draw_text(&number(value), &text(HPos::Left), (x + 9, y))
                .map_err(draw_error)?;
        }
        Ok(())
    }
}
