//! Lines with bands, such as deletion curves.

use std::ops::Range;

use plotters::prelude::*;

use super::axis::{axis_number, finite};
use crate::Error;
use crate::figure::{Area, Draw, FONT, LINE, MARGIN, TEXT, draw_error, heading, shortened};

/// Colours that people with every kind of colour vision tell apart (Okabe and Ito, 2008).
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// A line of [`Curves`].
#[derive(Clone, Debug)]
pub struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
    /// Half the height of the band at each point.
    band: Vec<f64>,
}

impl Curve {
    /// Creates a line through points.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.into(),
            points,
            band: Vec::new(),
        }
    }

    /// Draws a band of this half height at each point, such as a standard error.
    ///
    /// # Errors
    /// [`Error::Columns`] unless there is one for each point.
    pub fn with_band(mut self, band: Vec<f64>) -> Result<Self, Error> {
        if band.len() != self.points.len() {
            return Err(Error::Columns {
                expected: self.points.len(),
                got: band.len(),
            });
        }
        self.band = band;
        Ok(self)
    }
}

/// A chart of lines with names and bands.
///
/// ```
/// use attr_viz::{Curve, Curves, Figure};
///
/// # fn main() -> Result<(), attr_viz::Error> {
/// let curve = Curve::new("saliency", vec![(0.0, 0.9), (0.5, 0.4), (1.0, 0.1)]);
/// let curve = curve.with_band(vec![0.0, 0.1, 0.02])?;
/// let chart = Curves::new("removed", "score").with_curve(curve);
/// assert!(chart.to_svg()?.contains("saliency"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Curves {
    title: String,
    x: String,
    y: String,
    curves: Vec<Curve>,
}

impl Curves {
    /// Creates an empty chart; `x` and `y` say what the axes show.
    pub fn new(x: impl Into<String>, y: impl Into<String>) -> Self {
        Self {
            title: String::new(),
            x: x.into(),
            y: y.into(),
            curves: Vec::new(),
        }
    }

    /// Sets the title.
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Adds a line.
    pub fn with_curve(mut self, curve: Curve) -> Self {
        self.curves.push(curve);
        self
    }

    /// The ranges of x and y, with the bands; never empty.
    fn ranges(&self) -> Result<[Range<f64>; 2], Error> {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        if points().next().is_none() {
            return Err(Error::Draw("the chart has no points".into()));
        }
        let mut ys = Vec::new();
        for curve in &self.curves {
            for (i, point) in curve.points.iter().enumerate() {
                let half = curve.band.get(i).copied().unwrap_or(0.0);
                ys.extend([point.1 - half, point.1 + half]);
            }
        }
        finite(points().map(|point| point.0).chain(ys.iter().copied()))?;
        let xs: Vec<f64> = points().map(|point| point.0).collect();
        let range = |values: &[f64], space: f64| {
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            if low == high {
                return low - 1.0..high + 1.0;
            }
            let space = (high - low) * space;
            low - space..high + space
        };
        Ok([range(&xs, 0.0), range(&ys, 0.05)])
    }

    /// The corner that the curves pass least; the upper right one if others are as empty.
    fn emptiest(&self, xs: &Range<f64>, ys: &Range<f64>) -> SeriesLabelPosition {
        /// Places along each line, and the part of the plot that a legend takes.
        const PLACES: usize = 16;
        const LEGEND: (f64, f64) = (0.4, 0.3);
        let places: Vec<(f64, f64)> = self
            .curves
            .iter()
            .flat_map(|curve| curve.points.iter().zip(curve.points.iter().skip(1)))
            .flat_map(|(from, to)| {
                (0..=PLACES).map(move |step| {
                    let part = step as f64 / PLACES as f64;
                    let between = |a: f64, b: f64| a + part * (b - a);
                    (between(from.0, to.0), between(from.1, to.1))
                })
            })
            .collect();
        let corners = [
            (true, true, SeriesLabelPosition::UpperRight),
            (false, true, SeriesLabelPosition::UpperLeft),
            (true, false, SeriesLabelPosition::LowerRight),
            (false, false, SeriesLabelPosition::LowerLeft),
        ];
        let near = |at: f64, range: &Range<f64>, end: bool, part: f64| {
            let distance = if end {
                range.end - at
            } else {
                at - range.start
            };
            distance <= part * (range.end - range.start)
        };
        let passes = |right: bool, upper: bool| {
            let inside = |&&(x, y): &&(f64, f64)| {
                near(x, xs, right, LEGEND.0) && near(y, ys, upper, LEGEND.1)
            };
            places.iter().filter(inside).count()
        };
        let fewest = corners
            .into_iter()
            .min_by_key(|(right, upper, _)| passes(*right, *upper));
        fewest.map_or(SeriesLabelPosition::UpperRight, |corner| corner.2)
    }
}

impl Draw for Curves {
    fn size(&self) -> Result<(u32, u32), Error> {
        self.ranges()?;
        Ok((720, 420))
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), Error> {
        let [xs, ys] = self.ranges()?;
        let mut top = MARGIN;
        if !self.title.is_empty() {
            let title = shortened(&self.title, 640)?;
            area.draw_text(&title, &heading(), (MARGIN, MARGIN + 10))
                .map_err(draw_error)?;
            top += 30;
        }
        let mut chart = ChartBuilder::on(area)
            .margin_top(top)
            .margin_right(2 * MARGIN)
            .margin_bottom(MARGIN / 2)
            .margin_left(MARGIN / 2)
            .x_label_area_size(48)
            .y_label_area_size(72)
            .build_cartesian_2d(xs.clone(), ys.clone())
            .map_err(draw_error)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINE.mix(0.5))
            .axis_style(LINE)
            .label_style((FONT, TEXT))
            .axis_desc_style((FONT, TEXT))
            .x_desc(&self.x)
            .y_desc(&self.y)
            .x_label_formatter(&|v| axis_number(*v))
            .y_label_formatter(&|v| axis_number(*v))
            .draw()
            .map_err(draw_error)?;
        for (i, curve) in self.curves.iter().enumerate() {
            let color = COLORS[i % COLORS.len()];
            let at = |sign: f64| {
                let points = curve.points.iter().enumerate();
                points.map(move |(i, &(x, y))| (x, y + sign * curve.band.get(i).unwrap_or(&0.0)))
            };
            if !curve.band.is_empty() {
                let outline: Vec<_> = at(1.0).chain(at(-1.0).rev()).collect();
                let band = Polygon::new(outline, color.mix(0.2).filled());
                chart
                    .draw_series(std::iter::once(band))
                    .map_err(draw_error)?;
            }
            let line = LineSeries::new(curve.points.iter().copied(), color.stroke_width(2));
            let drawn = chart.draw_series(line).map_err(draw_error)?;
            drawn.label(curve.name.as_str()).legend(move |(x, y)| {
                PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2))
            });
        }
        chart
            .configure_series_labels()
            .position(self.emptiest(&xs, &ys))
            .background_style(WHITE.mix(0.85))
            .border_style(LINE)
            .label_font((FONT, TEXT))
            .draw()
            .map_err(draw_error)
    }
}
