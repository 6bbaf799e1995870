//! One bar for each feature.

use attr_core::Row;
use plotters::prelude::*;

use super::axis::{Frame, ROW, around, finite, name};
use crate::Error;
use crate::figure::{Area, Draw, draw_error};

/// A chart of one row's features, one bar each: red in favour of the target, blue against it, with
/// error bars of two standard errors where the method samples.
///
/// ```
/// use attr_core::{Feature, Row};
/// use attr_viz::{Bars, Figure};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let feature = |value| Feature { value, standard_error: Some(0.1), ..Feature::default() };
/// let row = Row { features: vec![feature(-0.25), feature(1.5)], ..Row::default() };
/// let row = row.named(&["age = 39", "income = 51000"])?.sorted();
/// let svg = Bars::new(&row).with_title("class 1").to_svg()?;
/// assert!(svg.contains("income = 51000"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Bars {
    title: String,
    axis: String,
    bars: Vec<Bar>,
    rest: Option<usize>,
}

#[derive(Clone, Debug)]
struct Bar {
    name: String,
    value: f64,
    error: Option<f64>,
}

impl Bars {
    /// Creates a chart of the row's features, in their order.
    pub fn new(row: &Row) -> Self {
        let bars = row.features.iter().map(|feature| Bar {
            name: name(feature),
            value: f64::from(feature.value),
            error: feature.standard_error.map(f64::from),
        });
        Self {
            title: String::new(),
            axis: "attribution".into(),
            bars: bars.collect(),
            rest: None,
        }
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

    /// Shows the first `count` bars and, as one more, the sum of the others.
    pub fn with_most(mut self, count: usize) -> Self {
        if self.bars.len() > count.max(1) + 1 {
            let others = self.bars.split_off(count.max(1));
            self.rest = Some(others.len());
            self.bars.push(Bar {
                name: format!("{} others", others.len()),
                value: others.iter().map(|bar| bar.value).sum(),
                error: None,
            });
        }
        self
    }

    fn frame(&self) -> Result<Frame<'_>, Error> {
        let ends = self.bars.iter().flat_map(|bar| {
            let reach = 2.0 * bar.error.unwrap_or(0.0);
            [bar.value - reach, bar.value + reach]
        });
        finite(ends.clone())?;
        Ok(Frame {
            title: &self.title,
            axis: &self.axis,
            names: self.bars.iter().map(|bar| bar.name.clone()).collect(),
            range: around(ends),
            row: ROW,
        })
    }
}

impl Draw for Bars {
    fn size(&self) -> Result<(u32, u32), Error> {
        self.frame()?.size()
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), Error> {
        let plot = self.frame()?.draw(area)?;
        let zero = plot.x(0.0);
        for (i, bar) in self.bars.iter().enumerate() {
            let (x, y) = (plot.x(bar.value), plot.y(i));
            plot.bar(area, i, (0.0, bar.value))?;
            let mut end = x;
            if let Some(error) = bar.error {
                let ends = [-2.0, 2.0].map(|times| plot.x(bar.value + times * error));
                let line = PathElement::new(ends.map(|x| (x, y)), BLACK);
                area.draw(&line).map_err(draw_error)?;
                for x in ends {
                    let cap = PathElement::new([(x, y - 4), (x, y + 4)], BLACK);
                    area.draw(&cap).map_err(draw_error)?;
                }
                end = if bar.value < 0.0 { ends[0] } else { ends[1] };
            }
            plot.contribution(area, i, (end, BLACK), bar.value)?;
        }
        let ends = [0, self.bars.len()].map(|line| (zero, plot.edge(line)));
        let line = PathElement::new(ends, BLACK);
        area.draw(&line).map_err(draw_error)
    }
}
